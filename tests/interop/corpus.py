"""AnnData files that together hold every kind of element and every storage the program has to carry.

`build(folder)` writes them; `h5ad(folder)` and `zarrs(folder)` list them. `objects.py` makes the contents, `storage.py` the ways
in which a store may hold them.
"""

import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np

import objects
import storage
import trees


def build(folder):
    warnings.filterwarnings("ignore")
    settings()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, adata in objects.catalogue().items():
        write(adata, folder / f"{name}.h5ad")
    _by_hand(folder)
    for name, store in storage.HDF5.items():
        store(folder / "full.h5ad", folder / f"hdf5_{name}.h5ad")
    plain = objects.full()
    for dtype in ("c8", "c16"):
        del plain.uns["scalars"][dtype]  # zarr has no writer for these
    for version in (2, 3):
        ad.settings.zarr_write_format = version
        for stem, adata in (("full", plain), ("light", objects.with_x("csr"))):
            write(adata, folder / f"{stem}_v{version}.zarr")
    for name, (version, options) in storage.ZARR.items():
        stem = name.partition("_")[0]
        storage.rezarr(folder / f"{stem}_v{version}.zarr", folder / f"{name}.zarr", version, **options)
    for name, chunk in storage.HOLES.items():
        (folder / f"{name}.zarr" / chunk).unlink()


def settings():
    """The settings under which anndata keeps what it reads."""
    ad.settings.allow_write_nullable_strings = True
    ad.settings.remove_unused_categories = False
    ad.settings.zarr_write_format = 2


def write(adata, path, **options):
    """Write strings as strings, in the format that the name asks for."""
    save = adata.write_zarr if str(path).endswith(".zarr") else adata.write_h5ad
    save(path, convert_strings_to_categoricals=False, **options)
    return path


def h5ad(folder):
    return sorted(Path(folder).glob("*.h5ad"))


def read(path):
    return ad.read_zarr(path) if Path(path).is_dir() else ad.read_h5ad(path)


@trees.kept
def read_input(path):
    """As `read`, for those who change nothing of it."""
    return read(path)


def zarrs(folder):
    return sorted(Path(folder).glob("*.zarr"))


def _by_hand(folder):
    """What other writers make and anndata reads, though it would not write it so."""
    for name, change in HAND.items():
        storage.copy(folder / "full.h5ad", folder / f"{name}.h5ad")
        with h5py.File(folder / f"{name}.h5ad", "r+") as file:
            change(file)


def replace(file, path, values, **options):
    """Store other values at `path` under the attributes that were there."""
    attrs = dict(file[path].attrs)
    del file[path]
    file.create_dataset(path, data=values, **options).attrs.update(attrs)


def _narrow_indices(file):
    for layer, dtype in (("csr_f8", "u1"), ("csr_i1", "i2"), ("csr_u8", "u4"), ("csr_bool", "i8"), ("messy", "u2")):
        replace(file, f"layers/{layer}/indices", file[f"layers/{layer}/indices"][()].astype(dtype))
    for layer, dtype in (("csr_f8", "i8"), ("csr_i1", "u4"), ("csc_f4", "i8")):
        replace(file, f"layers/{layer}/indptr", file[f"layers/{layer}/indptr"][()].astype(dtype))


def _big_endian(file):
    for path in ("X/data", "X/indices", "X/indptr", "layers/dense_i4", "layers/dense_f8", "layers/csc_f4/data", "layers/csc_f4/indices",
                 "obs/f4", "obs/i8", "obs/u2", "obsm/X_pca", "obsp/csr/data", "raw/X/data", "var/f8", "uns/arrays/f4", "obs/cat_many/codes"):
        values = file[path][()]
        replace(file, path, values.astype(values.dtype.newbyteorder(">")))


def _codes(file):
    for column, dtype in (("cat", "i8"), ("cat_int", "u1"), ("cat_ordered", "i4"), ("cat_bool", "u8")):
        replace(file, f"obs/{column}/codes", file[f"obs/{column}/codes"][()].astype(dtype))


def _text_storage(file):
    width = max(len(v) for v in file["obs/text"][()])
    replace(file, "obs/text", np.array(list(file["obs/text"][()]), dtype=h5py.string_dtype("utf-8", width)))
    names = [v.decode() for v in file["var/gene_id"][()]]
    replace(file, "var/gene_id", np.array(names, "S"))
    replace(file, "obs/cat/categories", file["obs/cat/categories"].asstr()[()].astype(object), dtype=h5py.string_dtype("ascii"))


def _one_dimensional(file):
    file["obsm"].create_dataset("flat", data=np.arange(objects.ROWS, dtype="f4")).attrs.update(
        {"encoding-type": "array", "encoding-version": "0.2.0"})


def _never_written(file):
    shape = file["layers/dense_f8"].shape
    for name, options in (("chunked", {"chunks": (5, 4)}), ("zipped", {"chunks": (5, 4), "compression": "gzip"}), ("contiguous", {})):
        made = file["layers"].create_dataset(f"never_{name}", shape, "f4", fillvalue=7, **options)
        made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        if name != "contiguous":
            made[11:14, 3:9] = 1.5


def _unknown_nodes(file):
    file.create_group("spare").create_dataset("numbers", data=np.arange(5))
    file["obs"].attrs["note"] = "kept"
    file["X"].attrs["origin"] = "kept too"
    file.attrs["title"] = "a root attribute"


def _bytes(file):
    file["uns"].create_dataset("bytes", data=np.void(b"\x00\xffraw")).attrs.update({"encoding-type": "bytes", "encoding-version": "0.2.0"})


def _half(file):
    replace(file, "layers/csr_f8/data", file["layers/csr_f8/data"][()].astype("f2"))


HAND = {
    "narrow_indices": _narrow_indices, "codes": _codes, "text_storage": _text_storage, "one_dimensional": _one_dimensional, "never_written": _never_written,
    "unknown_nodes": _unknown_nodes, "big_endian": _big_endian, "bytes": _bytes, "half": _half,
}
NOT_ANNDATA = ("unknown_nodes", "big_endian", "bytes", "half")  # anndata refuses these, so they are compared as trees alone
