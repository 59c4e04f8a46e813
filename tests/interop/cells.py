"""Which cells: `filter`, `slice --obs-column`, and the sizes of shards, against anndata, pandas and the Python tool."""

import gzip
import re

import h5py
import numpy as np
import pandas as pd

import corpus
import objects
import take
import trees
import upstream
from slicing import TINY, permutation, row_count

N = objects.ROWS


def _obs(n=N):
    """A column for every rule; the same for every input."""
    i = np.arange(n)
    maybe = pd.array([None if k % 5 == 0 else bool(k % 2) for k in i], dtype="boolean")
    return pd.DataFrame({
        "flag": i % 3 == 0, "maybe": maybe, "count": i % 4, "share": np.where(i % 6 == 0, np.nan, (i % 7) / 4), "single": ((i % 10) / 10).astype("f4"),
        "word": np.array(["True", "false", "1", "0", "TRUE"], object)[i % 5], "kind": pd.Categorical(np.array(["B cell", "T", "ü/x", None], object)[i % 4]),
        "yes": pd.Categorical(np.array(["true", "0", "FALSE"], object)[i % 3]), "batch": pd.Categorical(i % 3 + 1), "big": 2**53 + i,
        "some": pd.array([None if k % 4 == 0 else int(k) for k in i], dtype="Int64"), "two words": i, "leiden": pd.Categorical((i % 11).astype(str)),
    })


def _source(case, name="cells.h5ad"):
    """The fullest object with these columns added, and its obs."""
    adata = objects.full()
    for column, values in _obs().items():
        adata.obs[column] = values.array
    if name.endswith(".zarr"):
        for dtype in ("c8", "c16"):
            del adata.uns["scalars"][dtype]
        del adata.uns["rec"]
    return corpus.write(adata, case.folder("source") / name), adata.obs


def _filtered(case, label, source, rows, *options, suffixes=(".h5ad",)):
    """`filter` keeps `rows` of `source`."""
    for suffix in suffixes:
        out = case.folder("filtered") / f"new folder/out{suffix}"
        if case.works(f"{label} {suffix}", "filter", source, out, *options):
            case.check(f"{label} {suffix}", [] if out.is_dir() == (suffix == ".zarr") else ["written in the other format"])
            want = take.take(trees.load(source), np.asarray(rows, "i8"))
            if out.suffix == source.suffix:
                case.same_tree(f"{label} {suffix}", want, out)
            else:
                names = list(corpus.read(out).obs_names)
                case.check(f"{label} {suffix}", [] if names == list(corpus.read_input(source).obs_names[rows]) else [f"cells {names[:5]}"])


MASKS = {
    "flag": lambda obs: obs["flag"], "maybe": lambda obs: obs["maybe"].fillna(False), "count": lambda obs: obs["count"] != 0, "share": lambda obs: obs["share"] != 0,
    "word": lambda obs: obs["word"].str.lower().isin(["true", "1"]), "yes": lambda obs: obs["yes"] == "true", "batch": lambda obs: obs["batch"].astype(int) != 0,
    "some": lambda obs: obs["some"].fillna(0) != 0, "cat_bool": lambda obs: obs["cat_bool"].astype(bool), "bool": lambda obs: obs["bool"],
}


def filter_keeps_cells_by_a_column(case):
    source, obs = _source(case)
    for column, mask in MASKS.items():
        rows = np.flatnonzero(np.asarray(mask(obs), bool))
        _filtered(case, column, source, rows, "--obs-column", column)
        _filtered(case, f"{column} inverted", source, np.setdiff1d(np.arange(N), rows), "--obs-column", column, "--invert")
    zarr, obs = _source(case, "cells.zarr")
    for column in ("flag", "yes"):
        _filtered(case, f"zarr {column}", zarr, np.flatnonzero(np.asarray(MASKS[column](obs), bool)), "--obs-column", column, suffixes=(".zarr", ".h5ad"))


