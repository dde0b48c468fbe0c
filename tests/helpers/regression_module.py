"""User module of small pipelines: a regression on ten numbers, the search of a Tuner for it, and its data.

`run_fn` leaves what it was given in `seen.json` beside its summaries.
"""

import json
import pathlib
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
from tfx import v1 as tfx

from tfx_pruning import PruningHParams, pruning_scope

FEATURES = {"x": tf.io.FixedLenFeature([10], tf.float32), "y": tf.io.FixedLenFeature([1], tf.float32)}
BATCH_SIZE = 20
UNITS = 8
HPARAMS = PruningHParams.for_steps(20, prune_option="weight", target_sparsity=0.5)


def write_examples(file: pathlib.Path, count: int, seed: int) -> None:
    """Writes examples to a new file of gzipped TFRecords, and its folders.

    Args:
        file: Its path.
        count: How many.
        seed: Of their numbers.
    """
    file.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        for x in np.random.default_rng(seed).normal(size=(count, 10)):
            lists = {name: tf.train.FloatList(value=value) for name, value in (("x", x), ("y", x[:1]))}
            features = {name: tf.train.Feature(float_list=value) for name, value in lists.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def run_fn(fn_args: tfx.components.FnArgs) -> None:
    """Trains, for Trainer and PruningTrainer."""
    keras.utils.set_random_seed(1)
    tuned = fn_args.hyperparameters
    model = _model(tuned["values"]["units"] if tuned else (fn_args.custom_config or {}).get("units", UNITS))
    records = [record for file in fn_args.train_files for record in _records(file)]
    model.fit(_batches(records).repeat(), steps_per_epoch=fn_args.train_steps, verbose=0)
    signature = tf.TensorSpec([None], tf.string, name="examples")
    x_only = {"x": FEATURES["x"]}
    serve = tf.function(
        lambda examples: {"outputs": model(tf.io.parse_example(examples, x_only)["x"])}, input_signature=[signature]
    )
    tf.saved_model.save(model, fn_args.serving_model_dir, signatures={"serving_default": serve})
    seen = {
        "custom_config": fn_args.custom_config,
        "hyperparameters": tuned,
        "train_steps": fn_args.train_steps,
        "records": len(records),
    }
    folder = pathlib.Path(fn_args.model_run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seen.json").write_text(json.dumps(seen))


class _PrunedRegression(keras_tuner.HyperModel):
    """Searches the width and the criterion; each trial is pruned."""

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        with hp.name_scope("pruning"):
            hp.Choice("prune_option", ["first_order_gradient", "second_order_gradient"])
            hp.Fixed("target_sparsity", 0.75)
        return _model(hp.Fixed("units", 12))

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        with pruning_scope(HPARAMS.tuned(hp.values)):
            return model.fit(*args, **kwargs)


def tuner_fn(fn_args: tfx.components.FnArgs) -> tfx.components.TunerFnResult:
    """Makes the search, for Tuner."""
    tuner = keras_tuner.GridSearch(
        _PrunedRegression(),
        objective=keras_tuner.Objective("val_loss", "min"),
        max_trials=2,  # all that there are; TFX needs the number
        directory=fn_args.working_dir,
        project_name="search",
    )
    train, evaluation = (
        _batches([record for file in files for record in _records(file)])
        for files in (fn_args.train_files, fn_args.eval_files)
    )
    return tfx.components.TunerFnResult(
        tuner=tuner,
        fit_kwargs={
            "x": train.repeat(),
            "steps_per_epoch": fn_args.train_steps,
            "validation_data": evaluation,
            "verbose": 0,
        },
    )


def _model(units: int) -> keras.Model:
    layers = [keras.Input((10,)), keras.layers.Dense(units, activation="relu"), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile("adam", "mse", jit_compile=False)
    return model


def _records(pattern: str) -> list[bytes]:
    return list(tf.data.TFRecordDataset(tf.io.gfile.glob(pattern), compression_type="GZIP").as_numpy_iterator())


def _batches(records: list[bytes]) -> tf.data.Dataset:
    def parsed(examples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = tf.io.parse_example(examples, FEATURES)
        return features["x"], features["y"]

    return tf.data.Dataset.from_tensor_slices(records).batch(BATCH_SIZE).map(parsed)
