"""Joining files along the cells."""

from __future__ import annotations

from collections.abc import Iterable

from ._typed import Option, StrPath, typed_part

_RENAMED = {"jobs": "n_jobs", "verify": "validate"}


def merge_out_of_core(
    input_files: Iterable[StrPath],
    output_file: StrPath,
    join: str = "outer",
    validate: bool = False,
    *,
    uns_merge: str | None = None,
    var_merge: str | None = None,
    pairwise: bool = False,
    fill_value: float | None = None,
    natural_sort: bool = False,
    label: str | None = None,
    keys: Iterable[str] | None = None,
    index_unique: str | None = None,
    compression: str | None = None,
    max_categories: int | None = None,
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
    n_jobs: int | None = None,
    memory_limit: int | float | str | None = None,
    chunk_cells: int | None = None,
    zarr_format: int | None = None,
    zarr_shard_size: int | str | None = None,
    part: tuple[int, int] | str | None = None,
    finish: bool = False,
    virtual: bool = False,
    manifest: StrPath | None = None,
    overwrite: bool = True,
    follow_external: bool = False,
    progress: bool | None = None,
) -> None:
    """Joins files along the cells into one, whose name ends in .h5ad or .zarr.

    `join` keeps the genes of any file ("outer") or those of every file ("inner"). With `validate` the output is read
    back from the disk and compared with what was meant, before it takes its place.

    `part=(3, 8)` writes the third of eight parts of the matrices of a Zarr store, as one task of many; once all are
    done, the same call with `finish=True` writes the rest and puts the store in its place.

    With `virtual` the matrices stay in the inputs, and the output refers to them.

    Raises AnnslicerError, also as ValueError, OSError, FileNotFoundError, MemoryError or, of `validate`, RuntimeError.
    """
    options: dict[str, Option] = {
        "join": join,
        "verify": validate,
        "uns_merge": uns_merge,
        "var_merge": var_merge,
        "pairwise": pairwise,
        "fill_value": fill_value,
        "natural_sort": natural_sort,
        "label": label,
        "keys": keys,
        "index_unique": index_unique,
        "compression": compression,
        "max_categories": max_categories,
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
        "jobs": n_jobs,
        "memory_limit": memory_limit,
        "chunk_cells": chunk_cells,
        "zarr_format": zarr_format,
        "zarr_shard_size": zarr_shard_size,
        "part": typed_part(part),
        "finish": finish,
        "virtual": virtual,
        "manifest": manifest,
        "overwrite": overwrite,
        "follow_external": follow_external,
    }
    from ._run import execute  # late: it takes longest to import

    execute("merge", [output_file, *input_files], options, progress=progress, renamed=_RENAMED)
