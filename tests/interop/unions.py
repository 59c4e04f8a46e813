"""Kinds that meet in `merge`, or change their store, come out as anndata's own reader and writer have them: each family once lost or refused some."""

import gzip
import itertools
import json

import anndata as ad
import awkward as ak
import h5py
import numcodecs
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr

import corpus
from compare import diff_elem

N = 4


def _adata(n=N, prefix="c", genes=("a", "b"), **obs):
    index = [f"{prefix}{i}" for i in range(n)]
    return ad.AnnData(np.arange(n * len(genes), dtype="f4").reshape(n, -1), obs=pd.DataFrame(obs, index=index), var=pd.DataFrame(index=list(genes)))


def _write(case, adata, name="in.h5ad", version=2):
    ad.settings.zarr_write_format = version
    return corpus.write(adata, case.folder("unions") / name if name.startswith("in") else case.work / "unions" / name)


def _label(node, kind="array", version="0.2.0"):
    node.attrs.update({"encoding-type": kind, "encoding-version": version})


def _same(want, got):
    """Records are compared as lists: text of any width is text."""
    same = want.dtype.names == got.dtype.names and want.tolist() == got.tolist()
    return [] if same else [f"{got.dtype} {got.tolist()}, want {want.dtype} {want.tolist()}"]


def _whole(case, label, path, suffix):
    """The file passed through each command that can write `suffix`, as anndata reads it."""
    out, names = case.folder("out"), case.work / "names.txt"
    names.write_text("none\n")
    commands = {"merge": ("merge", out / f"m{suffix}", path), "filter": ("filter", path, out / f"f{suffix}", "--cells", names, "--missing-ok", "--invert")}
    if suffix == ".h5ad":
        commands["slice"] = ("slice", path, out / "s")
    for name, args in commands.items():
        if case.works(f"{label} {name}", *args, "--verify"):
            made = out / "s_shard_0.h5ad" if name == "slice" else args[1 if name == "merge" else 2]
            case.check(f"{label} {name}", [line for line in case.stderr.splitlines() if line.startswith("WARNING") and "'uns" in line])
            case.check(f"{label} {name}: check", [] if case.run("check", made).returncode == 0 else [case.run("check", made).stdout])
            try:
                yield f"{label} {name}", corpus.read(made)
            except Exception as error:  # whatever makes anndata refuse the file is the finding
                case.check(f"{label} {name}", [f"anndata cannot read it: {error!r}"[:300]])


VAR = {
    "Int64": (pd.array([1, 2], "Int64"), pd.array([1, 2, None], "Int64")), "Int64 of more genes": (pd.array([1, 2], "Int64"), pd.array([1, 2, 3], "Int64")),
    "boolean": (pd.array([True, False], "boolean"), pd.array([True, False, None], "boolean")),
    "integer categories": (pd.Categorical([1, 2]), pd.Categorical([1, 2, None], categories=[1, 2])),
    "float categories": (pd.Categorical([1.5, 2.5]), pd.Categorical([1.5, 2.5, None], categories=[1.5, 2.5])),
    "text categories": (pd.Categorical(["x", "y"]), pd.Categorical(["x", "y", None], categories=["x", "y"])),
    "ints": (np.array([1, 2]), np.array([1, 2, 3])), "ints and NaN": (np.array([1, 2]), np.array([1, 2, np.nan])), "floats": (np.array([1.0, 2]), np.array([1.0, 2, np.nan])),
    "small ints": (np.array([1, 2], "i1"), np.array([1, 2, 3], "i1")), "bools": (np.array([True, False]), np.array([True, False, True])),
    "int32 and int64": (np.array([1, 2], "i4"), np.array([1, 2, 3], "i8")), "float32 and float64": (np.array([1, 2], "f4"), np.array([1, 2, np.nan])),
    "text": (np.array(["x", "y"], object), np.array(["x", "y", "z"], object)), "Int64 and Int32": (pd.array([1, 2], "Int64"), pd.array([1, 2, None], "Int32")),
    "different": (pd.array([1, 2], "Int64"), pd.array([1, 3, None], "Int64")),
}


