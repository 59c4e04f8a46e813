"""`--keep`, `--drop`, `--x-from`, `--csr` and `--plain-strings`: outputs are the AnnData with these elements deleted, another matrix
as X, CSC matrices as CSR, text without masks."""

import random
import re

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

import corpus
import objects
import oldfiles
import trees

FOLDERS = ("layers", "obsm", "varm", "obsp", "varp")
SOURCES = ("full.h5ad", "full_v2.zarr", "full_v3_sharded.zarr", "x_csc.h5ad", "slash.h5ad", "index_column.h5ad")


def elements(adata):
    """The paths of all that may be dropped."""
    out = [f"{axis}/{name}" for axis in ("obs", "var") for name in getattr(adata, axis).columns if name != getattr(adata, axis).index.name]
    for folder in FOLDERS:
        for name, value in getattr(adata, folder).items():
            out += [f"{folder}/{name}"] + _columns(f"{folder}/{name}", value)
    out += _below("uns", adata.uns)
    if adata.raw is not None:
        out += ["raw"] + [f"raw/var/{name}" for name in adata.raw.var.columns] + [f"raw/varm/{name}" for name in adata.raw.varm]
    return out


def _columns(path, value):
    return [f"{path}/{name}" for name in value.columns] if isinstance(value, pd.DataFrame) else []


def _below(path, folder):
    out = []
    for name, value in folder.items():
        out += [f"{path}/{name}"] + (_below(f"{path}/{name}", value) if isinstance(value, dict) else _columns(f"{path}/{name}", value))
    return out


def deleted(adata, paths):
    """A copy without the elements at `paths`."""
    out = adata.copy()
    raw = None if out.raw is None else out.raw.to_adata()
    for path in sorted(paths, key=len, reverse=True):
        top, _, name = path.partition("/")
        if top == "raw":
            raw = _without_raw(raw, name)
        elif top in ("obs", "var"):
            setattr(out, top, getattr(out, top).drop(columns=name))
        else:
            _delete(getattr(out, top), name)
    out.raw = raw
    return out


def _without_raw(raw, name):
    part, _, name = name.partition("/")
    if not part:
        return None
    if part == "var":
        raw.var = raw.var.drop(columns=name)
    else:
        del raw.varm[name]
    return raw


def _delete(folder, name):
    if name in folder:
        del folder[name]
        return
    first, _, rest = name.partition("/")
    if isinstance(folder[first], pd.DataFrame):
        folder[first] = folder[first].drop(columns=rest)
    else:
        _delete(folder[first], rest)


def _writes(case, label, want, source, *options):
    """One of slice, filter and merge, which take turns, writes `want` of `source` with `options`."""
    turn = case.done % 4
    if turn == 0:
        for path in case.slice(f"slice {label}", source, "--size", "100000", *options) or []:
            case.same_adata(f"slice {label}", want, path)
    elif turn == 3:
        if case.works(f"merge {label}", "merge", case.work / "m.h5ad", source, *options):
            case.same_adata(f"merge {label}", oldfiles.as_merged(want), case.work / "m.h5ad", skip=("obsp",))
    else:
        chosen = case.work / ("f.h5ad" if turn == 1 else "f.zarr")
        if case.works(f"filter {label}", "filter", source, chosen, "--cells", _names(case, want), *options):
            case.same_adata(f"filter {label}", want, chosen)


def _write_all(case, *args):
    """All of them do."""
    for _ in range(4):
        _writes(case, *args)


def _names(case, adata):
    path = case.work / "cells.txt"
    path.write_text("".join(f"{name}\n" for name in adata.obs_names))
    return path


def each_element_is_dropped(case):
    for name, step in (("full.h5ad", 3), ("full_v2.zarr", 11)):
        adata = corpus.read(case.corpus / name)
        for path in elements(adata)[::step]:
            made = case.slice(f"{name} {path}", case.corpus / name, "--size", "100", "--drop", path)
            for shard in made or []:
                case.same_adata(f"{name} --drop {path}", deleted(adata, [path]), shard)


def _meant(patterns, path, paths):
    """Whether a pattern means an element or what it is in."""
    above = [p for p in paths if path == p or path.startswith(p + "/")] + [path.split("/")[0]]
    found = [re.fullmatch(re.escape(pattern).replace(r"\*", "[^/]*"), p) for pattern in patterns for p in above]
    return any(found) or any(p == pattern for pattern in patterns for p in above)


