"""The functions: their signatures, that they do what the command line does, and what they raise."""

import inspect
import pickle
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import annslicer
from annslicer import _run as running
from annslicer._find import program
from conftest import CELLS

# What annslicer 0.3.0 documents; 0.1.5 has the first seven of shard_h5ad and the first three of merge_out_of_core.
SIGNATURES = {
    annslicer.shard_h5ad: {
        "input_file": ..., "output_prefix": ..., "output_filenames": None, "shard_size": 10000, "shuffle": False,
        "seed": None, "compression": None, "n_jobs": None, "memory_limit": None, "tmpdir": None,
    },
    annslicer.shard_by_obs_column: {
        "input_file": ..., "output_prefix": ..., "obs_column": ..., "csv_file": None, "join_column": None,
        "always_include": None, "compression": None,
    },
    annslicer.filter_h5ad: {
        "input_file": ..., "output_file": ..., "obs_column": None, "csv_file": None, "join_column": None,
        "compression": None,
    },
    annslicer.merge_out_of_core: {"input_files": ..., "output_file": ..., "join": "outer", "validate": False},
}  # fmt: skip

# Options that the functions have no arguments for: they are about messages and plans.
OF_MESSAGES = {"help", "debug", "quiet", "log_time", "error_format", "dry_run", "json"}


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda f: f.__name__)
def test_arguments_stand_where_they_stood(function: Callable[..., None]) -> None:
    parameters = inspect.signature(function).parameters.values()
    plain = {
        p.name: ... if p.default is p.empty else p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD
    }
    assert plain == SIGNATURES[function]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters if p.name not in plain)


def _options_of_program(command: str) -> set[str]:
    text = subprocess.run([program(), command, "--help"], check=True, capture_output=True, text=True).stdout
    return {name.replace("-", "_") for name in re.findall(r"^ +(?:-\w, )?--([a-z-]+)", text, re.MULTILINE)}