def filter_in_tiny_blocks(case):
    for name in ("cells.h5ad", "cells.zarr"):
        source, obs = _source(case, name)
        _filtered(case, name, source, np.flatnonzero(obs["flag"]), "--obs-column", "flag", *TINY, suffixes=(".h5ad", ".zarr"))
        _filtered(case, f"{name} gzip", source, np.flatnonzero(obs["flag"]), "--obs-column", "flag", "--compression", "gzip", *TINY)


def filter_keeps_rows_of_every_hdf5_storage(case):
    """Every cell but a few, so that the sequence has gaps."""
    for source in corpus.h5ad(case.corpus):
        n = row_count(trees.load(source))
        if source.stem in corpus.NOT_ANNDATA or n < N:
            continue
        names = list(corpus.read_input(source).obs_names)
        rows = [i for i in range(n) if i % 7 not in (2, 3)]
        listed = case.folder("lists") / "cells.txt"
        listed.write_text("\n".join(names[i] for i in reversed(rows)))
        _filtered(case, source.name, source, rows, "--cells", listed)


WHERE = {
    "flag": lambda o: o["flag"], "not flag": lambda o: ~o["flag"], "maybe": lambda o: o["maybe"].fillna(False), "count > 1": lambda o: o["count"] > 1,
    "count >= 1 and count<3": lambda o: o["count"].isin([1, 2]), "2 < count": lambda o: o["count"] == 3, "count == 1.5": lambda o: o["count"] > 99,
    "share <= 0.75": lambda o: o["share"] <= 0.75, "share != 0.5": lambda o: o["share"].notna() & (o["share"] != 0.5), "not share == 0.5": lambda o: o["share"] != 0.5,
    "single == 0.1": lambda o: o["single"] == np.float32(0.1), "single in [0.1, .3]": lambda o: o["single"].isin(np.array([0.1, 0.3], "f4")),
    "big == 9007199254740993": lambda o: o["big"] == 2**53 + 1, "big > 9007199254740993": lambda o: o["big"] > 2**53 + 1,
    "kind == 'T'": lambda o: o["kind"] == "T", "kind != 'T'": lambda o: o["kind"].notna() & (o["kind"] != "T"),
    'kind in ["T", "ü/x"] and not flag': lambda o: o["kind"].isin(["T", "ü/x"]) & ~o["flag"], 'kind not in ["T"]': lambda o: o["kind"].isin(["B cell", "ü/x"]),
    'not kind in ["T"]': lambda o: o["kind"] != "T", "kind in []": lambda o: o["count"] < 0, "batch > 1": lambda o: o["batch"].astype(int) > 1,
    "batch == '2'": lambda o: o["batch"] == 2, "leiden == 10 or leiden in ['0', 3]": lambda o: o["leiden"].isin(["10", "0", "3"]),
    "`two words` < 5 or (`two words` > 50 and count != 0)": lambda o: (o["two words"] < 5) | ((o["two words"] > 50) & (o["count"] != 0)),
    "count < share": lambda o: o["count"] < o["share"], "dotted.name == count": lambda o: o["dotted.name"] == o["count"], "some > 10": lambda o: (o["some"] > 10).fillna(False),
    "word == 'TRUE'": lambda o: o["word"] == "TRUE", "word >= 'T'": lambda o: o["word"] >= "T", "flag == true and maybe == False": lambda o: o["flag"] & (~o["maybe"]).fillna(False),
    "i8 < 0": lambda o: o["i8"] < 0, "u8 > 9223372036854775807": lambda o: o["u8"] > 2**63 - 1, "cat_int in [10, 30]": lambda o: o["cat_int"].isin([10, 30]),
    "cat_nothing == 'a'": lambda o: o["flag"] & ~o["flag"], "cat_float == 0.5": lambda o: o["cat_float"] == 0.5, "Int64_big == 9007199254740993": lambda o: (o["Int64_big"] == 2**53 + 1).fillna(False),
}


