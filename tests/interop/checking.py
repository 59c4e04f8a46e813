"""Files that anndata wrote, of any age and storage, are sound to `check`."""

from tool import SHARED


def files_of_anndata_are_sound(case):
    for folder in (case.corpus, SHARED):
        if not folder.exists():
            continue
        for path in sorted(folder.rglob("*")):
            inside = any(parent.suffix == ".zarr" for parent in path.parents)
            if path.suffix in (".h5ad", ".zarr") and not inside:
                done = case.run("check", path)
                said = [line for line in done.stdout.splitlines() if ": error: " in line]
                case.check(path.name, said or ([] if done.returncode == 0 else [done.stderr]))