def columns_over_genes_are_compared_as_pandas_does(case):
    """Of var and of frames in varm: widened for the gaps first, and equal then or not, as in `anndata.concat`."""
    parts = [_adata(2, "x"), _adata(2, "y", genes=("a", "b", "c"))]
    for name, columns in VAR.items():
        for part, values in zip(parts, columns):
            part.var[name] = values
            part.varm[name] = pd.DataFrame({"v": values}, index=part.var_names)
    for same, order in itertools.product((False, True), (1, -1)):
        given = [p[:, ["a", "b"]].copy() if same else p for p in parts][::order]
        paths = [_write(case, p, f"{'in' if i == 0 else 'other'}.h5ad") for i, p in enumerate(given)]
        for strategy in ("same", "unique", "first", "only"):
            out, label = case.work / "unions" / "m.h5ad", f"{strategy} of {'the same' if same else 'other'} genes {order}"
            if not case.works(label, "merge", out, *paths, "--var-merge", strategy):
                continue
            got, want = corpus.read(out), ad.concat(given, join="outer", merge=strategy)
            for kind, a, b in (("var", want.var, got.var), ("varm", want.varm, got.varm)):
                differ = sorted(set(a) ^ set(b))
                case.check(f"{label}: {kind}", [f"{column!r} is {'not there' if column in set(a) else 'there'}" for column in differ])
            for column in set(want.varm) & set(got.varm):
                a, b = want.varm[column]["v"], got.varm[column]["v"]
                case.check(f"{label}: varm[{column}]", [] if a.astype(object).where(a.notna(), None).tolist() == b.astype(object).where(b.notna(), None).tolist() else [f"{b.tolist()}, want {a.tolist()}"])


def pairs_of_cells_are_in_native_byte_order(case):
    for kind, dtype in itertools.product(("dense", "csr"), (">f4", ">i8", "<f8", ">f2", "?")):
        if (kind, dtype) == ("csr", ">f2"):
            continue  # scipy has no such matrix
        parts = [_adata(n, p) for n, p in ((2, "x"), (3, "y"))]
        paths = []
        for i, part in enumerate(parts):
            path = _write(case, part, f"{'in' if i == 0 else 'other'}.h5ad")
            values = np.eye(part.n_obs).astype(dtype) + np.eye(part.n_obs, k=1).astype(dtype)
            with h5py.File(path, "r+") as file:
                if kind == "dense":
                    _label(file["obsp"].create_dataset("d", data=values))
                else:
                    matrix = sp.csr_matrix(values.astype("f8"))
                    group = file["obsp"].create_group("d")
                    for key, array in (("data", matrix.data.astype(dtype)), ("indices", matrix.indices.astype(">i4")), ("indptr", matrix.indptr.astype(">i8"))):
                        group.create_dataset(key, data=array)
                    _label(group, "csr_matrix", "0.1.0")
                    group.attrs["shape"] = matrix.shape
            part.obsp["d"] = values.astype("f8")
            paths.append(path)
        for suffix in (".h5ad", ".zarr"):
            out, label = case.folder("out") / f"m{suffix}", f"{kind} {dtype} {suffix}"
            if case.works(label, "merge", out, *paths, "--pairwise"):
                try:
                    got = corpus.read(out).obsp["d"]
                except Exception as error:  # whatever makes anndata refuse the file is the finding
                    case.check(label, [f"anndata cannot read it: {error!r}"[:300]])
                    continue
                case.check(label, [] if (got.toarray().astype("f8") == ad.concat(parts, pairwise=True).obsp["d"].toarray()).all() else [str(got.toarray())])
                case.check(label, [] if got.dtype.isnative and got.indices.dtype.isnative else [f"{got.dtype} {got.indices.dtype}"])


