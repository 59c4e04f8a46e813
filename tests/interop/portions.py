"""merge into a Zarr store in parts, each a process of its own: the store is that of a single run, byte for byte."""

import json
import shutil
import signal
import subprocess

import anndata
import h5py
import numpy as np
import scipy.sparse as sp


def _files(store):
    return {path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def _refused(case, label, *args, says, code=1):
    done = case.run(*args)
    told = done.stderr.strip().splitlines()[-1:]
    case.check(label, [] if done.returncode == code and says in "".join(told) else [done.returncode, *told])


def _in_parts(case, what, folder, inputs, options, parts):
    """The store that so many parts write, compared with that of a single run."""
    one, many = folder / "one.zarr", folder / "many.zarr"
    for store in (one, many):
        shutil.rmtree(store, ignore_errors=True)
    case.works(f"{what}: one", "merge", one, *inputs, *options)
    for part in np.random.default_rng(parts).permutation(parts) + 1:
        case.works(f"{what}: part {part}", "merge", many, *inputs, *options, "--part", f"{part}/{parts}")
    case.works(f"{what}: finish", "merge", many, *inputs, *options, "--finish")
    got, want = _files(many), _files(one)
    wrong = [str(path) for path in sorted(got.keys() | want.keys()) if got.get(path) != want.get(path)]
    case.check(f"{what}: files", wrong[:5])
    left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    case.check(f"{what}: nothing is left", left)
    return many


def _inputs(case, folder, sizes=(30, 1, 0, 47), genes=False):
    """Inputs of CSR and dense matrices, with cells of no values; of differing genes on demand."""
    random = np.random.default_rng(3)
    paths = []
    for number, cells in enumerate(sizes):
        names = [f"g{(7 * gene + number * genes) % 23}" for gene in range(19)]
        x = sp.random(cells, 19, density=0.3, format="csr", dtype="f4", random_state=random)
        x.data[:] = np.arange(1, x.nnz + 1) + 1000 * number
        adata = anndata.AnnData(x, obs={"n": np.arange(cells)}, layers={"dense": x.toarray()})
        adata.obs_names, adata.var_names = [f"c{number}_{cell}" for cell in range(cells)], names
        adata.obsm["pca"] = random.random((cells, 5)).astype("f4")
        paths.append(folder / f"in_{number}.h5ad")
        adata.write_h5ad(paths[-1], compression="gzip" if number % 2 else None)
    return paths


GEOMETRIES = (
    [],
    ["--chunk-cells", 4],
    ["--zarr-shard-size", "600B", "--chunk-cells", 3],
    ["--zarr-format", 3, "--compression", "zstd"],
)


def portions_are_a_single_run(case):
    """Any number of parts in any order, every geometry: equal files."""
    folder = case.folder("portions")
    inputs = _inputs(case, folder)
    for options in GEOMETRIES:
        for parts in (1, 3, 8):
            _in_parts(case, f"{options} {parts}", folder, inputs, options, parts)
    got = anndata.read_zarr(folder / "many.zarr")
    want = anndata.concat([anndata.read_h5ad(path) for path in inputs])
    case.check("values", _values(got, want))


def _values(got, want):
    wrong = [] if list(got.obs_names) == list(want.obs_names) else ["obs_names"]
    wrong += [] if (got.X != want.X).nnz == 0 else ["X"]
    wrong += [] if np.array_equal(got.layers["dense"], want.layers["dense"]) else ["layers/dense"]
    return wrong + ([] if np.array_equal(got.obsm["pca"], want.obsm["pca"]) else ["obsm/pca"])


def portions_of_differing_genes(case):
    """Genes that inputs lack, labels, h5ad with Zarr, CSC."""
    folder = case.folder("genes")
    inputs = _inputs(case, folder, genes=True)
    zarr = folder / "in_4.zarr"
    adata = anndata.read_h5ad(inputs[0])
    adata.obs_names = [f"z{name}" for name in adata.obs_names]
    adata.write_zarr(zarr)
    options = ["--label", "plate", "--index-unique", "-", "--chunk-cells", 5]
    _in_parts(case, "genes", folder, [*inputs, zarr], options, 4)
    adata.X, csc = sp.csc_matrix(adata.X), folder / "in_5.h5ad"
    adata.write_h5ad(csc)
    _in_parts(case, "csc", folder, [inputs[3], csc, inputs[1]], ["--chunk-cells", 5], 3)


def portions_of_what_is_left_out(case):
    """Elements that no input's offsets tell: of genes that are left out, and of dense rows that become sparse."""
    folder = case.folder("left")
    inputs = _inputs(case, folder, genes=True)
    dense, csc = anndata.read_h5ad(inputs[3]), anndata.read_h5ad(inputs[0])
    dense.X, csc.X = dense.X.toarray(), sp.csc_matrix(csc.X)
    dense.write_h5ad(folder / "dense.h5ad"), csc.write_h5ad(folder / "csc.h5ad")
    mixed = [folder / "dense.h5ad", *inputs[:3], folder / "csc.h5ad"]
    (folder / "genes.txt").write_text("g3\ng11\nnone\ng0\n")
    geometry = ["--chunk-cells", 5]
    for options in (["--join", "inner"], ["--genes", folder / "genes.txt", "--missing-genes", "fill"], ["--fill-value", 7]):
        _in_parts(case, f"sparse {options[1]}", folder, inputs, [*options, *geometry], 4)
        _in_parts(case, f"mixed {options[1]}", folder, mixed, [*options, *geometry, "--zarr-shard-size", "900B"], 3)
    got = anndata.read_zarr(_in_parts(case, "values", folder, mixed, ["--join", "inner", *geometry], 3))
    want = anndata.concat([anndata.read_h5ad(path) for path in mixed])
    want.X = sp.csr_matrix(want.X)
    case.check("values", _values(got, want))



def portions_of_the_corpus(case):
    """Every eleventh file of the corpus, cut and merged in three parts."""
    for path in sorted(p for p in case.corpus.iterdir() if p.suffix in (".h5ad", ".zarr"))[::11]:
        folder = case.folder(path.stem)
        case.works(f"{path.name}: slice", "slice", path, folder / "p", "--size", 17)
        shards = sorted(folder.glob("p_shard_*"), key=lambda p: int(p.stem.split("_")[-1]))
        _in_parts(case, path.name, folder, shards, ["--chunk-cells", 6], 3)


def portions_that_do_not_fit_are_refused(case):
    """Missing parts, another plan, a changed input, a damaged part, h5ad; nothing is published, and parts stay."""
    folder = case.folder("refused")
    inputs = _inputs(case, folder)
    store, inputs = folder / "m.zarr", [*inputs, "--chunk-cells", 4]
    part = lambda number, *more: case.works(f"part {number}", "merge", store, *inputs, *more, "--part", f"{number}/4")
    _refused(case, "none", "merge", store, *inputs, "--finish", says="There are no parts")
    part(2)
    _refused(case, "missing", "merge", store, *inputs, "--finish", says="--array=1,3-4")
    for number in (1, 3, 4):
        part(number)
    part(2)
    case.check("done already", [] if "Part 2 of 4 is done already" in case.stderr else [case.stderr[-300:]])
    _refused(case, "another plan", "merge", store, *inputs, "--compression", "zstd", "--finish", says="--compression")
    case.check("nothing is published", [store.name] if store.exists() else [])
    kept = folder / f".part-3-of-4.{store.name}.annslicer-resume"
    chunk = next(path for path in sorted(kept.rglob("*")) if path.is_file() and path.parent.name == "data")
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-1])
    _refused(case, "damaged", "merge", store, *inputs, "--finish", says="--array=3")
    part(3)
    with h5py.File(inputs[0], "r+") as file:
        file["X/data"][0] = 7
    _refused(case, "changed", "merge", store, *inputs, "--finish", says="has changed since")
    case.check("nothing is published", [store.name] if store.exists() else [])
    _refused(case, "h5ad", "merge", folder / "m.h5ad", *inputs, "--part", "1/2", code=2, says="ends in .zarr")


