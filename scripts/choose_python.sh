#!/usr/bin/env bash
# Prints the Python that .venv is made with, and its lock: two lines. Fails with one line that says what is missing.
#
# PYTHON names it. Otherwise .venv's own is kept; without a .venv it is the first of requirements/locks.txt that this machine has
# and that fits its glibc, then python3, then uv's own if there is a uv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

LOCKS=$(grep -v '^#' requirements/locks.txt)

fail() {
    echo "error: $*" >&2
    exit 1
}

# Whether this machine's glibc is at least version $1.
glibc_is() {
    [ "$(printf '%s\n' "$1" "$GLIBC" | sort --version-sort | head -1)" = "$1" ]
}

# Whether interpreter $1 fits. If so, BASE is its path outside any venv, and LOCK its lock; if not, WHY says why.
fits() {
    local version needed
    if ! version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); then
        WHY="$1 does not run"
    elif needed=$(awk -v version="$version" '$1 == version {print $2}' <<<"$LOCKS") && [ -z "$needed" ]; then
        WHY="$1 is Python $version, which there is no lock for"
    elif ! glibc_is "$needed"; then
        WHY="$1 is Python $version, whose wheels need glibc $needed or newer, and this machine has $GLIBC"
    elif ! "$1" -c 'import ensurepip, venv' 2>/dev/null; then
        WHY="$1 has no venv or pip: install python$version-venv"
    else
        BASE=$("$1" -c 'import sys; print(sys._base_executable)')
        LOCK=requirements/python$version.lock
        return
    fi
    return 1
}

choose() {
    local candidate version needed listed reasons="" usable=()
    while read -r version needed _; do
        ! glibc_is "$needed" || usable+=("$version")
    done <<<"$LOCKS"
    [ ${#usable[@]} -gt 0 ] || fail "the wheels need a newer glibc than $GLIBC, which this machine has: see requirements/locks.txt"
    listed=$(printf ', %s' "${usable[@]}")
    listed=${listed#, }

    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null || fail "$PYTHON is not installed: install it, or name another: make PYTHON=python${usable[0]}"
        fits "$PYTHON" || fail "$WHY. Name another, one of Python $listed: make PYTHON=python${usable[0]}"
        return
    fi
    if [ -x .venv/bin/python ] && fits .venv/bin/python; then
        return
    fi
    for candidate in $(awk '{print "python" $1}' <<<"$LOCKS") python3; do
        command -v "$candidate" >/dev/null || continue
        ! fits "$candidate" || return 0
        reasons+=" ($WHY)"
    done
    command -v uv >/dev/null || fail "no Python here fits$reasons: install one of Python $listed with venv, or uv, which brings one"
    export UV_PYTHON_PREFERENCE=only-managed
    uv python find "${usable[0]}" >/dev/null 2>&1 || uv python install "${usable[0]}" >&2 || fail "no Python here fits$reasons, and uv could not install its Python ${usable[0]}"
    fits "$(uv python find "${usable[0]}")" || fail "$WHY"
}

[ "$(uname -sm)" = "Linux x86_64" ] || fail "the locks are for Linux on x86_64, and this is $(uname -sm)"
GLIBC=$(getconf GNU_LIBC_VERSION 2>/dev/null | awk '{print $2}') || fail "the wheels need glibc, which this system is not made with"
choose
printf '%s\n' "$BASE" "$LOCK"
