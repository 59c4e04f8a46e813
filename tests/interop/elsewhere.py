"""More files of other writers, made with h5py and zarr: codecs, dates and archives of Zarr, and what users of such programs reported."""

import json
import shutil
import subprocess
import zipfile

import anndata as ad
import h5py
import numcodecs
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr

import corpus
from writers import CELLS, SIZE, _array, _file, _plain, _refused_everywhere, _travels


def _opens(path):
    """What anndata makes of a file; nothing where it does not open it."""
    try:
        return corpus.read(path)
    except Exception:
        return None


def _recoded(source, target, compressor):
    """A store of version 2 with the same nodes, all arrays in small chunks of this compressor."""
    def walk(old, new):
        new.attrs.update(dict(old.attrs))
        for name, node in old.members():
            if isinstance(node, zarr.Group):
                walk(node, new.create_group(name))
                continue
            made = new.create_array(name, shape=node.shape, dtype=node.metadata.dtype, chunks=tuple(max(1, min(5, side)) for side in node.shape),
                                    compressors=compressor if node.shape else None, filters=node.metadata.filters or None)
            made[...] = node[...]
            made.attrs.update(dict(node.attrs))
    walk(zarr.open_group(source, mode="r", use_consolidated=False), zarr.open_group(target, mode="w", zarr_format=2))
    return target


def codecs_of_numcodecs_are_read(case):
    """Numbers, text, bools and big-endian values, each on another way to its values."""
    adata = _plain()
    adata.layers["big"] = np.asarray(adata.X, ">f8")
    ad.settings.zarr_write_format = 2
    adata.write_zarr(case.work / "plain.zarr")
    for label, codec in (("lz4", numcodecs.LZ4()), ("lzma", numcodecs.LZMA(preset=1)), ("lzma alone", numcodecs.LZMA(format=2, preset=1))):
        store = _recoded(case.work / "plain.zarr", case.work / f"{codec.codec_id}.zarr", codec)
        found = json.loads((store / "obs" / "text" / ".zarray").read_text())["compressor"]["id"]
        case.check(f"{label}: is what is tried", [] if found == codec.codec_id else [found])
        _travels(case, label, store)
    chunk = case.work / "lzma.zarr" / "X" / "0.0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    _refused_everywhere(case, "a chunk that is cut short", case.work / "lzma.zarr", "'X'", "lzma")