def random_choices_of_elements(case):
    rng = random.Random(5)
    for source in [case.corpus / name for name in SOURCES] + oldfiles._sources(case, ".h5ad")[::4]:
        adata = oldfiles._readable(case, source)[0]
        for _ in range(2):
            paths = elements(adata)
            patterns = [_loosened(rng, path) for path in rng.sample(paths, min(len(paths), rng.randint(1, 6)))] or ["layers"]
            dropped = [path for path in paths if _meant(patterns, path, paths)]
            _writes(case, f"{source.name} --drop {patterns}", deleted(adata, _top(dropped)), source, "--drop", *patterns)
            within = {path.rpartition("/")[0] for path in paths if _meant(patterns, path, paths)}
            left = [path for path in paths if not _meant(patterns, path, paths) and not any(w == path or w.startswith(path + "/") for w in within)]
            _writes(case, f"{source.name} --keep {patterns}", deleted(adata, _top(left)), source, "--keep", *patterns)


def _loosened(rng, path):
    """The path, or a pattern that means it too."""
    parts = path.split("/")
    if rng.random() < 0.4:
        at = rng.randrange(1, len(parts)) if len(parts) > 1 else 0
        if at:
            parts[at] = parts[at][:rng.randint(0, len(parts[at]))] + "*"
    return "/".join(parts)


def _top(paths):
    """Those that are not in one of the others."""
    return [path for path in paths if not any(path.startswith(other + "/") for other in paths)]


def keep_of_x_alone_keeps_names(case):
    adata = corpus.read(case.corpus / "full.h5ad")
    want = ad.AnnData(adata.X, obs=adata.obs[[]], var=adata.var[[]])
    for options in (("--keep", "X"), ("--drop", "obs/*", "var/*", "layers", "obsm/*", "varm", "obsp", "varp", "uns/*", "raw")):
        _write_all(case, " ".join(options), want, case.corpus / "full.h5ad", *options)


def keep_and_drop_together(case):
    adata = corpus.read(case.corpus / "full.h5ad")
    want = ad.AnnData(adata.X, obs=adata.obs[["text", "cat_int"]], var=adata.var[[]], layers={"messy": adata.layers["messy"]})
    options = ("--keep", "obs/cat*", "obs/text", "layers/messy", "--drop", "obs/cat", "obs/cat_[nobfm]*", "obs/cat_ordered", "obs/cat_b*",
               "obs/cat_f*", "obs/cat_n*", "obs/cat_m*", "obs/categories")
    done = case.run("slice", case.corpus / "full.h5ad", case.work / "s", *options)
    case.check("brackets", [] if "matches no element" in done.stderr else [done.stderr])
    options = [option for option in options if "[" not in option]
    _writes(case, " ".join(options), want, case.corpus / "full.h5ad", *options)


def cells_are_chosen_by_what_is_dropped(case):
    source, out = case.corpus / "full.h5ad", case.work / "chosen.h5ad"
    adata = corpus.read(source)
    if case.works("filter", "filter", source, out, "--where", "cat == 'a'", "--drop", "obs/cat", "obsm/*"):
        want = deleted(adata[adata.obs["cat"] == "a"].copy(), ["obs/cat"] + [f"obsm/{name}" for name in adata.obsm])
        case.same_adata("filter", want, out)
    folder = case.folder("groups")
    if case.works("slice", "slice", source, folder / "s", "--obs-column", "cat", "--drop", "obs/cat"):
        for value in ("a", "b", "c"):
            want = deleted(adata[adata.obs["cat"] == value].copy(), ["obs/cat"])
            case.same_adata(value, want, folder / f"s_{value}.h5ad", exact=False)


