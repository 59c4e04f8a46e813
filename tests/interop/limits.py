"""`--max-categories`: which columns stay categorical, and what the others become, against pandas and the Python tool."""

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import compare
import corpus
import upstream

N = 300_000  # more than are put together at a time, and more categories too


def _categorical(values, missing=False, dtype=None):
    """Every value its own category, in an order that is not that of the rows."""
    rng = np.random.default_rng(5)
    values = pd.Index(values, dtype=dtype)[rng.permutation(len(values))]
    codes = rng.permutation(len(values))
    if missing:
        codes[::7] = -1
    return pd.Categorical.from_codes(codes, values)


def _text(values):
    return pd.Index([str(v) for v in values], dtype=object)


def _frame(n, missing):
    i = np.arange(n)
    few = pd.Categorical([f"c{k % 9}" for k in range(n)], [f"c{k}" for k in range(9, -1, -1)])
    return pd.DataFrame({
        "few": few, "int": _categorical(i - 5, missing), "wide": _categorical(i + 2**40, missing), "uint": _categorical(i.astype("u8"), missing),
        "float": _categorical(i / 3, missing), "single": _categorical((i / 4).astype("f4"), missing), "quarters": _categorical(i / 4, missing),
        "int_text": _categorical(_text(i), missing), "float_text": _categorical(_text(i / 8), missing), "name": _categorical(_text(f"ü{k}" for k in i), missing),
    }, index=[f"cell{k}" for k in i])


def _write(case, obs, name="in.h5ad"):
    return corpus.write(_adata(obs), case.folder("limits") / name)


def _adata(obs):
    x = sp.csr_matrix(np.ones((len(obs), 3), "f4"))  # the Python tool cannot merge an X without non-zeros
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=["a", "b", "c"]))


def _same_values(case, label, want, got):
    """The columns of two frames say the same, whatever marks what is missing."""
    for name in want:
        a, b = compare.plain_values(want[name]), compare.plain_values(got[name])
        same = all(x == y for x, y in zip(a, b)) and len(a) == len(b)
        case.check(f"{label} {name}", [] if same else [f"{b[:5]}, want {a[:5]}"])


def categories_are_limited_as_by_the_python_tool(case):
    """The same types and values, but text that is missing stays so."""
    for missing in (False, True):
        obs = _frame(60_000, missing)
        source = _write(case, obs)
        ours, theirs = case.folder("ours"), case.folder("theirs")
        upstream._python(case, "slice", source, theirs / "p", "--size", "25000")
        if not case.works("slice", "slice", source, ours / "p", "--size", "25000"):
            continue
        said = [line for line in case.stderr.splitlines() if "not categorical" in line]
        case.check("messages", [] if len(said) == 9 and "'int' has 60000 categories (more than 50000)" in case.stderr else said)
        for path in sorted(theirs.iterdir()):
            want, got = corpus.read(path).obs, corpus.read(ours / path.name).obs
            if missing:
                want["name"] = want["name"].astype(object).where(want["name"] != "", None)
                case.check("missing text", [] if got["name"].dtype == "string" else [str(got["name"].dtype)])
                got["name"] = got["name"].astype(object).where(got["name"].notna(), None)
            case.check(f"{path.name} missing={missing}", compare._diff_frame(want, got, "obs"))


def categories_beyond_the_limit_keep_their_values(case):
    for missing in (False, True):
        obs = _frame(N, missing)
        source = _write(case, obs)
        limited, whole = case.folder("made") / "limited.zarr", case.work / "made" / "whole.h5ad"
        keep = case.work / "made" / "cells.txt"
        kept = np.arange(0, N, 3)
        keep.write_text("\n".join(obs.index[kept]))
        if case.works("filter", "filter", source, limited, "--cells", keep, "--max-categories", "9"):
            got = corpus.read(limited).obs
            kinds = "iifff" if not missing else "fffff"
            case.check("types", [f"{n}: {got[n].dtype}" for n in got if n != "few" and isinstance(got[n].dtype, pd.CategoricalDtype)])
            case.check("types", [f"{n}: {got[n].dtype}" for n, k in zip(("int", "wide", "float", "single", "float_text"), kinds) if got[n].dtype.kind != k])
            want = obs.iloc[kept].drop(columns=["int_text", "float_text"])
            _same_values(case, f"missing={missing}", want, got)
            for name in ("int_text", "float_text"):
                numbers = pd.to_numeric(obs[name].iloc[kept].astype(object)).to_numpy("f8")
                case.check(name, compare._diff_array(numbers, got[name].to_numpy("f8"), name))
        if case.works("filter", "filter", source, whole, "--cells", keep, "--max-categories", "0"):
            case.same_adata("no limit", corpus.read_input(source)[kept].copy(), whole, exact=False) if not missing else None


