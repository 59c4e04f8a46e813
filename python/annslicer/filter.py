"""Keeping some of the cells of a file."""

from __future__ import annotations

from collections.abc import Iterable

from ._typed import Option, StrPath, paths

_RENAMED = {"jobs": "n_jobs"}


def filter_h5ad(
    input_file: StrPath | Iterable[StrPath],
    output_file: StrPath,
    obs_column: str | None = None,
    csv_file: StrPath | None = None,
    join_column: str | None = None,
    compression: str | None = None,
    *,
    where: str | None = None,
    cells: StrPath | None = None,
    missing_ok: bool = False,
    invert: bool = False,
    sample: int | float | str | None = None,
    per_value: int | None = None,
    stratify: str | None = None,
    seed: int | None = None,
    sort_by: str | Iterable[str] | None = None,
    n_jobs: int | None = None,
    memory_limit: int | float | str | None = None,
    tmpdir: StrPath | None = None,
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
    chunk_cells: int | None = None,
    zarr_format: int | None = None,
    zarr_shard_size: int | str | None = None,
    manifest: StrPath | None = None,
    overwrite: bool = True,
    follow_external: bool = False,
    progress: bool | None = None,
) -> None:
    """Writes the cells for which a column of obs is true, an expression is, or that a file names.

    Of several ways to say which cells, a cell must pass all. Of these `sample` keeps so many at random, or such a
    fraction (0.1), of each value of `stratify` alike; `per_value` so many of each value at the most. With `csv_file`
    the columns are those of a table, which are added to obs. Of several input files the cells are those of the one
    that merge would make of them.

    Raises AnnslicerError, also as KeyError, ValueError, OSError, FileNotFoundError or MemoryError.
    """
    options: dict[str, Option] = {
        "obs_column": obs_column,
        "csv_file": csv_file,
        "join_column": join_column,
        "compression": compression,
        "where": where,
        "cells": cells,
        "missing_ok": missing_ok,
        "invert": invert,
        "sample": f"{sample:.12f}" if isinstance(sample, float) else sample,
        "per_value": per_value,
        "stratify": stratify,
        "seed": seed,
        "sort_by": sort_by,
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
        "chunk_cells": chunk_cells,
        "zarr_format": zarr_format,
        "zarr_shard_size": zarr_shard_size,
        "manifest": manifest,
        "overwrite": overwrite,
        "follow_external": follow_external,
    }
    from ._run import execute  # late: it takes longest to import

    execute("filter", [*paths(input_file), output_file], options, progress=progress, renamed=_RENAMED)