def filter_keeps_cells_by_an_expression(case):
    source, obs = _source(case)
    for expr, mask in WHERE.items():
        _filtered(case, expr, source, np.flatnonzero(np.asarray(mask(obs), bool)), "--where", expr)
    both = obs["flag"] & (obs["count"] > 0)
    _filtered(case, "both", source, np.flatnonzero(both), "--where", "count > 0", "--obs-column", "flag")
    _filtered(case, "both in tiny blocks", source, np.flatnonzero(both), "--where", "count > 0", "--obs-column", "flag", *TINY)
    _filtered(case, "inverted", source, np.flatnonzero(~both), "--where", "count > 0", "--obs-column", "flag", "--invert")
    for expr, *words in (("nothing > 1", "no column 'nothing'"), ("kind > 1", "'kind' holds text", "1"), ("count == 'a'", "'count'", "numbers"), ("count", "'count'", "bools"), ("kind == count", "cannot be compared")):
        _refused(case, expr, ("filter", source, case.folder("refused") / "o.h5ad", "--where", expr), *words)
    for expr, *words in (("count >", "character 8"), ("count = 1", "=="), ("(flag", "character 6"), ("", "character 1")):
        _refused(case, expr, ("filter", source, case.folder("refused") / "o.h5ad", "--where", expr), *words, code=2)


def filter_keeps_listed_cells(case):
    source, obs = _source(case)
    listed = case.folder("lists") / "cells.txt"
    rows = [3, 5, 6, 50]
    names = [obs.index[i] for i in reversed(rows)]
    listed.write_text("".join(f"{name} \r\n" for name in names + names[:1]) + "\n")
    _filtered(case, "a list", source, rows, "--cells", listed)
    _filtered(case, "all but a list", source, np.setdiff1d(np.arange(N), rows), "--cells", listed, "--invert")
    listed.write_text("\n".join(names + ["no one", "nobody"]))
    _filtered(case, "a list with others", source, rows, "--cells", listed, "--missing-ok")
    _refused(case, "a list with others", ("filter", source, case.folder("refused") / "o.h5ad", "--cells", listed), "2 of the 6", "'no one'", "--missing-ok")
    listed.write_text("")
    _filtered(case, "an empty list", source, [], "--cells", listed)
    _filtered(case, "all but an empty list", source, np.arange(N), "--cells", listed, "--invert", suffixes=(".h5ad", ".zarr"))
    zarr, _ = _source(case, "cells.zarr")
    _filtered(case, "none of zarr", zarr, [], "--cells", listed, suffixes=(".zarr",))


def filter_equals_the_python_tool(case):
    source, adata = upstream._source(case)
    obs = adata.obs
    obs["flag"], obs["count"], obs["share"] = obs["total"] > 0.5, np.arange(len(obs)) % 3, np.where(obs["total"] > 0.8, np.nan, 0.0)
    obs["word"] = np.where(obs["flag"], "True", "0")
    corpus.write(adata, source)
    table = _table(case, obs.index, "t.csv", label=np.where(obs["flag"], "TRUE", "0"))
    for options in (("flag",), ("count",), ("share",), ("word",), ("label", "--csv-file", table), ("label", "--csv-file", table, "--join-column", "id")):
        label = " ".join(map(str, options))
        ours, theirs = case.work / "ours.h5ad", case.work / "theirs.h5ad"
        upstream._python(case, "filter", source, theirs, "--obs-column", *options)
        if case.works(label, "filter", source, ours, "--obs-column", *options):
            case.same_adata(label, corpus.read(theirs), ours, skip=upstream.SKIP)


def _sliced(case, label, source, column, values, *options, always=()):
    """`slice --obs-column` makes a shard of each of `values`, a function from label to whether a cell has it."""
    out = case.folder("slices") / "deep/s"
    if not case.works(label, "slice", source, out, "--obs-column", column, *options, *(("--always-include", *always) if always else ())):
        return
    kept = [value for value in values if value not in always]
    safe = {value: re.sub(r"[^\w.-]", "_", value) for value in kept}
    made, want = sorted(p.name for p in out.parent.iterdir()), sorted(f"s_{name}.h5ad" for name in safe.values())
    if made != want:
        case.check(label, [f"made {made}, want {want}"])
        return
    whole = trees.load(source)
    shared = np.any([values[v] for v in always], axis=0) if always else np.zeros(row_count(whole), bool)
    names = _names(source)
    for value in kept:
        rows, path = np.flatnonzero(values[value] | shared), out.parent / f"s_{safe[value]}.h5ad"
        if value in (kept[0], kept[-1]):
            case.same_tree(f"{label}: {value}", take.take(whole, rows), path)
        else:  # which cells there are is what differs between shards
            found = _names(path)
            case.check(f"{label}: {value}", [] if list(found) == list(names[rows]) else [f"cells {found[:4]}"])


