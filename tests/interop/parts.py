"""`slice` in parts, as tasks of an array: what they publish together is what one run publishes, however tasks end."""

import json
import os
import signal
import subprocess
import time

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import trees
from safety import _library
from tool import digest

CELLS = 400


def _inputs(case):
    """Two files with every kind of matrix, one as it is and one gzipped, and a store."""
    folder = case.folder("inputs")
    paths = []
    for number, kwargs in enumerate(({}, {"compression": "gzip"})):
        x = sp.random(CELLS, 60, 0.2, "csr", dtype="f4", random_state=number)
        obs = pd.DataFrame({"donor": pd.Categorical([f"d{i % 5}" for i in range(CELLS)], categories=[f"d{i}" for i in range(6)]),
                            "n": np.arange(CELLS), "note": [f"n{i * i}" for i in range(CELLS)]}, index=[f"c{number}_{i}" for i in range(CELLS)])
        adata = ad.AnnData(x, obs=obs, var=pd.DataFrame({"s": [f"s{i}" for i in range(60)]}, index=[f"g{i + number}" for i in range(60)]))
        adata.layers["csc"] = x.tocsc()
        adata.layers["counts"] = (x * 9).astype("i4")
        adata.obsm["X_pca"] = np.arange(CELLS * 7, dtype="f8").reshape(CELLS, 7)
        adata.obsp["graph"] = sp.random(CELLS, CELLS, 0.01, "csr", random_state=number)
        adata.raw = adata.copy()
        adata.write_h5ad(folder / f"{number}.h5ad", **kwargs)
        paths.append(folder / f"{number}.h5ad")
    adata.write_zarr(folder / "1.zarr")
    return paths[0], paths[1], folder / "1.zarr"


def _jobs(case):
    """What is run in one go and in parts, by name."""
    a, z, store = _inputs(case)
    shuffle = ("--shuffle", "--seed", "7")
    return {
        "as it is": ([a], ("--size", "37")),
        "shuffled": ([a], ("--size", "37", *shuffle)),
        "shuffled, packed": ([z], ("--size", "37", *shuffle, "--compression", "gzip")),
        "in many waves": ([z], ("--size", "37", *shuffle, "--block-bytes", "9000")),
        "to Zarr": ([store], ("--size", "50", *shuffle, "--format", "zarr", "--chunk-cells", "20", "--zarr-shard-size", "20KB")),
        "several inputs": ([a, z], ("--size", "90", *shuffle, "--label", "file", "--keys", "a", "z", "--index-unique", "-")),
        "by a column": ([z], ("--obs-column", "donor", "--always-include", "d0")),
        "by a column, within": ([z], ("--obs-column", "donor", "--size-within", "--size", "30", *shuffle)),
        "a split": ([a], ("--split", "train=0.7,test=*", "--seed", "1", "--size", "33", "--split-label", "part")),
        "one shard": ([z], ("--size", "5k", *shuffle)),
        "fewer shards than parts": ([z], ("--shards", "3")),
    }


def _made(folder):
    return {str(p.relative_to(folder)): digest(p) for p in sorted(folder.iterdir())}


def _told(path):
    """What a manifest says of the outputs."""
    told = json.loads(path.read_text())
    return [{k: v for k, v in output.items() if k != "path"} for output in told["outputs"]], told["seed"]


def parts_publish_what_one_run_publishes(case):
    for name, (inputs, options) in _jobs(case).items():
        one, many = case.folder("one"), case.folder("many")
        case.works(name, "slice", *inputs, "one/p", *options, "--manifest", "one.json")
        for of in (1, 5):
            case.folder("many")
            args = ("slice", *inputs, "many/p", *options, "--manifest", "many.json")
            for part in range(of, 0, -1):
                case.works(f"{name}, part {part} of {of}", *args, "--part", f"{part}/{of}")
            case.check(name, [f"{p.name} is there before the end" for p in many.iterdir() if not p.name.startswith(".part-")])
            case.works(f"{name}, the end", *args, "--finish")
            case.check(f"{name}, {of} parts", [] if _made(many) == _made(one) else [f"{sorted(_made(many))} are not {sorted(_made(one))}"])
            told = [_told(case.work / f"{which}.json") for which in ("one", "many")]
            case.check(f"{name}, the manifest", [] if told[0] == told[1] else told)


