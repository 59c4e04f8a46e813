"""Real file systems: those that lose power, and those that keep a removed file until it is closed, as NFS and FUSE do.

Both take root and are mounted for the test: images of ext4 and XFS, which the kernel shuts down on demand
(`EXT4_IOC_SHUTDOWN`), without what is in memory; and a folder through bindfs. What is missing is skipped.
"""

import ctypes
import fcntl
import os
import random
import shutil
import signal as signals
import subprocess
import time
from contextlib import contextmanager

import anndata as ad
import numpy as np
import scipy.sparse as sp

from tool import digest

SHUTDOWN, AT_ONCE = 0x8004587D, 2  # FS_IOC_SHUTDOWN; neither data nor the journal is written
CUTS = 6


class Disk:
    """A file system in an image, mounted at `place`."""

    def __init__(self, folder, kind):
        self.image, self.place = folder / f"{kind}.img", folder / kind
        self.place.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(400 << 20)
        self.made = bool(shutil.which(f"mkfs.{kind}")) and self._call(f"mkfs.{kind}", "-q", self.image) and self.mount()

    def can_lose_power(self):
        """Whether the kernel shuts such a file system down."""
        try:
            self.lose_power()
        except OSError:
            return False
        self.come_back()
        return True

    def _call(self, *command):
        return subprocess.run(list(map(str, command)), capture_output=True).returncode == 0

    def mount(self):
        return self._call("mount", "-o", "loop", self.image, self.place)

    def lose_power(self):
        """Ends the file system as it is on disk; `come_back` mounts what is left."""
        root = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(root, SHUTDOWN, ctypes.c_uint32(AT_ONCE))
        finally:
            os.close(root)

    def come_back(self):
        self.unmount()
        assert self.mount(), "the file system cannot be mounted again"

    def unmount(self):
        for _ in range(100):
            if self._call("umount", self.place):
                return
            time.sleep(0.1)


@contextmanager
def _disk(folder, kind):
    disk = Disk(folder, kind)
    try:
        yield disk if disk.made and disk.can_lose_power() else None
    finally:
        if disk.made:
            disk.unmount()


def _inputs(folder):
    x = sp.random(4000, 300, 0.2, "csr", dtype="f4", random_state=0)
    adata = ad.AnnData(x, obs={"n": np.arange(4000)}, uns={"a": {"b": 1}})
    for at in range(2):
        adata.obs_names = [f"c{at}_{cell}" for cell in range(4000)]
        adata.write_h5ad(folder / f"in{at}.h5ad")
    return [folder / f"in{at}.h5ad" for at in range(2)]


def _jobs(a, b, out):
    shards = [f"p_shard_{at}.h5ad" for at in range(4)]
    return {
        "slice": (["slice", a, out / "p", "--shards", 4], shards),
        "shuffle": (["slice", a, out / "p", "--shards", 4, "--shuffle", "--seed", 1, "--compression", "gzip", "--resume"], shards),
        "merge": (["merge", out / "m.h5ad", a, b], ["m.h5ad"]),
        "zarr": (["merge", out / "m.zarr", a, b, "--compression", "none"], ["m.zarr"]),
    }


def what_is_published_survives_a_loss_of_power(case):
    """At any moment of a run each output is whole or not there; after exit 0 all are there."""
    if os.geteuid():
        print("skipped: not root")
        return
    folder = case.folder("power")
    a, b = _inputs(folder)
    chance, tried = random.Random(0), 0
    for kind in ("ext4", "xfs"):
        with _disk(folder, kind) as disk:
            if disk is None:
                print(f"skipped: no {kind} can be made and mounted")
                continue
            for name, (args, outputs) in _jobs(a, b, disk.place).items():
                tried += _cut(case, f"{kind}, {name}", disk, [case.binary, *map(str, args)], outputs, chance)
    print(f"power was lost {tried} times")


def _cut(case, label, disk, command, outputs, chance):
    """Loses power in the middle of a job and at its end; whoever runs it again goes on."""
    paths = [disk.place / output for output in outputs]
    of = lambda: [digest(path) if path.exists() else None for path in paths]  # noqa: E731
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole, took, ended = of(), time.monotonic() - start, 0
    for cut in range(CUTS):
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        os.sync()
        at_end = cut % 3 == 2
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if at_end:
            run.wait()
        else:
            time.sleep(took * chance.random())
        code = run.poll()  # what a run says after the loss counts for nothing: XFS then lets some flushes succeed
        disk.lose_power()
        if code is None:
            run.kill()
        run.wait()
        disk.come_back()
        now, ended = of(), ended + (code == 0)
        wrong = [path.name for path, got, want in zip(paths, now, whole) if got != want and (got is not None or code == 0)]
        case.check(f"{label}, cut {cut}, exit code {code}", [f"{name} is not whole" for name in wrong])
        again = subprocess.run(command, capture_output=True, text=True)
        case.check(f"{label}, cut {cut}, again", [] if again.returncode == 0 and of() == whole else [again.stderr[-300:]])
    case.check(label, [] if ended else ["no run ended before power was lost"])
    return CUTS


def nothing_is_left_where_open_files_cannot_be_removed(case):
    """A run closes what it removes: neither folders nor warnings stay, whether it ends well or not."""
    folder = case.folder("fuse")
    a, b = _inputs(folder)
    (folder / "under").mkdir(), (folder / "seen").mkdir()
    seen = folder / "seen"
    if not shutil.which("bindfs") or subprocess.run(["bindfs", folder / "under", seen], capture_output=True).returncode:
        print("skipped: bindfs cannot mount here")
        return
    try:
        shuffled = ["--shards", 4, "--shuffle", "--seed", 1, "--compression", "gzip", "--memory-limit", "64MB", "--tmpdir", seen]
        for args in (
            ["slice", a, seen / "p", *shuffled],
            ["slice", a, seen / "p", *shuffled, "--resume"],
            ["slice", a, b, seen / "q", "--shards", 3, "--csr"],
            ["merge", seen / "m.h5ad", a, b, "--verify"],
            ["merge", seen / "m.zarr", seen / "p_shard_0.h5ad", seen / "p_shard_1.h5ad"],
            ["filter", a, seen / "f.h5ad", "--where", "n > no_such"],
            ["slice", a, seen / "none/p", "--names", "missing.txt"],
        ):
            for _ in range(2):  # the second run replaces what the first has written
                done = case.run(*args)
                told = [line for line in done.stderr.splitlines() if "Cannot remove" in line]
                left = [path.name for path in seen.iterdir() if path.name.startswith(".")]
                case.check(args[0], [] if not told and not left else [*told, *left])
        for signal in ("INT", "KILL"):
            run = subprocess.Popen([case.binary, *map(str, ["slice", a, seen / "k", *shuffled])], stderr=subprocess.DEVNULL)
            time.sleep(0.2)
            run.send_signal(getattr(signals, f"SIG{signal}"))
            run.wait()
            if signal == "KILL":
                case.run("filter", a, seen / "f.h5ad", "--where", "n > 3")
            left = [path.name for path in seen.iterdir() if path.name.startswith(".")]
            case.check(signal, left)
    finally:
        subprocess.run(["umount", seen], check=False)
