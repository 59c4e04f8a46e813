"""Files as other programs write them, made with h5py and zarr: each keeps its values on every way through the program.

The habits are those of the programs' public code: rhdf5 (under anndataR and zellkonverter's readers), hdf5r (under MuDataSeurat),
Muon.jl, JHDF5, zarr-python. `_travels` sends a file every way; what anndata does not open itself comes with the values that it means.
"""

import json
import shutil

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import zarr

import corpus

CELLS, GENES, SIZE = 12, 5, 5
U1, I1, I4, I8 = h5py.h5t.STD_U8LE, h5py.h5t.STD_I8LE, h5py.h5t.STD_I32BE, h5py.h5t.STD_I64LE
LOGICAL, TRUE_FIRST = (("FALSE", 0), ("TRUE", 1)), (("TRUE", 1), ("FALSE", 0))
WITH_NA = (("FALSE", 0), ("TRUE", 1), ("NA", 2))
LATIN, GREEK = "caf\u00e9".encode("latin1"), "TNF\u03b1".encode()


def _plain():
    """Cells with a column of each kind that the habits change."""
    at = np.arange(CELLS)
    obs = pd.DataFrame({
        "level": pd.Categorical.from_codes([0, 1, 2, -1] * 3, ["low", "mid", "high"], ordered=True),
        "flag": at % 3 == 0,
        "maybe": pd.array([True, None, False] * 4, dtype="boolean"),
        "count": pd.array([1, None, 3] * 4, dtype="Int32"),
        "text": [f"t{i:02}" for i in at],
    }, index=[f"c{i:02}" for i in at])
    var = pd.DataFrame({"kind": pd.Categorical(list("abcab"), ordered=True), "symbol": list("vwxyz")}, index=[f"g{i}" for i in range(GENES)])
    return ad.AnnData(np.arange(CELLS * GENES, dtype="f4").reshape(CELLS, GENES), obs=obs, var=var,
                      uns={"note": "hello", "list": np.array(["x", "y"]), "frame": pd.DataFrame({"f": pd.Categorical(["p", None, "q"])})})


def _file(case, name, change, adata=None):
    """A file that anndata writes, changed by `change`."""
    path = case.work / f"{name}.h5ad"
    (adata or _plain()).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def _put(file, path, tid, values, dtype):
    """A dataset of the type `tid` in place of the one at `path`, whose attributes it gets."""
    attrs = dict(file[path].attrs) if path in file else {}
    if path in file:
        del file[path]
    made = h5py.h5d.create(file.id, path.encode(), tid, h5py.h5s.create_simple((len(values),)))
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(values, dtype), mtype=tid)
    for name, value in attrs.items():
        file[path].attrs[name] = value


def _array(file, path, values):
    """An array of numbers in place of the one at `path`."""
    attrs = dict(file[path].attrs)
    del file[path]
    file[path] = values
    file[path].attrs.update(attrs)


def _enum(base, names):
    made = h5py.h5t.enum_create(base)
    for name, value in names:
        made.enum_insert(name.encode(), value)
    return made


def _set_enum_attr(node, name, base, names, value):
    if name in node.attrs:
        del node.attrs[name]
    made = h5py.h5a.create(node.id, name.encode(), _enum(base, names), h5py.h5s.create(h5py.h5s.SCALAR))
    made.write(np.array(value, made.get_type().dtype if names == WITH_NA else base.dtype), mtype=made.get_type())


def _text(file, path, values, charset, width=None):
    """Text whose bytes are not looked at: of any length, or of `width`."""
    attrs = dict(file[path].attrs)
    del file[path]
    shape = () if isinstance(values, bytes) else (len(values),)
    tid = h5py.h5t.py_create(h5py.string_dtype(charset, width), logical=True)
    made = h5py.h5d.create(file.id, path.encode(), tid, h5py.h5s.create_simple(shape) if shape else h5py.h5s.create(h5py.h5s.SCALAR))
    written = np.array(values, f"S{width}" if width else object)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, written, mtype=tid if width else None)
    file[path].attrs.update(attrs)


