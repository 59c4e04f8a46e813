"""Input that was made to do harm: links out of the folder, circles, depths, sizes that no file holds, names that are paths."""

import json
import os
import re
import shutil
import struct

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import zarr

import corpus
import storage
from badinput import _refused
from fuzz import limited

SECRET = "secret"


def _plain(path, cells=5, genes=3):
    """A small file with a column, a layer and something in uns."""
    adata = ad.AnnData(np.ones((cells, genes), "f4"))
    adata.obs["f4"] = np.arange(cells, dtype="f4")
    adata.uns["dict"] = {"numbers": np.arange(4)}
    return corpus.write(adata, path)


def _label(node, kind="array", version="0.2.0"):
    node.attrs.update({"encoding-type": kind, "encoding-version": version})


def _commands(source, out):
    return (("slice", source, out / "s", "--size", "2"), ("slice", source, out / "s", "--shuffle", "--seed", "1"), ("merge", out / "m.h5ad", source),
            ("merge", out / "m.zarr", source), ("filter", source, out / "f.h5ad", "--where", "f4 >= 0"))


def files_of_rare_forms_are_kept(case):
    """Values that were never written, where a user block comes first, and addresses of 4 bytes; all that the library's own copy gets wrong."""
    folder, out = case.folder("hostile"), case.folder("out")
    made = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    made.set_sizes(4, 4)
    h5py.h5f.create(bytes(folder / "addresses.h5ad"), fcpl=made).close()
    h5py.File(folder / "user_block.h5ad", "w", userblock_size=512).close()
    source = _plain(folder / "plain.h5ad")
    record = np.dtype([("name", h5py.string_dtype()), ("k", "i4")])
    for path in (folder / "addresses.h5ad", folder / "user_block.h5ad"):
        with h5py.File(source) as file, h5py.File(path, "r+") as target:
            for name in file:
                file.copy(name, target)
            target.attrs.update(file.attrs)
            del target["obs/f4"]
            target["obs"].create_dataset("f4", (5,), "f4", fillvalue=7)
            _label(target["obs/f4"])
            target["uns/text"] = np.array(["a", "bb", "ccc"], object)
            _label(target["uns/text"], "string-array")
            of = h5py.h5t.vlen_create(h5py.h5t.py_create(record, logical=True))
            h5py.h5a.create(target["uns/dict"].id, b"records", of, h5py.h5s.create_simple((1,)))
        done = case.run("slice", path, out / path.stem, "--size", "2", "--verify")
        case.check(f"{path.stem}: slice", [] if done.returncode == 0 and "'records' of 'uns/dict' is left out" in done.stderr else [done.stderr[-300:]])
        part = ad.read_h5ad(out / f"{path.stem}_shard_1.h5ad")
        kept = list(part.obs["f4"]) == [7, 7] and list(part.uns["text"]) == ["a", "bb", "ccc"] and list(part.uns["dict"]["numbers"]) == [0, 1, 2, 3]
        case.check(f"{path.stem}: values", [] if kept else [f"{part.obs} {part.uns}"])


def _led_out(case, label, source, *words):
    """Every command refuses `source` in one line with `words`, info says so of the element; --follow-external reads it."""
    out = case.folder("refused")
    for args in _commands(source, out):
        _refused(case, f"{label}: {args[0]}", args, source.name, *words, "--follow-external", out=out)
        case.works(f"{label}: {args[0]} --follow-external", *args, "--follow-external")
        shutil.rmtree(out), out.mkdir()
    told = " ".join(case.run("info", source).stdout.split())
    case.check(f"{label}: info", [] if "--follow-" in told else [f"says nothing of it: {told[-200:]}"])
    told = case.run("info", "--follow-external", source).stdout
    case.check(f"{label}: info --follow-external", [] if "cannot be read" not in told else ["an element cannot be read"])


