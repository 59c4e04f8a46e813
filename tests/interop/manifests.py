"""`--manifest` against what hashlib and anndata find, and `--dry-run` against what is written then."""

import hashlib
import json

import anndata as ad
import numpy as np

import corpus


def _sha256(path):
    """As the README defines it: of a store, over the lines that `sha256sum --zero` prints of its files in the order of their names."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    out = hashlib.sha256()
    files = {str(p.relative_to(path)).encode(): p for p in path.rglob("*") if p.is_file()}
    for name in sorted(files):
        out.update(_sha256(files[name]).encode() + b"  " + name + b"\0")
    return out.hexdigest()


def _bytes(path):
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


def _nonzeros(adata):
    found = {"X": adata.X, **{f"{kind}/{k}": v for kind in ("layers", "obsm", "obsp") for k, v in getattr(adata, kind).items()}}
    if adata.raw is not None:
        found["raw/X"] = adata.raw.X
    return {k: v.nnz for k, v in found.items() if hasattr(v, "nnz")}


def _agrees(case, label, path, outputs, inputs, seed=None):
    """The manifest at `path` tells what stands at `outputs`, in this order."""
    said = json.loads(path.read_text())
    rows = []
    for told, made in zip(said["outputs"], outputs):
        adata = corpus.read(made)
        rows.append(adata.n_obs)
        want = {"path": str(made), "rows": adata.n_obs, "nonzeros": _nonzeros(adata), "bytes": _bytes(made), "sha256": _sha256(made)}
        case.check(f"{label}: {made.name}", [f"{k}: {told.get(k)}, want {v}" for k, v in want.items() if told.get(k) != v])
    want = {"limits": [int(n) for n in np.cumsum(rows)], "seed": seed,
            "inputs": [{"path": str(p), "bytes": _bytes(p), "mtime_ns": p.stat().st_mtime_ns} for p in inputs if p.is_file()]}
    case.check(label, [f"{k}: {said[k]}, want {v}" for k, v in want.items() if said[k] != v and not (k == "inputs" and len(v) < len(inputs))])
    case.check(label, [] if len(said["outputs"]) == len(outputs) and said["command"][0] and said["version"] else [f"{len(said['outputs'])} outputs"])


def manifests_tell_what_was_written(case):
    source = case.corpus / "full.h5ad"
    folder = case.folder("manifest")
    path, prefix = folder / "made.json", folder / "s"
    path.write_text("an older one")
    for options, seed in ((("--size", "19"), None), (("--size", "20", "--shuffle", "--seed", "7"), 7), (("--shards", "3", "--compression", "gzip"), None)):
        for old in folder.glob("s_*"):
            old.unlink()
        if case.works(" ".join(options), "slice", source, prefix, "--manifest", path, *options):
            made = sorted(folder.glob("s_*"), key=lambda p: int(p.stem.rpartition("_")[2]))
            _agrees(case, " ".join(options), path, made, [source], seed)
    shards = sorted(folder.glob("s_*"))
    for suffix in (".h5ad", ".zarr"):
        merged, some = folder / f"merged{suffix}", folder / f"some{suffix}"
        if case.works(f"merge {suffix}", "merge", merged, *shards, "--manifest", path):
            _agrees(case, f"merge {suffix}", path, [merged], shards)
            if case.works(f"filter {suffix}", "filter", merged, some, "--where", "i4 != 12345678", "--manifest", path):
                _agrees(case, f"filter {suffix}", path, [some], [merged])


def a_seed_that_was_drawn_is_in_the_manifest(case):
    source, folder = case.corpus / "full.h5ad", case.folder("manifest")
    path = folder / "made.json"
    if case.works("drawn", "slice", source, folder / "a", "--shuffle", "--size", "30", "--manifest", path):
        seed = json.loads(path.read_text())["seed"]
        if case.works("again", "slice", source, folder / "b", "--shuffle", "--size", "30", "--seed", seed):
            for made in sorted(folder.glob("a_*")):
                again = folder / made.name.replace("a_", "b_", 1)
                case.same_adata(made.name, corpus.read(made), again)
    if case.works("long", "slice", source, folder / "c", "--shuffle", "--seed", str(2**70), "--manifest", path):
        case.check("long", [] if json.loads(path.read_text())["seed"] == str(2**70) else [path.read_text()[:300]])


def a_dry_run_tells_what_is_written_then(case):
    """Rows exactly, sizes about, and nothing is made."""
    source = case.corpus / "full.h5ad"
    big = corpus.write(ad.AnnData(np.random.default_rng(0).random((3000, 500), "f4")), case.folder("dry") / "big.h5ad")
    folder = case.work / "dry"
    for path, options in ((source, ("--size", "19")), (big, ("--size", "1000")), (big, ("--shards", "4", "--shuffle"))):
        before = sorted(folder.rglob("*"))
        done = case.run("slice", path, folder / "new" / "s", "--dry-run", *options)
        label = f"{path.name} {' '.join(options)}"
        case.check(label, [] if done.returncode == 0 and sorted(folder.rglob("*")) == before else [done.stderr])
        lines = [line.split() for line in done.stdout.splitlines() if str(folder / "new") in line]
        if not case.works(label, "slice", path, folder / "made" / "s", *options):
            continue
        made = sorted((folder / "made").iterdir())
        case.check(label, [] if len(made) == len(lines) else [done.stdout])
        for (rows, size, unit, name), output in zip(lines, made):
            want = corpus.read(output).n_obs
            case.check(f"{label}: {output.name}", [] if int(rows.replace(",", "")) == want and name.endswith(output.name) else [f"{rows} {name}, want {want}"])
            told = float(size) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
            near = path != big or 0.7 < told / output.stat().st_size < 1.3
            case.check(f"{label}: {output.name}", [] if near else [f"{told} bytes, want {output.stat().st_size}"])
        for output in made:
            output.unlink()
