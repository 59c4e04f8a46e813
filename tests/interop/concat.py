"""Proofs about `merge`, second half: inputs that differ give what `anndata.concat` gives, but where the program means otherwise.

The differences that are meant: genes of an outer join in code point order, of an inner join as in the first file; each gene's var
row from the first input that has it; only layers that every input has; genes that an input lacks are 0 in dense matrices too; mixed kinds in an obs column become strings.
"""

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import corpus
from compare import diff_elem, plain_values

GENES = (["b", "a", "d", "é"], ["c", "a", "b", "e", "🧬"], ["d", "b", "a"])
JOINS = ("outer", "inner")


def part(seed, n, genes, form="csr", dtype="f4", obs=None):
    """`n` cells of the named genes; X as 'csr', 'csc', 'dense' or None."""
    rng = np.random.default_rng(seed)
    index = [f"s{seed}_{i}" for i in range(n)]
    var = pd.DataFrame({"source": [f"from {seed}"] * len(genes), "rank": np.arange(len(genes)) + 100 * seed}, index=genes)
    return ad.AnnData(matrix(rng, n, len(genes), form, dtype), obs=pd.DataFrame(obs, index=index), var=var)


def matrix(rng, n, m, form, dtype):
    if form is None:
        return None
    values = rng.integers(0, 100, (n, m)) * (rng.random((n, m)) < 0.5)
    dense = values.astype(dtype)
    return dense if form == "dense" else sp.csr_matrix(dense).asformat(form)


def _merge(case, label, parts, join, suffix=".h5ad", inputs=(".h5ad",)):
    folder = case.folder("concat")
    paths = [corpus.write(p, folder / f"in_{i}{inputs[i % len(inputs)]}") for i, p in enumerate(parts)]
    return corpus.read(folder / f"out{suffix}") if case.works(f"{label} {join}", "merge", folder / f"out{suffix}", *paths, "--join", join) else None


def _check(case, label, parts, join, suffix=".h5ad", inputs=(".h5ad",)):
    got = _merge(case, label, parts, join, suffix, inputs)
    if got is None:
        return None
    label, want = f"{label} {join}", _concat(parts, join)
    case.check(f"{label}: obs names", [] if list(got.obs_names) == list(want.obs_names) else [f"{list(got.obs_names)}"[:200]])
    case.check(f"{label}: genes", [] if list(got.var_names) == list(want.var_names) else [f"{list(got.var_names)}, want {list(want.var_names)}"])
    if got.shape != want.shape:
        case.check(label, [f"shape {got.shape}, want {want.shape}"])
        return got
    case.check(f"{label}: X", _matrix_lines(want.X, got.X))
    layers = set.intersection(*(set(p.layers) for p in parts))
    case.check(f"{label}: layers", [] if set(got.layers) == layers else [f"{sorted(got.layers)}, want {sorted(layers)}"])
    for name in layers & set(got.layers):
        case.check(f"{label}: layers/{name}", _matrix_lines(want.layers[name], got.layers[name]))
    case.check(f"{label}: var", _var_lines(parts, got.var))
    case.check(f"{label}: obs", _obs_lines([p.obs for p in parts], got.obs))
    return got


def _concat(parts, join):
    want = ad.concat(parts, join=join)
    if all(list(p.var_names) == list(parts[0].var_names) for p in parts):
        return want
    zeros = ad.concat(parts, join=join, fill_value=0)
    want.X, want.layers = zeros.X, zeros.layers
    return want[:, genes(parts, join)].copy()


def genes(parts, join):
    if join == "outer":
        return sorted(set().union(*(p.var_names for p in parts)))
    return [g for g in parts[0].var_names if all(g in p.var_names for p in parts)]


def _matrix_lines(want, got):
    """Sparse stays as it is stored in canonical order, dense to the bit."""
    if want is None or got is None:
        return [] if want is got else [f"is {type(got).__name__}, want {type(want).__name__}"]
    if not sp.issparse(want):
        return diff_elem(want, got, "values")
    if not sp.issparse(got) or got.format != "csr":
        return [f"is {type(got).__name__}, want CSR"]
    lines = diff_elem(want.tocsr(), got, "values", exact=False)
    return lines + ([] if got.has_canonical_format else ["columns of a row are not in order, or doubled"])