def _parts(case, args, *numbers, of=4, stage=()):
    for number in numbers:
        case.works(f"part {number} {stage}", *args, "--part", f"{number}/{of}", *stage)


SCATTER, GATHER = ("--stage", "scatter"), ("--stage", "gather")


def two_stages_publish_what_one_run_publishes(case):
    a, z, store = _inputs(case)
    shuffle, waves = ("--shuffle", "--seed", "7"), ("--block-bytes", "9000")
    jobs = {
        "shuffled": ([z], ("--size", "37", *shuffle)),
        "packed again": ([z], ("--size", "37", *shuffle, "--compression", "gzip")),
        "in many blocks": ([z], ("--size", "37", *shuffle, *waves)),
        "with large shards": ([z], ("--size", "150", *shuffle, *waves, "--verify")),
        "from Zarr to Zarr": ([store], ("--size", "50", *shuffle, "--format", "zarr", *waves)),
        "from Zarr": ([store], ("--size", "50", *shuffle, "--csr")),
        "several inputs": ([z, store, a], ("--size", "90", *shuffle, "--join", "outer", "--keys", "z", "s", "a", "--index-unique", "-")),
        "several inputs in blocks": ([z, store], ("--size", "90", *shuffle, "--join", "inner", *waves)),
        "by a column": ([z], ("--obs-column", "donor", "--always-include", "d0", *waves)),
        "a split": ([z], ("--split", "train=0.5,test=*", "--seed", "1", "--size", "33")),
        "sorted": ([z], ("--size", "130", *shuffle, "--sort-by", "donor", "--x-from", "layers/counts", *waves)),
        "one shard": ([z], ("--size", "5k", *shuffle, *waves)),
    }
    for name, (inputs, options) in jobs.items():
        one, many = case.folder("one"), case.folder("many")
        case.works(name, "slice", *inputs, "one/p", *options)
        for of in (1, 3):
            case.folder("many")
            case.folder("buckets")
            args = ("slice", *inputs, "many/p", *options, "--bucket-dir", "buckets") if of == 3 else ("slice", *inputs, "many/p", *options)
            _parts(case, args, *range(of, 0, -1), of=of, stage=SCATTER)
            _parts(case, args, *range(1, of + 1), of=of, stage=GATHER)
            case.works(f"{name}, the end", *args, "--finish")
            case.check(f"{name}, {of} parts", [] if _made(many) == _made(one) else [f"{sorted(_made(many))} are not {sorted(_made(one))}"])
            case.check(f"{name}, {of} parts", [f"{p} is left" for p in (case.work / "buckets").iterdir()])


