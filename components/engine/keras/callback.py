"""PruningCallback: what pruning does at the beginning, after the batches and at the end of a `fit`."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from .. import summaries
from ..hparams import PruningHParams
from ..shown import only_shown
from .training import PrunedTraining
from .version import steps_per_execution, version_of

# A loss scale of 2^15 needs 15 skipped batches to come down to 1.
_BATCHES_WITHOUT_STEP = 100


class PruningCallback:
    """Begins and ends the pruning of a `fit`, adds `sparsity` to the logs, writes summaries and records the history.

    `pruned_by` makes it a callback of Keras 3 or of tf_keras.
    """

    def __init__(
        self, training: PrunedTraining, hparams: PruningHParams, log_dir: str | None, ending: Sequence[str]
    ) -> None:
        """Takes the training.

        Args:
            training: The pruning of the model that is fitted.
            hparams: The hyperparameters.
            log_dir: Directory for TensorBoard summaries; None for none.
            ending: Names of the other callbacks that do something when training ends.
        """
        super().__init__()
        self._training = training
        self._hparams = hparams
        self._ending = ending
        self._next_step = 0
        self._checked = False
        self._sparsity = 0.0
        self._sparsity_holds_for: float = 0
        self._batches = 0
        self._updates = 0
        self._begun = False
        self._compared = False
        self._writer = None if log_dir is None else tf.summary.create_file_writer(log_dir)

    def on_train_begin(self, logs: Any = None) -> None:
        self._training.begin()
        self._updates = self._training.optimizer.updates

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._training.restore_loaded()
        if not self._compared:
            self._compared = True
            self._training.compare()
        if not self._begun and self._training.pruning is not None:
            self._begun = True
            self._record_begin(self._training.step())

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self._checked:
            self._training.check_trained()
            self._checked = True
            if not self._begun:
                self._begun = True
                self._record_begin(self._training.step() - steps_per_execution(self.model))
        sparsity = self._sparsity_after_batch()
        if logs is not None:
            logs.setdefault("sparsity", sparsity)
        self._check_progress()
        recorder = self._training.recorder
        if recorder is not None and recorder.wants_metrics():
            recorder.add_metrics(self._training.step(), logs)
        if self._writer is not None:
            step = self._training.step()
            if step >= self._next_step:
                self._next_step = step + self._hparams.pruning_frequency
                self._write(step, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self._checked:
            return
        if logs is not None:
            logs.setdefault("sparsity", self._training.pruning.sparsity())
        if self._training.recorder is not None:
            self._training.recorder.add_epoch(self._training.step(), logs)
        if self._ending:
            self._training.end_epoch()
        self._write_histograms(self._training.step())

    def on_train_end(self, logs: Any = None) -> None:
        recorder, pruning = self._training.recorder, self._training.pruning
        if self._checked and recorder is not None:
            recorder.end_steps(pruning)
        self._training.finish()
        if self._ending:
            self._training.keep_last_weights()
        if not self._checked:
            return
        step = self._training.step()
        if recorder is not None:
            recorder.end(pruning, step, logs)
        if self._writer is not None:
            self._write(step, logs)
            self._write_histograms(step)

    def close(self) -> None:
        """Closes the summaries' file."""
        if self._writer is not None:
            self._writer.close()

    def _check_progress(self) -> None:
        """Raises if all of many batches were skipped."""
        self._batches += 1
        if self._batches % _BATCHES_WITHOUT_STEP:
            return
        updates = self._training.optimizer.updates
        if updates == self._updates:
            raise FloatingPointError(
                f"The optimizer skipped {_BATCHES_WITHOUT_STEP} batches in a row: the gradients of "
                f"{self.model.name!r} are NaN or infinite at any loss scale. Look for bad values in the data, or for a "
                "layer or loss that overflows in float16."
            )
        self._updates = updates

    def _sparsity_after_batch(self) -> float:
        """The sparsity. It is read, and the weights are checked, only if the masks may have changed."""
        self._sparsity_holds_for -= steps_per_execution(self.model)
        if self._sparsity_holds_for <= 0:
            step = self._training.step()
            self._sparsity = self._training.pruning.sparsity()
            if self._training.recorder is not None:
                self._training.recorder.add_mask_updates(self._training.pruning)
            self._training.check_finite()
            # A batch takes at most one step: none if it is skipped.
            self._sparsity_holds_for = self._training.pruning.next_mask_update(step) - step
        return self._sparsity

    @only_shown
    def _write(self, step: int, logs: Mapping[str, Any] | None) -> None:
        with self._writer.as_default(step):
            summaries.write_logs(logs or {}, step)
            self._training.pruning.add_pruning_summaries(step, histograms=False)

    @only_shown
    def _write_histograms(self, step: int) -> None:
        if self._writer is not None:
            with self._writer.as_default(step):
                self._training.pruning.add_pruning_summaries(step, scalars=False)

    def _record_begin(self, step: int) -> None:
        if self._training.recorder is not None:
            self._training.recorder.begin(self._training.pruning, step)
        self._write_histograms(step)


@contextlib.contextmanager
def pruned_by(training: PrunedTraining, callbacks: Any, hparams: PruningHParams, log_dir: str | None) -> Iterator[Any]:
    """The callbacks of a `fit` with pruning's own in front, which is removed in the end.

    Args:
        training: The pruning of the model that is fitted.
        callbacks: As `fit` takes them.
        hparams: The hyperparameters.
        log_dir: Directory for TensorBoard summaries; None for none.
    """
    version = version_of(training.model)
    in_a_list = isinstance(callbacks, version.callback_list)
    others = list(callbacks.callbacks if in_a_list else tf.nest.flatten(callbacks or []))
    ending = [type(each).__name__ for each in others if not _is_inherited(each, "on_train_end", version.callback)]
    own = _callback_class(version.callback)(training, hparams, log_dir, ending)
    try:
        if in_a_list:
            callbacks.callbacks.insert(0, own)
            yield callbacks
        else:
            yield [own, *others]
        # Callbacks such as EarlyStopping restore weights when training ends.
        training.settle(ending)
    finally:
        if in_a_list:
            callbacks.callbacks.remove(own)
        own.close()


def _is_inherited(callback: Any, name: str, base: type[Any]) -> bool:
    method = getattr(callback, name, None)
    return method is None or getattr(method, "__func__", None) is getattr(base, name)


@functools.cache
def _callback_class(callback: type[Any]) -> type[Any]:
    """PruningCallback as a subclass of a Keras version's class of callbacks."""
    return type(PruningCallback.__name__, (PruningCallback, callback), {})
