"""Proofs about `--genes`, `--gene-column`, `--missing-genes` and `--var-where`: what comes out is the AnnData that pandas would choose."""

import gzip

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import corpus
from many import rich

NAMES = ["b", "a", "d", "é", "c", "f"]


def _source(form, seed=1):
    out = rich(seed, 13, NAMES, form)
    out.var["symbol"] = ["B", "A", "D", "E", "C", "A"]
    out.var["high"] = pd.Categorical(["yes", "no", "yes", "no", "yes", None])
    out.varp["near"] = sp.random(6, 6, 0.5, "csr", random_state=seed)
    return out


def _list(folder, names, end="txt"):
    path = folder / f"genes.{end}"
    text = "".join(f"{name}\n" for name in names).encode()
    path.write_bytes(gzip.compress(text) if end == "gz" else text)
    return path


def _check(case, label, source, want, *options):
    """slice, merge and filter give `want`, which has all cells of `source`."""
    folder = case.folder("genes")
    path = corpus.write(source, folder / "in.h5ad")
    cells = source.n_obs
    for suffix in (".h5ad", ".zarr"):
        out = folder / f"merged{suffix}"
        if case.works(f"{label}: merge", "merge", out, path, *options):
            case.same_adata(f"{label}: merge {suffix}", want, out, exact=False)
        out = folder / f"filtered{suffix}"
        if case.works(f"{label}: filter", "filter", path, out, *options):
            case.same_adata(f"{label}: filter {suffix}", want, out, exact=False)
    if case.works(f"{label}: slice", "slice", path, folder / "s", "--size", "5", *options):
        for i, start in enumerate(range(0, cells, 5)):
            rows = want[start : start + 5].copy()
            case.same_adata(f"{label}: shard {i}", rows, folder / f"s_shard_{i}.h5ad", exact=False)


def genes_in_the_order_of_a_list(case):
    for form in ("csr", "dense", "csc"):
        source = _source(form)
        for chosen in (["d", "b"], ["b", "d"], NAMES, NAMES[::-1], ["é"]):
            want = source[:, chosen].copy()
            want.raw = source.raw.to_adata()
            if form == "csc":
                want.X = want.X.tocsr()
            end = "gz" if form == "dense" else "txt"
            _check(case, f"{form} {chosen} {end}", source, want, "--genes", _list(case.folder("list"), chosen, end))


def chosen_genes_leave_obsp_as_it_is(case):
    source = _source("csr")
    source.obsp["dense"] = np.random.default_rng(0).random((13, 13)).astype("f4")
    want = source[:, ["d", "b"]].copy()
    want.raw = source.raw.to_adata()
    _check(case, "obsp", source, want, "--genes", _list(case.folder("list"), ["d", "b"]))


def genes_by_a_column(case):
    source = _source("csr")
    want = source[:, ["c", "b"]].copy()
    want.raw = source.raw.to_adata()
    listed = _list(case.folder("list"), ["C", "B"])
    _check(case, "by a column", source, want, "--genes", listed, "--gene-column", "symbol")
    path = corpus.write(source, case.folder("in") / "in.h5ad")
    for names, column, said in (
        (["A"], ["--gene-column", "symbol"], "'A' is there twice"),
        (["C", "nope"], ["--gene-column", "symbol"], "1 is not in every input: 'nope'"),
        (["C"], ["--gene-column", "symbl"], "'symbol'"),
        (["a", "g", "h"], [], "Of 3 genes in --genes, 2 are not in every input: 'g', 'h'"),
        (["a", "nope"], ["--var-where", "rank > 100"], "Of 2 genes in --genes, 1 is not in every input: 'nope'"),
        (["a", "a"], [], "'a' is in it twice"),
        ([], [], "names no gene"),
    ):
        done = case.run("slice", path, case.work / "never", "--genes", _list(case.folder("list"), names), *column)
        right = done.returncode == 1 and said in done.stderr and not list(case.work.glob("never*"))
        case.check(f"{names} {column}", [] if right else [f"{done.returncode}: {done.stderr}"])


def _dense(adata, layer):
    matrix = adata.X if layer is None else adata.layers[layer]
    return matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)


