"""ModuleTrial: the components that call a user's module, run on a few examples."""

import contextlib
import importlib
import json
import os
import pathlib
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
from tfx import types
from tfx import v1 as tfx
from tfx.components.trainer import executor as trainer_executor
from tfx.components.transform import executor as transform_executor
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as keys
from tfx.utils import path_utils

# isort: split
import tensorflow_data_validation as tfdv  # after tfx, or it lacks names
from tensorflow_data_validation.statistics import stats_impl
from tfx_bsl.coders import example_coder

from tfx_pruning.engine.keras.teacher import teacher_of
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.label_values import feature_values
from tfx_pruning.pipelines.metric_fit import fitting_instead
from tfx_pruning.pipelines.user_code import UserCode
from tfx_pruning.stripper.proof.example_feed import ExampleFeed
from tfx_pruning.stripper.proof.served_model import ServedModel
from tfx_pruning.suggestion import suggestion

_Artifact = TypeVar("_Artifact", bound=types.Artifact)

_ANSWERED = 64  # examples that signatures are called with
_SAVING = re.compile(r"/(saved_model|export)/")
_NO_CONFIG = {"custom_config": "null"}


class TrialFailedError(Exception):
    """A module, or a setting that speaks of it, does not work; the message says what and where."""


class _FnArgs(trainer_executor.GenericExecutor):
    """What Trainer hands to a run_fn."""

    def made(self, *of_executor: Any) -> tfx.components.FnArgs:
        return self._GetFnArgs(*of_executor)


