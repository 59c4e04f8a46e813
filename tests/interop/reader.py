"""Whether shards are the rows of their input, both as the anndata of this interpreter reads them.

Reads a list of shards as JSON, and prints what differs in each of those whose input can be read. A program of its own, as it runs
in environments other than that of the suite.
"""

import json
import sys
import warnings
from functools import lru_cache

import anndata as ad

import compare


def read(path):  # as that of corpus.py, whose imports need zarr 3
    return ad.read_zarr(path) if path.endswith(".zarr") else ad.read_h5ad(path)


def main():
    warnings.filterwarnings("ignore")
    ad.settings.remove_unused_categories = False
    told, unread = {}, {}
    whole = lru_cache(maxsize=1)(read)
    for task in json.load(sys.stdin):
        try:
            want = whole(task["source"])[task["rows"]].copy()
        except Exception as error:  # whatever makes this release refuse the input
            unread[task["source"]] = repr(error)[:200]
            continue
        try:
            told[task["label"]] = compare.diff_adata(want, read(task["shard"]))
        except Exception as error:  # whatever makes it refuse the shard is the finding
            told[task["label"]] = [f"anndata {ad.__version__} cannot read it: {error!r}"[:400]]
    json.dump({"read": told, "unread": unread}, sys.stdout)


if __name__ == "__main__":
    main()
