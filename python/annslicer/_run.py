"""Runs the program as a child process, and reads what it tells while it runs.

The child writes an object a line to stderr (`--error-format json`). This end of that pipe is held by the calling
process alone: when the process is killed, the child sees that nobody reads any more, and ends with its own clean-up.

It is imported when the first run begins, as it takes longer to import than all else of the package.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from numbers import Integral, Real

from ._errors import AnnslicerError, error
from ._find import program
from ._progress import Progress, logger

TYPE_CHECKING = False  # that of typing, whose import takes longer than all else here
if TYPE_CHECKING:
    from typing import IO, Any

    from ._typed import Option, StrPath

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass
class Outcome:
    """What a run did: the paths that it wrote, its warnings, and what it printed."""

    outputs: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    text: str = ""


def execute(
    command: str,
    paths: Iterable[StrPath],
    options: Mapping[str, Option],
    *,
    stdin: bytes | None = None,
    progress: bool | None = None,
    renamed: Mapping[str, str] | None = None,
    passes: str | None = None,
) -> Outcome:
    """Runs a command of the program to its end.

    `renamed` says by which names the caller knows options, and `passes` which kind of failure is an answer.
    """
    arguments = [program(), command, "--error-format=json"]
    if logger.isEnabledFor(logging.DEBUG):
        arguments.append("--debug")
    for name, value in options.items():
        arguments += _option(name, value)
    arguments += ["--", *map(os.fsdecode, paths)]
    with ExitStack() as stack:
        out = stack.enter_context(tempfile.TemporaryFile())
        given: int | IO[bytes] = subprocess.DEVNULL
        if stdin is not None:
            given = stack.enter_context(tempfile.TemporaryFile())
            given.write(stdin)
            given.seek(0)
        reader = _Reader(stack.enter_context(Progress(progress)), renamed or {})
        child = subprocess.Popen(arguments, stdin=given, stdout=out, stderr=subprocess.PIPE)
        code = _follow(child, reader)
        out.seek(0)
        reader.outcome.text = out.read().decode("utf-8", "replace")
    if code != 0:
        failure = reader.failure or error(_ended(code), "interrupted")
        if failure.kind != passes:
            raise failure
    return reader.outcome


def _option(name: str, value: Option) -> list[str]:
    """An option as typed: `--some-name=value`. False and None are left out, True is the option alone."""
    typed = "--" + name.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return []
    if value is True:
        return [typed]
    if isinstance(value, (str, bytes, os.PathLike)):
        return [f"{typed}={os.fsdecode(value)}"]
    if isinstance(value, Integral):  # of numpy too
        return [f"{typed}={int(value)}"]
    if isinstance(value, Real):
        number = float(value)
        return [f"{typed}={int(number) if number.is_integer() else number!r}"]
    if isinstance(value, Iterable):
        return [typed_one for one in value for typed_one in _option(name, one)]
    raise TypeError(f"{name} takes no {type(value).__name__}")


def _follow(child: subprocess.Popen[bytes], reader: _Reader) -> int:
    """Reads what a child tells until it has ended. An exception in between, as of Ctrl-C, ends the child first."""
    assert child.stderr is not None
    with child.stderr as lines:
        try:
            for line in lines:
                reader.read(line)
            return child.wait()
        except BaseException:
            _end(child, lines, reader)
            raise


def _end(child: subprocess.Popen[bytes], lines: IO[bytes], reader: _Reader) -> None:
    """Interrupts a child, which then removes what it has begun, and waits for it. A second Ctrl-C kills it."""
    try:
        child.send_signal(signal.SIGINT)
        for line in lines:
            reader.read(line)
        child.wait()
    except BaseException:
        child.kill()
        child.wait()
        raise
    if reader.failure is not None:
        reader.progress.log(logging.WARNING, str(reader.failure))


def _ended(code: int) -> str:
    if code >= 0:
        return f"annslicer ended with {code}, and did not say why"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"annslicer was ended by {name}, as when memory runs out"


class _Reader:
    """Passes on what the program tells."""

    def __init__(self, progress: Progress, renamed: Mapping[str, str]) -> None:
        self.progress = progress
        self.outcome = Outcome()
        self.failure: AnnslicerError | None = None
        self._renamed = renamed

    def read(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            kind, level, message = event["kind"], event["level"], self._in_python(event["message"])
        except (ValueError, TypeError, KeyError):  # a line of a library, which knows of no format
            self.progress.log(logging.WARNING, line.decode("utf-8", "replace").rstrip())
            return
        if kind == "progress":
            self.progress.show(event)
        elif kind == "output":
            self.outcome.outputs.append(_path(event))
        elif level == "error":
            self.failure = error(message, kind, event.get("file"), event.get("element"))
        else:
            if level == "warning":
                self.outcome.warnings.append(message)
            self.progress.log(_LEVELS.get(level, logging.INFO), message)

    def _in_python(self, message: str) -> str:
        """Options are arguments here: `--jobs` is `n_jobs`."""

        def name(option: re.Match[str]) -> str:
            argument = self._renamed.get(option[1], option[1].replace("-", "_"))
            return option[0] if argument == "help" else argument

        return re.sub(r"(?<![\w./-])--([a-z][a-z-]*)", name, message)


def _path(event: dict[str, Any]) -> str:
    if "file_bytes" in event:
        return os.fsdecode(bytes.fromhex(event["file_bytes"]))
    return str(event["file"])