def files_outside_the_folder_are_refused(case):
    """External links, virtual datasets and external storage, by every way that leads out, and back in."""
    folder = case.folder("hostile")
    inside, below = folder / "in", folder / "in" / "below"
    below.mkdir(parents=True)
    for place in (folder, inside, below):
        with h5py.File(place / "other.h5", "w") as file:
            file["values"] = np.arange(5, dtype="f4")
            _label(file["values"])
            file.create_group("group")["values"] = np.arange(5, dtype="f4")
            _label(file["group/values"]), _label(file["group"], "dict", "0.1.0")
            file["nested"] = h5py.ExternalLink("../other.h5", "values")
    (inside / "link.h5").symlink_to(folder / "other.h5")
    (folder / "raw.bin").write_bytes(np.arange(5, dtype="f4").tobytes())
    (inside / "raw.bin").write_bytes(np.arange(5, dtype="f4").tobytes())

    def made(name, change):
        path = _plain(inside / f"{name}.h5ad")
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    def linked(place, target, path="values"):
        def change(file):
            if place in file:
                del file[place]
            file[place] = h5py.ExternalLink(target, path)
        return change

    def virtual(target, path="values"):
        def change(file):
            layout = h5py.VirtualLayout((5,), "f4")
            layout[:] = h5py.VirtualSource(target, path, (5,))
            _label(file["uns"].create_virtual_dataset("virtual", layout))
        return change

    def raw(target):
        return lambda file: _label(file["uns"].create_dataset("raw", (5,), "f4", external=[(str(target), 0, 20)]))

    def soft(file):
        linked("uns/group", str(folder / "other.h5"), "group")(file)
        file["obs/soft"] = h5py.SoftLink("/uns/group/values")
        file["obs"].attrs["column-order"] = ["f4", "soft"]

    for name, change, word in (
            ("link_absolute", linked("uns/out", str(folder / "other.h5")), "out"), ("link_up", linked("uns/out", "../other.h5"), "../other.h5"),
            ("link_column", linked("obs/f4", "../other.h5"), "obs/f4"), ("link_group", linked("uns/dict", "../other.h5", "group"), "dict"),
            ("link_symbolic", linked("uns/out", "link.h5"), "link.h5"), ("link_nested", linked("uns/out", "other.h5", "nested"), "../other.h5"), ("link_spare", linked("spare", "../other.h5", "group"), "spare"),
            ("link_behind_soft", soft, "other.h5"), ("virtual_up", virtual("../other.h5"), "../other.h5"), ("virtual_nested", virtual("other.h5", "nested"), "../other.h5"),
            ("virtual_absolute", virtual(str(folder / "other.h5")), "virtual"), ("raw_absolute", raw(folder / "raw.bin"), "raw.bin")):
        _led_out(case, name, made(name, change), word)
    for name, change in (("link_beside", linked("uns/out", "other.h5")), ("link_below", linked("obs/f4", "below/other.h5")), ("virtual_below", virtual("below/other.h5")),
                         ("link_absolute_inside", linked("uns/out", str(inside / "other.h5"))), ("link_below_to_beside", linked("uns/out", "below/other.h5", "nested")),
                         ("raw_inside", raw(inside / "raw.bin")), ("link_moved", linked("uns/out", "/nowhere/at/all/other.h5"))):
        path, out = made(name, change), case.folder("refused")
        for args in _commands(path, out):
            case.works(f"{name}: {args[0]}", *args)
            shutil.rmtree(out), out.mkdir()
    # What is no file, in the bounds and out of them, would be waited for, or read without end.
    os.mkfifo(inside / "pipe"), os.mkfifo(folder / "pipe")
    for name, change in (("raw_device", raw("/dev/zero")), ("raw_pipe_up", raw(folder / "pipe")), ("raw_pipe", raw(inside / "pipe")), ("link_pipe", linked("uns/out", "pipe")),
                         ("link_pipe_up", linked("uns/out", "../pipe")), ("virtual_pipe", virtual("pipe")), ("link_device", linked("uns/out", "/dev/zero")), ("link_folder", linked("uns/out", "below"))):
        path = made(name, change)
        _ends(case, name, path, 1)
        _ends(case, f"{name} --follow-external", path, 1, options=("--follow-external",))
    # Links over links, as many as the library follows and no more work than that.
    for at in range(1, 16):
        with h5py.File(inside / f"chain_{at}.h5", "w") as file:
            file["values"] = h5py.ExternalLink(f"chain_{at + 1}.h5" if at < 15 else "other.h5", "values")
    case.works("chain of links", "slice", made("chain", linked("uns/out", "chain_1.h5")), case.folder("refused") / "s", "--verify")
    _ends(case, "chain of links", inside / "chain.h5ad", None)
    # Folders that variables name, of links, of sources, of raw values, are not looked in, whatever is allowed.
    with h5py.File(folder / "named.h5", "w") as file:
        file["values"] = np.arange(10, 15, dtype="f4")
        _label(file["values"])
    np.arange(10, 15, dtype="f4").tofile(folder / "named.bin")
    for variable, change, value in (("HDF5_EXT_PREFIX", linked("uns/out", "named.h5"), f"/nowhere:{folder}"), ("HDF5_VDS_PREFIX", virtual("named.h5"), f"{folder}"),
                                    ("HDF5_VDS_PREFIX", virtual("named.h5"), "${ORIGIN}/.."), ("HDF5_EXTFILE_PREFIX", raw("named.bin"), "${ORIGIN}/..")):
        path, out = made("prefix", change), case.folder("refused")
        for option in ((), ("--follow-external",)):
            done = case.run("slice", path, out / "s", *option, **{variable: value})
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            said = done.returncode == 1 and len(errors) == 1 and path.name in errors[0] and f"{variable} is set, but not used" in done.stderr
            case.check(f"{variable} {option}", ([] if said else [done.stderr[-300:]]) + [f"left {p.name}" for p in out.iterdir()])
    # What the library finds in the working folder, and beside what a symbolic link leads to.
    away = case.folder("away")
    (away / "alias.h5ad").symlink_to(made("link_real", linked("uns/out", "../other.h5")))
    _led_out(case, "beside the real file", away / "alias.h5ad", "../other.h5")
    shutil.copyfile(inside / "link_beside.h5ad", below / "alone.h5ad")
    (inside / "alias.h5ad").symlink_to(below / "alone.h5ad")
    case.works("beside what a link leads to", "slice", inside / "alias.h5ad", case.folder("refused") / "s")


