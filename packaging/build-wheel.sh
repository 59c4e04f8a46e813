#!/bin/sh
# Builds the release wheel into dist/, and says what it asks for: build-wheel.sh [OPTION OF maturin build]...
set -eu
cd "$(dirname "$0")/.."
maturin=${MATURIN:-maturin}
"$maturin" build --release --locked --out dist "$@"
for wheel in dist/*.whl; do
    folder=$(mktemp -d)
    python3 -m zipfile -e "$wheel" "$folder"
    program=$(echo "$folder"/*.data/scripts/annslicer)
    chmod +x "$program"
    "$program" --version
    echo "$wheel: $(wc -c < "$wheel") bytes"
    if command -v objdump > /dev/null && [ "$(uname)" = Linux ]; then
        objdump -T "$program" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1
    fi
    rm -r "$folder"
done