def cells_of_several_files_are_chosen_by_what_is_dropped(case):
    """As those of their merge are, and genes too."""
    first, second = objects.full(20), objects.full(31, seed=8)
    for i, adata in enumerate((first, second)):
        adata.obs_names = [f"{i} {name}" for name in adata.obs_names]
        adata.var["high"] = ["yes", "no"] * (adata.n_vars // 2) + ["no"] * (adata.n_vars % 2)
    paths = [corpus.write(adata, case.work / f"{i}.h5ad") for i, adata in enumerate((first, second))]
    one = case.work / "one.h5ad"
    case.works("merge", "merge", one, *paths)
    for label, choice, options in (
        ("where", ("--where", "cat == 'a' or cat_bool == true"), ("--drop", "obs/cat*")),
        ("kept", ("--where", "cat == 'a'"), ("--keep", "obs/text")),
        ("sorted", ("--sort-by", "cat"), ("--drop", "obs/*")),
        ("genes", ("--where", "cat == 'a'", "--var-where", "high == 'yes'"), ("--drop", "obs/cat", "var/high")),
    ):
        want, got = case.work / "want.h5ad", case.work / "got.h5ad"
        if case.works(f"{label}: one", "filter", one, want, *choice, *options) and case.works(f"{label}: two", "filter", *paths, got, *choice, *options):
            case.same_adata(label, corpus.read(want), got, exact=False)
    folder = case.folder("groups")
    if case.works("slice", "slice", *paths, folder / "s", "--obs-column", "cat", "--drop", "obs/cat"):
        for path in sorted(folder.iterdir()):
            case.check(path.name, [] if "cat" not in corpus.read(path).obs else ["obs/cat is there"])
        names = [path.name for path in sorted(folder.iterdir())]
        case.check("shards", [] if names == ["s_a.h5ad", "s_b.h5ad", "s_c.h5ad"] else [str(names)])


def what_is_dropped_is_not_read(case):
    adata, source = objects.small(), case.work / "damaged.h5ad"
    adata.layers["bad"] = np.ones(adata.shape, "f4")
    adata.obs["bad"] = np.arange(adata.n_obs)
    corpus.write(adata, source, compression="gzip")
    with h5py.File(source) as file:
        places = [file[path].id.get_chunk_info(0) for path in ("layers/bad", "obs/bad")]
    with open(source, "r+b") as file:
        for place in places:
            file.seek(place.byte_offset)
            file.write(b"\xff" * place.size)
    want = deleted(adata, ["layers/bad", "obs/bad"])
    _write_all(case, "damaged", want, source, "--drop", "*/bad")
    done = case.run("slice", source, case.work / "s", "--drop", "layers/bad")
    case.check("damaged", [] if done.returncode == 1 and "obs/bad" in done.stderr else [done.stderr])


def merge_takes_what_is_kept_of_each_input(case):
    """Elements that only some inputs have, dropped or kept by one pattern for all."""
    first, second = objects.full(20), objects.full(31, seed=8)
    second.obs_names = [f"other {i}" for i in range(31)]
    del second.layers["messy"], second.obs["text"]
    second.layers["new"] = second.X.copy()
    paths = [corpus.write(adata, case.work / f"{i}.h5ad") for i, adata in enumerate((first, second))]
    for drop in (["layers/*", "uns"], ["obs/text", "layers/new", "raw", "varm/*"], ["obs/*", "var/*"]):
        cut = []
        for i, adata in enumerate((first, second)):
            known = elements(adata)
            meant = _top([path for path in known if _meant(drop, path, known)])
            cut.append(corpus.write(deleted(adata, meant), case.work / f"cut{i}.h5ad"))
        made = [case.work / "a.h5ad", case.work / "b.h5ad"]
        if case.works(str(drop), "merge", made[0], *paths, "--drop", *drop) and case.works(str(drop), "merge", made[1], *cut):
            case.same_adata(str(drop), corpus.read(made[1]), made[0])


def _with_x(adata, matrix, keep=None):
    """What `--x-from matrix --x-to layers/keep` means."""
    out = adata.copy()
    if matrix == "raw":
        raw = out.raw.to_adata()
        same = list(raw.var_names) == list(out.var_names)
        kept = {folder: getattr(out, folder) for folder in ("layers", "varm", "varp")} if same else {"varm": raw.varm}
        new = ad.AnnData(raw.X, obs=out.obs, var=raw.var, uns=out.uns, obsm=out.obsm, obsp=out.obsp, **kept)
    else:
        new = out
        new.X = out.layers.pop(matrix)
    if keep:
        new.layers[keep] = adata.X
    return new


def x_is_another_matrix(case):
    for name in ("full.h5ad", "full_v2.zarr", "full_v3_sharded.zarr"):
        source = case.corpus / name
        adata = corpus.read(source)
        for layer in ("dense_f8", "csc_f4"):
            _writes(case, f"{name} {layer}", _with_x(adata, layer), source, "--x-from", f"layers/{layer}")
            _writes(case, f"{name} {layer} kept", _with_x(adata, layer, "old"), source, "--x-from", f"layers/{layer}", "--x-to", "layers/old")
            _writes(case, f"{name} {layer} swapped", _with_x(adata, layer, layer), source, "--x-from", f"layers/{layer}", "--x-to", f"layers/{layer}")
        _writes(case, f"{name} raw", _with_x(adata, "raw"), source, "--x-from", "raw")
        _writes(case, f"{name} raw", deleted(_with_x(adata, "raw"), ["var/kind", "varm/PCs"]), source, "--x-from", "raw", "--drop", "var/kind", "varm/PCs")


def x_from_raw_of_the_same_genes_keeps_layers(case):
    adata = objects.full()
    raw = ad.AnnData(adata.X.copy(), var=adata.var[["f8"]].copy())
    raw.X.data += 1
    adata.raw = raw
    source = corpus.write(adata, case.work / "same.h5ad")
    adata = corpus.read(source)
    _writes(case, "same genes", _with_x(adata, "raw"), source, "--x-from", "raw")
    _writes(case, "same genes, X kept", _with_x(adata, "raw", "old"), source, "--x-from", "raw", "--x-to", "layers/old")
    for name, own in (("varm of both", ["PCs", "own"]), ("varm of raw", [])):
        adata = objects.full()
        adata.varm = {key: np.full((adata.n_vars, 2), 1.0) for key in own}
        raw = adata.copy()
        raw.varm = {key: np.full((adata.n_vars, 3), 2.0) for key in ("PCs", "of_raw")}
        adata.raw = raw
        source = corpus.write(adata, case.work / f"{name.replace(' ', '_')}.h5ad")
        out = case.folder("varm") / "f.h5ad"
        if case.works(name, "filter", source, out, "--x-from", "raw"):
            got = {key: value.shape[1] for key, value in corpus.read(out).varm.items()}
            want = {"PCs": 3, "of_raw": 3} | ({"own": 2} if own else {})
            case.check(name, [] if got == want else [str(got)])
            case.check(name, [] if ("'varm/PCs'" in case.stderr) == bool(own) else [case.stderr])


def x_from_raw_of_old_files(case):
    for source in oldfiles._sources(case, ".h5ad"):
        adata = oldfiles._readable(case, source)[0]
        if adata.raw is not None and adata.raw.shape[1] != adata.shape[1]:
            _writes(case, f"{oldfiles._label(source)} raw", _with_x(adata, "raw"), source, "--x-from", "raw")


def merge_puts_raws_together(case):
    """The raws of files with differing genes become the X of one."""
    parts = []
    for i in range(2):
        rng = np.random.default_rng(i)
        genes = [f"g{g}" for g in rng.permutation(30)[:20]]
        whole = ad.AnnData(sp.random(15, 20, 0.4, "csr", dtype="f4", random_state=rng), obs=pd.DataFrame(index=[f"{i}-{c}" for c in range(15)]), var=pd.DataFrame(index=genes))
        part = whole[:, :6].copy()
        part.X.data *= 2
        part.raw = whole
        parts.append(part)
    paths = [corpus.write(part, case.work / f"{i}.h5ad") for i, part in enumerate(parts)]
    if case.works("raws", "merge", case.work / "m.h5ad", *paths, "--x-from", "raw"):
        want = ad.concat([part.raw.to_adata() for part in parts], join="outer", fill_value=0)
        want = want[:, sorted(want.var_names)].copy()
        case.same_adata("raws", want, case.work / "m.h5ad", exact=False)


def _by_rows(adata):
    """What `--csr` means: matrices along the cells as CSR."""
    out = adata.copy()
    if sp.issparse(out.X):
        out.X = out.X.tocsr()
    for folder in (out.layers, out.obsm, out.obsp):
        for name in [name for name, value in folder.items() if sp.issparse(value)]:
            folder[name] = folder[name].tocsr()
    if out.raw is not None and sp.issparse(out.raw.X):
        raw = out.raw.to_adata()
        raw.X = raw.X.tocsr()
        out.raw = raw
    return out


def csc_comes_out_as_csr(case):
    for name in ("full.h5ad", "x_csc.h5ad", "full_v2.zarr", "rows_1.h5ad"):
        adata = corpus.read(case.corpus / name)
        _writes(case, f"{name} --csr", _by_rows(adata), case.corpus / name, "--csr")
        for options in (("--shuffle", "--seed", "3"), ("--shuffle", "--seed", "3", "--block-bytes", "700"), ()):
            order = np.random.default_rng(3).permutation(adata.n_obs) if options else np.arange(adata.n_obs)
            made = case.slice(f"{name} --csr {options}", case.corpus / name, "--size", "19", "--csr", *options)
            for i, path in enumerate(made or []):
                want = _by_rows(adata[order[i * 19:(i + 1) * 19]].copy())
                case.same_adata(f"{name} --csr {options} {path.name}", want, path, exact=not options)


def large_csc_matrices_are_turned_within_the_memory_limit(case):
    """Many runs of rows, and rows of very different lengths."""
    rng = np.random.default_rng(1)
    x = sp.random(40_000, 300, 0.2, "csc", dtype="f4", random_state=rng)
    x[:100] = 1
    adata = ad.AnnData(x.tocsc(), obs=pd.DataFrame(index=[f"c{i}" for i in range(40_000)]), var=pd.DataFrame(index=[f"g{i}" for i in range(300)]))
    source = corpus.write(adata, case.work / "large.h5ad", compression="gzip")
    want = _by_rows(adata)
    made = case.slice("large", source, "--shards", "2", "--csr", "--memory-limit", "64MB")
    for i, path in enumerate(made or []):
        case.same_adata(f"large {i}", want[i * 20_000:(i + 1) * 20_000].copy(), path)
        case.check(f"large {i}", [] if corpus.read(path).X.has_sorted_indices else ["indices are not sorted"])


def _plain(adata, missing):
    """What `--plain-strings` means."""
    out = adata.copy()
    raw = out.raw.to_adata()
    _plain_frame(raw.var, missing)
    out.raw = raw
    for frame in (out.obs, out.var, *[v for m in (out.obsm, out.varm) for v in m.values() if isinstance(v, pd.DataFrame)]):
        _plain_frame(frame, missing)
    for name, value in out.uns.items():
        if isinstance(value, pd.DataFrame):
            _plain_frame(value, missing)
        elif isinstance(getattr(value, "dtype", None), pd.StringDtype):
            out.uns[name] = pd.Series(value).astype(object).fillna(missing).to_numpy()
    return out


def _plain_frame(frame, missing):
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.StringDtype):
            frame[name] = column.astype(object).fillna(missing)
        elif isinstance(column.dtype, pd.CategoricalDtype) and isinstance(column.cat.categories.dtype, pd.StringDtype):
            frame[name] = column.cat.rename_categories(column.cat.categories.astype(object))
    if isinstance(frame.index.dtype, pd.StringDtype):
        frame.index = frame.index.astype(object)


