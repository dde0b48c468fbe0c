"""pruning_scope: prunes the Keras models that are fitted in it."""

import contextlib
import contextvars
import functools
import inspect
import os
import threading
import weakref
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from ..forward_pass import Forward
from ..history.training_history import TrainingHistory
from ..hparams import PruningHParams
from ..hparams_checks import check_teacher
from ..pruning import Pruning
from ..ranking.criteria import criterion_of
from ..ranking.schedule import ExternalSparsity, SparsitySource
from ..weight_state import Weight
from .callback import pruned_by
from .loop_pruning import LoopPruning
from .parameter_count import parameter_count
from .single_batches import SingleBatches
from .teacher import Teacher, TeacherSource, teacher_of
from .training import PrunedTraining
from .training_progress import TrainingProgress
from .version import VERSIONS, Model

_active: contextvars.ContextVar["PruningScope | None"] = contextvars.ContextVar("pruning_scope", default=None)


class PruningScope:
    """What is pruned inside one `pruning_scope`.

    Attributes:
        hparams: The hyperparameters.
        log_dir: Where TensorBoard summaries go; None for nowhere.
        sparsity: What replaces the schedule, if anything.
        prunings: One `Pruning` for each model that was fitted, in the order of their first `fit`; then those that
            `pruning_of` made.
        backup_dir: Folder for checkpoints of training loops of your own. The next execution of PruningTrainer with
            the same inputs has the same folder, and it is removed when the model is done. None elsewhere, or if
            PruningTrainer keeps no backups.
        around_fit: Takes a model and the callbacks of a `fit` and gives a context for it, which yields the callbacks
            to use; for whoever opened the scope.
    """

    def __init__(
        self,
        hparams: PruningHParams,
        log_dir: str | os.PathLike[str] | None,
        sparsity: SparsitySource | None,
        record: bool,
        teacher: Teacher | None = None,
    ) -> None:
        self.hparams = hparams
        self.sparsity = sparsity
        self.log_dir = None if log_dir is None else os.fspath(log_dir)
        self.backup_dir: str | None = None
        self.around_fit: Callable[[Model, Any], contextlib.AbstractContextManager[Any]] = _as_it_is
        self._record = record
        self._teacher = teacher
        self._trainings: dict[int, PrunedTraining] = {}
        self._batches: dict[int, SingleBatches] = {}
        self._loops: dict[int, LoopPruning] = {}
        self._saved: weakref.WeakKeyDictionary[Model, TrainingProgress] = weakref.WeakKeyDictionary()

    @property
    def prunings(self) -> list[Pruning]:
        """See the class."""
        return [pruning for _, pruning, _ in self.trainings]

    @property
    def trainings(self) -> list[tuple[Model | tf.Module, Pruning, int]]:
        """Each model that was trained, with its pruning and the optimizer steps it took."""
        fitted = [(t.model, t.pruning, t.step()) for t in self._trainings.values() if t.pruning is not None]
        return [*fitted, *((loop.model, loop, loop.step()) for loop in self._loops.values())]

    @property
    def total_sparsities(self) -> list[float]:
        """For each of `trainings`: the zeros that its masks made as a fraction of all parameters of the model."""
        zeros = [pruning.sparsity() * sum(state.size for state in pruning.states) for _, pruning, _ in self.trainings]
        return [found / parameter_count(model) for found, (model, _, _) in zip(zeros, self.trainings, strict=True)]

    @property
    def histories(self) -> list[TrainingHistory]:
        """The history of each of `trainings`, with its weights as they are now; empty unless the scope records."""
        trainings = [(t.recorder, t.pruning) for t in self._trainings.values() if t.pruning is not None]
        trainings += [(loop.recorder, loop) for loop in self._loops.values()]
        return [recorder.history(pruning) for recorder, pruning in trainings if recorder is not None]

    def pruning_of(
        self, model: Model | tf.Module, variables: Sequence[Weight] | None = None, *, forward: Forward | None = None
    ) -> LoopPruning:
        """Makes the pruning of a model that a training loop of your own trains, with the scope's hyperparameters.

        What it prunes counts as what `fit` prunes: PruningTrainer checks and reports it. The loop calls its
        `conditional_mask_update` after every optimizer step, and its `finish` after the last one, before the model is
        saved.

        Args:
            model: A built model or layer of Keras 3 or tf_keras, or a `tf.Module`. Its checkpoints hold the pruning.
            variables: Those of its weights whose gradients the loop gives, in their order; by default its
                `trainable_variables`. `include` and `exclude` choose among them.
            forward: The forward pass, for `granularity='channel'`; see `Pruning`.

        Raises:
            RuntimeError: The scope is closed.
            ValueError: The model has a pruning in this scope already, a teacher is asked for, or the hyperparameters
                fit no weight; see `Pruning`.
        """
        if _active.get() is not self:
            raise RuntimeError("The pruning_scope is closed, or another thread's. Call pruning_of inside it.")
        _check_is_none_of(model, [*self._trainings, *self._loops])
        is_model = isinstance(model, tuple(version.model for version in VERSIONS))
        saved = self._saved_training(model) if is_model else TrainingProgress(tf.distribute.get_strategy())
        log_dir = self._log_dir(model.name, is_first=not self._trainings and not self._loops)
        self._loops[id(model)] = LoopPruning(
            self.hparams, model, variables, self.sparsity, forward, saved, record=self._record, log_dir=log_dir
        )
        return self._loops[id(model)]

    def is_at_target(self, model: Model) -> bool:
        """Whether the masks of a model that is fitted have the target sparsity."""
        training = self._trainings.get(id(model))
        pruning = None if training is None else training.pruning
        return pruning is not None and all(share.is_delivered for share in pruning.shares_at_target())

    def _log_dir_of(self, training: PrunedTraining) -> str | None:
        first = next(iter(self._trainings.values()))
        return self._log_dir(training.model.name, is_first=training is first and not self._loops)

    def _log_dir(self, name: str, is_first: bool) -> str | None:
        """Where the summaries of a model of that name go; those of the first have no folder of their own."""
        if self.log_dir is None or not self.hparams.add_summary:
            return None
        return self.log_dir if is_first else os.path.join(self.log_dir, name)

    def _training(self, model: Model) -> PrunedTraining:
        _check_is_none_of(model, self._loops)
        if id(model) not in self._trainings:
            saved = self._saved_training(model)
            self._trainings[id(model)] = PrunedTraining(
                model, self.hparams, self.sparsity, saved, self._record, self._teacher
            )
        return self._trainings[id(model)]

    def _single_batches(self, model: Model) -> SingleBatches:
        if id(model) not in self._batches:
            self._batches[id(model)] = SingleBatches(self._training(model))
        return self._batches[id(model)]

    def _saved_training(self, model: Model) -> TrainingProgress:
        if model not in self._saved:
            self._saved[model] = TrainingProgress(model.distribute_strategy)
        return self._saved[model]

    def _end(self) -> None:
        for key, training in self._trainings.items():
            if key in self._batches:
                self._batches[key].end()
            training.close()
        for loop in self._loops.values():
            loop.end()

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
    teacher: TeacherSource | None = None,
) -> Iterator[PruningScope]:
    """Prunes the Keras models, of Keras 3 or tf_keras, whose `fit` is called in this scope. Nothing else need change.

    `train_on_batch` takes a step of the same training. The weights have exactly the target sparsity from the end of the
    ramp on; if the steps end before, they have that of the last step when the scope ends. It writes no summaries.

    The criteria see the gradients as the optimizer's update does: reduced over replicas, unscaled and clipped. Pruned
    weights are exactly zero after every optimizer step. When `fit` returns, the sparsity is exactly what the schedule
    asks for at that step, even in the middle of the ramp. Steps are the model's optimizer steps in the scope, over all
    its `fit`s. Any number of models may be fitted. The scope holds for the thread that opened it.

    A model may have several optimizers, in a MultiOptimizer or, for a `train_step` of its own, as attributes. Of the
    latter, the one that has taken the most steps counts them.

    Weights that a callback restores when `fit` ends, as EarlyStopping does with `restore_best_weights=True`, stay if
    they have that sparsity. Else the model gets those of its last step back, with a warning. `start_from_target` lets
    such callbacks compare only epochs that have the target sparsity.

    The layers' own constraints hold too, as far as zeros allow. The progress bar, the callbacks' logs and the `History`
    show `sparsity`: the fraction of zeros in the masks of all pruned weights together.

    A training that was interrupted is resumed, with its step, masks and gradient states, from files that were written
    inside the scope:

    - by `keras.callbacks.BackupAndRestore`, which restores them in a new scope. With `save_freq=N` it begins the epoch
      anew, with further steps;
    - to a `.keras` or `.weights.h5` file of Keras 3 (`ModelCheckpoint`), if it is loaded inside the new scope. Loaded
      outside, or without this package, such a file holds the model and its optimizer only;
    - by `tf.train.Checkpoint(model=model)`, if it is restored before the new `fit` into a model whose optimizer is
      built.

    A Keras file that is written after the scope holds the model and its optimizer only.

    Args:
        hparams: The hyperparameters.
        log_dir: Directory for TensorBoard summaries: loss, metrics, sparsity and per-layer sparsity, every
            `pruning_frequency` steps; histograms of weights and scores before the first step and after every epoch.
            Those of further models go to a subfolder with the model's name.
        sparsity: Replaces the schedule: a floating scalar variable, read at every mask update, or a callable of the
            step; in [0, 1). See `Pruning`.
        record: Whether the history of each training is recorded, for `PruningScope.histories`: loss, metrics and
            sparsity over the steps, mask updates, histograms. Its size is bounded.
        teacher: A trained model, of Keras 3 or tf_keras, the path of a SavedModel, or what `tf.saved_model.load`
            returned. Its answers join the loss of every model that is fitted, as `hparams.distill_weight` says, where
            `train_step` calls `compute_loss`. It must take the same inputs and have the same outputs. It is not
            trained, pruned or saved.

    Yields:
        The scope, whose `prunings` hold the masks of each fitted model.

    Raises:
        TypeError: `hparams` is not PruningHParams, `sparsity` is neither a variable nor callable, or `teacher` is no
            model.
        ValueError: `teacher` without `hparams.distill_weight` or the other way round, or it was never trained, or no
            function of its SavedModel takes features; or `prune_option` needs the inputs of the layers. By `fit`,
            before its first step: no weight to prune, a regex that matches nothing, a layer that would lose all its
            weights, a teacher that cannot read the batch or has other outputs, layers that are not in float32 with
            `quantize`; after its first step: a weight that no optimizer trains, a `train_step` without `compute_loss`
            for the teacher, no layer for `quantize`, or `regrow` with several optimizers of pruned weights.
        FloatingPointError: By `fit`: a pruned weight is NaN or infinite at a mask update or at the end, or a
            LossScaleOptimizer skipped 100 batches in a row.
        RuntimeError: Another scope is open, nothing was fitted in this one, or a loop's pruning took no step or was not
            finished.
    """
    if not isinstance(hparams, PruningHParams):
        raise TypeError(
            f"hparams must be PruningHParams, got {type(hparams).__name__}. A string is read by PruningHParams.parse."
        )
    criterion_of(hparams)  # raises here, before anything is trained
    if sparsity is not None:
        ExternalSparsity(sparsity)  # so does this
    if _active.get() is not None:
        raise RuntimeError("A pruning_scope is open already, and scopes cannot be nested. Close it first.")
    scope = PruningScope(hparams, log_dir, sparsity, record, _checked_teacher(hparams, teacher))
    token = _active.set(scope)
    try:
        with _patched_models():
            yield scope
            scope._end()
    finally:
        _active.reset(token)
        scope._close()
    if not scope.prunings:
        raise RuntimeError(
            "Nothing was pruned: no Keras model took a training step in model.fit or train_on_batch inside "
            "pruning_scope, and no loop made its pruning. Call one of them in it; in a training loop of your own call "
            "tfx_pruning.current_scope().pruning_of(model)."
        )


