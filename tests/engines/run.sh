#!/usr/bin/env bash
# make test-engines: the Beam steps of the taxi pipeline on Beam's Prism, through its job server and a pool of workers, and the same
# steps in one process: equal examples, statistics, vocabularies, metrics and proof. Then `tfx-pruning run` does it.
#
# Needs Linux, Go, and root or the right to make user namespaces. Prism is built once, in ENGINES_CACHE
# (~/.cache/tfx-pruning-engines); Go's checksum database checks its sources. What a run writes is in engines_output/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

BEAM=$(.venv/bin/python -c 'import apache_beam; print(apache_beam.__version__)')
CACHE=${ENGINES_CACHE:-$HOME/.cache/tfx-pruning-engines}
PRISM=$CACHE/prism-$BEAM/prism
OUTPUT=$PWD/engines_output
LIMIT=${LIMIT:-1500}

fail() {
    echo "error: $*" >&2
    exit 1
}

if [ "${1:-}" != inside ]; then
    if [ ! -x "$PRISM" ]; then
        command -v go >/dev/null || fail "go is not installed, which builds Prism"
        echo "Building Prism $BEAM, in $CACHE"
        GOBIN=${PRISM%/*} go install "github.com/apache/beam/sdks/v2/go/cmd/prism@v$BEAM"
    fi
    rm -rf "$OUTPUT"
    mkdir -p "$OUTPUT"
    # In namespaces of their own: ports are of their loopback alone, and no process is left behind, however this ends.
    exec timeout --foreground "$LIMIT" unshare --map-root-user --net --pid --fork --kill-child --mount-proc "$0" inside
fi

# $1: what; $2: the port at which it listens in the end.
wait_for() {
    for _ in $(seq 120); do
        if (: <"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then
            return
        fi
        sleep 0.5
    done
    fail "$1 does not answer on port $2 after 60 s, see $OUTPUT/$1.log"
}

ip link set lo up
"$PRISM" --job_port=8073 --serve_http=false >"$OUTPUT/prism.log" 2>&1 &
.venv/bin/python -m tfx_pruning.pipelines.worker_pool --port 50000 >"$OUTPUT/pool.log" 2>&1 &
wait_for prism 8073
wait_for pool 50000

echo "Beam and Prism $BEAM, $(.venv/bin/python --version), $(date -I)"
.venv/bin/python -m pytest -q -m e2e tests/pipelines/test_beam_args.py --beam-job-server localhost:8073
.venv/bin/tfx-pruning run --root "$OUTPUT/run" --beam-job-server localhost:8073
