"""PruningTrainer's executor: a run_fn, pruned."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.trainer import executor as trainer_executor
from tfx.components.trainer import fn_args_utils
from tfx.components.util import udf_utils
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

from .. import properties
from ..engine.hparams import TUNED_PREFIX, PruningHParams
from ..engine.hparams_checks import check_teacher
from ..engine.keras.delivered_sparsity import DeliveredSparsity, delivered_sparsity
from ..engine.keras.scope import pruning_scope
from ..executor_artifacts import artifacts_and_versions
from ..places import checked_model_path
from ..pruning_report import publish
from ..report.document import ReportDocument
from ..saved_model.sizes import directory_bytes
from .spec import BACKUP_STEPS_KEY, HPARAMS_KEY, REPORT_KEY, TEACHER_KEY
from .training_backup import TrainingBackups


class Executor(trainer_executor.GenericExecutor):
    """Runs an unchanged `run_fn` inside `pruning_scope` and checks the model it saves."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Trains, prunes, and checks that the saved model has the sparsity asked for.

        Args:
            input_dict: As for tfx Trainer's executor. Those of `hyperparameters` that are named `pruning/...` replace
                those of `hparams`.
            output_dict: As for tfx Trainer's executor, and `report`. The model gets custom properties.
            exec_properties: As for tfx Trainer's executor, and `hparams`, the hyperparameters' string.

        Raises:
            ValueError: The hyperparameters are wrong or fit no weight, the base model or the teacher that
                `distill_weight` needs is missing, the teacher cannot read the batches or has other outputs, or
                TensorFlow cannot read a SavedModel at the path of the output `model`.
            RuntimeError: run_fn fitted no Keras model or saved none.
            SparsityError: The saved model does not have the sparsity asked for.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        # Before the hyperparameters are read: the module may register the criterion or the schedule that they name.
        run_fn = udf_utils.get_fn(exec_properties, "run_fn")
        hparams = PruningHParams.parse(exec_properties[HPARAMS_KEY]).tuned(_tuned_values(input_dict))
        _saved_model_of(input_dict, standard_component_specs.BASE_MODEL_KEY)
        teacher = _saved_model_of(input_dict, TEACHER_KEY)
        check_teacher(hparams, teacher is not None)
        fn_args = self._GetFnArgs(input_dict, output_dict, exec_properties)
        if not _are_of_run_fn(fn_args.hyperparameters):
            fn_args.hyperparameters = None
        for artifacts in output_dict.values():
            _check_writable(artifact_utils.get_single_uri(artifacts))
        checked_model_path(fn_args.serving_model_dir)

        logging.info("Training and pruning with %s", hparams)
        with _backups(input_dict, output_dict, exec_properties) as backups:
            self._train(run_fn, fn_args, hparams, teacher, input_dict, output_dict, backups)
            if backups is not None:
                backups.remove()

    def _train(
        self,
        run_fn: Callable[[fn_args_utils.FnArgs], None],
        fn_args: fn_args_utils.FnArgs,
        hparams: PruningHParams,
        teacher: str | None,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        backups: TrainingBackups | None,
    ) -> None:
        """Runs `run_fn`, checks its model, and describes it."""
        try:
            with pruning_scope(hparams, log_dir=fn_args.model_run_dir, record=True, teacher=teacher) as scope:
                if backups is not None:
                    scope.around_fit = backups.of_fit
                    scope.backup_dir = backups.folder
                run_fn(fn_args)
            delivered = delivered_sparsity(scope, _saved_model(fn_args))
            size = directory_bytes(fn_args.serving_model_dir)
            publish(
                artifact_utils.get_single_instance(output_dict[REPORT_KEY]),
                lambda: ReportDocument(
                    title="Pruned model",
                    weights=delivered.weights,
                    total_parameters=delivered.total_parameters,
                    sizes={"SavedModel as trained": size},
                    hparams=hparams.to_string(),
                    training=delivered.history,
                    lineage=artifacts_and_versions(input_dict, output_dict),
                    multiply_adds=delivered.multiply_adds,
                ),
            )
        except BaseException:
            # No model is left that was not checked.
            if tf.io.gfile.exists(fn_args.serving_model_dir):
                tf.io.gfile.rmtree(fn_args.serving_model_dir)
            raise
        model = artifact_utils.get_single_instance(output_dict[standard_component_specs.MODEL_KEY])
        _set_properties(model, hparams, delivered, size)
        for weight in delivered.weights:
            logging.info("%s: sparsity %.4f, %d of %d left", weight.path, weight.sparsity, weight.nonzero, weight.size)
        logging.info(
            "Sparsity of the %d pruned weights %.4f, of all %d parameters of the model %.4f",
            len(delivered.weights),
            delivered.sparsity,
            delivered.total_parameters,
            delivered.total_sparsity,
        )
        logging.info("Pruned model written to %s, summaries to %s", fn_args.serving_model_dir, fn_args.model_run_dir)