def links_out_of_a_store_are_refused(case):
    folder = case.folder("hostile")
    outside = folder / "outside"
    outside.mkdir()
    for version, chunk in (("2", "uns/dict/numbers/0"), ("3", "uns/dict/numbers/c/0")):
        ad.settings.zarr_write_format = int(version)
        for name, moved in (("chunk", chunk), ("array", "uns/dict/numbers"), ("column", "obs/f4"), ("group", "uns/dict"),
                            ("metadata", "uns/dict/numbers/" + (".zarray" if version == "2" else "zarr.json"))):
            path = _plain(folder / f"{name}_v{version}.zarr")
            target = outside / f"{name}_v{version}"
            shutil.move(path / moved, target)
            (path / moved).symlink_to(target)
            out = case.folder("refused")
            for args in _commands(path, out):
                _refused(case, f"{path.name}: {args[0]}", args, path.name, "--follow-external", out=out)
                case.works(f"{path.name}: {args[0]} --follow-external", *args, "--follow-external")
                shutil.rmtree(out), out.mkdir()
            kept = path / "kept"
            (path / moved).unlink(), shutil.move(target, kept)
            (path / moved).symlink_to(kept)
            case.works(f"{path.name}: inside", "slice", path, out / "s")
    corpus.settings()


def _ends(case, label, source, code=1, seconds=20, options=()):
    """Every command on `source` ends soon, in little memory, with one line if it fails."""
    out, tmp = case.folder("refused"), case.folder("tmp")
    for args in (("info", source), ("info", "--json", source), *_commands(source, out), ("slice", source, out / "s", "--max-bytes", "1MB"), ("slice", source, out / "s", "--shards", "3"),
                 ("slice", source, out / "s", "--obs-column", "f4"), ("filter", source, out / "f.h5ad", "--obs-column", "f4")):
        got, said, resident = limited([case.binary, *args, *options], tmp, seconds)
        errors = [line for line in said.splitlines() if line.startswith("ERROR")]
        faults = [f"ended with {got}: {said[-300:]}"] if got not in ((0, 1) if args[0] == "info" or code is None else (code,)) else []
        faults += [f"said {errors}"] if got == 1 and len(errors) != 1 else []
        faults += [f"a bug: {errors}"] if "This is a bug" in said else []
        faults += [f"took {resident >> 20} MiB"] if resident > 300 << 20 else []
        faults += [f"left {[p.name for p in out.iterdir()]}"] if got and any(out.iterdir()) else []
        case.check(f"{label}: {' '.join(map(str, args[:1] + args[3:]))}", faults)
        shutil.rmtree(out), out.mkdir()


def circles_and_depths_end(case):
    folder = case.folder("hostile")

    def made(name, change, code=1):
        path = _plain(folder / f"{name}.h5ad")
        with h5py.File(path, "r+") as file:
            change(file)
        _ends(case, name, path, code)

    def deep(count, link=None):
        def change(file):
            group = file["uns"]
            for _ in range(count):
                group = group.create_group("d")
        return change

    def doubled(place, link):
        """Two paths lead on from each of many groups."""
        def change(file):
            groups = [file.require_group(f"{place}/g{i}") for i in range(40)]
            for group, onto in zip(groups, groups[1:]):
                for name in "ab":
                    group[name] = link(onto)
        return change

    def circle(place, onto, link):
        def change(file):
            file[place] = link(file[onto])
        return change

    def hard(group):
        return group

    def soft(group):
        return h5py.SoftLink(group.name)

    def external(name):
        return lambda group: h5py.ExternalLink(f"{name}.h5ad", group.name)

    for link in (hard, soft):
        for place, onto in (("uns/loop", "uns"), ("uns/loop", "/"), ("layers/loop", "layers"), ("obsm/loop", "obsm"), ("spare", "/"), ("uns/dict/up", "uns"), ("varm/loop", "varm")):
            made(f"circle_{link.__name__}_{place}_{onto}".replace("/", "_"), circle(place, onto, link), None)
        made(f"doubled_{link.__name__}", doubled("uns", link), None)
        made(f"doubled_layers_{link.__name__}", doubled("layers", link), None)
        made(f"doubled_spare_{link.__name__}", doubled("spare", link), None)
    made("circle_external", circle("uns/loop", "uns", external("circle_external")))
    made("deep_in_uns", deep(3000))
    made("deep_in_reason", deep(30), None)
    for kind, count in (("sequence", 3000), ("array", 3000), ("record", 1000)):
        for place in ("values", "attribute"):
            made(f"deep_{kind}_{place}", _types_in_types(kind, count, place))
            made(f"types_{kind}_{place}", _types_in_types(kind, 12, place), None)
    path = _plain(folder / "circle.zarr")
    (path / "uns" / "loop").symlink_to(path / "uns")
    (path / "uns" / "again").symlink_to(path / "uns")
    _ends(case, "circle.zarr", path)
    path = _plain(folder / "deep.zarr")
    os.makedirs(path / "uns" / "/".join("d" * 300))
    for place, _, _ in os.walk(path / "uns" / "d"):
        shutil.copyfile(path / "uns" / ".zgroup", f"{place}/.zgroup")
    _ends(case, "deep.zarr", path, None)


def _types_in_types(kind, count, place):
    """Types in one another, of the values or of an attribute of a dataset in uns."""
    def change(file):
        of = h5py.h5t.NATIVE_INT32.copy()
        for _ in range(count):
            if kind == "sequence":
                of = h5py.h5t.vlen_create(of)
            elif kind == "array":
                of = h5py.h5t.array_create(of, (1,))
            else:
                inside, of = of, h5py.h5t.create(h5py.h5t.COMPOUND, of.get_size())
                of.insert(b"a", 0, inside)
        space = h5py.h5s.create_simple((1,))
        if place == "values":
            h5py.h5d.create(file["uns"].id, b"types", of, space)
            _label(file["uns/types"])
        else:
            h5py.h5a.create(file["uns"].id, b"types", of, space)
    return change