def _with_masks(case, name="masks.h5ad"):
    """Text with masks wherever text may be."""
    adata = objects.full()
    adata.var["missing_text"] = pd.array(objects.pick(["s", None, "é"], adata.n_vars), dtype="string")
    adata.var["whole_text"] = pd.array(objects.pick(["s", "é"], adata.n_vars), dtype="string")
    adata.obsm["frame"]["t"] = pd.array(objects.pick(["a", None], adata.n_obs), dtype="string")
    adata.uns["text"] = pd.array(["a", None, "ö"], dtype="string")
    adata.uns["text_frame"] = pd.DataFrame({"t": pd.array(["a", None], dtype="string")}, index=["x", "y"])
    source = corpus.write(adata, case.work / name)
    if name.endswith(".h5ad"):
        with h5py.File(source, "r+") as file:  # as pandas 3 makes it
            for path in ("obs", "var", "raw/var", "obsm/frame", "obsm/frame_0", "varm/frame"):
                frame = file[path]
                index = frame.attrs["_index"]
                names = frame[index][()]
                del frame[index]
                group = frame.create_group(index)
                group.attrs.update({"encoding-type": "nullable-string-array", "encoding-version": "0.1.0", "na-value": "NA"})
                group.create_dataset("values", data=names).attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
                group.create_dataset("mask", data=np.zeros(len(names), bool)).attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    return source


