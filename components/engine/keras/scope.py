"""How a Keras model's training is pruned: `pruning_scope`."""

import contextlib
import contextvars
import functools
import inspect
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras

from ..history.training_history import TrainingHistory
from ..hparams import PruningHParams
from ..pruning import Pruning
from ..ranking.schedule import ExternalSparsity, SparsitySource
from .callback import pruned_by
from .training import PrunedTraining
from .training_progress import TrainingProgress
from .version import VERSIONS, Model

_active: contextvars.ContextVar["PruningScope | None"] = contextvars.ContextVar("pruning_scope", default=None)


class PruningScope:
    """What is pruned inside one `pruning_scope`.

    Attributes:
        hparams: The hyperparameters.
        log_dir: Where TensorBoard summaries go; None for nowhere.
        sparsity: What takes the place of the schedule, if anything.
        prunings: One `Pruning` for each model that was fitted, in the order of their first `fit`.
    """

    def __init__(
        self,
        hparams: PruningHParams,
        log_dir: str | os.PathLike[str] | None,
        sparsity: SparsitySource | None,
        record: bool,
    ) -> None:
        self.hparams = hparams
        self.sparsity = sparsity
        self.log_dir = None if log_dir is None else os.fspath(log_dir)
        self._record = record
        self._trainings: dict[int, PrunedTraining] = {}
        self._saved: weakref.WeakKeyDictionary[Model, TrainingProgress] = weakref.WeakKeyDictionary()

    @property
    def prunings(self) -> list[Pruning]:
        """See the class."""
        return [training.pruning for training in self._trainings.values() if training.pruning is not None]

    @property
    def trainings(self) -> list[tuple[Model, Pruning, int]]:
        """Each fitted model with its pruning and the optimizer steps it took."""
        return [(t.model, t.pruning, t.step()) for t in self._trainings.values() if t.pruning is not None]

    @property
    def histories(self) -> list[TrainingHistory]:
        """The course of each of `trainings`, and its weights as they are now; empty unless the scope records."""
        trainings = [t for t in self._trainings.values() if t.pruning is not None and t.recorder is not None]
        return [training.recorder.history(training.pruning) for training in trainings]

    def _log_dir_of(self, training: PrunedTraining) -> str | None:
        if self.log_dir is None or not self.hparams.add_summary:
            return None
        first = next(iter(self._trainings.values()))
        return self.log_dir if training is first else os.path.join(self.log_dir, training.model.name)

    def _training(self, model: Model) -> PrunedTraining:
        if id(model) not in self._trainings:
            saved = self._saved_training(model)
            self._trainings[id(model)] = PrunedTraining(model, self.hparams, self.sparsity, saved, self._record)
        return self._trainings[id(model)]

    def _saved_training(self, model: Model) -> TrainingProgress:
        if model not in self._saved:
            self._saved[model] = TrainingProgress(model.distribute_strategy)
        return self._saved[model]

    def _close(self) -> None:
        for training in self._trainings.values():
            training.forget_compiled_steps()


