"""The contents of the corpus: AnnData objects in memory that hold every kind of element."""

import anndata as ad
import awkward as ak
import numpy as np
import pandas as pd
import scipy.sparse as sp

ROWS, GENES = 53, 17  # primes, so that no block divides them
NUMBERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", "bool")


def catalogue():
    """Name to object, one file each."""
    out = {"full": full(), "x_csc": with_x("csc"), "x_none": with_x(None), "x_int64": with_x("csr", "i8"), "x_bool": with_x("csr", "bool")}
    out.update({f"x_dense_{dtype}": with_x("dense", dtype) for dtype in ("f2", "f4", "f8", "u1", "i8", "bool")})
    out.update({"rows_0": full(0, GENES), "rows_1": full(1, GENES), "genes_0": full(ROWS, 0), "genes_1": full(ROWS, 1), "rows_0_dense": small(0, GENES)})
    out.update({"bare": bare(), "int_names": int_names(), "index_column": index_column(), "slash": slash(), "wide_obs": wide_obs()})
    return out


def full(n=ROWS, m=GENES, seed=7):
    """Every kind of element that anndata writes, on `n` cells and `m` genes."""
    rng = np.random.default_rng(seed)
    raw = ad.AnnData(csr(rng, n, m + 5), obs=obs(rng, n)[[]], var=var(rng, m + 5), varm={"PCs": rng.random((m + 5, 2))})
    out = ad.AnnData(csr(rng, n, m), obs=obs(rng, n), var=var(rng, m), uns=uns(rng))
    out.raw = raw
    out.layers.update(layers(rng, n, m))
    out.obsm.update(obsm(rng, n, out.obs_names))
    out.varm.update(varm(rng, m, out.var_names))
    out.obsp.update(pairs(rng, n))
    out.varp.update(pairs(rng, m))
    return out


def with_x(form, dtype="f4"):
    """A small object whose X is 'csr', 'csc', 'dense' or None."""
    rng = np.random.default_rng(3)
    out = small()
    if form == "dense":
        out.X = numbers(rng, (ROWS, GENES), dtype)
    else:
        out.X = csr(rng, ROWS, GENES, dtype).asformat(form) if form else None
    return out


def small(n=ROWS, m=GENES, seed=5):
    rng = np.random.default_rng(seed)
    return ad.AnnData(rng.random((n, m), dtype="f4"), obs=obs(rng, n)[["f4", "cat", "text"]], var=var(rng, m), obsm={"X_pca": rng.random((n, 3))})


def bare():
    return ad.AnnData(obs=pd.DataFrame(index=names("c", 11)), var=pd.DataFrame(index=names("g", 3)))


def int_names():
    out = small()
    out.obs_names, out.var_names = [str(i * 7) for i in range(ROWS)], [str(i) for i in range(GENES)]
    out.obs.index.name, out.var.index.name = "barcode id", None
    return out


def index_column():
    """The index is also a column, so `_index` names one of `column-order`."""
    out = small()
    out.obs["cell"] = out.obs_names.to_numpy()
    out.obs.index.name = "cell"
    return out


def slash():
    out = small()
    out.obs["part/whole"] = np.arange(ROWS)
    return out


def wide_obs():
    """More columns than a compact attribute can name."""
    columns = {f"measurement_column_{i}": np.full(3, i, "f4") for i in range(5003)}
    return ad.AnnData(np.ones((3, 2), "f4"), obs=pd.DataFrame(columns, index=names("c", 3)), var=pd.DataFrame(index=names("g", 2)))


def names(stem, n):
    return [f"{stem}_{i}" for i in range(n)]


def numbers(rng, shape, dtype):
    """Values that use the whole width of a dtype, with NaN and negative zero among floats."""
    kind = np.dtype(dtype).kind
    if kind in "iu":
        span = np.iinfo(dtype)
        return rng.integers(span.min, span.max, shape, dtype, endpoint=True)
    if kind == "b":
        return rng.random(shape) < 0.5
    out = (rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if kind == "c" else 0)).astype(dtype)
    flat = out.reshape(-1)
    flat[::7], flat[3::7], flat[5::7] = np.nan, -0.0, np.inf
    return out


def csr(rng, n, m, dtype="f4", density=0.3):
    out = sp.random(n, m, density, "csr", rng=rng)
    out.data = numbers(rng, out.nnz, dtype) if dtype != "f4" else rng.integers(1, 99, out.nnz).astype(dtype)
    return out


def messy(rng, n, m):
    """Unsorted columns, duplicates and explicit zeros, as stored."""
    counts = rng.integers(0, 7, n) if m else np.zeros(n, int)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    indices = rng.integers(0, max(m, 1), indptr[-1]).astype("i4")
    return sp.csr_matrix((rng.integers(0, 3, indptr[-1]).astype("f4"), indices, indptr), shape=(n, m))


def pick(values, n, dtype=object):
    out = np.empty(n, dtype)
    out[:] = [values[i % len(values)] for i in range(n)]
    return out


