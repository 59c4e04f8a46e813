"""Proofs about `merge`: many files with few handles, and what tells the sources of cells, against `anndata.concat` with the same arguments."""

import subprocess

import anndata as ad
import numpy as np
import pandas as pd

import corpus
from compare import diff_elem
from concat import GENES, JOINS, _concat, _matrix_lines, _obs_lines, _var_lines, genes, part

FILES, HANDLES = 300, 64


def merge_of_many_files_opens_one_at_a_time(case):
    """More files than the process may open, with genes, types and columns of obs that differ."""
    columns = ({"a": [1, 2], "c": pd.Categorical(["x", "y"])}, {"a": [1.5, np.nan]}, {"c": ["y", "z"], "w": ["ü", ""]})
    for names in (GENES, GENES[:1] * 3):
        folder = case.folder("many")
        parts = [part(i, 2, names[i % 3], ("csr", "dense", "csc")[i % 3], obs=columns[i % 3]) for i in range(FILES)]
        paths = [corpus.write(p, folder / f"in_{i:03}.{'zarr' if i % 50 == 7 else 'h5ad'}") for i, p in enumerate(parts)]
        for out in (folder / "out.h5ad", folder / "out.zarr"):
            done = subprocess.run(["bash", "-c", f'ulimit -n {HANDLES}; exec "$0" "$@"', case.binary, "merge", out, *paths], capture_output=True, text=True)
            case.check(out.name, done.stderr.splitlines()[-3:] if done.returncode else [])
            if done.returncode:
                continue
            got, want = corpus.read(out), _concat(parts, "outer")
            case.check(f"{out.name}: obs names", [] if list(got.obs_names) == list(want.obs_names) else ["differ"])
            case.check(f"{out.name}: genes", [] if list(got.var_names) == list(want.var_names) else [f"{list(got.var_names)}"])
            case.check(f"{out.name}: X", _matrix_lines(want.X, got.X))
            case.check(f"{out.name}: var", _var_lines(parts, got.var))
            case.check(f"{out.name}: obs", _obs_lines([p.obs for p in parts], got.obs))


def _sources(case, label, parts, options, names=None, suffix=".h5ad"):
    """What merge makes of the parts, and what it says."""
    folder = case.folder("sources")
    paths = [corpus.write(p, folder / f"{(names or 'abcdef')[i]}.h5ad") for i, p in enumerate(parts)]
    out = folder / f"out{suffix}"
    return corpus.read(out) if case.works(label, "merge", out, *paths, *options) else None


def concat_labels_the_sources(case):
    """`--label`, `--keys` and `--index-unique` are the arguments of the same names; keys are the stems of the files otherwise."""
    for join in JOINS:
        for suffix in (".h5ad", ".zarr"):
            for label, keys, unique in (("batch", None, None), ("batch", ["x", "ü y", "z.1"], None), (None, ["k", "l", "m"], "-"), ("batch", ["9", "10", "1"], "::"), ("a/b", None, "")):
                parts = [part(7, 3 * i, GENES[i], obs={"n": np.arange(3 * i)}) for i in range(3)]
                for p in parts:
                    p.obsm["f"] = pd.DataFrame({"v": np.arange(p.n_obs)}, index=p.obs_names)
                options = ["--join", join]
                options += ["--label", label] if label else []
                options += ["--index-unique", unique] if unique is not None else []
                options += ["--keys", *keys] if keys else []
                what = " ".join(options) + suffix
                got = _sources(case, what, parts, options, suffix=suffix)
                if got is None:
                    continue
                want = ad.concat(parts, join=join, label=label, keys=keys or ["a", "b", "c"], index_unique=unique)[:, genes(parts, join)].copy()
                case.check(f"{what}: obs names", [] if list(got.obs_names) == list(want.obs_names) else [f"{list(got.obs_names)}, want {list(want.obs_names)}"])
                case.check(f"{what}: obsm", [] if list(got.obsm["f"].index) == list(want.obs_names) else [f"{list(got.obsm['f'].index)}"])
                case.check(f"{what}: obs", diff_elem(want.obs, got.obs, "obs"))
                case.check(f"{what}: X", _matrix_lines(want.X, got.X))


def concat_replaces_a_column_by_the_label(case):
    """In its place, with a warning; an index of that name gives way."""
    parts = [part(i, 3, GENES[0], obs={"batch": [1, 2, 3], "n": [1.5, 2, 3]}) for i in range(2)]
    got = _sources(case, "replaced", parts, ["--label", "batch"])
    if got is not None:
        case.check("replaced", diff_elem(ad.concat(parts, label="batch", keys=["a", "b"]).obs, got.obs, "obs"))
        case.check("replaced", [] if "'obs/batch'" in case.stderr else [f"no word of it: {case.stderr}"])
    for p in parts:
        p.obs.index.name = "id"
    got = _sources(case, "index", parts, ["--label", "id"])
    if got is not None:
        case.check("index", [] if list(got.obs["id"]) == ["a"] * 3 + ["b"] * 3 and got.obs.index.name != "id" else [f"{got.obs}"])
        case.check("index", [] if list(got.obs_names) == [n for p in parts for n in p.obs_names] else [f"{list(got.obs_names)}"])


def merge_counts_doubled_names(case):
    parts = [part(3, 4, GENES[0]), part(3, 6, GENES[0]), part(4, 5, GENES[0])]
    for options, count in ((["--label", "batch"], 8), (["--index-unique", "-"], 0), (["--memory-limit", "64MiB"], 8)):
        if _sources(case, " ".join(options), parts, options) is not None:
            said = [line for line in case.stderr.splitlines() if "name of another cell" in line]
            case.check(" ".join(options), [] if [f" {count} " in line for line in said] == [True] * bool(count) else [f"{case.stderr}"])


def bad_sources_are_refused(case):
    folder = case.folder("bad")
    paths = [corpus.write(part(i, 3, GENES[0]), folder / name / "s.h5ad") for i, name in enumerate("ab") if (folder / name).mkdir() or True]
    for options, code, words in ((["--label", "batch"], 1, ["'s'", "--keys"]), (["--label", "x", "--keys", "a"], 1, ["1", "2"]), (["--label", "x", "--keys", "a", "a"], 1, ["'a'"]),
                                 (["--keys", "a", "b"], 2, ["--label"]), (["--label", "x", "--keys", "a", paths[1]], 1, [str(paths[1])]), (["--label", ""], 2, ["--label"])):
        done = case.run("merge", folder / "out.h5ad", *paths, *options)
        said = done.stderr.strip().splitlines()
        case.check(" ".join(map(str, options)), [] if done.returncode == code and all(w in said[-1] for w in words) else [f"{done.returncode}: {done.stderr}"])
        case.check(" ".join(map(str, options)), ["an output is there"] if (folder / "out.h5ad").exists() else [])
