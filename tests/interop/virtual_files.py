"""merge --virtual: matrices stay in the inputs, and whoever opens the result reads what merge would have written."""

import os
import shutil
import subprocess

import anndata
import h5py
import numpy as np
import scipy.sparse as sp

import compare


def _write(path, cells, first, *, genes=11, dense=False, dtype="f4", order=None, **options):
    random = np.random.default_rng(first)
    x = sp.random(cells, genes, density=0.4, format="csr", dtype=dtype, random_state=random)
    x.data[:] = np.arange(1, x.nnz + 1) + 100 * first
    adata = anndata.AnnData(x.toarray() if dense else x, obs={"n": np.arange(cells) + first})
    adata.obs["kind"] = [f"k{(first + cell) % 3}" for cell in range(cells)]
    adata.obs_names = [f"c{first + cell}" for cell in range(cells)]
    adata.var_names = order or [f"g{gene}" for gene in range(genes)]
    for name in ("counts", "50%b", "50%%b"):
        adata.layers[name] = adata.X * (1 + len(name))
    adata.obsm["X_pca"] = random.random((cells, 3)).astype("f4")
    if cells:
        adata.raw = adata
    path.parent.mkdir(parents=True, exist_ok=True)
    adata.write_h5ad(path, **options)
    return path


def _inputs(folder, **same):
    return [_write(folder / f"in {number} 50%b.h5ad", cells, 1000 * number, compression=[None, "gzip"][number % 2], **same)
            for number, cells in enumerate((5, 1, 8))]


def _is_virtual(path, names):
    with h5py.File(path) as file:
        return [name for name in names if not file[name].is_virtual]


SPARSE = [f"{matrix}/{part}" for matrix in ("X", "layers/counts", "layers/50%b", "layers/50%%b", "raw/X") for part in ("data", "indices")]


def what_is_read_is_what_merge_writes(case):
    """Sparse and dense, plain and compressed, in the folder of the result and elsewhere."""
    for dense in (False, True):
        names = ["obsm/X_pca", *(["X", "layers/counts"] if dense else SPARSE)]
        for place in ("", "deep/er", "../beside"):
            folder = case.folder("virtual") / "here"
            folder.mkdir()
            inputs, out, real = _inputs(folder / place, dense=dense), folder / "out.h5ad", folder / "real.h5ad"
            options = ["--label", "from", "--compression", "gzip"]
            what = f"{'dense' if dense else 'sparse'} in {place or 'its folder'}"
            case.works(what, "merge", out, *inputs, *options, "--virtual")
            case.works(what, "merge", real, *inputs, *options)
            case.check(f"{what}: virtual", _is_virtual(out, names))
            case.check(f"{what}: values", compare.diff_adata(anndata.read_h5ad(real), anndata.read_h5ad(out)))
            case.works(f"{what}: check", "check", out, "--follow-external")
            shards = [folder / f"{name}_shard_{at}.h5ad" for name in ("out", "real") for at in range(2)]
            for name in ("out", "real"):
                case.works(f"{what}: slice", "slice", folder / f"{name}.h5ad", folder / name, "--shards", 2, "--shuffle",
                           "--seed", 1, "--follow-external")
            same = [a.name for a, b in zip(shards[:2], shards[2:]) if a.read_bytes() != b.read_bytes()]
            case.check(f"{what}: shards", same)


def it_moves_with_its_inputs(case):
    """Sources are named from its folder, through links of folders too, and not from where it was written."""
    folder = case.folder("virtual")
    inputs = _inputs(folder / "atlas/plates")
    os.symlink(folder / "atlas", folder / "link")
    want = anndata.concat([anndata.read_h5ad(path) for path in inputs], merge="same")
    for at, prefix in (("atlas/out.h5ad", "atlas/plates"), ("link/out.h5ad", "link/plates"), ("out.h5ad", "link/plates")):
        given = [os.path.join(prefix, path.name) for path in inputs]
        done = subprocess.run([case.binary, "merge", at, *given, "--virtual"], cwd=folder, capture_output=True, text=True)
        case.check(at, [] if done.returncode == 0 else [done.stderr])
        got = anndata.read_h5ad(folder / at)
        case.check(f"{at}: values", [] if (got.X != want.X).nnz == 0 else ["X"])
    shutil.move(folder / "atlas", folder / "elsewhere")
    got = anndata.read_h5ad(folder / "elsewhere/out.h5ad")
    case.check("moved", [] if (got.X != want.X).nnz == 0 else ["X"])


def virtual_files_are_inputs_too(case):
    folder = case.folder("virtual")
    inputs = _inputs(folder)
    case.works("two", "merge", folder / "two.h5ad", *inputs[:2], "--virtual")
    case.works("three", "merge", folder / "three.h5ad", folder / "two.h5ad", inputs[2], "--virtual")
    case.works("real", "merge", folder / "real.h5ad", *inputs)
    got, want = (anndata.read_h5ad(folder / f"{name}.h5ad") for name in ("three", "real"))
    case.check("values", compare.diff_adata(want, got))


def what_would_change_is_refused(case):
    """In one line that names the element and the input; nothing is written."""
    folder = case.folder("virtual")
    first, _, last = _inputs(folder)
    genes = [f"g{gene}" for gene in range(11)]
    others = {
        "genes": _write(folder / "b.h5ad", 4, 5, genes=10),
        "order": _write(folder / "b2.h5ad", 4, 5, order=genes[::-1]),
        "type": _write(folder / "b3.h5ad", 4, 5, dtype="f8"),
        "kind": _write(folder / "b4.h5ad", 4, 5, dense=True),
    }
    other = anndata.read_h5ad(last)
    other.write_zarr(folder / "b5.zarr")
    del other.obsm["X_pca"]
    other.write_h5ad(folder / "b6.h5ad")
    others |= {"zarr": folder / "b5.zarr", "absent": folder / "b6.h5ad"}
    out = folder / "out.h5ad"
    for what, path in others.items():
        done = case.run("merge", out, first, path, "--virtual")
        told = done.stderr.strip().splitlines()
        names = {first.name, path.name}
        right = done.returncode == 1 and "without --virtual" in told[-1] and any(name in told[-1] for name in names)
        case.check(what, [] if right and not out.exists() else [done.returncode, *told])
    for options in (["--verify"], ["--part", "1/2"], ["--finish"]):
        done = case.run("merge", out, first, last, "--virtual", *options)
        case.check(str(options), [] if done.returncode == 2 else [done.stderr])
    done = case.run("merge", folder / "out.zarr", first, last, "--virtual")
    case.check("into Zarr", [] if done.returncode == 2 and ".h5ad" in done.stderr else [done.stderr])


def an_input_that_is_gone_is_an_error(case):
    """Where the library itself would give zeros, and say nothing."""
    folder = case.folder("virtual")
    inputs, out = _inputs(folder), folder / "out.h5ad"
    case.works("merge", "merge", out, *inputs, "--virtual")
    inputs[1].unlink()
    for command in (["check", out], ["slice", out, folder / "s"]):
        done = case.run(*command)
        case.check(command[0], [] if done.returncode == 1 and inputs[1].name in done.stdout + done.stderr else [done.stderr])