class ModuleTrial:
    """Runs Transform and Trainer as TFX does, with one step, and what later components ask of the model."""

    def __init__(self, config: PipelineConfig, module: str, examples: Sequence[bytes], folder: pathlib.Path) -> None:
        """Prepares the trial.

        Args:
            config: Configuration of the pipeline.
            module: The name by which the user's module is imported.
            examples: Serialized tf.Examples, at least one.
            folder: An existing folder, for all that is written.
        """
        self._config, self._module, self._folder = config, module, folder
        self._examples = list(examples)
        self._code = UserCode.of(config)

    def run(self) -> None:
        """Tries the module.

        Raises:
            TrialFailedError: It fails, or saves a model that the pipeline cannot use.
        """
        examples, schema = self._data()
        graph = self._artifact(tfx.types.standard_artifacts.TransformGraph, "transform_graph")
        transformed = self._artifact(tfx.types.standard_artifacts.Examples, "transformed_examples")
        with self._part("its import"):
            run_fn = importlib.import_module(self._module).run_fn
        with self._part("preprocessing_fn"):
            # Without arguments Beam runs in this process too, and TFX does not pack its source for other machines.
            context = base_beam_executor.BaseBeamExecutor.Context(
                beam_pipeline_args=[], tmp_dir=str(self._folder), unique_id="trial"
            )
            transform_executor.Executor(context).Do(
                {keys.EXAMPLES_KEY: [examples], keys.SCHEMA_KEY: [schema]},
                {keys.TRANSFORM_GRAPH_KEY: [graph], keys.TRANSFORMED_EXAMPLES_KEY: [transformed]},
                {
                    keys.PREPROCESSING_FN_KEY: f"{self._module}.preprocessing_fn",
                    keys.DISABLE_STATISTICS_KEY: 1,
                    keys.FORCE_TF_COMPAT_V1_KEY: 0,
                    **_NO_CONFIG,
                },
            )
        model = self._artifact(tfx.types.standard_artifacts.Model, "model")
        one_step = json.dumps({"num_steps": 1})
        with self._part("run_fn"):
            fn_args = _FnArgs().made(
                {
                    keys.EXAMPLES_KEY: [transformed],
                    keys.TRANSFORM_GRAPH_KEY: [graph],
                    keys.SCHEMA_KEY: [schema],
                },
                {
                    keys.MODEL_KEY: [model],
                    keys.MODEL_RUN_KEY: [self._artifact(tfx.types.standard_artifacts.ModelRun, "model_run")],
                },
                {keys.TRAIN_ARGS_KEY: one_step, keys.EVAL_ARGS_KEY: one_step, **_NO_CONFIG},
            )
            run_fn(fn_args)
        self._check_model(path_utils.serving_model_dir(model.uri))

    def _data(self) -> tuple[types.Artifact, types.Artifact]:
        """Examples and schema, as ExampleGen and SchemaGen make them."""
        examples = self._artifact(tfx.types.standard_artifacts.Examples, "examples")
        examples.split_names = artifact_utils.encode_split_names(["train", "eval"])
        some = self._examples
        for split, records in (("train", some[::3] + some[1::3]), ("eval", some[2::3] or some)):
            part = pathlib.Path(examples.uri, f"Split-{split}")
            part.mkdir()
            with tf.io.TFRecordWriter(str(part / "data_tfrecord-00000-of-00001.gz"), "GZIP") as writer:
                for record in records:
                    writer.write(record)
        statistics = stats_impl.generate_statistics_in_memory(
            example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(some), tfdv.StatsOptions()
        )
        schema = self._artifact(tfx.types.standard_artifacts.Schema, "schema")
        inferred = tfdv.infer_schema(statistics, infer_feature_shape=False)
        tfdv.write_schema_text(inferred, os.path.join(schema.uri, "schema.pbtxt"))
        return examples, schema

    def _check_model(self, path: str) -> None:
        """Asks the signatures that the Evaluator and Stripper will ask."""
        config = self._config
        if not tf.saved_model.contains_saved_model(path):
            raise TrialFailedError(
                "run_fn saved no model: end it with tf.saved_model.save(model, fn_args.serving_model_dir, "
                f"signatures={{{config.serving_signature!r}: ...}})"
            )
        with self._part("the model that run_fn saved"):
            served = ServedModel.read(path)
            loaded = served.load()
        if config.hparams.distill_weight:
            with self._part("the model that run_fn saved, as the teacher of the pruned one,"):
                teacher_of(path)
        for field in ("serving_signature", "preprocessing_signature"):
            name = getattr(config, field)
            if name and name not in served.signatures:
                hint = suggestion(name, sorted(served.signatures))
                raise TrialFailedError(
                    f"the model that run_fn saved has no signature {name!r}. {hint} Save it with signatures="
                    f"{{{name!r}: ...}}, a function of serialized tf.Examples, or set {field}"
                )

        def answers(name: str) -> dict[str, tf.Tensor]:
            with self._part(f"the signature {name!r} of the model that run_fn saved"):
                records = self._examples[:_ANSWERED]
                features = {name for record in records for name in tf.train.Example.FromString(record).features.feature}
                feed = ExampleFeed.choose(served, name, features)
                return loaded.signatures[name](**feed.inputs(records[: feed.batch_size]))

        answered = answers(config.serving_signature)
        label = self._label(answers)
        if label is not None and len(answered) == 1:
            (answer,) = answered.values()
            if isinstance(answer, tf.Tensor) and len(label) == answer.shape[0]:
                self._check_metrics(label, answer.numpy())

    def _label(self, answers: Callable[[str], dict[str, tf.Tensor]]) -> np.ndarray | None:
        """The label of the examples that signatures answer; None if it is of several lengths."""
        key, signature = self._config.label_key, self._config.preprocessing_signature
        if signature:
            outputs = answers(signature)
            if key not in outputs:
                raise TrialFailedError(
                    f"the signature {signature!r} of the model that run_fn saved has no output {key!r}, which is the "
                    f"label_key. {suggestion(key, sorted(outputs))} Name the output that is the label"
                )
            return outputs[key].numpy() if isinstance(outputs[key], tf.Tensor) else None
        return feature_values(self._examples[:_ANSWERED], key)

    def _check_metrics(self, label: np.ndarray, answer: np.ndarray) -> None:
        for metric in self._config.metrics:
            if found := fitting_instead(metric, label, answer):
                what, instead = found
                field = "metric" if metric == self._config.metric else "further_metrics"
                raise TrialFailedError(f"{field}: {metric} does not fit {what}: use {instead}")

    @contextlib.contextmanager
    def _part(self, name: str) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            lines = traceback.extract_tb(error.__traceback__)
            if name == "run_fn" and any(_SAVING.search(frame.filename) for frame in lines):
                name = "run_fn, where it saves the model,"
            raise TrialFailedError(f"{name} fails with {self._code.described(error)}") from error

    def _artifact(self, kind: type[_Artifact], name: str) -> _Artifact:
        artifact = kind()
        artifact.uri = str(self._folder / name)
        os.makedirs(artifact.uri)
        if kind is tfx.types.standard_artifacts.Examples:
            artifact.set_string_custom_property("file_format", "tfrecords_gzip")
            artifact.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
        return artifact
