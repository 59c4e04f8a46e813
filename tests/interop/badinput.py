"""Bad input ends in one line that names file and element, exit code 1 (2 for usage), no output and inputs as they were."""

import os
import shutil

import anndata as ad
import awkward as ak
import h5py
import numpy as np

import corpus
import storage
from concat import part
from corpus import replace
from tool import digest

NOISE = ("INFO", "WARNING", "DEBUG")


def _refused(case, label, args, *words, code=1, out=None, inputs=()):
    """`annslicer ARGS` ends with `code` and an error line that holds each of `words`, and leaves nothing in the folder `out`."""
    before = [digest(p) for p in inputs]
    there = sorted(out.iterdir()) if out and out.exists() else []
    done = case.run(*args)
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith(NOISE)]
    faults = [] if done.returncode == code else [f"exit code {done.returncode}, want {code}"]
    if code == 1 and (len(lines) != 1 or not lines[0].startswith("ERROR")):
        faults.append(f"said {lines[:4]}, want one line that begins with ERROR")
    faults += [f"{word!r} is not in {' '.join(lines)!r}" for word in words if word.lower() not in " ".join(lines).lower()]
    faults += ["panicked"] if "panicked" in done.stderr or "RUST_BACKTRACE" in done.stderr else []
    faults += [f"an input changed: {p.name}" for p, was in zip(inputs, before) if digest(p) != was]
    now = sorted(out.iterdir()) if out and out.exists() else []
    faults += [f"left {[p.name for p in now if p not in there]}"] if now != there else []
    case.check(label, faults)


def _both(case, label, source, *words):
    """Slice and merge alike refuse `source`, naming it and `words`."""
    out = case.folder("refused")
    there = [source] if source.exists() else []
    _refused(case, f"slice: {label}", ("slice", source, out / "s"), source.name, *words, out=out, inputs=there)
    _refused(case, f"merge: {label}", ("merge", out / "m.h5ad", source), source.name, *words, out=out, inputs=there)
    if source.suffix != ".loom":
        done = case.run("check", source)
        lines = [line for line in done.stdout.splitlines() if ": error: " in line]
        case.check(f"check: {label}", [] if done.returncode == 1 and lines else [f"exit code {done.returncode}: {lines}"])


