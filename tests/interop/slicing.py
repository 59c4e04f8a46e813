"""Proofs about `slice`: its shards are the rows of the input, on disk to the last attribute and in memory as anndata reads them."""

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import corpus
import objects
import take
import trees
from tool import digest

SIZE = 19  # does not divide the rows of the corpus, and gives several shards
TINY = ("--block-bytes", "700")  # many blocks and waves even for small files


def _contents(case):
    return [p for p in corpus.h5ad(case.corpus) if not p.stem.startswith("hdf5_")]


def _storages(case):
    return [p for p in corpus.h5ad(case.corpus) if p.stem.startswith("hdf5_")]


def _rows_are(case, source, order, size, *options):
    """The shards of `source` are the rows named by `order(n)`, `size` at a time."""
    label = " ".join([source.name, *map(str, options)])
    whole = trees.load(source)
    n = row_count(whole)
    rows = order(n)
    made = case.slice(label, source, "--size", size, *options)
    if made is None:
        return
    cuts = [rows[i:i + size] for i in range(0, n, size)]
    if len(made) != len(cuts) and n:
        case.check(label, [f"{len(made)} shards, want {len(cuts)}"])
        return
    changes = [trees.columns_sorted] if "--shuffle" in options else []
    adata = corpus.read_input(source) if source.stem not in corpus.NOT_ANNDATA else None
    for part, path in zip(cuts, made):
        case.same_tree(f"{label}: {path.name}", take.take(whole, part), path, *changes)
        if adata is not None and path == made[-1]:
            case.same_adata(f"{label}: {path.name}", adata[part].copy(), path, exact="--shuffle" not in options)


def row_count(tree):
    return len(tree["obs"][tree["obs"].attrs["_index"]].values)


def permutation(seed):
    return lambda n: np.random.default_rng(seed).permutation(n)


def _all(case, sources, *options, order=np.arange):
    for source in sources:
        _rows_are(case, source, order, SIZE, *options)


def slice_equals_rows(case):
    _all(case, _contents(case))


def slice_equals_rows_of_every_hdf5_storage(case):
    _all(case, _storages(case))


def slice_equals_rows_of_zarr(case):
    _all(case, corpus.zarrs(case.corpus))


def slice_equals_rows_in_tiny_blocks(case):
    tried = [case.corpus / f"{name}.h5ad" for name in ("full", "x_csc", "x_dense_f4", "hdf5_gzip", "hdf5_tiny_chunks", "never_written")]
    _all(case, tried + [case.corpus / "full_v3_sharded.zarr"], *TINY)
    _all(case, tried + [case.corpus / "full_v3_sharded.zarr"], "--shuffle", "--seed", "3", *TINY, order=permutation(3))


def slice_writes_every_compression(case):
    for option in ("gzip", "gzip:1", "gzip:9", "lzf"):
        _all(case, [case.corpus / f"{name}.h5ad" for name in ("full", "x_dense_f4", "rows_1")], "--compression", option)


def slice_sizes(case):
    for size in (1, 2, objects.ROWS - 1, objects.ROWS, 10_000):
        for name in ("x_csc", "x_int64", "x_dense_i8"):
            _rows_are(case, case.corpus / f"{name}.h5ad", np.arange, size)


def shuffle_equals_permutation(case):
    _all(case, _contents(case), "--shuffle", "--seed", "0", order=permutation(0))


def shuffle_equals_permutation_of_every_hdf5_storage(case):
    _all(case, _storages(case), "--shuffle", "--seed", "42", order=permutation(42))


def shuffle_equals_permutation_of_zarr(case):
    _all(case, corpus.zarrs(case.corpus), "--shuffle", "--seed", "7", order=permutation(7))


def shuffle_takes_the_seeds_of_numpy(case):
    for seed in (1, 2**32, 2**64 + 5, 2**128 + 12345, 2**200 + 1):
        _rows_are(case, case.corpus / "x_int64.h5ad", permutation(seed), SIZE, "--shuffle", "--seed", str(seed))


