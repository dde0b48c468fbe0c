#!/usr/bin/env bash
# Beam 2.77.0: the workers of apache_beam.runners.worker.worker_pool_main import no plugins, whatever --beam_plugin says.
#
# Such a pool is what --environment_type=EXTERNAL names, on Flink, Spark and Prism. Unless it has Beam's `boot` as its
# --container_executable, it starts SdkHarness by itself, which sees none of the job's options: plugins are not imported, file
# systems have no settings, and nothing that workers log reaches the engine. No warning says so. The local runner's worker
# processes do import them. https://github.com/apache/beam/issues/21382 is open since 2022.
#
# Seen:
#   worker processes of the local runner: the plugin is imported
#   workers of the pool: the plugin is not imported
set -euo pipefail
folder=$(mktemp -d)
pool=
trap '[ -z "$pool" ] || kill "$pool"; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-beam==2.77.0
export PATH="$folder/venv/bin:$PATH"
cd "$folder"
touch marker.py
cat > job.py <<'PYTHON'
import sys

import apache_beam as beam
from apache_beam.runners.portability.local_job_service import LocalJobServicer

name, *arguments = sys.argv[1:]
if "EXTERNAL" in arguments[0]:
    job_server = LocalJobServicer()
    arguments += ["--runner=PortableRunner", f"--job_endpoint=localhost:{job_server.start_grpc_server()}"]


def has_plugin(number):
    import sys

    return "marker" in sys.modules


with beam.Pipeline(argv=["--beam_plugin=marker", *arguments]) as pipeline:
    pipeline | beam.Create([1]) | beam.Map(has_plugin) | beam.Map(str) | beam.io.WriteToText(name, shard_name_template="")
PYTHON
export PYTHONPATH="$folder"
port=$(python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
python -m apache_beam.runners.worker.worker_pool_main --service_port="$port" > pool.log 2>&1 &
pool=$!
timeout 300 python job.py local --direct_running_mode=multi_processing --direct_num_workers=1 2> local.log
timeout 300 python job.py pool --environment_type=EXTERNAL --environment_config="localhost:$port" 2> job.log
[ "$(cat local)" = True ]
echo "worker processes of the local runner: the plugin is imported"
[ "$(cat pool)" = False ]
echo "workers of the pool: the plugin is not imported"
