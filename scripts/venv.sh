#!/usr/bin/env bash
# make venv: .venv with the packages of its lock, and this project. Does nothing where it has them already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

BIN=.venv/bin
DISK_KB=4194304
export UV_NO_PROGRESS=1

hash() {
    sha256sum | cut -c1-16
}

chosen=$(scripts/choose_python.sh)
{ read -r python && read -r lock; } <<<"$chosen"

# Stamps are named by what they stand for: an unchanged lock means nothing to do, whatever the files' times say, and a venv
# whose making was cut short has none.
locked=.venv/.locked-$({ pwd; cat "$lock"; } | hash)
installed=.venv/.installed-$(cat setup.py pyproject.toml | hash)

if [ ! -e "$locked" ]; then
    rm -rf .venv
    free=$(df -Pk . | awk 'NR==2 {print $4}')
    if [ "$free" -lt $DISK_KB ]; then
        echo "error: $((free / 1024)) MB of disk are free in $PWD, and the packages take 4 GB: make room" >&2
        exit 1
    fi
    echo "Making .venv with $python and $lock"
    "$python" -m venv .venv
    $BIN/pip install --quiet --disable-pip-version-check --no-deps "$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' "$lock")"
    $BIN/uv pip install --quiet --python $BIN/python --no-deps --require-hashes --compile-bytecode -r "$lock"
    touch "$locked"
fi
if [ ! -e "$installed" ]; then
    $BIN/uv pip install --quiet --python $BIN/python --no-deps --no-build-isolation -e .
    rm -f .venv/.installed-*
    touch "$installed"
fi