def _names(path):
    """The names of the cells of a `.h5ad` file."""
    with h5py.File(path) as file:
        return file["obs"][file["obs"].attrs["_index"]].asstr()[()]


def _values(series, text=str):
    """Each value that has cells, as text, and the cells that have it."""
    plain = series.astype(object)
    return {text(v): np.asarray(plain == v, bool) & ~np.asarray(series.isna()) for v in plain.dropna().unique()}


COLUMNS = ("kind", "cat", "cat_ordered", "cat_int", "cat_bool", "cat_float", "cat_many", "cat_nullable", "leiden", "flag", "maybe", "count", "some", "missing_text", "text")


def slice_makes_a_shard_of_each_category(case):
    source, obs = _source(case)
    for column in COLUMNS:
        _sliced(case, column, source, column, _values(obs[column]))
        _sliced(case, f"{column} in tiny blocks", source, column, _values(obs[column]), *TINY)
    for column, always in (("kind", ["T"]), ("leiden", ["10", "3"]), ("count", ["0"]), ("flag", ["True"])):
        _sliced(case, f"{column} with {always}", source, column, _values(obs[column]), always=always)
        _sliced(case, f"{column} with {always} in tiny blocks", source, column, _values(obs[column]), "--compression", "gzip", *TINY, always=always)
    zarr, obs = _source(case, "cells.zarr")
    made = case.folder("slices") / "z"
    if case.works("zarr", "slice", zarr, made, "--obs-column", "leiden", *TINY):
        for value, mask in _values(obs["leiden"]).items():
            names = list(corpus.read(made.with_name(f"z_{value}.h5ad")).obs_names)
            case.check(f"zarr {value}", [] if names == list(obs.index[mask]) else [f"cells {names[:4]}"])


def slice_by_a_column_equals_the_python_tool(case):
    source, adata = upstream._source(case)
    n = adata.n_obs
    table = _table(case, adata.obs_names, "t.csv", gene=np.arange(n) % 13, score=(np.arange(n) % 5) / 2, name=[f"gene {i % 17}" for i in range(n)])
    for options in (("kind",), ("kind", "--always-include", "a"), ("gene", "--csv-file", table), ("score", "--csv-file", table), ("name", "--csv-file", table, "--always-include", "gene 3", "gene 5"),
                    ("name", "--csv-file", table, "--join-column", "id"), ("kind", "--always-include", "a", "ü")):
        _same_named(case, " ".join(map(str, options)), source, "--obs-column", *options)


def _same_named(case, label, source, *options):
    """Our shards have the names and contents of the Python tool's."""
    ours, theirs = case.folder("ours"), case.folder("theirs")
    upstream._python(case, "slice", source, theirs / "p", *options)
    if not case.works(label, "slice", source, ours / "p", *options):
        return
    names = [sorted(p.name for p in folder.iterdir()) for folder in (ours, theirs)]
    case.check(label, [] if names[0] == names[1] else [f"files {names[0]}, want {names[1]}"])
    for name in names[1]:
        if (ours / name).exists():
            case.same_adata(f"{label}: {name}", corpus.read(theirs / name), ours / name, skip=upstream.SKIP)


def _table(case, names, file, sep=",", **columns):
    """A table of the cells, in another order and with a line too many."""
    frame = pd.DataFrame({"id": [f" {n} " for n in names], "other": "x", **columns}).iloc[::-1]
    path = case.folder(f"tables_{file}") / file
    frame.to_csv(path, index=False, sep=sep)
    return path


