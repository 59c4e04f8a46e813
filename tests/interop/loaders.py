"""`check --set` against the rules of loaders, and the files of docs/training.md read as the loaders read them."""

import json
import os
import subprocess
import warnings

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr
from anndata.experimental import AnnCollection

import corpus
import objects

LOADERS = {"cellarium-ml", "annbatch", "lamindb", "cell-load"}


def _parts(n=3, rows=12):
    """Files that belong together: rows of one object."""
    rng = np.random.default_rng(2)
    n_rows, genes = n * rows, 9
    obs = pd.DataFrame({
        "batch": pd.Categorical(objects.pick(["a", "b", "c"], n_rows), categories=["a", "b", "c"]),
        "stage": pd.Categorical(objects.pick(["lo", "hi"], n_rows), categories=["lo", "hi"], ordered=True),
        "count": rng.integers(0, 9, n_rows), "name": objects.pick(["x", "y"], n_rows),
    }, index=[f"cell {i}" for i in range(n_rows)])
    var = pd.DataFrame({"mean": rng.random(genes), "symbol": objects.pick(["α", "b"], genes)}, index=[f"g{i}" for i in range(genes)])
    var.loc["g1", "mean"] = np.nan
    whole = ad.AnnData(sp.random(n_rows, genes, 0.5, "csr", dtype="f4", random_state=rng), obs=obs, var=var)
    whole.layers["counts"] = whole.X.copy()
    whole.obsm["X_pca"] = rng.random((n_rows, 2))
    whole.varm["PCs"] = rng.random((genes, 2))
    whole.varp["near"] = rng.random((genes, genes))
    parts = [whole[i * rows:(i + 1) * rows].copy() for i in range(n)]
    return parts


def _other_gene_order(part):
    return part[:, ::-1].copy()


def _renamed_gene(part):
    part.var_names = [*part.var_names[:-1], "another"]
    return part


def _fewer_genes(part):
    return part[:, :-1].copy()


def _with(change):
    def changed(part):
        change(part)
        return part
    return changed


def _x(make):
    return _with(lambda part: setattr(part, "X", make(part.X)))


def _column(name, make):
    return _with(lambda part: part.obs.__setitem__(name, make(part.obs[name]) if name in part.obs else make(part)))


def _drop(frame, name):
    return _with(lambda part: setattr(part, frame, getattr(part, frame).drop(columns=name)))


# By name: what changes in the last of the files, the element that is named, and the loaders that refuse.
FAULTS = {
    "genes in another order": (_other_gene_order, "var", {"cellarium-ml", "annbatch", "cell-load"}),
    "another gene": (_renamed_gene, "var", {"cellarium-ml", "annbatch", "cell-load"}),
    "fewer genes": (_fewer_genes, "var", {"cellarium-ml", "annbatch", "cell-load"}),
    "a column less": (_drop("obs", "count"), "obs/count", {"cellarium-ml"}),
    "a column more": (_column("more", lambda part: np.arange(part.n_obs)), "obs/more", {"cellarium-ml"}),
    "another type": (_column("count", lambda column: column.astype("i4")), "obs/count", {"cellarium-ml"}),
    "text for categories": (_column("batch", lambda column: column.astype(object)), "obs/batch", {"cellarium-ml"}),
    "fewer categories": (_column("batch", lambda column: column.cat.set_categories(["a", "b"])), "obs/batch", {"cellarium-ml"}),
    "other order of ordered categories": (_column("stage", lambda column: column.cat.reorder_categories(["hi", "lo"])), "obs/stage", {"cellarium-ml"}),
    "no order": (_column("stage", lambda column: column.cat.as_unordered()), "obs/stage", {"cellarium-ml"}),
    "columns in another order": (_with(lambda part: setattr(part, "obs", part.obs[["count", "batch", "stage", "name"]])), "obs", {"cellarium-ml"}),
    "var of other values": (_with(lambda part: part.var.__setitem__("mean", part.var["mean"] + 1)), "var/mean", {"cellarium-ml", "annbatch"}),
    "var of another type": (_with(lambda part: part.var.__setitem__("mean", part.var["mean"].astype("f4"))), "var/mean", {"cellarium-ml", "annbatch"}),
    "a column of var less": (_drop("var", "symbol"), "var/symbol", {"cellarium-ml", "annbatch"}),
    "no layer": (_with(lambda part: part.layers.pop("counts")), "layers/counts", {"cellarium-ml"}),
    "another obsm": (_with(lambda part: part.obsm.__setitem__("X_umap", part.obsm["X_pca"])), "obsm/X_umap", {"cellarium-ml"}),
    "other varm": (_with(lambda part: part.varm.__setitem__("PCs", part.varm["PCs"] + 1)), "varm/PCs", {"cellarium-ml"}),
    "no varm": (_with(lambda part: part.varm.pop("PCs")), "varm/PCs", {"cellarium-ml"}),
    "other varp": (_with(lambda part: part.varp.__setitem__("near", part.varp["near"] + 1)), "varp/near", {"cellarium-ml"}),
    "dense X": (_x(lambda x: x.toarray()), "X", {"annbatch"}),
    "CSC X": (_x(lambda x: x.tocsc()), "X", {"annbatch", "lamindb", "cell-load"}),
    "X of another type": (_x(lambda x: x.astype("f8")), "X", set()),
    "cells twice": (_with(lambda part: setattr(part, "obs_names", [f"cell {i + 3}" for i in range(part.n_obs)])), "obs", set()),
    "nullable text": (_column("name", lambda column: column.astype("string")), "obs/name", {"cellarium-ml"}),
}


