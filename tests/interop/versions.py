"""Outputs as other releases of anndata read them than that of the suite, each in a private environment beside the corpus."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import corpus
import trees
from containers import SHARDED, V2, V3
from slicing import SIZE, row_count

# A release, the first Python that it is for, the last that it was tried on, and what it goes with.
OLDER = ("0.11.4", (3, 11), (3, 13), "zarr==2.18.7", "numcodecs==0.15.1", "numpy==2.2.6", "pandas==2.3.3")
NEWER = ("0.13.4", (3, 12), (3, 14), "zarr==3.4.2")
READER = Path(__file__).with_name("reader.py")
H5AD = ("--format", "h5ad")


def outputs_are_read_by_anndata_0_11(case):
    """Which knows no Zarr of version 3; what it cannot read of an input is not asked of it."""
    _read_by(case, OLDER, [H5AD, (*H5AD, "--compression", "gzip"), V2])


def outputs_are_read_by_anndata_0_13(case):
    _read_by(case, NEWER, [H5AD, V2, V3, SHARDED])


def _read_by(case, release, containers):
    """The containers take turns, as one input after the other is sliced; the release compares shards and input."""
    python = _environment(case, *release)
    if python is None:
        return
    inputs = [path for path in corpus.h5ad(case.corpus) if not path.stem.startswith("hdf5_") and path.stem not in corpus.NOT_ANNDATA]
    tasks = [task for i, source in enumerate(inputs) for task in _sliced(case, source, containers[i % len(containers)])]
    done = subprocess.run([python, "-B", READER], input=json.dumps(tasks), capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr)
    told = json.loads(done.stdout)
    for label, faults in told["read"].items():
        case.check(label, faults)
    case.check("inputs that it reads", [] if len(told["read"]) > len(inputs) / 2 else [f"{told['read'].keys()} of {len(inputs)}: {told['unread']}"])


def _sliced(case, source, container):
    """What the first and the last shard of an input are to hold."""
    rows = np.arange(row_count(trees.load(source))).tolist()
    out = case.folder(source.stem) / "s"
    if not rows or not case.works(source.name, "slice", source, out, "--size", SIZE, *container):
        return []
    if "is left out" in case.stderr:
        return []
    cuts = [rows[at:at + SIZE] for at in range(0, len(rows), SIZE)]
    name = f"{out}_shard_{{}}.{container[1]}"
    return [{"label": f"{source.name} {' '.join(container)}: {at}", "source": str(source), "rows": cuts[at], "shard": name.format(at)}
            for at in sorted({0, len(cuts) - 1})]


def _environment(case, version, first, last, *beside):
    """The interpreter of an environment with that release, made once; None, with a word, where no Python is right for it."""
    names = [sys.executable, *(f"python3.{minor}" for minor in range(last[1], first[1] - 1, -1))]
    right = [name for name in names if _minor(name) and first <= _minor(name) <= last]
    if not right:
        print(f"skipped: anndata {version} needs Python {first[0]}.{first[1]} to {last[0]}.{last[1]}")
        return None
    folder = case.corpus.parent / f"anndata-{version}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        needed = [f"anndata=={version}", "awkward==2.14.0", "h5py==3.16.0", "hdf5plugin==7.1.0", *beside]
        subprocess.run([right[0], "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *needed], check=True)
        (folder / "complete").touch()
    return folder / "bin/python"


def _minor(name):
    """The version of an interpreter that can make environments; None where there is none of that name."""
    try:
        told = subprocess.run([name, "-c", "import sys, venv; print(*sys.version_info[:2])"], capture_output=True, text=True)
    except OSError:
        return None
    return tuple(map(int, told.stdout.split())) if told.returncode == 0 else None
