"""Proofs about what outputs are: every input as every container is what anndata reads of the input, whatever the chunks."""

import numpy as np

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
    adata = corpus.read(source) if source.stem not in corpus.NOT_ANNDATA else None
    for i, path in enumerate(made):
        part = rows[i * SIZE:(i + 1) * SIZE]
        want = trees.without(take.take(whole, part), *left_out)
        case.same_tree(f"{label}: {path.name}", want, path, *changes)
        if adata is not None and not left_out and path == made[-1]:
            case.same_adata(f"{label}: {path.name}", adata[part].copy(), path, exact="--shuffle" not in options)


def zarr_2_is_every_input(case):
    for source in _inputs(case):
        _rows_are(case, source, np.arange, *V2)


def zarr_3_is_every_input(case):
    for source in _inputs(case):
        _rows_are(case, source, np.arange, *V3)


def sharded_zarr_is_every_input(case):
    for source in _inputs(case):
        _rows_are(case, source, np.arange, *SHARDED)


def a_shuffle_is_the_same_in_every_container(case):
    for options in (V2, V3, SHARDED):
        _rows_are(case, case.corpus / "full.h5ad", permutation(3), *options, "--shuffle", "--seed", "3", "--block-bytes", "700")
