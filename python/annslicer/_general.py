"""Every command of the program, by one function, and `info` and `check`.

Functions import what they need, so that importing the package is fast.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # that of typing, whose import takes longer than all else here
if TYPE_CHECKING:
    from typing import Any

    from ._results import Report, Result
    from ._typed import Option, StrPath


def run(command: str, *paths: StrPath, progress: bool | None = None, **options: Option) -> Result:
    """Runs `annslicer COMMAND PATHS --OPTIONS`.

    An option is written with underscores: `max_bytes="2GB"` is `--max-bytes 2GB`. True is an option without a value,
    False and None leave it out, a list gives it several values. `progress` asks for a bar or for none; by default there
    is one in terminals and notebooks, if tqdm is installed.

    Raises AnnslicerError, which is a ValueError, KeyError, OSError, FileNotFoundError or MemoryError too where such a
    one fits.
    """
    import json
    from pathlib import Path

    from ._results import Result
    from ._run import execute

    outcome = execute(command, paths, options, progress=progress)
    manifest = options.get("manifest")
    told = None
    if isinstance(manifest, (str, bytes, os.PathLike)) and not options.get("dry_run"):
        manifest = os.fsdecode(manifest)
        is_table = manifest.endswith((".csv", ".tsv"))
        if not is_table and os.path.exists(manifest):  # a run that has nothing to write may write none
            told = json.loads(Path(manifest).read_bytes())
    outputs = [Path(path) for path in outcome.outputs if path != manifest]
    return Result(outputs, told, outcome.warnings, outcome.text)


def info(path: StrPath, **options: Option) -> dict[str, Any]:
    """What a file holds, from its metadata alone: `annslicer info --json`."""
    import json

    from ._run import execute

    told: list[dict[str, Any]] = json.loads(execute("info", [path], {**options, "json": True}).text)
    return told[0]


def check(path: StrPath, **options: Option) -> Report:
    """Whether a file is sound: every element is looked at, and every value read. `annslicer check --json`."""
    import json

    from ._results import Finding, Report
    from ._run import execute

    found = json.loads(execute("check", [path], {**options, "json": True}, passes="unsound").text)[0]
    return Report(found["path"], found["sound"], [Finding(**finding) for finding in found["findings"]])