def genes_that_are_filled_in(case):
    source = _source("csr")
    listed = _list(case.folder("list"), ["z", "d", "y", "a"])
    folder = case.folder("in")
    path = corpus.write(source, folder / "in.h5ad")
    if not case.works("filled", "slice", path, folder / "s", "--size", "100", "--genes", listed, "--missing-genes", "fill"):
        return
    got = corpus.read(folder / "s_shard_0.h5ad")
    case.check("names", [] if list(got.var_names) == ["z", "d", "y", "a"] else [str(list(got.var_names))])
    for name in (None, "counts", "dense"):
        want = np.zeros(got.shape)
        want[:, [1, 3]] = _dense(source[:, ["d", "a"]], name)
        case.check(f"values of {name}", [] if np.array_equal(_dense(got, name), want) else ["they differ"])
    case.check("var", [] if got.var["symbol"].isna().tolist() == [True, False, True, False] else [str(got.var)])
    loads = got.varm["loads"]
    right = np.isnan(loads[[0, 2]]).all() and np.array_equal(loads[[1, 3]], source[:, ["d", "a"]].varm["loads"])
    case.check("varm", [] if right else [str(loads)])


    told = "--genes: 2 genes are in no input, and so without any value: 'z', 'y'"
    case.check("misspelt names are told", [] if told in case.stderr else [case.stderr])


def raw_is_joined_as_asked_where_genes_are_filled(case):
    folder = case.folder("in")
    for name, genes in (("a", ["a", "b", "c"]), ("b", ["c", "b", "d"])):
        adata = _source("csr")[:, ["a", "b"]].copy()
        adata.obs_names = name + adata.obs_names
        adata.raw = ad.AnnData(np.ones((adata.n_obs, 3), "f4"), obs=adata.obs, var=pd.DataFrame(index=genes))
        adata.write_h5ad(folder / f"{name}.h5ad")
    listed = _list(case.folder("list"), ["b", "z"])
    for join, want in (("inner", ["b", "c"]), ("outer", ["a", "b", "c", "d"])):
        out = case.folder("out") / "m.h5ad"
        if case.works(join, "merge", out, folder / "a.h5ad", folder / "b.h5ad", "--genes", listed, "--missing-genes", "fill", "--join", join):
            got = list(ad.read_h5ad(out).raw.var_names)
            case.check(join, [] if got == want else [str(got)])


def genes_that_are_skipped(case):
    source = _source("csr")
    want = source[:, ["d", "a"]].copy()
    want.raw = source.raw.to_adata()
    listed = _list(case.folder("list"), ["z", "d", "y", "a"])
    _check(case, "skipped", source, want, "--genes", listed, "--missing-genes", "skip")
    case.check("warning", [] if "2 genes are left out of --genes, which not every input has: 'z', 'y'" in case.stderr else [case.stderr])
    want = source[:, ["d", "c"]].copy()
    want.raw = source.raw.to_adata()
    symbols = _list(case.folder("symbols"), ["none", *source.var.loc[["d", "c"], "symbol"]])
    _check(case, "skipped by a column", source, want, "--genes", symbols, "--gene-column", "symbol", "--missing-genes", "skip")


def genes_for_which_an_expression_is_true(case):
    source = _source("csr")
    for expr, chosen in (("high == 'yes'", ["b", "d", "c"]), ("rank > 101 and symbol != 'C'", ["d", "é", "f"])):
        want = source[:, chosen].copy()
        want.raw = source.raw.to_adata()
        _check(case, expr, source, want, "--var-where", expr)
    want = source[:, ["c", "b"]].copy()
    want.raw = source.raw.to_adata()
    listed = _list(case.folder("list"), ["c", "a", "b"])
    _check(case, "list and expression", source, want, "--genes", listed, "--var-where", "high == 'yes'")


def genes_of_many_files(case):
    folder = case.folder("in")
    parts = [rich(s, 9, names) for s, names in enumerate((["b", "a", "d"], ["d", "c", "a"]))]
    paths = [corpus.write(p, folder / f"{i}.h5ad") for i, p in enumerate(parts)]
    listed = _list(folder, ["d", "a"])
    if case.works("slice", "slice", *paths, folder / "s", "--shards", "1", "--genes", listed):
        got = corpus.read(folder / "s_shard_0.h5ad")
        want = ad.concat([p[:, ["d", "a"]] for p in parts])
        case.check("X", [] if (got.X != want.X).nnz == 0 and list(got.var_names) == ["d", "a"] else ["it differs"])
    done = case.run("slice", *paths, folder / "t", "--genes", _list(folder, ["c"]))
    case.check("a gene that one lacks", [] if done.returncode == 1 and "'c'" in done.stderr else [done.stderr])
