"""Files that anndata wrote, of any age and storage, are sound to `check`; and `--verify` finds no fault where there is none."""

import json
import shutil

import anndata as ad
import awkward as ak
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr

import corpus
import merging
import slicing
from tool import OLD_FILES


def files_of_anndata_are_sound(case):
    for folder in (case.corpus, OLD_FILES):
        for path in sorted(folder.rglob("*")):
            inside = any(parent.suffix == ".zarr" for parent in path.parents)
            if path.suffix in (".h5ad", ".zarr") and not inside:
                _sound(case, path)


def verified_outputs_are_right_and_sound(case):
    names = ("full.h5ad", "x_csc.h5ad", "hdf5_gzip.h5ad", "big_endian.h5ad", "unknown_nodes.h5ad", "full_v2.zarr", "full_v3_sharded.zarr")
    sources = [case.corpus / name for name in names]
    slicing._all(case, sources, "--verify")
    slicing._all(case, sources[:4], "--verify", "--shuffle", "--seed", "3", *slicing.TINY, order=slicing.permutation(3))
    merging._all(case, sources[:2], "m.zarr", "--verify")
    none = case.work / "none.txt"
    none.write_text("")
    for source in sources:
        for name in ("f.zarr", "f.h5ad"):
            output = case.folder("filtered") / name
            if case.works(f"{source.name} -> {name}", "filter", source, output, "--verify", "--cells", none, "--invert") and source.stem != "unknown_nodes":
                _sound(case, output)


def _sound(case, path):
    done = case.run("check", path)
    if path.stem == "unknown_nodes":
        case.check(path.name, [] if done.returncode == 1 and "'spare'" in done.stdout else ["says sound"])
        return
    said = [line for line in done.stdout.splitlines() if ": error: " in line]
    case.check(path.name, said or ([] if done.returncode == 0 else [done.stderr]))


N = 12


def what_anndata_refuses_is_not_sound(case):
    """One change at a time to a sound file, in both formats: `check` must agree with anndata on each.

    Where anndata reads another value than was meant, or one that it cannot use, the file is not sound either.
    """
    _changed(case, False)


def what_anndata_reads_is_sound(case):
    _changed(case, True)


def _changed(case, sound):
    for suffix in (".h5ad", ".zarr"):
        whole = corpus.write(_base(), case.folder("changed") / f"base{suffix}")
        for name, (change, *options) in CHANGES.items():
            if {".zarr": "hdf5", ".h5ad": "zarr"}[suffix] in options or ("reads" in options) != sound:
                continue
            path = whole.with_name(f"{name}{suffix}")
            if suffix == ".zarr":
                shutil.copytree(whole, path)
                change(zarr.open_group(path, mode="r+", use_consolidated=False))
                zarr.consolidate_metadata(path)
            else:
                shutil.copy(whole, path)
                with h5py.File(path, "r+") as file:
                    change(file)
            try:
                corpus.read(path)
                refused = ""
            except Exception as error:  # whatever anndata raises
                refused = str(error)
            case.check(f"{path.name}: anndata", [] if bool(refused) != (sound or "misreads" in options) else [refused or "reads"])
            done = case.run("check", path)
            case.check(path.name, [] if done.returncode == (not sound) else [done.stdout or done.stderr])


def _base():
    names = [f"c{i}" for i in range(N)]
    adata = ad.AnnData(sp.random(N, 5, 0.4, format="csr", dtype="f4"), obs=pd.DataFrame({"x": np.arange(N) / 2}, index=names))
    adata.obs["cat"] = pd.Categorical(np.arange(N) % 3 / 1.0)
    adata.obs["int"] = pd.array([1, None] * 6, dtype="Int32")
    adata.obs["bool"] = pd.array([True, None] * 6, dtype="boolean")
    adata.layers["d"] = np.ones((N, 5))
    adata.obsm["f"] = pd.DataFrame({"q": np.arange(N)}, index=names)
    adata.varm["f"] = pd.DataFrame({"q": np.arange(5)}, index=adata.var_names)
    adata.obsp["o"] = sp.eye(N, format="csr")
    adata.uns.update({"i": 3, "t": "text", "none": None, "a": np.arange(4), "f": pd.DataFrame({"z": [1, 2]}, index=["a", "b"])})
    adata.raw = adata.copy()
    return adata