def layers_of_text_are_merged(case):
    adata = _adata()
    adata.layers["t"] = np.array([[f"t{i}", "ü" * i] for i in range(N)], object)
    path = _write(case, adata)
    made, out = case.slice("slice", path, "--size", "3") or [], case.work / "m.h5ad"
    for suffix in (".h5ad", ".zarr"):
        out = case.folder("out") / f"m{suffix}"
        if made and case.works(f"merge {suffix}", "merge", out, *made):
            case.check(suffix, diff_elem(adata.layers["t"], np.asarray(corpus.read(out).layers["t"]), "t"))
    # Genes in another order and fewer genes move the columns; genes that a file lacks have no text.
    turned = _write(case, adata[:, ["b", "a"]].copy(), "turned.h5ad")
    for options, genes in ((("--join", "inner"), ["a", "b"]), ((), ["a", "b"])):
        out = case.folder("out") / "m.h5ad"
        if case.works(f"turned {options}", "merge", out, path, turned, *options):
            got = corpus.read(out)
            case.check(f"turned {options}", diff_elem(np.tile(adata.layers["t"], (2, 1)), np.asarray(got[:, genes].layers["t"]), "t"))
    more = _adata(genes=("a", "b", "z"))
    more.layers["t"] = np.full((N, 3), "more", object)
    more = _write(case, more, "more.h5ad")
    if case.works("more inner", "merge", out, path, more, "--join", "inner"):
        case.check("more inner", diff_elem(np.concatenate([adata.layers["t"], np.full((N, 2), "more", object)]), np.asarray(corpus.read(out).layers["t"]), "t"))
    if case.works("more", "merge", out, path, more):
        case.check("more", [] if "t" not in corpus.read(out).layers and "'layers/t'" in case.stderr else [case.stderr])


def bools_beside_missing_ones(case):
    """A column of bools, and one of which every value is missing, are nullable bools."""
    nothing = {"object": np.array([None, None], object), "float": np.array([np.nan, np.nan]), "string": pd.array([None, None], "string"), "Int64": pd.array([None, None], "Int64"),
               "boolean": pd.array([None, None], "boolean"), "category": pd.Categorical([None, None])}
    flags = {"bool": np.array([True, False]), "boolean": pd.array([True, None], "boolean")}
    for (none, values), (kind, bools), order in itertools.product(nothing.items(), flags.items(), (1, -1)):
        a, b = _adata(2, "x", flag=bools), _adata(2, "y")
        if none == "object":
            b.obs["flag"] = values.astype(float)
        else:
            b.obs["flag"] = values
        paths = [_write(case, a), _write(case, b, "none.h5ad")][::order]
        out, label = case.folder("out") / "m.h5ad", f"{kind} beside {none} {order}"
        if not case.works(label, "merge", out, *paths):
            continue
        got = corpus.read(out).obs["flag"]
        want = [*a.obs["flag"].astype("boolean"), pd.NA, pd.NA] if order == 1 else [pd.NA, pd.NA, *a.obs["flag"].astype("boolean")]
        if none == "category":
            got = got.astype(object).astype("boolean")
        case.check(label, [] if got.dtype == "boolean" and [None if v is pd.NA else v for v in got] == [None if v is pd.NA else bool(v) for v in want] else [f"{got.dtype}: {got.tolist()}"])
    # Floats that are some, and text that is, still make text of it.
    for values in (np.array([np.nan, 1.0]), np.array(["x", "y"], object)):
        paths = [_write(case, _adata(2, "x", flag=flags["bool"])), _write(case, _adata(2, "y", flag=values), "none.h5ad")]
        if case.works("some", "merge", out, *paths):
            case.check("some", [] if corpus.read(out).obs["flag"].dtype in ("object", "string", "category") else [str(corpus.read(out).obs["flag"])])


def names_of_cells_may_be_compressed(case):
    path, out = _write(case, _adata()), case.work / "f.h5ad"
    for name, pack in (("names.txt.gz", gzip.compress), ("names.gz", gzip.compress), ("names.txt", bytes)):
        names = case.work / name
        names.write_bytes(pack(b"c2\nc0\n"))
        if case.works(name, "filter", path, out, "--cells", names):
            case.check(name, [] if list(corpus.read(out).obs_names) == ["c0", "c2"] else [str(corpus.read(out).obs_names)])


