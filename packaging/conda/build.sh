#!/bin/bash
# Installs the program, built by cargo with --locked (see pyproject.toml) and stripped, and the Python package beside it, which finds it in $PREFIX/bin.
set -euo pipefail
cargo-bundle-licenses --format yaml --output THIRDPARTY.yml
"$PYTHON" -m pip install . --no-deps --no-build-isolation -vv
strip "$PREFIX/bin/annslicer"