def _check_set(case, paths):
    done = case.run("check", "--set", "--json", *paths)
    return done, json.loads(done.stdout) if done.stdout else {}


def cellarium_refuses(first, other):
    """The rules of cellarium-ml 0.0.15 for a file beside the first: a reason, or nothing."""
    if list(first.obs.columns) != list(other.obs.columns) or not first.obs.dtypes.equals(other.obs.dtypes):
        return "obs"
    if not first.var.equals(other.var) or not first.var_names.equals(other.var_names):
        return "var"
    for folder in ("layers", "obsm", "varm", "varp"):
        if set(getattr(first, folder)) != set(getattr(other, folder)):
            return folder
    for folder in ("varm", "varp"):
        for name, value in getattr(first, folder).items():
            try:
                if not np.array_equal(value, getattr(other, folder)[name]):
                    return f"{folder}/{name}"
            except ValueError:  # of sparse matrices it makes no truth
                return f"{folder}/{name}"
    return None


def sets_that_belong_together(case):
    paths = [corpus.write(part, case.work / f"{i}.h5ad") for i, part in enumerate(_parts())]
    done, told = _check_set(case, paths)
    case.check("together", [] if done.returncode == 0 and told["fits"] and told["findings"] == [] else [done.stdout, done.stderr])
    for _, got in enumerate(map(corpus.read, paths[1:])):
        case.check("together", filter(None, [cellarium_refuses(corpus.read(paths[0]), got)]))
    text = case.run("check", "--set", *paths).stdout
    case.check("together", [] if text == "3 files: 0 errors, 0 notes\n" else [text])


def each_fault_of_a_set_is_told_with_its_loaders(case):
    for name, (change, element, loaders) in FAULTS.items():
        parts = _parts()
        parts[2] = change(parts[2])
        paths = [corpus.write(part, case.work / f"{i}.h5ad") for i, part in enumerate(parts)]
        done, told = _check_set(case, paths)
        errors = [f for f in told["findings"] if f["level"] == "error"]
        found = [f for f in told["findings"] if f["element"] == element and f["file"] == str(paths[2])]
        case.check(name, [] if found else [f"'{element}' is not told: {told['findings']}"])
        refusing = {loader for f in told["findings"] if f["file"] == str(paths[2]) for loader in f["loaders"]}
        case.check(name, [] if refusing == loaders else [f"refused by {refusing}, want {loaders}"])
        case.check(name, [] if (done.returncode == 1) == bool(loaders) == bool(errors) != told["fits"] else [f"exit code {done.returncode}"])
        case.check(name, [] if all(f["what"] and f["remedy"] and set(f["loaders"]) <= LOADERS for f in told["findings"]) else [str(told)])
        refused = cellarium_refuses(*[corpus.read(paths[i]) for i in (0, 2)])
        case.check(name, [] if bool(refused) == ("cellarium-ml" in loaders) else [f"its own rules say {refused}"])


