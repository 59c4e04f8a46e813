"""Runs the test suite of a release of the Python tool against this package in place of it: upstream.py VERSION.

Every test that calls the public functions passes, but for those in BEHAVES, each with its reason. Of those in WORDS the
type of the exception is held, and not its sentence, which is the program's own. Tests of private helpers are skipped:
the modules that they import are replaced by empty ones. What is listed and would pass is an error, so that no list
grows old.
"""

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PRIVATE = ("_common", "_contiguous", "_obs", "_parallel", "_resources", "_shuffle")
HELPERS = {"merge": ("_validate_merge_indptr", "_write_remapped_sparse", "_run", "_compute_merged_var")}

LOGS = "the words of the tool's log"
WORKERS = "there are threads and no worker processes"
WORDS = {
    "test_filter_csv_missing_cells_raises",
    "test_filter_bool_invalid_strings_raise",
    "test_obs_shard_csv_missing_cells_raises",
    "test_obs_shard_sanitized_name_collision_raises",
    "test_output_filenames_too_few_raises",
    "test_invalid_join_raises",
    "test_duplicate_var_names_raises",
}
BEHAVES = {
    "test_csc_input_is_rejected_for_shuffle": "CSC is shuffled too",
    "test_obs_shard_non_categorical_raises": "columns of text do for shards",
    "test_groups_annslicer_does_not_carry_are_dropped_with_a_warning": "obsp, varm, varp and raw are kept",
    "test_scratch_removed_after_success_and_failure": "a tmpdir that the run has made goes with it",
    "test_shard_h5ad_logs_phases_and_summary": LOGS,
    "test_memory_limit_caps_workers": WORKERS,
    "test_workers_never_exceed_shard_count": WORKERS,
}


class Helper:
    """A private name of the tool: whoever calls it, or reads more than a name from it, is skipped."""

    name = "annslicer"  # of loggers, as in caplog.at_level(..., logger=_obs.logger.name)

    def __call__(self, *_: object, **__: object) -> Any:
        pytest.skip("a private helper of the tool")

    def __getattr__(self, attribute: str) -> "Helper":
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return Helper()

    def __setattr__(self, *_: object) -> None:
        pytest.skip("a private helper of the tool")


class PrivateModule(types.ModuleType):
    def __getattr__(self, attribute: str) -> Helper:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return Helper()

    def __setattr__(self, attribute: str, value: object) -> None:
        if not attribute.startswith("__"):
            pytest.skip("a private helper of the tool")
        super().__setattr__(attribute, value)


class Plugin:
    """Marks the tests that are listed."""

    def __init__(self) -> None:
        self.ran: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Function]) -> None:
        for item in items:
            reason = BEHAVES.get(item.originalname)
            if reason is not None:
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Function) -> Iterator[None]:
        raises = pytest.raises
        if item.originalname in WORDS:
            pytest.raises = lambda kind, match=None: raises(kind)  # type: ignore[assignment]
        try:
            return (yield)
        finally:
            pytest.raises = raises


def main() -> int:
    import annslicer

    folder = Path(sys.prefix) / "tool" / f"annslicer-{sys.argv[1]}" / "tests"
    assert Path(annslicer.__file__).is_relative_to(sys.prefix), annslicer.__file__
    for name in PRIVATE:
        module = f"annslicer.{name}"
        sys.modules[module] = PrivateModule(module)
        setattr(annslicer, name, sys.modules[module])
    for name, helpers in HELPERS.items():
        for helper in helpers:
            setattr(sys.modules[f"annslicer.{name}"], helper, Helper())
    own = ["-c", "/dev/null", "--rootdir", str(folder), "-p", "no:cacheprovider", "-rfsx", "-q", "--tb=line"]
    return int(pytest.main([*own, str(folder)], plugins=[Plugin()]))


if __name__ == "__main__":
    sys.exit(main())