def _travels(case, label, source, want=None, sound=True, same=None):
    """Every way through the program keeps the values of `want`, by default what anndata reads of `source`."""
    if want is None:
        want = corpus.read(source)
    for options, order in (([], np.arange(CELLS)), (["--shuffle", "--seed", "3"], np.random.default_rng(3).permutation(CELLS))):
        made = case.slice(f"{label}: slice", source, "--size", SIZE, *options)
        if made is None:
            return
        for i, path in enumerate(made):
            case.same_adata(f"{label}: {path.name} {' '.join(options)}", want[order[i * SIZE:(i + 1) * SIZE]].copy(), path)
        if case.works(f"{label}: shards are sound", "check", *made) and not options:
            for out in ("merged.h5ad", "merged.zarr"):
                merged = case.folder("merged") / out
                if case.works(f"{label}: merge into {out}", "merge", merged, *made):
                    case.same_adata(f"{label}: {out}", want, merged)
    listed = case.work / "cells.txt"
    listed.write_text("\n".join(want.obs_names[::2]) + "\n")
    for out in ("filtered.h5ad", "filtered.zarr"):
        filtered = case.folder("filtered") / out
        if case.works(f"{label}: filter into {out}", "filter", source, filtered, "--cells", listed):
            case.same_adata(f"{label}: {out}", want[::2].copy(), filtered)
            case.works(f"{label}: {out} is sound", "check", filtered)
    done = case.run("check", source)
    case.check(f"{label}: check", [] if (done.returncode == 0) == sound else [f"says {done.stdout}{done.stderr}"])


def _refused(case, label, *args, says):
    """The program ends with one line of error that holds each of `says`, and leaves nothing."""
    done = case.run(*args)
    line = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    wrong = [f"exit code {done.returncode}"] if done.returncode != 1 else []
    case.check(label, wrong + [f"{word!r} is not in: {line}" for word in says if word not in line])


def _refused_everywhere(case, label, source, *says):
    out = case.folder("refused")
    _refused(case, f"{label}: slice", "slice", source, out / "s", says=says)
    _refused(case, f"{label}: merge", "merge", out / "m.h5ad", source, source, says=says)
    _refused(case, f"{label}: merge into Zarr", "merge", out / "m.zarr", source, says=says)
    case.check(f"{label}: nothing is left", [p.name for p in out.iterdir()])
    done = case.run("check", source)
    case.check(f"{label}: check", [] if done.returncode == 1 else [f"says {done.stdout}"])


# Booleans


def logicals_of_every_width_are_bools(case):
    for name, base, names in (("rhdf5", U1, TRUE_FIRST), ("hdf5r", U1, LOGICAL), ("int8", I1, TRUE_FIRST), ("int32", I4, LOGICAL), ("int64", I8, LOGICAL)):
        def change(file, base=base, names=names):
            dtype = base.dtype
            _put(file, "obs/flag", _enum(base, names), np.arange(CELLS) % 3 == 0, dtype)
            for column in ("maybe", "count"):
                _put(file, f"obs/{column}/mask", _enum(base, names), np.arange(CELLS) % 3 == 1, dtype)
            _put(file, "obs/maybe/values", _enum(base, names), np.arange(CELLS) % 3 == 0, dtype)
            for factor in ("obs/level", "var/kind"):
                _set_enum_attr(file[factor], "ordered", base, names, 1)
            file.create_dataset("uns/one", data=np.bool_(True)).attrs.update({"encoding-type": "numeric-scalar", "encoding-version": "0.2.0"})
        source = _file(case, f"logical_{name}", change)
        want = corpus.read(source)
        case.check(name, [] if want.obs["level"].cat.ordered and want.obs["flag"].dtype == bool else ["h5py reads no bool"])
        _travels(case, name, source, want)
        for out in ("w.h5ad", "w.zarr"):
            chosen = case.folder("chosen") / out
            if case.works(name, "filter", source, chosen, "--where", "level >= 'mid' and flag == False"):
                case.same_adata(f"{name}: where, {out}", want[(want.obs.level >= "mid") & ~want.obs.flag].copy(), chosen)
            if case.works(name, "filter", source, chosen := case.folder("chosen") / out, "--obs-column", "flag"):
                case.same_adata(f"{name}: obs-column, {out}", want[want.obs.flag].copy(), chosen)


