"""Runs left alone in a batch queue: killed, stopped, resumed, out of room, with inputs that change; what stands at an output path is whole.

ANNSLICER_TEST_KILLS is how many runs of each kind are killed.
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

import trees
from tool import digest

KILLS = int(os.environ.get("ANNSLICER_TEST_KILLS", "4"))
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGUSR1: 138, signal.SIGUSR2: 140, signal.SIGXCPU: 152}
CELLS = 3000


def _inputs(case):
    """A file as it is and gzipped, of a size that takes a moment."""
    folder = case.folder("inputs")
    x = sp.random(CELLS, 200, 0.1, "csr", dtype="f4", random_state=0)
    adata = ad.AnnData(x, obs=pd.DataFrame({"v": np.arange(CELLS) / CELLS}, index=[f"c{i}" for i in range(CELLS)]),
                       var=pd.DataFrame(index=[f"g{i}" for i in range(200)]))
    adata.layers["csc"] = x.tocsc()
    adata.obsm["X_pca"] = np.arange(CELLS * 9, dtype="f8").reshape(CELLS, 9)
    adata.write_h5ad(folder / "a.h5ad")
    adata.write_h5ad(folder / "z.h5ad", compression="gzip")
    return folder / "a.h5ad", folder / "z.h5ad"


def _jobs(case):
    """What is run, by name: its arguments, and the names of its outputs."""
    a, z = _inputs(case)
    shards = [f"p_shard_{i}.h5ad" for i in range(CELLS // 250)]
    waves = ("--block-bytes", "60000")
    return {
        "slice": (("slice", a, "out/p", "--size", "250"), shards),
        "shuffle": (("slice", z, "out/p", "--size", "250", "--shuffle", "--seed", "1", "--compression", "gzip", *waves), shards),
        "slice to zarr": (("slice", a, "out/p", "--size", "250", "--format", "zarr", "--chunk-cells", "20", "--zarr-shard-size", "20KB"),
                          [f"p_shard_{i}.zarr" for i in range(CELLS // 250)]),
        "merge": (("merge", "out/m.h5ad", a, z), ["m.h5ad"]),
        "merge to zarr": (("merge", "out/m.zarr", a, z), ["m.zarr"]),
        "filter": (("filter", a, "out/f.zarr", "--where", "v > 0.1"), ["f.zarr"]),
    }


def _started(case, args, env=None, **options):
    case.work.joinpath("tmp").mkdir(exist_ok=True)
    env = {**os.environ, **(env or {}), "TMPDIR": str(case.work / "tmp")}
    return subprocess.Popen([case.binary, *map(str, args)], stderr=subprocess.PIPE, text=True, cwd=case.work, env=env, **options)


def _ended(case, args, env=None, **options):
    """The exit code of a run, and what it said that is no note."""
    run = _started(case, args, env, **options)
    said = run.communicate(timeout=300)[1]
    return run.returncode, [line for line in said.splitlines() if not line.startswith("INFO")]


def _killed(case, args, how, delay):
    """The same of a run that gets signal `how` after `delay` seconds, with all that it said."""
    run = _started(case, args)
    time.sleep(delay)
    run.send_signal(how)
    said = run.communicate(timeout=300)[1].splitlines()
    return run.returncode, said


def _hidden(case):
    """What lies hidden, but for older outputs, which a run leaves that is killed between its renames."""
    return [str(p.relative_to(case.work)) for f in ("out", "tmp") for p in (case.work / f).glob(".*") if p.suffix != ".kept"]


def _digests(case, names):
    return [digest(p) if p.exists() else None for p in (case.work / "out" / name for name in names)]


def _place_old(case, names):
    """Older outputs, which a run that does not end leaves as they are."""
    for path in (case.work / "out" / name for name in names):
        if path.suffix == ".zarr":
            path.mkdir()
            path.joinpath(".zgroup").write_text('{"zarr_format": 2}')
        else:
            path.write_text("older")


def _reference(case, args, names):
    """What an undisturbed run makes, and how long it takes."""
    case.folder("out")
    began = time.monotonic()
    code, said = _ended(case, args)
    took = time.monotonic() - began
    case.check("undisturbed", [f"exit code {code}: {said}"] if code else [])
    return _digests(case, names), took


def killed_runs_leave_whole_outputs_or_none(case):
    dice = random.Random()
    counts = {}
    for name, (args, names) in _jobs(case).items():
        whole, took = _reference(case, args, names)
        for i in range(KILLS):
            case.folder("out")
            case.folder("tmp")
            if i % 2:
                _place_old(case, names)
            old = _digests(case, names)
            how = dice.choice([signal.SIGKILL] * 6 + list(CODES))
            delay = dice.uniform(0, 1.1 * took)
            code, said = _killed(case, args, how, delay)
            label = f"{name}, signal {how} after {delay:.3f} s of {took:.3f} s, exit code {code}"
            counts[code] = counts.get(code, 0) + 1
            now = _digests(case, names)
            case.check(label, [f"{n} is neither old nor whole" for n, a, b, c in zip(names, now, old, whole) if a not in (b, c)])
            if how != signal.SIGKILL:
                # Before the program listens to signals, they end it as they end any other.
                errors = [line for line in said if not line.startswith(("INFO", "WARNING"))]
                case.check(label, [] if code in (0, CODES[how], -how) else ["wrong exit code"])
                case.check(label, [f"said {errors}"] if len(errors) != (code == CODES[how]) else [])
                case.check(label, [f"left {p}" for p in _hidden(case)])
                case.check(label, [] if now == (whole if code == 0 else old) else ["some outputs are new, some old"])
            code, said = _ended(case, args)
            case.check(label, [f"the next run ended with {code}: {said}"] if code else [])
            case.check(label, [f"the next run left {p}" for p in _hidden(case)])
            case.check(label, [] if _digests(case, names) == whole else ["the next run's outputs differ"])
    print(f"killed runs by exit code: {counts}")


def _kept(case):
    """The shards that the record of a stopped run names, each with its inode and time of modification."""
    record = case.work / "out" / ".p.annslicer-resume" / ".annslicer-record.json"
    lines = record.read_text().splitlines()[1:] if record.exists() else []
    return {line[0]: (line[1], line[3] * 10**9 + line[4]) for line in map(json.loads, filter(lambda t: t.endswith("]"), lines))}


def resumed_slices_equal_undisturbed_ones(case):
    dice = random.Random()
    stopped = kept_in_all = 0
    for name, (args, names) in list(_jobs(case).items())[:3]:
        whole, took = _reference(case, args, names)
        for _ in range(KILLS):
            case.folder("out")
            case.folder("tmp")
            _place_old(case, names)
            old, kept, code, tries = _digests(case, names), {}, 1, 0
            while code:
                tries += 1
                how = dice.choice([signal.SIGKILL] * 3 + list(CODES))
                delay = dice.uniform(0.2, 1.2) * took
                code, said = _killed(case, (*args, "--resume"), how, delay)
                label = f"{name} --resume, try {tries}, signal {how} after {delay:.3f} s of {took:.3f} s, exit code {code}"
                now = _digests(case, names)
                case.check(label, [f"{n} is neither old nor whole" for n, a, b, c in zip(names, now, old, whole) if a not in (b, c)])
                case.check(label, [] if code in (0, CODES.get(how), -how) else [f"wrong exit code: {said}"])
                told = sum("shards are kept" in line for line in said)
                case.check(label, ["said nothing of what is resumed"] if kept and code == 0 and told != 1 else [])
                stopped += code != 0
                for shard, stamp in kept.items():
                    at = [p for p in (case.work / "out" / shard, case.work / "out" / ".p.annslicer-resume" / shard) if p.exists()]
                    stamps = [(p.stat().st_ino, max(q.stat().st_mtime_ns for q in (p, *p.rglob("*")))) for p in at]
                    case.check(label, [] if stamp in stamps else [f"{shard} was written again"])
                # Killed when outputs were taking their places: those are whole, and may be written again.
                between = code and any(a == c for a, c in zip(now, whole))
                kept = {} if between else {**kept, **_kept(case)}
                if tries == 20:
                    code, _ = _ended(case, (*args, "--resume"))
            kept_in_all += len(kept)
            case.check(label, [] if _digests(case, names) == whole else ["the shards differ from those of one run"])
            case.check(label, [f"left {p}" for p in _hidden(case) if p.startswith("out")])
    print(f"{stopped} runs stopped, {kept_in_all} shards kept")


TINY = ("--block-bytes", "4000")  # many waves, and the same in all runs, for equal bytes


def _stopped(case, args, shards):
    """Stops a resumable run when it has finished so many shards."""
    for _ in range(10):
        run = _started(case, (*args, "--resume", *TINY))
        while run.poll() is None and len(_kept(case)) < shards:
            time.sleep(0.002)
        time.sleep(0.01)
        run.send_signal(signal.SIGTERM)
        said = run.communicate(timeout=300)[1]
        if run.returncode:
            break
        case.folder("out")  # it was faster
    case.check("stopped", [] if run.returncode == 143 and "kept for --resume" in said else [f"exit code {run.returncode}: {said}"])
    return said


def _resumed(case, label, args, *words):
    """Resumes, says so in `words`, and makes what a run makes that was never stopped."""
    out = case.work / "out"
    done = case.run(*args, "--resume", *TINY)
    case.check(label, [f"{word!r} is not in {done.stderr}" for word in words if word not in done.stderr])
    names = sorted(p.name for p in out.iterdir())
    ours = _digests(case, names)
    case.folder("out")
    seed = done.stderr.partition("seed=")[2].partition(")")[0]
    seeded = ("--seed", seed) if seed and "--seed" not in args else ()
    case.works(label, *args, *seeded, *TINY)
    case.check(label, [] if _digests(case, names) == ours else ["other shards than those of one run"])


def resume_is_for_the_same_run_alone(case):
    a, z = _inputs(case)
    shuffle = ("slice", z, "out/p", "--size", "250", "--shuffle")
    anew = "INFO: Resuming: none of"
    case.folder("out")
    drawn = _stopped(case, shuffle, 2).partition("seed=")[2].partition(")")[0]
    _resumed(case, "the seed that was drawn", shuffle, f"seed={drawn})", " of 12 shards are kept")
    case.folder("out")
    _stopped(case, shuffle, 1)
    same = f"{z.parent}/../{z.parent.name}/./{z.name}"
    _resumed(case, "the input by another path", ("slice", same, *shuffle[2:]), " of 12 shards are kept")
    others = {
        "size": ((*shuffle[:3], "--size", "200", "--shuffle"), "their --size is 250, and not 200"),
        "seed": ((*shuffle, "--seed", "5"), "and not 5"),
        "order": (shuffle[:-1], "their --shuffle is true, and not false"),
        "compression": ((*shuffle, "--compression", "lzf"), "their --compression is not given, and not lzf"),
        "input": (("slice", a, *shuffle[2:]), f"they read {z}"),
        "time of the input": (shuffle, f"{z} has changed since"),
    }
    for label, (args, why) in others.items():
        case.folder("out")
        _stopped(case, shuffle, 1)
        if args == shuffle:
            os.utime(z)
        _resumed(case, f"another {label}", args, anew, why)
    case.folder("out")
    _stopped(case, shuffle, 1)
    case.works("without --resume", *shuffle)
    case.check("without --resume", [f"left {p}" for p in _hidden(case) if p.startswith("out")])
    case.folder("out")
    _stopped(case, shuffle, 1)
    case.works("another prefix", "slice", a, "out/q", "--resume")
    done = case.run(*shuffle, "--resume")
    case.check("after another prefix", [] if " of 12 shards are kept" in done.stderr else [done.stderr])


def two_runs_of_the_same_outputs_are_told_apart(case):
    _, z = _inputs(case)
    args = ("slice", z, "out/p", "--size", "250", "--shuffle", "--seed", "1")
    for first in ((), ("--resume",)):
        for second in ((), ("--resume",)):
            case.folder("out")
            run = _started(case, (*args, *first, *TINY))
            while run.poll() is None and not list((case.work / "out").glob(".*/p_shard_1.h5ad")):
                time.sleep(0.001)
            run.send_signal(signal.SIGSTOP)
            code, said = _ended(case, (*args, *second))
            label = f"{first} against {second}"
            told = len(said) == 1 and f"Process {run.pid} is writing" in said[0]
            case.check(label, [] if code == 1 and told else [f"exit code {code}: {said}"])
            run.send_signal(signal.SIGCONT)
            run.communicate()
            case.check(label, [] if run.returncode == 0 and not _hidden(case) else [f"the first run: {run.returncode}, {_hidden(case)}"])


def writes_that_fail_are_errors(case):
    """A limit on the size of files, at many places; a full and a read-only file system where one can be mounted."""
    for name, (args, names) in _jobs(case).items():
        whole, _ = _reference(case, args, names)
        most = max(p.stat().st_size for p in (case.work / "out").rglob("*") if p.is_file())
        steps = [0, 1, 95, 96, 2048, *np.linspace(3000, most * 1.02, 8 + 4 * KILLS).astype(int)]
        for limit in steps:
            case.folder("out")
            _place_old(case, names)
            old = _digests(case, names)
            limits = (int(limit), int(limit))
            code, said = _ended(case, args, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits))
            _failed(case, f"{name}, files of up to {limit} bytes", names, code, said, old, whole, "File too large")
    disk = case.folder("disk")
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", disk], capture_output=True).returncode:
        return
    try:
        for name, (args, names) in _jobs(case).items():
            there = [str(arg).replace("out/", "disk/") for arg in args]
            code, said = _ended(case, there)
            faults = [] if code == 1 and len(said) == 1 else [f"exit code {code}: {said}"]
            told = any("No space left" in line or " or more in " in line for line in said)
            case.check(f"{name} on a full disk", faults + ([] if told else [f"said {said}"]) + [f"left {p}" for p in disk.iterdir()])
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        code, said = _ended(case, ("slice", case.work / "inputs" / "a.h5ad", "disk/p"))
        case.check("a read-only disk", [] if code == 1 and "Read-only" in said[0] else [f"exit code {code}: {said}"])
    finally:
        subprocess.run(["umount", disk], check=True)


def _failed(case, label, names, code, said, old, whole, *words):
    now = _digests(case, names)
    faults = [f"left {p}" for p in _hidden(case)]
    if code == 0:
        faults += [] if now == whole else ["exit code 0, and the outputs differ"]
    else:
        faults += [] if code == 1 and len(said) == 1 and all(w in said[0] for w in words) else [f"exit code {code}: {said}"]
        faults += [] if now == old else ["an older output has changed"]
    case.check(label, faults)


def inputs_that_change_are_refused(case):
    a, z = _inputs(case)
    store = case.work / "inputs" / "a.zarr"
    ad.settings.zarr_write_format = 2
    ad.read_h5ad(a).write_zarr(store)
    table = case.work / "inputs" / "t.csv"
    table.write_text("cell,g\n" + "".join(f"c{i},{i % 3}\n" for i in range(CELLS)))
    chunk = next(p for p in (store / "X" / "data").iterdir() if p.name[0] != ".")
    jobs = (
        ("slice", ("slice", a, "out/p", "--size", "250"), lambda: os.utime(a), "a.h5ad"),
        ("filter", ("filter", a, "out/f.zarr", "--where", "v > 0.1"), lambda: os.utime(a), "a.h5ad"),
        ("merge", ("merge", "out/m.h5ad", z, a), lambda: os.utime(a), "a.h5ad"),
        ("a table", ("slice", a, "out/p", "--obs-column", "g", "--csv-file", table), lambda: os.utime(table), "t.csv"),
        ("a chunk", ("slice", store, "out/p", "--size", "250"), lambda: os.utime(chunk), "a.zarr/X/data"),
        ("metadata", ("slice", store, "out/p", "--size", "250"), lambda: os.utime(store / "var" / ".zattrs"), "a.zarr/var"),
    )
    for label, args, change, named in jobs:
        for _ in range(20):
            out = case.folder("out")
            run = _started(case, (*args, *TINY))
            while run.poll() is None and not list(out.glob(".*/[!.]*")):
                time.sleep(0.001)
            change()
            said = [line for line in run.communicate()[1].splitlines() if not line.startswith(("INFO", "WARNING"))]
            if run.returncode:
                break  # else it was faster
        told = len(said) == 1 and f"{named} changed while it was read" in said[0]
        case.check(label, [] if run.returncode == 1 and told else [f"exit code {run.returncode}: {said}"])
        case.check(label, [f"left {p.name}" for p in out.iterdir()])


def readers_need_no_lock(case):
    """A file that another process has open, and a folder that cannot be written."""
    a, z = _inputs(case)
    for mode, wishes in (("r", ({}, {"HDF5_USE_FILE_LOCKING": "TRUE"})), ("a", ({}, {"HDF5_USE_FILE_LOCKING": "FALSE"}))):
        with h5py.File(a, mode):
            for wish in wishes:
                case.folder("out")
                case.works(f"open with mode {mode}", "slice", a, "out/p", **wish)
            if mode == "a":
                done = case.run("slice", a, "out/q", HDF5_USE_FILE_LOCKING="TRUE")
                case.check("a lock that is asked for", [] if done.returncode == 1 and "unable to lock" in done.stderr else [done.stderr])
    whole = trees.load(z)
    folder = case.folder("mounted")
    if os.geteuid():
        shutil.copyfile(z, folder / "z.h5ad")
        folder.chmod(0o555)
        _from_folder(case, folder, whole)
        folder.chmod(0o755)
    elif not subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True).returncode:
        try:
            shutil.copyfile(z, folder / "z.h5ad")
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
            _from_folder(case, folder, whole)
        finally:
            subprocess.run(["umount", folder], check=True)


def _from_folder(case, folder, whole):
    out = case.folder("out")
    if case.works("read-only", "slice", folder / "z.h5ad", "out/p", "--size", str(CELLS)):
        case.same_tree("read-only", whole, out / "p_shard_0.h5ad")
