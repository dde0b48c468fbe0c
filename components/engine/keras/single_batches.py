"""SingleBatches: the steps that a pruned model takes in `train_on_batch`."""

import contextlib
import math
from collections.abc import Iterator

from .training import PrunedTraining


class SingleBatches:
    """Prunes the steps of `train_on_batch` as `fit` prunes its own, without an end after each."""

    def __init__(self, training: PrunedTraining) -> None:
        """Takes the training of the model."""
        self._training = training
        self._last_step: int | None = None
        self._next_look: float = 0

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """A context for one `train_on_batch`."""
        training = self._training
        if training.is_running:  # a callback of `fit` calls it
            yield
            return
        with training.batches():
            try:
                training.begin()
                training.restore_loaded()
                goes_on = self._are_last
                if not goes_on:
                    training.compare()
                    self._record_begin(training.step())
                taken = training.optimizer.steps
                yield
            finally:
                training.release_optimizer()
        if not goes_on:
            training.check_trained()
            self._record_begin(training.step() - (training.optimizer.steps - taken))
            self._next_look = 0
        self._look()
        self._last_step = training.step()

    def end(self) -> None:
        """Ends the training as `fit` does, if its last steps were taken here."""
        if not self._are_last:
            return
        recorder, pruning = self._training.recorder, self._training.pruning
        if recorder is not None:
            recorder.add_mask_updates(pruning)
            recorder.end_steps(pruning)
        self._training.finish()
        if recorder is not None:
            recorder.end(pruning, self._training.step(), None)

    @property
    def _are_last(self) -> bool:
        return self._last_step is not None and self._training.step() == self._last_step

    def _record_begin(self, step: int) -> None:
        if self._training.recorder is not None and self._training.pruning is not None:
            self._training.recorder.begin(self._training.pruning, step)

    def _look(self) -> None:
        """Looks at the weights if the masks may have been updated, and brings the end of the ramp to the target."""
        training = self._training
        hparams, step = training.pruning.hparams, training.step()
        target = max(hparams.target_step, hparams.begin_pruning_step)
        if step < self._next_look:
            return
        training.check_finite()
        if training.recorder is not None:
            training.recorder.add_mask_updates(training.pruning)
        if step >= target:
            training.finish()
        self._next_look = min(training.pruning.next_mask_update(step), target if step < target else math.inf)
