#!/usr/bin/env bash
# TFX 1.21.0: a Pusher that is killed leaves half a version in the folder that is served, and nothing ever removes it.
#
# Pusher copies the model file by file into BASE/VERSION, saved_model.pb last. TensorFlow Serving takes each folder whose name is a
# number for a version, and by default serves the largest alone: started anew, it finds half a model and serves none. A pipeline that
# is run again pushes to another number; the half one stays. Renaming a folder that is complete would show it at once.
#
# Two pushes within one second have one number: the second one copies nothing, and is recorded as pushed all the same.
#
# Seen:
#   killed after the first file: 1800000000 has 1 of 3 files
#   the next push: 1800000000 has 1 of 3 files, 1800000001 has 3 of 3 files
#   another model in the same second: pushed = 1, to serving/1800000001, which has the first model
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uv==0.13.9
# TFX's own pins of these have no wheels for every Linux; they play no part here.
cat > "$folder/overrides.txt" <<'PINS'
ml-metadata==1.17.1
tensorflow-data-validation==1.16.1
tensorflow==2.21.0
tensorflow-metadata==1.21.0
tensorflow-model-analysis==0.52.0
tensorflow-transform==1.21.0
tfx-bsl==1.21.0
pyfarmhash>=0.5,<0.6
absl-py
numpy<3
pandas<3
protobuf>=6.31,<7
pyarrow>=10,<19
PINS
"$folder/venv/bin/uv" pip install --quiet --python "$folder/venv/bin/python" --override "$folder/overrides.txt" tfx==1.21.0 setuptools
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import os
import pathlib
import time

from tfx.components.pusher import executor
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

DATA = "variables/variables.data-00000-of-00001"


def push(model, second):
    time.time = lambda: second
    artifact, pushed = standard_artifacts.Model(), standard_artifacts.PushedModel()
    artifact.uri, pushed.uri = model, "archive"
    for name in (DATA, "variables/variables.index", "saved_model.pb"):
        path = pathlib.Path(model, "Format-Serving", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(model)
    destination = pusher_pb2.PushDestination(filesystem=pusher_pb2.PushDestination.Filesystem(base_directory="serving"))
    properties = {"push_destination": proto_utils.proto_to_json(destination)}
    executor.Executor().Do({"model": [artifact]}, {"pushed_model": [pushed]}, properties)
    return pushed


def versions():
    found = []
    for version in sorted(pathlib.Path("serving").iterdir()):
        found.append(f"{version.name} has {sum(file.is_file() for file in version.rglob('*'))} of 3 files")
    return ", ".join(found)


pid = os.fork()
if not pid:
    copy, copied = fileio.copy, []

    def killed(*arguments, **options):
        if copied:
            os.kill(os.getpid(), 9)
        copied.append(arguments)
        copy(*arguments, **options)

    fileio.copy = killed
    push("first", 1_800_000_000)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
half = versions()
print("killed after the first file:", half)
assert half == "1800000000 has 1 of 3 files", "changed"

push("first", 1_800_000_001)
print("the next push:", versions())
assert versions() == f"{half}, 1800000001 has 3 of 3 files", "changed"

pushed = push("second", 1_800_000_001)
destination = pushed.get_string_custom_property("pushed_destination")
served = pathlib.Path(destination, "saved_model.pb").read_text()
was_pushed = pushed.get_int_custom_property("pushed")
print(f"another model in the same second: pushed = {was_pushed}, to {destination}, which has the {served} model")
assert (was_pushed, destination, served) == (1, "serving/1800000001", "first"), "changed"
PYTHON
