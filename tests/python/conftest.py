"""What the tests of the package share: a folder with a real file, and the program that the package runs."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from annslicer._find import program

PBMC = Path(__file__).parent.parent / "data" / "pbmc.h5ad"
CELLS = 700


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which holds pbmc.h5ad alone."""
    shutil.copy(PBMC, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def typed() -> Callable[..., None]:
    """Runs a command line that must succeed."""

    def run(*arguments: "str | os.PathLike[str]") -> None:
        subprocess.run([program(), *arguments], check=True, capture_output=True)

    return run