def _var_lines(parts, var):
    lines = []
    for gene, row in var.iterrows():
        first = next(p.var.loc[gene] for p in parts if gene in p.var_names)
        lines += [f"{gene}: {name} is {row[name]!r}, want {first[name]!r}" for name in first.index if row[name] != first[name]]
    return lines


def _obs_lines(frames, got):
    """Every value, with None where an input lacks the column; kinds as the program means them."""
    names = list(dict.fromkeys(name for f in frames for name in f.columns))
    if list(got.columns) != names:
        return [f"columns {list(got.columns)}, want {names}"]
    return [line for name in names for line in _column_lines(name, [f.get(name) for f in frames], [len(f) for f in frames], got[name])]


def _column_lines(name, parts, lengths, got):
    present = [p for p in parts if p is not None]
    want = np.concatenate([plain_values(p) if p is not None else np.full(n, None) for p, n in zip(parts, lengths)])
    kinds = {"category" if isinstance(p.dtype, pd.CategoricalDtype) else "text" if p.dtype == object or p.dtype == "string" else "number" for p in present}
    lines = []
    if "category" in kinds:
        if not isinstance(got.dtype, pd.CategoricalDtype):
            return [f"{name}: dtype {got.dtype}, want categorical"]
        categorical = [p for p in present if isinstance(p.dtype, pd.CategoricalDtype)]
        if len(categorical) == len(present):
            union = list(dict.fromkeys(c for p in present for c in p.cat.categories))
            lines += [] if list(got.cat.categories) == union else [f"{name}: categories {list(got.cat.categories)}, want {union}"]
        ordered = len(categorical) == len(present) and all(p.cat.ordered and list(p.cat.categories) == list(present[0].cat.categories) for p in present)
        lines += [] if got.cat.ordered == ordered else [f"{name}: ordered {got.cat.ordered}, want {ordered}"]
    elif kinds == {"text", "number"}:
        want = np.array([None if v is None else str(v) for v in want], object)
    elif len(present) == len(parts) and len({str(p.dtype) for p in present}) == 1 and got.dtype != present[0].dtype:
        lines.append(f"{name}: dtype {got.dtype}, want {present[0].dtype}")
    values = plain_values(got)
    wrong = [i for i, (a, b) in enumerate(zip(want, values)) if not _same_cell(a, b)]
    return lines + [f"{name}: row {i} is {values[i]!r}, want {want[i]!r}" for i in wrong[:2]]


def _same_cell(want, got):
    return want == got and isinstance(want, str) == isinstance(got, str)


def concat_of_the_same_genes(case):
    for forms in (("csr", "csr"), ("dense", "dense"), ("csc", "csc"), (None, None), ("dense", "csr"), ("csc", "csr"), ("csr", "dense", "csc")):
        for suffix in (".h5ad", ".zarr"):
            parts = [part(i, 5 + 3 * i, GENES[0], form) for i, form in enumerate(forms)]
            _check(case, f"same genes {forms} {suffix}", parts, "outer", suffix)


def concat_of_differing_genes(case):
    for forms in (("csr",) * 3, ("dense",) * 3, (None,) * 3, ("csc",) * 3, ("dense", "csr", "csc")):
        for join in JOINS:
            for suffix in (".h5ad", ".zarr"):
                parts = [part(i, 5 + 3 * i, names, form) for i, (names, form) in enumerate(zip(GENES, forms))]
                _check(case, f"genes {forms} {suffix}", parts, join, suffix)


def concat_of_mixed_stores(case):
    for inputs in ((".zarr", ".h5ad"), (".h5ad", ".zarr"), (".zarr",)):
        for suffix in (".h5ad", ".zarr"):
            for names in (GENES, GENES[:1] * 3):
                parts = [part(i, 5 + 3 * i, names[i], ("csr", "csc", "dense")[i]) for i in range(3)]
                _check(case, f"{inputs} -> {suffix}", parts, "outer", suffix, inputs)


def concat_of_the_same_genes_in_another_order(case):
    for form in ("csr", "dense"):
        for join in JOINS:
            _check(case, f"reordered {form}", [part(0, 6, ["x", "a", "m"], form), part(1, 7, ["m", "x", "a"], form)], join)