def _put(path, values):
    """Other values at a place, with the attributes that were there."""

    def change(root):
        attrs = dict(root[path].attrs)
        del root[path]
        if isinstance(root, h5py.Group):
            root[path] = values
        else:
            root.create_array(path, data=values)
        root[path].attrs.update(attrs)

    return change


def _element(path, value):
    """Another element at a place, as anndata writes it."""

    def change(root):
        if path in root:
            del root[path]
        parent, _, name = path.rpartition("/")
        ad.io.write_elem(root[parent] if parent else root, name, value)

    return change


def _says(path, kind, version="0.2.0"):
    return lambda root: root[path].attrs.update({"encoding-type": kind, "encoding-version": version})


def _column(value):
    def change(root):
        _element("obs/new", value)(root)
        root["obs"].attrs["column-order"] = [*root["obs"].attrs["column-order"], "new"]

    return change


def _without(path, attr):
    def change(root):
        del root[path].attrs[attr]

    return change


def _attr(path, name, value, json=None):
    """An attribute, in Zarr as JSON."""

    def change(root):
        root[path].attrs[name] = value if json is None or isinstance(root, h5py.Group) else json

    return change


def _cast(path, dtype):
    return lambda root: _put(path, root[path][...].astype(dtype))(root)


def _names(value, path="obs"):
    """Other names of rows, where nothing has to agree with them."""

    def change(root):
        if path == "obs":
            del root["obsm/f"]
        ad.io.write_elem(root[path], "_index", value)

    return change


def _awkward(values, path="layers/k"):
    return _element(path, ak.to_regular(ak.Array(values)))


def _frame(names, columns=2):
    return pd.DataFrame(np.ones((len(names), columns)), index=names, columns=[f"k{i}" for i in range(columns)])


def _ragged(change):
    """A change to an awkward array of lists that stands in obsm."""

    def changed(root):
        _element("obsm/k", ak.Array([[float(i)] * (i % 3) for i in range(N)]))(root)
        change(root)

    return changed


def _form(place, **values):
    """Other values in one node of the form of that array; `None` removes one."""

    def change(root):
        attrs = root["obsm/k"].attrs
        form = json.loads(attrs["form"]) if isinstance(attrs["form"], str) else attrs["form"]
        node = form["content"] if place == "content" else form
        node.update(values)
        for name in [name for name, value in values.items() if value is None]:
            del node[name]
        attrs["form"] = json.dumps(form)

    return _ragged(change)


def _nullable_2d(root):
    _element("uns/n", pd.array([1, 2], dtype="Int32"))(root)
    _put("uns/n/values", np.ones((2, 2), "i4"))(root)
    _put("uns/n/mask", np.zeros((2, 2), bool))(root)


