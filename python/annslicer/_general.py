"""Every command of the program, by one function, and what `info` and `check` tell."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._run import Option, StrPath, execute


@dataclass(frozen=True)
class Result:
    """What a run did."""

    outputs: list[Path]
    """What it wrote, in order, without the manifest."""
    manifest: dict[str, Any] | None
    """What the file of `manifest=` says, where one was asked for that is no table."""
    warnings: list[str]
    """The warnings, which are log records too."""
    text: str
    """What the program printed, as with `dry_run=True`."""


@dataclass(frozen=True)
class Finding:
    """One thing that `check` found."""

    element: str
    """The path of the element; empty for the root."""
    level: str
    """`error` or `note`."""
    what: str


@dataclass(frozen=True)
class Report:
    """What `check` found in a file. It is true where the file is sound."""

    path: str
    sound: bool
    findings: list[Finding]

    def __bool__(self) -> bool:
        return self.sound


def run(command: str, *paths: StrPath, progress: bool | None = None, **options: Option) -> Result:
    """Runs `annslicer COMMAND PATHS --OPTIONS`.

    An option is written with underscores: `max_bytes="2GB"` is `--max-bytes 2GB`. True is an option without a value,
    False and None leave it out, a list gives it several values. `progress` asks for a bar or for none; by default there
    is one in terminals and notebooks, if tqdm is installed.

    Raises AnnslicerError, which is a ValueError, KeyError, OSError, FileNotFoundError or MemoryError too where such a
    one fits.
    """
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
    told: list[dict[str, Any]] = json.loads(execute("info", [path], {**options, "json": True}).text)
    return told[0]


def check(path: StrPath, **options: Option) -> Report:
    """Whether a file is sound: every element is looked at, and every value read. `annslicer check --json`."""
    found = json.loads(execute("check", [path], {**options, "json": True}, passes="unsound").text)[0]
    return Report(found["path"], found["sound"], [Finding(**finding) for finding in found["findings"]])
