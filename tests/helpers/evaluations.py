"""Evaluations as Evaluator writes them, with metrics of one's own."""

import pathlib

import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2


def write_evaluation(folder, metrics, slices=()):
    """Writes what TFMA reads.

    Args:
        folder: Where.
        metrics: For each model, 'candidate' and 'baseline', its metrics by name.
        slices: Columns and values of the slice that they are of; all examples if empty.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    record = metrics_for_slice_pb2.MetricsForSlice()
    for column, value in slices:
        record.slice_key.single_slice_keys.add(column=column, bytes_value=value.encode())
    for model, values in metrics.items():
        for name, value in values.items():
            pair = record.metric_keys_and_values.add()
            pair.key.name, pair.key.model_name = name, model
            if isinstance(value, bytes):
                pair.value.bytes_value = value
            else:
                pair.value.double_value.value = value
    with tf.io.TFRecordWriter(str(folder / "metrics-00000-of-00001.tfrecord")) as writer:
        writer.write(record.SerializeToString())
    run = config_pb2.EvalRun(
        eval_config=tfma.EvalConfig(), version="0.52.0", model_locations={model: f"of/{model}" for model in metrics}
    )
    (folder / "eval_config.json").write_text(json_format.MessageToJson(run), encoding="utf-8")
