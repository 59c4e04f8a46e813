"""Proofs about `merge`, first half: putting the shards of a file together gives the file."""

import shutil

import h5py
import numpy as np

import corpus
import take
import trees
from slicing import TINY

SIZE = 19
NOT_MERGED = ("unknown_nodes",)  # their warnings are checked apart


def expected(tree):
    """What merge carries of `tree`, in the form it writes: no obsp, CSC as CSR."""
    out = trees.without(tree, "obsp")
    for name in ("X", "raw", "layers", "obsm"):
        if name in out.children:
            out.children[name] = trees.rewrite(out.children[name], as_csr)
    return out


def as_csr(node):
    if node.encoding != "csc_matrix":
        return node
    indptr, indices, data = (node.children[name] for name in ("indptr", "indices", "data"))
    column = np.repeat(np.arange(len(indptr.values) - 1), np.diff(indptr.values.astype("i8")))
    order = np.lexsort((column, indices.values))
    counts = np.bincount(indices.values.astype("i8"), minlength=node.attrs["shape"][0])
    children = {"indptr": indptr.with_(values=np.concatenate([[0], np.cumsum(counts)]).astype(indptr.values.dtype)),
                "indices": indices.with_(values=column[order].astype(indices.values.dtype)), "data": data.with_(values=data.values[order])}
    return node.with_(attrs={**node.attrs, "encoding-type": "csr_matrix"}, children=children)


def written(path):
    """The tree of what merge wrote; an obsp without entries is as good as none."""
    tree = trees.load(path)
    return tree if "obsp" in tree.children and tree["obsp"].children else trees.without(tree, "obsp")


def _same(case, label, want, path):
    case.check(label, trees.diff(trees.rewrite(want, wide), trees.rewrite(written(path), wide)))


def wide(node):
    """Offsets and codes at one width: a merge chooses the width that its result needs."""
    node = trees.wide_offsets(node)
    if node.encoding == "categorical":
        codes = node.children["codes"]
        return node.with_(children={**node.children, "codes": codes.with_(dtype="i8", values=codes.values.astype("i8"))})
    return node


def _round_trip(case, source, output, *options, sliced=()):
    """What `merge` makes of what `slice` makes of `source`; `sliced` are options of the latter."""
    label = " ".join([source.name, *options, "->", output])
    if trees.load(source)["obs"].children and (shards := case.slice(label, source, "--size", SIZE, *sliced)):
        merged = case.folder("merged") / output
        if not case.works(label, "merge", merged, *shards, *options):
            return
        whole = expected(trees.load(source))
        if output.endswith(".zarr") and "uns/rec" in case.stderr:
            whole = trees.without(whole, "uns/rec")
        _same(case, label, whole, merged)
        if "obsp" in trees.load(source).children and trees.load(source)["obsp"].children and "obsp" not in case.stderr:
            case.check(label, ["obsp is dropped without a word"])
        if source.stem not in corpus.NOT_ANNDATA:
            try:
                corpus.read(merged)
            except Exception as error:  # whatever makes anndata refuse the file is the finding
                case.check(label, [f"anndata cannot read it: {error!r}"[:400]])


def _all(case, sources, output, *options, sliced=()):
    for source in sources:
        if source.stem not in NOT_MERGED and not source.stem.startswith("rows_0"):
            _round_trip(case, source, output, *options, sliced=sliced)


def merge_undoes_slice(case):
    _all(case, [p for p in corpus.h5ad(case.corpus) if not p.stem.startswith("hdf5_")], "m.h5ad")


def merge_undoes_slice_of_zarr(case):
    _all(case, corpus.zarrs(case.corpus), "m.h5ad")


def merge_undoes_slice_into_zarr(case):
    chosen = ("full", "x_csc", "x_dense_f4", "x_none", "x_bool", "genes_0", "rows_1", "bare", "int_names", "index_column", "codes", "text_storage", "never_written")
    _all(case, [case.corpus / f"{name}.h5ad" for name in chosen], "m.zarr")
    _all(case, [case.corpus / f"{name}.zarr" for name in ("full_v2", "full_v3_sharded")], "m.zarr")


