"""What a run that fails raises: always an AnnslicerError, which is a built-in exception too where one fits."""

from __future__ import annotations

TYPE_CHECKING = False  # that of typing, whose import takes longer than all else here
if TYPE_CHECKING:
    from typing import Any


class AnnslicerError(Exception):
    """A run that failed. Its text is the line that the program ends with.

    `kind` says what kind of failure it is (docs/python.md lists them), `file` and `element` what it is about, as
    "a.h5ad" and "layers/counts", where the program knows.
    """

    def __init__(self, message: str, kind: str = "failed", file: str | None = None, element: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.file = file
        self.element = element

    def __str__(self) -> str:
        return self.message  # KeyError and OSError have forms of their own

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.kind, self.file, self.element)


class BadValueError(AnnslicerError, ValueError):
    """An argument is wrong, or does not go with what a file holds."""


class NoKeyError(AnnslicerError, KeyError):
    """A file has no column, category or cell of a name that was given."""


class NoFileError(AnnslicerError, FileNotFoundError):
    """A file or folder is not there."""


class ReadWriteError(AnnslicerError, OSError):
    """The system refused to read or write, or a file is damaged."""


class NoMemoryError(AnnslicerError, MemoryError):
    """There is not enough memory."""


class VerifyError(AnnslicerError, RuntimeError):
    """An output, read back, is not what was meant."""


_TYPES: dict[str, type[AnnslicerError]] = {
    "usage": BadValueError,
    "value": BadValueError,
    "key": NoKeyError,
    "missing": NoFileError,
    "io": ReadWriteError,
    "unreadable": ReadWriteError,
    "memory": NoMemoryError,
    "verify": VerifyError,
}


def error(message: str, kind: str, file: str | None = None, element: str | None = None) -> AnnslicerError:
    """The exception for a kind of failure; one that is not known is an AnnslicerError alone."""
    return _TYPES.get(kind, AnnslicerError)(message, kind, file, element)
