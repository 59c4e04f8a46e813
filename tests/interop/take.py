"""What taking rows of an AnnData tree means, written once more and as plainly as can be: the measure for slice.

`selftest.py` holds it against anndata itself: taking rows here is what anndata writes for `adata[rows]`.
"""

import numpy as np

from trees import Node


def take(root, rows):
    """The tree of `adata[rows]`."""
    rows = np.asarray(rows, dtype="i8")
    out = dict(root.children)
    for name, child in root.children.items():
        if name in ("X", "obs"):
            out[name] = element(child, rows)
        elif name in ("layers", "obsm"):
            out[name] = child.with_(children={k: element(v, rows) for k, v in child.children.items()})
        elif name == "obsp":
            out[name] = child.with_(children={k: columns(element(v, rows), rows) for k, v in child.children.items()})
        elif name == "raw" and child.children:
            out[name] = child.with_(children={**child.children, "X": element(child["X"], rows)})
    return root.with_(children=out)


def element(node, rows):
    kind = node.encoding
    if kind == "csr_matrix":
        return _compressed(node, _major(node, rows), (len(rows), node.attrs["shape"][1]))
    if kind == "csc_matrix":
        return _compressed(node, _minor(node, rows), (len(rows), node.attrs["shape"][1]))
    if kind == "categorical":
        return node.with_(children={**node.children, "codes": element(node["codes"], rows)})
    if kind == "awkward-array":
        return node.with_(values=node.values[rows], attrs={**node.attrs, "length": len(rows)})
    if isinstance(node.values, dict):
        return node.with_(values={name: field[rows] for name, field in node.values.items()})
    if node.values is not None and node.dtype != "null":
        return node.with_(values=node.values[rows])
    return node.with_(children={name: element(child, rows) for name, child in node.children.items()})


def columns(node, cols):
    """The same choice on the second axis, for obsp."""
    shape = (node.attrs["shape"][0], len(cols)) if "shape" in node.attrs else None
    if node.encoding == "csr_matrix":
        return _compressed(node, _minor(node, cols), shape)
    if node.encoding == "csc_matrix":
        return _compressed(node, _major(node, cols), shape)
    return node.with_(values=node.values[:, cols])


def _major(node, chosen):
    indptr = node["indptr"].values.astype("i8")
    spans = [np.arange(indptr[i], indptr[i + 1]) for i in chosen]
    return [len(s) for s in spans], np.concatenate(spans) if spans else np.zeros(0, "i8"), None


def _minor(node, chosen):
    indptr, indices = node["indptr"].values.astype("i8"), node["indices"].values
    size = node.attrs["shape"][0 if node.encoding == "csc_matrix" else 1]
    place = np.full(size, -1, "i8")
    place[chosen] = np.arange(len(chosen))
    moved = place[indices]
    line = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    kept = np.flatnonzero(moved >= 0)
    return np.bincount(line[kept], minlength=len(indptr) - 1), kept, moved[kept]


def _compressed(node, lines, shape):
    counts, kept, moved = lines
    indptr, indices, data = (node[name] for name in ("indptr", "indices", "data"))
    moved = indices.values[kept] if moved is None else moved.astype(indices.values.dtype)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(indptr.values.dtype)
    return Node({**node.attrs, "shape": [int(n) for n in shape]}, {
        "data": data.with_(values=data.values[kept]), "indices": indices.with_(values=moved), "indptr": indptr.with_(values=offsets)})