def obs(rng, n):
    """A column of every kind."""
    out = {dtype: numbers(rng, n, dtype) for dtype in NUMBERS}
    out.update(text=pick(["täxt 🧬", "", "a.b", "x y"], n), missing_text=pd.array(pick(["s", None, "täxt"], n), dtype="string"))
    out.update({t: pd.array(pick([1, None, 3], n), dtype=t) for t in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")})
    out["Int64_big"] = pd.array(pick([2**53 + 1, None, -(2**62)], n), dtype="Int64")
    out["boolean"] = pd.array(pick([True, None, False], n), dtype="boolean")
    cat = pd.Categorical
    out["cat"] = cat(pick(["b", "a", None, "c"], n), categories=["c", "a", "b", "unused"])
    out["cat_ordered"] = cat(pick(["hi", "lo"], n), categories=["lo", "mid", "hi"], ordered=True)
    out["cat_int"] = cat(pick([30, 10, 20], n), categories=np.array([10, 20, 30], "i4"))
    out["cat_bool"] = cat(pick([True, False], n), categories=np.array([False, True]))
    out["cat_float"] = cat(pick([0.5, None, 1.5], n), categories=[1.5, 0.5])
    out["cat_nothing"] = cat([None] * n, categories=np.array([], object))
    out["cat_many"] = cat.from_codes(rng.integers(-1, 300, n), categories=[f"k{i}" for i in range(300)])
    out["cat_nullable"] = cat(pd.array(pick(["p", None, "q"], n), dtype="string"), categories=pd.array(["q", "p"], dtype="string"))
    out.update({"dotted.name": np.arange(n), "two words": np.arange(n), "ünï 🧬": np.arange(n), "categories": np.arange(n), "codes": np.arange(n), "0": np.arange(n)})
    return pd.DataFrame(out, index=[f"cell {i} é" for i in range(n)])


def var(rng, m):
    out = {"f8": numbers(rng, m, "f8"), "symbol": pick(["α", "b", ""], m), "hv": rng.random(m) < 0.5,
           "kind": pd.Categorical(pick(["y", "x"], m), categories=["y", "x", "z"]), "count": pd.array(pick([1, None], m), dtype="Int32")}
    return pd.DataFrame(out, index=pd.Index([f"ENSG{i:05d}" for i in range(m)], name="gene_id"))


def layers(rng, n, m):
    out = {f"csr_{t}": csr(rng, n, m, t) for t in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f8", "bool", "c8")}
    out.update({f"dense_{t}": numbers(rng, (n, m), t) for t in ("i1", "i4", "u2", "u8", "f2", "f8", "bool", "c16")})
    out.update(csc_f4=csr(rng, n, m).tocsc(), csc_u1=csr(rng, n, m, "u1").tocsc(), messy=messy(rng, n, m), empty=sp.csr_matrix((n, m), dtype="f4"))
    out["two words.é"] = csr(rng, n, m)
    return out


def frame(n, index):
    return pd.DataFrame({"p": np.arange(n), "q": pick(["a", "b", ""], n), "c": pd.Categorical(pick(["u", "v"], n), categories=["v", "u"]),
                         "i": pd.array(pick([5, None], n), dtype="Int64")}, index=index)


def obsm(rng, n, index):
    out = {"X_pca": rng.random((n, 3), dtype="f4"), "three": rng.random((n, 2, 2)), "no_width": np.zeros((n, 0), "f4"), "flags": rng.random((n, 2)) < 0.5,
           "ints": numbers(rng, (n, 2), "i8"), "words": pick(["w", "ö"], 2 * n).reshape(n, 2), "csr": csr(rng, n, 4), "csc": csr(rng, n, 4).tocsc(),
           "frame": frame(n, index), "frame_0": pd.DataFrame(index=index)}
    if n > 1:  # an awkward array of no rows has no type to keep
        out.update(ak_lists=ak.Array([[float(j) for j in range(i % 4)] for i in range(n)]), ak_words=ak.Array(["wörd" * (i % 3) for i in range(n)]),
                   ak_records=ak.Array([{"x": i, "y": [str(i)] * (i % 3)} for i in range(n)]),
                   ak_options=ak.Array([None if i % 3 == 0 else i for i in range(n)]), ak_option_lists=ak.Array([None if i % 3 == 0 else [i, None] for i in range(n)]),
                   ak_deep=ak.Array([[[{"k": i, "w": ["é"] * j}] * (j % 3) for j in range(i % 4)] for i in range(n)]), ak_flat=ak.Array(np.arange(n)))
    return out


def varm(rng, m, index):
    return {"PCs": rng.random((m, 3)), "frame": frame(m, index), "csr": csr(rng, m, 4)}


def pairs(rng, n):
    return {"csr": csr(rng, n, n), "csc": csr(rng, n, n).tocsc(), "dense": rng.random((n, n))}


def uns(rng):
    """Everything that may lie in uns."""
    return {
        "scalars": {"i": 3, "f": 2.5, "s": "täxt", "empty": "", "b": True, **{t: numbers(rng, 1, t)[0] for t in NUMBERS}},
        "arrays": {t: numbers(rng, (3, 2), t) for t in NUMBERS}, "nothing": None, "no_keys": {}, "nested": {"deep": {"deeper": {"x": np.arange(3)}}, "none": None},
        "strings": np.array(["a", "bß", ""], object), "no_strings": np.array([], object), "no_numbers": np.array([], "f4"), "four": np.zeros((2, 1, 3, 2), "u1"),
        "rec": np.array([(1, 2.5, "x"), (3, 4.5, "ÿ")], dtype=[("a", "i4"), ("b", "f8"), ("c", "O")]),
        "frame": pd.DataFrame({"v": [1.0, 2.0], "c": pd.Categorical(["x", None])}, index=["r1", "r2"]), "frame_0": pd.DataFrame(index=["r1"]),
        "categorical": pd.Categorical(["a", "b", "a"], categories=["b", "a"], ordered=True), "nullable": pd.array([1, None], dtype="Int16"),
        "csr": sp.eye(3, format="csr"), "csc": csr(rng, 4, 3).tocsc(), "awkward": ak.Array([[1], [], [2, 3]]), "cat_colors": np.array(["#ff0000", "#00ff00"], object),
        "odd 🧬 name.x": 1,
    }