def columns_that_are_not_listed_are_cut(case):
    """Along the rows, where their length is that of obs; the frame still does not list them."""
    path = _write(case, _adata(6, here=np.arange(6)))
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        _label(obs.create_dataset("loose", data=np.arange(6) * 10))
        _label(obs.create_dataset("short", data=np.arange(5)))
        _label(obs.create_dataset("wide", data=np.arange(12).reshape(6, 2)))
        _label(obs.create_dataset("texts", data=[f"t{i}" for i in range(6)], dtype=h5py.string_dtype()), "string-array")
        ad.io.write_elem(obs, "kinds", pd.Categorical(list("aabbcc")))
        ad.io.write_elem(obs, "maybe", pd.array([1, None, 3, 4, None, 6], "Int64"))
        ad.io.write_elem(obs, "note", "a text")
    order = np.random.default_rng(1).permutation(6)
    for options, rows in (((), np.arange(6)), (("--shuffle", "--seed", "1"), order)):
        for at, made in enumerate(case.slice(f"{options}", path, "--size", "4", *options) or []):
            part = rows[at * 4:at * 4 + 4]
            with h5py.File(made) as file:
                obs = file["obs"]
                found = {"loose": obs["loose"][...], "short": obs["short"][...], "wide": obs["wide"][...], "texts": obs["texts"].asstr()[...], "kinds": obs["kinds/codes"][...], "maybe": obs["maybe/mask"][...],
                         "note": obs["note"].asstr()[()]}
                want = {"loose": part * 10, "short": np.arange(5), "wide": np.arange(12).reshape(6, 2)[part], "texts": np.array([f"t{i}" for i in part]), "kinds": part // 2, "maybe": np.isin(part, [1, 4]), "note": "a text"}
                for name, values in want.items():
                    case.check(f"{options} {at} {name}", [] if np.array_equal(values, found[name]) else [f"{found[name]}, want {values}"])
                case.check("order", [] if list(obs.attrs["column-order"]) == ["here"] else [str(list(obs.attrs["column-order"]))])
        told = [line for line in case.stderr.splitlines() if line.startswith("WARNING")]
        case.check("warning", [] if any("loose" in line for line in told) and any("short" in line for line in told) else told)


def kinds_that_only_hdf5_has_are_merged(case):
    """Bit fields, opaque values and floats beyond 64 bits are rows of bytes: alike in all files, or refused by name."""
    kinds = {"bits": h5py.h5t.STD_B8LE, "opaque": h5py.h5t.create(h5py.h5t.OPAQUE, 5), "long": h5py.h5t.NATIVE_LDOUBLE}
    kinds["opaque"].set_tag(b"five")
    for (name, kind), place, suffix in itertools.product(kinds.items(), ("obs", "obsm"), (".h5ad",)):
        path = _write(case, _adata(), "in.h5ad")
        shape = (N,) if place == "obs" else (N, 2)
        data = np.arange(np.prod(shape)).astype(np.longdouble if name == "long" else "u1").reshape(shape)
        with h5py.File(path, "r+") as file:
            space = h5py.h5s.create_simple(shape)
            made = h5py.h5d.create(file[place].id, b"odd", kind, space)
            raw = data if name != "opaque" else np.frombuffer(bytes(range(5 * data.size)), "V5").reshape(shape)
            made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(raw), mtype=kind)
            _label(file[place]["odd"])
            if place == "obs":
                file["obs"].attrs["column-order"] = ["odd"]
        label = f"{name} in {place}"
        shards, out = case.slice(label, path, "--size", "3") or [], case.folder("out") / f"m{suffix}"
        if shards and case.works(label, "merge", out, *shards):
            with h5py.File(path) as a, h5py.File(out) as b:
                x, y = a[f"{place}/odd"], b[f"{place}/odd"]
                case.check(label, [] if x.id.get_type().equal(y.id.get_type()) else [f"{y.dtype}, want {x.dtype}"])
                values = [np.empty(shape, raw.dtype), np.empty(shape, raw.dtype)]
                x.id.read(h5py.h5s.ALL, h5py.h5s.ALL, values[0], mtype=kind), y.id.read(h5py.h5s.ALL, h5py.h5s.ALL, values[1], mtype=kind)
                case.check(label, [] if values[0].tobytes() == values[1].tobytes() or name == "long" and (values[0] == values[1]).all() else ["values differ"])


