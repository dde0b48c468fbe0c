#!/usr/bin/env bash
# make test-container: builds the image from the Dockerfile, compiles the pipeline, and runs every task of it in a
# container of its own. Containers share the pipeline root, and have no network.
#
# Needs root, podman and runc; and debootstrap, unless BASE_IMAGE names a base image that can be pulled.
# All that it makes is in container_output/, or in the folder that WORK names.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

WORK=${WORK:-$PWD/container_output}
IMAGE=localhost/tfx-pruning:test
# The taxi trips that tfx ships, where the image has them.
DATA=/opt/venv/lib/python3.11/site-packages/tfx/examples/chicago_taxi_pipeline/data/simple
PYTHON=.venv/bin/python

fail() {
    echo "error: $*" >&2
    exit 1
}

# Models that the tasks' user pushed.
pushed() {
    find "$WORK/root" -path "*/serving/*/saved_model.pb" -user 1000
}

[ "$(id -u)" = 0 ] || fail "run this as root: debootstrap and containers of another user need it"
for program in podman runc ${BASE_IMAGE:-debootstrap}; do
    [ "$program" = "${BASE_IMAGE:-}" ] || command -v "$program" >/dev/null ||
        fail "$program is not installed: apt-get install podman runc debootstrap"
done

mkdir -p "$WORK"
# Its own storage, and settings that podman has no other way to be told of in every call.
cat >"$WORK/storage.conf" <<CONF
[storage]
driver = "overlay"
runroot = "$WORK/storage/run"
graphroot = "$WORK/storage/graph"
CONF
cat >"$WORK/containers.conf" <<CONF
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
[containers]
netns = "none"
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
CONF
export CONTAINERS_STORAGE_CONF="$WORK/storage.conf" CONTAINERS_CONF="$WORK/containers.conf"
# Without a terminal, which podman would take from whoever called make in the background.
exec </dev/null

if [ -z "${BASE_IMAGE:-}" ]; then
    BASE_IMAGE=localhost/debian-bookworm-python3.11
    if ! podman image exists "$BASE_IMAGE"; then
        echo "Base image: Debian bookworm by debootstrap"
        rm -rf "$WORK/base"
        debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$WORK/base" \
            >"$WORK/debootstrap.log" || fail "debootstrap failed, see $WORK/debootstrap.log"
        # Whatever authorities this machine trusts, the build trusts too.
        cp /etc/ssl/certs/ca-certificates.crt "$WORK/base/etc/ssl/certs/"
        tar -C "$WORK/base" -cf - . | podman import --quiet - "$BASE_IMAGE"
        rm -rf "$WORK/base"
    fi
fi

echo "Image: $IMAGE"
podman build --quiet --network=host --build-arg BASE_IMAGE="$BASE_IMAGE" --tag "$IMAGE" .
podman image list --format "{{.Repository}}:{{.Tag}} {{.Size}}" "$IMAGE"

# The tasks' user, as the Dockerfile has it, writes to the pipeline root.
install -d -o 1000 -g 1000 "$WORK/root"
$PYTHON -m tfx_pruning.pipelines.kubeflow.runner --output "$WORK/pipeline.yaml" --image "$IMAGE" \
    --pipeline-root "$WORK/root" --data-root "$DATA" 2>"$WORK/compile.log" || fail "$(cat "$WORK/compile.log")"
before=$(pushed | wc -l)
$PYTHON -m tfx_pruning.pipelines.kubeflow.launcher "$WORK/pipeline.yaml" --engine=podman
after=$(pushed | wc -l)
[ "$after" -gt "$before" ] || fail "no model was pushed to $WORK/root/serving"
echo "Pushed: $(dirname "$(pushed | sort | tail -1)")"