def buckets_are_whole_or_refused(case):
    a, z, _ = _inputs(case)
    out = case.folder("out")
    args = ("slice", z, "out/p", "--size", "20", "--shuffle", "--seed", "1", "--block-bytes", "9000")
    gather = (*args, "-q", "--part", "2/3", *GATHER)
    _refused(case, "no buckets", gather, "There are no buckets of 3 parts of out/p")
    _parts(case, args, 2, of=3, stage=SCATTER)
    _refused(case, "missing", gather, "the buckets of parts 1,3 of 3 of out/p", "--array=1,3")
    _parts(case, args, 1, 3, of=3, stage=SCATTER)
    again = case.run(*args, "--part", "1/3", *SCATTER)
    case.check("again", [] if "Part 1 of 3 is done already" in again.stderr else [again.stderr])
    _refused(case, "another seed", ("slice", z, "out/p", "--size", "20", "--shuffle", "--seed", "2", "-q", "--part", "2/3", *GATHER), "--seed is 1, and not 2")
    bucket = sorted(out.glob(".scatter-3*/p_bucket_3_*_2.h5ad"))[0]
    stat, whole = bucket.stat(), bucket.read_bytes()
    for where in (len(whole) - 9, len(whole) // 2, 100):
        damaged = bytearray(whole)
        damaged[where] ^= 4
        bucket.write_bytes(damaged)
        os.utime(bucket, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        _refused(case, "a flipped bit", gather, bucket.name, "is damaged", "scatter part 3 again")
    bucket.write_bytes(whole[:-1])
    _refused(case, "a short bucket", gather, "the buckets of parts 3 of 3", "--array=3")
    bucket.unlink()
    _refused(case, "no bucket", gather, "the buckets of parts 3 of 3", "--array=3")
    _parts(case, args, 3, of=3, stage=SCATTER)
    os.utime(z)
    _refused(case, "a changed input", gather, "the buckets of parts 1-3 of 3", "has changed since")
    for label, source, options, word in (("plain", a, ("--shuffle", "--seed", "1"), "No matrix of the input is compressed"), ("in order", z, (), "in the order of the input")):
        for stage in (SCATTER, GATHER):
            done = case.run("slice", source, "out/q", *options, "--part", "1/2", *stage)
            case.check(label, [] if done.returncode == 2 and word in done.stderr and "leave --stage out" in done.stderr else [done.stderr])


def a_scatter_goes_on_where_it_was_killed(case):
    _, z, _ = _inputs(case)
    args = ("slice", z, "out/p", "--size", "40", "--shuffle", "--seed", "1", "--block-bytes", "5000")
    out = case.folder("out")
    case.works("one run", *args)
    whole = _made(out)
    out = case.folder("out")
    task = (*args, "--part", "1/2", *SCATTER)
    run = subprocess.Popen([case.binary, *map(str, task)], cwd=case.work, stderr=subprocess.PIPE, text=True)
    while run.poll() is None and len(list(out.glob(".scatter-1*/p_bucket_*"))) < 9:
        time.sleep(0.001)
    run.kill()
    run.communicate(timeout=300)
    done = case.run(*task)
    case.check("goes on", [] if " are kept, " in done.stderr else [done.stderr])
    _parts(case, args, 2, of=2, stage=SCATTER)
    _parts(case, args, 1, 2, of=2, stage=GATHER)
    case.works("the end", *args, "--finish")
    case.check("the end", [] if _made(out) == whole else ["the shards differ from those of one run"])
    disk = case.folder("disk")
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True).returncode:
        return
    try:
        done = case.run(*task, "--bucket-dir", "disk", "-q")
        said = done.stderr.splitlines()
        case.check("a full disk", [] if done.returncode == 1 and len(said) == 1 and "The buckets need" in said[0] and "--bucket-dir" in said[0] else [done.stderr])
        case.check("a full disk", [f"left {p}" for p in disk.iterdir() if not p.name.startswith(".scatter-1")])
    finally:
        subprocess.run(["umount", disk], check=True)


def _refused(case, label, args, *words):
    done = case.run(*args)
    said = done.stderr.splitlines()
    case.check(label, [] if done.returncode == 1 and len(said) == 1 else [f"{done.returncode}: {done.stderr}"])
    case.check(label, [f"{word!r} is not in {done.stderr}" for word in words if word not in done.stderr])
    case.check(label, [f"published {p.name}" for p in (case.work / "out").glob("p_*")])


def what_is_missing_or_of_another_plan_is_not_published(case):
    a, z, _ = _inputs(case)
    case.folder("out")
    args = ("slice", z, "out/p", "--size", "20", "--shuffle", "--seed", "1")
    finish = (*args, "-q", "--finish")
    _refused(case, "no parts", finish, "There are no parts of out/p")
    _parts(case, args, 2)
    _refused(case, "missing", finish, "parts 1,3-4 of 4 of out/p", "--array=1,3-4")
    _parts(case, args, 1, 3)
    shard = next((case.work / "out").glob(".part-3*/p_shard_12.h5ad"))
    os.utime(shard)
    _refused(case, "another shard", finish, "parts 3-4 of 4 of out/p")
    _parts(case, args, 3, 4)
    others = {
        "size": ((*args[:3], "--size", "10", *args[5:]), "--size is 20, and not 10"),
        "seed": ((*args[:-1], "2"), "--seed is 1, and not 2"),
        "order": ((*args[:5], "--sort-by", "n"), "--shuffle is true, and not false"),
        "compression": ((*args, "--compression", "gzip"), "--compression is not given, and not gzip"),
        "input": (("slice", a, *args[2:]), str(z)),
    }
    for name, (other, word) in others.items():
        _refused(case, name, (*other, "-q", "--finish"), "parts 1-4 of 4 of out/p", word)
    os.utime(z)
    _refused(case, "a changed input", finish, "parts 1-4 of 4", f"{z} has changed since")
    _parts(case, args, 1, 2)
    _refused(case, "a changed input", finish, "parts 3-4 of 4", "has changed since")
    _parts(case, args, 3, 4)
    record = next((case.work / "out").glob(".part-2*/.annslicer-record.json"))
    record.write_text(record.read_text().replace('"version":"', '"version":"0.0.', 1))
    _refused(case, "another version", finish, "parts 2 of 4", "are of annslicer 0.0.")
    _parts(case, args, 2)
    case.works("the end", *finish)
    left = [p.name for p in (case.work / "out").iterdir() if not p.name.startswith("p_shard_")]
    case.check("the end", [f"left {left}"] if left else [])
    _refused_after = case.run(*finish)
    case.check("a second end", [] if _refused_after.returncode == 1 else ["a second end ended well"])


def a_part_goes_on_where_it_was_killed(case):
    _, z, _ = _inputs(case)
    args = ("slice", z, "out/p", "--size", "5", "--shuffle", "--seed", "1", "--block-bytes", "4000")
    case.folder("out")
    case.works("one run", *args)
    whole = _made(case.work / "out")
    for how in (signal.SIGKILL, signal.SIGTERM):
        case.folder("out")
        task = (*args, "--part", "2/2")
        run = subprocess.Popen([case.binary, *map(str, task)], cwd=case.work, stderr=subprocess.PIPE, text=True)
        while run.poll() is None and len(list((case.work / "out").glob(".part-2*/p_shard_*"))) < 5:
            time.sleep(0.002)
        run.send_signal(signal.SIGSTOP)
        second = case.run(*task)
        case.check("two at once", [] if run.poll() is not None or second.returncode == 1 and "is writing part 2 of 2 of out/p" in second.stderr else [second.stderr])
        other = case.run(*args)
        case.check("a whole run meanwhile", [] if run.poll() is not None or other.returncode == 1 and "is writing" in other.stderr else [other.stderr])
        run.send_signal(how)
        run.send_signal(signal.SIGCONT)
        run.communicate(timeout=300)
        _parts(case, args, 1, of=2)
        done = case.run(*task)
        case.check(f"signal {how}", [] if " are kept, " in done.stderr or run.returncode == 0 else [done.stderr])
        again = case.run(*task)
        case.check("done", [] if "Part 2 of 2 is done already" in again.stderr else [again.stderr])
        case.works("the end", *args, "--finish")
        case.check(f"signal {how}", [] if _made(case.work / "out") == whole else ["the shards differ from those of one run"])


def tasks_of_machines_that_see_no_locks_work_together(case):
    """Where root may give a process another host name, boot and mounts: what has ended on one machine is known on the other."""
    library, tools = _library(case), case.folder("tools")
    (tools / "boot").write_text("11111111-2222-3333-4444-555555555555\n")
    (tools / "mounts").write_text("22 1 0:50 / / rw - nfs server:/ rw,vers=3,nolock,local_lock=all\n")
    if library is None or os.geteuid() or subprocess.run(["unshare", "-u", "-m", "true"], capture_output=True).returncode:
        print("skipped: needs root, and unshare")
        return
    other = "hostname elsewhere; mount --bind boot /proc/sys/kernel/random/boot_id; mount --bind mounts /proc/$$/mountinfo; cd ..; exec \"$@\""
    env = {**os.environ, "LD_PRELOAD": str(library), "ANNSLICER_FAULTS": "flock:1+:void"}

    def task(*args, at="here"):
        place = ["unshare", "-u", "-m", "sh", "-c", other, "sh"] if at == "there" else []
        return subprocess.Popen([*place, case.binary, *map(str, args)], cwd=tools if place else case.work, stderr=subprocess.PIPE, text=True, env=env)

    def works(label, *args, at, word=""):
        run = task(*args, at=at)
        said = run.communicate(timeout=300)[1]
        case.check(label, [] if run.returncode == 0 and word in said else [f"{run.returncode}: {said}"])

    _, z, _ = _inputs(case)
    args = ("slice", z, "out/p", "--size", "5", "--shuffle", "--seed", "1", "--block-bytes", "4000")
    case.folder("out")
    case.works("one run", *args)
    whole = _made(case.work / "out")
    case.folder("out")
    stopped = task(*args, "--part", "1/2")
    while stopped.poll() is None and not list((case.work / "out").glob(".part-1*/p_shard_7.h5ad")):
        time.sleep(0.002)
    stopped.terminate()
    said = stopped.communicate(timeout=300)[1]
    case.check("stopped", [] if stopped.returncode == 143 and "kept for --resume" in said else [said])
    works("goes on there", *args, "--part", "1/2", at="there", word=" are kept, ")
    works("another part", *args, "--part", "2/2", at="here")
    works("done", *args, "--part", "2/2", at="there", word="done already")
    works("the end", *args, "--finish", at="there")
    case.check("the end", [] if _made(case.work / "out") == whole else ["the shards differ from those of one run"])


def an_end_that_is_killed_is_done_again(case):
    a, _, _ = _inputs(case)
    args = ("slice", a, "out/p", "--size", "20", "--format", "zarr", "--keep", "X", "obs")
    case.folder("out")
    case.works("one run", *args)
    whole = _made(case.work / "out")
    for delay in (0.01, 0.02, 0.03, 0.05):
        out = case.folder("out")
        for name in list(whole)[:5]:
            (out / name).mkdir()
        _parts(case, args, 1, 2, 3, of=3)
        run = subprocess.Popen([case.binary, *map(str, args), "--finish"], cwd=case.work, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        run.kill()
        shards = lambda: {name: made for name, made in _made(out).items() if not name.startswith(".") and not name.endswith(".kept")}
        if run.wait() and shards() != whole:  # else it was killed when all stood in their places
            case.works("again", *args, "--finish")
        left = shards()
        case.check(f"killed after {delay} s", [] if left == whole else ["the shards differ from those of one run"])


def a_dry_run_tells_what_a_task_takes(case):
    a, _, _ = _inputs(case)
    args = ("slice", a, "out/p", "--size", "10", "--dry-run", "--json")
    whole = json.loads(case.run(*args).stdout)
    parts = [json.loads(case.run(*args, "--part", f"{i}/3").stdout) for i in (1, 2, 3)]
    outputs = [output for part in parts for output in part["outputs"]]
    case.check("outputs", [] if outputs == whole["outputs"] else ["those of the parts are not those of all"])
    sizes = [sum(output["bytes"] for output in part["outputs"]) for part in parts]
    case.check("bytes", [] if max(sizes) < 1.1 * min(sizes) else [f"{sizes} differ"])
    case.check("nothing", [] if not (case.work / "out").exists() else ["a dry run made a folder"])


def parts_of_nothing(case):
    """A merge of files without cells in parts: what begins an array is written once."""
    folder = case.folder("nothing")
    adata = ad.AnnData(sp.csr_matrix((0, 3), dtype="f4"), var=pd.DataFrame(index=["a", "b", "c"]))
    adata.write_h5ad(folder / "e.h5ad")
    for steps in (["--part", "1/2"], ["--part", "2/2"], ["--finish"]):
        case.works(" ".join(steps), "merge", folder / "p.zarr", folder / "e.h5ad", *steps)
    if case.works("whole", "merge", folder / "w.zarr", folder / "e.h5ad"):
        case.same_tree("store", trees.load(folder / "w.zarr"), folder / "p.zarr")