NAMES = [f"c{i}" for i in range(N)]
OTHERS = [f"z{i}" for i in range(N)]
RECORDS = np.array([(1, 2.0), (2, 3.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")])
WITHIN = ad.AnnData(np.ones((3, 2)), obs=pd.DataFrame({"x": pd.Categorical(["a", "b", "a"])}, index=list("abc")))
RAGGED = ak.Array([[1.0] * (i % 3) for i in range(N)])
CHANGES = {
    "nothing": (lambda root: None, "reads"),
    "layer_1d": (_put("layers/d", np.ones(N)),),
    "layer_3d": (_put("layers/d", np.ones((N, 5, 2))), "reads"),
    "layer_column": (_element("layers/c", pd.Categorical(["a"] * N)),),
    "layer_frame": (_element("layers/f", _frame(OTHERS, 5)), "reads"),
    "layer_frame_narrow": (_element("layers/f", _frame(NAMES, 4)),),
    "layer_none": (_element("layers/n", None),),
    "layer_dict": (_element("layers/n", {"a": np.ones(3)}),),
    "x_1d": (_element("X", np.ones(N)),),
    "x_3d": (_element("X", np.ones((N, 5, 2))),),
    "x_none": (_element("X", None), "reads"),
    "x_column": (_element("X", pd.Categorical(["a"] * N)),),
    "raw_x_1d": (_element("raw/X", np.ones(N)),),
    "obs_2d": (_put("obs/x", np.ones((N, 2))),),
    "obs_2d_narrow": (_put("obs/x", np.ones((N, 1))),),
    "obs_frame": (_column(_frame(NAMES)),),
    "obs_cat": (_column(pd.Categorical(["a"] * N)), "reads"),
    "uns_frame_2d": (_put("uns/f/z", np.ones((2, 2))),),
    "obsm_1d": (_element("obsm/n", np.ones(N)), "reads"),
    "obsm_3d": (_element("obsm/n", np.ones((N, 2, 2))), "reads"),
    "obsm_none": (_element("obsm/n", None),),
    "obsm_cat": (_element("obsm/n", pd.Categorical(["a"] * N)),),
    "obsm_nullable": (_element("obsm/n", pd.array([1, None] * 6, dtype="Int32")),),
    "obsm_other_names": (_element("obsm/n", _frame(OTHERS)),),
    "obsm_turned_names": (_element("obsm/n", _frame(NAMES[::-1])),),
    "obsm_number_names": (_element("obsm/n", _frame(range(N))),),
    "obsm_category_names": (_element("obsm/n", _frame(pd.CategoricalIndex(NAMES))), "reads"),
    "varm_other_names": (_element("varm/n", _frame(OTHERS[:5])),),
    "raw_varm_other_names": (_element("raw/varm/n", _frame(OTHERS[:5])),),
    "obsp_1d": (_element("obsp/n", np.ones(N)),),
    "obsp_3d": (_element("obsp/n", np.ones((N, N, 2))), "reads"),
    "obsp_frame": (_element("obsp/n", _frame(NAMES)),),
    "ordered_missing": (_without("obs/cat", "ordered"),),
    "category_nan": (_put("obs/cat/categories", np.array([0, np.nan, 2])),),
    "category_dates": (_element("obs/cat", pd.Categorical(pd.to_datetime(["2020-01-01"] * N))), "reads", "zarr"),
    "category_2d": (_put("obs/cat/categories", np.arange(3.0)[:, None]),),
    "codes_unsigned": (_put("obs/cat/codes", np.zeros(N, "u1")), "reads"),
    "int_floats": (_put("obs/int/values", np.ones(N)),),
    "int_bools": (_put("obs/int/values", np.ones(N, bool)),),
    "bool_ints": (_put("obs/bool/values", np.ones(N, "i4")),),
    "mask_ints": (_put("obs/int/mask", np.ones(N, "i1")),),
    "mask_2d": (_put("obs/int/mask", np.ones((N, 1), bool)),),
    "int_as_text": (_says("uns/i", "string"), "hdf5"),
    "text_as_number": (_says("uns/t", "numeric-scalar"), "hdf5"),
    "text_as_bytes": (_says("uns/t", "bytes"), "hdf5"),
    "none_as_number": (_says("uns/none", "numeric-scalar"), "hdf5"),
    "numbers_as_text": (_says("uns/a", "string-array"), "hdf5"),
    "numbers_as_number": (_says("uns/a", "numeric-scalar"),),
    "layers_array": (_element("layers", np.ones((N, 5))),),
    "layers_sparse": (_element("layers", sp.eye(N, format="csr")),),
    "layers_none": (_element("layers", None), "reads"),
    "layers_frame": (_element("layers", _frame(NAMES)),),
    "layers_anndata": (_says("layers", "anndata", "0.1.0"),),
    "obsm_array": (_element("obsm", np.ones((N, 5))),),
    "obsp_array": (_element("obsp", np.ones((N, N))),),
    "raw_varm_array": (_element("raw/varm", np.ones((5, 2))),),
    "uns_array": (_element("uns", np.ones(3)),),
    "uns_number": (_element("uns", 1.0),),
    "record_scalar": (_element("uns/n", np.array((1, 2.5), dtype=[("a", "i4"), ("b", "f8")])), "reads"),
    "obsm_nullable_names": (_element("obsm/n", _frame(pd.Index(NAMES, dtype="string"))),),
    "obs_awkward": (_column(ak.Array([[1], []] * 6)),),
    "int_big_endian": (_put("obs/int/values", np.ones(N, ">i4")), "hdf5"),
    "sparse_text": (_put("X/data", np.full(24, b"a")), "hdf5"),
    "version_alone": (_without("uns/a", "encoding-type"),),
    "root_dict": (_says("/", "dict", "0.1.0"), "hdf5"),
    "x_ragged": (_element("X", RAGGED),),
    "x_awkward": (_awkward([[1.0] * 5] * N, "X"),),
    "raw_x_awkward": (_awkward([[1.0] * 5] * N, "raw/X"),),
    "layer_ragged": (_element("layers/k", RAGGED),),
    "layer_lists_of_one_length": (_element("layers/k", ak.Array([[1.0] * 5] * N)),),
    "layer_regular": (_awkward([[1.0] * 5] * N), "reads"),
    "layer_regular_narrow": (_awkward([[1.0] * 4] * N),),
    "layer_regular_of_lists": (_element("layers/k", ak.to_regular(ak.Array([[[1.0] * (i % 3) for i in range(5)]] * N), axis=1)), "reads"),
    "layer_awkward_flat": (_element("layers/k", ak.Array([1.0] * N)),),
    "layer_awkward_text": (_awkward(["abcde"] * N),),
    "layer_numpy": (_element("layers/k", ak.Array(np.ones((N, 5)))), "reads"),
    "layer_records": (_element("layers/k", ak.Array([dict.fromkeys("abcde", 1)] * N)), "reads"),
    "layer_records_narrow": (_element("layers/k", ak.Array([{"a": 1}] * N)),),
    "layer_masked": (_element("layers/k", ak.mask(ak.to_regular(ak.Array([[1.0] * 5] * N)), [True, False] * 6)),),
    "obsp_ragged": (_element("obsp/k", RAGGED),),
    "obsp_regular": (_awkward([[1.0] * N] * N, "obsp/k"), "reads"),
    "obsm_ragged": (_element("obsm/k", RAGGED), "reads"),
    "obsm_awkward_short": (_element("obsm/k", RAGGED[:5]),),
    "int_big_endian_zarr": (_put("obs/int/values", np.ones(N, ">i4")), "zarr"),
    "category_big_endian": (_put("obs/cat/categories", np.arange(3).astype(">f8")),),
    "category_half": (_put("obs/cat/categories", np.arange(3, dtype="f2")),),
    "codes_big_endian": (_put("obs/cat/codes", np.zeros(N, ">i2")), "reads"),
    "codes_largest": (_put("obs/cat/codes", np.full(N, 2**64 - 1, "u8")),),
    "codes_floats": (_cast("obs/cat/codes", "f8"),),
    "ordered_false": (_attr("obs/cat", "ordered", "False"), "misreads"),
    "ordered_true": (_attr("obs/cat", "ordered", "True"), "reads"),
    "ordered_float": (_attr("obs/cat", "ordered", 1.0), "reads"),
    "ordered_list": (_attr("obs/cat", "ordered", np.array([True, False]), [True, False]), "hdf5"),
    "scalar_of_one": (_put("uns/i", np.array([3])), "reads"),
    "scalar_of_two": (_put("uns/i", np.array([3, 4])),),
    "none_as_array": (_says("uns/a", "null", "0.1.0"), "misreads"),
    "indices_float": (_cast("X/indices", "f8"), "misreads"),
    "indptr_float": (_cast("X/indptr", "f8"), "misreads"),
    "shape_float": (_attr("X", "shape", np.array([N, 5.0]), [float(N), 5.0]), "reads"),
    "shape_half": (_attr("X", "shape", np.array([N, 5.5]), [N, 5.5]), "misreads"),
    "shape_nested": (_attr("X", "shape", np.array([[N, 5]]), [[N, 5]]),),
    "order_letter": (_attr("obs", "column-order", "x"), "reads"),
    "order_word": (_attr("obs", "column-order", "cat"),),
    "order_empty_text": (_attr("obs", "column-order", ""), "reads"),
    "order_table": (_attr("obs", "column-order", np.array([["x", "cat"]], object), [["x", "cat"]]),),
    "order_none": (_attr("obs", "column-order", h5py.Empty("f")), "hdf5"),
    "obs_none": (_column(None), "reads"),
    "obs_number": (_column(3.5), "reads"),
    "obs_dict": (_column({}), "misreads"),
    "names_half": (_names(np.arange(N, dtype="f2")),),
    "names_big_endian": (_names(np.arange(N).astype(">i8")), "reads"),
    "names_missing": (_names(pd.array([None, *NAMES[1:]], dtype="string")), "reads"),
    "uns_names_half": (_names(np.arange(2, dtype="f2"), "uns/f"),),
    "nullable_2d": (_nullable_2d, "reads"),
    "raw_number": (_element("raw", 3), "zarr"),
    "awkward_as_it_is": (_ragged(lambda root: None), "reads"),
    "awkward_floats_short": (_ragged(_cast("obsm/k/node1-data", "f4")),),
    "awkward_integers": (_ragged(_cast("obsm/k/node1-data", "i8")), "misreads"),
    "awkward_big_endian": (_ragged(_cast("obsm/k/node1-data", ">f8")), "misreads", "hdf5"),
    "awkward_pairs": (_ragged(_put("obsm/k/node1-data", np.ones((N, 2)))), "misreads"),
    "awkward_column": (_ragged(_put("obsm/k/node1-data", np.ones((N, 1)))), "reads"),
    "awkward_too_short": (_ragged(_put("obsm/k/node1-data", np.ones(5))),),
    "awkward_offsets_short": (_ragged(_cast("obsm/k/node0-offsets", "i4")),),
    "awkward_offsets_unsigned": (_ragged(_cast("obsm/k/node0-offsets", "u8")), "reads"),
    "awkward_offsets_floats": (_ragged(_cast("obsm/k/node0-offsets", "f8")),),
    "awkward_length_list": (_ragged(_attr("obsm/k", "length", np.array([N]), [N])),),
    "awkward_length_negative": (_ragged(_attr("obsm/k", "length", -1)),),
    "awkward_length_missing": (_ragged(_without("obsm/k", "length")),),
    "awkward_dates": (_element("obsm/k", ak.Array(np.arange(N).astype("datetime64[s]"))), "reads", "zarr"),
    "form_missing": (_ragged(_without("obsm/k", "form")),),
    "form_short_floats": (_form("content", primitive="float32"), "misreads"),
    "form_no_type": (_form("content", primitive=None),),
    "form_other_type": (_form("content", primitive="float31"),),
    "form_pairs": (_form("content", inner_shape=[2]),),
    "form_not_awkward": (_form("", **{"class": "Lists"}),),
    "form_of_old": (_form("", **{"class": "ListOffsetArray64"}), "reads"),
    "form_offsets_short": (_form("", offsets="i32"), "misreads"),
    "form_offsets_bytes": (_form("", offsets="i8"),),
    "form_no_offsets": (_form("", offsets=None),),
    "form_no_key": (_form("", form_key=None),),
    "form_parameters": (_form("", parameters="x"),),
    "form_no_parameters": (_form("", parameters=None), "reads"),
    "form_text_of_floats": (_form("", parameters={"__array__": "string"}),),
    "uns_anndata": (_element("uns/n", WITHIN), "reads"),
    "uns_anndata_codes": (lambda root: (_element("uns/n", WITHIN)(root), _put("uns/n/obs/x/codes", np.array([0, 1, 2], "i1"))(root)),),
    "uns_anndata_short": (lambda root: (_element("uns/n", WITHIN)(root), _put("uns/n/X", np.ones((2, 2)))(root)),),
    "uns_dict_as_anndata": (lambda root: (_element("uns/n", {"a": np.ones(3)})(root), _says("uns/n", "anndata", "0.1.0")(root)),),
    "type_empty": (_attr("uns/a", "encoding-type", ""),),
    "type_empty_frame": (_attr("uns/f", "encoding-type", ""),),
    "labels_empty": (_says("uns/a", "", ""), "reads"),
    "version_empty": (_says("uns/a", "array", ""),),
    "category_records": (_put("obs/cat/categories", RECORDS), "reads"),
    "x_frame": (_element("X", _frame(NAMES, 5).set_axis(list("01234"), axis=1)), "reads"),
    "x_frame_other_columns": (_element("X", _frame(NAMES, 5)),),
    "x_frame_other_names": (_element("X", _frame(OTHERS, 5).set_axis(list("01234"), axis=1)),),
    "raw_x_frame_other_names": (_element("raw/X", _frame(OTHERS, 5).set_axis(list("01234"), axis=1)), "reads"),
    "raw_x_frame_other_columns": (_element("raw/X", _frame(NAMES, 5)), "zarr"),
    "raw_x_frame_other_columns_hdf5": (_element("raw/X", _frame(NAMES, 5)), "reads", "hdf5"),
}