def a_table_joins_obs(case):
    source, obs = _source(case)
    i = np.arange(N)
    columns = {"text": np.array(["b", "a", "NA", "ü,\"x"], object)[i % 4], "whole": i % 5 - 2, "part": (i % 3) / 4, "yes": i % 2 == 0, "padded": [f"0{k % 3}" for k in i], "many": i * 7}
    for name, sep in (("t.csv", ","), ("t.tsv", "\t")):
        table = _table(case, obs.index, name, sep, **columns)
        packed = table.with_name(f"{name}.gz")
        packed.write_bytes(gzip.compress(table.read_bytes()))
        for path in (table, packed):
            for column, values in columns.items():
                if column == "many" and path.suffix != ".csv":
                    continue  # a shard for each cell
                _by_table(case, source, obs, path, column, pd.Series(values, dtype=object if column == "text" else None).replace("NA", np.nan))


def _by_table(case, source, obs, path, column, values):
    """The column of the table is in the shards of its values, and in what `filter` keeps by it where it is no text."""
    label, made, categories = f"{path.name} {column}", case.folder("joined") / "s", values.astype("category").array
    if case.works(label, "slice", source, made, "--obs-column", column, "--csv-file", path):
        for value, keep in _values(values).items():
            safe = re.sub(r"[^\w.-]", "_", value)
            shard = made.with_name(f"s_{safe}.h5ad")
            _joined(case, f"{label} {value}", obs, keep, column, categories[keep], shard)
    for suffix, blocks in ((".h5ad", ()), (".zarr", TINY)) if values.dtype.kind in "bif" else ():
        out = made.with_name(f"o{suffix}")
        if case.works(label, "filter", source, out, "--obs-column", column, "--csv-file", path, "--where", f"{column} in [-2, 0.25, true, 49]", *blocks):
            keep = np.asarray(values.isin([-2, 0.25, True, 49]) & (values != 0), bool)
            _joined(case, f"{label} {suffix}", obs, keep, column, categories[keep], out)


def _joined(case, label, obs, keep, column, want, out):
    got = corpus.read(out).obs
    expected = obs[keep].drop(columns=[column], errors="ignore")
    faults = [] if list(got.columns) == [*expected.columns, column] else [f"columns {list(got.columns)[-4:]}"]
    faults += [] if list(got.index) == list(expected.index) else ["other cells"]
    found = got[column].array if column in got else None
    same = isinstance(found, pd.Categorical) and list(found.categories) == list(want.categories) and list(found.codes) == list(want.codes)
    case.check(label, faults + ([] if same else [f"{found!r}, want {want!r}"[:300]]))


def slice_into_parts_and_by_bytes(case):
    full, small = (case.corpus / f"{name}.h5ad" for name in ("full", "x_csc"))
    for options, order in (((), np.arange(N)), (("--shuffle", "--seed", "4"), permutation(4)(N))):
        for parts in (1, 2, 7, N, N + 5):
            source = full if parts < N else small  # of which a shard for each cell costs little
            whole = trees.load(source)
            made = case.slice(f"--shards {parts}", source, "--shards", parts, *options)
            want = [rows for rows in np.array_split(order, parts) if len(rows)]
            for rows, path in zip(want, made or [], strict=True):
                case.same_tree(f"--shards {parts} {path.name}", take.take(whole, rows), path, trees.columns_sorted)
        source, whole = full, trees.load(full)
        empty = _bytes(take.take(whole, []))
        for room in (5_000, 12_345, 10**9):
            label, at = f"--max-bytes {room}", 0
            for path in case.slice(label, source, "--max-bytes", empty + room, *options) or []:
                shard = trees.load(path)
                rows = order[at:at + row_count(shard)]
                at += len(rows)
                case.same_tree(f"{label} {path.name}", take.take(whole, rows), path, trees.columns_sorted)
                size = _bytes(shard)
                case.check(f"{label} {path.name}", [] if size <= 1.05 * (empty + room) or len(rows) == 1 else [f"{size} bytes in {len(rows)} cells"])
            case.check(label, [] if at == N else [f"{at} cells of {N}"])
    for name in ("x_csc", "x_dense_f4"):
        small = case.corpus / f"{name}.h5ad"
        made = case.slice(name, small, "--max-bytes", _bytes(take.take(trees.load(small), [])) + 1500)
        case.check(name, [] if made and 1 < len(made) < N else [f"{made and len(made)} shards"])


