"""Files that releases of anndata from 0.5.0 to 0.13.4 wrote: sliced and merged, they are what today's anndata reads of them."""

import json
import shutil
import zipfile

import numpy as np
import h5py
import pandas as pd
import scipy.sparse as sp

import compare
import corpus
import trees
from tool import OLD_FILES

SIZE = 7


def _sources(case, suffix):
    """The files themselves, zarr folders unpacked."""
    if suffix == ".h5ad":
        return sorted(OLD_FILES.glob("*/*/*.h5ad"))
    return [_unpacked(case, p) for p in sorted(OLD_FILES.glob("*/*/*.zarr.zip"))]


def _unpacked(case, archive):
    folder = case.work / "old" / archive.parent.name / archive.stem
    if not folder.exists():
        with zipfile.ZipFile(archive) as z:
            z.extractall(folder)
    return folder


def _readable(case, source):
    """The file as anndata reads it; without the one node that only a newer zarr can read."""
    try:
        return _with_raw_categories(corpus.read(source), source), False
    except Exception:  # the struct dtype of zarr-python 3.2
        copy = case.work / "readable.zarr"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy)
        shutil.rmtree(copy / "uns" / "rec")
        _forget(copy / "zarr.json", "uns/rec")
        return corpus.read(copy), True


def _with_raw_categories(adata, source):
    """anndata 0.6 kept the categories of raw.var in raw.cat, which today's anndata no longer looks at."""
    if source.suffix == ".h5ad":
        with h5py.File(source) as file:
            for name, categories in file.get("raw.cat", {}).items():
                column, values = name.removesuffix("_categories"), categories.asstr()[:]
                adata.raw.var[column] = pd.Categorical.from_codes(adata.raw.var[column], values)
    return adata


def _forget(metadata, name):
    found = json.loads(metadata.read_text())
    found.get("consolidated_metadata", {}).get("metadata", {}).pop(name, None)
    metadata.write_text(json.dumps(found))


def _label(source):
    return f"{source.parent.name}/{source.name}"


def _slices(case, source, *options, order=np.arange):
    adata, without_rec = _readable(case, source)
    label = " ".join([_label(source), *options])
    made = case.slice(label, source, "--size", SIZE, *options)
    if made is None:
        return
    rows = order(adata.n_obs)
    for i, path in enumerate(made):
        got = corpus.read(path)
        if without_rec:  # what this Python cannot read of the source, the program may read all the same
            told = got.uns.pop("rec", None) is not None or "rec" in case.stderr
            case.check(label, [] if told else ["uns/rec is left out without a word"])
        case.check(f"{label}: {path.name}", compare.diff_adata(adata[rows[i * SIZE:(i + 1) * SIZE]].copy(), got, exact=not options))
        case.check(f"{label}: {path.name}", [f"{p} has no encoding" for p in trees.unencoded(trees.load(path))])
    return made, adata, without_rec


def _merges(case, source, output):
    found = _slices(case, source)
    if not found:
        return
    made, adata, without_rec = found
    merged, label = case.folder("merged") / output, f"{_label(source)} -> {output}"
    for inputs in (made, [source]):
        if case.works(label, "merge", merged, *inputs):
            got = corpus.read(merged)
            for name in ("rec", "O_recarray"):  # records with text of any length, which Zarr has no type for
                if without_rec or (output.endswith(".zarr") and f"uns/{name}" in case.stderr):
                    adata.uns.pop(name, None), got.uns.pop(name, None)
            case.check(label, compare.diff_adata(as_merged(adata), got, skip=("obsp",)))


def as_merged(adata):
    """The form that merge writes: CSC becomes CSR."""
    out = adata.copy()
    if sp.issparse(out.X):
        out.X = out.X.tocsr()
    for mapping in (out.layers, out.obsm):
        for name in [k for k, v in mapping.items() if sp.issparse(v)]:
            mapping[name] = mapping[name].tocsr()
    return out


def old_h5ad_files_are_sliced(case):
    for source in _sources(case, ".h5ad"):
        _slices(case, source)
        _slices(case, source, "--shuffle", "--seed", "5", order=lambda n: np.random.default_rng(5).permutation(n))


def old_zarr_folders_are_sliced(case):
    for source in _sources(case, ".zarr"):
        _slices(case, source)
        _slices(case, source, "--shuffle", "--seed", "5", order=lambda n: np.random.default_rng(5).permutation(n))


def old_h5ad_files_are_merged(case):
    for source in _sources(case, ".h5ad"):
        for output in ("m.h5ad", "m.zarr"):
            _merges(case, source, output)


def old_zarr_folders_are_merged(case):
    for source in _sources(case, ".zarr"):
        for output in ("m.h5ad", "m.zarr"):
            _merges(case, source, output)