def _masked(node, path=""):
    """The paths of nullable string arrays in a tree."""
    found = [path] if node.encoding == "nullable-string-array" else []
    return found + [p for name, child in node.children.items() for p in _masked(child, f"{path}/{name}")]


def strings_come_out_plain(case):
    for name in ("masks.h5ad", "masks.zarr"):
        source = _with_masks(case, name)
        adata = corpus.read(source)
        for missing in ("", "fehlt ö"):
            options = ("--plain-strings", "--missing-as", missing)
            _write_all(case, f"{name} {missing!r}", _plain(adata, missing), source, *options)
            for path in (case.work / "f.h5ad", case.work / "f.zarr", case.work / "m.h5ad"):
                case.check(f"{name} {path.name}", [f"{p} has a mask" for p in _masked(trees.load(path))])
        shuffled = case.slice(f"{name} shuffled", source, "--size", "19", "--shuffle", "--seed", "2", *options)
        order = np.random.default_rng(2).permutation(adata.n_obs)
        for i, path in enumerate(shuffled or []):
            case.same_adata(f"{name} shuffled", _plain(adata[order[i * 19:(i + 1) * 19]].copy(), missing), path, exact=False)


def missing_strings_are_refused_by_name(case):
    source = _with_masks(case)
    for command in (("slice", source, case.work / "s"), ("merge", case.work / "m.h5ad", source), ("filter", source, case.work / "f.h5ad", "--where", "u1 >= 0")):
        dropped = []
        for name, count in (("obs/missing_text", 18), ("obsm/frame/t", 26), ("uns/text", 1), ("uns/text_frame/t", 1), ("var/missing_text", 6)):
            done = case.run(*command, "--plain-strings", *(["--drop", *dropped] if dropped else []))
            told = f"'{name}'" in done.stderr and f"{count} missing value" in done.stderr and "--missing-as" in done.stderr
            case.check(f"{command[0]} {name}", [] if told and done.returncode == 1 else [done.stderr])
            dropped.append(name)
        case.works(command[0], *command, "--plain-strings", "--drop", *dropped)


