#!/bin/sh
# Runs cmake: the system's if there is one, else pip's, installed once into the user's cache.
set -eu
if command -v cmake >/dev/null 2>&1; then
    exec cmake "$@"
fi
version=3.31.6
venv="${XDG_CACHE_HOME:-$HOME/.cache}/annslicer/cmake-$version"
if [ ! -x "$venv/bin/cmake" ]; then
    {
        python3 -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "cmake==$version"
    } >&2
fi
exec "$venv/bin/cmake" "$@"
