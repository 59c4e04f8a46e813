"""Proofs about what outputs are: every input as every container is what anndata reads of the input, whatever the chunks."""

import json

import anndata as ad
import h5py
import numpy as np
import zarr

import corpus
import take
import trees
from slicing import SIZE, permutation, row_count

V2 = ("--format", "zarr")
V3 = (*V2, "--zarr-format", "3")
SHARDED = (*V3, "--chunk-cells", "3", "--zarr-shard-size", "2KB")
# A warning names what version 3 cannot hold.
LEFT_OUT = "is left out"


def _inputs(case):
    """Every content; how an input is stored does not reach an output."""
    return [p for p in corpus.h5ad(case.corpus) if not p.stem.startswith("hdf5_")] + [case.corpus / "full_v3_sharded.zarr"]


def _shards(case, label, source, *options):
    """The Zarr stores that `slice` makes of `source`, in order; None when it failed."""
    out = case.folder("stores") / "s"
    if not case.works(label, "slice", source, out, "--size", SIZE, *options):
        return None
    made = sorted(out.parent.iterdir(), key=lambda path: int(path.stem.rpartition("_")[2]))
    want = [f"s_shard_{i}.zarr" for i in range(len(made))]
    case.check(label, [] if [p.name for p in made] == want else [f"made {[p.name for p in made]}, want {want}"])
    return made


def _rows_are(case, source, order, *options):
    label = " ".join([source.name, *options])
    whole = trees.load(source)
    n = row_count(whole)
    rows = order(n)
    made = _shards(case, label, source, *options)
    if made is None:
        return
    left_out = [line.split("'")[1] for line in case.stderr.splitlines() if LEFT_OUT in line]
    changes = [trees.columns_sorted] if "--shuffle" in options else []
    adata = corpus.read_input(source) if source.stem not in corpus.NOT_ANNDATA else None
    for i, path in enumerate(made):
        part = rows[i * SIZE:(i + 1) * SIZE]
        want = trees.without(take.take(whole, part), *left_out)
        case.same_tree(f"{label}: {path.name}", want, path, *changes)
        if adata is not None and not left_out and path == made[-1]:
            case.same_adata(f"{label}: {path.name}", adata[part].copy(), path, exact="--shuffle" not in options)


def zarr_is_any_input(case):
    """The containers take turns: every fourth input goes into one of them, and by another scenario the fullest into all."""
    containers = (V2, V3, SHARDED)
    for i, source in enumerate(list(_inputs(case))[::4]):
        _rows_are(case, source, np.arange, *containers[i % len(containers)])


def what_zarr_cannot_hold_is_left_out(case):
    """Bytes that HDF5 gives no meaning have no type in Zarr; all else of the file comes through."""
    for container in (V2, V3):
        _rows_are(case, case.corpus / "bytes.h5ad", np.arange, *container)
        case.check(container[-1], [] if f"'uns/bytes' {LEFT_OUT}" in case.stderr else [case.stderr[-300:]])


def a_shuffle_is_the_same_in_every_container(case):
    for options in (V2, V3, SHARDED):
        _rows_are(case, case.corpus / "full.h5ad", permutation(3), *options, "--shuffle", "--seed", "3", "--block-bytes", "700")


def every_compression_holds_the_same(case):
    """zstd is blosc's where bytes are shuffled, in integers, and plain elsewhere."""
    source = case.corpus / "full.h5ad"
    for compression in ("zstd", "zstd:1", "zstd:22", "lz4", "gzip:6", "none"):
        for options in (V2, SHARDED):
            _rows_are(case, source, np.arange, *options, "--compression", compression)
    made = _shards(case, "zstd", source, *V3, "--compression", "zstd")
    store = zarr.open_group(made[0], mode="r")
    named = {path: store[path].compressors[0].to_dict() for path in ("X/indices", "X/data")}
    shuffled = named["X/indices"]["configuration"]
    case.check("indices", [] if (shuffled["cname"], shuffled["shuffle"]) == ("zstd", "shuffle") else [str(named)])
    case.check("data", [] if named["X/data"]["name"] == "zstd" else [str(named)])


