"""What runs and checks tell, imported with the first of them."""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False  # that of typing, whose import takes longer than all else here
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


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
