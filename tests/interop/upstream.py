"""The Python annslicer is the measure where it is right: the same names, the same cells in the same order, the same values."""

import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import compare
import corpus

SKIP = ("obsp", "varm", "varp", "raw")  # the Python tool loses these


def _source(case):
    """Only what the Python tool carries without loss: float32 X and layers, float32 obsm."""
    rng = np.random.default_rng(11)
    n, m = 1009, 61
    x = sp.random(n, m, 0.2, "csr", "f4", rng=rng)
    obs = pd.DataFrame({"total": rng.random(n), "kind": pd.Categorical(rng.choice(["b", "a", "ü"], n)), "name": [f"n{i % 9}" for i in range(n)]},
                       index=[f"cell{i}" for i in range(n)])
    adata = ad.AnnData(x, obs=obs, var=pd.DataFrame({"score": rng.random(m)}, index=[f"g{i}" for i in range(m)]),
                       uns={"title": "both", "colors": np.array(["#1", "#2"], object)}, obsm={"X_pca": rng.random((n, 4), "f4")}, layers={"log": x.log1p()})
    return corpus.write(adata, case.folder("upstream") / "in.h5ad"), adata


def _python(case, *args):
    tool = Path(sys.executable).with_name("annslicer")
    subprocess.run([tool, *map(str, args)], check=True, capture_output=True, cwd=case.work)


def _same_shards(case, label, source, *options):
    ours, theirs = case.folder("ours"), case.folder("theirs")
    _python(case, "slice", source, theirs / "p", *options)
    if not case.works(label, "slice", source, ours / "p", *options):
        return None
    names = [sorted(p.name for p in folder.iterdir()) for folder in (ours, theirs)]
    case.check(label, [] if names[0] == names[1] else [f"files {names[0]}, want {names[1]}"])
    for name in names[1]:
        if (ours / name).exists():
            case.same_adata(f"{label}: {name}", corpus.read(theirs / name), ours / name, skip=SKIP)
    return sorted(theirs.iterdir(), key=lambda p: int(p.stem.rpartition("_")[2]))


def slice_equals_the_python_tool(case):
    source, adata = _source(case)
    zarr = source.with_suffix(".zarr")
    corpus.write(adata, zarr)
    for path in (source, zarr):
        for options in (("--size", "200"), ("--size", "200", "--shuffle", "--seed", "0"), ("--size", "317", "--shuffle", "--seed", "12345"), ("--size", "1009"), ()):
            _same_shards(case, f"{path.name} {' '.join(options)}", path, *options)


def merge_equals_the_python_tool(case):
    source, _ = _source(case)
    shards = _same_shards(case, "shards", source, "--size", "250")
    for suffix in (".h5ad", ".zarr") if shards else ():
        ours, theirs = case.work / f"ours{suffix}", case.work / f"theirs{suffix}"
        _python(case, "merge", theirs, *shards)
        if case.works(suffix, "merge", ours, *shards):
            case.same_adata(suffix, corpus.read(theirs), ours, skip=SKIP)
    if shards:
        _differing_genes(case, shards)


def _differing_genes(case, shards):
    for i, path in enumerate(shards):
        adata = corpus.read(path)
        corpus.write(adata[:, [j for j in range(adata.n_vars) if j % 7 != i]].copy(), path)
    for join in ("outer", "inner"):
        ours, theirs = case.work / f"ours_{join}.h5ad", case.work / f"theirs_{join}.h5ad"
        _python(case, "merge", theirs, *shards, "--join", join)
        if not case.works(join, "merge", ours, *shards, "--join", join):
            continue
        want, got = corpus.read(theirs), corpus.read(ours)
        case.check(f"{join}: names", [] if list(want.var_names) == list(got.var_names) else [f"{list(got.var_names)[:5]}, want {list(want.var_names)[:5]}"])
        for name, a, b in (("X", want.X, got.X), ("layers/log", want.layers["log"], got.layers["log"]), ("obsm", want.obsm["X_pca"], got.obsm["X_pca"])):
            case.check(f"{join}: {name}", compare.diff_elem(a, b, name))
        case.check(f"{join}: obs", compare.diff_elem(want.obs, got.obs, "obs"))