def _backups(
    input_dict: dict[str, list[types.Artifact]],
    output_dict: dict[str, list[types.Artifact]],
    exec_properties: dict[str, Any],
) -> contextlib.AbstractContextManager[TrainingBackups | None]:
    """The backups of this training; None without. An execution of the node with the same inputs has the same."""
    what_was_asked = {key: value for key, value in exec_properties.items() if key != BACKUP_STEPS_KEY}
    inputs = {key: [(each.id, each.uri) for each in artifacts] for key, artifacts in input_dict.items()}
    steps = exec_properties.get(BACKUP_STEPS_KEY)
    if steps == 0:
        return contextlib.nullcontext()
    key = hashlib.sha256(json.dumps([what_was_asked, inputs], sort_keys=True, default=str).encode()).hexdigest()[:16]
    model = artifact_utils.get_single_uri(output_dict[standard_component_specs.MODEL_KEY])
    return TrainingBackups.opened(os.path.dirname(model.rstrip("/")), key, steps)


def _tuned_values(input_dict: dict[str, list[types.Artifact]]) -> dict[str, Any]:
    """Names and values of the tuned hyperparameters, from KerasTuner's configuration or a JSON object of them."""
    artifacts = input_dict.get(standard_component_specs.HYPERPARAMETERS_KEY)
    if not artifacts:
        return {}
    file = io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(artifacts))
    with tf.io.gfile.GFile(file) as stream:
        text = stream.read()
    try:
        hyperparameters = json.loads(text)
    except ValueError:
        hyperparameters = None
    if not isinstance(hyperparameters, dict):
        raise ValueError(
            f"hyperparameters: {file} must hold the configuration of KerasTuner's HyperParameters, or one JSON object "
            f"of names and values, got {text[:200]!r}. Give PruningTrainer 'best_hyperparameters' of a Tuner."
        )
    values = hyperparameters.get("values")
    return values if isinstance(values, dict) else hyperparameters


def _are_of_run_fn(hyperparameters: dict[str, Any] | None) -> bool:
    """Whether there are other hyperparameters than those of pruning that BudgetSearch puts out, without a search space.

    A run_fn that a Tuner may serve has defaults for no hyperparameters, but takes those that there are for its own.
    """
    if not hyperparameters or hyperparameters.get("space") != []:
        return bool(hyperparameters)
    return not all(name.startswith(TUNED_PREFIX) for name in hyperparameters.get("values", {}))


def _saved_model_of(input_dict: dict[str, list[types.Artifact]], key: str) -> str | None:
    """The SavedModel of an input, None without; raises, before hours of training, if it holds none."""
    for artifact in input_dict.get(key) or []:
        serving = trainer_executor.path_utils.serving_model_dir(artifact.uri)
        if not tf.io.gfile.exists(artifact.uri):
            raise ValueError(f"{key}: {artifact.uri} does not exist. Run the component that trains it first.")
        candidates = [serving, *(folder for folder, _, files in tf.io.gfile.walk(serving) if "saved_model.pb" in files)]
        for folder in candidates:
            if tf.saved_model.contains_saved_model(folder):
                return folder
        raise ValueError(
            f"{key}: {serving} holds no SavedModel. Give PruningTrainer the 'model' output of a component that saved "
            "one."
        )
    return None


def _check_writable(directory: str) -> None:
    """Raises, before hours of training, if an output directory cannot be written."""
    try:
        tf.io.gfile.makedirs(directory)
        probe = os.path.join(directory, ".write_probe")
        with tf.io.gfile.GFile(probe, "w") as file:
            file.write("")
        tf.io.gfile.remove(probe)
    except tf.errors.OpError as error:
        raise ValueError(
            f"The output directory {directory} cannot be written ({error.message}). Choose another pipeline_root, or "
            "give this process the right to write there."
        ) from error


def _saved_model(fn_args: fn_args_utils.FnArgs) -> str:
    directory = fn_args.serving_model_dir
    if not tf.io.gfile.exists(directory) or not tf.io.gfile.listdir(directory):
        raise RuntimeError(
            f"run_fn saved no model: {directory} is missing or empty. End run_fn with "
            "tf.saved_model.save(model, fn_args.serving_model_dir, signatures=...)."
        )
    return directory


def _set_properties(model: types.Artifact, hparams: PruningHParams, delivered: DeliveredSparsity, size: int) -> None:
    model.set_string_custom_property(properties.PRUNE_OPTION, hparams.prune_option)
    model.set_string_custom_property(properties.GRADIENT_ESTIMATOR, hparams.gradient_estimator)
    model.set_float_custom_property(properties.TARGET_SPARSITY, hparams.target_sparsity)
    model.set_float_custom_property(properties.SPARSITY, delivered.sparsity)
    model.set_float_custom_property(properties.TOTAL_SPARSITY, delivered.total_sparsity)
    model.set_int_custom_property(properties.PRUNABLE_PARAMETERS, delivered.prunable_parameters)
    model.set_int_custom_property(properties.NONZERO_PARAMETERS, delivered.nonzero_parameters)
    model.set_int_custom_property(properties.TOTAL_PARAMETERS, delivered.total_parameters)
    model.set_string_custom_property(properties.HPARAMS, hparams.to_string())
    model.set_int_custom_property(properties.TRAINED_BYTES, size)
    if delivered.multiply_adds is not None:
        before, kept = delivered.multiply_adds
        model.set_int_custom_property(properties.MULTIPLY_ADDS, before)
        model.set_int_custom_property(properties.MULTIPLY_ADDS_KEPT, kept)
        model.set_float_custom_property(properties.MULTIPLY_ADDS_SPARSITY, 1 - kept / before)