def _bytes(node):
    """What the values of a tree take, 16 bytes for each text beside its own."""
    values = node.values
    own = 0
    if isinstance(values, np.ndarray):
        own = sum(len(str(v).encode()) + 16 for v in values.ravel()) if values.dtype.kind in "OTU" else values.nbytes
    return own + sum(_bytes(child) for child in node.children.values())


def bad_choices_of_cells_are_refused(case):
    source, obs = _source(case)
    out = case.folder("refused")
    table = _table(case, obs.index[:-3], "short.csv", grp="a")
    twice = case.folder("tables_twice") / "twice.csv"
    twice.write_text("id,grp\n" + "".join(f"{n},a\n" for n in obs.index) + f"{obs.index[3]},b\n")
    by = lambda *options: ("slice", source, out / "s", *options)
    keep = lambda *options: ("filter", source, out / "o.h5ad", *options)
    for args, *words in (
            (keep("--obs-column", "kind"), "'kind'", "'B cell', 'T', 'ü/x'"), (keep("--obs-column", "flagg"), "no column 'flagg'", "'flag'"), (keep("--cells", out / "none.txt"), "none.txt"),
            (by("--obs-column", "share"), "'share' is float64"), (by("--obs-column", "kind", "--always-include", "B sell"), "'B sell'", "'B cell'"),
            (by("--obs-column", "grp", "--csv-file", table), "3 of 53 cells", "'cell 50 é'", "short.csv"), (by("--obs-column", "grp", "--csv-file", twice), "twice.csv", "cell 3 é", "Line 55"),
            (by("--obs-column", "grq", "--csv-file", table), "no column 'grq'", "'grp'"), (by("--obs-column", "grp", "--csv-file", table, "--join-column", "x"), "no column 'x'", "'id'"),
            (by("--obs-column", "grp", "--csv-file", out / "none.csv"), "none.csv"), (by("--max-bytes", "10B"), "--max-bytes"), (("filter", source, source, "--where", "flag"), "input"),
            (("filter", source, out / "o.loom", "--where", "flag"), "o.loom")):
        _refused(case, " ".join(map(str, args[2:])), args, *words)
    for args, *words in (
            (by("--size", "5", "--shards", "2"), "--shards"), (by("--max-bytes", "5GB", "--shards", "2"), "--shards"), (by("--shards", "0"), "--shards"), (by("--max-bytes", "many"), "--max-bytes"),
            (keep(), "--where"), (keep("--where", "flag", "--missing-ok"), "--cells")):
        _refused(case, " ".join(map(str, args[2:])), args, *words, code=2)
    adata = objects.small()
    adata.obs["clash"] = pd.Categorical(np.array(["a b", "a+b"], object)[np.arange(adata.n_obs) % 2])
    clash = corpus.write(adata, case.folder("clash") / "clash.h5ad")
    _refused(case, "names that fall together", ("slice", clash, out / "s", "--obs-column", "clash"), "'a b' and 'a+b'", "a_b")


def _refused(case, label, args, *words, code=1):
    out = case.work / "refused"
    done = case.run(*args)
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("INFO", "WARNING"))]
    faults = [] if done.returncode == code and len(lines) == 1 and lines[0].startswith("ERROR") else [f"exit code {done.returncode}, want {code}: {lines[:3]}"]
    faults += [f"{word!r} is not in {lines}" for word in words if word not in " ".join(lines)]
    faults += [f"left {[p.name for p in out.iterdir()]}"] if out.exists() and list(out.iterdir()) else []
    case.check(label, faults)
