"""Run one scenario: run.py SCENARIO --bin BIN --work DIR [--corpus DIR]; `build` makes the corpus and `list` names the scenarios."""

import argparse
import inspect
import sys
import warnings
from pathlib import Path

import badinput
import batch
import cells
import checking
import concat
import corpus
import fuzz
import hostile
import huge
import limits
import manifests
import merging
import modes
import oldfiles
import rare
import selftest
import slicing
import sources
import upstream
from tool import Case

MODULES = (slicing, merging, concat, sources, oldfiles, upstream, badinput, cells, limits, checking, fuzz, hostile, batch, modes, manifests, huge, rare, selftest)


def scenarios():
    """Every public function of the modules that takes a `case` alone."""
    return {name: f for module in MODULES for name, f in vars(module).items()
            if inspect.isfunction(f) and f.__module__ == module.__name__ and list(inspect.signature(f).parameters) == ["case"] and name[0] != "_"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario")
    parser.add_argument("--bin", default="annslicer", help="the program under test")
    parser.add_argument("--work", default="interop-work", help="a folder for what the scenario writes")
    parser.add_argument("--corpus", help="a folder that `build` made (default: one inside --work)")
    args = parser.parse_args()
    if args.scenario == "list":
        print("\n".join(scenarios()))
        return 0
    work = Path(args.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    folder = Path(args.corpus or work / "corpus").resolve()
    if args.scenario == "build" or not folder.exists():
        corpus.build(folder)
    if args.scenario == "build":
        return 0
    warnings.filterwarnings("ignore")
    corpus.settings()
    binary = str(Path(args.bin).resolve()) if "/" in args.bin else args.bin
    case = Case(binary, work, folder)
    scenarios()[args.scenario](case)
    print("\n".join(case.faults) or f"{args.scenario}: {case.done} checks passed", file=sys.stderr if case.faults else sys.stdout)
    return 1 if case.faults else 0


if __name__ == "__main__":
    sys.exit(main())