def options_without_effect_are_warnings(case):
    path, out = _write(case, _adata(kind=pd.Categorical(list("abab")))), case.folder("out")
    for args, told in ((("--obs-column", "kind", "--size", "2"), "--size"), (("--obs-column", "kind", "--shuffle", "--seed", "1"), "--shuffle"), (("--csv-file", "none.csv"), "--csv-file"),
                       (("--join-column", "x"), "--join-column"), (("--always-include", "a"), "--always-include"), (("--seed", "3"), "--seed")):
        if case.works(f"{args}", "slice", path, out / "s", *args):
            case.check(f"{args}", [] if f"WARNING: {told} has no effect" in case.stderr else [case.stderr])
    case.check("shards", [] if {p.name for p in out.iterdir()} == {"s_a.h5ad", "s_b.h5ad", "s_shard_0.h5ad"} else [str(list(out.iterdir()))])


RECORDS = {"text": [("TNFα", "x", 2.0), ("b", "", 1.0)], "ascii": [("TNF", "x", 2.0), ("b", "yy", 1.0)], "empty": [("", "", 2.0), ("", "", 1.0)]}


def records_with_text_pass_between_stores(case):
    """As scanpy's rank_genes_groups/names; text is UTF-32 to anndata's writer of Zarr, of any length to that of HDF5."""
    for (name, values), kind, (source, version), suffix in itertools.product(RECORDS.items(), ("U5", "S5", "O"), ((".h5ad", 2), (".zarr", 2), (".zarr", 3)), (".h5ad", ".zarr")):
        if kind == "S5" and name == "text" or kind == "O" and source == ".zarr":
            continue
        records = np.array(values, dtype=[("0", kind), ("1", kind), ("x", "f8")])
        adata = _adata()
        adata.uns["rank"] = {"names": records, "scores": np.arange(3.0)}
        label = f"{name} {kind} {source} {version} to {suffix}"
        for told, got in _whole(case, label, _write(case, adata, f"in{source}", version), suffix):
            rank = got.uns["rank"]
            case.check(told, _same(records.astype([("0", "U5"), ("1", "U5"), ("x", "f8")]), rank["names"]) if "names" in rank else ["it is left out"])


def bare_words_in_attributes_of_zarr(case):
    """NaN and the infinities, as zarr-python writes them, at any depth; text of the same letters is text."""
    attrs = {"nan": float("nan"), "inf": [float("inf"), 1.5], "deep": {"a": [float("-inf"), {"b": float("nan")}], "text": "NaN, Infinity"}, "word": "NaN", "quote": "a \\\" NaN", "int": 3}
    for version, consolidated in itertools.product((2, 3), (False, True)):
        path = _write(case, _adata(), "in.zarr", version)
        root = zarr.open_group(path, use_consolidated=False, zarr_format=version)
        for node in (root, root["uns"], root["X"], root["obs"]):
            node.attrs.update(attrs)
        if consolidated:
            zarr.consolidate_metadata(path)
        else:
            (path / ".zmetadata").unlink(missing_ok=True)
        label, out = f"version {version} {consolidated}", case.folder("out")
        case.check(f"{label}: check", [] if case.run("check", path).returncode == 0 else [case.run("check", path).stdout])
        for args in (("slice", path, out / "s"), ("merge", out / "m.h5ad", path), ("merge", out / "m.zarr", path), ("filter", path, out / "f.zarr", "--cells", "/dev/null", "--invert")):
            if not case.works(f"{label} {args[0]}", *args, "--verify"):
                continue
            made = args[1] if args[0] == "merge" else args[2]
            if made.suffix != ".zarr":
                continue
            for zipped in (True, False):
                again = zarr.open_group(made, use_consolidated=zipped)
                for key in ("", "uns", "X", "obs"):
                    got = dict((again[key] if key else again).attrs)
                    got = json.dumps({k: got[k] for k in attrs if k in got}, sort_keys=True)
                    case.check(f"{label} {args[0]} {key} {zipped}", [] if got == json.dumps(attrs, sort_keys=True) else [got])
            case.check(label, [] if ad.read_zarr(made).n_obs == N else ["cells"])