def a_killed_portion_is_run_again(case):
    """Killed parts and a killed end leave nothing in the way."""
    folder = case.folder("killed")
    inputs = _inputs(case, folder, sizes=(3000, 2000))
    store, options = folder / "m.zarr", ["--chunk-cells", 10]
    case.works("one", "merge", folder / "one.zarr", *inputs, *options)
    for seconds in (0.05, 0.2, 0.5):
        for more in (["--part", "1/2"], ["--part", "2/2"]):
            run = subprocess.Popen([case.binary, "merge", store, *inputs, *map(str, options), *more], stderr=subprocess.DEVNULL)
            try:
                run.wait(seconds)
            except subprocess.TimeoutExpired:
                run.send_signal(signal.SIGKILL)
                run.wait()
    for number in (1, 2):
        case.works(f"part {number}", "merge", store, *inputs, *options, "--part", f"{number}/2")
    run = subprocess.Popen([case.binary, "merge", store, *inputs, *map(str, options), "--finish"], stderr=subprocess.DEVNULL)
    try:
        run.wait(0.2)
    except subprocess.TimeoutExpired:
        run.send_signal(signal.SIGKILL)
        run.wait()
    if not store.exists():
        case.works("finish", "merge", store, *inputs, *options, "--finish")
    case.check("files", [] if _files(store) == _files(folder / "one.zarr") else ["differ"])
    plans = [case.run("merge", store, *inputs, "--dry-run", "--json", *more).stdout for more in ([], ["--part", "1/2"])]
    whole, part = (json.loads(plan)["outputs"][0]["bytes"] for plan in plans)
    case.check("a part takes half", [] if part == whole // 2 > 0 else [whole, part])