def bad_files_are_refused(case):
    folder = case.folder("bad")
    good = case.corpus / "full.h5ad"
    _both(case, "missing", folder / "nowhere.h5ad")
    _both(case, "missing zarr", folder / "nowhere.zarr")
    (folder / "text.h5ad").write_text("cell,gene\n")
    _both(case, "not HDF5", folder / "text.h5ad")
    (folder / "empty.h5ad").write_bytes(b"")
    _both(case, "empty", folder / "empty.h5ad")
    (folder / "folder.zarr").mkdir()
    _both(case, "not Zarr", folder / "folder.zarr")
    (folder / "wrong.loom").write_text("neither HDF5 nor Zarr")
    _both(case, "wrong extension", folder / "wrong.loom")
    (folder / "cut.h5ad").write_bytes(good.read_bytes()[:good.stat().st_size // 2])
    _both(case, "truncated", folder / "cut.h5ad")
    with h5py.File(folder / "bare.h5ad", "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        file["X"] = np.ones((3, 2))
    _both(case, "no obs", folder / "bare.h5ad", "obs")


def _break(case, name, change, *words, stem="full"):
    path = case.folder("bad") / f"{name}.h5ad"
    storage.copy(case.corpus / f"{stem}.h5ad", path)
    with h5py.File(path, "r+") as file:
        change(file)
    _both(case, name, path, *words)


def _change(path, change):
    def run(file):
        values = file[path][()]
        replace(file, path, change(values))
    return run


def _put(index, value):
    def change(values):
        values[index] = value
        return values
    return change


def _delete(path):
    return lambda file: file.__delitem__(path)


def _circle(path):
    def change(file):
        del file[path]
        file[path] = h5py.SoftLink(f"/{path}")
    return change


def _shape(path, shape):
    return lambda file: file[path].attrs.__setitem__("shape", shape)


def bad_elements_are_refused(case):
    n, m = 53, 17
    _break(case, "no_var", _delete("var"), "var")
    _break(case, "raw_var_cannot_be_opened", _circle("raw/var"), "Read 'raw/var'")
    _break(case, "short_column", _change("obs/f4", lambda v: v[:-1]), "obs/f4")
    _break(case, "long_column", _change("obs/i8", lambda v: np.append(v, 1)), "obs/i8")
    _break(case, "short_codes", _change("obs/cat/codes", lambda v: v[:-1]), "obs/cat")
    _break(case, "codes_overrun", _change("obs/cat/codes", _put(3, 99)), "obs/cat")
    _break(case, "short_mask", _change("obs/Int32/mask", lambda v: v[:-1]), "obs/Int32")
    _break(case, "short_dense", _change("layers/dense_f8", lambda v: v[:-1]), "layers/dense_f8")
    _break(case, "narrow_dense", _change("layers/dense_f8", lambda v: v[:, :-1]), "layers/dense_f8")
    _break(case, "short_obsm", _change("obsm/X_pca", lambda v: v[:-1]), "obsm/X_pca")
    _break(case, "sparse_shape", _shape("layers/csr_f8", [n + 1, m]), "layers/csr_f8")
    _break(case, "x_shape", _shape("X", [n, m + 1]), "X")
    _break(case, "short_indptr", _change("X/indptr", lambda v: v[:-1]), "X")
    _break(case, "indptr_decreases", _change("X/indptr", _put(9, 0)), "X")
    _break(case, "indptr_overruns", _change("X/indptr", _put(-1, 10**6)), "X")
    _break(case, "indptr_negative", _change("X/indptr", _put(0, -1)), "X")
    _break(case, "indices_overrun", _change("X/indices", _put(5, m)), "X")
    _break(case, "indices_negative", _change("layers/csr_i8/indices", _put(5, -1)), "layers/csr_i8")
    _break(case, "csc_indices", _change("layers/csc_f4/indices", _put(5, n)), "layers/csc_f4")
    _break(case, "data_short", _change("X/data", lambda v: v[:-1]), "X")
    _break(case, "no_indptr", _delete("X/indptr"), "X")
    _break(case, "no_codes", _delete("obs/cat/codes"), "obs/cat")
    _break(case, "column_missing", _delete("obs/f4"), "obs/f4")


def bad_storage_is_refused(case):
    """A corrupt chunk, a filter that nobody has, and those of the library that trust what is in a chunk."""
    folder = case.folder("bad")
    for name, stem in (("corrupt_gzip", "hdf5_huge_chunks"), ("corrupt_fletcher", "hdf5_fletcher")):
        path = folder / f"{name}.h5ad"
        storage.copy(case.corpus / f"{stem}.h5ad", path)
        with h5py.File(path) as file:
            at, size = (lambda info: (info.byte_offset, info.size))(file["X/data"].id.get_chunk_info(0))
        with open(path, "r+b") as file:
            file.seek(at + size // 2)
            file.write(b"\xa5\x5a\xa5\x5a")
        _both(case, name, path, "X/data")
    for stem, chunk in (("light_v2_zstd", "X/data/0"), ("light_v3_gzip", "X/data/c/0")):
        path = folder / f"{stem}.zarr"
        shutil.copytree(case.corpus / path.name, path)
        (path / chunk).write_bytes((path / chunk).read_bytes()[:9])
        _both(case, f"cut {chunk}", path, "X/data")
    path = folder / "filter.h5ad"
    storage.copy(case.corpus / "full.h5ad", path)
    with h5py.File(path, "r+") as file:
        values = file["layers/dense_f8"][()]
        attrs = dict(file["layers/dense_f8"].attrs)
        del file["layers/dense_f8"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((53, 17))
        plist.set_filter(31999, h5py.h5z.FLAG_OPTIONAL)
        made = h5py.h5d.create(file["layers"].id, b"dense_f8", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple(values.shape), plist)
        made.write_direct_chunk((0, 0), values.tobytes())
        file["layers/dense_f8"].attrs.update(attrs)
    _both(case, "unknown filter", path, "layers/dense_f8", "31999")
    path = folder / "scaleoffset.h5ad"
    storage.copy(case.corpus / "full.h5ad", path)
    with h5py.File(path, "r+") as file:
        attrs = dict(file["layers/dense_f8"].attrs)
        del file["layers/dense_f8"]
        file["layers"].create_dataset("dense_f8", data=values.astype("i4"), scaleoffset=0).attrs.update(attrs)
    _both(case, "scaleoffset", path, "layers/dense_f8", "h5repack")
    path = folder / "short_chunk.h5ad"
    adata = ad.AnnData(np.ones((4, 2), "f4"))
    corpus.write(adata, path)
    with h5py.File(path, "r+") as file:
        records = np.array([(i, f"{i}") for i in range(4)], [("number", "i4"), ("text", h5py.string_dtype())])
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4,))
        plist.set_fletcher32()
        made = h5py.h5d.create(file["obsm"].id, b"records", h5py.h5t.py_create(records.dtype, logical=True), h5py.h5s.create_simple((4,)), plist)
        made.write_direct_chunk((0,), b"abc")
        file["obsm/records"].attrs.update({"encoding-type": "rec-array", "encoding-version": "0.2.0"})
    _both(case, "short chunk", path, "obsm/records", "too short")


def bad_awkward_is_refused(case):
    """A form whose rows cannot be taken is named, not guessed at."""
    adata = ad.AnnData(np.ones((4, 2), "f4"))
    adata.obsm["union"] = ak.Array([1, "two", [3], 4.0])
    path = corpus.write(adata, case.folder("bad") / "union.h5ad")
    out = case.folder("refused")
    _refused(case, "union", ("slice", path, out / "s", "--size", "2"), path.name, "obsm/union", out=out, inputs=[path])
    done = case.run("check", path)
    case.check("check: union", [] if done.returncode == 0 and "Only its buffers" in done.stdout else [done.stdout])


def bad_arguments_are_refused(case):
    source, out = case.corpus / "x_int64.h5ad", case.folder("refused")
    for extra in (("--size", "0"), ("--size", "-1"), ("--size", "x"), ("--compression", "zip"), ("--compression", "gzip:10"), ("--compression", "gzip:0"),
                  ("--seed", "-1", "--shuffle"), ("--nothing",), ("-j", "0"), ("--memory-limit", "lots")):
        _refused(case, f"slice {' '.join(extra)}", ("slice", source, out / "s", *extra), code=2, out=out, inputs=[source])
    _refused(case, "filters are listed", ("slice", source, out / "s", "--compression", "zip"), "gzip", "lzf", code=2, out=out)
    _refused(case, "join", ("merge", out / "m.h5ad", source, "--join", "left"), "inner", "outer", code=2, out=out)
    _refused(case, "no subcommand", (), code=2)
    _refused(case, "no inputs", ("merge", out / "m.h5ad"), code=2, out=out)
    done = case.run("slice", source, out / "s", "--seed", "1")
    case.check("--seed without --shuffle", [] if done.returncode == 0 and "WARNING" in done.stderr else [f"{done.returncode}: {done.stderr}"])


def arguments_may_be_shortened(case):
    """As argparse allows, and --debug on either side of the subcommand."""
    source, out = case.corpus / "x_int64.h5ad", case.folder("short")
    for args in (("slice", source, out / "a", "--comp", "gzip", "--si", "9", "--shu", "--se", "1", "--mem", "1GB"), ("--debug", "slice", source, out / "b"),
                 ("slice", "--debug", source, out / "c", "-j2"), ("slice", source, out / "d", "--jobs=2", "--size=7"), ("merge", out / "e.h5ad", source, "--joi", "inner")):
        case.works(" ".join(map(str, args[:1] + args[3:])), *args)
    for args in (("--version",), ("--help",), ("slice", "--help"), ("merge", "--help")):
        case.works(" ".join(args), *args)
    case.check("prefix of two", [] if case.run("slice", source, out / "f", "--s", "5").returncode == 2 else ["--s is taken though --size, --shuffle and --seed all fit"])


def bad_outputs_are_refused(case):
    folder = case.folder("bad")
    a, b = folder / "a.h5ad", folder / "b.h5ad"
    for path in (a, b):
        storage.copy(case.corpus / "x_int64.h5ad", path)
    (folder / "link.h5ad").symlink_to(a)
    os.link(a, folder / "hard.h5ad")
    (folder / "sub").mkdir()
    for target in (a, folder / "link.h5ad", folder / "hard.h5ad", folder / "sub" / ".." / "a.h5ad"):
        _refused(case, f"output {target.name} is an input", ("merge", target, a, b), "a.h5ad" if target.name == "a.h5ad" else target.name, out=folder, inputs=[a, b])
    shard = folder / "x_shard_0.h5ad"
    storage.copy(case.corpus / "x_int64.h5ad", shard)
    _refused(case, "a shard is the input", ("slice", shard, folder / "x"), shard.name, out=folder, inputs=[shard])
    _refused(case, "wrong extension", ("merge", folder / "m.loom", a, b), "m.loom", out=folder, inputs=[a, b])
    (folder / "file").write_text("not a folder")
    _refused(case, "unwritable", ("slice", a, folder / "file" / "s"), "file", out=folder, inputs=[a])
    _refused(case, "a pattern without a match", ("merge", folder / "m.h5ad", folder / "none_*.h5ad"), "none_*.h5ad", out=folder, inputs=[a])
    if os.geteuid():
        (folder / "sub").chmod(0o500)
        _refused(case, "read-only", ("slice", a, folder / "sub" / "s"), "sub", out=folder / "sub", inputs=[a])
        (folder / "sub").chmod(0o700)


def bad_merges_are_refused(case):
    folder = case.folder("bad")

    def refused(label, parts, *words, join="outer"):
        paths = [corpus.write(p, folder / f"{i}.h5ad") for i, p in enumerate(parts)]
        _refused(case, label, ("merge", folder / "m.h5ad", *paths, "--join", join), *words, out=folder, inputs=paths)

    for i in range(2):
        (folder / f"{i}.h5ad").touch()
    refused("doubled genes", [part(0, 3, ["a", "b", "a"]), part(1, 3, ["a", "b", "c"])], "0.h5ad")
    refused("doubled genes in the second", [part(0, 3, ["a", "b", "c"]), part(1, 3, ["a", "b", "a"])], "1.h5ad")
    refused("no gene in common", [part(0, 3, ["a", "b"]), part(1, 3, ["c", "d"])], "gene", join="inner")
    refused("X in the first only", [part(0, 3, ["a", "b"]), part(1, 3, ["a", "b"], None)], "1.h5ad", "X")
    refused("X in the second only", [part(0, 3, ["a", "b"], None), part(1, 3, ["a", "b"])], "0.h5ad", "X")
    parts = [part(i, 3, ["a", "b"]) for i in range(2)]
    for i, p in enumerate(parts):
        p.obsm["X_pca"] = np.ones((3, 2 + i))
    refused("widths of obsm", parts, "1.h5ad", "obsm/X_pca")


def a_failed_run_leaves_the_older_output(case):
    folder = case.folder("bad")
    good, bad, out = folder / "good.h5ad", folder / "bad.h5ad", folder / "m.h5ad"
    for path in (good, bad):
        storage.copy(case.corpus / "full.h5ad", path)
    with h5py.File(bad, "r+") as file:
        _change("raw/X/indices", _put(-1, 10**6))(file)
    for target in (out, folder / "m.zarr"):
        if case.works("first", "merge", target, good):
            _refused(case, f"second {target.name}", ("merge", target, good, bad), "bad.h5ad", "raw/X", out=folder, inputs=[good, bad, target])
