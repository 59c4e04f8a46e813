"""The ways in which a store may hold the same AnnData: chunks, filters, links and layouts of HDF5, codecs and shards of Zarr."""

import shutil
from pathlib import Path

import h5py
import hdf5plugin
import numcodecs
import zarr


def copy(src, dst):
    shutil.copyfile(src, dst)


def rehdf5(src, dst, make, **file):
    """Copy `src` to `dst`, storing each dataset of one dimension or more by `make(group, name, dataset)`."""
    with h5py.File(src) as a, h5py.File(dst, "w", **file) as b:
        _copy_group(a, b, make)


def _copy_group(a, b, make):
    _copy_attrs(a, b)
    for name, obj in a.items():
        if isinstance(obj, h5py.Group):
            _copy_group(obj, b.create_group(name), make)
        elif obj.shape and not obj.dtype.names:
            made = make(b, name, obj)
            _copy_attrs(obj, b[name] if made is None else made)
        else:
            a.copy(name, b)


def _copy_attrs(a, b):
    for name, value in a.attrs.items():
        b.attrs[name] = value


def _simple(chunks, **options):
    """Store with the given filters in chunks of at most `chunks` along each axis."""
    # Plugins and checksums crash on, or refuse, text of variable length.
    numbers_only = "fletcher32" in options or not isinstance(options.get("compression", ""), str)

    def make(group, name, d):
        cut = {"chunks": tuple(min(n, chunks) for n in d.shape)} if d.size else {}
        fits = cut and not (numbers_only and h5py.check_string_dtype(d.dtype))
        return group.create_dataset(name, data=d[()], dtype=d.dtype, **cut, **(options if fits else {}))

    return lambda src, dst: rehdf5(src, dst, make)


def _file(**options):
    return lambda src, dst: rehdf5(src, dst, lambda g, name, d: g.create_dataset(name, data=d[()], dtype=d.dtype), **options)


def _growable(src, dst):
    """Chunked without limit under the newest file format: extensible array and B-tree v2 indexes."""
    rehdf5(src, dst, lambda g, name, d: g.create_dataset(
        name, data=d[()], dtype=d.dtype, chunks=tuple(min(max(n, 1), 7) for n in d.shape), maxshape=(None,) * d.ndim), libver="latest")


def _compact(src, dst):
    def make(group, name, d):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if d.id.get_type().get_size() * d.size < 60_000:
            plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(d.shape)
        h5py.h5d.create(group.id, name.encode(), d.id.get_type(), space, plist)
        if d.size:
            group[name][...] = d[()]
        return group[name]

    rehdf5(src, dst, make)


def _soft_links(src, dst):
    copy(src, dst)
    with h5py.File(dst, "r+") as file:
        for path, target in (("obsm/X_pca", "/uns/kept_pca"), ("layers/csr_f8", "/uns/kept_layer"), ("obs/f4", "/uns/kept_column")):
            file.move(path, target)
            file[path] = h5py.SoftLink(target)


def _external_links(src, dst):
    other = dst.with_suffix(".part")
    copy(src, dst)
    with h5py.File(dst, "r+") as file, h5py.File(other, "w") as part:
        for path in ("X", "obsm/three", "obs/cat", "var"):
            file.copy(path, part, name=path.replace("/", "_"))
            del file[path]
            file[path] = h5py.ExternalLink(other.name, path.replace("/", "_"))


def _virtual(src, dst):
    """Numbers lie in another file, in two halves that a virtual dataset joins."""
    other = dst.with_suffix(".part")
    with h5py.File(other, "w") as part:
        def make(group, name, d):
            if h5py.check_string_dtype(d.dtype) or d.shape[0] < 2 or d.size == 0 or d.dtype == bool:
                return group.create_dataset(name, data=d[()], dtype=d.dtype)
            layout, half = h5py.VirtualLayout(d.shape, d.dtype), d.shape[0] // 2
            for i, (low, high) in enumerate(((0, half), (half, d.shape[0]))):
                piece = part.create_dataset(f"{d.name}_{i}", data=d[low:high])
                layout[low:high] = h5py.VirtualSource(other.name, piece.name, piece.shape)
            return group.create_virtual_dataset(name, layout)

        rehdf5(src, dst, make)


