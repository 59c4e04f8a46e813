"""Matrices of more than 2^31 elements, most of which were never written, so that they take no disk."""

import h5py
import numpy as np
import scipy.sparse as sp

import trees

MIDDLE = 2**31 + 2  # elements of the middle row; int32 holds none of the offsets after it
WIDTH = 50


def _rows():
    """The first and the last of the three rows."""
    first = sp.csr_matrix((np.float32([1.5, 2.5, 3.5]), np.int32([0, 7, 49]), np.int32([0, 3])), (1, WIDTH))
    last = sp.csr_matrix((np.float32([4.5, 5.5]), np.int32([1, 48]), np.int32([0, 2])), (1, WIDTH))
    return first, last


def _write(path, **storage):
    first, last = _rows()
    ends = np.cumsum([0, first.nnz, MIDDLE, last.nnz])
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        x = file.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array([3, WIDTH])})
        for name, values in (("data", (first.data, last.data)), ("indices", (first.indices, last.indices))):
            made = x.create_dataset(name, (ends[3],), values[0].dtype, chunks=(1 << 16,), **storage)
            made[:ends[1]], made[ends[2]:] = values
        x["indptr"] = ends.astype(np.int64)
        for axis, names in (("obs", ["a", "b", "c"]), ("var", [f"g{i}" for i in range(WIDTH)])):
            frame = file.create_group(axis)
            frame.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
            frame.attrs["column-order"] = np.array([], dtype=h5py.string_dtype())
            frame["_index"] = np.array(names, dtype=object)
            frame["_index"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})


def filter_reaches_rows_beyond_two_to_the_31_elements(case):
    for storage in ({}, {"compression": "gzip"}):
        source, out = case.folder("huge") / "huge.h5ad", case.work / "huge" / "ends.h5ad"
        _write(source, **storage)
        (case.work / "huge" / "names").write_text("c\na\n")
        if not case.works(f"huge {storage}", "filter", source, out, "--cells", case.work / "huge" / "names"):
            continue
        got, want = trees.load(out), sp.vstack(_rows())
        for part in ("data", "indices", "indptr"):
            case.check(f"huge {storage} {part}", trees.diff_values(getattr(want, part).astype(got["X"][part].values.dtype), got["X"][part].values, part))
        case.check(f"huge {storage}", [] if got["X"]["indptr"].values.dtype == np.int64 else ["indptr is no longer int64"])