def logicals_in_records_are_bools(case):
    for name, base in (("u1", U1), ("i4be", I4)):
        def change(file, base=base):
            record = h5py.h5t.create(h5py.h5t.COMPOUND, base.get_size() + 8)
            record.insert(b"yes", 0, _enum(base, LOGICAL))
            record.insert(b"n", base.get_size(), h5py.h5t.IEEE_F64LE)
            made = h5py.h5d.create(file.id, b"uns/rec", record, h5py.h5s.create_simple((2,)))
            dtype = np.dtype({"names": ["yes", "n"], "formats": [base.dtype, "f8"], "offsets": [0, base.get_size()], "itemsize": base.get_size() + 8})
            made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([(1, 2.5), (0, -1)], dtype), mtype=record)
            file["uns/rec"].attrs.update({"encoding-type": "rec-array", "encoding-version": "0.2.0"})
        source = _file(case, f"record_{name}", change)
        made = case.slice(name, source, "--size", SIZE)
        for path in made or []:
            with h5py.File(path) as file:  # anndata reads no such record
                got = file["uns/rec"][:]
            case.check(f"{name}: {path.name}", [] if got["yes"].astype(bool).tolist() == [True, False] and got["n"].tolist() == [2.5, -1] else [str(got)])


def logicals_with_na_are_their_codes(case):
    codes = np.arange(CELLS) % 3

    def change(file):
        _put(file, "obs/flag", _enum(U1, WITH_NA), codes, "u1")
    source = _file(case, "three", change)
    want = corpus.read(source)
    case.check("three", [] if want.obs["flag"].tolist() == codes.tolist() else ["h5py reads other codes"])
    _travels(case, "three", source, want)
    made = case.slice("three", source, "--size", SIZE)
    with h5py.File(made[0]) as file:
        case.check("three: the names stay", [] if h5py.check_enum_dtype(file["obs/flag"].dtype) == dict(WITH_NA) else [str(file["obs/flag"].dtype)])
    for command in (["filter", source, case.folder("na") / "w.h5ad", "--where", "flag == 2"], ["merge", case.folder("na") / "m.h5ad", source]):
        if case.works("three", *command):
            case.check(f"three: {command[0]} names it", [] if "an enumeration (FALSE=0, TRUE=1, NA=2)" in case.stderr else [case.stderr])


def attributes_that_cannot_be_understood_are_refused(case):
    def text_bytes(file):
        file["obs/level"].attrs["ordered"] = np.array([1, 0])
    source = _file(case, "ordered_list", text_bytes)
    _refused(case, "ordered of two", "merge", case.folder("r") / "m.h5ad", source, source, says=["obs/level", "ordered"])

    def number(file):
        file["obs"].attrs["encoding-type"] = 3
    _refused_everywhere(case, "encoding-type of a number", _file(case, "type_number", number), "encoding-type")

    def nothing(file):
        del file["obs"].attrs["column-order"]
        file["obs"].attrs["column-order"] = h5py.Empty("f8")
    _refused_everywhere(case, "column-order of nothing", _file(case, "order_nothing", nothing), "column-order")


# Text


def utf8_that_says_ascii_is_written_as_utf8(case):
    want = _plain()
    want.obs["text"] = [f"TNF\u03b1{i:02}" for i in range(CELLS)]
    want.obs["level"] = want.obs["level"].cat.rename_categories(["low", "mid", "h\u00f6chst"])
    want.var["symbol"] = [f"\u03b1{i}" for i in range(GENES)]
    want.uns["note"], want.uns["list"] = "\u03b1", np.array(["x", "\u03b1"])
    want.uns["frame"]["f"] = want.uns["frame"]["f"].cat.rename_categories(["p", "\u03b1"])
    for width in (None, 8):
        def change(file, width=width):
            _text(file, "obs/text", [GREEK + b"%02d" % i for i in range(CELLS)], "ascii", width)
            _text(file, "obs/level/categories", [b"low", b"mid", "h\u00f6chst".encode()], "ascii", width)
            _text(file, "var/symbol", [f"\u03b1{i}".encode() for i in range(GENES)], "ascii", width)
            _text(file, "uns/note", "\u03b1".encode(), "ascii", width)
            _text(file, "uns/list", [b"x", "\u03b1".encode()], "ascii", width)
            _text(file, "uns/frame/f/categories", [b"p", "\u03b1".encode()], "ascii", width)
        _travels(case, f"UTF-8 as ASCII, width {width}", _file(case, f"ascii_{width}", change), want, sound=False)

    def names(file):
        order = [name.encode() for name in file["obs"].attrs["column-order"]]
        file.move("obs/text", "obs/TNF\u03b1")
        del file["obs"].attrs["column-order"]
        file["obs"].attrs.create("column-order", np.array([GREEK if n == b"text" else n for n in order], object), dtype=h5py.string_dtype("ascii"))
    _travels(case, "a column's name", _file(case, "ascii_name", names))