@pytest.mark.parametrize(
    ("command", "functions"),
    [
        ("slice", [annslicer.shard_h5ad, annslicer.shard_by_obs_column]),
        ("merge", [annslicer.merge_out_of_core]),
        ("filter", [annslicer.filter_h5ad]),
    ],
)
def test_functions_have_every_option_of_the_program(
    command: str, functions: list[Callable[..., None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    known: set[str] = set()
    monkeypatch.setattr(running, "execute", lambda _command, _paths, options, **_: known.update(options))
    for function in functions:
        given = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
        function(*["a" for _ in given])
    assert known == _options_of_program(command) - OF_MESSAGES


def _names(folder: Path) -> None:
    (folder / "cells.txt").write_text("AAAGCCTGGCTAAC-1\nno cell\n")
    (folder / "names.txt").write_text("x.h5ad\ny.h5ad\n")


def _table(folder: Path) -> None:
    import anndata

    names = anndata.read_h5ad(folder / "pbmc.h5ad").obs_names
    lines = [f"{i % 3},{name},{i % 2}" for i, name in enumerate(names)]
    (folder / "table.csv").write_text("batch,cell,keep\n" + "\n".join(lines) + "\n")


H5AD: dict[str, Any] = {"input_file": "pbmc.h5ad"}
SAME = [
    (annslicer.shard_h5ad, {"shard_size": 300}, "slice pbmc.h5ad OUT --size 300"),
    (annslicer.shard_h5ad, {"output_filenames": ["OUT_x.h5ad", "OUT_y.h5ad"], "shard_size": 350},
     "slice pbmc.h5ad OUT --size 350 --names names.txt"),
    (annslicer.shard_h5ad, {"shuffle": True, "seed": 7, "compression": "gzip", "n_jobs": 1, "memory_limit": 300_000_000,
                            "tmpdir": "."},
     "slice pbmc.h5ad OUT --shuffle --seed 7 --compression gzip -j 1 --memory-limit 300MB --tmpdir ."),
    (annslicer.shard_h5ad, {"shards": 3, "max_categories": 2, "verify": True, "resume": True, "follow_external": True},
     "slice pbmc.h5ad OUT --shards 3 --max-categories 2 --verify --resume --follow-external"),
    (annslicer.shard_h5ad, {"drop": ["raw", "obsp"], "csr": True, "plain_strings": True, "missing_as": "-"},
     "slice pbmc.h5ad OUT --drop raw obsp --csr --plain-strings --missing-as=-"),
    (annslicer.shard_h5ad, {"max_bytes": "2MB", "manifest": "OUT.json"},
     "slice pbmc.h5ad OUT --max-bytes 2MB --manifest OUT.json"),
    (annslicer.shard_by_obs_column, {"obs_column": "bulk_labels", "always_include": ["CD34+"]},
     "slice pbmc.h5ad OUT --obs-column bulk_labels --always-include CD34+"),
    (annslicer.shard_by_obs_column, {"obs_column": "batch", "csv_file": "table.csv", "join_column": "cell"},
     "slice pbmc.h5ad OUT --obs-column batch --csv-file table.csv --join-column cell"),
    (annslicer.filter_h5ad, {"obs_column": "keep", "csv_file": "table.csv", "join_column": "cell", "invert": True},
     "filter pbmc.h5ad OUT.h5ad --obs-column keep --csv-file table.csv --join-column cell --invert"),
    (annslicer.filter_h5ad, {"where": "n_genes > 1000", "compression": "lzf"},
     "filter pbmc.h5ad OUT.h5ad --where 'n_genes > 1000' --compression lzf"),
    (annslicer.filter_h5ad, {"where": "n_genes > 1000", "keep": "obs/*", "x_from": "raw", "x_to": "layers/old"},
     "filter pbmc.h5ad OUT.h5ad --where 'n_genes > 1000' --keep 'obs/*' --x-from raw --x-to layers/old"),
    (annslicer.filter_h5ad, {"cells": "cells.txt", "missing_ok": True},
     "filter pbmc.h5ad OUT.h5ad --cells cells.txt --missing-ok"),
    (annslicer.merge_out_of_core, {"join": "inner", "validate": True, "label": "from", "keys": ["-x", "y"],
                                   "index_unique": "-"},
     "merge OUT.h5ad pbmc.h5ad pbmc.h5ad --join inner --verify --label from --keys=-x --keys=y --index-unique=-"),
    (annslicer.merge_out_of_core, {"uns_merge": "same", "var_merge": "only", "pairwise": True, "fill_value": -1.0,
                                   "natural_sort": True, "compression": "gzip:2"},
     "merge OUT.h5ad pbmc.h5ad pbmc.h5ad --uns-merge same --var-merge only --pairwise --fill-value=-1 --natural-sort"
     " --compression gzip:2"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "arguments", "line"), SAME, ids=lambda value: value if isinstance(value, str) else ""
)
def test_functions_do_what_the_command_line_does(
    function: Callable[..., None], arguments: dict[str, Any], line: str, folder: Path, typed: Callable[..., None]
) -> None:
    _table(folder)
    _names(folder)
    ours, theirs = folder / "ours", folder / "theirs"
    ours.mkdir()
    theirs.mkdir()
    (folder / "names.txt").write_text("theirs/out_x.h5ad\ntheirs/out_y.h5ad\n")

    def placed(value: Any) -> Any:
        if isinstance(value, list):
            return [placed(one) for one in value]
        return value.replace("OUT", "ours/out") if isinstance(value, str) else value

    given = {name: placed(value) for name, value in arguments.items()}
    if function is annslicer.merge_out_of_core:
        annslicer.merge_out_of_core(["pbmc.h5ad", "pbmc.h5ad"], "ours/out.h5ad", **given)
    elif function is annslicer.filter_h5ad:
        annslicer.filter_h5ad("pbmc.h5ad", "ours/out.h5ad", **given)
    else:
        function("pbmc.h5ad", "ours/out", **given)
    typed(*shlex.split(line.replace("OUT", "theirs/out")))
    names = sorted(path.name for path in ours.iterdir())
    assert names and names == sorted(path.name for path in theirs.iterdir())
    for name in names:
        if name.endswith(".h5ad"):
            assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name


def test_nothing_is_returned(folder: Path) -> None:
    assert annslicer.shard_h5ad("pbmc.h5ad", "out") is None  # type: ignore[func-returns-value]


FAILURES: list[tuple[Callable[[], None], type[Exception], str, str | None]] = [
    (lambda: annslicer.shard_h5ad("none.h5ad", "o"), FileNotFoundError, "missing", "none.h5ad"),
    (lambda: annslicer.shard_h5ad("text.h5ad", "o"), OSError, "unreadable", "text.h5ad"),
    (lambda: annslicer.shard_h5ad("pbmc.h5ad", "text.h5ad/o"), OSError, "io", None),
    (lambda: annslicer.shard_h5ad("pbmc.h5ad", "o", shard_size=0), ValueError, "usage", None),
    (lambda: annslicer.shard_h5ad("pbmc.h5ad", "o", n_jobs=0), ValueError, "usage", None),
    (lambda: annslicer.shard_h5ad("pbmc.h5ad", "o", ["a"], 10), ValueError, "value", "pbmc.h5ad"),
    (lambda: annslicer.shard_by_obs_column("pbmc.h5ad", "o", "nothing"), KeyError, "key", "pbmc.h5ad"),
    (lambda: annslicer.shard_by_obs_column("pbmc.h5ad", "o", "louvain", always_include=["x"]), ValueError, "value",
     "pbmc.h5ad"),
    (lambda: annslicer.filter_h5ad("pbmc.h5ad", "o.h5ad", "bulk_labels"), ValueError, "value", "pbmc.h5ad"),
    (lambda: annslicer.merge_out_of_core(["pbmc.h5ad"], "o.h5ad", "left"), ValueError, "usage", None),
    (lambda: annslicer.merge_out_of_core(["none.h5ad"], "o.h5ad"), FileNotFoundError, "missing", "none.h5ad"),
    (lambda: annslicer.merge_out_of_core(["pbmc.h5ad", "pbmc.h5ad"], "pbmc.h5ad"), annslicer.AnnslicerError, "failed",
     None),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind_of", "kind", "file"), FAILURES)
def test_failures_are_exceptions_of_their_kind(
    call: Callable[[], None], kind_of: type[Exception], kind: str, file: str | None, folder: Path
) -> None:
    (folder / "text.h5ad").write_text("text")
    with pytest.raises(kind_of) as caught:
        call()
    failure = caught.value
    assert isinstance(failure, annslicer.AnnslicerError)
    assert (failure.kind, failure.file) == (kind, file)
    assert "\n" not in str(failure) and str(failure)
    again = pickle.loads(pickle.dumps(failure))
    assert (type(again), str(again), again.kind) == (type(failure), str(failure), kind)
    assert sorted(path.name for path in folder.iterdir()) == ["pbmc.h5ad", "text.h5ad"]


def test_messages_name_arguments_and_not_options(folder: Path) -> None:
    with pytest.raises(ValueError, match="'n_jobs <N>'"):
        annslicer.shard_h5ad("pbmc.h5ad", "o", n_jobs=0)
    with pytest.raises(ValueError, match="always_include"):
        annslicer.shard_by_obs_column("pbmc.h5ad", "o", "louvain", always_include=["x"])


def test_an_element_is_named(folder: Path) -> None:
    import h5py

    with h5py.File("pbmc.h5ad", "r+") as file:
        del file["obs/bulk_labels/categories"]
    with pytest.raises(annslicer.AnnslicerError) as caught:
        annslicer.shard_h5ad("pbmc.h5ad", "o")
    assert caught.value.file == "pbmc.h5ad"
    assert "bulk_labels" in str(caught.value)


def test_damage_is_found_in_its_element(folder: Path) -> None:
    import h5py

    with h5py.File("pbmc.h5ad", "r+") as file:
        chunk = file["X/data"].id.get_chunk_info(0)
    with open("pbmc.h5ad", "r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(b"\xff" * 64)
    with pytest.raises(annslicer.AnnslicerError) as caught:
        annslicer.shard_h5ad("pbmc.h5ad", "o", compression="gzip", shard_size=13)
    assert (caught.value.element or "").startswith("X")


def test_run_tells_what_it_did(folder: Path) -> None:
    result = annslicer.run("slice", "pbmc.h5ad", "out/a", size=400, shuffle=True, drop=["varm"], manifest="m.json")
    assert result.outputs == [Path("out/a_shard_0.h5ad"), Path("out/a_shard_1.h5ad")]
    assert result.manifest is not None
    assert [output["rows"] for output in result.manifest["outputs"]] == [400, 300]
    assert result.warnings == []
    assert annslicer.run("slice", "pbmc.h5ad", "b", seed=1).warnings
    assert "Plan" in annslicer.run("slice", "pbmc.h5ad", "c", dry_run=True).text
    assert not list(folder.glob("c*"))
    with pytest.raises(ValueError, match="sise"):
        annslicer.run("slice", "pbmc.h5ad", "c", sise=1)
    with pytest.raises(TypeError, match="size"):
        annslicer.run("slice", "pbmc.h5ad", "c", size=object())  # type: ignore[arg-type]


def test_info_and_check_tell_what_a_file_holds(folder: Path) -> None:
    assert annslicer.info("pbmc.h5ad")["shape"][0] == CELLS
    report = annslicer.check(folder / "pbmc.h5ad")
    assert report and report.sound and report.path.endswith("pbmc.h5ad")
    (folder / "text.h5ad").write_text("text")
    report = annslicer.check("text.h5ad")
    assert not report and report.findings[0].level == "error"
    with pytest.raises(FileNotFoundError):
        annslicer.info("none.h5ad")
