"""How far a run is: a bar of tqdm where there is someone to see it, else a log line now and then."""

from __future__ import annotations

import logging
import sys
import time
import warnings

TYPE_CHECKING = False  # that of typing, whose import takes longer than all else here
if TYPE_CHECKING:
    from typing import Any

logger = logging.getLogger("annslicer")

LOG_INTERVAL = 30.0
"""Seconds between log lines, where there is no bar."""


def _tqdm(wanted: bool | None) -> Any:
    """The class of bars, or None: none are wanted, nobody sees them, or tqdm is not installed."""
    seen = sys.stderr is not None and (sys.stderr.isatty() or "ipykernel" in sys.modules)
    if wanted is False or not (wanted or seen):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a notebook has no widgets, so that the bar is text
            from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm


class Progress:
    """Shows the progress events of one run. `wanted`: a bar, none, or where it is seen (None)."""

    def __init__(self, wanted: bool | None) -> None:
        self._wanted = wanted
        self._tqdm: Any = None
        self._looked = False
        self._bar: Any = None
        self._told = time.monotonic()

    def show(self, event: dict[str, Any]) -> None:
        if not self._looked:
            self._tqdm, self._looked = _tqdm(self._wanted), True
        if self._tqdm is not None:
            self._draw(event["what"], event["done"], event["total"])
        elif time.monotonic() - self._told >= LOG_INTERVAL:
            self._told = time.monotonic()
            logger.info("%s", event["message"])

    def _draw(self, what: str, done: int, total: int) -> None:
        if self._bar is None or self._bar.desc != what:
            self.close()
            self._bar = self._tqdm(desc=what, total=total, unit=" rows", unit_scale=True, leave=False)
            self._bar.desc = what
        self._bar.total = total
        if done > self._bar.n:  # threads may tell out of order
            self._bar.update(done - self._bar.n)

    def log(self, level: int, message: str) -> None:
        """Logs a message, above the bar."""
        if self._bar is not None:
            self._bar.clear()
        logger.log(level, "%s", message)
        if self._bar is not None:
            self._bar.refresh()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
