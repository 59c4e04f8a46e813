"""What is rare and sound must pass, and what is lost on the way must be told: each of these once went wrong unseen."""

import os
import subprocess

import anndata as ad
import awkward as ak
import h5py
import hdf5plugin
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr

import corpus
from badinput import _refused
from compare import diff_elem
from fuzz import limited

N = 20


def _adata(**obs):
    return ad.AnnData(np.arange(N * 3, dtype="f4").reshape(N, 3), obs=pd.DataFrame(obs, index=[f"c{i}" for i in range(N)]))


def _write(case, adata, name="in.h5ad", **options):
    return corpus.write(adata, case.folder("rare") / name, **options)


def _label(node, kind="array", version="0.2.0"):
    node.attrs.update({"encoding-type": kind, "encoding-version": version})


def _values(case, label, want, got):
    same = np.array_equal(want, got) and want.dtype == got.dtype
    case.check(label, [] if same else [f"{got.tolist()[:9]}, want {want.tolist()[:9]}"])


def chunks_along_a_later_axis_that_may_grow_are_placed(case):
    """The library tells wrong places for them (extensible array indexes)."""
    for shape, limits in (((N, 4), (N, None)), ((N, 4), (None, 4)), ((N, 4), (None, None)), ((N, 4, 4), (N, None, 4)), ((N, 4, 4), (N, 4, None))):
        for options in ({}, {"compression": "gzip"}, {"fletcher32": True}):
            for columns in (2, 4):
                path = _write(case, _adata())
                with h5py.File(path, "r+", libver="latest") as file:
                    d = file["obsm"].create_dataset("a", shape=shape, dtype="f4", chunks=(10, *(2,) * (len(shape) - 1)), maxshape=limits, **options)
                    d[:, :columns] = np.arange(1, d[:, :columns].size + 1).reshape(d[:, :columns].shape)
                    _label(d)
                    want = d[()]
                label = f"{limits} {options} {columns}"
                for order in ((), ("--shuffle", "--seed", "1")):
                    made = case.slice(label, path, "--verify", *order)
                    rows = np.random.default_rng(1).permutation(N) if order else np.arange(N)
                    if made:
                        _values(case, label, want[rows], corpus.read(made[0]).obsm["a"])


FILTERS = {"gzip": {"compression": "gzip"}, "lzf": {"compression": "lzf"}, "zstd": dict(hdf5plugin.Zstd()), "lz4": dict(hdf5plugin.LZ4()),
           "bitshuffle": dict(hdf5plugin.Bitshuffle()), "bitshuffle_zstd": dict(hdf5plugin.Bitshuffle(0, "zstd")), "blosc": dict(hdf5plugin.Blosc())}


def _records():
    names = np.array(["g1", "g2ü", ""], dtype=object)
    return np.rec.fromarrays([names, names[::-1], np.arange(3.0)], names=["0", "1", "x"])