def varm_with_nan_or_sparse_is_refused_by_cellarium(case):
    """Even where it is the same in all files: slice says so, and its remedy helps."""
    whole = ad.concat(_parts(), merge="first")
    values = {"nan": np.where(np.eye(9, 2) > 0, np.nan, 1.0), "sparse": sp.csr_matrix(np.eye(9)), "whole": np.eye(9),
              "frame": pd.DataFrame({"a": [1.0, np.nan] + [2.0] * 7}, index=whole.var_names), "texts": pd.DataFrame({"t": ["a"] * 9}, index=whole.var_names),
              "cats": pd.DataFrame({"c": pd.Categorical(["a", None] + ["b"] * 7)}, index=whole.var_names)}
    for name, value in values.items():
        adata = whole.copy()
        adata.varm = {"PCs": value}
        source = corpus.write(adata, case.work / f"{name}.h5ad")
        shards = case.slice(name, source, "--size", "12") or []
        warned = "'varm/PCs' will be refused by cellarium-ml" in case.stderr and "--drop varm/PCs" in case.stderr
        first, *others = map(corpus.read, shards)
        refused = any(cellarium_refuses(first, other) for other in others)
        case.check(name, [] if warned == refused else [f"refused: {refused}, warned: {case.stderr}"])
        done, told = _check_set(case, shards)
        case.check(name, [] if told["fits"] != refused and (done.returncode == 1) == refused else [done.stdout])
        shards = case.slice(name, source, "--size", "12", "--drop", "varm/PCs") or []
        done, told = _check_set(case, shards)
        case.check(name, [] if told["fits"] and "will be refused" not in case.stderr else [done.stdout + case.stderr])


def shards_of_any_file_belong_together(case):
    """But for what slice says at its end."""
    for source in corpus.h5ad(case.corpus):
        shards = case.slice(source.name, source, "--size", "19") or []
        if len(shards) < 2:
            continue
        said = case.stderr
        done, told = _check_set(case, shards)
        if not told:
            case.check(source.name, [done.stderr])
            continue
        errors = {f["element"] for f in told["findings"] if f["level"] == "error"}
        case.check(source.name, [f"'{e}' is not said by slice" for e in errors if f"'{e}' will be refused by" not in said])
        case.check(source.name, [f["what"] for f in told["findings"] if f["level"] == "error" and f["file"] != str(shards[0]) and f["element"] not in errors])


def the_first_of_a_set_is_any_of_them(case):
    parts = _parts()
    parts[0] = _renamed_gene(parts[0])
    paths = [corpus.write(part, case.work / f"{i}.h5ad") for i, part in enumerate(parts)]
    told = _check_set(case, paths)[1]
    case.check("first", [] if {f["file"] for f in told["findings"]} == {str(p) for p in paths[1:]} else [str(told)])
    store = corpus.write(parts[1], case.work / "z.zarr")
    told = _check_set(case, [store, paths[2]])[1]
    case.check("zarr", [] if told["fits"] and [f["level"] for f in told["findings"]] == ["note"] else [str(told)])


def files_for_cell_load(case):
    """Read by path with h5py, as it reads them."""
    adata = ad.concat(_parts(), merge="first")
    adata.obs["gene"] = pd.Categorical(pd.array(objects.pick(["non-targeting", "TP53"], adata.n_obs), dtype="string"))
    adata.obs["gene"] = adata.obs["gene"].cat.rename_categories(pd.array(sorted(set(adata.obs["gene"])), dtype="string"))
    adata.X = adata.X.tocsc()
    source = corpus.write(adata, case.work / "screen.h5ad")
    folder = case.folder("screen")
    if not case.works("slice", "slice", source, folder / "s", "--obs-column", "batch", "--csr", "--plain-strings"):
        return
    for batch in "abc":
        want = adata[adata.obs["batch"] == batch]
        with h5py.File(folder / f"s_{batch}.h5ad") as file:
            column = file["obs/gene"]
            names = column["categories"].asstr()[:][column["codes"][:]]
            case.check(batch, [] if list(names) == list(want.obs["gene"]) else ["other perturbations"])
            case.check(batch, [] if list(file["obs/_index"].asstr()[:]) == list(want.obs_names) else ["other cells"])
            case.check(batch, [] if list(file["var/_index"].asstr()[:]) == list(want.var_names) else ["other genes"])
            x = file["X"]
            case.check(batch, [] if x.attrs["encoding-type"] == "csr_matrix" else ["X is not CSR"])
            for row in range(want.n_obs):
                start, end = x["indptr"][row:row + 2]
                values = np.zeros(want.n_vars, "f4")
                values[x["indices"][start:end]] = x["data"][start:end]
                case.check(f"{batch} {row}", [] if np.array_equal(values, want.X[row].toarray()[0]) else ["other values"])


