"""LoopPruning: the pruning of a model that a training loop of the user's own trains inside a scope."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
import tf_keras

from .. import hessian, naming, summaries
from ..forward_pass import Forward
from ..history.recorder import TrainingRecorder
from ..hparams import PruningHParams
from ..hparams_checks import check_for_own_loop
from ..pruning import Pruning
from ..ranking.schedule import SparsitySource
from ..shown import only_shown
from ..weight_state import Weight
from .altered_kernels import warn_of_altered_kernels
from .finite_weights import check_finite
from .fitting_weights import warn_of_changed_weights
from .training_progress import TrainingProgress
from .version import Model


class LoopPruning(Pruning):
    """A `Pruning` that the scope counts: what `PruningScope.pruning_of` makes.

    A loop calls `conditional_mask_update` after every optimizer step, `finish` after the last one, and `log` for each
    point that the report is to have.

    Attributes:
        model: The model.
        recorder: Records the training's history; None if it is not recorded.
    """

    def __init__(
        self,
        hparams: PruningHParams,
        model: Model | tf.Module,
        variables: Sequence[Weight] | None,
        sparsity: SparsitySource | None,
        forward: Forward | None,
        progress: TrainingProgress,
        *,
        record: bool,
        log_dir: str | None,
    ) -> None:
        """Chooses the weights and makes their variables, as `Pruning` does.

        Args:
            hparams: The hyperparameters.
            model: The model.
            variables: Those of its weights whose gradients the loop gives; None for its `trainable_variables`.
            sparsity: Replaces the schedule; see `Pruning`.
            forward: The forward pass, for channels; see `Pruning`.
            progress: What is saved with the model.
            record: Whether the history is recorded.
            log_dir: Directory for TensorBoard summaries; None for none.

        Raises:
            ValueError: `hparams.distill_weight` or `hparams.quantize` is set, or as `Pruning`.
        """
        check_for_own_loop(hparams)
        is_keras = isinstance(model, (keras.Model, tf_keras.Model))
        if is_keras:
            warn_of_altered_kernels(model, hparams)
        given = model.trainable_variables if variables is None else variables
        super().__init__(hparams, given, sparsity, model=model, forward=forward)
        model._track_trackable(self, naming.MODEL_STATE, overwrite=True)
        self.model = model
        self.recorder = TrainingRecorder() if record else None
        self._is_keras = is_keras
        self._progress = progress
        self._progress.hold(self)
        self._progress.restore_loaded()
        self._writer = None if log_dir is None else tf.summary.create_file_writer(log_dir)
        self._begun = False
        self._finished_at: int | None = None

    def step(self) -> int:
        """Optimizer steps that `conditional_mask_update` was told of; what a checkpoint holds counts, too."""
        return int(tf.convert_to_tensor(self._progress.step))

    def conditional_mask_update(
        self,
        step: int | tf.Tensor,
        gradients: Sequence[tf.Tensor | tf.IndexedSlices | None] | None = None,
        loss: hessian.Loss | None = None,
    ) -> tf.Tensor:
        """As `Pruning.conditional_mask_update`; the scope counts the step."""
        with tf.init_scope():
            self._progress.restore_loaded()
        return super().conditional_mask_update(step, gradients, loss)

    def log(self, step: int | tf.Tensor, metrics: Mapping[str, Any] | None = None) -> None:
        """Takes a point of the training for the report and TensorBoard. Not for use inside a `tf.function`.

        Args:
            step: Optimizer steps taken so far, integer scalar.
            metrics: Loss and metrics by their names, scalars.

        Raises:
            FloatingPointError: A pruned weight or its gradient state is NaN or infinite.
            RuntimeError: It is called inside a `tf.function`.
        """
        if not tf.executing_eagerly():
            raise RuntimeError(
                "log was called inside a tf.function, which would run it once, at tracing. Call it from the Python "
                "loop, with what the function returns."
            )
        step = int(tf.convert_to_tensor(step))
        check_finite(self, step)
        values = {name: float(tf.convert_to_tensor(value)) for name, value in (metrics or {}).items()}
        if self.recorder is not None:
            self.recorder.add_mask_updates(self)
            if values and self.recorder.wants_metrics():
                self.recorder.add_metrics(step, values)
        self._write(step, values)

    def finish(self, step: int | tf.Tensor) -> None:
        """Gives the masks exactly the sparsity that the schedule asks for at `step`, the last of the loop.

        Call it before the model is saved.

        Args:
            step: Optimizer steps taken, those of the last `conditional_mask_update`.

        Raises:
            FloatingPointError: A pruned weight or its gradient state is NaN or infinite.
            ValueError: The last `conditional_mask_update` was given another step.
        """
        step, last = int(tf.convert_to_tensor(step)), self.step()
        if step != last:
            raise ValueError(
                f"finish got step {step}, but the last step that conditional_mask_update got is {last}. Give both the "
                "number of optimizer steps so far, such as optimizer.iterations, and call conditional_mask_update "
                "after every step."
            )
        check_finite(self, step)
        if self.recorder is not None:
            self.recorder.add_mask_updates(self)
            self.recorder.end_steps(self)
        super().finish(step)
        if self.recorder is not None:
            self.recorder.end(self, step, None)
        self._write(step, {})
        self._finished_at = step

    def end(self) -> None:
        """Checks, when the scope ends, that the loop came to its end.

        Raises:
            RuntimeError: It took no step, or was not finished after its last one.
        """
        step = self.step()
        if step == 0:
            raise RuntimeError(
                f"The pruning of {self.model.name!r} took no step: conditional_mask_update was never called. Call it "
                "after each optimizer step, with the number of steps so far and the gradients."
            )
        if self._finished_at != step:
            raise RuntimeError(
                f"The pruning of {self.model.name!r} was not finished: its last step was {step}, and finish was "
                f"{'never called' if self._finished_at is None else f'called at step {self._finished_at}'}. Call "
                "finish(step) after the last step, before the model is saved: the masks may lag behind the schedule."
            )
        if self._is_keras:
            warn_of_changed_weights(self.model, self, step)
        if self._writer is not None:
            self._writer.close()

    def _observe_and_update(
        self,
        strategy: tf.distribute.Strategy | None,
        step: int | tf.Tensor,
        gradients: Sequence[tf.Tensor | tf.IndexedSlices],
    ) -> tf.Tensor:
        if not self._begun:
            self._begun = True
            with tf.init_scope():
                self._begin()
        updated = super()._observe_and_update(strategy, step, gradients)
        one = step if strategy is None else strategy.experimental_local_results(step)[0]
        self._progress.step.assign(tf.cast(one, tf.int64))
        return updated

    @tf.autograph.experimental.do_not_convert  # of an int it would make a tensor
    def _begin(self) -> None:
        """Records the weights as they are before the first step or, if that is not traced, just after it."""
        if self.recorder is not None:
            self.recorder.begin(self, self.step())

    @only_shown
    def _write(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._writer is not None:
            with self._writer.as_default(step):
                summaries.write_logs(metrics, step)
                self.add_pruning_summaries(step)
