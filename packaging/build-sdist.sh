#!/bin/sh
# Builds the source distribution into dist/.
set -eu
cd "$(dirname "$0")/.."
"${MATURIN:-maturin}" sdist --out dist
