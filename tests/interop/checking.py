"""Files that anndata wrote, of any age and storage, are sound to `check`; and `--verify` finds no fault where there is none."""

import merging
import slicing
from tool import SHARED


def files_of_anndata_are_sound(case):
    for folder in (case.corpus, SHARED):
        if not folder.exists():
            continue
        for path in sorted(folder.rglob("*")):
            inside = any(parent.suffix == ".zarr" for parent in path.parents)
            if path.suffix in (".h5ad", ".zarr") and not inside:
                _sound(case, path)


def verified_outputs_are_right_and_sound(case):
    names = ("full.h5ad", "x_csc.h5ad", "hdf5_gzip.h5ad", "big_endian.h5ad", "unknown_nodes.h5ad", "full_v2.zarr", "full_v3_sharded.zarr")
    sources = [case.corpus / name for name in names]
    slicing._all(case, sources, "--verify")
    slicing._all(case, sources[:4], "--verify", "--shuffle", "--seed", "3", order=slicing.permutation(3), **slicing.TINY)
    merging._all(case, sources[:2], "m.zarr", "--verify")
    none = case.work / "none.txt"
    none.write_text("")
    for source in sources:
        for name in ("f.zarr", "f.h5ad"):
            output = case.folder("filtered") / name
            if case.works(f"{source.name} -> {name}", "filter", source, output, "--verify", "--cells", none, "--invert"):
                _sound(case, output)


def _sound(case, path):
    done = case.run("check", path)
    said = [line for line in done.stdout.splitlines() if ": error: " in line]
    case.check(path.name, said or ([] if done.returncode == 0 else [done.stderr]))
