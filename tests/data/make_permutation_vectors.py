"""Write permutation_vectors.json: what `numpy.random.default_rng(seed).permutation(n)` returns, and PCG64's state after seeding.

    pip install numpy==2.4.6 && python make_permutation_vectors.py

Short permutations stand whole, long ones as their first 8 rows and the SHA-256 of all rows as little-endian int64. Seeds are
decimal text, as some are beyond 128 bits.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

SEEDS = (0, 1, 2, 7, 42, 1234567890, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**64 + 5,
         2**96 - 1, 2**100, 2**128 - 1, 2**128, 2**200 + 3)
MANY = (0, 7, 42, 2**64 + 5)  # the seeds of longer ones
SHORT, MIDDLE, LONG = (0, 1, 2, 3, 4, 5, 8, 17, 64), (65, 100, 255, 256, 257, 1000, 4095, 4096), (65535, 65536, 65537, 100000, 1048577)


def state(seed):
    state = np.random.PCG64(seed).state["state"]
    return {"seed": str(seed), "state": str(state["state"]), "inc": str(state["inc"])}


def vector(seed, n):
    rows = np.random.default_rng(seed).permutation(n)
    if n <= SHORT[-1]:
        return {"seed": str(seed), "n": n, "perm": rows.tolist()}
    return {"seed": str(seed), "n": n, "head": rows[:8].tolist(), "sha256": hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()}


pairs = [(seed, n) for seed in SEEDS for n in SHORT]
pairs += [(seed, n) for seed in SEEDS for n in MIDDLE + (LONG if seed in MANY else ())]
pairs += [(0, 20_000_000), (7, 5_000_000)]
known = {"numpy": np.__version__, "states": [state(seed) for seed in SEEDS], "vectors": [vector(*pair) for pair in pairs]}
Path(__file__).with_name("permutation_vectors.json").write_text(json.dumps(known, separators=(",", ":")) + "\n")
