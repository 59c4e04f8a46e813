"""Run scenarios, one after the other in this process: run.py NAME... --bin BIN --work DIR [--corpus DIR]

A NAME is a scenario or a module of scenarios. `run.py build` makes the corpus alone, and `run.py list` names all scenarios.
A scenario is a public function of a module that takes a `case` alone. A module that has one is found by itself; cargo runs those
that tests/interop.rs names. Each scenario has a folder of its own below DIR, which stays where the scenario fails.
"""

import argparse
import importlib
import re
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path

import corpus
import trees
from tool import Case

SCENARIO = re.compile(r"^def ([a-z]\w*)\(case\):", re.MULTILINE)


def modules():
    """The names of the scenarios of each module, found without importing any."""
    found = {path.stem: SCENARIO.findall(path.read_text()) for path in sorted(Path(__file__).parent.glob("*.py"))}
    return {module: names for module, names in found.items() if names}


def chosen(names, only):
    """Pairs of a module and a scenario, of those that are called for."""
    known = modules()
    for name in names:
        pairs = [(module, scenario) for module, scenarios in known.items() for scenario in scenarios if name in (module, scenario)]
        if not pairs:
            sys.exit(f"{name} is neither a scenario nor a module of scenarios; see run.py list")
        yield from (pair for pair in pairs if only in pair[1])


def run(module, name, args, corpus_folder):
    """Runs one scenario, prints its result, and returns whether it passed."""
    corpus.settings()  # those of anndata are of the process, and some scenarios change them
    case = Case(args.bin, args.work / name, corpus_folder)
    shutil.rmtree(case.work, ignore_errors=True)
    case.work.mkdir()
    began = time.monotonic()
    try:
        getattr(importlib.import_module(module), name)(case)
    except Exception:
        case.faults.append(traceback.format_exc())
    took = time.monotonic() - began
    if case.faults:
        print(f"FAILED {name}, in {took:.1f} s:", *case.faults, sep="\n  ", flush=True)
    else:
        print(f"{name}: {case.done} checks passed in {took:.1f} s", flush=True)
        shutil.rmtree(case.work)
    return not case.faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--only", default="", metavar="TEXT", help="of these, scenarios whose name contains TEXT")
    parser.add_argument("--bin", default="annslicer", help="the program under test")
    parser.add_argument("--work", default="interop-work", type=Path, help="a folder for what the scenarios write")
    parser.add_argument("--corpus", help="a folder that `build` made (default: one inside --work)")
    args = parser.parse_args()
    if args.names == ["list"]:
        print("\n".join(f"{module}: {', '.join(names)}" for module, names in modules().items()))
        return 0
    args.bin = str(Path(args.bin).resolve()) if "/" in args.bin else args.bin
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    folder = Path(args.corpus or args.work / "corpus").resolve()
    if args.names == ["build"] or not folder.exists():
        corpus.build(folder)
    if args.names == ["build"]:
        return 0
    warnings.filterwarnings("ignore")
    trees.corpus_folder = folder
    passed = [run(module, name, args, folder) for module, name in chosen(args.names, args.only)]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