def _checked_teacher(hparams: PruningHParams, source: TeacherSource | None) -> Teacher | None:
    check_teacher(hparams, source is not None)
    return None if source is None else teacher_of(source)


def _check_is_none_of(model: Model | tf.Module, pruned: Container[int]) -> None:
    if id(model) in pruned:
        raise ValueError(
            f"{model.name!r} has a pruning in this scope already, which PruningScope.prunings has. Train a model in "
            "one way in a scope: by fit and train_on_batch, or with one call of pruning_of for a loop of your own."
        )


def _as_it_is(model: Model, callbacks: Any) -> contextlib.AbstractContextManager[Any]:
    del model
    return contextlib.nullcontext(callbacks)


def active_scope() -> PruningScope | None:
    """The open `pruning_scope`, if any."""
    return _active.get()


def current_scope() -> PruningScope:
    """The open `pruning_scope`, such as PruningTrainer's around `run_fn`. For training loops of your own.

    Raises:
        RuntimeError: This thread has opened none.
    """
    scope = _active.get()
    if scope is None:
        raise RuntimeError(
            "No pruning_scope is open in this thread. Call current_scope inside 'with pruning_scope(hparams):', or in "
            "the run_fn of PruningTrainer. A run_fn that tfx's Trainer runs, too, asks in_scope() first."
        )
    return scope


