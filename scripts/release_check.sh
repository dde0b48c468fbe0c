#!/usr/bin/env bash
# make release-check: builds the wheel and the sdist, checks both, and installs the wheel in an empty environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
{ read -r python && read -r lock; } <<<"$(scripts/choose_python.sh)"
export UV_NO_PROGRESS=1

rm -rf dist
# Of what is committed, and elsewhere: setuptools leaves files beside what it builds.
mkdir "$folder/source"
git archive HEAD | tar -x -C "$folder/source"
.venv/bin/python -m build --no-isolation --outdir dist "$folder/source" >/dev/null
"$python" -m venv "$folder/tools"
"$folder/tools/bin/pip" install --quiet --disable-pip-version-check twine check-wheel-contents
"$folder/tools/bin/twine" check --strict dist/*
"$folder/tools/bin/check-wheel-contents" dist/*.whl

# The sdist must hold all that a wheel is made of.
tar -xzf dist/*.tar.gz -C "$folder"
.venv/bin/python -m build --wheel --no-isolation --outdir "$folder/again" "$folder"/tfx_pruning-*/ >/dev/null
names='import sys, zipfile; print("\n".join(sorted(zipfile.ZipFile(sys.argv[1]).namelist())))'
diff <("$python" -c "$names" dist/*.whl) <("$python" -c "$names" "$folder"/again/*.whl)

"$python" -m venv "$folder/empty"
.venv/bin/uv pip install --quiet --python "$folder/empty/bin/python" --no-deps --require-hashes -r "$lock"
.venv/bin/uv pip install --quiet --python "$folder/empty/bin/python" --no-deps dist/*.whl
cd "$folder"
empty/bin/tfx-pruning --version
empty/bin/tfx-pruning init example >/dev/null
empty/bin/python -c 'import tfx_pruning; [getattr(tfx_pruning, name) for name in tfx_pruning.__all__]'
ls -l "$OLDPWD"/dist
