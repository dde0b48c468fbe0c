#!/usr/bin/env bash
# Beam 2.77.0: DirectRunner, the default, first runs a batch pipeline on Prism, whatever --direct_running_mode says.
#
# It fetches a release of Prism from the internet, keeps it in ~/.apache_beam, and runs the pipeline on it, with the workers as
# threads of the process that submits: --direct_running_mode=multi_processing and --direct_num_workers have no effect then. If
# Prism cannot be fetched or started, it says so at level INFO, and FnApiRunner runs the pipeline as the options say. So the same
# pipeline runs on one engine where the internet is reached, and on another where it is not.
#
# Here a file in place of Prism tells that it was started, and fails.
#
# Seen:
#   DirectRunner with two worker processes started Prism: yes
#   then FnApiRunner ran it, in other processes than its own: yes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apache-beam==2.77.0
cd "$folder"
cat > prism <<'SCRIPT'
#!/bin/sh
echo started > "$(dirname "$0")/started"
exit 1
SCRIPT
chmod +x prism
PATH="$folder/venv/bin:$PATH" HOME="$folder" timeout 300 python - "$folder" 2> log <<'PYTHON'
import os
import sys

import apache_beam as beam

folder = sys.argv[1]


def process(number):
    import os

    return str(os.getpid())


arguments = ["--direct_running_mode=multi_processing", "--direct_num_workers=2", f"--prism_location={folder}/prism"]
with beam.Pipeline(argv=arguments) as pipeline:
    numbers = pipeline | beam.Create(range(8)) | beam.Reshuffle()
    numbers | beam.Map(process) | beam.io.WriteToText(f"{folder}/processes", shard_name_template="")
with open(f"{folder}/processes") as file:
    assert str(os.getpid()) not in file.read().split()
PYTHON
[ "$(cat started)" = started ]
echo "DirectRunner with two worker processes started Prism: yes"
[ -s processes ]
echo "then FnApiRunner ran it, in other processes than its own: yes"
