"""Other programs, other users and bad disks: calls that fail or never return, runs killed at a call, names that others planted, two runs at once.

`tests/faults.c` makes calls fail; where it cannot be compiled, what needs it is skipped.
"""

import errno
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from tool import digest

CELLS = 40
SHARDS = [f"p_shard_{i}.h5ad" for i in range(4)]
FAULTS = Path(__file__).resolve().parents[1] / "faults.c"

# What a file system lacks, as rules of faults.c.
KINDS = {
    "exchange": "",
    "links": f"exchange:1+:{errno.EINVAL}",
    "neither": f"exchange:1+:{errno.EINVAL},link:1+:{errno.EPERM}",
}


def _library(case):
    """The compiled faults.c; None where it cannot be compiled."""
    made = case.work / "faults.so"
    if not made.exists() and sys.platform == "linux" and shutil.which("cc"):
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", made, FAULTS, "-ldl"], check=True)
    if not made.exists():
        print("skipped: faults.c needs Linux and cc")
        return None
    return made


def _adata(cells=CELLS):
    x = sp.random(cells, 20, 0.3, "csr", dtype="f4", random_state=0)
    obs = pd.DataFrame({"v": np.arange(cells) / cells, "k": pd.Categorical(["a", "b"] * (cells // 2))}, index=[f"c{i}" for i in range(cells)])
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(20)]), uns={"a": {"b": 1}})


def _inputs(case):
    folder = case.folder("inputs")
    _adata().write_h5ad(folder / "a.h5ad")
    return folder / "a.h5ad"


def _env(case, library=None, rules="", **more):
    tmp = case.work / "tmp"
    tmp.mkdir(exist_ok=True)
    faults = {"LD_PRELOAD": str(library), "ANNSLICER_FAULTS": rules} if library else {}
    return {**os.environ, "TMPDIR": str(tmp), **faults, **more}


def _ended(case, args, env, **options):
    """The exit code of a run, and what it said that is no note."""
    done = subprocess.run([case.binary, *map(str, args)], capture_output=True, text=True, errors="replace", timeout=120, cwd=case.work, env=env, **options)
    return done.returncode, [line for line in done.stderr.splitlines() if not line.startswith("INFO")]


def _hidden(case, *folders):
    return [str(p.relative_to(case.work)) for f in folders or ("out", "tmp") for p in (case.work / f).glob(".*")]


def _digests(case, names):
    return [digest(p) if p.exists() else None for p in (case.work / "out" / name for name in names)]


def _jobs(case):
    """What is run, by name: its arguments and the names of its outputs."""
    a = _inputs(case)
    return {
        "slice": (("slice", a, "out/p", "--size", "10"), SHARDS),
        "resume": (("slice", a, "out/p", "--size", "10", "--resume"), SHARDS),
        "zarr": (("filter", a, "out/f.zarr", "--where", "v > 0.1"), ["f.zarr"]),
    }


def _place_old(case, names):
    """Older outputs, which a run that fails leaves as they are."""
    case.folder("out")
    case.folder("tmp")
    for path in (case.work / "out" / name for name in names):
        if path.suffix == ".zarr":
            path.joinpath("X").mkdir(parents=True)
            path.joinpath(".zgroup").write_text('{"zarr_format": 2}')
            path.joinpath("X", "0.0").write_text("older")
        else:
            path.write_text(f"older {path.name}")


def _everywhere(case):
    """The digests of all that looks like an output, at its place or anywhere below."""
    found = [p for p in (case.work / "out").rglob("*") if p.suffix in (".h5ad", ".zarr") and not any(q.suffix == ".zarr" for q in p.parents)]
    return {digest(p): p for p in found}


def _is_older(folder, old):
    """Whether it holds older outputs and nothing else, as what a run leaves that is killed between its renames."""
    return folder.suffix == ".kept" and all(digest(p) in old for p in folder.iterdir())


def _each(first, most=200):
    yield from range(first, most)
    raise AssertionError("the calls have no end")


def a_rename_that_fails_leaves_the_older_outputs(case):
    """The n-th rename, link or flush fails, on file systems with and without exchanges and links."""
    library, tried = _library(case), 0
    if library is None:
        return
    for name, (args, names) in _jobs(case).items():
        case.folder("out")
        _ended(case, args, _env(case))
        whole = _digests(case, names)
        for kind, lacks in KINDS.items():
            for call in ("exchange", "rename", "link", "fsync"):
                for nth in _each(1):
                    _place_old(case, names)
                    old = _digests(case, names)
                    rules = f"{call}:{nth}:{errno.EIO}" + (f",{lacks}" if lacks else "")
                    code, said = _ended(case, args, _env(case, library, rules))
                    label, now = f"{name}, {kind}, {call} {nth} fails", _digests(case, names)
                    tried += 1
                    if code == 0:
                        case.check(label, [] if now == whole else ["exit code 0, and the outputs differ"])
                        if call != "link":
                            break  # there were fewer calls
                        if nth > len(names):
                            break
                        continue
                    case.check(label, [] if code == 1 and len(said) == 1 else [f"exit code {code}: {said}"])
                    case.check(label, [] if now == old else ["an older output has changed"])
                    left = [p for p in _hidden(case) if not (name == "resume" and p.endswith(".annslicer-resume"))]
                    case.check(label, [f"left {p}" for p in left])
    print(f"{tried} runs with a call that failed")


def what_cannot_be_put_back_is_kept_and_named(case):
    """A disk that turns read-only between the renames: each older and each new output is somewhere, and the line says where."""
    library, tried = _library(case), 0
    if library is None:
        return
    for name, (args, names) in _jobs(case).items():
        case.folder("out")
        _ended(case, args, _env(case))
        whole = _digests(case, names)
        for kind, lacks in KINDS.items():
            for nth in _each(1):
                _place_old(case, names)
                old = _digests(case, names)
                dead = [f"{call}:{nth if call == 'rename' or kind == 'exchange' else 1}+:{errno.EROFS}:out" for call in ("rename", "exchange")]
                if kind != "exchange":
                    dead = dead[:1]
                code, said = _ended(case, args, _env(case, library, ",".join([*dead, *([lacks] if lacks else [])])))
                said = [line for line in said if "by hand" not in line]  # the staging folder cannot be removed either
                label, now, there = f"{name}, {kind}, read-only from {nth}", _digests(case, names), _everywhere(case)
                tried += 1
                if code == 0:
                    case.check(label, [] if now == whole else ["exit code 0, and the outputs differ"])
                    break
                case.check(label, [] if code == 1 and len(said) == 1 else [f"exit code {code}: {said}"])
                case.check(label, [f"the older {n} is gone" for n, d in zip(names, old) if d not in there])
                moved = [n for n, d, a in zip(names, old, now) if d != a]
                for n, d, w in zip(names, old, whole):
                    if n in moved:
                        lost = [p for p in (there.get(d), there.get(w)) if p is None or str(p) not in said[0]]
                        case.check(label, [f"{n}: {lost} is not in {said}"] if lost else [])
                if moved:
                    _ended(case, ("filter", case.work / "inputs" / "a.h5ad", "out/other.h5ad", "--where", "v > 2"), _env(case))
                    again = _everywhere(case)
                    case.check(label, [f"the next run removed the older {n}" for n, d in zip(names, old) if d not in again])
    print(f"{tried} runs on a disk that turned read-only")


def runs_killed_at_any_call_leave_whole_outputs(case):
    """SIGKILL before and after the n-th call of each kind; the next run of something else in the folder clears up."""
    library, tried = _library(case), 0
    if library is None:
        return
    other = ("filter", case.work / "inputs" / "a.h5ad", "out/other.h5ad", "--where", "v > 2")
    for name, (args, names) in _jobs(case).items():
        case.folder("out")
        _ended(case, args, _env(case))
        whole = _digests(case, names)
        for kind, lacks in KINDS.items():
            calls = ("rename", "exchange", "unlink", "rmdir", "mkdir", "fsync", "flock") if kind == "exchange" else ("rename", "link")
            for call in calls:
                for nth in _each(1, 1000):
                    ends = []
                    for when in ("before", "after"):
                        _place_old(case, names)
                        old = _digests(case, names)
                        rules = f"{call}:{nth}:{when}" + (f",{lacks}" if lacks else "")
                        code, said = _ended(case, args, _env(case, library, rules))
                        ends.append(code)
                        label = f"{name}, {kind}, killed {when} {call} {nth}"
                        tried += 1
                        if code == 0:
                            continue
                        case.check(label, [] if code == -signal.SIGKILL else [f"exit code {code}: {said}"])
                        if kind != "neither" and not (kind == "links" and name == "zarr"):
                            now = _digests(case, names)
                            case.check(label, [f"{n} is neither old nor whole" for n, d, a, w in zip(names, old, now, whole) if d not in (a, w) and a != d and a != w])
                        code, said = _ended(case, other, _env(case))
                        now = _digests(case, names)
                        case.check(label, [f"{n} is neither old nor whole after the next run" for n, a, d, w in zip(names, now, old, whole) if a not in (d, w)])
                        left = [p for p in _hidden(case) if not (name == "resume" and p.endswith(".annslicer-resume"))]
                        case.check(label, [f"the next run left {p}" for p in left if not _is_older(case.work / p, old)])
                        if name == "resume":
                            code, said = _ended(case, args, _env(case))
                            case.check(label, [] if code == 0 and _digests(case, names) == whole else [f"resumed: {code} {said}"])
                    if ends == [0, 0]:
                        break
    print(f"{tried} runs killed at a call")


def outputs_are_flushed_before_they_take_their_place(case):
    """The order of fsync and rename, and the parents of folders that were made."""
    library = _library(case)
    if library is None:
        return
    a = _inputs(case)
    for args, names in ((("slice", a, "deep/er/p", "--size", "10"), SHARDS), (("filter", a, "deep/er/f.zarr", "--where", "v > 0.1"), ["f.zarr"])):
        shutil.rmtree(case.work / "deep", ignore_errors=True)
        log = case.work / "log"
        log.unlink(missing_ok=True)
        code, said = _ended(case, args, _env(case, library, "", ANNSLICER_FAULTS_LOG=str(log)))
        case.check("run", [] if code == 0 else [f"exit code {code}: {said}"])
        calls = [line.split(" ") for line in log.read_text().splitlines()]
        flushed = lambda path: [i for i, c in enumerate(calls) if c[0] == "fsync" and c[1] == str(path)]  # noqa: E731
        folder = case.work / "deep" / "er"
        for name in names:
            renames = [(i, c[1]) for i, c in enumerate(calls) if c[0] in ("rename", "exchange") and c[2] == str(folder / name)]
            case.check(name, [] if len(renames) == 1 else [f"renamed {renames}"])
            for at, aside in renames:
                inner = [aside] + [f"{aside}/{p.relative_to(folder / name)}" for p in (folder / name).rglob("*")]
                case.check(name, [f"{p} is not flushed before it is renamed" for p in inner if not any(i < at for i in flushed(p))])
                case.check(name, [] if any(i > at for i in flushed(folder)) else ["its folder is not flushed after"])
        for made, above in ((folder, folder.parent), (folder.parent, case.work)):
            at = [i for i, c in enumerate(calls) if c[0] == "mkdir" and c[1] == str(made)]
            case.check(f"{made}", [] if at and any(i > at[0] for i in flushed(above)) else [f"made at {at}, {above} flushed at {flushed(above)}"])


def planted_names_are_passed_over(case):
    """Links, pipes and folders of others under the names that a run uses: nothing elsewhere is made, cut or removed, nothing waits."""
    a = _inputs(case)
    args = ("slice", a, "out/p", "--size", "10", "--resume")
    mine = case.folder("mine")
    (mine / "years of work").write_text("data")
    before = digest(mine)
    out = case.folder("out")
    (out / ".p.annslicer-resume").symlink_to(mine)
    code, said = _ended(case, args, _env(case))
    case.check("a link to a folder", [] if code == 1 and len(said) == 1 and "not a folder of yours" in said[0] else [f"{code}: {said}"])
    case.check("a link to a folder", [] if digest(mine) == before else ["its content has changed"])
    code, said = _ended(case, args[:-1], _env(case))
    case.check("without --resume", [] if code == 0 and digest(mine) == before else [f"{code}: {said}"])
    for name, plant in _planted(mine):
        out = case.folder("out")
        kept = out / ".p.annslicer-resume"
        kept.mkdir()
        plant(kept / ".annslicer-lock")
        code, said = _ended(case, args, _env(case))
        case.check(f"{name} for a lock file", [] if code == 1 and len(said) == 1 and "annslicer-lock" in said[0] else [f"{code}: {said}"])
        for where in ("out", "tmp"):
            case.folder("out")
            case.folder("tmp")
            left = case.work / where / ".annslicer-1-a.tmp"
            left.mkdir()
            plant(left / ".annslicer-lock")
            code, said = _ended(case, ("slice", a, "out/p", "--obs-column", "k", "--csv-file", _table(case)), _env(case))
            case.check(f"{name} in {where}", [] if code == 0 else [f"{code}: {said}"])
            case.check(f"{name} in {where}", [] if left.exists() else ["the folder is gone"])
    case.check("targets", [] if digest(mine) == before else [f"changed: {sorted(p.name for p in mine.iterdir())}"])


def _table(case):
    path = case.work / "t.csv"
    path.write_text("cell,k\n" + "".join(f"c{i},{i % 3}\n" for i in range(CELLS)))
    return path


def _planted(mine):
    return (
        ("a link to a file", lambda at: at.symlink_to(mine / "years of work")),
        ("a second name of a file", lambda at: os.link(mine / "years of work", at)),
        ("a link to nothing", lambda at: at.symlink_to(mine / "not there")),
        ("a pipe", os.mkfifo),
        ("a folder", Path.mkdir),
    )


def runs_without_scratch_touch_no_tmpdir(case):
    a = _inputs(case)
    for label, args in (("slice", ("slice", a, "out/p", "--size", "10")), ("merge", ("merge", "out/m.h5ad", a, a)), ("filter", ("filter", a, "out/f.zarr", "--where", "v > 0.1"))):
        case.folder("out")
        code, said = _ended(case, args, _env(case, TMPDIR=str(case.work / "nowhere")))
        case.check(label, [] if code == 0 and not (case.work / "nowhere").exists() else [f"{code}: {said}"])
    code, said = _ended(case, ("slice", a, "out/q", "--obs-column", "k", "--csv-file", _table(case), "--tmpdir", "made/for/it"), _env(case))
    case.check("--tmpdir that is not there", [] if code == 0 and not list((case.work / "made/for/it").iterdir()) else [f"{code}: {said}"])


def folders_of_other_users_are_passed_over(case):
    """Where the test runs as root: what root and another user leave in a shared folder neither stops nor harms the other."""
    if os.geteuid():
        print("skipped: not root")
        return
    shared, nobody = Path("/tmp") / f"annslicer-two-users-{os.getpid()}", 65534
    shared.mkdir()
    try:
        shared.chmod(0o1777)
        binary = shared / "annslicer"
        shutil.copyfile(case.binary, binary)
        binary.chmod(0o755)
        shutil.copyfile(_inputs(case), shared / "a.h5ad")
        (shared / "a.h5ad").chmod(0o644)
        env = {**os.environ, "TMPDIR": str(shared), "HOME": str(shared)}

        def run(*args, **options):
            done = subprocess.run([binary, *args], capture_output=True, text=True, cwd=shared, env=env, timeout=120, **options)
            return done.returncode, [line for line in done.stderr.splitlines() if not line.startswith("INFO")]

        def left(owner, name=".annslicer-1-a.tmp"):
            folder = shared / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            (folder / ".annslicer-lock").write_text("")
            (folder / "x.h5ad").write_text("half")
            for path in (folder, *folder.iterdir()):
                os.chown(path, owner, owner)
            return folder

        other = {"user": nobody, "group": nobody, "extra_groups": []}
        for label, owner, options in (("of another user", 0, other), ("of a user, seen by root", nobody, {})):
            folder = left(owner)
            folder.chmod(0o777)
            code, said = run("slice", "a.h5ad", "p", "--size", "10", **options)
            case.check(label, [] if code == 0 and folder.exists() else [f"exit code {code}: {said}, {sorted(p.name for p in shared.iterdir())}"])
            for shard in SHARDS:
                (shared / shard).unlink(missing_ok=True)
            kept = left(owner, ".q.annslicer-resume")
            code, said = run("slice", "a.h5ad", "q", "--size", "10", "--resume", **options)
            case.check(f"kept, {label}", [] if code == 1 and len(said) == 1 and "not a folder of yours" in said[0] and kept.exists() else [f"exit code {code}: {said}"])
            shutil.rmtree(kept)
            shutil.rmtree(folder)
        folder = left(nobody)
        code, said = run("slice", "a.h5ad", "p", "--size", "10", **other)
        case.check("of the same user", [] if code == 0 and not folder.exists() else [f"exit code {code}: {said}"])
    finally:
        shutil.rmtree(shared)


def of_two_runs_that_start_together_one_stops(case):
    """Also where there are no locks; then both may stop, but not both end well."""
    library, rounds = _library(case), 12
    a = _inputs(case)
    for kind, rules in (("locks", ""), ("no locks", f"flock:1+:{errno.EOPNOTSUPP}")):
        if rules and library is None:
            continue
        for label, args in (("slice", ("slice", a, "out/p", "--size", "10")), ("resume", ("slice", a, "out/p", "--size", "10", "--resume")), ("merge", ("merge", "out/m.h5ad", a, a))):
            ends = []
            for _ in range(rounds):
                case.folder("out")
                env = _env(case, library if rules else None, rules)
                runs = [subprocess.Popen([case.binary, *map(str, args)], stderr=subprocess.PIPE, text=True, cwd=case.work, env=env) for _ in range(2)]
                said = [run.communicate(timeout=120)[1] for run in runs]
                codes = sorted(run.returncode for run in runs)
                ends.append(codes)
                words = ("is writing", ) if kind == "locks" else ("is writing", "ERROR: ")
                told = [s for run, s in zip(runs, said) if run.returncode and not any(w in s for w in words)]
                case.check(f"{label}, {kind}", [f"exit codes {codes}: {told}"] if told else [])
            print(label, kind, {str(e): ends.count(e) for e in ends})
            # Of runs so short, one may begin when the other has ended.
            case.check(f"{label}, {kind}", ["both stopped"] if kind == "locks" and [1, 1] in ends else [])


def runs_of_another_machine_are_left_alone(case):
    """Where root may give a process another host name, boot and mounts: two machines in one folder, each without the locks of the other."""
    library, tools = _library(case), case.folder("tools")
    (tools / "boot").write_text("11111111-2222-3333-4444-555555555555\n")
    alone = "22 1 0:50 / / rw - nfs server:/ rw,vers=3,nolock,local_lock=all\n"
    (tools / "alone").write_text(alone)
    (tools / "shared").write_text(alone.replace(",nolock,local_lock=all", ",local_lock=none"))
    other = "hostname elsewhere; mount --bind boot /proc/sys/kernel/random/boot_id; mount --bind $0 /proc/$$/mountinfo; cd ..; exec \"$@\""
    if library is None or os.geteuid() or subprocess.run(["unshare", "-u", "-m", "true"], capture_output=True).returncode:
        print("skipped: needs root, and unshare")
        return
    a, no_locks = _inputs(case), "flock:1+:void"

    def elsewhere(*args, mounts="alone", rules=no_locks):
        command = ["unshare", "-u", "-m", "sh", "-c", other, mounts, "env", f"LD_PRELOAD={library}", f"ANNSLICER_FAULTS={rules}", case.binary]
        done = subprocess.run([*command, *map(str, args)], capture_output=True, text=True, timeout=120, cwd=tools, env=_env(case))
        return done.returncode, [line for line in done.stderr.splitlines() if not line.startswith("INFO")]

    def stopped(*args):
        """A run of this machine that has stopped in the middle, and the folder in which it writes."""
        run = subprocess.Popen([case.binary, *map(str, args)], stderr=subprocess.PIPE, text=True, cwd=case.work, env=_env(case, library, f"fsync:2:stop,{no_locks}"))
        os.waitpid(run.pid, os.WUNTRACED)
        return run

    def hidden():
        return [p for p in (case.work / "out").glob(".*") if (p / ".annslicer-lock").exists()]

    def told(code, said, words=None):
        right = code == 0 if words is None else code == 1 and len(said) == 1 and all(word in said[0] for word in words)
        return [] if right else [f"exit code {code}: {said}"]

    for label, more in (("slice", ()), ("resume", ("--resume",))):
        case.folder("out")
        job = ("slice", a, case.work / "out/p", "--size", "10", *more)
        run = stopped(*job)
        before = {path: sorted(path.rglob("*")) for path in hidden()}
        case.check(label, [] if before else ["it wrote nothing before it was stopped"])
        case.check(f"{label}, another prefix", told(*elsewhere("slice", a, case.work / "out/q", "--size", "10", *more)))
        host = os.uname().nodename
        case.check(f"{label}, the same prefix", told(*elsewhere(*job), (f"Process {run.pid} of {host} is writing", "if it no longer runs, remove")))
        case.check(f"{label}, its folder", [] if {path: sorted(path.rglob("*")) for path in before} == before else ["it has changed"])
        run.send_signal(signal.SIGCONT)
        said = run.communicate(timeout=120)[1]
        left = sorted(p.name for p in (case.work / "out").iterdir())
        case.check(f"{label}, goes on", [] if run.returncode == 0 and left == sorted(SHARDS + [s.replace("p_", "q_") for s in SHARDS]) else [f"exit code {run.returncode}: {said}, {left}"])

        # Killed: nobody knows it elsewhere, but where locks are seen, where long nothing was written, or where a person says so.
        for how in ("locks are seen", "it is old", "its lock is removed"):
            case.folder("out")
            run = stopped(*job)
            run.kill()
            run.communicate()
            folder, = hidden()
            if how == "it is old":
                for path in (*folder.rglob("*"), folder):
                    os.utime(path, (0, 0))
            if how == "its lock is removed":
                case.check(f"{label}, killed", told(*elsewhere(*job), ("is writing", )))
                shutil.rmtree(folder) if label == "slice" else (folder / ".annslicer-lock").unlink()
            seen = how == "locks are seen"
            code, said = elsewhere(*job, mounts="shared" if seen else "alone", rules="" if seen else no_locks)
            case.check(f"{label}, killed, {how}", told(code, said) + [f"{p} is left" for p in hidden()])


def tables_take_little_memory_whatever_they_hold(case):
    """A few packed bytes stand for lines, fields and tables without end; what is quoted of them is short."""
    a, folder = _inputs(case), case.folder("tables")
    case.folder("out")
    rows = "".join(f"c{i},{i % 3}\n" for i in range(CELLS))
    more = 64 << 20
    tables = {
        "a line of commas": ("cell,k\n" + rows, b"," * more, "more fields"),
        "a header of commas": ("", b"," * more, "fields"),
        "a long value": ("cell,k\nc0,", b"x" * more, "longer"),
        "a long header": ("cell,", b"k" * more, "longer"),
        "a quotation mark": (f'cell,k\n{rows}"', b"\n" * more, "longer"),
        "a long name": (f"cell,k\n{rows}" + "n" * (2 << 20) + ",1\n", b"", "a field"),
    }
    for label, (head, rest, word) in tables.items():
        path = folder / "t.csv.gz"
        with gzip.open(path, "wb", compresslevel=6) as out:
            out.write(head.encode() + rest)
        code, said, peak = _measured(case, ("slice", a, "out/p", "--obs-column", "k", "--csv-file", path, "--memory-limit", "256MiB", "-j", "1"))
        case.check(label, [] if code == 1 and len(said) == 1 and word in said[0] and len(said[0]) < 1000 else [f"{code}: {str(said)[:500]}"])
        case.check(label, [] if peak < 200 << 10 else [f"{path.stat().st_size} bytes took {peak} KiB"])
    names = folder / "names"
    for label, text, word in (("a long line", "n" * more, "longer"), ("many names", "".join(f"name {i}\n" for i in range(3_000_000)), "--memory-limit")):
        names.write_text(text)
        code, said, peak = _measured(case, ("filter", a, "out/f.h5ad", "--cells", names, "--memory-limit", "64MiB", "-j", "1"))
        said = [line for line in said if not line.startswith("WARNING")]
        case.check(label, [] if code == 1 and len(said) == 1 and word in said[0] and len(said[0]) < 1000 else [f"{code}: {str(said)[:500]}"])
        case.check(label, [] if peak < 200 << 10 else [f"took {peak} KiB"])
    header = ",".join(["cell", *(f"column {i}" for i in range(20_000)), "k"])
    wide = folder / "wide.csv"
    wide.write_text(header + "\n" + "".join(f"c{i}{',1.5' * 20_000},{i % 3}\n" for i in range(CELLS)))
    code, said, _ = _measured(case, ("slice", a, "out/w", "--obs-column", "k", "--csv-file", wide))
    case.check("a wide table", [] if code == 0 and len(list((case.work / "out").glob("w_*"))) == 3 else [f"{code}: {said}"])


# A process begins with the size of the one that starts it, so a small one does.
MEASURE = "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"


def _measured(case, args):
    """As _ended, with the most memory that it took, in KiB."""
    done = subprocess.run([sys.executable, "-S", "-c", MEASURE, case.binary, *map(str, args)], capture_output=True, text=True, errors="replace", cwd=case.work, env=_env(case), timeout=120)
    code, peak = map(int, done.stdout.split())
    return code, [line for line in done.stderr.splitlines() if not line.startswith("INFO")], peak


def any_path_that_the_system_allows_works(case):
    """Names that are not UTF-8, with control characters, as long as they may be; nothing of them steers the terminal."""
    a = _inputs(case)
    names = [b"caf\xe9", b"line\nbreak", b"esc\x1b[31mred", "\u202eover".encode(), b"n" * 230]
    for name in names:
        folder = os.fsencode(case.folder("odd"))
        source, prefix = os.path.join(folder, name + b".h5ad"), os.path.join(folder, b"out_" + name[:200])
        shutil.copyfile(a, source)
        runs = (
            ("slice", source, prefix, "--size", "10", "--resume"),
            ("merge", os.path.join(folder, b"m_" + name[:200] + b".zarr"), os.path.join(folder, b"*.h5ad")),
            ("info", source), ("check", source), ("slice", source, prefix, "--dry-run"),
        )
        for args in runs:
            done = subprocess.run([case.binary, *args], capture_output=True, cwd=case.work, env=_env(case), timeout=120)
            case.check(f"{args[0]} {name[:20]}", [] if done.returncode == 0 else [f"exit code {done.returncode}: {done.stderr[-500:]}"])
            raw = [c for c in (b"\x1b", "\u202e".encode()) if c in done.stdout + done.stderr]
            case.check(f"{args[0]} {name[:20]}", [f"wrote {raw}"] if raw else [])
    out = case.folder("out")
    prefix = "n" * (255 - len("_shard_0.h5ad"))
    for options in ((), ("--resume",)):
        case.works(f"the longest prefix {options}", "slice", a, out / prefix, "--size", "10", *options)


def a_stdout_that_takes_nothing_is_no_success(case):
    a = _inputs(case)
    for args in (("--version",), ("--help",), ("info", a), ("info", "--json", a), ("check", a), ("check", "--json", a), ("man",), ("slice", a, "p", "--dry-run")):
        for where in (">/dev/full", ">&-"):
            command = ["sh", "-c", f'exec "$@" {where}', "sh", case.binary, *map(str, args)]
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, cwd=case.work)
            case.check(f"{args} {where}", [] if done.returncode == 1 and "stdout" in done.stderr else [f"exit code {done.returncode}: {done.stderr}"])
    for where, code in ((">&-", 0), (">/dev/null", 0)):
        done = subprocess.run(["sh", "-c", f'"$0" slice "$1" q --size 10 {where}', case.binary, a], stderr=subprocess.PIPE, text=True, cwd=case.work)
        case.check(f"slice, which writes nothing there {where}", [] if done.returncode == code else [f"exit code {done.returncode}: {done.stderr}"])


