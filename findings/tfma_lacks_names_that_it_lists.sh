#!/usr/bin/env bash
# tensorflow-model-analysis 0.52.0: most classes of an evaluation's configuration are in __all__, and are not there.
#
# The documentation of TFMA writes tfma.EvalConfig, tfma.MetricsSpec and so on. Without TFX these are AttributeErrors, and
# `from tensorflow_model_analysis import *` fails. TFX adds some of them from tensorflow_model_analysis.proto.config_pb2 while it is
# imported. So what a script may write depends on whether it imports TFX, and on whether it does so first.
#
# Seen: the names of __all__ that `import tensorflow_model_analysis` does not bring
#   AggregationOptions BinarizationOptions ConfidenceIntervalOptions CrossSliceMetricThreshold
#   CrossSliceMetricThresholds CrossSlicingSpec EvalConfig ExampleWeightOptions GenericChangeThreshold
#   GenericValueThreshold MetricConfig MetricThreshold MetricsSpec ModelSpec Options PaddingOptions
#   PerSliceMetricThreshold PerSliceMetricThresholds RepeatedInt32Value RepeatedStringValue SlicingSpec
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow-model-analysis==0.52.0 "setuptools<81"
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
seen=$("$folder/venv/bin/python" -c '
import tensorflow_model_analysis as tfma
print(" ".join(sorted(name for name in tfma.__all__ if not hasattr(tfma, name))))' 2>"$folder/errors" | tail -1)
echo "$seen"
expected="AggregationOptions BinarizationOptions ConfidenceIntervalOptions CrossSliceMetricThreshold CrossSliceMetricThresholds
CrossSlicingSpec EvalConfig ExampleWeightOptions GenericChangeThreshold GenericValueThreshold MetricConfig
MetricThreshold MetricsSpec ModelSpec Options PaddingOptions PerSliceMetricThreshold PerSliceMetricThresholds
RepeatedInt32Value RepeatedStringValue SlicingSpec"
[ "$seen" = "${expected//$'\n'/ }" ] || { cat "$folder/errors" >&2; echo "changed" >&2; exit 1; }
