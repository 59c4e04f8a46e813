"""Proofs about `merge`, third part: each strategy for what is not along the cells, against `anndata.concat` with the same arguments."""

import itertools

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import corpus
from compare import diff_elem, plain_values
from concat import GENES, JOINS, genes, matrix, part

STRATEGIES = ("first", "same", "unique", "only", "none")


def _merged(case, label, parts, *options, suffix=".h5ad", inputs=(".h5ad",)):
    folder = case.folder("modes")
    paths = [corpus.write(p, folder / f"in_{i}{inputs[i % len(inputs)]}") for i, p in enumerate(parts)]
    return corpus.read(folder / f"out{suffix}") if case.works(label, "merge", folder / f"out{suffix}", *paths, *options) else None


def _concat(parts, join="outer", **arguments):
    """What anndata makes, its genes in the order of the program."""
    whole = ad.concat(parts, join=join, **arguments)
    same = all(list(p.var_names) == list(parts[0].var_names) for p in parts)
    return whole if same else whole[:, genes(parts, join)].copy()


def _named(strategy):
    return None if strategy == "none" else strategy


def _unstructured(seed):
    """uns of one input: some of it the same in all, some not, at several depths and of every encoding."""
    rng = np.random.default_rng(seed)
    same, here = np.random.default_rng(99), {f"only_{seed}": seed, "depth": {"of": {f"leaf_{seed}": f"text {seed}"}}}
    nan = np.array([1.0, np.nan, 3.0], "f4")
    frame = pd.DataFrame({"number": [1.0, np.nan], "text": ["a", "b"], "kind": pd.Categorical(["x", "y"])}, index=["r", "s"])
    return {
        **({} if seed == 1 else {"not_in_1": {"a": 1, "b": [np.arange(3), np.arange(4)][seed % 2]}}),
        **here, "same": "text", "differs": seed, "int_or_float": 1 if seed else 1.0, "none": None, "flag": True,
        "array": np.arange(6).reshape(2, 3), "array_differs": rng.integers(0, 9, 4), "dtype_differs": np.arange(3, dtype=("i4", "i8")[seed % 2]),
        "nan": nan, "nan_alone": np.float64(np.nan), "text": np.array(["a", "", "ü"], object), "text_differs": np.array(["a", f"{seed}"], object),
        "sparse": sp.random(5, 4, 0.5, format=("csr", "csc")[seed % 2], rng=same), "sparse_differs": sp.csr_matrix(np.eye(3) * (seed + 1)),
        "frame": frame, "frame_differs": frame.assign(number=[1.0, float(seed)]), "cat": pd.Categorical(["p", "q", "p"], categories=(["p", "q"], ["q", "p"])[seed % 2]),
        "rec": np.array([(1, 2.0), (3, np.nan)], dtype=[("a", "i4"), ("b", "f8")]), "depth_and_leaf": {"x": 1} if seed == 1 else 1,
        "depth": {"of": {f"leaf_{seed}": seed, "same": np.ones(3), "differs": np.ones(3) * seed, "sometimes": 1} | ({} if seed else {"only_here": 1}), "empty": {}},
    }


def uns_is_kept_by_each_strategy(case):
    for strategy, n, suffix in itertools.product(STRATEGIES, (1, 2, 3), (".h5ad", ".zarr")):
        parts = [part(i, 3, GENES[0]) for i in range(n)]
        for i, p in enumerate(parts):
            p.uns = _unstructured(i)
            if suffix == ".zarr":
                del p.uns["rec"]
        label = f"uns {strategy} of {n} {suffix}"
        got = _merged(case, label, parts, "--uns-merge", strategy, suffix=suffix, inputs=(".h5ad", ".zarr") if suffix == ".zarr" else (".h5ad",))
        if got is not None:
            want = dict(ad.concat(parts, uns_merge=_named(strategy)).uns)
            uns = dict(got.uns)
            if strategy == "first":  # an empty folder is kept too
                uns["depth"].pop("empty")
            case.check(label, diff_elem(_plain(want), _plain(uns), "uns"))


