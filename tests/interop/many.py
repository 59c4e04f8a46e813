"""Proofs about several inputs to `slice` and `filter`: what comes out is what `merge` and then the command on its result give."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

import compare
import corpus
import trees
from concat import GENES, matrix, part

ORDERS = (
    ["--size", "7"],
    ["--shards", "4"],
    ["--size", "6", "--shuffle", "--seed", "3"],
    ["--size", "100", "--shuffle", "--seed", "3"],
    ["--max-bytes", "3kB"],
    ["--obs-column", "kind"],
    ["--obs-column", "kind", "--always-include", "b"],
)


def rich(seed, n, genes, form="csr", dtype="f4"):
    """Cells with something in every element."""
    rng = np.random.default_rng(seed)
    obs = {"kind": pd.Categorical(rng.choice(["a", "b", "c"], n)), "score": rng.random(n), "text": [f"t{i % 3}" for i in range(n)]}
    out = part(seed, n, genes, form, dtype, obs)
    out.layers["counts"] = matrix(rng, n, len(genes), "csr", "i4")
    out.layers["dense"] = matrix(rng, n, len(genes), "dense", "f8")
    out.obsm["X_pca"] = rng.random((n, 3)).astype("f4")
    out.obsm["frame"] = pd.DataFrame({"q": rng.random(n)}, index=out.obs_names)
    out.varm["loads"] = rng.random((len(genes), 2))
    out.obsp["near"] = sp.random(n, n, 0.2, "csr", random_state=seed)
    out.uns["of"] = {"seed": seed, "all": "alike"}
    out.raw = part(seed, n, ["r0", "r1", "r2"], "csr")
    return out


def _inputs(folder, parts, ends=(".h5ad",), **options):
    return [corpus.write(p, folder / f"in_{i}{ends[i % len(ends)]}", **options) for i, p in enumerate(parts)]


def _equal(case, label, paths, options, joining=()):
    """Slices of the inputs are those of their merge, file by file."""
    folder = case.folder("many")
    one = folder / "one.h5ad"
    if not case.works(f"{label}: merge", "merge", one, *paths, *joining):
        return
    told = case.stderr
    if not case.works(f"{label}: slice of merge", "slice", one, folder / "want" / "s", *options):
        return
    if not case.works(f"{label}: slice of many", "slice", *paths, folder / "got" / "s", *options, *joining):
        return
    warned = lambda text: sorted(line for line in text.splitlines() if line.startswith("WARN"))
    case.check(f"{label}: warnings", [] if set(warned(told)) <= set(warned(case.stderr)) else [f"{warned(case.stderr)}, want {warned(told)}"])
    want, got = (sorted(p.name for p in (folder / name).iterdir()) for name in ("want", "got"))
    case.check(f"{label}: names", [] if want == got else [f"{got}, want {want}"])
    for name in set(want) & set(got):
        case.same_tree(f"{label}: {name}", trees.load(folder / "want" / name), folder / "got" / name)


def many_of_the_same_genes(case):
    paths = _inputs(case.folder("in"), [rich(s, n, GENES[0]) for s, n in ((1, 9), (2, 1), (3, 14))])
    for options in ORDERS:
        _equal(case, f"same genes {' '.join(options)}", paths, options)
    for options in ORDERS[:3]:
        _equal(case, f"same genes, small blocks {' '.join(options)}", paths, [*options, "--block-bytes", "300"])


def many_of_differing_genes(case):
    for forms in (("csr",), ("csr", "dense"), ("csc", "csr"), ("csc",), ("dense",)):
        parts = [rich(s, 8 + s, genes, forms[s % len(forms)], ("f4", "i2", "f8")[s]) for s, genes in enumerate(GENES)]
        paths = _inputs(case.folder("in"), parts, (".h5ad", ".zarr"))
        for join in ("outer", "inner"):
            for options in (ORDERS[0], ORDERS[2]):
                _equal(case, f"{forms} {join} {' '.join(options)}", paths, options, ["--join", join])
        _equal(case, f"{forms} filled", paths, ORDERS[2], ["--fill-value", "nan"])


def many_that_are_compressed(case):
    parts = [rich(s, 30, genes) for s, genes in enumerate(GENES)]
    paths = _inputs(case.folder("in"), parts, compression="gzip")
    for blocks in ("200", "2000"):
        _equal(case, f"gzip {blocks}", paths, ["--size", "11", "--shuffle", "--seed", "1", "--block-bytes", blocks])


def _in_chunks(path, values):
    """Stores the matrices of a file anew, in chunks of so many values."""
    with h5py.File(path, "r+") as file:
        for matrix in (file["X"], file["raw/X"], *file["layers"].values()):
            for name in ("data", "indices"):
                stored = matrix[name][:]
                del matrix[name]
                matrix.create_dataset(name, data=stored, chunks=(values,), compression="gzip")


def what_matrices_of_an_input_share_is_kept(case):
    """Matrices of each input have the same indices, but for some chunks of one layer, and for genes that an input lacks."""
    genes, parts = [f"g{i}" for i in range(40)], []
    for seed, theirs in enumerate((genes, genes, genes[5:])):
        x = sp.random(50 + seed, len(theirs), 0.3, "csr", dtype="f4", random_state=seed)
        x.sort_indices()
        other = x.copy()
        rows = [r for r in range(x.shape[0]) if x.indptr[r + 1] > x.indptr[r] and x.indices[x.indptr[r + 1] - 1] < len(theirs) - 1]
        for row in rows[::20]:  # a later gene in the place of its last
            other.indices[x.indptr[row + 1] - 1] += 1
        layers = {"counts": (x * 10).ceil().astype("i4"), "other": other, "twice": x * 2}
        names = [f"{seed}_{i}" for i in range(x.shape[0])]
        part = ad.AnnData(x, obs=pd.DataFrame({"n": np.arange(len(names))}, index=names), var=pd.DataFrame(index=theirs), layers=layers)
        part.raw = ad.AnnData(x * 3, var=pd.DataFrame(index=theirs))
        parts.append(part)
    paths = _inputs(case.folder("in"), parts, compression="gzip")
    for path in paths:
        _in_chunks(path, 64)
    for count, join in ((2, "inner"), (3, "inner"), (3, "outer")):
        merged = ad.concat(parts[:count], join=join)
        for end in (".h5ad", ".zarr"):
            for more in ((), ("--compression", "gzip"), ("--block-bytes", "2000")):
                out = case.folder("merged") / f"m{end}"
                if case.works(f"merge {count} {join} {end} {more}", "merge", out, *paths[:count], "--join", join, *more):
                    case.check(f"merge {count} {join} {end} {more}", compare.diff_adata(merged, corpus.read(out), exact=False))
        for options in (["--size", "30"], ["--size", "30", "--shuffle", "--seed", "5"]):
            for more in ([], ["--compression", "gzip"], ["--format", "zarr"], ["--block-bytes", "2000"]):
                _equal(case, f"{count} {join} {options} {more}", paths[:count], [*options, *more], ["--join", join])
    chosen = case.work / "genes.txt"
    chosen.write_text("\n".join(genes[30:4:-2]))
    _equal(case, "chosen genes", paths, ["--size", "30", "--shuffle", "--seed", "5"], ["--genes", chosen])


def many_with_labels(case):
    parts = [rich(s, 8 + s, GENES[0]) for s in range(3)]
    parts[1].obs_names = parts[0].obs_names[:1].tolist() + parts[1].obs_names[1:].tolist()
    paths = _inputs(case.folder("in"), parts)
    told = ["--label", "plate", "--index-unique", "-", "--keys", "a", "b", "c", "--pairwise", "--uns-merge", "same", "--var-merge", "unique"]
    for options in (ORDERS[2], ["--obs-column", "plate"]):
        _equal(case, f"labels {' '.join(options)}", paths, options, told)
    _equal(case, "a cell twice", [*paths, paths[0]], ORDERS[0])


def many_of_the_corpus(case):
    """Every ninth file of the corpus beside itself, as far as merge takes it."""
    for path in [*corpus.h5ad(case.corpus), *corpus.zarrs(case.corpus)][::9]:
        one = case.folder("twice") / "one.h5ad"
        if case.run("merge", one, path, path).returncode == 0:
            _equal(case, path.name, [path, path], ["--shards", "3", "--shuffle", "--seed", "0"])


def many_into_a_filter(case):
    parts = [rich(s, 8 + s, genes) for s, genes in enumerate(GENES)]
    paths = _inputs(case.folder("in"), parts)
    folder = case.folder("filtered")
    if not case.works("merge", "merge", folder / "one.h5ad", *paths):
        return
    chosen = ["--where", "kind == 'a' or score > 0.5"]
    for end in (".h5ad", ".zarr"):
        want, got = folder / f"want{end}", folder / f"got{end}"
        if case.works("filter of merge", "filter", folder / "one.h5ad", want, *chosen) and case.works("filter of many", "filter", *paths, got, *chosen):
            case.same_adata(f"filter {end}", corpus.read(want), got)
