#!/usr/bin/env bash
# make test-trixie: `make demo` and `make test` in Debian trixie, as a new user has them: Python 3.13, glibc 2.41, make and git,
# no compiler, and nothing of this machine but its sources and network.
#
# Needs root, debootstrap and 12 GB of disk. TARGETS names other targets of make; PYTHON_HOME a folder with other Pythons, which
# then is there too, with PYTHON the one to take. All that it makes is in trixie_output/, or in the folder that WORK names.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

WORK=${WORK:-$PWD/trixie_output}
ROOT=$WORK/root
PROJECT=/root/tfx-pruning

fail() {
    echo "error: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "run this as root: debootstrap and chroot need it"
command -v debootstrap >/dev/null || fail "debootstrap is not installed: apt-get install debootstrap"

if [ ! -e "$WORK/.ready" ]; then
    echo "Root: Debian trixie by debootstrap, in $ROOT"
    rm -rf "$ROOT"
    mkdir -p "$WORK"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,make,git trixie "$ROOT" \
        >"$WORK/debootstrap.log" || fail "debootstrap failed, see $WORK/debootstrap.log"
    touch "$WORK/.ready"
fi
# Whatever authorities and names this machine trusts, the root trusts too.
cp /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/"
cp /etc/resolv.conf /etc/hosts "$ROOT/etc/"

# The sources as they are here, committed or not; what make made in an earlier run stays.
mkdir -p "$ROOT$PROJECT"
find "$ROOT$PROJECT" -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --target-directory="$ROOT$PROJECT"

# In namespaces of their own, so that no mount and no process is left behind, however this ends.
exec unshare --mount --pid --fork --kill-child env --ignore-environment \
    ROOT="$ROOT" PROJECT="$PROJECT" TARGETS="${TARGETS:-demo test}" PYTHON_HOME="${PYTHON_HOME:-}" \
    ${PYTHON:+PYTHON="$PYTHON"} HOME=/root LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    bash -euo pipefail -c '
        mount -t proc proc "$ROOT/proc"
        mount --rbind /dev "$ROOT/dev"
        if [ -n "$PYTHON_HOME" ]; then
            mkdir -p "$ROOT$PYTHON_HOME"
            mount --bind "$PYTHON_HOME" "$ROOT$PYTHON_HOME"
        fi
        exec chroot "$ROOT" bash -euo pipefail -c "
            cd $PROJECT
            . /etc/os-release
            echo \"\$PRETTY_NAME, \$(getconf GNU_LIBC_VERSION), \$(python3 --version)\"
            time make $TARGETS"'
