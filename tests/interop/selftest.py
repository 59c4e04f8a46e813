"""The measures measured: what the other scenarios rely on, proven without the program under test."""

import copy

import numpy as np
import pandas as pd

import compare
import corpus
import objects
import storage
import take
import trees


def _faulty(case, label, lines, expect):
    """`expect` says whether differences must be found."""
    case.check(label, [] if bool(lines) == expect else lines or ["the difference is not seen"])


def trees_equal_themselves(case):
    for path in corpus.h5ad(case.corpus) + corpus.zarrs(case.corpus):
        if path.stem != "wide_obs":
            case.check(path.name, trees.diff(trees.load(path), trees.load(path)))


def storages_hold_the_same(case):
    """Every HDF5 storage and every zarr format tells the same tree, so the reader of trees is right about each."""
    full = trees.load(case.corpus / "full.h5ad")
    for path in corpus.h5ad(case.corpus):
        if path.stem.startswith("hdf5_"):
            case.check(path.name, trees.diff(full, trees.without(trees.load(path), "uns/kept_pca", "uns/kept_layer", "uns/kept_column")))
    light = trees.load(case.corpus / "light_v2.zarr")
    for path in corpus.zarrs(case.corpus):
        want = light if path.stem.startswith("light") else trees.without(full, "uns/scalars/c8", "uns/scalars/c16")
        faults = trees.diff(want, trees.load(path))
        case.check(path.name, faults if path.stem not in storage.HOLES else [line for line in faults if "obsm/X_pca" not in line])


def taken_rows_are_what_anndata_writes(case):
    """`take` agrees with anndata on everything that anndata writes as it read it."""
    for path in corpus.h5ad(case.corpus):
        if path.stem.startswith("hdf5_") or path.stem in corpus.NOT_ANNDATA + ("slash", "narrow_indices", "codes", "one_dimensional"):
            continue
        adata, tree = corpus.read(path), trees.load(path)
        adata.uns.pop("scalars", None)  # read as Python's numbers
        for rows in (np.arange(adata.n_obs)[3:31], np.random.default_rng(1).permutation(adata.n_obs)[:20]):
            written = trees.load(corpus.write(adata[rows].copy(), case.work / "rows.h5ad"))
            want = trees.rewrite(trees.without(take.take(tree, rows), "uns/scalars"), trees.columns_sorted)
            case.check(path.name, trees.diff(want, trees.rewrite(written, trees.columns_sorted)))


def mutations_of_a_tree_are_seen(case):
    whole = trees.load(case.corpus / "full.h5ad")
    for path, change in _tree_changes().items():
        tree = copy.deepcopy(whole)
        change(tree)
        _faulty(case, f"tree: {path}", trees.diff(whole, tree), True)
    _faulty(case, "tree: untouched", trees.diff(whole, copy.deepcopy(whole)), False)


def _tree_changes():
    def value(path, index, new):
        return lambda t: t[path].values.__setitem__(index, new)

    def retype(path, dtype):
        def change(t):
            t[path].dtype, t[path].values = dtype, t[path].values.astype(dtype)
        return change

    return {
        "value": value("layers/dense_f8", (3, 3), 0.5), "NaN to number": value("layers/dense_f8", (0, 0), 0.0), "sign of zero": value("obs/f8", 3, 0.0),
        "stored index": value("X/indices", 4, 0), "offset": value("X/indptr", 4, 0), "text": value("obs/text", 0, "täxt"), "mask": value("obs/Int8/mask", 0, True),
        "code": value("obs/cat/codes", 0, -1), "category order": lambda t: t["obs/cat/categories"].values.__setitem__(slice(0, 2), ["a", "c"]),
        "dtype": retype("obs/f4", "f8"), "dtype of indices": retype("X/indices", "i8"), "width of a scalar": retype("uns/scalars/i1", "i8"),
        "shape": lambda t: setattr(t["obsm/X_pca"], "values", t["obsm/X_pca"].values.reshape(3, -1)),
        "attribute": lambda t: t["obs"].attrs.__setitem__("_index", "f4"), "ordered": lambda t: t["obs/cat_ordered"].attrs.__setitem__("ordered", False),
        "column order": lambda t: t["obs"].attrs["column-order"].reverse(), "encoding": lambda t: t["X"].attrs.__setitem__("encoding-version", "0.2.0"),
        "attribute lost": lambda t: t["layers"].attrs.clear(), "attribute added": lambda t: t["obs/f4"].attrs.__setitem__("x", 1),
        "missing": lambda t: t["uns/nested"].children.pop("deep"), "added": lambda t: t["uns"].children.__setitem__("new", t["var"]),
        "null": lambda t: setattr(t["uns/nothing"], "dtype", "f4"), "record": lambda t: t["uns/rec"].values["b"].__setitem__(0, 2.25),
        "awkward": lambda t: setattr(t["obsm/ak_deep"], "values", t["obsm/ak_deep"].values[::-1]),
        "awkward type": lambda t: setattr(t["obsm/ak_flat"], "values", t["obsm/ak_flat"].values + 0.0),
    }


def mutations_of_an_adata_are_seen(case):
    whole = corpus.read(case.corpus / "full.h5ad")
    for label, change in _adata_changes().items():
        other = whole.copy()
        change(other)
        _faulty(case, f"adata: {label}", compare.diff_adata(whole, other), True)
    _faulty(case, "adata: untouched", compare.diff_adata(whole, whole.copy()), False)


def _adata_changes():
    def column(name, change):
        return lambda a: a.obs.__setitem__(name, change(a.obs[name]))

    def drop(group, key):
        return lambda a: getattr(a, group).__delitem__(key)

    return {
        "value": lambda a: a.layers["dense_f8"].__setitem__((3, 3), 0.5), "stored value": lambda a: a.X.data.__setitem__(3, 0.5), "dtype": column("f4", lambda c: c.astype("f8")),
        "sparse dtype": lambda a: a.layers.__setitem__("csr_i1", a.layers["csr_i1"].astype("i2")), "format": lambda a: a.layers.__setitem__("csc_f4", a.layers["csc_f4"].tocsr()),
        "missing to value": column("Int64", lambda c: c.fillna(0)), "order of categories": column("cat", lambda c: c.cat.reorder_categories(["a", "b", "c", "unused"])),
        "unused category": column("cat", lambda c: c.cat.remove_unused_categories()), "ordered": column("cat_ordered", lambda c: c.cat.as_unordered()),
        "kind of categories": column("cat_int", lambda c: c.cat.rename_categories([10.0, 20.0, 30.0])), "categorical to text": column("cat_ordered", lambda c: c.astype(object)),
        "index name": lambda a: setattr(a.var.index, "name", "other"), "names": lambda a: setattr(a, "obs_names", objects.names("n", a.n_obs)),
        "column order": lambda a: setattr(a, "obs", a.obs[a.obs.columns[::-1]]), "explicit zero": lambda a: a.layers["messy"].eliminate_zeros(),
        "raw": lambda a: delattr(a, "raw"), "uns": lambda a: a.uns["nested"]["deep"]["deeper"]["x"].__setitem__(0, 9), "none": lambda a: a.uns.__setitem__("nothing", {}),
        "kind of scalar": lambda a: a.uns["scalars"].__setitem__("i", 3.0), "frame": lambda a: a.obsm["frame"].__setitem__("i", pd.array([1] * a.n_obs, dtype="Int64")),
        **{f"missing {g}": drop(g, k) for g, k in (("layers", "empty"), ("obsm", "frame_0"), ("varm", "csr"), ("obsp", "csc"), ("varp", "dense"), ("uns", "no_keys"))},
    }