def text_that_is_not_utf8_is_refused(case):
    places = {"obs/text": [b"a"] * 3 + [LATIN] * (CELLS - 3), "obs/level/categories": [b"low", b"mid", LATIN], "var/symbol": [LATIN] * GENES,
              "uns/note": LATIN, "uns/list": [b"x", LATIN], "uns/frame/f/categories": [b"p", LATIN], "obs/_index": [LATIN + b"%d" % i for i in range(CELLS)]}
    for place, values in places.items():
        for charset, width in (("ascii", None), ("utf-8", None), ("ascii", 8), ("utf-8", 8)):
            source = _file(case, "latin", lambda file: _text(file, place, values, charset, width))
            _refused_everywhere(case, f"{place}, {charset}, width {width}", source, place, "not UTF-8", "caf\\xe9")

    def order(file):
        names = [n.encode() for n in file["obs"].attrs["column-order"]]
        del file["obs"].attrs["column-order"]
        file.id.links.move(b"obs/text", file.id, b"obs/" + LATIN)
        file["obs"].attrs.create("column-order", np.array([LATIN if n == b"text" else n for n in names], object), dtype=h5py.string_dtype("ascii"))
    _refused_everywhere(case, "a column's name", _file(case, "latin_name", order), "obs")

    def listed(file):
        names = [n.encode() for n in file["obs"].attrs["column-order"]]
        for width in (None, 8):
            del file["obs"].attrs["column-order"]
            value = np.array(names + [LATIN], f"S{width}" if width else object)
            file["obs"].attrs.create("column-order", value, dtype=value.dtype if width else h5py.string_dtype())
    _refused_everywhere(case, "column-order", _file(case, "latin_order", listed), "column-order")


# What a file is


def other_files_are_refused_by_name(case):
    def typed(kind):
        return lambda file: file.attrs.__setitem__("encoding-type", kind)
    for kind, word in (("MuData", "MuData"), ("weird", "'weird'")):
        _refused_everywhere(case, kind, _file(case, f"root_{kind}", typed(kind)), word)
    mudata = case.work / "multi.h5mu"
    shutil.copy(_file(case, "multi", lambda file: (file.attrs.__setitem__("encoding-type", "MuData"), file.create_group("mod/rna"))), mudata)
    _refused_everywhere(case, "h5mu", mudata, "MuData", "modalities")
    kinds = {"10x": (["matrix/barcodes", "matrix/data", "matrix/indices", "matrix/indptr", "matrix/shape", "matrix/features/id"], "10x"),
             "10x2": (["GRCh38/barcodes", "GRCh38/data", "GRCh38/indices", "GRCh38/indptr", "GRCh38/shape", "GRCh38/genes"], "10x"),
             "loom": (["matrix", "row_attrs/Gene", "col_attrs/CellID", "layers/a"], "loom"),
             "h5seurat": (["assays/RNA/counts/data", "cell.names", "meta.data/a"], "h5Seurat"),
             "other": (["stuff"], "no AnnData file")}
    for name, (paths, word) in kinds.items():
        source = case.work / f"{name}.h5"
        with h5py.File(source, "w") as file:
            for path in paths:
                file[path] = np.arange(3)
        _refused_everywhere(case, name, source, word)