def in_scope() -> bool:
    """Whether a `pruning_scope` is open in this thread, as it is in the `run_fn` of PruningTrainer."""
    return _active.get() is not None


# The name under which Keras's own files hold the `TrainingProgress`.
_SAVED_TRAINING = "tfx_pruning_training"

_patch_lock = threading.Lock()
_patch_users = 0


@contextlib.contextmanager
def _patched_models() -> Iterator[None]:
    """Replaces `fit` and `train_on_batch` of both Keras versions' models by ones that prune.

    Once for all threads with an open scope. Also gives Keras 3 models a property, through which Keras saves and loads
    the model's `TrainingProgress`.
    """
    global _patch_users
    with _patch_lock:
        _patch_users += 1
        if _patch_users == 1:
            for version in VERSIONS:
                _cover(version.model, "fit", _pruned_fit(version.model.fit, version.fit))
                _cover(version.model, "train_on_batch", _pruned_batch(version.model.train_on_batch))
            setattr(keras.Model, _SAVED_TRAINING, property(_saved_training))
    try:
        yield
    finally:
        with _patch_lock:
            _patch_users -= 1
            if _patch_users == 0:
                delattr(keras.Model, _SAVED_TRAINING)
                for (model, name), covered in _covered.items():
                    if covered is None:
                        delattr(model, name)
                    else:
                        setattr(model, name, covered)


