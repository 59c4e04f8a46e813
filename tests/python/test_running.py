"""How runs go: messages as they come, interrupts, threads and processes, odd paths."""

import concurrent.futures
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import annslicer
from annslicer import _progress
from conftest import CELLS


def test_messages_are_records_that_come_while_it_runs(folder: Path) -> None:
    seen: list[tuple[str, str, bool]] = []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((record.levelname, record.getMessage(), (folder / "a_shard_0.h5ad").exists()))

    logger, notes = logging.getLogger("annslicer"), Notes()
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(notes)
    try:
        annslicer.shard_h5ad("pbmc.h5ad", "a", seed=1)
    finally:
        logger.removeHandler(notes)
        logger.setLevel(before)
    levels = [level for level, _, _ in seen]
    assert levels[0] == "WARNING" and "seed" in seen[0][1]
    assert seen[1] == ("INFO", f"Total cells: {CELLS}. Generating shards of 10,000...", False)
    (finished,) = [there for _, message, there in seen if message.startswith("All 1 shard ")]
    assert finished


def test_debug_messages_come_where_the_logger_wants_them(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "annslicer"):
        annslicer.shard_h5ad("pbmc.h5ad", "a")
    assert any(record.levelno == logging.DEBUG for record in caplog.records)


def test_a_bar_is_drawn_and_taken_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[Any] = []

    class Bar:
        def __init__(self, desc: str, total: int, **_: object) -> None:
            self.desc, self.total, self.n, self.closed = desc, total, 0, False
            bars.append(self)

        def update(self, rows: int) -> None:
            self.n += rows

        def close(self) -> None:
            self.closed = True

        def clear(self) -> None: ...

        refresh = clear

    monkeypatch.setattr(_progress, "_tqdm", lambda _wanted: Bar)
    annslicer.shard_h5ad("pbmc.h5ad", "a", shard_size=100)
    assert [(bar.desc, bar.total, bar.closed) for bar in bars] == [("Slicing", CELLS, True)]
    assert 0 <= bars[0].n <= CELLS


def test_tqdm_is_taken_where_it_is_installed() -> None:
    assert _progress._tqdm(True) is not None
    assert _progress._tqdm(False) is None


def test_without_a_bar_there_are_log_lines(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_progress, "LOG_INTERVAL", 0.0)
    with caplog.at_level(logging.INFO, "annslicer"):
        annslicer.shard_h5ad("pbmc.h5ad", "a", progress=False)
    assert any(record.getMessage().startswith("Slicing: ") for record in caplog.records)


HANGING = """
import signal, sys, annslicer
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell has put into the background
try:
    annslicer.filter_h5ad("pbmc.h5ad", "out.h5ad", cells="pipe", tmpdir=".")
except KeyboardInterrupt:
    sys.exit("interrupted")
"""


def _hanging_run(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A Python whose child has begun, and waits for the names in a pipe."""
    os.mkfifo(folder / "pipe")
    python = subprocess.Popen(
        [sys.executable, "-c", HANGING], cwd=folder, stderr=subprocess.PIPE, start_new_session=True
    )
    while not list(folder.glob(".annslicer-*")):
        assert python.poll() is None, python.communicate()
        time.sleep(0.01)
    found = subprocess.run(["pgrep", "-P", str(python.pid), "-x", "annslicer"], capture_output=True, check=True)
    return python, int(found.stdout)


def _gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _wait_for_end(folder: Path, pid: int) -> None:
    for _ in range(1000):
        if _gone(pid) and not list(folder.glob(".annslicer-*")):
            break
        time.sleep(0.01)
    assert sorted(path.name for path in folder.iterdir()) == ["pbmc.h5ad", "pipe"]
    assert _gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("whole_group", [False, True], ids=["python alone", "as a terminal does"])
def test_an_interrupt_leaves_nothing(folder: Path, whole_group: bool) -> None:
    python, child = _hanging_run(folder)
    if whole_group:
        os.killpg(python.pid, signal.SIGINT)
    else:
        python.send_signal(signal.SIGINT)
    _, said = python.communicate(timeout=60)
    assert said.decode().endswith("interrupted\n")
    _wait_for_end(folder, child)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_killed_python_leaves_nothing(folder: Path) -> None:
    python, child = _hanging_run(folder)
    python.kill()
    python.communicate()
    _wait_for_end(folder, child)


def test_an_exception_of_a_handler_ends_the_run(folder: Path) -> None:
    class Refuses(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("no")

    logger, refuses = logging.getLogger("annslicer"), Refuses()
    logger.addFilter(refuses)
    try:
        with pytest.raises(RuntimeError, match="no"):
            annslicer.shard_h5ad("pbmc.h5ad", "a", seed=1)
    finally:
        logger.removeFilter(refuses)
    assert sorted(path.name for path in folder.iterdir()) in (["pbmc.h5ad"], ["a_shard_0.h5ad", "pbmc.h5ad"])


def _slice(name: str) -> int:
    return len(annslicer.run("slice", "pbmc.h5ad", name, shards=2).outputs)


def test_threads_and_processes_run_at_the_same_time(folder: Path) -> None:
    names = [f"out{i}/a" for i in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert list(threads.map(_slice, names)) == [2] * 4
    for way in ("fork", "spawn"):
        context = multiprocessing.get_context(way)
        with concurrent.futures.ProcessPoolExecutor(2, context) as processes:
            assert list(processes.map(_slice, names[:2])) == [2] * 2


ODD = [b"a b", b"a\nb", b"-a", b"--size=1", b"\xff\xfe", "ü'\"$".encode(), b"a*[b]?"]


@pytest.mark.parametrize("name", ODD)
def test_odd_paths(folder: Path, name: bytes) -> None:
    source = os.fsdecode(name) + ".h5ad"
    os.rename("pbmc.h5ad", source)
    result = annslicer.run("slice", source, name, shards=2)
    assert [os.fsencode(path) for path in result.outputs] == [name + b"_shard_%d.h5ad" % i for i in range(2)]
    shards = [os.fsencode(path) for path in result.outputs]
    annslicer.merge_out_of_core(shards, b"m" + name + b".h5ad")
    again = [b"again" + name + b".h5ad"]
    annslicer.shard_h5ad(Path(os.fsdecode(b"m" + name + b".h5ad")), "unused", again)
    assert annslicer.info(os.fsdecode(again[0]))["shape"][0] == CELLS
