"""What callers give, and as the command line has it."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # that of typing, whose import takes longer than all else here
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

StrPath: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"
Option: TypeAlias = "bool | int | float | StrPath | Iterable[int | float | StrPath] | None"


def paths(files: StrPath | Iterable[StrPath]) -> list[StrPath]:
    """The files, where one may be given alone."""
    return [files] if isinstance(files, (str, bytes, os.PathLike)) else list(files)


def typed_part(part: tuple[int, int] | str | None) -> str | None:
    """A part as typed: `3/8`."""
    return part if part is None or isinstance(part, str) else f"{part[0]}/{part[1]}"
