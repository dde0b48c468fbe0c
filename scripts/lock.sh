#!/usr/bin/env bash
# make lock: resolves every lock of requirements/locks.txt anew. Keeps the pins that a lock has; remove one, or all, to let it
# move.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

while read -r version glibc overrides; do
    .venv/bin/uv pip compile --quiet pyproject.toml --extra kubeflow --extra test --extra dev --extra benchmark --extra docs \
        --override "requirements/$overrides" --python-version "$version" \
        --python-platform "x86_64-manylinux_${glibc/./_}" --generate-hashes --no-annotate --no-header \
        --no-emit-index-url --output-file "requirements/python$version.lock" </dev/null
done < <(grep -v '^#' requirements/locks.txt)