HDF5 = {
    "contiguous": _file(), "latest": _file(libver="latest"), "user_block": _file(userblock_size=1024), "growable": _growable, "compact": _compact,
    "soft_links": _soft_links, "external_links": _external_links, "virtual": _virtual,
    "tiny_chunks": _simple(3), "huge_chunks": _simple(10**9, compression="gzip"), "chunks": _simple(11),
    "gzip": _simple(11, compression="gzip"), "shuffle_gzip_fletcher": _simple(11, compression="gzip", shuffle=True, fletcher32=True),
    "fletcher": _simple(11, fletcher32=True), "shuffle": _simple(11, shuffle=True), "lzf": _simple(11, compression="lzf", shuffle=True),
    "blosc_lz4": _simple(64, **hdf5plugin.Blosc("lz4", 5, hdf5plugin.Blosc.SHUFFLE)), "blosc_zstd": _simple(64, **hdf5plugin.Blosc("zstd", 5, hdf5plugin.Blosc.BITSHUFFLE)),
    "blosc_zlib": _simple(64, **hdf5plugin.Blosc("zlib", 5, hdf5plugin.Blosc.NOSHUFFLE)), "blosc_lz": _simple(64, **hdf5plugin.Blosc("blosclz", 9)),
    "lz4": _simple(64, **hdf5plugin.LZ4()), "zstd": _simple(64, **hdf5plugin.Zstd(9)), "bitshuffle": _simple(64, **hdf5plugin.Bitshuffle(0, "none")),
    "bitshuffle_lz4": _simple(64, **hdf5plugin.Bitshuffle(0, "lz4")), "bitshuffle_zstd": _simple(64, **hdf5plugin.Bitshuffle(0, "zstd")),
}


def rezarr(src, dst, version, chunks=None, shards=None, consolidate=True, **options):
    """Copy a zarr folder, cutting each array into other chunks (and shards of that many of them) with other codecs."""
    shutil.rmtree(dst, ignore_errors=True)
    out = zarr.open_group(str(dst), mode="w", zarr_format=version)
    _copy_zarr(zarr.open_group(str(src), mode="r"), out, chunks, shards, options)
    if consolidate:
        zarr.consolidate_metadata(str(dst))


def _copy_zarr(a, b, chunks, shards, options):
    b.attrs.update(dict(a.attrs))
    for name, obj in a.members():
        if isinstance(obj, zarr.Group):
            _copy_zarr(obj, b.create_group(name), chunks, shards, options)
            continue
        used = dict(options)
        if obj.ndim and chunks and obj.size:
            used["chunks"] = tuple(min(chunks, max(n, 1)) for n in obj.shape)
            if shards and obj.dtype.kind != "V":
                used["shards"] = tuple(n * shards for n in used["chunks"])
        made = b.create_array(name, shape=obj.shape, dtype=obj.metadata.data_type if hasattr(obj.metadata, "data_type") else obj.dtype, fill_value=obj.fill_value, **used)
        if obj.size:
            made[...] = obj[...] if obj.ndim else obj[()]
        made.attrs.update(dict(obj.attrs))


# The name's first word says which contents: all of them, or few where only the codec matters.
ZARR = {
    "full_v2_slashes": (2, dict(chunks=29, chunk_key_encoding={"name": "v2", "separator": "/"})),
    "full_v2_bare": (2, dict(chunks=29, consolidate=False, compressors=None)),
    "full_v3_chunks": (3, dict(chunks=29)), "full_v3_sharded": (3, dict(chunks=11, shards=3)), "full_v3_bare": (3, dict(chunks=29, consolidate=False)),
    "light_v2_dots": (2, dict(chunks=5, chunk_key_encoding={"name": "v2", "separator": "."})),
    "light_v2_gzip": (2, dict(chunks=11, compressors=numcodecs.GZip(3))), "light_v2_zstd": (2, dict(chunks=11, compressors=numcodecs.Zstd(3))),
    "light_v2_zlib": (2, dict(chunks=11, compressors=numcodecs.Zlib(3))),
    "light_v2_blosc": (2, dict(chunks=11, compressors=numcodecs.Blosc("zstd", 3, numcodecs.Blosc.BITSHUFFLE))),
    "light_v3_gzip": (3, dict(chunks=11, compressors=zarr.codecs.GzipCodec(level=3))),
    "light_v3_blosc": (3, dict(chunks=11, compressors=zarr.codecs.BloscCodec(cname="lz4", clevel=3))),
    "light_v3_sharded": (3, dict(chunks=2, shards=5)), "light_v3_v2_keys": (3, dict(chunks=11, chunk_key_encoding={"name": "v2", "separator": "."})),
    "light_v2_holes": (2, dict(chunks=5)), "light_v3_holes": (3, dict(chunks=5)),
}
# A chunk that is not there is all fill value.
HOLES = {"light_v2_holes": "obsm/X_pca/2.0", "light_v3_holes": "obsm/X_pca/c/2/0"}