def concat_promotes_dtypes(case):
    pairs = (("i4", "f4"), ("u1", "i1"), ("f4", "f8"), ("i2", "i8"), ("bool", "f4"), ("u2", "f4"), ("u4", "i4"), ("i1", "i1"))
    for dtypes in pairs:
        for form in ("csr", "dense"):
            for second in (GENES[0], GENES[1]):
                parts = [part(i, 6 + i, names, form, dtype) for i, (dtype, names) in enumerate(zip(dtypes, (GENES[0], second)))]
                for join in JOINS if form == "csr" else ("inner",):
                    _check(case, f"dtypes {dtypes} {form} of {len(second)}", parts, join)


def concat_keeps_large_integers(case):
    """Values that float32 cannot hold."""
    for value, dtype in ((16_777_217, "i4"), (2**53 + 1, "i8"), (2**63 + 1, "u8")):
        parts = [part(i, 4, GENES[i], "csr", dtype) for i in range(2)]
        for p in parts:
            p.X.data[:] = value
            p.obsm["big"] = np.full((4, 2), value, dtype)
        got = _check(case, f"{value}", parts, "outer")
        if got is not None:
            case.check(f"{value}: obsm", diff_elem(np.full((8, 2), value, dtype), got.obsm["big"], "big"))


def concat_keeps_common_layers(case):
    for join in JOINS:
        parts = [part(i, 5 + i, GENES[i]) for i in range(3)]
        for i, p in enumerate(parts):
            rng = np.random.default_rng(i)
            p.layers["sparse"], p.layers["dense"] = matrix(rng, p.n_obs, p.n_vars, "csr", "i4"), matrix(rng, p.n_obs, p.n_vars, "dense", "f4")
            p.layers["mixed"] = matrix(rng, p.n_obs, p.n_vars, ("csr", "dense", "csc")[i], "f8")
        parts[1].layers["only_here"] = parts[1].X.copy()
        if _check(case, "layers", parts, join) is not None:
            case.check("layers", [] if "only_here" in case.stderr else ["'only_here' is dropped without a word"])


def concat_unites_obs(case):
    """Columns that differ in being there, in kind, in width and in categories."""
    cat = pd.Categorical
    columns = [
        {"both": [1, 2, 3], "left": [1.5, 2.5, 3.5], "whole": [1, 2, 3], "flag": [True, False, True], "word": ["a", "", "ü"],
         "kind": cat(["x", "y", None]), "unused": cat(["p", "p", "p"], categories=["q", "p"]), "ranked": cat(["lo", "hi", "lo"], ["lo", "hi"], ordered=True),
         "unranked": cat(["lo", "hi", "lo"], ["lo", "hi"], ordered=True), "half": cat(["x", "y", "x"]), "numbers": cat([1, 2, 1]), "mixed": [1, 2, 3],
         "nullable": pd.array([1, None, 2**53 + 1], dtype="Int64"), "maybe": pd.array([True, None, False], dtype="boolean"), "narrow": np.array([1, 2, 3], "i1"),
         "missing_word": pd.array(["a", None, "c"], dtype="string"), "single": np.array([1, 2, np.nan], "f4")},
        {"both": [4, 5], "right": ["r", "s"], "word": ["b", "c"], "kind": cat(["z", "x"], categories=["z", "x"]), "unused": cat(["r", "q"], categories=["r", "q"]),
         "ranked": cat(["hi", "lo"], ["lo", "hi"], ordered=True), "unranked": cat(["hi", "lo"], ["hi", "lo"], ordered=True), "half": ["w", "x"], "numbers": cat([3, 2]),
         "mixed": ["four", "5"], "nullable": pd.array([None, 7], dtype="Int64"), "maybe": pd.array([None, True], dtype="boolean"),
         "narrow": np.array([1000, -1000], "i2"), "missing_word": pd.array([None, "d"], dtype="string"), "single": np.array([1, 2], "f8"),
         "right_cat": cat(["m", None]), "right_nullable": pd.array([None, 2**60 + 1], dtype="Int64")},
    ]
    for order in ((0, 1), (1, 0), (0, 1, 0)):
        for suffix in (".h5ad", ".zarr"):
            for form in ("csr", None):
                parts = [part(seed, len(columns[i]["both"]), GENES[0], form, obs=columns[i]) for seed, i in enumerate(order)]
                _check(case, f"obs {order} {form} {suffix}", parts, "outer", suffix)