def virtual_datasets_have_all_their_values(case):
    """Each value is that of the last source that has it, or the fill value: of any selections, of sources in sources, of more files than may be open."""
    path = _write(case, _adata())
    folder, out = path.parent, case.folder("out")
    want = {}
    with h5py.File(path, "r+") as file:
        for seed in range(40):
            rng = np.random.default_rng(seed)
            want[f"v{seed}"] = _virtual(file, f"v{seed}", folder, rng)
            # Every second row of that one.
            want[f"w{seed}"] = np.full(want[f"v{seed}"].shape, 9, want[f"v{seed}"].dtype)
            want[f"w{seed}"][::2] = want[f"v{seed}"][::2]
            layout = h5py.VirtualLayout(want[f"w{seed}"].shape, want[f"w{seed}"].dtype)
            layout[::2] = h5py.VirtualSource(".", f"obsm/v{seed}", layout.shape)[::2]
            _label(file["obsm"].create_virtual_dataset(f"w{seed}", layout, fillvalue=9))
        # As much as the source has.
        file["spare/endless"] = want["endless"] = np.arange(2 * N, dtype="i4").reshape(N, 2)
        layout = h5py.VirtualLayout((N, 2), "i4", maxshape=(None, 2))
        layout[:h5py.h5s.UNLIMITED] = h5py.VirtualSource(".", "spare/endless", (N, 2), maxshape=(None, 2))[:h5py.h5s.UNLIMITED]
        _label(file["obsm"].create_virtual_dataset("endless", layout))
        # No axes, so that no rows can be selected.
        file["spare/scalar"], one, plist = 1.5, h5py.h5s.create(h5py.h5s.SCALAR), h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_virtual(one, b".", b"spare/scalar", one)
        h5py.h5d.create(file["uns"].id, b"scalar", h5py.h5t.IEEE_F64LE, one, plist)
        _label(file["uns/scalar"], "numeric-scalar")
        layout, text = h5py.VirtualLayout((N,), h5py.string_dtype()), [f"text {i}" for i in range(N)]
        file["spare/text"] = text
        layout[:N - 2] = h5py.VirtualSource(".", "spare/text", (N,))[:N - 2]
        _label(file["obs"].create_virtual_dataset("text", layout), "string-array")
        # Each with sources of its own, so many that they cannot all stay open.
        file["spare/column"] = np.arange(N)
        columns = [f"column {at}" for at in range(300)]
        for name in columns:
            layout = h5py.VirtualLayout((N,), "i8")
            layout[:] = h5py.VirtualSource(".", "spare/column", (N,))
            _label(file["obs"].create_virtual_dataset(name, layout))
        file["obs"].attrs["column-order"] = ["text", *columns]
    order = np.random.default_rng(1).permutation(N)
    for options, rows in (((), np.arange(N)), (("--shuffle", "--seed", "1"), order)):
        case.works("selections", "slice", path, out / "s", *options)
        with h5py.File(out / "s_shard_0.h5ad") as got:
            for name, values in want.items():
                _values(case, f"{name} {options}", values[rows], got[f"obsm/{name}"][...])
            texts = np.array(text[:-2] + ["", ""])[rows]
            _values(case, f"text {options}", texts, got["obs/text"].asstr()[...].astype(texts.dtype))
            case.check(f"scalar {options}", [] if got["uns/scalar"][()] == 1.5 else [str(got["uns/scalar"][()])])
            case.check(f"columns {options}", [name for name in columns if not np.array_equal(got[f"obs/{name}"][...], rows)])
    _of_many_files(case)
    # Of which 16 bytes for each value are more than the memory that may be taken, but not what they take.
    path, wide = _write(case, _adata(), "wide.h5ad"), 1_000_000
    with h5py.File(path, "r+") as file:
        file["spare/wide"] = (np.arange(N * wide) % 251).astype("u1").reshape(N, wide)
        layout = h5py.VirtualLayout((N, wide), "u1")
        layout[:] = h5py.VirtualSource(".", "spare/wide", (N, wide))
        _label(file["obsm"].create_virtual_dataset("wide", layout))
    case.works("wide", "slice", path, out / "s", "--shuffle", "--seed", "1", "--memory-limit", "250MB", "-j", "1")
    with h5py.File(out / "s_shard_0.h5ad") as got:
        case.check("wide", [] if np.array_equal(got["obsm/wide"][:, 7], (order * wide + 7) % 251) else ["differs"])
    # The library takes zeros for what such a file does not have.
    path = _write(case, _adata(), "raw.h5ad")
    (path.parent / "raw.bin").write_bytes(np.arange(N, dtype="f4").tobytes()[:-1])
    with h5py.File(path, "r+") as file:
        _label(file.create_dataset("obsm/raw", (N, 1), "f4", external=[(str(path.parent / "raw.bin"), 0, h5py.h5f.UNLIMITED)]))
    _refused(case, "cut short", ("slice", path, case.folder("out") / "s"), "which ends before they do")


def _virtual(file, name, folder, rng):
    """Makes a virtual dataset in obsm from some sources; its values."""
    shape = (N, *map(int, rng.integers(1, 9, rng.integers(1, 3))))
    dtype = rng.choice(["f4", "i8", ">f8", "u2"])
    layout, values = h5py.VirtualLayout(shape, dtype), np.full(shape, 7, dtype)
    for at in range(rng.integers(0, 6)):
        starts = [int(rng.integers(0, side)) for side in shape]
        onto = tuple(slice(start, int(rng.integers(start, side)) + 1, int(rng.integers(1, 4))) for start, side in zip(starts, shape))
        sides, steps = values[onto].shape, [int(step) for step in rng.integers(1, 3, len(shape))]
        of = tuple(slice(2, 2 + side * step, step) for side, step in zip(sides, steps))
        data = rng.integers(0, 60000, [2 + side * step + 1 for side, step in zip(sides, steps)]).astype(rng.choice(["f4", "f8", ">i4"]))
        values[onto] = data[of]
        if rng.random() < 0.3:
            file.create_dataset(f"spare/{name}/{at}", data=data, chunks=True, compression="gzip")
            source = h5py.VirtualSource(".", f"spare/{name}/{at}", data.shape)
        else:
            with h5py.File(folder / f"{name}%{at}.h5", "w") as made:
                made["deep/50%"] = data
            source = h5py.VirtualSource(f"{name}%%{at}.h5", "deep/50%%", data.shape)  # a percent sign, not a number
        layout[onto] = source[of]
        layout[:0] = source[:0]
    _label(file["obsm"].create_virtual_dataset(name, layout, fillvalue=7))
    return values