AWKWARD = {
    "options": ([1, None], [1, 2]), "ints and floats": ([[1, 2], []], [[1.5], [2.5, 3.5]]), "a field more": ([{"x": 1}, {"x": 2}], [{"x": 3, "y": "a"}, {"x": 4, "y": "b"}]),
    "ragged and regular": ([[1], [2, 3]], np.array([[1, 2], [3, 4]])), "nested options": ([[{"a": 1, "b": None}], []], [[{"a": 2, "b": "x"}], [{"a": None, "b": "y"}]]),
    "empty and filled": ([[], []], [[1], [2, 3]]), "bools and ints": ([[True], []], [[2], [3]]), "options both": ([None, 1], [2, None]), "text and none": ([None, None], ["a", "b"]), "int widths": (np.array([1, 2], "i1"), np.array([3, 4], "i8")),
}


def awkward_arrays_of_differing_forms_are_merged(case):
    """As `awkward.concatenate` merges them, but that fields which a file lacks are missing; what cannot be merged names both files."""
    for (name, values), order, suffix in itertools.product(AWKWARD.items(), (1, -1), (".h5ad", ".zarr")):
        arrays = [ak.Array(v) if not isinstance(v, np.ndarray) else ak.from_numpy(v, regulararray=True) for v in values][::order]
        parts = [_adata(2, p) for p in "xy"]
        for part, array in zip(parts, arrays):
            part.obsm["aw"] = array
        paths = [_write(case, p, f"{'in' if i == 0 else 'other'}.h5ad") for i, p in enumerate(parts)]
        out, label = case.folder("out") / f"m{suffix}", f"{name} {order} {suffix}"
        if case.works(label, "merge", out, *paths):
            want = ad.concat(parts, join="outer").obsm["aw"].to_list()
            if name == "a field more":
                want = [{"x": None, "y": None} | row for row in want]  # a union to awkward, of which rows cannot be taken
            got = corpus.read(out).obsm["aw"].to_list()
            case.check(label, [] if got == want else [f"{got}, want {want}"])
            if made := case.slice(label, out, "--size", "3"):
                case.check(f"{label}: sliced", [] if sum((corpus.read(p).obsm["aw"].to_list() for p in made), []) == got else ["differs"])
            case.check(f"{label}: check", [] if case.run("check", out).returncode == 0 else [case.run("check", out).stdout])
    parts = [_adata(2, p) for p in "xy"]
    parts[0].obsm["aw"], parts[1].obsm["aw"] = ak.Array(["a", "b"]), ak.Array([[1.5], []])
    paths = [_write(case, p, f"{'in' if i == 0 else 'other'}.h5ad") for i, p in enumerate(parts)]
    done = case.run("merge", case.work / "m.h5ad", *paths)
    case.check("unmergeable", [] if done.returncode == 1 and all(p.name in done.stderr for p in paths) and "obsm/aw" in done.stderr else [done.stderr])


def rows_of_other_shapes_are_refused(case):
    """Layers of three axes, and of text, that would come under wrong genes: the numbers of values agree over all inputs."""
    def numbers(depth):
        return np.arange(N * 2 * depth, dtype="f4").reshape(N, 2, depth)
    for label, layers in (("axes", [numbers(3), numbers(2), numbers(4)]), ("same", [numbers(3), numbers(3)])):
        folder = case.folder(f"shapes_{label}")
        paths = []
        for i, layer in enumerate(layers):
            adata = _adata(prefix=f"{label}{i}_")
            paths.append(folder / f"{i}.h5ad")
            adata.write_h5ad(paths[-1])
            with h5py.File(paths[-1], "r+") as file:
                file["layers/cube"] = layer
                _label(file["layers/cube"])
        for command in (("merge", folder / "m.h5ad", *paths), ("slice", *paths, folder / "s", "--shuffle", "--seed", "1")):
            done = case.run(*command)
            told = "cannot be put together" in done.stderr and "layers/cube" in done.stderr
            right = done.returncode == 0 if label == "same" else done.returncode == 1 and told
            case.check(f"{label}: {command[0]}", [] if right else [done.stderr])
    folder = case.folder("texts")
    for i, width in enumerate((2, 7)):
        _adata(prefix=f"t{i}_").write_h5ad(folder / f"{i}.h5ad")
        with h5py.File(folder / f"{i}.h5ad", "r+") as file:
            file.create_dataset("layers/words", data=np.full((N, width), "w", dtype=object), dtype=h5py.string_dtype())
            _label(file["layers/words"], "string-array")
    done = case.run("merge", folder / "m.h5ad", folder / "0.h5ad", folder / "1.h5ad")
    case.check("text", [] if done.returncode == 1 and "'layers/words' has 7 columns" in done.stderr else [done.stderr])