# Run by a Python that has cell-load, in the folder of the shards: every cell has the values and the perturbation that it has in the source.
CELL_LOAD = """
import anndata
from cell_load.data_modules import PerturbationDataModule
source = anndata.read_h5ad("screen.h5ad")
by_x = dict(zip((row.tobytes() for row in source.X.toarray()), source.obs_names))
by_hvg = dict(zip((row.tobytes() for row in source.obsm["X_hvg"]), source.obs_names))
for consecutive in (False, True):
    data = PerturbationDataModule(
        toml_config_path="screen.toml", batch_size=4, num_workers=0, pert_col="gene", batch_col="batch", cell_type_key="type",
        control_pert="non-targeting", embed_key="X_hvg", output_space="all", cell_sentence_len=8, use_consecutive_loading=consecutive)
    data.setup()
    seen = set()
    for batch in data.train_dataloader():
        for x, hvg, gene, kind in zip(batch["pert_cell_counts"].numpy(), batch["pert_cell_emb"].numpy(), batch["pert_name"], batch["cell_type"]):
            cell = by_x[x.astype("f4").tobytes()]
            assert cell == by_hvg[hvg.astype("f4").tobytes()]
            assert (gene, kind) == tuple(source.obs.loc[cell, ["gene", "type"]]), (cell, gene, kind)
            seen.add(cell)
    print(len(seen))
"""