def _of_many_files(case):
    """Where a process may open few files, the library takes fill values for those of the others, and tells nothing."""
    path, out, many = _write(case, _adata(), "many.h5ad"), case.folder("out"), 150
    layout, series = h5py.VirtualLayout((N, many), "f4"), h5py.VirtualLayout((N, many), "f4", maxshape=(N, None))
    for at in range(many):
        with h5py.File(path.parent / f"many_{at}.h5", "w") as file:
            file["values"] = np.full((N, 1), at, "f4")
        layout[:, at:at + 1] = h5py.VirtualSource(f"many_{at}.h5", "values", (N, 1))
    with h5py.File(path, "r+") as file:
        _label(file["obsm"].create_virtual_dataset("many", layout))
        plist, space = h5py.h5p.create(h5py.h5p.DATASET_CREATE), h5py.h5s.create_simple((N, many), (N, h5py.h5s.UNLIMITED))
        space.select_hyperslab((0, 0), (1, h5py.h5s.UNLIMITED), stride=(1, 1), block=(N, 1))
        plist.set_virtual(space, b"many_%b.h5", b"values", h5py.h5s.create_simple((N, 1)))
        h5py.h5d.create(file["obsm"].id, b"series", h5py.h5t.IEEE_F32LE, space, plist)
        _label(file["obsm/series"])
    few = ["sh", "-c", 'ulimit -n 60; exec "$0" "$@"', case.binary]
    done = subprocess.run([*few, "slice", path, out / "s", "--follow-external", "-j", "2"], capture_output=True, text=True)
    case.check("many files", [] if done.returncode == 0 else [done.stderr[-300:]])
    with h5py.File(out / "s_shard_0.h5ad") as got:
        for name in ("many", "series"):
            _values(case, f"{name} files", np.tile(np.arange(many, dtype="f4"), (N, 1)), got[f"obsm/{name}"][...])


def records_with_text_are_read_through_every_filter(case):
    """And no shard needs a plugin: scanpy's rank_genes_groups beside arrays, all filtered."""
    for name, options in FILTERS.items():
        adata = _adata()
        adata.uns["rank"] = {"names": _records(), "numbers": np.arange(500.0), "texts": np.array(["a", "b"] * 50, dtype=object)}
        adata.varm["v"] = np.arange(300.0).reshape(3, 100)
        path = _write(case, adata)
        with h5py.File(path, "r+") as file:
            for key in ("uns/rank/names", "uns/rank/numbers", "uns/rank/texts", "varm/v"):
                d = file[key]
                values, attrs, kind = d[()], dict(d.attrs), d.dtype
                if name == "blosc" and key == "uns/rank/texts":
                    continue  # the plugin crashes
                del file[key]
                file.create_dataset(key, data=values, dtype=kind, chunks=values.shape, **options).attrs.update(attrs)
        case.check(f"{name}: check", [] if case.run("check", path).returncode == 0 else [case.run("check", path).stdout])
        merged, kept = case.work / "rare" / "m.h5ad", case.work / "rare" / "f.h5ad"
        made = case.slice(name, path, "--verify") or []
        case.works(f"{name}: merge", "merge", merged, path, "--verify")
        case.works(f"{name}: filter", "filter", path, kept, "--cells", "/dev/null", "--invert", "--verify")
        for out in (*made, merged, kept):
            case.same_adata(f"{name}: {out.name}", corpus.read(path), out)
            with h5py.File(out) as file:
                used = [(key, file[key]._filters) for key in ("uns/rank/names", "uns/rank/numbers", "varm/v")]
            case.check(f"{name}: filters", [f"{key} {filters}" for key, filters in used if {*filters} - {"gzip", "lzf", "shuffle"}])