def roots_of_muon_and_mudataseurat_are_anndata(case):
    def seurat(file):
        file.attrs["encoding-type"] = "AnnData"
    source = _file(case, "seurat", seurat)
    _travels(case, "AnnData", source, _plain(), sound=False)
    with h5py.File(case.slice("AnnData", source, "--size", SIZE)[0]) as file:
        case.check("AnnData: the label", [] if file.attrs["encoding-type"] == "anndata" else [file.attrs["encoding-type"]])


def a_userblock_and_other_endings_are_read(case):
    inner = _file(case, "inner", lambda file: None)
    blocked = case.work / "block.h5ad"
    with h5py.File(blocked, "w", userblock_size=2048) as file, h5py.File(inner) as old:
        file.attrs.update(old.attrs)
        for name in old:
            old.copy(name, file)
    with open(blocked, "r+b") as raw:
        raw.write(b"MuData (format-version=0.1.0;creator=MuDataSeurat;creator-version=0.0.0.9000)")
    _travels(case, "user block", blocked)
    for ending in ("h5", "hdf5", "h5sc", "dat"):
        other = case.work / f"other.{ending}"
        shutil.copy(inner, other)
        _travels(case, ending, other)


# What check calls unsound


def na_levels_of_r_are_missing(case):
    for dtype in ("i4", ">i4", "i8"):
        def change(file):
            for path in ("obs/level/codes", "uns/frame/f/codes", "var/kind/codes"):
                old = file[path][:].astype(dtype)
                old[old == -1] = -2**31
                if path.startswith("var"):
                    old[1] = -2**31
                _array(file, path, old)
        want = _plain()
        want.var.loc[want.var_names[1], "kind"] = np.nan
        source = _file(case, f"na_{dtype.strip('>')}", change)
        _travels(case, f"NA, {dtype}", source, want, sound=False)
        made = case.run("slice", source, case.folder("told") / "s", "--size", SIZE)
        case.check(f"NA, {dtype}: told once", [] if made.stderr.count("obs/level/codes") == 1 else [made.stderr])


def masks_of_integers_are_bools(case):
    for dtype in ("i1", "u1", "i4"):
        def change(file):
            for column in ("obs/maybe", "obs/count"):
                _array(file, f"{column}/mask", file[f"{column}/mask"][:].astype(dtype))
        source = _file(case, f"mask_{dtype}", change)
        _travels(case, f"mask, {dtype}", source, _plain(), sound=False)

    def wrong(file):
        _array(file, "obs/maybe/mask", np.full(CELLS, 2, "i1"))
    source = _file(case, "mask_2", wrong)
    _refused(case, "mask of 2", "slice", source, case.folder("r") / "s", says=["obs/maybe/mask", "2"])


# Muon.jl and JHDF5


def older_frames_with_todays_columns_are_read(case):
    def change(file):
        for frame in ("obs", "var"):
            file[frame].attrs["encoding-version"] = "0.1.0"
        for name in ("X", "obs/text", "obs/flag", "var/symbol"):
            for label in list(file[name].attrs):
                del file[name].attrs[label]
    _travels(case, "Muon.jl", _file(case, "muon", change))