def text_that_numbers_would_change_stays_text(case):
    i = np.arange(20)
    odd = {"padded": [f"{k:03d}" for k in i], "long": [str(2**53 + 1 + int(k)) + ".5" for k in i], "empty": ["", *map(str, i[1:])], "bool": None,
           "same": ["1", "1.0", *(f"{k}.5" for k in i[2:])], "big": [str(2**63 + int(k)) for k in i], "mixed": ["x", *map(str, i[1:])]}
    obs = pd.DataFrame({name: pd.Categorical(values) for name, values in odd.items() if values}, index=[f"c{k}" for k in i])
    obs["bool"] = pd.Categorical(i % 2 == 0)
    obs["exact"] = _categorical(np.arange(20) + 2**53, missing=True)
    obs["nan_and_missing"] = pd.Categorical(["nan", None, *(f"{k}.5" for k in i[2:])])
    obs["nan"] = pd.Categorical(["nan", "inf", *(f"{k}.5" for k in i[2:])])
    source = _write(case, obs)
    out = case.work / "limits" / "out.h5ad"
    cells = case.work / "limits" / "cells.txt"
    cells.write_text("\n".join(obs.index))
    if case.works("filter", "filter", source, out, "--cells", cells, "--max-categories", "1"):
        got = corpus.read(out).obs
        for name in odd:
            texts = [str(v) for v in obs[name]]
            case.check(name, [] if list(got[name].astype(object)) == texts else [f"{list(got[name])[:3]}, want {texts[:3]}"])
        case.check("nan and missing", [] if got["nan_and_missing"].tolist()[0] == "nan" and list(got["nan_and_missing"].isna()) == [k == 1 for k in i] else [str(got["nan_and_missing"])])
        case.check("exact", [] if got["exact"].dtype == "Int64" else [str(got["exact"].dtype)])
        _same_values(case, "exact", obs[["exact"]], got)
        floats = np.array([float(v) for v in obs["nan"]], "f4")
        case.check("nan", compare._diff_array(floats, got["nan"].to_numpy(), "nan"))


def merged_categories_are_limited_as_by_the_python_tool(case):
    """The limit counts the categories of all inputs together."""
    for missing in (False, True):
        obs = _frame(60_000, missing)
        parts = [obs.iloc[:35_000].copy(), obs.iloc[35_000:].copy()]
        for part in parts:
            for name in obs:
                part[name] = part[name].cat.remove_unused_categories()
        sources = [_write(case, parts[0], "a.h5ad")]
        sources.append(sources[0].with_name("b.h5ad"))
        corpus.write(_adata(parts[1]), sources[1])
        ours, theirs = case.work / "limits" / "ours.h5ad", case.work / "limits" / "theirs.h5ad"
        upstream._python(case, "merge", theirs, *sources)
        if not case.works(f"merge missing={missing}", "merge", ours, *sources):
            continue
        case.check("messages", [] if case.stderr.count("not categorical") == 9 else [case.stderr])
        want, got = corpus.read(theirs).obs, corpus.read(ours).obs
        if missing:
            want["name"] = want["name"].astype(object).where(want["name"] != "", None)
            case.check("missing text", [] if got["name"].dtype == "string" else [str(got["name"].dtype)])
            got["name"] = got["name"].astype(object).where(got["name"].notna(), None)
        case.check(f"missing={missing}", compare._diff_frame(want, got, "obs"))
        if case.works("no limit", "merge", ours, *sources, "--max-categories", "0"):
            kept = corpus.read(ours).obs
            case.check("no limit", [name for name in kept if not isinstance(kept[name].dtype, pd.CategoricalDtype)])