def _scratch(path, key):
    """Damage the first chunk of an array in its middle."""
    with h5py.File(path) as file:
        chunk = file[key].id.get_chunk_info(0)
    with open(path, "r+b") as file:
        file.seek(chunk.byte_offset + chunk.size // 2)
        file.write(b"\xff" * 9)


def damaged_chunks_that_are_copied_are_refused(case):
    """What is copied with its chunks as they are is decoded nevertheless."""
    adata = _adata()
    numbers = np.random.default_rng(0).random(500)
    adata.uns.update({"arr": numbers, "rec": np.rec.fromarrays([numbers], names=["x"]), "names": np.rec.fromarrays(
        [np.array([f"gene{i}" for i in range(200)], dtype=object), numbers[:200]], names=["0", "x"])})
    adata.varm["v"] = numbers[:300].reshape(3, 100)
    for key in ("uns/arr", "uns/rec", "uns/names", "varm/v"):
        path = _write(case, adata, compression="gzip")
        _scratch(path, key)
        out = case.folder("out")
        for args in (("slice", path, out / "s"), ("slice", path, out / "s", "--compression", "gzip"), ("merge", out / "m.h5ad", path), ("merge", out / "m.zarr", path),
                     ("filter", path, out / "f.h5ad", "--cells", "/dev/null", "--invert")):
            if key == "uns/names" and "m.zarr" in str(args):
                continue  # records with text have no place in Zarr
            _refused(case, f"{key}: {' '.join(map(str, args[:2]))}", args, path.name if args[0] != "merge" else "", key, out=out)
    store = case.work / "rare" / "in.zarr"
    ad.settings.zarr_write_format = 2
    adata.uns.pop("names")
    adata.write_zarr(store)
    chunk = store / "uns" / "arr" / "0"
    chunk.write_bytes(chunk.read_bytes()[:99])
    out = case.folder("out")
    for args in (("merge", out / "m.zarr", store), ("slice", store, out / "s")):
        _refused(case, f"zarr: {args[0]}", args, "uns/arr", out=out)


def references_lead_to_no_cells_of_others(case):
    """An object reference in uns must not draw the array that it leads to into each shard; one within uns stays."""
    adata = _adata()
    adata.obsm["Q"] = np.random.default_rng(0).random((N, 2000))
    adata.uns["d"] = {"a": np.arange(4), "b": np.arange(5)}
    path = _write(case, adata)
    with h5py.File(path, "r+") as file:
        file["uns/d"].attrs["within"] = file["uns/d/b"].ref
    for away in (False, True):
        if away:
            with h5py.File(path, "r+") as file:
                file["uns"].attrs["away"] = file["obsm/Q"].ref
        for out in case.slice(f"away={away}", path, "--size", "7", "--verify") or []:
            with h5py.File(out) as file:
                case.check(out.name, [f"holds {key}" for key in file if key.startswith("~")])
                if not away:
                    case.check(out.name, [] if file[file["uns/d"].attrs["within"]].name == "/uns/d/b" else ["the reference leads elsewhere"])


def attributes_that_cannot_be_written_are_left_out_and_named_once(case):
    path = _write(case, _adata())
    with h5py.File(path, "r+", libver="latest") as file:
        file["obs"].attrs.create("refs", [file["X"].ref] * 2, dtype=h5py.ref_dtype)
        file["X"].attrs["region"] = file["X"].regionref[0:1]
        file["X"].attrs["complex"] = 1 + 2j
        file["obs"].attrs.create("kind", 1, dtype=h5py.enum_dtype({"A": 0, "B": 1}, basetype="i1"))
        d = file["obsm"].create_dataset("e", data=np.arange(N) % 2, dtype=h5py.enum_dtype({"A": 0, "B": 1}, basetype="i1"))
        _label(d)
    made = case.slice("h5ad", path, "--size", "7", "--verify") or []
    told = [line for line in case.stderr.splitlines() if line.startswith("WARNING")]
    case.check("warnings", [] if len(told) == 2 and "'refs' of 'obs'" in told[0] + told[1] and "'region' of 'X'" in told[0] + told[1] else told)
    for out in made:
        with h5py.File(out) as file:
            case.check(out.name, [] if file["X"].attrs["complex"] == 1 + 2j and file["obs"].attrs["kind"] == 1 else ["an attribute is missing"])
            case.check(out.name, [] if h5py.check_enum_dtype(file["obsm/e"].dtype) == {"A": 0, "B": 1} else [str(file["obsm/e"].dtype)])
    with h5py.File(path, "r+") as file:
        del file["obsm/e"]  # Zarr has no enumerations
    case.works("zarr", "filter", path, case.work / "rare" / "f.zarr", "--cells", "/dev/null", "--invert", "--verify")
    case.check("zarr", [] if "'complex' of 'X'" in case.stderr else [case.stderr])


def backslashes_in_names_are_slashes_to_zarr(case):
    adata = _adata(**{"a\\b": np.arange(N)})
    path, store = _write(case, adata), case.work / "rare" / "m.zarr"
    if case.works("merge", "merge", store, path, "--verify"):
        case.check("obs", [] if ad.read_zarr(store).obs["a\\b"].tolist() == list(range(N)) else ["differs"])
    theirs = case.work / "rare" / "theirs.zarr"
    adata.write_zarr(theirs)
    for out in case.slice("slice", theirs) or []:
        case.check("column", [] if list(corpus.read(out).obs["a\\b"]) == list(range(N)) else ["differs"])


def names_and_lists_may_be_empty(case):
    adata = ad.AnnData(np.ones((3, 1), "f4"), obs=pd.DataFrame(index=list("abc")), var=pd.DataFrame(index=[""]))
    for version in (2, 3):
        ad.settings.zarr_write_format = version
        store = case.folder("rare") / "in.zarr"
        adata.write_zarr(store)
        for out in case.slice(f"v{version}", store) or []:
            case.same_adata(f"v{version}", adata, out)
    for values in ([[], [], []], [None, None, None], [[[]], [], [[], []]]):
        adata = ad.AnnData(np.ones((3, 1), "f4"), obs=pd.DataFrame(index=list("abc")))
        adata.obsm["aw"] = ak.Array(values)
        path = _write(case, adata)
        for out in case.slice(str(values), path, "--size", "2") or []:
            at = slice(0, 2) if out.stem.endswith("0") else slice(2, 3)
            got = corpus.read(out).obsm["aw"].to_list()
            case.check(str(values), [] if got == values[at] else [f"{got}, want {values[at]}"])
        merged = case.work / "rare" / "m.h5ad"
        if case.works("merge", "merge", merged, path, path):
            got = corpus.read(merged).obsm["aw"].to_list()
            case.check("merge", [] if got == values * 2 else [f"{got}"])


def float16_that_is_made_sparse_can_be_read(case):
    folder = case.folder("rare")
    half, ints, merged = folder / "half.h5ad", folder / "ints.h5ad", folder / "m.h5ad"
    adata = ad.AnnData(np.ones((3, 2), "f2"))
    adata.obsp["d"] = np.full((3, 3), 1.5, "f2")
    adata.write_h5ad(half)
    ad.AnnData(sp.csr_matrix(np.ones((3, 2), "i1"))).write_h5ad(ints)
    if case.works("pairwise", "merge", merged, half, half, "--pairwise"):
        got = ad.read_h5ad(merged).obsp["d"].toarray()
        case.check("pairwise", [] if (got == np.kron(np.eye(2), np.full((3, 3), 1.5))).all() else [str(got)])
    if case.works("mixed", "merge", merged, half, ints):
        case.check("mixed", [] if (ad.read_h5ad(merged).X.toarray() == 1).all() else ["differs"])


def zarr_numbers_without_a_fill_value_are_read(case):
    ad.settings.zarr_write_format = 2
    for kind in ("f4", "f8", "i4", "u1", "?", "c8", "c16"):
        store = case.folder("rare") / "in.zarr"
        adata = _adata()
        adata.varm["v"] = np.ones((3, 2), kind)
        adata.write_zarr(store)
        group = zarr.open_group(str(store))
        attrs = dict(group["varm/v"].attrs)
        del group["varm/v"]
        array = group.create_array("varm/v", shape=(3, 2), chunks=(1, 2), dtype=kind, fill_value=None)
        array[:2] = np.ones((2, 2), kind)
        array.attrs.update(attrs)
        zarr.consolidate_metadata(str(store))
        for out in case.slice(kind, store) or []:
            _values(case, kind, np.array([[1, 1], [1, 1], [0, 0]], kind), corpus.read(out).varm["v"])


def chunks_that_are_no_files_are_refused(case):
    ad.settings.zarr_write_format = 2
    store = case.folder("rare") / "in.zarr"
    _adata().write_zarr(store)
    (store / "X" / "0.0").unlink()
    os.mkfifo(store / "X" / "0.0")
    out = case.folder("out")
    for args in (("slice", store, out / "s"), ("merge", out / "m.zarr", store)):
        _refused(case, args[0], args, "0.0 is not a file", out=out)


# The kernel tells of values that did not reach the disk once for each file; who flushes it next hears nothing.
FAILS_ONCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static ino_t seen[4096];
static int known;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
int fsync(int fd) {
    struct stat s;
    int fails = fstat(fd, &s) == 0 && S_ISREG(s.st_mode);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < known; i++) fails &= seen[i] != s.st_ino;
    if (fails) seen[known++ % 4096] = s.st_ino;
    pthread_mutex_unlock(&lock);
    if (fails) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
"""


def an_error_that_the_kernel_tells_once_is_not_lost(case):
    folder = case.folder("rare")
    (folder / "once.c").write_text(FAILS_ONCE)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "once.so", folder / "once.c", "-ldl"], check=True)
    path = corpus.write(_adata(), folder / "in.h5ad")
    out = case.folder("out")
    for args in (("slice", path, out / "s", "--size", "3"), ("slice", path, out / "s", "--size", "3", "--resume"), ("slice", path, out / "s", "--verify"),
                 ("merge", out / "m.h5ad", path, path), ("merge", out / "m.zarr", path)):
        for _ in range(5):
            done = case.run(*args, LD_PRELOAD=str(folder / "once.so"))
            left = [p.name for p in out.iterdir() if p.name[0] != "."]
            case.check(" ".join(map(str, args)), [] if done.returncode == 1 and "Input/output error" in done.stderr and not left else [
                f"exit code {done.returncode}: {done.stderr[-300:]}, left {left}"])


def one_thread_does_every_job(case):
    path = _write(case, _adata(g=pd.Categorical(["x", "y"] * (N // 2))))
    out = case.folder("out")
    jobs = (("slice", path, out / "s", "--size", "3"), ("slice", path, out / "s", "--size", "3", "--shuffle", "--verify"), ("slice", path, out / "s", "--obs-column", "g"),
            ("slice", path, out / "s", "--size", "3", "--resume"), ("merge", out / "m.h5ad", path, path), ("merge", out / "m.zarr", path, "--verify"),
            ("filter", path, out / "f.zarr", "--where", "g == 'x'"), ("check", path))
    for args in jobs:
        for more in ((), ("--manifest", out / "m.json")):
            if args[0] == "check" and more:
                continue
            code, said, _ = limited([case.binary, *map(str, args), "-j", "1", *map(str, more)], out)
            case.check(" ".join(map(str, (*args, *more))), [] if code == 0 else [f"exit code {code}: {said[-300:]}"])


def large_chunks_keep_to_the_memory_limit(case):
    """Chunks of 48 MB behind two filters: decoding one takes three times as much, whatever the threads."""
    path = _write(case, ad.AnnData(np.zeros((24_000, 1), "f4")))
    with h5py.File(path, "r+") as file:
        d = file["obsm"].create_dataset("b", shape=(24_000, 2000), dtype="f4", chunks=(6000, 2000), compression="gzip", compression_opts=1, shuffle=True)
        for i in range(0, 24_000, 6000):
            d[i : i + 6000] = np.random.default_rng(i).integers(0, 4, (6000, 2000)).astype("f4")
        _label(d)
    out = case.folder("out")
    for jobs, most in (("1", 330), ("16", 330)):
        code, said, peak = limited([case.binary, "slice", str(path), str(out / "s"), "--size", "5000", "--shuffle", "--memory-limit", f"{most}MB", "-j", jobs], out)
        case.check(f"-j {jobs}", [] if code == 0 and peak < most * 10**6 else [f"exit code {code}, {peak / 1e6:.0f} MB: {said[-300:]}"])
    code, said, _ = limited([case.binary, "slice", str(path), str(out / "s"), "--shuffle", "--memory-limit", "200MB"], out)
    case.check("too little", [] if code == 0 and "than --memory-limit allows are used" in said else [f"exit code {code}: {said[-300:]}"])


def _old(path, genes=2, **more):
    """A file as anndata 0.5 wrote it: frames are compounds, their categories stand in uns."""
    with h5py.File(path, "w") as file:
        file["X"] = np.arange(3 * genes, dtype="f4").reshape(3, genes)
        for key, stem, count in (("obs", "c", 3), ("var", "g", genes)):
            fields = [("index", "S2"), ("ct", "i1")]
            file[key] = np.array([(f"{stem}{i}".encode(), 0) for i in range(count)], dtype=fields)
        for key, value in more.items():
            file[key.replace("__", "/")] = value
    return path


def one_old_category_stays_a_list(case):
    for categories in (np.array([b"only"]), np.array([b"only", b"more"]), np.array([7])):
        path = _old(case.folder("rare") / "old.h5ad", uns__ct_categories=categories, uns__one=np.array([b"text"]))
        merged = case.work / "rare" / "m.h5ad"
        case.works("merge", "merge", merged, path)
        for out in (*(case.slice("slice", path) or []), merged):
            got = corpus.read(out)
            want = ["only"] * 3 if categories.dtype.kind == "S" else [7] * 3
            case.check(f"{categories} {out.name}", [] if got.obs["ct"].tolist() == want and got.uns["one"] == "text" else [f"{got.obs} {got.uns}"])
            if out != merged:
                case.check(f"{categories} var", [] if got.var["ct"].tolist() == want[:2] else [str(got.var)])


def old_varm_of_one_gene_is_merged(case):
    for genes in (1, 2):
        values = np.zeros(genes, dtype=[("PCs", "f4", (2,)), ("q", "f4")])
        values["PCs"], values["q"] = np.arange(2 * genes).reshape(genes, 2) + 1, 5
        path = _old(case.folder("rare") / "old.h5ad", genes, varm=values)
        merged = case.work / "rare" / "m.h5ad"
        if case.works("merge", "merge", merged, path, path):
            got = corpus.read(merged).varm
            case.check(f"{genes} genes", [] if set(got) == {"PCs", "q"} and (got["PCs"] == values["PCs"]).all() else [str(dict(got))])


def old_folders_are_merged_with_those_of_today(case):
    """obsm and varm were compounds; their fields are the elements of today."""
    folder = case.folder("rare")
    obsm, varm = np.zeros(3, dtype=[("pca", "f4", (2,))]), np.zeros(2, dtype=[("PCs", "f4", (2,)), ("q", "f4")])
    obsm["pca"], varm["PCs"], varm["q"] = np.arange(6).reshape(3, 2), np.arange(4).reshape(2, 2) + 1, 5
    old = _old(folder / "old.h5ad", obsm=obsm, varm=varm, uns__ct_categories=np.array([b"a"]))
    for genes in (["g0", "g1"], ["g1", "g2"]):
        new = ad.AnnData(np.ones((3, 2), "f4"), obs=pd.DataFrame(index=["d0", "d1", "d2"]), var=pd.DataFrame(index=genes))
        new.obsm["pca"], new.varm["PCs"], new.varm["new"] = obsm["pca"] + 1, varm["PCs"][[0, 1] if genes[0] == "g0" else [1, 0]], np.ones(2)
        path, merged = corpus.write(new, folder / "new.h5ad"), folder / "m.h5ad"
        today = corpus.read(old)
        for inputs, parts in (((old, path), (today, new)), ((path, old), (new, today))):
            for strategy in ("first", "same", "unique", "only"):
                label = f"{genes} {inputs[0].name} {strategy}"
                if not case.works(label, "merge", merged, *inputs, "--var-merge", strategy):
                    continue
                got, want = corpus.read(merged), ad.concat(parts, join="outer", merge=strategy)
                want = want[:, got.var_names]
                case.check(label, [] if set(got.varm) == set(want.varm) else [f"varm holds {list(got.varm)}, want {list(want.varm)}"])
                for name in set(got.varm) & set(want.varm):
                    case.check(f"{label} {name}", [] if np.array_equal(got.varm[name], want.varm[name], equal_nan=True) else [f"{got.varm[name]}, want {want.varm[name]}"])
                case.check(f"{label} obsm", [] if np.array_equal(got.obsm["pca"], want.obsm["pca"]) else [f"{got.obsm['pca']}"])


def old_texts_in_uns_are_like_those_of_today(case):
    folder = case.folder("rare")
    records = np.array([(b"a", 1), (b"bc", 2)], dtype=[("s", "S2"), ("i", "i4")])
    old = _old(folder / "old.h5ad", uns__text=np.array([b"word"]), uns__texts=np.array([b"a", b"bcd"]), uns__rec=records, uns__other=np.array([b"x"]))
    new = ad.AnnData(np.ones((1, 2), "f4"), obs=pd.DataFrame(index=["d0"]), var=pd.DataFrame(index=["g0", "g1"]))
    new.uns = {"text": "word", "texts": np.array(["a", "bcd"], object), "rec": np.array([("a", 1), ("bc", 2)], dtype=[("s", "O"), ("i", "i4")]), "other": "y"}
    path, merged = corpus.write(new, folder / "new.h5ad"), folder / "m.h5ad"
    for strategy in ("same", "unique", "only"):
        for inputs in ((old, path), (path, old)):
            if case.works(strategy, "merge", merged, *inputs, "--uns-merge", strategy):
                want = ad.concat([corpus.read(p) for p in inputs], uns_merge=strategy).uns
                got = corpus.read(merged).uns
                case.check(f"{strategy} {inputs[0].name}", diff_elem(dict(want), dict(got), "uns"))


def the_first_zero_stays_as_it_is(case):
    """Categories -0 and 0 are one, spelt as the first input has it."""
    parts = [_adata(c=pd.Categorical(np.array(values * 10))) for values in ([-0.0, 1.0], [0.0, 2.0], [3.0, 4.0])]
    folder = case.folder("rare")
    paths = [corpus.write(p, folder / f"{i}.h5ad") for i, p in enumerate(parts)]
    for order in ((0, 1), (1, 0), (0, 2), (0,)):
        merged = folder / "m.h5ad"
        if case.works(str(order), "merge", merged, *(paths[i] for i in order)):
            got = corpus.read(merged).obs["c"].cat
            want = pd.api.types.union_categoricals([parts[i].obs["c"] for i in order])
            case.check(str(order), [] if list(map(str, got.categories)) == list(map(str, want.categories)) and (got.codes == want.codes).all() else [str(got.categories)])


def widths_in_obsm_become_the_widest(case):
    """As numpy has it: of fixed text, and of records field by field."""
    texts = [np.array([b"a", b"bc"] * 10), np.array([b"abcd", b""] * 10)]
    records = [np.array([(b"a", 1)] * N, dtype=[("s", "S1"), ("i", "i4")]), np.array([(b"abc", 2**40)] * N, dtype=[("s", "S3"), ("i", ">i8")])]
    folder = case.folder("rare")
    for values in (texts, texts[::-1], records, records[::-1]):
        for suffix in (".h5ad", ".zarr"):
            paths = []
            for i, value in enumerate(values):
                paths.append(corpus.write(_adata(), folder / f"{i}.h5ad"))
                with h5py.File(paths[-1], "r+") as file:
                    file["obsm"].create_dataset("a", data=value)
                    _label(file["obsm/a"], "array")
            merged, label = folder / f"m{suffix}", f"{values[0].dtype} {suffix}"
            if case.works(label, "merge", merged, *paths):
                want = np.concatenate(values)
                got = corpus.read(merged).obsm["a"].ravel()
                case.check(label, [] if got.tolist() == want.tolist() else [str(got)])


def suffixes_are_for_the_index_alone(case):
    adata = _adata()
    adata.obs.index.name = "cell"
    adata.obs["cell"] = adata.obs.index.to_numpy()
    path, merged = _write(case, adata), case.work / "rare" / "m.h5ad"
    for more in ((), ("--keys", "0", "1", "--index-unique", "-")):
        if case.works("merge", "merge", merged, path, path, *more):
            got = corpus.read(merged).obs
            case.check(f"{more} column", [] if got["cell"].tolist() == adata.obs["cell"].tolist() * 2 else [str(got["cell"])])
            names = [f"{name}-{i}" if more else name for i in range(2) for name in adata.obs_names]
            case.check(f"{more} index", [] if got.index.tolist() == names else [str(got.index)])


def inputs_without_genes_or_categories_are_merged(case):
    folder = case.folder("rare")
    none, some, merged = folder / "none.h5ad", folder / "some.h5ad", folder / "m.h5ad"
    for form in (np.array, sp.csr_matrix):
        ad.AnnData(np.zeros((2, 0), "f4"), obs=pd.DataFrame(index=["a", "b"])).write_h5ad(none)
        ad.AnnData(form(np.ones((2, 3), "f4")), obs=pd.DataFrame(index=["c", "d"])).write_h5ad(some)
        for inputs in ((none, some), (some, none)):
            if case.works(form.__name__, "merge", merged, *inputs, "--fill-value", "nan" if form is np.array else "0"):
                got, want = corpus.read(merged), ad.concat([corpus.read(p) for p in inputs], join="outer")
                _values(case, form.__name__, *(a.X.toarray().astype("f8") if sp.issparse(a.X) else np.nan_to_num(a.X, nan=-1).astype("f8") for a in (want, got)))
    a = ad.AnnData(np.ones((2, 2), "f4"), var=pd.DataFrame({"k": pd.Categorical([None, None])}, index=["g0", "g1"]))
    b = ad.AnnData(np.ones((2, 2), "f4"), var=pd.DataFrame({"k": pd.Categorical([1, 2])}, index=["g1", "g2"]))
    a.write_h5ad(none), b.write_h5ad(some)
    for inputs in ((none, some), (some, none)):
        if case.works("categories", "merge", merged, *inputs, "--overwrite"):
            case.check("categories", [] if corpus.read(merged).var["k"].iloc[2] == 2 else [str(corpus.read(merged).var)])


def fixed_text_of_zarr_is_text(case):
    ad.settings.zarr_write_format = 2
    store = case.folder("rare") / "in.zarr"
    _adata().write_zarr(store)
    group = zarr.open_group(str(store))
    array = group.create_array("uns/x", shape=(2,), dtype="<U2")
    array[...] = np.array(["é", "b"])
    _label(array)
    zarr.consolidate_metadata(str(store))
    for out in case.slice("slice", store) or []:
        case.check("values", [] if corpus.read(out).uns["x"].tolist() == ["é", "b"] else [str(corpus.read(out).uns)])


def comparisons_round_and_order_as_pandas_does(case):
    values = np.round(np.arange(N) / 10, 1)
    obs = pd.DataFrame({"half": values.astype("f2"), "single": values.astype("f4"), "level": pd.Categorical(["lo", "mid", "hi", None] * (N // 4), ["lo", "mid", "hi"], ordered=True)},
                       index=[f"c{i}" for i in range(N)])
    path, out = _write(case, ad.AnnData(np.ones((N, 1), "f4"), obs=obs)), case.work / "rare" / "f.h5ad"
    with h5py.File(path, "r+") as file:
        corpus.replace(file, "obs/single", file["obs/single"][()].astype(">f4"))
    one = {"half": np.float16, "single": np.float32}
    for name, kind in one.items():
        for how in ("==", "!=", "<", "<=", ">", ">="):
            want = obs.index[eval(f"obs[name] {how} kind(0.7)")].tolist()
            if case.works(f"{name} {how}", "filter", path, out, "--where", f"{name} {how} 0.7"):
                case.check(f"{name} {how}", [] if corpus.read(out).obs_names.tolist() == want else [f"{corpus.read(out).obs_names.tolist()}, want {want}"])
    for how in ("<", "<=", ">", ">=", "=="):
        want = obs.index[eval(f"obs['level'] {how} 'mid'")].tolist()
        if case.works(f"level {how}", "filter", path, out, "--where", f"'mid' {({'<': '>', '>': '<', '<=': '>=', '>=': '<='}).get(how, how)} level"):
            case.check(f"level {how}", [] if corpus.read(out).obs_names.tolist() == want else [f"{corpus.read(out).obs_names.tolist()}, want {want}"])
    out.unlink(missing_ok=True)
    _refused(case, "no category", ("filter", path, out, "--where", "level < 'high'"), "level", "none of its categories")
