#!/usr/bin/env bash
# TFX 1.21.0: each Beam step packs the whole of TFX into the folder of temporary files, and nothing removes it.
#
# BaseBeamExecutor adds --extra_package=... to the arguments of every pipeline, the local DirectRunner's too, which has no use for it.
# To that end it copies the installed package tfx, and makes an sdist of the copy. Both stay after the executor's pipeline has
# ended: a pipeline with five Beam components that runs each hour fills a disk of 100 GB within weeks. --requirements_file,
# --setup_file, --extra_package or --sdk_container_image among beam_pipeline_args leaves it out.
#
# Seen (the bytes vary a little with what pip compiles):
#   folders after one Beam pipeline: 1, with tfx/setup.py and one tfx_ephemeral sdist, over 30 MB
#   after another: 2
#   with --sdk_container_image: still 2
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
mkdir "$folder/temporary"
cd "$folder"
TMPDIR="$folder/temporary" TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import pathlib
import tempfile

import apache_beam as beam
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor


class Executor(BaseBeamExecutor):
    def Do(self, input_dict, output_dict, exec_properties):
        with self._make_beam_pipeline() as pipeline:
            pipeline | beam.Create([1, 2]) | beam.Map(lambda number: number + 1)


def run(*arguments):
    context = BaseBeamExecutor.Context(beam_pipeline_args=["--runner=DirectRunner", *arguments], tmp_dir="x", unique_id="1")
    Executor(context).Do({}, {}, {})
    return sorted(pathlib.Path(tempfile.gettempdir()).glob("*/build/tfx"))


(packed,) = run()
assert (packed / "setup.py").is_file()
(sdist,) = (packed / "dist").iterdir()
assert sdist.name.startswith("tfx_ephemeral"), sdist
size = sum(file.stat().st_size for file in packed.rglob("*") if file.is_file())
assert size > 30e6, size
print(f"after one pipeline: 1 folder of {size / 1e6:.0f} MB, with {sdist.name}")
assert len(run()) == 2
print("after another: 2")
assert len(run("--sdk_container_image=image")) == 2
print("with --sdk_container_image: still 2")
PYTHON