def merge_undoes_slice_in_tiny_blocks(case):
    chosen = [case.corpus / name for name in ("full.h5ad", "x_csc.h5ad", "hdf5_gzip.h5ad", "full_v3_sharded.zarr")]
    for output in ("m.h5ad", "m.zarr"):
        _all(case, chosen, output, "--jobs", "4", *TINY, sliced=TINY)


def merge_writes_every_compression(case):
    for option in ("gzip", "gzip:9", "lzf"):
        _all(case, [case.corpus / "full.h5ad", case.corpus / "x_dense_f4.h5ad"], "m.h5ad", "--compression", option)


def merge_of_every_hdf5_storage(case):
    """Each storage as an input itself, twice over: what slice wrote is one storage only."""
    whole = expected(trees.load(case.corpus / "full.h5ad"))
    for source in [p for p in corpus.h5ad(case.corpus) if p.stem.startswith("hdf5_")]:
        merged = case.folder("merged") / "m.h5ad"
        if case.works(source.name, "merge", merged, source):
            got = trees.without(written(merged), "uns/kept_pca", "uns/kept_layer", "uns/kept_column")
            case.check(source.name, trees.diff(trees.rewrite(whole, wide), trees.rewrite(got, wide)))


def merge_of_one_and_of_nothing(case):
    """One input is itself; shards of no rows, and an input between others, add nothing."""
    for names in (["full"], ["rows_0", "full"], ["full", "rows_0"]):
        merged = case.folder("merged") / "m.h5ad"
        label = "+".join(names)
        if case.works(label, "merge", merged, *(case.corpus / f"{name}.h5ad" for name in names)):
            want, got = expected(trees.load(case.corpus / "full.h5ad")), written(merged)
            if len(names) > 1:  # an empty file has other values in var, raw, varm, awkward arrays and first uns
                paths = ("uns", "var", "varm", "varp", "raw", "obsm", "obs/cat_many/categories")
                want, got = trees.without(want, *paths), trees.without(got, *paths)
            case.check(label, trees.diff(trees.rewrite(want, wide), trees.rewrite(got, wide)))


def merge_names_what_it_drops(case):
    source = case.corpus / "unknown_nodes.h5ad"
    if case.works("unknown nodes", "merge", case.folder("merged") / "m.h5ad", source, source):
        case.check("unknown nodes", [f"{name!r} is dropped without a word" for name in ("obsp", "spare") if name not in case.stderr])


def merge_expands_patterns(case):
    """Patterns in lexicographic order; a name that exists wins over its reading as a pattern."""
    shards = case.slice("patterns", case.corpus / "x_int64.h5ad", "--size", "5")
    if shards is None:
        return
    merged, whole = case.folder("merged") / "m.h5ad", trees.load(case.corpus / "x_int64.h5ad")
    in_order = sorted(shards, key=str)
    rows = np.concatenate([np.arange(53)[i * 5:i * 5 + 5] for i in (shards.index(p) for p in in_order)])
    if case.works("patterns", "merge", merged, shards[0].parent / "s_shard_*.h5ad"):
        _same(case, "patterns", expected(take.take(whole, rows)), merged)
        case.check("patterns", [] if "natural" in case.stderr else ["no word of --natural-sort where shard_10 goes before shard_2"])
    if case.works("natural", "merge", merged, shards[0].parent / "s_shard_*.h5ad", "--natural-sort"):
        _same(case, "natural", expected(whole), merged)
        case.check("natural", ["a word of --natural-sort, which was given"] if "natural" in case.stderr else [])
    odd = shards[0].with_name("s_shard_[0].h5ad")
    shards[1].rename(odd)
    if case.works("as typed", "merge", merged, odd):
        _same(case, "as typed", expected(take.take(whole, np.arange(5, 10))), merged)