@contextlib.contextmanager
def pruning_scope(
    hparams: PruningHParams,
    *,
    log_dir: str | os.PathLike[str] | None = None,
    sparsity: SparsitySource | None = None,
    record: bool = False,
) -> Iterator[PruningScope]:
    """Inside this scope a Keras model's `fit` is pruned, Keras 3 or tf_keras, with no change to the model or the call.

    The criteria see the gradients as the optimizer's update does: reduced over replicas, unscaled and clipped. Pruned
    weights are exactly zero after every optimizer step, and when `fit` returns the sparsity is exactly what the
    schedule asks for, be it in the middle of the ramp. Steps count the model's optimizer steps inside the scope, over
    all its `fit`s. Any number of models may be fitted; the scope holds for the thread that opened it.

    The layers' own constraints hold as well, as far as zeros allow it. Among the metrics, in the progress bar, the
    callbacks' logs and the `History`, stands `sparsity`: the zeros in the masks of all pruned weights together, at that
    moment.

    A training that broke off goes on, step, masks and gradient states included, from what was written inside the scope:

    - by `keras.callbacks.BackupAndRestore`, in a new scope, with nothing more to do;
    - to a `.keras` or `.weights.h5` file of Keras 3 (`ModelCheckpoint`), if it is loaded inside the new scope; loaded
      outside, or into a program without this package, such a file is the model and its optimizer only;
    - by `tf.train.Checkpoint(model=model)`, restored before the new `fit` into a model whose optimizer is built.

    A Keras file that is written after the scope holds the model and its optimizer only.

    Args:
        hparams: The hyperparameters.
        log_dir: Directory for TensorBoard summaries: loss, metrics, sparsity and per-layer sparsity, every
            `pruning_frequency` steps; histograms of weights and scores before the first step and after every epoch.
            A second model's go to a folder of its name in there.
        sparsity: Takes the place of the schedule: a floating scalar variable, read at every mask update, or a callable
            of the step; in [0, 1). See `Pruning`.
        record: Whether the course of each training is gathered, for `PruningScope.histories`: loss, metrics and
            sparsity over the steps, mask updates, histograms. Bounded in size.

    Yields:
        The scope, whose `prunings` hold the masks of each fitted model.

    Raises:
        TypeError: `hparams` is not PruningHParams, or `sparsity` neither a variable nor callable.
        ValueError: By `fit`, before its first step: no weight to prune, a regex that matches nothing, a layer that
            would lose all its weights; after its first step: a weight that `model.optimizer` does not train.
        FloatingPointError: By `fit`: a pruned weight is NaN or infinite at a mask update or at the end, or a
            LossScaleOptimizer skipped 100 batches in a row.
        RuntimeError: The scope is opened inside another, or nothing was fitted in it.
    """
    if not isinstance(hparams, PruningHParams):
        raise TypeError(
            f"hparams must be PruningHParams, got {type(hparams).__name__}. A string is read by PruningHParams.parse."
        )
    if sparsity is not None:
        ExternalSparsity(sparsity)  # refuses it here, before anything is trained
    if _active.get() is not None:
        raise RuntimeError("A pruning_scope is open already; scopes cannot be nested.")
    scope = PruningScope(hparams, log_dir, sparsity, record)
    token = _active.set(scope)
    try:
        with _patched_models():
            yield scope
    finally:
        _active.reset(token)
        scope._close()
    if not scope.prunings:
        raise RuntimeError(
            "Nothing was pruned: no Keras model took a training step in model.fit inside pruning_scope. Call "
            "model.fit in it; a training loop of your own is pruned by tfx_pruning.Pruning, without a scope."
        )


def active_scope() -> PruningScope | None:
    """The open `pruning_scope`, if any."""
    return _active.get()


# Under this name Keras's own files hold a training's `TrainingProgress`.
_SAVED_TRAINING = "tfx_pruning_training"

_patch_lock = threading.Lock()
_patch_users = 0


@contextlib.contextmanager
def _patched_models() -> Iterator[None]:
    """Puts the pruning `fit` in place of that of both Keras's models, once for all threads that have a scope open.

    Beside it, a property by which Keras 3, when it saves or loads a model, finds the model's `TrainingProgress`.
    """
    global _patch_users
    with _patch_lock:
        _patch_users += 1
        if _patch_users == 1:
            for version in VERSIONS:
                # None as Keras 3 ships its class of models, which inherits `fit`.
                _covered[version.model] = vars(version.model).get("fit")
                version.model.fit = _pruned_fit(version.model.fit, version.fit)
            setattr(keras.Model, _SAVED_TRAINING, property(_saved_training))
    try:
        yield
    finally:
        with _patch_lock:
            _patch_users -= 1
            if _patch_users == 0:
                delattr(keras.Model, _SAVED_TRAINING)
                for model, covered in _covered.items():
                    if covered is None:
                        del model.fit
                    else:
                        model.fit = covered


# What stood in the classes of models themselves when the patch was put over it.
_covered: dict[type[Any], Callable[..., Any] | None] = {}


def _saved_training(model: keras.Model) -> TrainingProgress | None:
    scope = _active.get()
    return None if scope is None else scope._saved_training(model)


def _pruned_fit(original: Callable[..., Any], signature: inspect.Signature) -> Callable[..., Any]:
    @functools.wraps(original)
    def fit(model: Model, *args: Any, **kwargs: Any) -> Any:
        scope = _active.get()
        if scope is None:  # the fit of a thread without a scope
            return original(model, *args, **kwargs)
        bound = signature.bind(model, *args, **kwargs)
        training = scope._training(model)
        log_dir = scope._log_dir_of(training)
        with (
            training.batches(),
            pruned_by(training, bound.arguments.get("callbacks"), scope.hparams, log_dir) as callbacks,
        ):
            bound.arguments["callbacks"] = callbacks
            try:
                history = original(*bound.args, **bound.kwargs)
            finally:
                training.release_optimizer()
        # Once more: callbacks such as EarlyStopping restore weights when training ends.
        training.finish()
        return history

    return fit
