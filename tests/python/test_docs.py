"""The examples of docs/python.md."""

import doctest
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_examples_of_the_documentation_hold(folder: Path) -> None:
    results = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert results.failed == 0
    assert results.attempted > 10