def named_datatypes_are_left_out(case):
    def change(file):
        file["__DATA_TYPES__/Enum_Boolean"] = np.dtype("i4")
        file["uns/type"] = np.dtype("f8")
        file["loose"] = np.dtype("f8")
        h5py.h5d.create(file["uns"].id, b"typed", file["uns/type"].id, h5py.h5s.create_simple((3,)))
        file["uns/typed"][...] = [1, 2, 3]
        file["uns/typed"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    want = _plain()
    want.uns["typed"] = np.array([1.0, 2, 3])
    source = _file(case, "types", change)
    _travels(case, "types", source, want, sound=False)
    told = case.run("slice", source, case.folder("told") / "s")
    case.check("types: told", [f"{name} is not named" for name in ("'loose'", "'uns/type'", "'__DATA_TYPES__") if name not in told.stderr])


# Zarr


def words_of_numbers_in_attributes_are_read(case):
    for version in (2, 3):
        for consolidated in (False, True):
            source = case.work / f"words{version}{consolidated}.zarr"
            shutil.rmtree(source, ignore_errors=True)
            ad.settings.zarr_write_format = version
            _plain().write_zarr(source)
            ad.settings.zarr_write_format = 2
            group = zarr.open_group(source, mode="r+", use_consolidated=False)
            words = {"a": float("nan"), "b": [1.5, float("-inf")], "c": {"deep": [float("inf"), "NaN"]}}
            group["obs"].attrs.update(words)
            if consolidated:
                zarr.consolidate_metadata(source)
            else:
                _forget_consolidated(source)
            label = f"words, version {version}, consolidated {consolidated}"
            _travels(case, label, source)
            out = case.folder("words") / "f.zarr"
            if case.works(label, "filter", source, out, "--where", "count >= 0"):
                got = dict(zarr.open_group(out, mode="r")["obs"].attrs)
                kept = {name: got.get(name) for name in words}
                case.check(label, [] if json.dumps(kept) == json.dumps(words) else [str(kept)])


def _forget_consolidated(store):
    """Every group of the store says of itself alone what it is."""
    for file in store.rglob(".zmetadata"):
        file.unlink()
    for file in store.rglob("zarr.json"):
        found = json.loads(file.read_text())
        found.pop("consolidated_metadata", None)
        file.write_text(json.dumps(found))


def groups_of_zarr_are_known_by_their_metadata(case):
    store = case.work / "spatial.zarr"
    shutil.rmtree(store, ignore_errors=True)
    root = zarr.open_group(store, mode="w", zarr_format=2)
    root.attrs["spatialdata_attrs"] = {"version": "0.2"}
    for name in ("images", "tables"):
        root.create_group(name)
    table = store / "tables" / "table"
    _plain().write_zarr(table)
    _travels(case, "a table", table)
    _refused_everywhere(case, "SpatialData", store, "SpatialData", "tables/table")


# What check says


def the_verdict_of_check_does_not_depend_on_memory(case):
    """anndataR stores a whole array in one chunk."""
    adata = _plain()
    adata.obsm["wide"] = np.zeros((CELLS, 1 << 20), "f8")

    def change(file):
        attrs, values = dict(file["obsm/wide"].attrs), file["obsm/wide"][:]
        del file["obsm/wide"]
        file.create_dataset("obsm/wide", data=values, chunks=values.shape, compression="gzip").attrs.update(attrs)
    source = _file(case, "one_chunk", change, adata)
    for limit, verdict in (("4GB", "sound"), ("128MiB", "sound as far as it is checked")):
        done = case.run("check", source, "--memory-limit", limit)
        said = done.stdout.splitlines()[-1].split(": ")[-1].split(",")[0] if done.stdout else done.stderr
        case.check(f"one chunk, {limit}", [] if (done.returncode, said) == (0, verdict) else [f"{done.returncode}: {done.stdout}{done.stderr}"])


def what_anndata_will_not_open_is_named(case):
    def categories(values):
        def change(file):
            at = dict(file["obs/level/categories"].attrs)
            del file["obs/level/categories"]
            file["obs/level/categories"] = values
            file["obs/level/categories"].attrs.update({**at, "encoding-type": "array"})
        return change

    def unordered(file):
        del file["var/kind"].attrs["ordered"]

    def names(file):
        ad.io.write_elem(file, "obsm/frame", pd.DataFrame({"x": np.arange(CELLS)}, index=[str(i + 1) for i in range(CELLS)]))
    for label, change, says in (("NaN twice among categories", categories([1.0, np.nan, np.nan]), "obs/level"), ("a category twice", categories([1.0, 2.0, 1.0]), "obs/level"),
                                ("no ordered", unordered, "var/kind"), ("other names", names, "obsm/frame")):
        source = _file(case, "unsound", change)
        done = case.run("slice", source, case.folder("unsound") / "s", "--size", SIZE)
        told = [line for line in done.stderr.splitlines() if line.startswith("WARNING") and f"'{says}'" in line and "anndata will not open" in line]
        case.check(label, [] if done.returncode == 0 and len(told) == 1 else [f"{done.returncode}: {done.stderr}"])
        case.check(f"{label}: check", [] if case.run("check", source).returncode == 1 else ["says sound"])


def archives_are_named(case):
    archive = case.work / "store.zarr.zip"
    shutil.make_archive(archive.with_suffix(""), "zip", case.folder("empty").parent, "empty")
    _refused_everywhere(case, "zip", archive, "zip archive")