def _plain(value):
    """Dicts all through, and scalars as anndata reads them back."""
    if hasattr(value, "keys") and not isinstance(value, (pd.DataFrame, np.ndarray)):
        return {k: _plain(v) for k, v in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def uns_of_the_first_comes_whole_and_of_others_what_it_lacks(case):
    parts = [part(i, 4, GENES[i]) for i in range(2)]
    parts[0].uns, parts[1].uns = {"a": 1, "d": {"x": np.arange(3)}, "e": {}}, {"a": 2, "b": "new", "d": {"y": 1}}
    got = _merged(case, "uns", parts)
    if got is not None:
        want = {"a": 1, "b": "new", "d": {"x": np.arange(3), "y": 1}, "e": {}}
        case.check("uns", diff_elem(want, _plain(got.uns), "uns"))
        case.check("uns", [] if "'uns/a'" in case.stderr and "uns/d" not in case.stderr else [f"said {case.stderr}"])


def _over_genes(parts):
    """varm, varp and var columns: the same by gene in all, in some, or nowhere."""
    names = sorted(set().union(*(p.var_names for p in parts)))
    rng = np.random.default_rng(5)
    table = pd.DataFrame(rng.random((len(names), 3)), index=names)
    pairs = pd.DataFrame(rng.random((len(names), len(names))) * (rng.random((len(names), len(names))) < 0.5), index=names, columns=names)
    for i, p in enumerate(parts):
        own = list(p.var_names)
        at, square = table.loc[own].to_numpy(), pairs.loc[own, own].to_numpy()
        p.var = pd.DataFrame({"same": at[:, 0], "word": [f"w {g}" for g in own], "kind": pd.Categorical([g[:1] for g in own]), "whole": np.arange(len(own)),
                              "differs": np.full(len(own), float(i)), **({"in_1": at[:, 1]} if i == 1 else {"not_in_1": at[:, 2]})}, index=own)
        p.varm["same"], p.varm["single"], p.varm["differs"] = at, at.astype("f4"), at + i
        p.varm["ints"], p.varm["cube"] = np.arange(len(own) * 2).reshape(-1, 2), np.stack([at, at], axis=2)
        p.varm["sparse"], p.varm["csc"] = sp.csr_matrix(square @ np.eye(len(own), 3)), sp.csc_matrix(at * (at > 0.5))
        p.varm["frame"] = pd.DataFrame({"v": at[:, 0], "n": np.arange(len(own))}, index=own)
        p.varm["in_1" if i == 1 else "not_in_1"] = at[:, :2]
        p.varp["sparse"], p.varp["csc"], p.varp["dense"], p.varp["differs"] = sp.csr_matrix(square), sp.csc_matrix(square), square, square + i
        p.varp[f"in_{i}"] = sp.csr_matrix(square * 2)


def _var_lines(want, got, strategy):
    """The values of each column. Of "first", anndata has no value for genes that the first file with the column lacks."""
    lines = [] if set(want.columns) == set(got.columns) else [f"columns {sorted(got.columns)}, want {sorted(want.columns)}"]
    for name in set(want.columns) & set(got.columns):
        for gene, a, b in zip(want.index, plain_values(want[name]), plain_values(got[name])):
            if a != b and not (strategy == "first" and a is None):
                lines.append(f"{name} of {gene}: {b!r}, want {a!r}")
    return lines


def _same_element(want, got):
    if isinstance(want, pd.DataFrame) and isinstance(got, pd.DataFrame):
        return _var_lines(want, got, "")
    return diff_elem(want, got, "values", exact=False)


def var_is_kept_by_each_strategy(case):
    orders = (GENES, GENES[:1] * 3, (GENES[0], GENES[0][::-1]), (GENES[2], GENES[0]), (GENES[0], GENES[2]), GENES[:1])
    for strategy, names, join in itertools.product(STRATEGIES, orders, JOINS):
        parts = [part(i, 3 + i, own) for i, own in enumerate(names)]
        _over_genes(parts)
        label = f"var {strategy} of {'|'.join(''.join(n) for n in names)} {join}"
        got = _merged(case, label, parts, "--var-merge", strategy, "--join", join)
        if got is None:
            continue
        want = _concat(parts, join, merge=_named(strategy))
        case.check(f"{label}: genes", [] if list(got.var_names) == list(want.var_names) else [f"{list(got.var_names)}"])
        case.check(f"{label}: columns", _var_lines(want.var, got.var, strategy))
        for folder in ("varm", "varp"):
            a, b = getattr(want, folder), getattr(got, folder)
            case.check(f"{label}: {folder}", [] if set(a) == set(b) else [f"{sorted(b)}, want {sorted(a)}"])
            for key in set(a) & set(b):
                case.check(f"{label}: {folder}/{key}", _same_element(a[key], b[key]))


def obsp_is_kept_on_the_diagonal(case):
    for join, suffix in itertools.product(JOINS, (".h5ad", ".zarr")):
        parts = [part(i, n, GENES[i]) for i, n in enumerate((4, 1, 6))]
        for i, p in enumerate(parts):
            rng = np.random.default_rng(i)
            square = lambda form, dtype="f4": matrix(rng, p.n_obs, p.n_obs, form, dtype)  # noqa: E731
            p.obsp["csr"], p.obsp["csc"], p.obsp["dense"] = square("csr"), square("csc"), square("dense", "f8")
            p.obsp["mixed"], p.obsp["dtypes"] = square(("csr", "dense", "csc")[i]), square("csr", ("i4", "f4", "u1")[i])
            if i != 1:
                p.obsp["not_in_1"] = square("csr", "i8")
        label = f"obsp {join} {suffix}"
        got = _merged(case, label, parts, "--pairwise", "--join", join, suffix=suffix)
        if got is None:
            continue
        want = _concat(parts, join, pairwise=True)
        case.check(label, [] if set(want.obsp) == set(got.obsp) else [f"{sorted(got.obsp)}, want {sorted(want.obsp)}"])
        case.check(label, [f"{k!r} is dropped without a word" for k in ("not_in_1",) if k not in got.obsp and k not in case.stderr])
        for key in set(want.obsp) & set(got.obsp):
            case.check(f"{label}: {key}", diff_elem(want.obsp[key], got.obsp[key], key, exact=False))
            case.check(f"{label}: {key}", [] if got.obsp[key].format == "csr" else ["is not CSR"])


def missing_rows_and_columns_take_the_fill_value(case):
    forms = (("csr",) * 3, ("dense",) * 3, ("csc",) * 3, ("dense", "csr", "csc"))
    for form, dtype, value in itertools.product(forms, ("f4", "f8", "i4"), ("0", "-1", "2.5", "nan", "1e300")):
        parts = [part(i, 5 + i, names, form[i], dtype) for i, names in enumerate(GENES)]
        for i, p in enumerate(parts):
            rng = np.random.default_rng(i)
            p.layers["layer"] = matrix(rng, p.n_obs, p.n_vars, form[i], dtype)
            if i != 1:
                p.obsm["dense"], p.obsm["sparse"] = matrix(rng, p.n_obs, 3, "dense", dtype), matrix(rng, p.n_obs, 3, "csr", dtype)
        label = f"fill {value} {form} {dtype}"
        got = _merged(case, label, parts, "--fill-value", value)
        if got is None:
            continue
        want = _concat(parts, fill_value=float(value))
        pairs = {"X": (want.X, got.X), "layer": (want.layers["layer"], got.layers["layer"]),
                 "obsm/dense": (want.obsm["dense"], got.obsm["dense"]), "obsm/sparse": (want.obsm["sparse"], got.obsm["sparse"])}
        for name, (a, b) in pairs.items():
            case.check(f"{label}: {name}", _filled_lines(a, b))


def genes_that_a_file_lacks_are_zero(case):
    """In X, layers and raw, dense too, as the Python tool documents it; NaN in rows of obsm; anndata's own with `--fill-value nan`."""
    for dtype in ("f4", "i4", "?"):
        parts = [part(i, 5 + i, names, "dense", dtype) for i, names in enumerate(GENES)]
        for i, p in enumerate(parts):
            p.layers["layer"], p.raw = p.X.copy(), p.copy()
            if i != 1:
                p.obsm["dense"] = np.ones((p.n_obs, 2), "f4")
        for options, fill in (((), 0), (("--fill-value", "nan"), np.nan)):
            label = f"{dtype} {options}"
            got, want = _merged(case, label, parts, *options), _concat(parts, fill_value=fill)
            if got is None:
                continue
            for name, values in (("X", got.X), ("layer", got.layers["layer"]), ("raw", got.raw.X)):
                case.check(f"{label}: {name}", _filled_lines(want.X, values))
                kept = np.dtype("f8" if options and dtype != "f4" else dtype)
                case.check(f"{label}: {name}", [] if values.dtype == kept else [f"{values.dtype}, want {kept}"])
            case.check(f"{label}: obsm", _filled_lines(_concat(parts).obsm["dense"], got.obsm["dense"]))


def _filled_lines(want, got):
    """Values alone: the type stays where it holds the value, where anndata takes float64."""
    if sp.issparse(want) != sp.issparse(got):
        return [f"is {type(got).__name__}, want {type(want).__name__}"]
    dense = [m.toarray() if sp.issparse(m) else m for m in (want, got)]
    return diff_elem(dense[0].astype("f8"), dense[1].astype("f8"), "values")


def bad_strategies_are_refused(case):
    path = corpus.write(part(0, 3, GENES[0]), case.folder("modes") / "in.h5ad")
    for options in (("--fill-value", "zero"), ("--fill-value", ""), ("--fill-value", "9007199254740993"), ("--uns-merge", "last"), ("--var-merge", "")):
        done = case.run("merge", case.work / "modes" / "out.h5ad", path, *options)
        case.check(f"{options}", [] if done.returncode == 2 and options[0] in done.stderr else [f"exit code {done.returncode}: {done.stderr}"])
    done = case.run("merge", case.work / "modes" / "out.h5ad", path, "--fill-value", "1", "--join", "inner")
    case.check("inner", [] if done.returncode == 0 and "--fill-value" in done.stderr else [f"exit code {done.returncode}: {done.stderr}"])
