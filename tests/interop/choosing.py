"""Which cells go where: splits, samples, order, parts by columns, against numpy, pandas and a ChaCha8 of its own."""

import csv
import itertools
import json
import re

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import corpus
from tool import digest

ONE = 10**12
TINY = ("--block-bytes", "4096", "-j", "1")


class Draws:
    """ChaCha8 with the key that numpy's SeedSequence makes of a seed, and the draws that the program makes with it."""

    def __init__(self, seed, stream):
        self.key, self.stream = np.random.SeedSequence(seed).generate_state(8, np.uint32), stream
        self.block, self.words = 0, []

    def _rounds(self):
        constant = np.frombuffer(b"expand 32-byte k", "<u4")
        start = np.concatenate([constant, self.key, [self.block & 0xFFFFFFFF, self.block >> 32, self.stream, 0]]).astype(np.uint32)
        x = [int(v) for v in start]

        def quarter(a, b, c, d):
            for to, plus, by, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                x[to] = (x[to] + x[plus]) & 0xFFFFFFFF
                mixed = x[by] ^ x[to]
                x[by] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF

        for _ in range(4):
            for column in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
                quarter(*column)
        self.block += 1
        return [(a + int(b)) & 0xFFFFFFFF for a, b in zip(x, start)]

    def below(self, n):
        mask = (1 << (n - 1).bit_length()) - 1
        while True:
            if not self.words:
                self.words = self._rounds()
            value = self.words.pop(0) & mask
            if value < n:
                return value

    def order(self, n):
        order = list(range(n))
        for i in range(n - 1, 0, -1):
            j = self.below(i + 1)
            order[i], order[j] = order[j], order[i]
        return order