def chunks_hold_cells(case):
    """Chunks of a matrix hold as many cells as asked, Zarr shards a whole number of chunks; .h5ad files have chunks too."""
    source = case.corpus / "full.h5ad"
    made = _shards(case, "chunks", source, *SHARDED)
    adata = corpus.read_input(source)
    store = zarr.open_group(made[0], mode="r")
    for path in ("layers/dense_f8", "obsm/X_pca"):
        case.check(path, [] if store[path].chunks[0] == 3 else [f"chunks {store[path].chunks}"])
    mean = adata.X[:SIZE].nnz / SIZE
    for path in ("X/data", "X/indices"):
        array = store[path]
        case.check(path, [] if array.chunks[0] == int(3 * mean) else [f"chunks {array.chunks}, want {int(3 * mean)}"])
        shards = array.shards
        case.check(path, [] if shards is None or shards[0] % array.chunks[0] == 0 else [f"Zarr shards {shards}"])
    consolidated = json.loads((made[0] / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    nodes = {str(p.parent.relative_to(made[0])) for p in made[0].rglob("zarr.json")} - {"."}
    case.check("consolidated", [] if set(consolidated) == nodes else [f"{set(consolidated) ^ nodes}"])
    for options in ((), ("--compression", "gzip")):
        path = case.slice("h5ad", source, "--chunk-cells", "3", *options)[0]
        with h5py.File(path) as file:
            chunks = file["layers/dense_f8"].chunks
            case.check("h5ad", [] if chunks[0] == 3 else [f"chunks {chunks}"])
        case.same_adata("h5ad", adata, path)


def _collection(case, label, order, *options):
    source, out = case.corpus / "full.h5ad", case.folder("c") / "c"
    if not case.works(label, "slice", source, out, "--format", "annbatch", "--size", SIZE, "--verify", "--manifest", case.work / "m.json", *options):
        return
    store = zarr.open_group(f"{out}.zarr", mode="r")
    marks = {"encoding-type": "annbatch-preshuffled", "encoding-version": "0.1.0"}
    case.check(label, [] if dict(store.attrs) == marks else [f"attributes {dict(store.attrs)}"])
    adata = corpus.read_input(source)
    n = adata.n_obs
    rows = order(n)
    parts = [rows[i:i + SIZE] for i in range(0, n, SIZE)]
    datasets = [f"dataset_{i}" for i in range(len(parts))]
    case.check(label, [] if sorted(store.keys()) == datasets else [f"{sorted(store.keys())}"])
    for name, part in zip(datasets, parts):
        data, indices = store[name]["X/data"], store[name]["X/indices"]
        chunk = min(int(64 * data.shape[0] / len(part)), data.shape[0])
        case.check(f"{label}: {name}", [] if indices.dtype == np.uint8 else [f"indices of {indices.dtype}"])
        case.check(f"{label}: {name}", [] if data.chunks[0] == chunk else [f"chunks {data.chunks}, want {chunk}"])
        got, want = ad.io.read_elem(store[name]), adata[part].copy()
        case.check(f"{label}: {name}", [] if (got.X != want.X).nnz == 0 and got.obs.equals(want.obs) else ["other cells"])
    told = [output["rows"] for output in json.loads((case.work / "m.json").read_text())["outputs"]]
    case.check(label, [] if told == [len(part) for part in parts] else [f"manifest: {told}"])


def a_collection_is_what_annbatch_reads(case):
    _collection(case, "in order", np.arange)
    _collection(case, "shuffled", permutation(3), "--shuffle", "--seed", "3", "--block-bytes", "700")


def the_plan_tells_the_files(case):
    """Exactly, but where only the writing tells how many elements an array has."""
    told = 0
    sources = [case.corpus / name for name in ("full.h5ad", "x_dense_f4.h5ad", "x_csc.h5ad", "rows_0.h5ad", "light_v2.zarr", "text_storage.h5ad")]
    for source in [*sources, _without_pairs(case)]:
        for options in (V2, V3, SHARDED):
            label = " ".join([source.name, *options])
            plan = case.run("slice", source, "p", "--size", SIZE, *options, "--dry-run", "--json")
            case.check(label, [plan.stderr] if plan.returncode else [])
            planned = [output["files"] for output in json.loads(plan.stdout)["outputs"]]
            made = _shards(case, label, source, *options) or []
            counted = [sum(p.is_file() for p in path.rglob("*")) for path in made]
            case.check(label, [f"{counted} files, {planned} planned"] if any(p not in (None, c) for p, c in zip(planned, counted)) else [])
            told += sum(p is not None for p in planned)
    case.check("told", [] if told > 15 else [f"{told} stores alone"])


def _without_pairs(case):
    """Every element but those whose size is seen when they are written."""
    adata = corpus.read(case.corpus / "full.h5ad")
    for name in [k for k, v in adata.layers.items() if getattr(v, "format", "csr") == "csc"]:
        del adata.layers[name]
    for name in list(adata.obsp):
        del adata.obsp[name]
    for name in [k for k, v in adata.obsm.items() if type(v).__module__.startswith("awkward")]:
        del adata.obsm[name]
    del adata.uns["scalars"]  # anndata reads complex numbers, and writes none
    return corpus.write(adata, case.work / "plain.h5ad")


def a_damaged_index_of_a_zarr_shard_is_found(case):
    made = _shards(case, "damage", case.corpus / "full.h5ad", *SHARDED)
    file = next(p for p in sorted(made[0].glob("X/data/c/*")))
    whole = file.read_bytes()
    for label, changed in (("checksum", whole[:-1] + bytes([whole[-1] ^ 1])), ("entry", whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]),
                           ("cut", whole[:-4])):
        file.write_bytes(changed)
        done = case.run("check", made[0])
        case.check(label, [] if done.returncode == 1 and "X/data" in done.stdout else [f"{done.returncode}: {done.stdout}"])
    file.write_bytes(whole)
    case.works("whole", "check", made[0])