def sizes_that_no_file_holds_are_refused(case):
    folder = case.folder("hostile")
    text = h5py.string_dtype()

    def never(file, path, shape, dtype="f4", **options):
        attrs = dict(file[path].attrs) if path in file else {"encoding-type": "array", "encoding-version": "0.2.0"}
        if path in file:
            del file[path]
        options = options or {"chunks": tuple(min(n, 64) for n in shape)}
        file.create_dataset(path, shape, dtype, **options).attrs.update(attrs)

    def made(name, change, code=1):
        path = _plain(folder / f"{name}.h5ad")
        with h5py.File(path, "r+") as file:
            change(file)
        _ends(case, name, path, code)

    def cells(count):
        def change(file):
            never(file, "obs/_index", (count,), text)
            never(file, "obs/f4", (count,))
            never(file, "X", (count, 3))
        return change

    for count in (2**31, 2**32 - 1, 2**32, 2**40, 2**62):
        made(f"cells_{count}", cells(count))
        made(f"genes_{count}", lambda file: (never(file, "var/_index", (count,), text), never(file, "X", (5, count), chunks=(1, 64))))
    made("wide_dense", lambda file: never(file, "obsm/wide", (5, 2**40), chunks=(1, 64)))
    made("wide_chunks", lambda file: never(file, "obsm/wide", (5, 2**31), chunks=(1, 2**29)))
    made("wide_runs", lambda file: never(file, "obsm/wide", (5, 2**25), "u1", chunks=(1, 1)))
    made("wide_text", lambda file: never(file, "obsm/wide", (5, 2**40), text, chunks=(1, 64)))
    made("huge_chunk", lambda file: never(file, "obs/f4", (5,), chunks=(2**29,), maxshape=(None,)), None)
    made("huge_chunk_gzip", _huge_chunk, None)
    made("huge_in_uns", lambda file: never(file, "uns/huge", (2**62,), "u1", chunks=(2**20,)), None)
    made("huge_text_in_uns", lambda file: never(file, "uns/huge", (2**50,), text, chunks=(2**20,)), None)
    made("unwritten_in_uns", lambda file: never(file, "uns/huge", (2**43,), "u1", chunks=(2**20,), compression="gzip"))
    path = _plain(folder / "unwritten_in_uns.zarr")
    huge = zarr.open_group(str(path), mode="r+", use_consolidated=False)["uns"].create_array("huge", shape=(2**43,), chunks=(2**20,), dtype="u1")
    _label(huge)
    zarr.consolidate_metadata(str(path))
    _ends(case, "unwritten_in_uns.zarr", path)
    for dtype in ("i8", "u8"):
        for value in (2**62, 2**63 - 1, -1, -2**63):
            made(f"indptr_{dtype}_{value}", _indptr(dtype, value))
    made("shape", lambda file: (_sparse(file), file["X"].attrs.__setitem__("shape", [5, 2**63 - 1])))


def _huge_chunk(file):
    """One gzip chunk of a few bytes that claims 3 GiB."""
    import zlib

    del file["obs/f4"]
    made = file["obs"].create_dataset("f4", (5,), "f4", chunks=(3 << 28,), maxshape=(None,), compression="gzip")
    made.id.write_direct_chunk((0,), zlib.compress(bytes(1000)))
    _label(made)


def _sparse(file):
    del file["X"]
    made = file.create_group("X")
    made.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [5, 3]})
    made["data"], made["indices"], made["indptr"] = np.ones(5, "f4"), np.zeros(5, "i4"), np.arange(6, dtype="i8")


def _indptr(dtype, value):
    def change(file):
        _sparse(file)
        values = np.arange(6, dtype="i8").astype(dtype)
        values[2] = np.array([value], "i8").astype(dtype)[0]
        corpus.replace(file, "X/indptr", values)
    return change


def names_do_not_become_paths(case):
    """Categories, columns and keys that look like paths stay inside the output, or are refused."""
    folder, out = case.folder("hostile"), case.folder("refused")
    names = ["../up", "..", ".", "/etc/x", "a/b", "new\nline", "tab\t", "x" * 240, "é" * 80, " ", "-", "CON", "a\\b"]
    adata = ad.AnnData(np.ones((len(names), 2), "f4"))
    adata.obs["cat"] = pd.Categorical(names)
    path = corpus.write(adata, folder / "categories.h5ad")
    done = case.run("slice", path, out / "deep" / "s", "--obs-column", "cat")
    made = [p for p in case.work.rglob("*") if p.is_file() and p.suffix == ".h5ad" and p != path]
    faults = [f"{p} lies elsewhere" for p in made if p.parent != out / "deep"]
    case.check("categories", faults + ([] if done.returncode in (0, 1) else [done.stderr[-200:]]))
    for key in ("..", ".", "a\nb", "x" * 255, "x" * 300, ".zarray", ".zattrs", "zarr.json", ".zgroup", "é", "a:b"):
        path = _plain(folder / "keys.h5ad")
        with h5py.File(path, "r+") as file:
            for place in ("uns", "layers", "obsm", "/"):
                if key != ".":
                    file.create_dataset(f"{place}/{key}" if place != "/" else key, data=np.ones((5, 3), "f4"))
                    _label(file[place][key])
        for args in _commands(path, out):
            got, said, _ = limited([case.binary, *args], case.folder("tmp"))
            errors = [line for line in said.splitlines() if line.startswith("ERROR")]
            faults = [] if got == 0 or (got == 1 and len(errors) == 1) else [f"{got}: {said[-300:]}"]
            faults += [f"a bug: {errors}"] if "This is a bug" in said else []
            case.check(f"key {key[:10]!r}: {args[0]} {args[1]}", faults)
            shutil.rmtree(out), out.mkdir()
    for column in ("../x", "..", "/X", ".", "", "f4/../../X", "a\0b", "x" * 70_000):
        path = _plain(folder / "columns.h5ad")
        with h5py.File(path, "r+") as file:
            for attribute, value in (("_index", column), ("column-order", [column])):
                if "\0" not in column and len(column) < 60_000:
                    file["obs"].attrs[attribute] = value
            file.move("obs/_index", "obs/kept")
        _ends(case, f"column {column[:10]!r}", path)
    path = _plain(folder / "columns.zarr")
    for column in ("../x", "..", "/X", ".", "", "f4/../../X", "../../secret", "a\0b"):
        attrs = json.loads((path / "obs" / ".zattrs").read_text())
        attrs.update({"_index": column, "column-order": [column]})
        (path / "obs" / ".zattrs").write_text(json.dumps(attrs))
        _ends(case, f"Zarr column {column!r}", path)


