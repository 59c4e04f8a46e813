"""The wheel in empty environments, however it was installed; what the sdist holds; and the import."""

import os
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import PBMC

ROOT = Path(__file__).parent.parent.parent
TARGET = Path(sys.prefix).parent
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]

SCRIPT = f"""
import annslicer, json, sys
assert annslicer.info({str(PBMC)!r})["shape"][0] == 700
annslicer.shard_h5ad({str(PBMC)!r}, "out", shards=2)
from annslicer._find import program
print(program())
"""


@pytest.fixture(scope="module")
def wheel() -> Path:
    (wheel,) = (TARGET / "python-wheel").glob("*.whl")
    return wheel


def _run(*command: "str | Path", **environment: str) -> str:
    done = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def _pip(python: "str | Path", *arguments: "str | Path", **environment: str) -> None:
    own = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    _run(python, "-m", "pip", "install", *own, *arguments, **environment)


@pytest.fixture(scope="module")
def decoy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder first on PATH whose annslicer fails."""
    folder = tmp_path_factory.mktemp("path")
    other = folder / "annslicer"
    other.write_text("#!/bin/sh\nexit 99\n")
    other.chmod(0o755)
    return folder


def _works(python: "str | Path", folder: Path, decoy: Path, **environment: str) -> Path:
    """Runs the functions and `python -m annslicer`; returns the program that they found."""
    folder.mkdir(exist_ok=True)
    environment["PATH"] = f"{decoy}:{os.environ['PATH']}"
    done = subprocess.run(
        [python, "-c", SCRIPT], cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("out_shard_*.h5ad"))) == 2
    version = _run(python, "-m", "annslicer", "--version", **environment)
    assert version.startswith("annslicer ")
    return Path(done.stdout.strip())


def _python(version: str) -> str | None:
    """An interpreter of that version, on PATH or of pyenv, that can make environments."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"{version}.*/bin/python{version}"))]
    for python in filter(None, found):
        if not subprocess.run([python, "-c", "import ensurepip"], capture_output=True, check=False).returncode:
            return python
    return None


@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_works_in_an_empty_environment(version: str, wheel: Path, tmp_path: Path, decoy: Path) -> None:
    python = _python(version)
    if python is None:
        pytest.skip(f"there is no Python {version}")
    _run(python, "-m", "venv", tmp_path / "venv")
    venv = tmp_path / "venv" / "bin"
    _pip(venv / "python", wheel)
    assert _works(venv / "python", tmp_path / "work", decoy) == venv / "annslicer"
    assert _run(venv / "annslicer", "--version") == _run(venv / "python", "-m", "annslicer", "--version")


@pytest.mark.parametrize("way", ["--target", "--prefix", "--user"])
def test_the_program_is_found_beside_the_package(way: str, wheel: Path, tmp_path: Path, decoy: Path) -> None:
    base = Path(sys._base_executable)  # type: ignore[attr-defined]
    home = tmp_path / "home"
    environment = {"PYTHONUSERBASE": str(home)} if way == "--user" else {}
    where = [way] if way == "--user" else [way, home]
    _pip(base, *where, "--ignore-installed", "--break-system-packages", wheel, **environment)
    if way != "--user":
        (package,) = home.rglob("annslicer/__init__.py")
        environment["PYTHONPATH"] = str(package.parent.parent)
    assert _works(base, tmp_path / "work", decoy, **environment) == home / "bin" / "annslicer"


@pytest.fixture
def environment(wheel: Path, tmp_path: Path) -> Iterator[Path]:
    _run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    _pip(python, wheel)
    yield python


def test_another_program_in_its_place_is_refused(environment: Path) -> None:
    program = environment.with_name("annslicer")
    program.write_text("#!/bin/sh\necho annslicer 0.3.0\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    call = [str(environment), "-c", "import annslicer; annslicer.info('a.h5ad')"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert "another package has replaced one of them" in done.stderr
    program.unlink()
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert "FileNotFoundError" not in done.stderr.splitlines()[-1]
    assert "The program annslicer is not in" in done.stderr
    done = subprocess.run([environment, "-m", "annslicer"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("ERROR: The program annslicer is not in")


def test_the_python_tool_is_replaced(wheel: Path, tmp_path: Path) -> None:
    """They have the same name, so that pip puts the one in the place of the other, and leaves nothing of it."""
    _run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    tool = next((Path(sys.prefix) / "tool").glob("annslicer-0.3.0.tar.gz"))
    own = ["--no-build-isolation", "--quiet", "--disable-pip-version-check", "--wheel-dir", str(tmp_path)]
    _run(sys.executable, "-m", "pip", "wheel", "--no-deps", *own, tool)
    _pip(python, next(tmp_path.glob("annslicer-0.3.0*.whl")))
    _pip(python, wheel)
    packages = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    assert not (packages / "annslicer" / "cli.py").exists()
    assert len(list(packages.glob("annslicer-*.dist-info"))) == 1
    _run(python, "-c", f"import annslicer; annslicer.info({str(PBMC)!r})")


def test_the_import_is_light() -> None:
    heavy = ["anndata", "numpy", "pandas", "tqdm", "importlib.metadata", "asyncio"]
    line = f"import sys, annslicer; print([m for m in {heavy} if m in sys.modules])"
    assert _run(sys.executable, "-I", "-c", line) == "[]\n"


def test_the_package_is_typed_and_has_its_version() -> None:
    import annslicer

    assert (Path(annslicer.__file__).parent / "py.typed").exists()
    cargo = next(line for line in (ROOT / "Cargo.toml").read_text().splitlines() if line.startswith("version = "))
    assert cargo == f'version = "{annslicer.__version__}"'


def test_the_sdist_builds(tmp_path: Path) -> None:
    """As `pip install .` in a clone: its sources, and what cargo built before, whose dependencies are the same."""
    maturin = Path(sys.executable).with_name("maturin")
    _run(maturin, "sdist", "--manifest-path", ROOT / "Cargo.toml", "--out", tmp_path)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {".cargo/config.toml", ".cargo/cmake.sh", "Cargo.lock", "LICENSE.md", "python/annslicer/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests/", "target/", "benches/"))]
    sources = TARGET / "python-sdist"
    shutil.rmtree(sources, ignore_errors=True)
    shutil.unpack_archive(sdist, sources)
    (clone,) = sources.iterdir()
    _run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    packages = next((Path(sys.prefix) / "lib").glob("python*/site-packages"))
    environment = {
        "CARGO_TARGET_DIR": str(TARGET),
        "MATURIN_PEP517_ARGS": "--profile dev --strip=false --compression-method=stored --auditwheel=skip",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(packages),  # maturin, as the build has no environment of its own
    }
    _pip(python, "--no-build-isolation", clone, **environment)
    assert (tmp_path / "venv" / "bin" / "annslicer").exists()
    _run(python, "-I", "-c", f"import annslicer; annslicer.info({str(PBMC)!r})")