def shuffle_is_the_same_whatever_the_resources(case):
    for name in ("full.h5ad", "hdf5_gzip.h5ad", "hdf5_lzf.h5ad", "x_csc.h5ad", "full_v3_sharded.zarr", "full_v2.zarr"):
        for options in ((), ("--shuffle", "--seed", "9")):
            source, first = case.corpus / name, None
            for jobs, memory, blocks in (("1", "2GiB", ()), ("4", "256MiB", ()), ("4", "256MiB", TINY), ("1", "256MiB", ("--block-bytes", "64"))):
                label = f"{name} {' '.join(options)} --jobs {jobs} --memory-limit {memory} {' '.join(blocks)}"
                made = case.slice(label, source, "--size", "11", *options, "--jobs", jobs, "--memory-limit", memory, "--tmpdir", case.folder("tmp"), *blocks)
                if made is None:
                    continue
                found = [trees.load(path) for path in made]
                first = first or found
                case.check(label, [line for a, b in zip(first, found, strict=True) for line in trees.diff(a, b)])
                case.check(label, [f"left {p.name} in the scratch folder" for p in (case.work / "tmp").iterdir()])


def the_same_values_make_the_same_files(case):
    """Whatever the number of threads and the order in which they end: who keeps checksums of outputs can compare them."""
    folder = case.folder("inputs")
    rng = np.random.default_rng(0)
    for name, genes in (("a", rng.permutation(400)), ("b", rng.permutation(400))):
        x = sp.random(6000, 400, 0.3, "csr", dtype="f4", random_state=rng)
        adata = ad.AnnData(x, obs=pd.DataFrame(index=[f"{name}{i}" for i in range(6000)]), var=pd.DataFrame(index=[f"g{i}" for i in genes]))
        adata.obsm["X_pca"] = rng.random((6000, 50))
        adata.write_h5ad(folder / f"{name}.h5ad")
        adata.write_h5ad(folder / f"{name}z.h5ad", compression="gzip")
    a, az, b, bz = (folder / f"{name}.h5ad" for name in ("a", "az", "b", "bz"))
    jobs = {
        "gzip": ("slice", az, "{out}/s", "--size", "4000", "--compression", "gzip"),
        "shuffle": ("slice", a, "{out}/s", "--size", "4000", "--shuffle", "--seed", "1", "--compression", "gzip"),
        "merge": ("merge", "{out}/m.h5ad", az, bz, "--compression", "gzip"),
        "merge of plain files": ("merge", "{out}/m.h5ad", a, b, "--compression", "gzip"),
        "merge to zarr": ("merge", "{out}/m.zarr", a, b),
    }
    for label, args in jobs.items():
        found = set()
        for threads in ("1", "2", "3", "8", "8"):
            out = case.folder("out")
            if case.works(f"{label} --jobs {threads}", *(str(arg).format(out=out) for arg in args), "--jobs", threads):
                found.add(tuple(digest(path) for path in sorted(out.iterdir())))
        case.check(label, [f"{len(found)} different outputs"] if len(found) != 1 else [])


def slice_replaces_older_shards(case):
    made = case.slice("first", case.corpus / "x_int64.h5ad", "--size", "30")
    if made is None:
        return
    made[0].write_bytes(b"an older file")
    if case.works("again", "slice", case.corpus / "x_int64.h5ad", made[0].parent / "s", "--size", "30"):
        case.same_tree("again", take.take(trees.load(case.corpus / "x_int64.h5ad"), np.arange(30)), made[0])


def slice_carries_what_it_does_not_know(case):
    """A node at the root that no AnnData has, and attributes of someone's own."""
    made = case.slice("unknown nodes", case.corpus / "unknown_nodes.h5ad", "--size", "1000")
    for path in made or []:
        case.same_tree("unknown nodes", trees.load(case.corpus / "unknown_nodes.h5ad"), path)


def chunks_that_lzf_cannot_shrink(case):
    """The last chunk of an array whose length is not known before, nearly full, of values without a pattern."""
    rng = np.random.default_rng(0)
    cells = 300
    obs = pd.DataFrame(index=[f"c{i}" for i in range(cells)])
    for part in (0.95, 0.97, 0.985, 0.995):
        nnz = int(32768 * part)
        places = np.sort(rng.choice(cells * cells, nnz, replace=False))
        distances = sp.csr_matrix((rng.random(nnz), (places // cells, places % cells)), shape=(cells, cells))
        adata = ad.AnnData(sp.csr_matrix((cells, 2), dtype="f4"), obs=obs, obsp={"distances": distances})
        source = case.work / f"{part}.h5ad"
        adata.write_h5ad(source)
        out = case.folder("lzf") / "s"
        if case.works(f"{part}", "slice", source, out, "--compression", "lzf"):
            got = ad.read_h5ad(out.parent / "s_shard_0.h5ad").obsp["distances"]
            case.check(f"{part}", [] if (got != distances).nnz == 0 else ["values differ"])