def references_to_nowhere_end(case):
    """Object references, as anndata 0.7 kept categories: to nothing, to what was deleted, to what is no array."""
    def made(name, change, code=1):
        path = case.folder("hostile") / f"{name}.h5ad"
        _plain(path)
        with h5py.File(path, "r+") as file:
            codes = file["obs"].create_dataset("cat", data=np.zeros(5, "i1"))
            file["obs"].attrs["encoding-version"] = "0.1.0"
            file["obs"].attrs["column-order"] = ["f4", "cat"]
            codes.attrs["categories"] = change(file)
        _ends(case, name, path, code)

    def deleted(file):
        file["gone"] = np.arange(3)
        reference = file["gone"].ref
        del file["gone"]
        return reference

    made("reference_null", lambda file: h5py.Reference())
    made("reference_deleted", deleted)
    made("reference_to_a_group", lambda file: file["uns"].ref, None)
    made("reference_to_the_root", lambda file: file.ref, None)
    made("reference_to_itself", lambda file: file["obs/cat"].ref, None)
    for place in ("obs", "obs/f4", "uns/dict", "/"):
        path = _plain(case.folder("hostile") / "sequences.h5ad")
        with h5py.File(path, "r+") as file:
            file[place].attrs.create("list", np.array([np.arange(3), np.arange(2)], object), dtype=h5py.vlen_dtype("i4"))
            file[place].attrs.create("references", np.array([file.ref, file.ref], object), dtype=h5py.ref_dtype)
        _ends(case, f"attributes of sequences at {place}", path, None)
    path = _plain(case.folder("hostile") / "references.h5ad")
    with h5py.File(path, "r+") as file:
        values = file["uns"].create_dataset("references", (2,), h5py.ref_dtype)
        values[:] = [file.ref, file["uns"].ref]
        _label(values)
    _ends(case, "references in uns", path, None)


