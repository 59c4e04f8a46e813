"""Makes the environment of the tests of the package, and prints its interpreter: prepare.py PROGRAM.

PROGRAM is the one that cargo has built, TARGET/debug/annslicer. The environment lies in TARGET and is made once per
requirements.txt, with the sources of the Python tool. The wheel is built each time, with the profile and the target
folder of PROGRAM, so that nothing is compiled again. Exits with 3 where the machine cannot make an environment.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NO_ENVIRONMENT = 3
TOOLS = ("0.3.0", "0.1.5")


def main() -> None:
    program = Path(sys.argv[1])
    profile = {"debug": "dev"}.get(program.parent.name, program.parent.name)
    target = program.parent.parent
    venv = target / f"python-venv-{hashlib.sha256((HERE / 'requirements.txt').read_bytes()).hexdigest()[:16]}"
    python = venv / "bin" / "python"
    try:
        environment(venv, python)
    except subprocess.CalledProcessError as failed:
        print(failed.stdout, failed, file=sys.stderr)
        sys.exit(NO_ENVIRONMENT)
    wheels = target / "python-wheel"
    shutil.rmtree(wheels, ignore_errors=True)
    profile_of_program = ["--profile", profile, "--target-dir", str(target)]
    options = ["--strip=false", "--compression-method=stored", "--auditwheel=skip", "--out", str(wheels)]
    run(python.with_name("maturin"), "build", "--quiet", *profile_of_program, *options)
    (wheel,) = wheels.glob("*.whl")
    pip(python, "install", "--force-reinstall", "--no-deps", "--no-index", wheel)
    print(python)


def environment(venv: Path, python: Path) -> None:
    """The environment, and the tool's sources in it, with a stamp that is written last."""
    stamp = venv / "complete"
    if stamp.exists():
        return
    run(sys.executable, "-m", "venv", "--clear", venv)
    pip(python, "install", "-r", HERE / "requirements.txt")
    for version in TOOLS:
        sources = ["--no-deps", "--no-build-isolation", "--no-binary=:all:", "--dest", str(venv / "tool")]
        pip(python, "download", *sources, f"annslicer=={version}")
        shutil.unpack_archive(venv / "tool" / f"annslicer-{version}.tar.gz", venv / "tool")
    stamp.touch()


def pip(python: Path, *arguments: "str | Path") -> None:
    run(python, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check")


def run(*command: "str | Path") -> None:
    """Runs a command; its output is shown if it fails."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, [str(part) for part in command], done.stdout)


if __name__ == "__main__":
    main()
