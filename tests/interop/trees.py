"""An AnnData file as a plain tree, whatever store holds it, and the differences between two such trees.

Text is text however it is stored (variable or fixed width, any string type of zarr) and numbers are native-endian; everything
else that a file says about an element is kept and compared to the last bit: names, attributes, dtypes, shapes and values.
"""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import awkward as ak
import h5py
import hdf5plugin  # noqa: F401  makes its filters readable
import numpy as np
import zarr

SPARSE = ("csr_matrix", "csc_matrix")
corpus_folder = None  # of the inputs that all scenarios share


@dataclass
class Node:
    """A group (values is None) or an array; `dtype` is 'group', 'str', 'null', 'awkward', 'rec(..)' or kind + width."""

    attrs: dict = field(default_factory=dict)
    children: dict = field(default_factory=dict)
    dtype: str = "group"
    values: object = None

    @property
    def encoding(self):
        return self.attrs.get("encoding-type", "")

    def __getitem__(self, path):
        node = self
        for name in path.split("/"):
            node = node.children[name]
        return node

    def get(self, name):
        return self.children.get(name)

    def with_(self, **changes):
        return Node(**{**dict(attrs=self.attrs, children=self.children, dtype=self.dtype, values=self.values), **changes})


def kept(read):
    """`read`, of a path, but what it gave is given again while the files are as they were; so nobody may change it.

    Many scenarios take the same inputs, and reading these takes most of their time. Of other files it keeps the last few.
    """
    inputs, others = lru_cache(maxsize=None)(_of_state(read)), lru_cache(maxsize=8)(_of_state(read))

    def again(path):
        path = Path(path)
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        state = tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in map(Path.stat, files))
        return (inputs if corpus_folder in path.parents else others)(path, state)

    return again


def _of_state(read):
    return lambda path, state: read(path)


@kept
def load(path):
    """The whole tree of a `.h5ad` file or a `.zarr` folder; X or raw that is null is as good as absent."""
    if path.is_dir():
        root = _settle(_zarr_node(zarr.open_group(str(path), mode="r")))
    else:
        with h5py.File(path, "r") as file:
            root = _settle(_h5_node(file))
    return without(root, *(name for name, child in root.children.items() if child.dtype == "null"))


def _h5_node(obj):
    attrs = {name: _attr(obj.attrs[name]) for name in obj.attrs}
    if isinstance(obj, h5py.Group):
        return Node(attrs, {name: _h5_node(obj[name]) for name in obj})
    if obj.shape is None:
        return Node(attrs, dtype="null", values=np.zeros(0))
    text = h5py.check_string_dtype(obj.dtype)
    raw = obj.asstr()[()] if text and text.length is None else obj[()]
    return Node(attrs, {}, *_canonical(raw))


def _zarr_node(obj):
    attrs = {name: _attr(value) for name, value in dict(obj.attrs).items()}
    if isinstance(obj, zarr.Group):
        return Node(attrs, {name: _zarr_child(obj, name) for name in _zarr_names(obj)})
    if attrs.get("encoding-type") == "null":
        return Node(attrs, dtype="null", values=np.zeros(0))
    return Node(attrs, {}, *_canonical(obj[()]))


def _zarr_names(group):
    """Names as the folders say, so that a node this zarr cannot open is seen too."""
    root = Path(group.store.root) / group.path
    marks = ("zarr.json", ".zarray", ".zgroup")
    return sorted(d.name for d in root.iterdir() if any((d / mark).exists() for mark in marks))


def _zarr_child(group, name):
    try:
        return _zarr_node(group[name])
    except (ValueError, KeyError, TypeError, NotImplementedError):
        return Node(dtype="unreadable", values=np.zeros(0))


def _attr(value):
    if isinstance(value, h5py.Empty):
        return []
    if isinstance(value, (h5py.Reference, h5py.RegionReference)):
        return "reference"
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (np.ndarray, np.generic)):
        return _attr(value.tolist())
    return [_attr(v) for v in value] if isinstance(value, (list, tuple)) else value


def _canonical(raw):
    """(dtype, values) of what a store handed out."""
    raw = np.asarray(raw)
    if raw.dtype.names:
        fields = {name: _canonical(raw[name]) for name in raw.dtype.names}
        return "rec(" + ",".join(f"{k}:{d}" for k, (d, _) in fields.items()) + ")", {k: v for k, (_, v) in fields.items()}
    if raw.dtype.kind in "OSUT":
        return "str", _text(raw)
    return f"{raw.dtype.kind}{raw.dtype.itemsize}", np.ascontiguousarray(raw, raw.dtype.newbyteorder("=")).reshape(raw.shape)


def _text(raw):
    out = np.empty(raw.shape, object)
    flat = out.reshape(-1)
    for i, value in enumerate(raw.astype(object).reshape(-1)):
        flat[i] = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else "" if value is None else str(value)
    return out


