"""Broken files: whatever bytes stand in a file, a run ends in time, within memory, without a crash and without leaving anything behind.

Each input is a corpus file with a few seeded changes: cut short, bits flipped, runs of equal bytes, words swapped, numbers replaced by
extreme ones; in Zarr also JSON edited and files removed. `ANNSLICER_FUZZ_INPUTS` sets how many there are, `ANNSLICER_FUZZ_SEED` where to
begin; the files that were found wanting stay in the folder `kept` of the work folder.
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

SECONDS, ADDRESS_SPACE, RESIDENT, LINES = 40, 3 << 30, 600 << 20, 60
# Files of every storage would take too long to slice; these are small, or of a layout of their own.
HDF5 = ("bare", "x_csc", "x_dense_f4", "index_column", "slash", "hdf5_latest", "hdf5_compact", "hdf5_virtual", "hdf5_external_links", "hdf5_gzip", "hdf5_lzf",
        "hdf5_blosc_lz4", "hdf5_bitshuffle_lz4", "hdf5_zstd", "hdf5_lz4", "hdf5_growable", "hdf5_fletcher", "codes", "text_storage", "full")
ZARR = ("light_v2", "light_v2_blosc", "light_v2_gzip", "light_v2_zstd", "light_v3", "light_v3_sharded", "light_v3_blosc", "full_v3_sharded", "full_v2")
NUMBERS = (0, 1, 2, 3, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
VALUES = (None, True, -1, 0, 1, 2**31, 2**62, 2**63 - 1, 2**64, -2**63, 1e308, 0.5, "", "x", "../x", "/", "NaN", "\0", "|O", "<f8", "<U999999999", [], {}, [[]], [-1], [2**62],
          [2**40, 2**40], "csr_matrix", "dataframe", "categorical", "string-array", "dict", "array")
COMMANDS = (("info", "{in}"), ("slice", "{in}", "{out}/s", "--size", "7"), ("slice", "{in}", "{out}/s", "--shuffle", "--seed", "1", "--size", "20"),
            ("merge", "{out}/m.h5ad", "{in}", "{in}"), ("merge", "{out}/m.zarr", "{in}"), ("merge", "{out}/m.h5ad", "{in}", "{good}", "--join", "inner"),
            ("slice", "{in}", "{out}/s", "--obs-column", "cat"), ("filter", "{in}", "{out}/f.zarr", "--where", "f4 > 0"), ("info", "--json", "{in}"),
            ("slice", "{in}", "{out}/s", "--shuffle", "--seed", "1", "--size", "20", "--compression", "gzip", "--memory-limit", "64MB"),
            ("check", "{in}"), ("slice", "{in}", "{out}/s", "--size", "9", "--verify"))


def broken_files_end_well(case):
    inputs, first = int(os.environ.get("ANNSLICER_FUZZ_INPUTS", 80)), int(os.environ.get("ANNSLICER_FUZZ_SEED", 1))
    seeds = [case.corpus / f"{n}.h5ad" for n in HDF5] + [case.corpus / f"{n}.zarr" for n in ZARR]
    kept = case.folder("kept")
    for number in range(first, first + inputs):
        rng = random.Random(number)
        seed = rng.choice(seeds)
        folder = case.folder("fuzz")
        path = _mutated(rng, seed, folder)
        # info looks at everything, so it is run on every input, and one other command.
        for command in (COMMANDS[0], rng.choice(COMMANDS[1:])):
            faults = _faults(case, path, command)
            case.check(f"input {number} ({seed.name}): {' '.join(command)}", faults)
            if faults and not (kept / f"{number}").exists():
                shutil.copytree(folder, kept / f"{number}")
                (kept / f"{number}.txt").write_text("\n".join([" ".join(command), *faults]) + "\n")


def _faults(case, path, command):
    """What is wrong with how a command on a broken file ends."""
    out, tmp = case.folder("fuzz-out"), case.folder("fuzz-tmp")
    names = {"in": path, "out": out, "good": case.corpus / "x_dense_f4.h5ad"}
    code, stderr, resident = limited([case.binary, *(part.format(**names) for part in command)], tmp)
    lines = stderr.splitlines()
    faults = [] if code in (0, 1, 2) else [f"ended with {code}: {stderr[-300:]}"]
    faults += [line[:300] for line in lines if "This is a bug" in line or "panicked" in line]
    faults += [f"an error of {sum(line.startswith('ERROR') for line in lines)} lines: {lines[-4:]}"] if code == 1 and sum(line.startswith("ERROR") for line in lines) != 1 else []
    faults += [f"said {len(lines)} lines"] if len(lines) > LINES else []
    faults += [f"took {resident >> 20} MiB"] if resident > RESIDENT else []
    faults += [f"left {[p.name for p in out.iterdir()][:3]}"] if code and any(out.iterdir()) else []
    faults += [f"left {[p.name for p in tmp.iterdir()][:3]} in the temporary folder"] if any(tmp.iterdir()) else []
    return faults + [f"left {p.name}" for p in out.iterdir() if p.name.startswith(".")]


def limited(args, tmp, seconds=SECONDS):
    """Exit code (a signal is negative, too long on the processor is 'time'), what was said and the most memory of a run within limits."""
    def limit():
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    with tempfile.TemporaryFile() as said:
        run = subprocess.Popen(list(map(str, args)), stdout=subprocess.DEVNULL, stderr=said, preexec_fn=limit, env={**os.environ, "TMPDIR": str(tmp)})
        code, end = None, time.monotonic() + 12 * seconds  # the machine may be busy
        while True:
            pid, status, used = os.wait4(run.pid, os.WNOHANG)
            if pid:
                run.returncode = os.waitstatus_to_exitcode(status)
                code = run.returncode if code is None else code
                code = "time" if code in (-signal.SIGXCPU, -signal.SIGKILL) else code
                break
            if code is None and time.monotonic() > end:
                run.kill()
                code = "time"
            time.sleep(0.005)
        said.seek(0)
        return code, said.read(1 << 20).decode(errors="replace"), used.ru_maxrss << 10


def _mutated(rng, seed, folder):
    """A copy of a file, its neighbours beside it, of which one is broken."""
    path = folder / seed.name
    if seed.is_dir():
        shutil.copytree(seed, path, copy_function=os.link if os.stat(seed).st_dev == os.stat(folder).st_dev else shutil.copyfile)
        files = sorted(p for p in path.rglob("*") if p.is_file())
        metadata = [p for p in files if p.name.startswith(".z") or p.name == "zarr.json"]
        for _ in range(rng.choice((1, 1, 2, 5))):
            _break_zarr(rng, rng.choice(metadata if rng.random() < 0.7 else files))
        return path
    parts = [seed, *seed.parent.glob(f"{seed.stem}.part")]
    for part in parts:
        shutil.copyfile(part, folder / part.name)
    broken = folder / rng.choice(parts).name
    data = bytearray(broken.read_bytes())
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        data = _break_bytes(rng, data)
    broken.write_bytes(data)
    return path


def _break_zarr(rng, file):
    if not file.is_file():
        return
    data = file.read_bytes()
    file.unlink()  # it may be a hard link to the corpus
    kind = rng.randrange(10)
    if kind == 0:
        return
    if kind == 1:
        file.mkdir()
    elif kind < 8 and (tree := _json(file.name, data)) is not None:
        file.write_text(json.dumps(_break_json(rng, tree)))
    else:
        file.write_bytes(_break_bytes(rng, bytearray(data)))


def _json(name, data):
    """What a file of metadata holds; None for another, and for one that is broken already."""
    try:
        return json.loads(data) if name.startswith(".z") or name == "zarr.json" else None
    except ValueError:
        return None


def _break_json(rng, tree):
    """Replaces, removes or doubles one value anywhere in a tree."""
    places = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    if isinstance(tree, (dict, list)):
        walk(tree)
    if not places:
        return rng.choice(VALUES)
    node, key = rng.choice(places)
    kind = rng.randrange(6)
    if kind == 0:
        del node[key]
    elif kind == 1:
        other, name = rng.choice(places)
        node[key] = json.loads(json.dumps(other.get(name) if isinstance(other, dict) else node[key]))
    elif kind == 2:
        for _ in range(rng.choice((1, 30, 300))):
            node[key] = [node[key]]
    else:
        node[key] = rng.choice(VALUES)
    return tree


def _break_bytes(rng, data):
    if not data:
        return data
    at = rng.randrange(len(data))
    if rng.random() < 0.8:  # what is not zero means something
        at = next((i for i in range(at, min(at + 4096, len(data))) if data[i]), at)
    kind = rng.randrange(9)
    if kind == 0:
        return data[:at - at % 4096 if rng.random() < 0.5 else at]
    if kind in (1, 2):
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 3:
        data[at] = rng.randrange(256)
    elif kind == 4:
        size = min(rng.choice((1, 4, 16, 64, 512)), len(data) - at)
        data[at:at + size] = rng.choice((b"\0", b"\xff")) * size
    elif kind == 5 and len(data) >= 16:
        a, b = (rng.randrange(len(data) // 8) * 8 for _ in range(2))
        data[a:a + 8], data[b:b + 8] = data[b:b + 8], data[a:a + 8]
    else:
        size = rng.choice((1, 2, 4, 8, 8))
        at = max(min(at - at % min(size, 8), len(data) - size), 0)
        value = rng.choice(NUMBERS) if kind < 8 else int.from_bytes(data[at:at + size], "little") + rng.choice((-1, 1))
        value = (value % (1 << 8 * size)).to_bytes(size, "little")
        data[at:at + size] = value[:len(data) - at]
    return data