def strings_that_become_missing_are_refused(case):
    """By merge, where an input has no such column, and where categories become text."""
    first, second = objects.small(8), objects.small(9, seed=6)
    second.obs_names = [f"o{i}" for i in range(9)]
    del second.obs["text"]
    second.var["new"] = pd.array(objects.pick(["a", "b"], second.n_vars))
    second.var_names = [f"{name}x" for name in second.var_names]
    paths = [corpus.write(adata, case.work / f"{i}.h5ad") for i, adata in enumerate((first, second))]
    out = case.work / "m.h5ad"
    done = case.run("merge", out, *paths, "--plain-strings")
    case.check("refused", [] if done.returncode == 1 and "missing values" in done.stderr and "--missing-as" in done.stderr else [done.stderr])
    if case.works("filled", "merge", out, *paths, "--plain-strings", "--missing-as", "none"):
        case.check("filled", [f"{p} has a mask" for p in _masked(trees.load(out))])
        got = corpus.read(out)
        text = list(first.obs["text"]) + ["none"] * 9
        case.check("filled", [] if list(got.obs["text"]) == text else [str(list(got.obs["text"]))])
        case.check("filled", [] if set(got.var["new"]) == {"none", "a", "b"} else [str(set(got.var["new"]))])
    source, options = case.corpus / "full.h5ad", ("--max-categories", "2", "--plain-strings")
    drop = ["obs/missing_text"]
    done = case.run("slice", source, case.work / "s", *options, "--drop", *drop)
    case.check("demoted", [] if done.returncode == 1 and "'obs/cat" in done.stderr else [done.stderr])
    made = case.slice("demoted", source, "--size", "100", *options, "--missing-as", "none", "--drop", *drop)
    for path in made or []:
        case.check("demoted", [f"{p} has a mask" for p in _masked(trees.load(path))])
        want = corpus.read(source).obs["cat"].astype(object).fillna("none")
        case.check("demoted", [] if list(corpus.read(path).obs["cat"]) == list(want) else ["other values"])


def an_external_link_is_read_where_it_leads(case):
    """The file has a column of its own by the path that the linked one has in its file."""
    folder = case.folder("linked")
    ad.settings.allow_write_nullable_strings = True
    for name, words in (("a", ["wrong", "wrong"]), ("b", ["right", None])):
        obs = pd.DataFrame({"donor": pd.array(words, dtype="string")}, index=["c1", "c2"])
        ad.AnnData(np.ones((2, 2), "f4"), obs=obs).write_h5ad(folder / f"{name}.h5ad", convert_strings_to_categoricals=False)
    with h5py.File(folder / "a.h5ad", "r+") as file:
        file["obs/who"] = h5py.ExternalLink("b.h5ad", "/obs/donor")
        file["obs"].attrs["column-order"] = ["donor", "who"]
    for options in ((), ("--plain-strings", "--missing-as", "none")):
        if case.works(" ".join(options), "slice", folder / "a.h5ad", folder / "s", *options):
            got = ad.read_h5ad(folder / "s_shard_0.h5ad").obs["who"].tolist()
            want = ["right", "none" if options else "nan"]
            got = ["nan" if pd.isna(value) else value for value in got]
            case.check(" ".join(options), [] if got == want else [str(got)])
