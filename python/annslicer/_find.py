"""Where the program is: in the scripts folder that this package was installed with, and nowhere else."""

from __future__ import annotations

import functools
import os
import subprocess
import sysconfig
from collections.abc import Iterator

from ._errors import error


def version() -> str:
    """The version of this package."""
    from importlib import metadata  # slow to import, and not needed to import the package

    return metadata.version("annslicer")


@functools.cache
def program() -> str:
    """The path of the program, which has the version of this package. PATH is not looked at."""
    folders = list(dict.fromkeys(_folders()))
    for folder in folders:
        path = os.path.join(folder, "annslicer")
        if os.path.isfile(path):
            _check(path)
            return path
    looked = " or ".join(folders)
    raise error(f"The program annslicer is not in {looked}; run 'pip install --force-reinstall annslicer'", "missing")


def _folders() -> Iterator[str]:
    packages = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    yield os.path.join(packages, "bin")  # pip install --target
    library = os.path.dirname(os.path.dirname(packages))
    if os.path.basename(library).startswith("lib"):  # PREFIX/lib/python3.x/site-packages
        yield os.path.join(os.path.dirname(library), "bin")
    yield sysconfig.get_path("scripts")


def _check(path: str) -> None:
    """Another package of the name may have put its own script there."""
    asked = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    answer = os.fsdecode(asked.stdout).strip()
    if answer != f"annslicer {version()}":
        says = f"says '{answer}'" if answer else "does not tell its version"
        raise error(
            f"{path} {says}, but this package is annslicer {version()}; another package has replaced one of them: "
            "run 'pip install --force-reinstall annslicer'",
            "failed",
        )