def cell_load_reads_sorted_shards(case):
    python = os.environ.get("ANNSLICER_CELL_LOAD")
    if not python:
        print("skipped: needs a Python with cell-load, as ANNSLICER_CELL_LOAD")
        return
    rng, cells = np.random.default_rng(0), 600
    obs = {"gene": ["non-targeting", "A", "B", "C"], "type": ["k562", "rpe1"], "batch": ["g1", "g2"]}
    obs = pd.DataFrame({name: pd.Categorical(rng.choice(values, cells)) for name, values in obs.items()}, index=[f"c{i}" for i in range(cells)])
    genes = [f"G{i}" for i in range(40)]
    x = sp.csr_matrix(np.log1p(rng.poisson(1, (cells, len(genes)))).astype("f4"))
    screen = ad.AnnData(x, obs=obs, var=pd.DataFrame({"gene_name": genes}, index=genes))
    screen.obsm["X_hvg"] = rng.random((cells, 7)).astype("f4")
    source, folder = corpus.write(screen, case.work / "screen.h5ad"), case.folder("shards")
    options = ("--obs-column", "type", "--sort-by", "gene", "--csr", "--plain-strings", "--missing-as", "unknown")
    if not case.works("slice", "slice", source, folder / "s", *options):
        return
    toml = f'[datasets]\nscreen = "{folder}/"\n[training]\nscreen = "train"\n[zeroshot]\n[fewshot]\n'
    (case.work / "screen.toml").write_text(toml)
    done = subprocess.run([python, "-c", CELL_LOAD], cwd=case.work, capture_output=True, text=True, timeout=300)
    seen = [int(line) for line in done.stdout.split() if line.isdigit()]
    case.check("cell-load", [] if len(seen) == 2 and min(seen) > cells * 9 // 10 else [done.stdout, done.stderr])


# Run by a Python that has lamindb, in the folder of the shards: what `Collection.mapped` opens, which needs no instance of lamindb.
LAMINDB = """
import sys
import anndata
import numpy as np
from lamindb.core import MappedCollection
from upath import UPath
whole = anndata.read_h5ad("all.h5ad")
with MappedCollection([UPath(path) for path in sys.argv[1:]], obs_keys=["name"]) as data:
    rows = [data[cell] for cell in range(len(data))]
    assert np.array_equal(np.stack([row["X"] for row in rows]), whole.X.toarray())
    labels = {code: label for label, code in data.encoders["name"].items()}
    assert [labels[row["name"]] for row in rows] == list(whole.obs["name"])
print(len(rows))
"""


def lamindb_reads_each_cell(case):
    python = os.environ.get("ANNSLICER_LAMINDB")
    if not python:
        print("skipped: needs a Python with lamindb, as ANNSLICER_LAMINDB")
        return
    adata = ad.concat(_parts(), merge="first")
    source = corpus.write(adata, case.work / "all.h5ad")
    for options in ((), ("--format", "zarr"), ("--format", "zarr", "--zarr-format", "3")):
        folder = case.folder("shards")
        if case.works("slice", "slice", source, folder / "s", "--size", 7, "--csr", *options):
            shards = sorted(folder.iterdir(), key=lambda path: int(path.stem.rpartition("_")[2]))
            done = subprocess.run([python, "-c", LAMINDB, *shards], cwd=case.work, capture_output=True, text=True, timeout=300)
            case.check(f"lamindb {options}", [] if done.stdout.split()[-1:] == [str(adata.n_obs)] else [done.stderr])


def files_for_anncollection(case):
    adata = ad.concat(_parts(), merge="first")
    source = corpus.write(adata, case.work / "all.h5ad")
    shards = case.slice("collection", source, "--size", "7", "--shuffle", "--seed", "4", "--csr", "--keep", "obs/*", "var/*") or []
    data = AnnCollection([ad.read_h5ad(path, backed="r") for path in shards], join_vars="inner")
    order = np.random.default_rng(4).permutation(adata.n_obs)
    rows = np.random.default_rng(5).permutation(adata.n_obs)
    got = data[rows]
    case.check("cells", [] if list(got.obs_names) == list(adata.obs_names[order][rows]) else ["other cells"])
    case.check("X", [] if np.array_equal(got.X.toarray(), adata.X[order][rows].toarray()) else ["other values"])
    case.check("obs", [] if list(got.obs["name"]) == list(adata.obs["name"].to_numpy()[order][rows]) else ["other values"])


def annbatch_yields_each_cell_once(case):
    """Its Loader over a collection, in order and at random: all cells with their values and labels, of several inputs too."""
    try:
        from annbatch import DatasetCollection, Loader
    except ImportError:
        print("skipped: annbatch needs Python 3.12")
        return
    folder = case.folder("annbatch")
    parts = _parts(2, 150)
    for number, part in enumerate(parts):
        part.obs_names = [f"c{number}_{cell}" for cell in range(part.n_obs)]
        part.write_h5ad(folder / f"in{number}.h5ad")
    whole = ad.concat(parts)
    values = dict(zip(whole.obs_names, whole.X.toarray()))
    geometry = ["--chunk-cells", 16, "--zarr-shard-size", "20kB", "--size", 128]
    case.works("slice", "slice", *sorted(folder.glob("in*.h5ad")), folder / "c", "--format", "annbatch", "--shuffle", "--seed", 1, *geometry)
    for shuffled in (False, True):
        loader = Loader(shuffle=shuffled, chunk_size=16, preload_nchunks=4, batch_size=16)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of elements that it does not load
            loader.use_collection(DatasetCollection(zarr.open(folder / "c.zarr", mode="r")))
            batches = [(list(batch["obs"].index), batch["X"].toarray()) for batch in loader]
        names = [name for names, _ in batches for name in names]
        case.check(f"cells, {shuffled}", [] if sorted(names) == sorted(values) else [f"{len(names)} of {len(values)}"])
        wrong = [name for names, x in batches for name, row in zip(names, x) if not np.array_equal(row, values[name])]
        case.check(f"values, {shuffled}", wrong)