def rounded(weights, whole, cells, debts):
    counts = [w * cells // whole if whole else 0 for w in weights]
    broken = [p for p, w in enumerate(weights) if whole and w * cells % whole]
    for part in broken:
        debts[part] += weights[part] * cells % whole
    broken.sort(key=lambda part: -debts[part])
    for part in broken[: (cells if whole else 0) - sum(counts)]:
        counts[part] += 1
        debts[part] -= whole
    return counts


def dealt(strata, sizes, weights, whole, draws):
    """The part of each cell, of which the stratum is given."""
    room, debts = {}, [0] * len(weights)
    for stratum in draws.order(len(sizes)):
        room[stratum] = rounded(weights, whole, sizes[stratum], debts)
    return _drawn(strata, room, draws)


def _drawn(strata, room, draws):
    parts = []
    for stratum in strata:
        drawn = draws.below(sum(room[stratum]))
        part = 0
        while drawn >= room[stratum][part]:
            drawn -= room[stratum][part]
            part += 1
        room[stratum][part] -= 1
        parts.append(part)
    return parts


def grouped(codes, sizes, wanted, draws):
    """The part of each cell where whole groups stay together: as src/cells/groups.rs says, and no faster."""
    has, count, path, best, steps = [0] * len(wanted), [0] * len(wanted), [], None, 0
    groups = [group for group in draws.order(len(sizes)) if sizes[group] > 0]

    def add(part, size, sign=1):
        has[part] += sign * size
        count[part] += sign

    def candidates(left):
        empty = [part for part, n in enumerate(count) if n == 0]
        return sorted(empty if len(empty) >= left else range(len(wanted)), key=lambda part: has[part] - wanted[part])

    def deeper(rest):
        nonlocal best, steps
        beyond = sum(max(0, h - w) for h, w in zip(has, wanted))
        if best and best[0] <= beyond:
            return
        if len(path) == len(rest):
            best = (beyond, list(path))
            return
        for part in candidates(len(rest) - len(path)):
            steps += 1
            if steps > 2**20 and best:
                return
            add(part, rest[len(path)])
            path.append(part)
            deeper(rest)
            add(path.pop(), rest[len(path)], -1)

    ordered = [sizes[group] for group in groups]
    first, dealt_first = max(0, len(ordered) - max(16, len(wanted))), []
    for at, size in enumerate(ordered[:first]):
        dealt_first.append(candidates(len(ordered) - at)[0])
        add(dealt_first[-1], size)
    deeper(ordered[first:])
    part_of = dict(zip(groups, dealt_first + best[1]))
    return [part_of[code] for code in codes]


def codes_of(column):
    """Labels as the program orders them, and the code of each cell; -1 is missing."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return [str(c) for c in column.cat.categories], list(column.cat.codes)
    labels = list(dict.fromkeys(str(v) for v in column[column.notna()]))
    return labels, [labels.index(str(v)) if keep else -1 for v, keep in zip(column, column.notna())]


def strata_of(column):
    labels, codes = codes_of(column)
    codes = [len(labels) if code < 0 else code for code in codes]
    return codes, [codes.count(i) for i in range(len(labels) + 1)]


def some_obs(rng, n):
    def pick(values):
        return np.array(values, object)[rng.integers(len(values), size=n)] if n else np.array([], object)

    kinds = ["T cell", "B/x", "ü", None, "NK"]
    return pd.DataFrame({
        "donor": pd.Categorical(pick([f"d{i}" for i in range(7)]), categories=[f"d{i}" for i in (3, 1, 0, 2, 6, 5, 4, 9)]),
        "kind": pd.Categorical(pick(kinds), categories=["ü", "T cell", "NK", "B/x"]), "batch": rng.integers(-2, 3, n),
        "word": pick(["b", "a", "B", "é", "z" * 9]), "score": np.where(rng.random(n) < 0.1, np.nan, rng.integers(-3, 4, n) / 2),
        "maybe": pd.array(pick([1, 2, None, -5]), dtype="Int64"), "flag": rng.random(n) < 0.5,
        "side": pd.Categorical(pick(["train", "held out"]), categories=["train", "unused", "held out"]),
        "level": pd.Categorical(pick(["low", "high", None]), categories=["low", "mid", "high"], ordered=True),
    }, index=[f"c{i}" for i in range(n)])


def some_file(case, rng, n, name="in.h5ad"):
    adata = ad.AnnData(sp.csr_matrix(np.arange(1, n + 1, dtype="f4").reshape(-1, 1) * np.ones((1, 2), "f4")), obs=some_obs(rng, n))
    path = case.folder("source") / name
    corpus.write(adata, path)
    return path, adata.obs


def cells_of(path):
    """The rows of the source that a file has, from obs and from X."""
    adata = corpus.read(path)
    rows = [int(name[1:]) for name in adata.obs_names]
    values = [] if adata.n_obs == 0 else list(np.asarray(adata.X.todense())[:, 0].astype(int) - 1)
    return rows, rows == values, adata.obs


def file_name(label):
    return re.sub(r"[^\w.-]", "_", label)


SHARES = [("train=0.8,val=0.1,test=0.1", [("train", 0.8), ("val", 0.1), ("test", 0.1)]), ("a=50%,b=*", [("a", 0.5), ("b", None)]),
          ("few=3,rest=*", [("few", 3), ("rest", None)]), ("x=12.5%,y=5,z=*", [("x", 0.125), ("y", 5), ("z", None)])]


def weights_of(shares, n):
    fixed = [share * ONE if isinstance(share, int) else round((share or 0) * ONE) * n for _, share in shares]
    return [n * ONE - sum(fixed) if share is None else f for f, (_, share) in zip(fixed, shares)], n * ONE


def some_options(rng):
    """A set of options that go together, as a dict."""
    o = {"size": int(rng.integers(1, 40)), "pad": int(rng.choice([1, 3]))}
    kind = rng.choice(["plain", "split", "strata", "groups", "column"])
    if kind in ("split", "strata", "groups"):
        o["split"] = SHARES[rng.integers(len(SHARES))]
        if rng.random() < 0.5:
            o["split-label"] = "part"
    o |= {"strata": {"stratify": rng.choice(["kind", "batch", "maybe", "word"])}, "groups": {"split-by": rng.choice(["donor", "batch", "kind"])},
          "column": {"split-column": "side"}}.get(kind, {})
    if rng.random() < 0.5:
        o["obs-column"] = list(rng.permutation(["donor", "kind", "flag", "batch", "word"])[: rng.integers(1, 3)])
        o["size-within"] = bool(rng.random() < 0.5)
    o["shuffle"] = bool(rng.random() < 0.6)
    if rng.random() < 0.6:
        o["sort-by"] = list(rng.permutation(["score", "kind", "word", "maybe", "level", "flag", "batch", "donor"])[: rng.integers(1, 4)])
    return o


def typed(o):
    args = []
    for name, value in o.items():
        if name == "split":
            args += ["--split", value[0]]
        elif value is True:
            args.append(f"--{name}")
        elif isinstance(value, list):
            args += [f"--{name}", *value]
        elif value is not False:
            args += [f"--{name}", str(value)]
    return args


def expected(obs, o, seed):
    """The outputs as pairs of a name and rows, and the part of each cell."""
    n = len(obs)
    is_cut = "obs-column" not in o or o["size-within"]
    order = np.random.default_rng(seed).permutation(n) if o["shuffle"] and is_cut else np.arange(n)
    keys, split = [], None
    if "split" in o:
        names = [name for name, _ in o["split"][1]]
        weights, whole = weights_of(o["split"][1], n)
        draws = Draws(seed, 1)
        if "split-by" in o:
            strata, sizes = strata_of(obs[o["split-by"]])
            split = grouped(strata, sizes, rounded(weights, whole, n, [0] * len(weights)), draws)
        elif "stratify" in o:
            strata, sizes = strata_of(obs[o["stratify"]])
            split = dealt(strata, sizes, weights, whole, draws)
        else:
            split = dealt([0] * n, [n], weights, whole, draws)
        keys.append((names, split))
    if "split-column" in o:
        keys.append(codes_of(obs[o["split-column"]]))
    keys += [codes_of(obs[column]) for column in o.get("obs-column", [])]
    found = sorted({codes for codes in zip(*(codes for _, codes in keys)) if min(codes) >= 0}) if keys else [()]
    per_cell = list(zip(*(codes for _, codes in keys))) if keys else [()] * n
    outputs = []
    for codes in found:
        name = "_".join(file_name(labels[code]) for (labels, _), code in zip(keys, codes))
        rows = [int(cell) for cell in order if per_cell[cell] == codes]
        cuts = [rows[i : i + o["size"]] for i in range(0, len(rows), o["size"])] if is_cut else [rows]
        for number, cut in enumerate(cuts):
            if "sort-by" in o:
                cut = [int(name[1:]) for name in obs.iloc[cut].sort_values(o["sort-by"], kind="stable", na_position="last").index]
            outputs.append(("_".join(filter(None, [name, f"shard_{number:0{o['pad']}}" if is_cut else ""])), cut))
    return outputs, split


def slices_deal_cells_as_asked(case):
    """Random sets of options over random obs: names, cells and their order, wherever the run may differ."""
    rng = np.random.default_rng(5)
    for trial in range(60):
        n = int(rng.choice([1, 9, 40, 130]))
        source, obs = some_file(case, rng, n)
        o, seed = some_options(rng), int(rng.integers(1000))
        if "split" in o and any(isinstance(s, int) and s > n - 5 for _, s in o["split"][1]) or "split-by" in o and n < 40:
            continue
        label = f"{trial}: {n} cells, {' '.join(typed(o))} --seed {seed}"
        out = case.folder("out")
        manifest = out / "made.json"
        if not case.works(label, "slice", source, out / "s", *typed(o), "--seed", seed, "--manifest", manifest):
            continue
        _compare(case, label, out, obs, o, seed, json.loads(manifest.read_text()))
        again = case.folder("again")
        if case.works(label, "slice", source, again / "s", *typed(o), "--seed", seed, "-j", "1", "--memory-limit", "200MB"):
            differ = [p.name for p in again.iterdir() if digest(p) != digest(out / p.name)]
            case.check(label, [f"{name} differs with one thread and little memory" for name in differ])
        waves = case.folder("waves")
        if case.works(label, "slice", source, waves / "s", *typed(o), "--seed", seed, *TINY):
            differ = [p.name for p in waves.iterdir() if cells_of(p)[:2] != cells_of(out / p.name)[:2]]
            case.check(label, [f"{name} differs in many waves" for name in differ])


def _compare(case, label, out, obs, o, seed, manifest):
    made = {p.stem: cells_of(p) for p in out.glob("*.h5ad")}
    want, split = expected(obs, o, seed)
    if "split-by" in o:
        pairs = set(zip(strata_of(obs[o["split-by"]])[0], split))
        case.check(label, [] if len(pairs) == len({group for group, _ in pairs}) else ["a group is in two parts"])
    case.check(label, [] if {f"s_{name}" for name, _ in want} == set(made) else [f"made {sorted(made)}, want {[name for name, _ in want]}"])
    for name, rows in want:
        got, sound, found = made.get(f"s_{name}", ([], True, None))
        case.check(f"{label}: {name}", [] if got == rows and sound else [f"cells {got[:9]}, want {rows[:9]}"])
        if "split-label" in o and found is not None:
            names = [part for part, _ in o["split"][1]]
            told = found["part"]
            right = list(told.cat.categories) == names and list(told) == [names[split[row]] for row in rows]
            case.check(f"{label}: {name}", [] if right else [f"label {list(told)[:5]}"])
    told = [(output["path"], output["rows"]) for output in manifest["outputs"]]
    case.check(label, [] if told == [(str(out / f"s_{name}.h5ad"), len(rows)) for name, rows in want] else [f"manifest {told[:3]}"])
    for output, (name, _) in zip(manifest["outputs"], want):
        parts = [p for p in (output["split"],) if p is not None] + ([output["value"]] if isinstance(output["value"], str) else output["value"] or [])
        begins = "_".join(map(file_name, parts))
        case.check(label, [] if name.startswith(begins) and bool(output["split"]) == ("split" in o or "split-column" in o) else [f"labels {parts} of {name}"])


def splits_are_exact_in_each_value(case):
    rng = np.random.default_rng(1)
    source, obs = some_file(case, rng, 500)
    for column in ("kind", "batch", "maybe"):
        out = case.folder("exact")
        if case.works(column, "slice", source, out / "s", "--split", "train=0.8,val=0.1,test=0.1", "--stratify", column, "--seed", "3"):
            parts = {p: cells_of(out / f"s_{p}_shard_0.h5ad")[0] for p in ("train", "val", "test")}
            case.check(column, [] if sorted(sum(parts.values(), [])) == list(range(500)) else ["cells are lost or double"])
            strata, sizes = strata_of(obs[column])
            for (part, rows), share in zip(parts.items(), (0.8, 0.1, 0.1)):
                counts = np.bincount([strata[row] for row in rows], minlength=len(sizes))
                off = np.abs(counts - np.array(sizes) * share)
                case.check(f"{column} {part}", [] if off.max() < 1 and abs(len(rows) - 500 * share) < 3 else [f"{counts} of {sizes}"])


def groups_are_as_near_as_any_way(case):
    """Seven donors in three parts: no other way has fewer cells in a wrong part."""
    rng = np.random.default_rng(2)
    source, obs = some_file(case, rng, 333)
    sizes = obs["donor"].value_counts()
    sizes = sizes[sizes > 0]
    wanted = np.array([266, 34, 33])
    ways = (np.bincount(way, weights=sizes, minlength=3) for way in itertools.product(range(3), repeat=len(sizes)) if len(set(way)) == 3)
    least = min(np.maximum(way - wanted, 0).sum() for way in ways)
    for seed in range(4):
        out = case.folder("groups")
        if case.works(seed, "slice", source, out / "s", "--split", "a=0.8,b=0.1,c=0.1", "--split-by", "donor", "--seed", seed, "--shuffle"):
            said = case.stderr
            parts = {p: cells_of(out / f"s_{p}_shard_0.h5ad")[0] for p in "abc"}
            donors = [set(obs["donor"].iloc[rows]) for rows in parts.values()]
            case.check(seed, [] if sum(map(len, donors)) == len(sizes) == len(set.union(*donors)) else [f"donors {donors}"])
            beyond = sum(max(0, len(rows) - want) for rows, want in zip(parts.values(), wanted))
            case.check(seed, [] if beyond == least else [f"{beyond} cells beyond, {least} are the least"])
            case.check(seed, [] if f"a {len(parts['a'])} ({100 * len(parts['a']) / 333:.2f}% of 80.00% asked)" in said else [said])


def samples_are_exact_and_the_same(case):
    rng = np.random.default_rng(3)
    source, obs = some_file(case, rng, 200)
    chosen = [row for row in range(200) if obs["batch"].iloc[row] > 0]
    for where, cells in (((), range(200)), (("--where", "batch > 0"), chosen)):
        for sample, share in (("0.1", 0.1), ("25%", 0.25), ("30", 30), ("100%", 1.0), ("10k", len(cells))):
            for column in (None, "kind", "donor"):
                weights, whole = weights_of([("x", share), ("y", None)], len(cells))
                strata, sizes = ([0] * 200, None) if column is None else strata_of(obs[column])
                strata = [strata[row] for row in cells]
                sizes = [len(cells)] if sizes is None else [strata.count(i) for i in range(len(sizes))]
                parts = dealt(strata, sizes, weights, whole, Draws(11, 2))
                want = [row for row, part in zip(cells, parts) if part == 0]
                by = () if column is None else ("--stratify", column)
                _filtered(case, source, want, "--sample", sample, "--seed", "11", *by, *where)
        for most in (1, 7, 500):
            strata, sizes = strata_of(obs["kind"])
            strata = [strata[row] for row in cells]
            room = {i: [min(most, strata.count(i)), max(0, strata.count(i) - most)] for i in range(len(sizes))}
            parts = _drawn(strata, room, Draws(11, 2))
            want = [row for row, part in zip(cells, parts) if part == 0]
            _filtered(case, source, want, "--per-value", most, "--stratify", "kind", "--seed", "11", *where)
            order = obs.iloc[want].sort_values(["score", "word"], kind="stable", na_position="last").index
            _filtered(case, source, [int(name[1:]) for name in order], "--per-value", most, "--stratify", "kind", "--seed", "11", *where, "--sort-by", "score", "word")


def _filtered(case, source, want, *options):
    label = " ".join(map(str, options))
    for suffix in (".h5ad", ".zarr"):
        out = case.folder("filtered") / f"out{suffix}"
        if case.works(label, "filter", source, out, *options):
            rows, sound, _ = cells_of(out)
            case.check(label + suffix, [] if rows == want and sound else [f"cells {rows[:9]}, want {want[:9]}"])


def sorting_is_that_of_pandas(case):
    rng = np.random.default_rng(4)
    for n in (0, 1, 77):
        source, obs = some_file(case, rng, n)
        for columns in [[c] for c in obs.columns] + [["kind", "score"], ["level", "maybe", "word"]]:
            order = [int(name[1:]) for name in obs.sort_values(columns, kind="stable", na_position="last").index]
            _filtered(case, source, order, "--sort-by", *columns)


def tables_give_any_column(case):
    """Parts, strata and order from a table; what it lacks comes from obs."""
    rng = np.random.default_rng(6)
    source, obs = some_file(case, rng, 50)
    table = case.folder("table") / "t.tsv"
    side = np.array(["left", "right"])[rng.integers(2, size=50)]
    with open(table, "w", newline="") as file:
        rows = csv.writer(file, delimiter="\t")
        rows.writerow(["cell", "hand", "rank"])
        rows.writerows(zip(obs.index, side, range(50, 0, -1)))
    out = case.folder("out")
    options = ("--split-column", "hand", "--obs-column", "flag", "--sort-by", "rank", "--csv-file", table)
    if case.works("table", "slice", source, out / "s", *options, "--manifest", out / "m.csv"):
        with open(out / "m.csv", newline="") as file:
            told = {(row["split"], row["value"]): (row["path"], int(row["n_obs"])) for row in csv.DictReader(file)}
        for hand, flag in itertools.product(["left", "right"], [False, True]):
            want = [row for row in range(49, -1, -1) if side[row] == hand and obs["flag"].iloc[row] == flag]
            path, count = told[hand, str(flag)]
            rows, sound, found = cells_of(out / f"s_{hand}_{flag}.h5ad")
            case.check(path, [] if rows == want and sound and count == len(want) and path.endswith(f"s_{hand}_{flag}.h5ad") else [f"{rows[:5]}, want {want[:5]}"])
            case.check(path, [] if list(found["rank"]) == [50 - row for row in want] else ["the table's column is not in obs"])
