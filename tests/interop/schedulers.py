"""The examples for schedulers, run: what their tasks publish is what one run publishes, byte for byte.

A Slurm of one node is started on loopback, from a folder of its own, where slurmctld, slurmd and munged are installed and this is root
(Debian: slurm-wlm and munge). Snakemake is the one on the PATH, or that of ANNSLICER_SNAKEMAKE, and
needs its plugin for Slurm to run there. What is not there is said, and skipped.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from tool import digest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CELLS = 1200
OPTIONS = ("--size", "50", "--shuffle", "--seed", "0", "--block-bytes", "20000")
CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={dir}/munge.sock
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool
SlurmctldPidFile={dir}/ctld.pid
SlurmdPidFile={dir}/d.pid
SlurmctldLogFile={dir}/log/ctld
SlurmdLogFile={dir}/log/d
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=2
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=8000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""


def _input(case):
    x = sp.random(CELLS, 300, 0.2, "csr", dtype="f4", random_state=0)
    adata = ad.AnnData(x, obs=pd.DataFrame({"n": np.arange(CELLS)}, index=[f"c{i}" for i in range(CELLS)]))
    adata.layers["counts"] = x.copy()
    adata.write_h5ad(case.work / "atlas.h5ad", compression="gzip")
    case.folder("one")
    case.works("one run", "slice", "atlas.h5ad", "one/atlas", *OPTIONS)
    return _made(case.work / "one")


def _made(folder):
    return {str(p.relative_to(folder)): digest(p) for p in sorted(folder.iterdir()) if p.suffix != ".json"}


def _same(case, label, whole):
    made = _made(case.work / "out")
    case.check(label, [] if made == whole else [f"{sorted(made)} are not the shards of one run"])


def _env(case, **more):
    """The example calls `annslicer`."""
    tools = case.folder("tools")
    (tools / "annslicer").symlink_to(Path(case.binary).resolve())
    return {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", **more}


def _ports():
    with socket.socket() as a, socket.socket() as b:
        for one in (a, b):
            one.bind(("127.0.0.1", 0))
        return a.getsockname()[1], b.getsockname()[1]


@contextlib.contextmanager
def _slurm(case):
    """The environment for the commands of a Slurm that runs meanwhile; None where there can be none."""
    needed = ("slurmctld", "slurmd", "munged", "sbatch")
    if os.geteuid() or not all(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in needed):
        print("skipped: needs root, slurm-wlm and munge")
        yield None
        return
    folder = case.folder("slurm")
    for name in ("spool", "state", "log"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    host = socket.gethostname().split(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(dir=folder, host=host, ports=_ports(), cpus=os.cpu_count()))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    env = _env(case, SLURM_CONF=str(conf))
    env["PATH"] += ":/usr/sbin"
    try:
        for command in (("munged", "--force", f"--key-file={key}", f"--socket={folder}/munge.sock", f"--pid-file={folder}/munged.pid",
                         f"--log-file={folder}/log/munged", f"--seed-file={folder}/seed"), ("slurmctld",), ("slurmd", "-N", host)):
            subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(1)
        for _ in range(60):
            if "idle" in subprocess.run(("sinfo", "-h", "-o", "%t"), env=env, capture_output=True, text=True).stdout:
                break
            time.sleep(1)
        else:
            print(f"skipped: Slurm does not come up here: {(folder / 'log' / 'ctld').read_text()[-300:]}")
            yield None
            return
        yield env
    finally:
        for name in ("d", "ctld", "munged"):
            with contextlib.suppress(OSError, ValueError):
                process = int((folder / f"{name}.pid").read_text())
                os.kill(process, 15)
                for _ in range(100):  # until it has ended
                    os.kill(process, 0)
                    time.sleep(0.1)


def _queue(env):
    """The tasks that are not done: each with its state and why it waits."""
    done = subprocess.run(("squeue", "-h", "-r", "-o", "%i %T %r"), env=env, capture_output=True, text=True)
    return done.stdout.splitlines()


def slurm_runs_the_example(case):
    whole = _input(case)
    out = case.folder("out")
    with _slurm(case) as env:
        if env is None:
            return
        command = ("sh", EXAMPLES / "slurm" / "submit.sh", "atlas.h5ad", "out/atlas", "8", *OPTIONS)
        done = subprocess.run(command, env={**env, "MEMORY_LIMIT": "1GB"}, cwd=case.work, capture_output=True, text=True, timeout=120)
        case.check("submit", [] if done.returncode == 0 else [done.stderr])
        scatter = done.stdout.split()[1].rstrip(",")
        task, began, killed = f"{scatter}_3", time.monotonic(), False
        while _queue(env) and time.monotonic() - began < 400:
            if not killed and len(list(out.glob(".scatter-3-*/atlas_bucket_*"))) > 2:
                requeued = subprocess.run(("scontrol", "requeue", task), env=env, capture_output=True, text=True)
                killed = requeued.returncode == 0
                case.check("requeue", [] if killed else [requeued.stderr])
            if killed:  # it would wait for minutes
                subprocess.run(("scontrol", "update", f"jobid={task}", "StartTime=now"), env=env, capture_output=True)
            time.sleep(0.05 if not killed else 1)
        left = _queue(env)
        logs = {p.name: p.read_text()[-300:] for p in case.work.glob("slurm-*.out") if "ERROR" in p.read_text()}
        case.check("all tasks end", [f"left {left}, {logs}"] if left else [])
        case.check("one is killed", [] if killed else ["task 3 was too fast"])
        again = [p.read_text() for p in case.work.glob(f"slurm-{scatter}_3.out")]
        case.check("it goes on", [] if any("is scattered" in text or "done already" in text for text in again) else again)
    _same(case, "the shards", whole)


def make_runs_the_example(case):
    if not shutil.which("make"):
        print("skipped: needs make")
        return
    whole = _input(case)
    case.folder("out")
    command = ("make", "-j", "3", "-f", EXAMPLES / "Makefile", "N=3", f"OPTIONS={' '.join(OPTIONS)}")
    done = subprocess.run(command, env=_env(case), cwd=case.work, capture_output=True, text=True, timeout=300)
    case.check("make", [] if done.returncode == 0 else [done.stderr[-500:]])
    _same(case, "the shards", whole)
    again = subprocess.run(command, env=_env(case), cwd=case.work, capture_output=True, text=True, timeout=300)
    case.check("again", [] if "up to date" in again.stdout else [again.stdout + again.stderr])


def _snakemake():
    return os.environ.get("ANNSLICER_SNAKEMAKE") or shutil.which("snakemake")


def _run_snakemake(case, env, snakemake, *options):
    whole = _input(case)
    case.folder("out")
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(EXAMPLES / "snakemake" / name, case.work / name)
    config = (f"options={' '.join(OPTIONS)}", "tasks=3", "mem_mb=1000")
    command = (snakemake, *options, "--config", *config)
    done = subprocess.run(command, env=env, cwd=case.work, capture_output=True, text=True, timeout=400)
    case.check("snakemake", [] if done.returncode == 0 else [done.stderr[-1500:]])
    _same(case, "the shards", whole)
    case.check("the manifest", [] if (case.work / "out" / "atlas.json").exists() else ["it is missing"])


def snakemake_runs_the_example(case):
    snakemake = _snakemake()
    if not snakemake:
        print("skipped: needs snakemake, on the PATH or as ANNSLICER_SNAKEMAKE")
        return
    _run_snakemake(case, _env(case), snakemake, "--cores", "2")


def snakemake_runs_the_example_by_slurm(case):
    snakemake = _snakemake()
    plugins = subprocess.run((snakemake, "--help"), capture_output=True, text=True).stdout if snakemake else ""
    if "--slurm-status-command" not in plugins:
        print("skipped: needs snakemake, on the PATH or as ANNSLICER_SNAKEMAKE, with snakemake-executor-plugin-slurm")
        return
    with _slurm(case) as env:
        if env is not None:
            srun = case.work / "tools" / "srun"  # the plugin removes SLURM_CONF from the environment of its tasks
            srun.write_text(f'#!/bin/sh\nSLURM_CONF={env["SLURM_CONF"]} exec {shutil.which("srun")} "$@"\n')
            srun.chmod(0o755)
            asked = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2")
            _run_snakemake(case, env, snakemake, "--executor", "slurm", "--jobs", "3", *asked)
            jobs = subprocess.run(("squeue", "-h", "-t", "all", "-o", "%T"), env=env, capture_output=True, text=True).stdout.split()
            case.check("its jobs", [] if jobs == ["COMPLETED"] * 7 else jobs)
