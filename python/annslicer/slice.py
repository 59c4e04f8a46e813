"""Cutting a file into shards."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from ._typed import Option, StrPath, paths, typed_part

_RENAMED = {"size": "shard_size", "jobs": "n_jobs", "names": "output_filenames"}
_SIZE = 10000


def _split(parts: Mapping[str, float | int | str] | str | None) -> str | None:
    """The parts of a split as typed: `train=0.8,test=0.2`."""
    if parts is None or isinstance(parts, str):
        return parts
    return ",".join(f"{name}={_share(share)}" for name, share in parts.items())


def _share(share: float | int | str) -> str:
    """A fraction in decimal notation, whatever its size."""
    return f"{share:.12f}" if isinstance(share, float) else str(share)


def shard_h5ad(
    input_file: StrPath | Iterable[StrPath],
    output_prefix: StrPath,
    output_filenames: Iterable[StrPath] | None = None,
    shard_size: int = _SIZE,
    shuffle: bool = False,
    seed: int | None = None,
    compression: str | None = None,
    n_jobs: int | None = None,
    memory_limit: int | float | str | None = None,
    tmpdir: StrPath | None = None,
    *,
    shards: int | None = None,
    max_bytes: int | str | None = None,
    pad: int | None = None,
    split: Mapping[str, float | int | str] | str | None = None,
    split_by: str | None = None,
    stratify: str | None = None,
    split_column: str | None = None,
    split_label: str | None = None,
    sort_by: str | Iterable[str] | None = None,
    csv_file: StrPath | None = None,
    join_column: str | None = None,
    max_categories: int | None = None,
    join: str | None = None,
    uns_merge: str | None = None,
    var_merge: str | None = None,
    pairwise: bool = False,
    fill_value: float | None = None,
    natural_sort: bool = False,
    label: str | None = None,
    keys: Iterable[str] | None = None,
    index_unique: str | None = None,
    genes: StrPath | None = None,
    gene_column: str | None = None,
    missing_genes: str | None = None,
    var_where: str | None = None,
    keep: Iterable[str] | None = None,
    drop: Iterable[str] | None = None,
    x_from: str | None = None,
    x_to: str | None = None,
    csr: bool = False,
    plain_strings: bool = False,
    missing_as: str | None = None,
    verify: bool = False,
    resume: bool = False,
    part: tuple[int, int] | str | None = None,
    stage: str | None = None,
    bucket_dir: StrPath | None = None,
    finish: bool = False,
    clean: bool = False,
    format: str | None = None,  # noqa: A002 - the name of the option
    chunk_cells: int | None = None,
    zarr_format: int | None = None,
    zarr_shard_size: int | str | None = None,
    manifest: StrPath | None = None,
    follow_external: bool = False,
    progress: bool | None = None,
) -> None:
    """Cuts a file into shards of so many cells, in order or shuffled; several as the one that merge would make of them.

    The shards are PREFIX_shard_0.h5ad, PREFIX_shard_1.h5ad, ..., or have the `output_filenames`, one for each. `shards`
    and `max_bytes` stand in the place of `shard_size`. A seed gives the order of `numpy.random.default_rng(seed)`.

    With `split`, as `{"train": 0.8, "test": 0.2}`, cells are dealt to parts, each with shards of its own, whole values
    of `split_by` together or each value of `stratify` alike; `split_column` is a column that tells the parts. Columns
    may be those of the table `csv_file`.

    `part=(3, 8)` writes the third of eight parts of the shards, as one task of many; once all are done, the same call
    with `finish=True` puts the shards in their places. A shuffle of a compressed file is done in two stages, each by
    all tasks: `stage="scatter"`, then `stage="gather"`.

    Raises AnnslicerError, also as ValueError, OSError, FileNotFoundError or MemoryError.
    """
    instead = shards is not None or max_bytes is not None
    names = None
    if output_filenames is not None:
        names = b"".join(os.fsencode(name) + b"\0" for name in output_filenames)
    options: dict[str, Option] = {
        "size": None if instead and shard_size == _SIZE else shard_size,
        "names": None if names is None else "-",
        "shuffle": shuffle,
        "seed": seed,
        "compression": compression,
        "jobs": n_jobs,
        "memory_limit": memory_limit,
        "tmpdir": tmpdir,
        "shards": shards,
        "max_bytes": max_bytes,
        "pad": pad,
        "split": _split(split),
        "split_by": split_by,
        "stratify": stratify,
        "split_column": split_column,
        "split_label": split_label,
        "sort_by": sort_by,
        "csv_file": csv_file,
        "join_column": join_column,
        "max_categories": max_categories,
        "join": join,
        "uns_merge": uns_merge,
        "var_merge": var_merge,
        "pairwise": pairwise,
        "fill_value": fill_value,
        "natural_sort": natural_sort,
        "label": label,
        "keys": keys,
        "index_unique": index_unique,
        "genes": genes,
        "gene_column": gene_column,
        "missing_genes": missing_genes,
        "var_where": var_where,
        "keep": keep,
        "drop": drop,
        "x_from": x_from,
        "x_to": x_to,
        "csr": csr,
        "plain_strings": plain_strings,
        "missing_as": missing_as,
        "verify": verify,
        "resume": resume,
        "part": typed_part(part),
        "stage": stage,
        "bucket_dir": bucket_dir,
        "finish": finish,
        "clean": clean,
        "format": format,
        "chunk_cells": chunk_cells,
        "zarr_format": zarr_format,
        "zarr_shard_size": zarr_shard_size,
        "manifest": manifest,
        "follow_external": follow_external,
    }
    from ._run import execute  # late: it takes longest to import

    execute("slice", [*paths(input_file), output_prefix], options, stdin=names, progress=progress, renamed=_RENAMED)


def shard_by_obs_column(
    input_file: StrPath | Iterable[StrPath],
    output_prefix: StrPath,
    obs_column: str | Iterable[str],
    csv_file: StrPath | None = None,
    join_column: str | None = None,
    always_include: Iterable[str] | None = None,
    compression: str | None = None,
    *,
    n_jobs: int | None = None,
    memory_limit: int | float | str | None = None,
    tmpdir: StrPath | None = None,
    size_within: int | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    sort_by: str | Iterable[str] | None = None,
    max_categories: int | None = None,
    join: str | None = None,
    uns_merge: str | None = None,
    var_merge: str | None = None,
    pairwise: bool = False,
    fill_value: float | None = None,
    natural_sort: bool = False,
    label: str | None = None,
    keys: Iterable[str] | None = None,
    index_unique: str | None = None,
    genes: StrPath | None = None,
    gene_column: str | None = None,
    missing_genes: str | None = None,
    var_where: str | None = None,
    keep: Iterable[str] | None = None,
    drop: Iterable[str] | None = None,
    x_from: str | None = None,
    x_to: str | None = None,
    csr: bool = False,
    plain_strings: bool = False,
    missing_as: str | None = None,
    verify: bool = False,
    resume: bool = False,
    part: tuple[int, int] | str | None = None,
    stage: str | None = None,
    bucket_dir: StrPath | None = None,
    finish: bool = False,
    format: str | None = None,  # noqa: A002 - the name of the option
    chunk_cells: int | None = None,
    zarr_format: int | None = None,
    zarr_shard_size: int | str | None = None,
    manifest: StrPath | None = None,
    follow_external: bool = False,
    progress: bool | None = None,
) -> None:
    """Cuts a file into a shard for each category of a column of obs: PREFIX_CATEGORY.h5ad.

    Of several columns, into one for each combination that occurs: PREFIX_A_B.h5ad. With `csv_file` the column is that
    of a table, which is added to obs. Cells of the categories in `always_include` go into every shard. With
    `size_within` each shard is cut into shards of so many cells, which `shuffle` deals at random:
    PREFIX_CATEGORY_shard_0.h5ad.

    Raises AnnslicerError, also as KeyError, ValueError, OSError, FileNotFoundError or MemoryError.
    """
    options: dict[str, Option] = {
        "obs_column": obs_column,
        "size_within": size_within is not None,
        "size": size_within,
        "shuffle": shuffle,
        "seed": seed,
        "sort_by": sort_by,
        "csv_file": csv_file,
        "join_column": join_column,
        "always_include": always_include,
        "compression": compression,
        "jobs": n_jobs,
        "memory_limit": memory_limit,
        "tmpdir": tmpdir,
        "max_categories": max_categories,
        "join": join,
        "uns_merge": uns_merge,
        "var_merge": var_merge,
        "pairwise": pairwise,
        "fill_value": fill_value,
        "natural_sort": natural_sort,
        "label": label,
        "keys": keys,
        "index_unique": index_unique,
        "genes": genes,
        "gene_column": gene_column,
        "missing_genes": missing_genes,
        "var_where": var_where,
        "keep": keep,
        "drop": drop,
        "x_from": x_from,
        "x_to": x_to,
        "csr": csr,
        "plain_strings": plain_strings,
        "missing_as": missing_as,
        "verify": verify,
        "resume": resume,
        "part": typed_part(part),
        "stage": stage,
        "bucket_dir": bucket_dir,
        "finish": finish,
        "format": format,
        "chunk_cells": chunk_cells,
        "zarr_format": zarr_format,
        "zarr_shard_size": zarr_shard_size,
        "manifest": manifest,
        "follow_external": follow_external,
    }
    from ._run import execute  # late: it takes longest to import

    execute("slice", [*paths(input_file), output_prefix], options, progress=progress, renamed=_RENAMED)
