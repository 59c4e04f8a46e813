"""The differences between two AnnData objects in memory, stricter than `anndata.tests.helpers.assert_equal`.

Compared: names and their order, pandas dtypes, categories with their order, index names, missing values, array dtypes and bits,
sparse formats and what they store in the order they store it (or, with `exact=False`, the values alone).
"""

import awkward as ak
import numpy as np
import pandas as pd
import scipy.sparse as sp

from trees import diff_awkward, diff_values

TEXT = "OTU"
MAPPINGS = ("layers", "obsm", "varm", "obsp", "varp", "uns")


def diff_adata(want, got, exact=True, skip=()):
    """Lines that say where `got` is not `want`; `skip` names attributes such as 'obsp'."""
    out = [] if want.shape == got.shape else [f"shape {got.shape}, want {want.shape}"]
    for name in ("obs", "var", "X") + MAPPINGS:
        if name not in skip:
            a, b = getattr(want, name), getattr(got, name)
            out += diff_elem(_plain(a), _plain(b), name, exact, ordered=name not in MAPPINGS)
    if "raw" not in skip:
        out += _diff_raw(want.raw, got.raw, exact)
    return out


def _plain(value):
    if isinstance(value, np.generic):  # how anndata hands out scalars of files older than 0.8
        return value.item()
    return dict(value) if hasattr(value, "keys") and not isinstance(value, (pd.DataFrame, np.ndarray)) else value


def _diff_raw(want, got, exact):
    if want is None or got is None:
        return [] if want is got else [f"raw: {'absent' if got is None else 'present'}, want the opposite"]
    return [line for name in ("X", "var", "varm")
            for line in diff_elem(_plain(getattr(want, name)), _plain(getattr(got, name)), f"raw/{name}", exact)]


def diff_elem(want, got, path, exact=True, ordered=True):
    if type(want) is not type(got) and not (sp.issparse(want) and sp.issparse(got)):
        return [f"{path}: {type(got).__name__}, want {type(want).__name__}"]
    if isinstance(want, dict):
        return _diff_dict(want, got, path, exact)
    if isinstance(want, pd.DataFrame):
        return _diff_frame(want, got, path)
    if isinstance(want, (pd.Categorical, pd.api.extensions.ExtensionArray)):
        return _diff_series(pd.Series(want), pd.Series(got), path)
    if sp.issparse(want):
        return _diff_sparse(want, got, path, exact)
    if isinstance(want, ak.Array):
        return diff_awkward(want, got, path)
    if isinstance(want, np.ndarray):
        return _diff_array(want, got, path)
    same = want == got or want != want and got != got
    return [] if same else [f"{path}: {got!r}, want {want!r}"]


def _diff_dict(want, got, path, exact):
    out = [f"{path}/{k}: is missing" for k in want if k not in got]
    out += [f"{path}/{k}: should not be here" for k in got if k not in want]
    return out + [line for k in want if k in got for line in diff_elem(_plain(want[k]), _plain(got[k]), f"{path}/{k}", exact)]


def _diff_array(want, got, path):
    if want.dtype.names and want.dtype.names == got.dtype.names:
        return [line for k in want.dtype.names for line in _diff_array(want[k], got[k], f"{path}[{k}]")]
    if want.dtype.kind in TEXT and got.dtype.kind in TEXT:  # a matter of the store, not of the file
        return diff_values(want.astype(object), got.astype(object), path)
    if _native(want.dtype) != _native(got.dtype):
        return [f"{path}: dtype {got.dtype}, want {want.dtype}"]
    return diff_values(want.astype(_native(want.dtype)), got.astype(_native(want.dtype)), path)


def _native(dtype):
    return dtype if dtype.kind == "T" else dtype.newbyteorder("=")


def _diff_sparse(want, got, path, exact):
    if want.format != got.format or want.dtype != got.dtype or want.shape != got.shape:
        return [f"{path}: {got.format} {got.dtype} {got.shape}, want {want.format} {want.dtype} {want.shape}"]
    if not exact:
        return _diff_array(want.toarray(), got.toarray(), path)
    return [line for part in ("indptr", "indices", "data") for line in _diff_array(
        *(getattr(m, part).astype("i8" if part != "data" else m.dtype) for m in (want, got)), f"{path}/{part}")]


def _diff_frame(want, got, path):
    if list(want.columns) != list(got.columns):
        return [f"{path}: columns {list(got.columns)}, want {list(want.columns)}"]
    out = [] if want.index.name == got.index.name else [f"{path}: index name {got.index.name!r}, want {want.index.name!r}"]
    out += _diff_series(want.index.to_series(), got.index.to_series(), f"{path} index")
    return out + [line for i, name in enumerate(want.columns)
                  for line in _diff_series(want.iloc[:, i], got.iloc[:, i], f"{path}/{name}")]


def _diff_series(want, got, path):
    if isinstance(want.dtype, pd.CategoricalDtype) and isinstance(got.dtype, pd.CategoricalDtype):
        out = [] if want.cat.ordered == got.cat.ordered else [f"{path}: ordered {got.cat.ordered}, want {want.cat.ordered}"]
        out += _diff_series(want.cat.categories.to_series(), got.cat.categories.to_series(), f"{path} categories")
        return out + _diff_array(want.cat.codes.to_numpy().astype("i8"), got.cat.codes.to_numpy().astype("i8"), f"{path} codes")
    # With pandas 3 anndata gives text of .h5ad as `str`, and the same of Zarr as objects.
    if want.dtype != got.dtype and {str(want.dtype), str(got.dtype)} != {"object", "str"}:
        return [f"{path}: dtype {got.dtype}, want {want.dtype}"]
    if isinstance(want.dtype, np.dtype) and want.dtype != object:
        return _diff_array(want.to_numpy(), got.to_numpy(), path)
    return diff_values(plain_values(want), plain_values(got), path)


def plain_values(series):
    """A column as Python values, a missing one as None: what a cell says, whatever the dtype."""
    missing = pd.isna(series).to_numpy()
    out = np.empty(len(series), object)
    for i, value in enumerate(series.astype(object)):
        out[i] = None if missing[i] else value.item() if isinstance(value, np.generic) else value
    return out