def an_open_that_a_signal_interrupts_is_tried_again(case):
    library = _library(case)
    if library is None:
        return
    a = _inputs(case)
    for nth in range(1, 12):
        case.folder("out")
        code, said = _ended(case, ("merge", "out/m.h5ad", a, a), _env(case, library, f"open:{nth}:{errno.EINTR}:.h5ad"))
        case.check(f"open {nth}", [] if code == 0 else [f"exit code {code}: {said}"])


def metadata_of_a_store_that_disagrees_is_found(case):
    """A flipped bit in each of the files that say what a store is: check finds what anndata cannot read, or reads otherwise."""
    dice = random.Random(0)
    for version, form in ((2, "v2"), (3, "v3")):
        ad.settings.zarr_write_format = version
        store = case.folder(form) / "a.zarr"
        _adata().write_zarr(store)
        files = [p for p in store.rglob("*") if p.name in (".zgroup", ".zattrs", ".zarray", ".zmetadata", "zarr.json")]
        code, said = _ended(case, ("check", store), _env(case))
        case.check(form, [] if code == 0 else [f"a sound store: {said}"])
        for path in files:
            text = path.read_bytes()
            for at in dice.sample(range(len(text)), min(6, len(text))):
                flipped = bytearray(text)
                flipped[at] ^= 1 << dice.randrange(8)
                if _json(flipped) == _json(text):
                    continue  # white space
                path.write_bytes(flipped)
                code, said = _ended(case, ("check", store), _env(case))
                case.check(form, [] if code == 1 else [f"a flipped bit of byte {at} of {path.relative_to(store)} is sound: {bytes(flipped)[max(at - 30, 0):at + 30]}"])
            path.write_bytes(text)
        # What is not there, and what was added without consolidating.
        shutil.copytree(store / "obs", store / "uns" / "added")
        done = case.run("check", store)
        case.check(form, [] if done.returncode == 0 and "uns/added" in done.stdout else [f"an element that was added: {done.stdout}"])
        shutil.rmtree(store / "uns" / "added")
        shutil.rmtree(store / "uns" / "a")
        done = case.run("check", store)
        case.check(form, [] if done.returncode == 1 and "uns/a" in done.stdout else [f"an element that is gone: {done.stdout}"])
        case.folder("out")
        done = case.run("slice", store, "out/p")
        case.check(form, [] if done.returncode == 0 and "consolidated metadata" in done.stderr else [f"slice: {done.returncode} {done.stderr}"])


def _json(text):
    try:
        return json.loads(bytes(text))
    except ValueError:
        return None