def tuples_and_records_stay_apart(case):
    folder = case.folder("tuples")
    for name, rows in (("a", ak.Array([{"x": 1, "y": 2.0}] * N)), ("b", ak.Array([(1, 2.0)] * N))):
        adata = _adata(prefix=name)
        adata.obsm["pairs"] = rows
        adata.write_h5ad(folder / f"{name}.h5ad")
    done = case.run("merge", folder / "m.h5ad", folder / "a.h5ad", folder / "b.h5ad")
    case.check("merge", [] if done.returncode == 1 and "Tuples and records" in done.stderr else [done.stderr])


def dates_within_records_become_numbers(case):
    root = _write(case, _adata(), "in.zarr")
    group = zarr.open_group(root, mode="r+", use_consolidated=False)
    for order in "<>":
        records = np.array([("2020-01-01T00:00:01", 7)] * 3, dtype=[("d", f"{order}M8[s]"), ("n", f"{order}i4")])
        folder = root / "uns" / "records"
        folder.mkdir(exist_ok=True)
        (folder / ".zarray").write_text(json.dumps({
            "zarr_format": 2, "shape": [3], "chunks": [3], "dtype": records.dtype.descr, "compressor": None, "fill_value": None, "filters": None, "order": "C"}))
        (folder / ".zattrs").write_text(json.dumps({"encoding-type": "rec-array", "encoding-version": "0.2.0"}))
        (folder / "0").write_bytes(records.tobytes())
        (root / ".zmetadata").unlink(missing_ok=True)
        done = case.run("slice", root, case.folder("dates") / "s", "--format", "h5ad")
        if order == ">":
            case.check("big-endian", [] if done.returncode == 1 and "big-endian" in done.stderr else [done.stderr])
            continue
        case.check("warning", [] if done.returncode == 0 and "becomes" not in done.stderr and "whole numbers" in done.stderr else [done.stderr])
        with h5py.File(case.work / "dates" / "s_shard_0.h5ad") as file:
            got = file["uns/records"][()]
        want = [(1577836801, 7)] * 3
        case.check("values", [] if got.tolist() == want else [str(got)])


def a_column_without_values_has_no_say_in_categories(case):
    """Floats that are all NaN, as of a file without that annotation, leave the type and the order of categories as they are."""
    folder = case.folder("void")
    for label, categories in (("bools", pd.Categorical([True, False] * 2)), ("integers", pd.Categorical([1, 2] * 2)),
                              ("ordered", pd.Categorical(["lo", "hi"] * 2, ["lo", "hi"], ordered=True))):
        _adata(prefix="x", c=categories).write_h5ad(folder / "x.h5ad")
        _adata(prefix="y", c=np.full(N, np.nan)).write_h5ad(folder / "y.h5ad")
        for order in ("xy", "yx"):
            out = folder / "m.h5ad"
            if case.works(f"{label} {order}", "merge", out, *[folder / f"{name}.h5ad" for name in order], "--overwrite"):
                got = ad.read_h5ad(out).obs["c"]
                same = got.dtype == categories.dtype and got[[f"x{i}" for i in range(N)]].tolist() == list(categories)
                case.check(f"{label} {order}", [] if same and got.isna().sum() == N else [f"{got.dtype} {got.tolist()}"])
