"""One scenario's surroundings: the program under test, a folder to work in, the corpus, and the list of what went wrong."""

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import compare
import corpus
import trees

OLD_FILES = Path(__file__).resolve().parents[1] / "data" / "anndata"  # of releases of anndata since 0.5.0


@dataclass
class Case:
    binary: str
    work: Path
    corpus: Path
    faults: list = field(default_factory=list)
    done: int = 0

    def check(self, label, lines):
        """Note the differences found under `label`, at most six of them."""
        self.done += 1
        lines = list(lines)
        self.faults += [f"{label}: {line}" for line in lines[:6]]
        if len(lines) > 6:
            self.faults.append(f"{label}: and {len(lines) - 6} more")

    def folder(self, name):
        """An empty folder of that name."""
        path = self.work / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def run(self, *args, **env):
        """The finished process of `annslicer ARGS`."""
        return subprocess.run([self.binary, *map(str, args)], capture_output=True, text=True, errors="replace", timeout=300,
                              cwd=self.work, env={**os.environ, **env})

    def works(self, label, *args, **env):
        """True when the program ends well; what it said otherwise is noted."""
        self.stderr = ""
        done = self.run(*args, **env)
        self.stderr = done.stderr
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if not line.startswith("INFO")][-4:]
            self.check(label, [f"exit code {done.returncode} of {' '.join(map(str, args))}: {' / '.join(said)}"])
        return done.returncode == 0

    def slice(self, label, source, *options, **env):
        """The shards that `slice` makes of `source`, in order; None when it failed."""
        out = self.folder("slices") / "deep" / "s"
        if not self.works(label, "slice", source, out, *options, **env):
            return None
        made = sorted(out.parent.iterdir(), key=lambda p: int(p.stem.rpartition("_")[2]) if p.stem.startswith("s_shard_") else -1)
        want = [f"s_shard_{i}.h5ad" for i in range(len(made))]
        if [p.name for p in made] != want:
            self.check(label, [f"made {[p.name for p in made]}, want {want}"])
            return None
        return made

    def same_tree(self, label, want, path, *changes):
        """The file at `path` holds `want`, once each of `changes` has rewritten the nodes of both."""
        got = trees.load(path)
        for change in changes:
            want, got = trees.rewrite(want, change), trees.rewrite(got, change)
        self.check(label, trees.diff(want, got))

    def same_adata(self, label, want, path, **options):
        """What anndata reads at `path` is `want`."""
        try:
            got = corpus.read(path)
        except Exception as error:  # whatever makes anndata refuse the file is the finding
            self.check(label, [f"anndata cannot read {path.name}: {error!r}"[:400]])
            return
        self.check(label, compare.diff_adata(want, got, **options))


def digest(path):
    """SHA-256 over a file, or over a folder's names and files."""
    path, out = Path(path), hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        out.update(str(file.relative_to(path)).encode() + b"\0" + file.read_bytes())
    return out.hexdigest()