def damaged_heaps_end(case):
    """Text in a global heap whose free space claims no bytes, which the HDF5 library does not get past: of attributes, and of what it copies."""
    def made(name, last):
        path = _plain(case.folder("hostile") / f"{name}.h5ad")
        with h5py.File(path, "r+") as file:
            file["uns"]["texts"] = np.array([f"text {i}" for i in range(900)], object)
            _label(file["uns/texts"], "string-array")
        data, at, free = bytearray(path.read_bytes()), 0, []
        while (at := data.find(b"GCOL", at)) >= 0:
            (size,), place = struct.unpack_from("<Q", data, at + 8), at + 16
            while place + 16 <= at + size and data[place:place + 2] != b"\0\0":
                place += 16 + -(-struct.unpack_from("<Q", data, place + 8)[0] // 8) * 8
            free += [place] if place + 16 <= at + size else []
            at += 4
        for place in free[-1:] if last else free:
            struct.pack_into("<Q", data, place + 8, 0)
        path.write_bytes(data)
        return path

    for name, last, words in (("heap_of_attributes", False, ""), ("heap_of_texts", True, "'uns")):
        path, out, tmp = made(name, last), case.folder("refused"), case.folder("tmp")
        code, said, _ = limited([case.binary, "slice", path, out / "s", "--size", "2"], tmp, 60)
        errors = [line for line in said.splitlines() if line.startswith("ERROR")]
        faults = [f"ended with {code}: {said[-300:]}"] if code != 1 or len(errors) != 1 else []
        faults += [f"said {errors}"] if not all(words in e and path.name in e and "damaged" in e for e in errors) else []
        faults += [f"left {[p.name for p in folder.iterdir()]}" for folder in (out, tmp) if any(folder.iterdir())]
        case.check(name, faults)


def claims_of_text_are_not_believed(case):
    """References to text that claim 4 GiB, in attributes and in columns."""
    for name, column in (("claim_of_attribute", False), ("claim_of_column", True)):
        path = _plain(case.folder("hostile") / f"{name}.h5ad")
        with h5py.File(path) as file:
            start = file["obs/_index"].id.get_offset()
        data = bytearray(path.read_bytes())
        heap = data.find(b"GCOL")
        at = start if column else data.find(struct.pack("<IQ", len("anndata"), heap))
        struct.pack_into("<I", data, at, 0xfffffff0)
        path.write_bytes(data)
        _ends(case, name, path, 1)
    path = _claiming(case.folder("hostile") / "no_claim.h5ad", None)
    out = case.folder("out")
    case.works("no claim", "slice", path, out / "s", "--size", "2", "--verify")
    # HDF5 itself does not read text that was never written from a file that it may not write.
    with h5py.File(path, "r+") as want, h5py.File(out / "s_shard_1.h5ad") as got:
        kept = np.array_equal(got["uns/field"][...], want["uns/field"][...]) and np.array_equal(got["uns/sequence"][0], want["uns/sequence"][0])
        kept &= np.array_equal(got["uns"].attrs["sequence_attribute"][0], want["uns"].attrs["sequence_attribute"][0])
        kept &= all(np.array_equal(got[name][...], want[name][...]) for name in ("spare/fill_value", "uns/text"))
        kept &= np.array_equal(got["uns/text_in_sequence"][0], want["uns/text_in_sequence"][0])
    case.check("no claim: values", [] if kept else ["differ"])
    for name, code, length in LONG:
        path = _claiming(case.folder("hostile") / f"claim_of_{name}.h5ad", length)
        _ends(case, path.stem, path, code)


def sources_in_circles_end(case):
    """Virtual datasets that are sources of themselves, and of more in one another than are followed; some sources at each of few levels are sound."""
    folder = case.folder("hostile")

    def joined(group, name, sources, width):
        layout = h5py.VirtualLayout((width,), "f4")
        for at, (file_name, path) in enumerate(sources):
            layout[at:at + 1] = h5py.VirtualSource(file_name, path, (width,))[at:at + 1]
        _label(group.create_virtual_dataset(name, layout))

    for name, file_name, pairs in (("itself", ".", ("vv",)), ("by_name", "by_name.h5ad", ("vv",)), ("each_other", ".", ("vw", "wv"))):
        path = _plain(folder / f"{name}.h5ad")
        with h5py.File(path, "r+") as file:
            for made, onto in pairs:
                joined(file["uns"], made, [(file_name, f"uns/{onto}")], 4)
        _ends(case, name, path, 1)
    # No deeper than is followed by any way down to one that was looked at already.
    path = _plain(folder / "chain.h5ad")
    with h5py.File(path, "r+") as file:
        file["spare/0"] = np.arange(100, dtype="f4")
        for at in range(1, 600):
            joined(file["spare"], str(at), [(".", f"spare/{at - 1}")], 100)
        joined(file["uns"], "v", [(".", f"spare/{at}") for at in range(6, 600, 6)], 100)
    _ends(case, "chain", path, 1)
    path, width = _plain(folder / "levels.h5ad"), 6
    with h5py.File(path, "r+") as file:
        file["spare/0_0"] = np.arange(width, dtype="f4")
        for level in range(7):
            for at in range(1, width):
                file[f"spare/{level}_{at}"] = file[f"spare/{level}_0"]
            joined(file["spare"], f"{level + 1}_0", [(".", f"spare/{level}_{at}") for at in range(width)], width)
        joined(file["uns"], "v", [(".", "spare/7_0")] * width, width)
    out = case.folder("out")
    case.works("levels", "slice", path, out / "s", "--size", "2")
    with h5py.File(out / "s_shard_0.h5ad") as got:
        case.check("levels: values", [] if np.array_equal(got["uns/v"][...], np.arange(width)) else ["differ"])
    _ends(case, "levels", path, None)


def headers_upon_headers_end(case):
    """Blocks of an object header that lie upon one another: the library loads each, as much of it as the file is long."""
    path, blocks, size = _plain(case.folder("hostile") / "upon.h5ad"), 220, 2 << 20
    with h5py.File(path, "r+") as file:
        numbers = file["uns/dict/numbers"]
        numbers.attrs.update({f"more{at}": np.zeros(50) for at in range(6)})
        address = h5py.h5o.get_info(numbers.id).addr
    data = bytearray(path.read_bytes())
    at, end = address + 16, address + 16 + int.from_bytes(data[address + 8:address + 12], "little")
    while at < end and data[at] != 16:
        at += 8 + int.from_bytes(data[at + 2:at + 4], "little")
    case.check("continued", [] if at < end else ["no header goes on elsewhere"])
    # A list of blocks, each of all that comes after it but for a little: messages of nothing.
    start = len(data)
    data[at + 8:at + 24] = struct.pack("<QQ", start, 24 * blocks)
    for block in range(blocks):
        data += struct.pack("<HHBBBBQQ", 16, 16, 0, 0, 0, 0, start + 24 * blocks + 8 * block, size - 8 * blocks)
    data += bytes(size)
    data[40:48] = struct.pack("<Q", len(data))
    path.write_bytes(data)
    out, tmp = case.folder("refused"), case.folder("tmp")
    for args in (*_commands(path, out), ("check", path)):
        code, said, resident = limited([case.binary, *args, "--memory-limit", "256MB"], tmp)
        errors = [line for line in said.splitlines() if line.startswith("ERROR")]
        faults = [] if code == 1 and len(errors) == 1 and "takes more memory for it" in said else [f"ended with {code}: {said[-300:]}"]
        faults += [f"took {resident >> 20} MiB"] if resident > 1536 << 20 else []
        case.check(f"upon: {args[0]}", faults + [f"left {p.name}" for p in out.iterdir()])


def sources_of_text_are_not_believed(case):
    """Virtual text whose source claims 1 GiB, as a value or as what stands where nothing was written; the source alone, in a series, or virtual too."""
    text, folder = h5py.string_dtype(), case.folder("hostile")
    for claimed in ("value", "fill_value"):
        source = folder / f"{claimed}_0.h5"
        with h5py.File(source, "w") as file:
            data = file.create_dataset("values", (4,), text, chunks=(2,), **({"fillvalue": "f" * 1237} if claimed == "fill_value" else {}))
            data[:2] = ["v" * 1237, "w"] if claimed == "value" else ["v", "w"]
            layout = h5py.VirtualLayout((4,), text)
            layout[:] = h5py.VirtualSource(".", "values", (4,), text)
            file.create_virtual_dataset("virtual", layout)
            want = list(data[:])
        sound = source.read_bytes()
        for name, file_name, path, options in (("alone", source.name, "values", ()), ("series", f"{claimed}_%b.h5", "values", ("--follow-external",)), ("nested", source.name, "virtual", ())):
            source.write_bytes(sound)
            made = _plain(folder / f"{claimed}_{name}.h5ad")
            with h5py.File(made, "r+") as file:
                if name == "series":
                    _series(file["uns"], file_name, path, text)
                else:
                    layout = h5py.VirtualLayout((4,), text)
                    layout[:] = h5py.VirtualSource(file_name, path, (4,), text)
                    file["uns"].create_virtual_dataset("virtual", layout)
                _label(file["uns/virtual"], "string-array")
            out = case.folder("out")
            case.works(f"{made.stem}: sound", "slice", made, out / "s", "--size", "2", "--verify", *options)
            with h5py.File(out / "s_shard_0.h5ad") as got:
                case.check(f"{made.stem}: values", [] if list(got["uns/virtual"][...]) == want else ["differ"])
            shutil.rmtree(out)
            _claim(source, 1237)
            _ends(case, made.stem, made, 1, options=options)


def lists_of_sources_are_not_believed(case):
    """Virtual datasets that claim more sources than they list, also so many that their size wraps around, and sources that are not there."""
    folder = case.folder("hostile")
    with h5py.File(folder / "source.h5", "w") as file:
        file["values"] = np.arange(40, dtype="f4")

    def made(name, file_name="source.h5", path="values"):
        made = _plain(folder / f"{name}.h5ad")
        with h5py.File(made, "r+") as file:
            layout = h5py.VirtualLayout((40,), "f4")
            for at in range(0, 40, 2):
                layout[at:at + 2] = h5py.VirtualSource(file_name, path, (40,))[at:at + 2]
            _label(file["uns"].create_virtual_dataset("virtual", layout))
        return made

    out, sound = case.folder("out"), made("sound")
    case.works("sound", "slice", sound, out / "s", "--size", "2", "--verify")
    with h5py.File(out / "s_shard_2.h5ad") as got:
        case.check("sound: values", [] if np.array_equal(got["uns/virtual"][...], np.arange(40)) else ["differ"])
    data, listed = sound.read_bytes(), struct.pack("<Q", 20) + b"source.h5"
    # 352 bytes are what the library takes for each.
    for count in (21, 2**24, 2**32, 2**62, *(2**64 // size + 1 for size in (344, 352, 360)), 2**64 - 1):
        path = folder / f"sources_{count}.h5ad"
        path.write_bytes(data.replace(listed, struct.pack("<Q", count) + b"source.h5"))
        _ends(case, path.stem, path, 1)
        with h5py.File(_plain(folder / f"linked_{count}.h5ad"), "r+") as file:
            file["uns/far"] = h5py.ExternalLink(path.name, "uns/virtual")
        _ends(case, f"linked_{count}", folder / f"linked_{count}.h5ad", 1)
        _ends(case, f"nested_{count}", made(f"nested_{count}", path.name, "uns/virtual"), 1)
        with h5py.File(folder / f"series_{count}_0.h5", "w") as file:
            file["values"] = h5py.ExternalLink(path.name, "uns/virtual")
        with h5py.File(_plain(folder / f"series_{count}.h5ad"), "r+") as file:
            _series(file["uns"], f"series_{count}_%b.h5", "/values", np.dtype("f4"))
            _label(file["uns/virtual"])
        _ends(case, f"series_{count}", folder / f"series_{count}.h5ad", 1, options=("--follow-external",))
    for name, file_name, path in (("no_file", "nowhere.h5", "values"), ("no_dataset", "source.h5", "nothing"), ("no_hdf5", "text.h5", "values")):
        (folder / "text.h5").write_text("no HDF5")
        source = made(name, file_name, path)
        _ends(case, name, source, 1)
        _refused(case, name, ("slice", source, out / "refused"), source.name, "uns", file_name)


def _series(group, file, path, dtype):
    """A virtual dataset of 4 values from each file of a series."""
    space, part = h5py.h5s.create_simple((4,), (h5py.h5s.UNLIMITED,)), h5py.h5s.create_simple((4,))
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    space.select_hyperslab((0,), (h5py.h5s.UNLIMITED,), (4,), (4,))
    made.set_virtual(space, file.encode(), path.encode(), part)
    h5py.h5d.create(group.id, b"virtual", h5py.h5t.py_create(dtype, logical=True), h5py.h5s.create_simple((4,), (h5py.h5s.UNLIMITED,)), made)


def fill_values_are_as_long_as_values(case):
    """In every form of an object header: fill values are kept, and one that is said to be shorter than values are is refused."""
    for name, version, groups in (("oldest", None, {}), ("latest", "latest", {}), ("numbered", "latest", {"track_order": True})):
        for attrs in (0, 40):
            path = _plain(case.folder("hostile") / f"fill_{name}_{attrs}.h5ad")
            with h5py.File(path, "r+", libver=version) as file:
                data = file["uns"].create_dataset("filled", (6,), "f8", chunks=(2,), fillvalue=1.2345678901, **groups)
                data[:2] = [5, 6]
                _label(data)
                text = file["uns"].create_dataset("text", (6,), h5py.string_dtype(), chunks=(2,), **groups)
                # More attributes than the first block of a header has room for, and still few enough to stand in it.
                for data in (data, text):
                    for number in range(attrs):
                        data.attrs[f"a{number}"] = number
                text[:2] = ["a", "b"]
                _label(text, "string-array")
            out = case.folder("out")
            case.works(f"{path.stem}: sound", "slice", path, out / "s", "--size", "2", "--verify")
            case.works(f"{path.stem}: sound, to Zarr", "merge", out / "m.zarr", path)
            with h5py.File(path) as want, h5py.File(out / "s_shard_0.h5ad") as got:
                filled = np.array_equal(got["uns/filled"][...], want["uns/filled"][...]) and np.array_equal(got["uns/text"][...], want["uns/text"][...])
            filled &= np.array_equal(zarr.open(out / "m.zarr")["uns/filled"][:3], [5, 6, 1.2345678901])
            case.check(f"{path.stem}: values", [] if filled else ["differ"])
            shutil.rmtree(out)
            path.write_bytes(path.read_bytes().replace(struct.pack("<Id", 8, 1.2345678901), struct.pack("<Id", 4, 1.2345678901)))
            _ends(case, path.stem, path, 1)


def types_of_text_have_their_size(case):
    """Types of text, and of sequences, that say that a value takes other bytes than a reference does."""
    path = _claiming(case.folder("hostile") / "types.h5ad", None)
    with h5py.File(path, "r+") as file:
        file["uns"].attrs["kept"] = "text"
    data, sizes, at = path.read_bytes(), struct.pack("<I", 16), []
    # Class 9 in version 1, either kind, in any character set; then the size.
    for match in re.finditer(rb"\x19[\x00\x01\x11].\x00\x10\x00\x00\x00", data, re.DOTALL):
        at.append(match.end() - len(sizes))
    case.check("types of text", [] if len(at) > 8 else [f"{len(at)} found"])
    last = path.with_name("size.h5ad")
    for place in at:
        for size in (0, 18, 2**20):
            last.write_bytes(data[:place] + struct.pack("<I", size) + data[place + 4:])
            # The library copies this one, and would write past the end of what it takes for it.
            copied = place == min(a for a in at if a > data.find(b"kept\0"))
            _ends(case, f"size {size} at {place}", last, 1 if copied else None)


# Values of any length that only the library reads or copies, each known by its length, and what becomes of a claim in it.
# Sequences become no Zarr: there they are left out.
LONG = (("text", 1, 1237), ("scalar", 1, 1239), ("text_attribute", 1, 1241), ("field", 1, 1243), ("text_in_array", None, 1247),
        ("sequence", None, 1249), ("sequence_attribute", None, 1251), ("fill_value", 1, 1253), ("text_in_sequence", None, 1257))


def _claiming(path, length):
    """A file in which the value of that length, if any, claims 1 GiB."""
    _plain(path)
    text, sequence = h5py.string_dtype(), h5py.vlen_dtype("i4")
    at = {name: length for name, _, length in LONG}
    fields = np.zeros(2, [("name", text), ("k", "i4")])
    fields["name"] = "a" * at["field"]
    in_array = np.zeros(2, [("names", text, (2,)), ("x", "f8")])
    in_array["names"] = "b" * at["text_in_array"]
    with h5py.File(path, "r+") as file:
        uns = file["uns"]
        for kind, name, dtype, values in (("string-array", "text", text, ["c" * at["text"]]), ("string", "scalar", text, "d" * at["scalar"]),
                                          ("rec-array", "field", fields.dtype, fields), ("array", "text_in_array", in_array.dtype, in_array)):
            uns.create_dataset(name, data=values, dtype=dtype)
            _label(uns[name], kind)
        uns.create_dataset("sequence", (2,), sequence)[0] = np.arange(at["sequence"])
        _label(uns["sequence"])
        # Apart: a group that holds one is not copied as it is.
        filled = file.create_dataset("spare/fill_value", (4,), text, chunks=(2,), fillvalue="f" * at["fill_value"])
        filled[0] = "written"
        _label(filled, "string-array")
        uns.create_dataset("text_in_sequence", (2,), h5py.vlen_dtype(text))[0] = np.array(["g" * at["text_in_sequence"], "h"], object)
        _label(uns["text_in_sequence"])
        uns.attrs["text_attribute"] = "e" * at["text_attribute"]
        uns.attrs.create("sequence_attribute", np.array([np.arange(at["sequence_attribute"], dtype="i4"), np.arange(2, dtype="i4")], object), dtype=sequence)
    return path if length is None else _claim(path, length)


def _claim(path, length):
    """Makes the first reference to something of that length claim 1 GiB."""
    data = path.read_bytes()
    at, references = -1, []
    while (at := data.find(struct.pack("<I", length), at + 1)) >= 0:
        heap = struct.unpack_from("<Q", data, at + 4)[0]
        references += [at] if data[heap:heap + 4] == b"GCOL" else []
    assert references, f"no reference of {length} items"
    data = bytearray(data)
    struct.pack_into("<I", data, references[0], 0x3ffffff0)
    path.write_bytes(data)
    return path