# The methods that are replaced in the classes, as they were; None for those that were inherited, as Keras 3's are
# unless another library has replaced them.
_covered: dict[tuple[type[Any], str], Callable[..., Any] | None] = {}


def _cover(model: type[Any], name: str, method: Callable[..., Any]) -> None:
    _covered[model, name] = vars(model).get(name)
    setattr(model, name, method)


def _saved_training(model: keras.Model) -> TrainingProgress | None:
    scope = _active.get()
    return None if scope is None else scope._saved_training(model)


def _pruned_fit(original: Callable[..., Any], signature: inspect.Signature) -> Callable[..., Any]:
    @functools.wraps(original)
    def fit(model: Model, *args: Any, **kwargs: Any) -> Any:
        scope = _active.get()
        if scope is None:  # another thread's fit
            return original(model, *args, **kwargs)
        bound = signature.bind(model, *args, **kwargs)
        training = scope._training(model)
        log_dir = scope._log_dir_of(training)
        with (
            training.batches(),
            pruned_by(training, bound.arguments.get("callbacks"), scope.hparams, log_dir) as own_and_theirs,
            scope.around_fit(model, own_and_theirs) as callbacks,
        ):
            bound.arguments["callbacks"] = callbacks
            try:
                history = original(*bound.args, **bound.kwargs)
            finally:
                training.release_optimizer()
        return history

    return fit


def _pruned_batch(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def train_on_batch(model: Model, *args: Any, **kwargs: Any) -> Any:
        scope = _active.get()
        if scope is None or getattr(model, "optimizer", None) is None:  # another thread's, or not compiled
            return original(model, *args, **kwargs)
        with scope._single_batches(model).batch():
            return original(model, *args, **kwargs)

    return train_on_batch
