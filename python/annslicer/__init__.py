"""Cuts large AnnData files (.h5ad, .zarr) into shards and merges them, out of core.

The functions run the program annslicer, which is installed with this package. They take the arguments of annslicer
0.3.0 and, by keyword, whatever else the program has. Messages are records of the logger `annslicer`.
"""

from __future__ import annotations

from ._errors import AnnslicerError
from ._general import check, info, run
from .filter import filter_h5ad
from .merge import merge_out_of_core
from .slice import shard_by_obs_column, shard_h5ad

TYPE_CHECKING = False  # that of typing, whose import takes longer than all else here
if TYPE_CHECKING:
    from ._results import Finding, Report, Result

__all__ = [
    "AnnslicerError",
    "Finding",
    "Report",
    "Result",
    "check",
    "filter_h5ad",
    "info",
    "merge_out_of_core",
    "run",
    "shard_by_obs_column",
    "shard_h5ad",
]

__version__: str


def __getattr__(name: str) -> object:
    """Looks up what takes long to import when it is asked for."""
    if name == "__version__":
        from ._find import version

        return version()
    if name in {"Finding", "Report", "Result"}:
        from . import _results

        return getattr(_results, name)
    raise AttributeError(f"module 'annslicer' has no attribute {name!r}")