def dates_are_carried(case):
    """anndata reads them and writes none, so an h5ad file gets their numbers."""
    dates = (np.arange(CELLS) * 86_400_000_000_000).astype("M8[ns]")
    dates[3] = "NaT"
    for version in (2, 3):
        ad.settings.zarr_write_format = version
        store = case.work / f"dates{version}.zarr"
        _plain().write_zarr(store)
        obs = zarr.open_group(store, mode="r+", use_consolidated=False)["obs"]
        for name, values in (("date", dates), ("span", dates - dates[0]), ("day", dates.astype("M8[s]"))):
            obs.create_array(name, data=values).attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        obs.attrs["column-order"] = [*obs.attrs["column-order"], "date", "span", "day"]
        zarr.consolidate_metadata(zarr.open_group(store).store)
        want = corpus.read(store)
        case.check(f"{version}: they are dates", [] if want.obs["date"].dtype == "M8[ns]" else [str(want.obs.dtypes)])
        out = case.folder("shards") / "s"
        if not case.works(f"{version}: slice", "slice", store, out, "--size", SIZE, "--format", "zarr", "--zarr-format", version):
            continue
        made = [out.parent / f"s_shard_{i}.zarr" for i in range(-(-CELLS // SIZE))]
        for i, path in enumerate(made):
            case.same_adata(f"{version}: shard {i}", want[i * SIZE:(i + 1) * SIZE].copy(), path)
        numbers = want.copy()
        for name in ("date", "span", "day"):
            numbers.obs[name] = want.obs[name].to_numpy(dates.dtype if name == "date" else None).view("i8")
        for out, wanted in (("m.zarr", want), ("m.h5ad", numbers)):
            merged = case.folder("merged") / out
            if case.works(f"{version}: merge", "merge", merged, *made):
                case.same_adata(f"{version}: {out}", wanted, merged)
                case.works(f"{version}: {out} is sound", "check", merged)


def archives_of_stores_are_read(case):
    adata = _plain()
    for version in (2, 3):
        ad.settings.zarr_write_format = version
        archive = case.work / f"python{version}.zarr.zip"
        store = zarr.storage.ZipStore(archive, mode="w")
        adata.write_zarr(store)
        store.close()
        _travels(case, f"version {version}, zarr-python", archive, want=adata)
        folder = case.folder(f"zip{version}")
        adata.write_zarr(folder / "a.zarr")
        shutil.make_archive(case.work / f"shell{version}", "zip", folder, "a.zarr")
        _travels(case, f"version {version}, zip of a folder", case.work / f"shell{version}.zip", want=adata)
    with zipfile.ZipFile(case.work / "out.zip", "w") as archive:
        archive.writestr(".zgroup", '{"zarr_format": 2}')
        archive.writestr("../beside", "x")
    _refused_everywhere(case, "a name that leads out", case.work / "out.zip", "leads out of the archive")
    case.check("nothing is outside", [] if not list(case.work.rglob("beside")) else ["a file lies outside"])
    here = case.folder("here")
    shutil.copy(case.work / "python3.zarr.zip", here / "a.zip")
    for args in (("m.h5ad", "a.zip", "--dry-run"), ("m.h5ad", "a.zip"), ("new/folder/m.h5ad", "a.zip")):
        done = subprocess.run([case.binary, "merge", *args], cwd=here, capture_output=True, text=True)
        case.check(f"merge {args}", [] if done.returncode == 0 and (here / args[0]).exists() == (len(args) == 2) else [done.stderr])
    case.check("nothing is left", [p.name for p in here.glob(".*")])
    info = case.run("info", "--json", case.work / "python3.zarr.zip")
    case.check("info", [] if json.loads(info.stdout)[0]["shape"] == [CELLS, adata.n_vars] else [info.stdout])


# What users reported of other programs, rebuilt. Each line names where.


def names_at_the_root_that_anndata_does_not_know(case):
    """SeuratDisk (mojaveazure/seurat-disk#1, `active.ident`), Stereopy (STOmics/Stereopy#229): anndata opens no such file."""
    def change(file):
        ad.io.write_elem(file, "active.ident", np.array(["a"] * CELLS, object))
        ad.io.write_elem(file, "annotation@cluster", {"x": np.arange(3)})
    source = _file(case, "root", change)
    case.check("anndata", [] if _opens(source) is None else ["anndata opens it"])
    done = case.run("slice", source, case.folder("root") / "s", "--size", SIZE)
    case.check("slice tells", [] if "active.ident" in done.stderr else [f"{done.returncode}: {done.stderr}"])
    case.check("check", [] if case.run("check", source).returncode == 1 else ["says sound"])


def frames_without_columns(case):
    """SeuratDisk (mojaveazure/seurat-disk#6), BPCells (bnprks/BPCells#49): `column-order` of no names, in any of the ways to write none."""
    adata = _plain()
    adata.obs, adata.var = adata.obs[[]], adata.var[[]]
    empties = {"of floats": np.array([], "f8"), "of text": np.array([], h5py.string_dtype()), "of bytes": np.array([], "S1"), "nothing": h5py.Empty("f8")}
    for label, empty in empties.items():
        def change(file):
            for frame in ("obs", "var"):
                file[frame].attrs["column-order"] = empty
        source = _file(case, "empty", change, adata.copy())
        if _opens(source) is None:
            done = case.run("check", source)
            case.check(f"{label}: check", [] if done.returncode == 1 else ["says sound, but anndata does not open it"])
        else:
            _travels(case, label, source)


def categories_that_are_no_plain_text(case):
    """SeuratDisk (mojaveazure/seurat-disk#109, numbers), cellxgene (chanzuckerberg/cellxgene#2625, nullable text; #2754, Greek letters)."""
    for label, change in (
        ("whole numbers", lambda a: pd.Categorical(np.arange(CELLS) % 3 * 10)),
        ("floats", lambda a: pd.Categorical(np.arange(CELLS) % 3 / 4)),
        ("bools", lambda a: pd.Categorical(np.arange(CELLS) % 3 == 0)),
        ("nullable text", lambda a: pd.Categorical(pd.array(["p", "q", None] * 4, dtype="string"))),
        ("Greek", lambda a: pd.Categorical(["Interstitial M\u03c6", "cafe\u0301", "caf\u00e9"] * 4)),
    ):
        adata = _plain()
        adata.obs["level"] = change(adata)
        ad.settings.allow_write_nullable_strings = True
        source = _file(case, "categories", lambda file: None, adata)
        _travels(case, label, source)
        out = case.folder("values") / "v"
        if case.works(f"{label}: a shard for each", "slice", source, out, "--obs-column", "level"):
            found = sum(ad.read_h5ad(path).n_obs for path in out.parent.glob("*.h5ad"))
            values = adata.obs["level"].nunique()
            case.check(f"{label}: all cells", [] if (found, len(list(out.parent.iterdir()))) == (adata.obs["level"].notna().sum(), values) else [f"{found} cells in {sorted(p.name for p in out.parent.iterdir())}"])


def categories_by_reference(case):
    """MuDataSeurat (PMBio/MuDataSeurat#6): a frame of version 0.1.0 whose codes name their categories by an object reference, of fixed width."""
    def change(file):
        codes, names = file["obs/level/codes"][:], file["obs/level/categories"][:]
        del file["obs/level"]
        file["obs/__categories/level"] = np.array([n if isinstance(n, bytes) else n.encode() for n in names], "S4")
        file["obs/level"] = codes
        file["obs/level"].attrs["categories"] = file["obs/__categories/level"].ref
        file["obs"].attrs["encoding-version"] = "0.1.0"
        for name in ("maybe", "count"):
            del file["obs"][name]
        order = [name for name in file["obs"].attrs["column-order"] if name not in ("maybe", "count")]
        file["obs"].attrs["column-order"] = order
    source = _file(case, "reference", change)
    want = _opens(source)
    case.check("anndata", [] if want is not None else ["does not open it"])
    if want is not None:
        names = [name.decode() if isinstance(name, bytes) else name for name in want.obs["level"].cat.categories]
        want.obs["level"] = want.obs["level"].cat.rename_categories(names)
        _travels(case, "fixed width", source, want=want)


def codes_of_old_frames_that_are_missing_in_r(case):
    """The same, with what R stores for a missing integer; and with a code beyond the categories, which is refused."""
    def change(code):
        def changed(file):
            codes, names = file["obs/level/codes"][:].astype("i4"), file["obs/level/categories"][:]
            codes[1] = code
            for name in ("level", "maybe", "count"):
                del file["obs"][name]
            file["obs/__categories/level"] = np.array([n if isinstance(n, bytes) else n.encode() for n in names], "S4")
            file["obs/level"] = codes
            file["obs/level"].attrs["categories"] = file["obs/__categories/level"].ref
            file["obs"].attrs["encoding-version"] = "0.1.0"
            file["obs"].attrs["column-order"] = [name for name in file["obs"].attrs["column-order"] if name not in ("maybe", "count")]
        return changed
    for label, order in (("in order", ()), ("shuffled", ("--shuffle", "--seed", "1", "--block-bytes", "64"))):
        source = _file(case, "missing", change(-(2**31)))
        out = case.folder("out") / "s"
        if case.works(label, "slice", source, out, *order):
            got = ad.read_h5ad(out.parent / "s_shard_0.h5ad").obs["level"]
            cell = _plain().obs_names[1]
            case.check(label, [] if got.isna()[cell] else [f"{got[cell]} is not missing"])
    done = case.run("slice", _file(case, "beyond", change(77)), case.folder("beyond") / "s")
    case.check("beyond", [] if done.returncode == 1 and "beyond its" in done.stderr else [done.stderr])


def matrices_without_genes(case):
    """MuDataSeurat (PMBio/MuDataSeurat#14): a modality of no features; anndataR (scverse/anndataR#304): no X."""
    for label, x in (("sparse", sp.csr_matrix((CELLS, 0), dtype="f4")), ("dense", np.zeros((CELLS, 0), "f4"))):
        adata = ad.AnnData(x, obs=_plain().obs)
        _travels(case, f"{label}, no genes", _file(case, "genes", lambda file: None, adata))
    adata = ad.AnnData(obs=_plain().obs, var=_plain().var, layers={"counts": _plain().X})
    _travels(case, "no X", _file(case, "none", lambda file: None, adata))

    def null(file):
        ad.io.write_elem(file, "X", None)
    source = _file(case, "null", null, adata)
    if _opens(source) is not None:
        _travels(case, "X is null", source)


def matrices_as_bpcells_writes_them(case):
    """BPCells (bnprks/BPCells#49, #74): unsigned values and offsets, shapes and indices of any width, no columns."""
    adata = ad.AnnData(sp.random(CELLS, 5, 0.5, "csr", dtype="f4", random_state=0))
    adata.obs_names, adata.var_names = _plain().obs_names, _plain().var_names
    for label, data, index, pointer, shape in (("32 bits", "u4", "u4", "u8", "u8"), ("64 bits", "f8", "u8", "u8", "u4"), ("signed", "i4", "i8", "i8", "i8")):
        def change(file):
            for name, dtype in (("data", data), ("indices", index), ("indptr", pointer)):
                values = file[f"X/{name}"][:]
                del file[f"X/{name}"]
                file[f"X/{name}"] = (values * 10 if name == "data" else values).astype(dtype)
            file["X"].attrs["shape"] = np.array([CELLS, 5], shape)
        source = _file(case, "bpcells", change, adata.copy())
        want = _opens(source)
        case.check(f"{label}: anndata", [] if want is not None else ["does not open it"])
        if want is not None:
            x = want.X  # scipy slices no unsigned indices
            want.X = sp.csr_matrix((x.data, x.indices.astype("i8"), x.indptr.astype("i8")), x.shape)
            _travels(case, label, source, want=want)


def columns_with_slashes_in_their_names(case):
    """SeuratDisk (mojaveazure/seurat-disk#195): HDF5 makes a group of what stands before the slash."""
    adata = _plain()
    adata.obs = adata.obs.rename(columns={"text": "cell/type", "flag": "cell/is flagged"})
    try:
        source = _file(case, "slashes", lambda file: None, adata)
    except ValueError:
        print("skipped: this anndata writes none")
        return
    _travels(case, "slashes", source)


def matrices_of_another_shape_than_the_names(case):
    """DISCOtoolkit (lmw123/DISCOtoolkit#5): X of one column beside 33538 genes; Expression Atlas (scxa-workflows#30): X that is a text."""
    for label, values in (("one column", np.zeros((CELLS, 1), "f4")), ("one axis", np.zeros(CELLS, "f4")), ("a text", "X")):
        def change(file):
            del file["X"]
            file["X"] = values
        source = _file(case, "shape", change)
        case.check(f"{label}: anndata", [] if _opens(source) is None else ["anndata opens it"])
        _refused_everywhere(case, label, source, "'X'")


def attributes_of_one_element(case):
    """anndataR over hdf5r (scverse/anndataR#166): R has no scalars, so texts and logicals of attributes may be arrays of one."""
    def change(node, name=None):
        for name, value in list(node.attrs.items()):
            if isinstance(value, str):
                node.attrs[name] = np.array([value], h5py.string_dtype())
        for child in node.values() if isinstance(node, h5py.Group) else ():
            change(child)
    source = _file(case, "ones", change)
    if _opens(source) is None:
        case.check("check", [] if case.run("check", source).returncode == 1 else ["says sound, but anndata does not open it"])
        done = case.run("slice", source, case.folder("ones") / "s", "--size", SIZE)
        case.check("slice", [] if done.returncode == 1 or "WARNING" in done.stderr else [f"{done.returncode}: {done.stderr}"])
    else:
        _travels(case, "arrays of one", source)


def records_of_numbers_in_obsm(case):
    """Muon.jl (scverse/Muon.jl#11): what older Python code put into obsm, fields called 0 to 9."""
    adata = _plain()
    adata.obsm["X_umap"] = np.array([tuple(np.arange(10) + i) for i in range(CELLS)], [(str(i), "f4") for i in range(10)])
    _travels(case, "records", _file(case, "records", lambda file: None, adata))


def logicals_of_rhdf5_are_numbers(case):
    """rhdf5 (Huber-group-EMBL/rhdf5#136): a logical is a byte, and an attribute of its dataset says so to R."""
    def change(file):
        _array(file, "obs/flag", file["obs/flag"][:].astype("i1"))
        file["obs/flag"].attrs["storage.mode"] = "logical"
        file["obs/flag"].attrs["rhdf5-NA.OK"] = np.array([1], "i4")
    _travels(case, "bytes", _file(case, "bytes", change))


def records_with_text_in_obsm(case):
    """Rows of them are taken, into either format; merge names them and the way out."""
    adata = _plain()
    texts = [f"TNF\u03b1{i}" * (1 + i % 3) for i in range(CELLS)]
    adata.obsm["records"] = np.array([(text, i / 2, "\u00e9" * i) for i, text in enumerate(texts)], [("names", "U40"), ("score", "f8"), ("k", "U20")])
    source = _file(case, "records", lambda file: None, adata)
    want = corpus.read(source).obsm["records"]
    for ending in ("h5ad", "zarr"):
        for options, order in (((), np.arange(CELLS)), (("--shuffle", "--seed", "3", "--block-bytes", "200"), np.random.default_rng(3).permutation(CELLS))):
            label, out = f"{ending} {' '.join(options)}", case.folder("shards") / "s"
            if not case.works(label, "slice", source, out, "--size", SIZE, "--format", ending, "--verify", *options):
                continue
            shards = [out.parent / f"s_shard_{i}.{ending}" for i in range(-(-CELLS // SIZE))]
            found = np.concatenate([corpus.read(shard).obsm["records"].ravel() for shard in shards])
            for field in want.dtype.names:
                same = list(map(str, found[field])) == list(map(str, want.ravel()[field][order]))
                case.check(f"{label}: {field}", [] if same else [f"{found[field]}, want {want[field][order]}"])
            case.works(f"{label}: sound", "check", *shards)
    done = case.run("merge", case.work / "m.h5ad", source, source)
    case.check("merge", [] if done.returncode == 1 and "--drop obsm/records" in done.stderr else [done.stderr])
    case.works("merge without them", "merge", case.work / "m.h5ad", source, source, "--drop", "obsm/records")


def a_level_that_is_nan_is_missing(case):
    """What R's addNA() makes of a factor of numbers; pandas takes no such category."""
    for label, place in (("the first", 0), ("in the middle", 1), ("the last", 2)):
        adata = _plain()
        numbers = np.array([1.5, 2.5, 3.5])
        adata.obs["level"] = pd.Categorical.from_codes([0, 1, 2, -1] * 3, numbers)
        adata.var["kind"] = pd.Categorical.from_codes([0, 1, 2, 2, -1], numbers)

        def change(file):
            for column in ("obs/level", "var/kind"):
                file[column]["categories"][place] = np.nan
        source = _file(case, "level", change, adata)
        case.check(f"{label}: anndata", [] if _opens(source) is None else ["opens it"])
        want = adata.copy()
        for frame, column in ((want.obs, "level"), (want.var, "kind")):
            frame[column] = frame[column].cat.remove_categories([numbers[place]])
        _travels(case, label, source, want=want, sound=False)