def concat_unites_obsm(case):
    """The outer join keeps keys that some lack, as missing; the inner join drops them with a warning."""
    for join in JOINS:
        parts = [part(i, 4 + i, GENES[0]) for i in range(2)]
        for i, p in enumerate(parts):
            rng = np.random.default_rng(i)
            p.obsm["dense"], p.obsm["cube"] = rng.random((p.n_obs, 3)), rng.random((p.n_obs, 2, 2)).astype("f4")
            p.obsm["sparse"] = sp.random(p.n_obs, 5, 0.5, format=("csr", "csc")[i], rng=rng)
            p.obsm["frame"] = pd.DataFrame({"v": rng.random(p.n_obs), ("l", "r")[i]: ["a"] * p.n_obs}, index=p.obs_names)
        parts[0].obsm["left"] = np.arange(8, dtype="f4").reshape(4, 2)
        parts[1].obsm["right"] = np.arange(10.0).reshape(5, 2)
        got, want = _check(case, "obsm", parts, join), ad.concat(parts, join=join)
        if got is None:
            continue
        case.check(f"obsm {join}", [] if set(got.obsm) == set(want.obsm) else [f"{sorted(got.obsm)}, want {sorted(want.obsm)}"])
        case.check(f"obsm {join}", [f"{k!r} is dropped without a word" for k in ("left", "right") if k not in got.obsm and k not in case.stderr])
        for key in set(got.obsm) & set(want.obsm):
            _check_obsm(case, f"obsm {join}: {key}", want.obsm[key], got.obsm[key], [p.obsm.get(key) for p in parts])


def _check_obsm(case, label, want, got, parts):
    if isinstance(want, pd.DataFrame):
        if join_lost := [c for p in parts for c in p.columns if c not in got.columns and c in want.columns]:
            case.check(label, [f"columns {join_lost} are lost"])
        case.check(label, [line for c in want.columns if c in got.columns
                           for line in _column_lines(c, [p.get(c) for p in parts], [len(p) for p in parts], got[c])])
    elif sp.issparse(want):
        case.check(label, _matrix_lines(want, got) if sp.issparse(got) else [f"is {type(got).__name__}"])
    else:  # where rows are missing, anndata widens to float64 for no need
        same = got.dtype == want.dtype or all(p is None or p.dtype == got.dtype for p in parts)
        case.check(label, diff_elem(want.astype("f8"), got.astype("f8"), "values") if same else [f"dtype {got.dtype}, want {want.dtype}"])


def concat_keeps_raw_where_all_have_it(case):
    for with_raw in ((0, 1), (0,)):
        parts = [part(i, 4 + i, GENES[0]) for i in range(2)]
        for i in with_raw:
            parts[i].raw = part(i + 5, 4 + i, ["r1", "r2", "r3"])
            parts[i].raw.var["rank"], parts[i].raw.var["source"] = [1, 2, 3], ["a", "b", "c"]
        got = _check(case, f"raw of {with_raw}", parts, "outer")
        if got is not None and len(with_raw) == 2:
            want = sp.vstack([p.raw.X for p in parts], format="csr")
            case.check("raw", ["is lost"] if got.raw is None else _matrix_lines(want, got.raw.X) + diff_elem(parts[0].raw.var, got.raw.var, "var"))
        elif got is not None:
            case.check("raw", ([] if got.raw is None else ["is there though an input has none"]) + ([] if "raw" in case.stderr else ["is dropped without a word"]))


def concat_allows_doubled_genes_without_a_remap(case):
    parts = [part(i, 4, ["a", "b", "a"]) for i in range(2)]
    got = _merge(case, "doubled genes", parts, "outer")
    if got is not None:
        case.check("doubled genes", _matrix_lines(sp.vstack([p.X for p in parts], format="csr"), got.X))
        case.check("doubled genes", [] if list(got.var_names) == ["a", "b", "a"] else [f"{list(got.var_names)}"])


def concat_of_one_cell_and_none(case):
    for n in (1, 0):
        for form in ("csr", "dense"):
            for join in JOINS:
                _check(case, f"{n} cells {form}", [part(0, 5, GENES[0], form), part(1, n, GENES[1], form), part(2, 3, GENES[2], form)], join)