def attributes_of_users_are_kept(case):
    """Attributes that AnnData does not define, on every node: a cut has them all, and a merge those that its inputs agree on."""
    folder = case.folder("noted")
    source, other = (shutil.copy(case.corpus / "full.h5ad", folder / f"{name}.h5ad") for name in ("a", "b"))
    for path in (source, other):
        with h5py.File(path, "r+") as file:
            file.attrs["note"] = "of the file"
            file.visititems(lambda name, node: node.attrs.__setitem__("note", name))
    want = trees.load(source)
    for options in ((), ("--shuffle", "--seed", "1", "--compression", "gzip"), ("--max-categories", "1")):
        label = " ".join(["slice", *options])
        shards = case.slice(label, source, "--size", SIZE, "--verify", *options)
        case.check(label, _without_note(want, trees.load(shards[-1])))
        for name in ("m.h5ad", "m.zarr"):
            merged = case.folder("merged") / name
            case.works(label, "merge", merged, *shards, "--verify", *options[-2:] * ("--max-categories" in options))
            case.check(f"{label}: merge into {name}", _without_note(want, written(merged)))
            case.check(f"{label}: merge into {name}: warnings", [line for line in case.stderr.splitlines() if line.startswith("WARNING: Attribute")])
    with h5py.File(other, "r+") as file:
        file["X"].attrs["note"], file["obs"].attrs["more"], file["layers/dense_f8"].attrs["length"] = "another", 1, 2
        file["uns"].attrs["note"] = "another"
        del file["var"].attrs["note"]
    merged = case.folder("merged") / "m.h5ad"
    case.works("other notes", "merge", merged, source, other)
    told = [line for line in case.stderr.splitlines() if "not carried over: '/X@note', '/layers/dense_f8@length', '/obs@more', '/var@note'" in line or line.endswith(": '/uns@note'")]
    case.check("other notes: warnings", [] if len(told) == 2 else [case.stderr[-900:]])
    tree = written(merged)
    case.check("other notes", [f"{name}: {tree[name].attrs}" for name in ("X", "var") if "note" in tree[name].attrs] + ([] if tree["obs"].attrs["note"] == "obs" else ["obs"]))
    # Larger than the header of an object takes: what is made anew can be made for it.
    large = _large(case.corpus / "full.h5ad", folder / "large.h5ad")
    shards = case.slice("large", large, "--verify")
    with h5py.File(shards[0]) as got:
        case.check("large: slice", [name for name in ("layers", "obsm/ints") if len(got[name].attrs["large"]) != 20000])
    case.check("large: slice: warning", [] if "Attribute 'large' of '/' is left out" in case.stderr else [case.stderr[-300:]])
    case.works("large: merge", "merge", merged, large, "--verify")
    case.check("large: merge: warning", [] if "Attribute 'large' of 'layers' is left out" in case.stderr else [case.stderr[-300:]])
    with h5py.File(merged) as got:
        case.check("large: merge", [] if len(got["obsm/ints"].attrs["large"]) == 20000 else ["obsm/ints"])


def _large(source, path):
    with h5py.File(source) as of, h5py.File(path, "w", libver="latest") as file:
        for name in of:
            if name != "layers":
                of.copy(name, file)
        folders = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
        folders.set_attr_phase_change(0, 0)
        for node, made in ((of, file), (of["layers"], h5py.Group(h5py.h5g.create(file.id, b"layers", gcpl=folders))), (of["obsm/ints"], None)):
            if made is None:
                del file["obsm/ints"]
                made = file.create_dataset("obsm/ints", data=node[...])
            elif node.name == "/layers":
                for name in node:
                    node.copy(name, made)
            for name, value in node.attrs.items():
                made.attrs[name] = value
            made.attrs["large"] = np.arange(20000)
    return path


def _without_note(want, got, path=""):
    """The nodes of `got` without the note that the node in `want` has; kinds of elements may be others."""
    out = [] if got.attrs.get("note") == want.attrs["note"] else [f"{path or '/'}: {got.attrs.get('note')!r}, want {want.attrs['note']!r}"]
    return out + [line for name, node in got.children.items() if name in want.children for line in _without_note(want.children[name], node, f"{path}/{name}")]