def _settle(node):
    """Awkward groups become arrays, because one array may be cut into buffers in many ways."""
    if node.encoding == "awkward-array":
        buffers = {name: child.values for name, child in node.children.items()}
        array = ak.from_buffers(json.dumps(json.loads(node.attrs["form"])), int(node.attrs["length"]), buffers)
        attrs = {k: v for k, v in node.attrs.items() if k not in ("form",)}
        return Node(attrs, {}, "awkward", array)
    return node.with_(children={name: _settle(child) for name, child in node.children.items()})


def diff(want, got, path=""):
    """Lines that say where `got` is not `want`: nothing at all when they are equal."""
    here = path or "/"
    if want.dtype != got.dtype:
        return [f"{here}: {got.encoding or 'no encoding'} of dtype {got.dtype}, want {want.encoding} of dtype {want.dtype}"]
    out = [f"{here}: attribute {name!r} is {got.attrs.get(name, 'absent')!r}, want {want.attrs.get(name, 'absent')!r}"
           for name in sorted(set(want.attrs) | set(got.attrs)) if not _same_attr(want.attrs.get(name), got.attrs.get(name))]
    if want.dtype == "group":
        out += [f"{path}/{name}: is missing" for name in want.children if name not in got.children]
        out += [f"{path}/{name}: should not be here" for name in got.children if name not in want.children]
        return out + [line for name in want.children if name in got.children
                      for line in diff(want.children[name], got.children[name], f"{path}/{name}")]
    if want.dtype == "awkward":
        return out + diff_awkward(want.values, got.values, here)
    if isinstance(want.values, dict):
        return out + [line for name in want.values for line in diff_values(want.values[name], got.values[name], f"{here}[{name}]")]
    return out + diff_values(want.values, got.values, here)


def _same_attr(want, got):
    return type(want) is type(got) and want == got and repr(want) == repr(got)


def diff_values(want, got, path):
    """Two arrays of one dtype, bit by bit: NaN equals NaN, and 0.0 is not -0.0."""
    if want.shape != got.shape:
        return [f"{path}: shape {got.shape}, want {want.shape}"]
    a, b = want.reshape(-1), got.reshape(-1)
    if want.dtype == object:
        differs = np.fromiter((x != y for x, y in zip(a, b)), bool, len(a))
    else:
        bits = np.dtype((np.void, want.dtype.itemsize))
        differs = np.ascontiguousarray(a).view(bits) != np.ascontiguousarray(b).view(bits)
        differs &= ~((a != a) & (b != b))
    if not differs.any():
        return []
    at = int(np.flatnonzero(differs)[0])
    where = tuple(int(i) for i in np.unravel_index(at, want.shape)) if want.shape else ()
    return [f"{path}: {int(differs.sum())} of {len(a)} values differ, the first at {where}: {b[at]!r}, want {a[at]!r}"]


def diff_awkward(want, got, path):
    if str(want.type) != str(got.type):
        return [f"{path}: awkward type {got.type}, want {want.type}"]
    want, got = want.to_list(), got.to_list()
    bad = [i for i, (x, y) in enumerate(zip(want, got)) if repr(x) != repr(y)]
    return [f"{path}: {len(bad)} awkward rows differ, the first is {bad[0]}: {got[bad[0]]!r}, want {want[bad[0]]!r}"] if bad else []


def without(tree, *paths):
    """The tree without the nodes at `paths`."""
    out = tree.with_(children=dict(tree.children))
    for path in paths:
        name, _, rest = path.partition("/")
        if name in out.children:
            child = out.children.pop(name)
            if rest:
                out.children[name] = without(child, rest)
    return out


def rewrite(tree, change):
    """The tree with `change(node)` in place of each node, leaves first."""
    return change(tree.with_(children={name: rewrite(child, change) for name, child in tree.children.items()}))


def columns_sorted(node):
    """CSC columns in the order of rows: where rows change places the format leaves the order inside a column open."""
    if node.encoding != "csc_matrix":
        return node
    indptr, indices, data = (node.children[name] for name in ("indptr", "indices", "data"))
    column = np.repeat(np.arange(len(indptr.values) - 1), np.diff(indptr.values.astype("i8")))
    order = np.lexsort((indices.values, column))
    return node.with_(children={"indptr": indptr, "indices": indices.with_(values=indices.values[order]),
                                "data": data.with_(values=data.values[order])})


def wide_offsets(node):
    """Row offsets as int64: a writer may widen them whenever it likes."""
    if node.encoding not in SPARSE:
        return node
    indptr = node.children["indptr"]
    return node.with_(children={**node.children, "indptr": indptr.with_(dtype="i8", values=indptr.values.astype("i8"))})


def unencoded(tree, path="", inside=None):
    """Paths of nodes that lack the attributes every current element has."""
    out = [] if inside in SPARSE or inside == "awkward-array" or "encoding-version" in tree.attrs and tree.encoding else [path or "/"]
    return out + [p for name, child in tree.children.items() for p in unencoded(child, f"{path}/{name}", tree.encoding)]
