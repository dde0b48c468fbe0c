"""How a Keras model's training is pruned: `pruning_scope`."""

import contextlib
import contextvars
import functools
import inspect
import math
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from . import naming, pruned_optimizer
from .batch_loss import BatchLoss
from .hparams import PruningHParams
from .pruning import Pruning
from .saved_training import SavedTraining
from .schedule import ExternalSparsity, SparsitySource
from .training_callback import PruningCallback
from .weight_choice import prunable_weights
from .weight_state import Weight, WeightState

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
        self, hparams: PruningHParams, log_dir: str | os.PathLike[str] | None, sparsity: SparsitySource | None
    ) -> None:
        self.hparams = hparams
        self.sparsity = sparsity
        self.log_dir = None if log_dir is None else os.fspath(log_dir)
        self._trainings: dict[int, Training] = {}
        self._saved: weakref.WeakKeyDictionary[keras.Model, SavedTraining] = weakref.WeakKeyDictionary()

    @property
    def prunings(self) -> list[Pruning]:
        """See the class."""
        return [training.pruning for training in self._trainings.values() if training.pruning is not None]

    @property
    def trainings(self) -> list[tuple[keras.Model, Pruning, int]]:
        """Each fitted model with its pruning and the optimizer steps it took."""
        return [(t.model, t.pruning, t.step()) for t in self._trainings.values() if t.pruning is not None]

    def _log_dir_of(self, training: "Training") -> str | None:
        if self.log_dir is None or not self.hparams.add_summary:
            return None
        first = next(iter(self._trainings.values()))
        return self.log_dir if training is first else os.path.join(self.log_dir, training.model.name)

    def _training(self, model: keras.Model) -> "Training":
        return self._trainings.setdefault(id(model), Training(model, self))

    def _saved_training(self, model: keras.Model) -> SavedTraining:
        if model not in self._saved:
            self._saved[model] = SavedTraining(model.distribute_strategy)
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
) -> Iterator[PruningScope]:
    """Inside this scope a Keras 3 model's `fit` is pruned, with no change to the model or the call.

    The criteria see the gradients as the optimizer's update does: reduced over replicas, unscaled and clipped. Pruned
    weights are exactly zero after every optimizer step, and when `fit` returns the sparsity is exactly what the
    schedule asks for, be it in the middle of the ramp. Steps count the model's optimizer steps inside the scope, over
    all its `fit`s. Any number of models may be fitted; the scope holds for the thread that opened it.

    The layers' own constraints hold as well, as far as zeros allow it. Among the metrics, in the progress bar, the
    callbacks' logs and the `History`, stands `sparsity`: the zeros in the masks of all pruned weights together, at that
    moment.

    A training that broke off goes on, step, masks and gradient states included, from what was written inside the scope:

    - by `keras.callbacks.BackupAndRestore`, in a new scope, with nothing more to do;
    - to a `.keras` or `.weights.h5` file (`ModelCheckpoint`), if it is loaded inside the new scope; loaded outside,
      or into a program without this package, such a file is the model and its optimizer only;
    - by `tf.train.Checkpoint(model=model)`, restored before the new `fit` into a model whose optimizer is built.

    A Keras file that is written after the scope holds the model and its optimizer only.

    Args:
        hparams: The hyperparameters.
        log_dir: Directory for TensorBoard summaries: loss, metrics, sparsity and per-layer sparsity, every
            `pruning_frequency` steps. A second model's go to a folder of its name in there.
        sparsity: Takes the place of the schedule: a floating scalar variable, read at every mask update, or a callable
            of the step; in [0, 1). See `Pruning`.

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
    scope = PruningScope(hparams, log_dir, sparsity)
    token = _active.set(scope)
    try:
        with _patched_model():
            yield scope
    finally:
        _active.reset(token)
        scope._close()
    if not scope.prunings:
        raise RuntimeError(
            "Nothing was pruned: no Keras 3 model took a training step in model.fit inside pruning_scope. Call "
            "model.fit in it; a training loop of your own is pruned by tfx_pruning.Pruning, without a scope."
        )


def active_scope() -> PruningScope | None:
    """The open `pruning_scope`, if any."""
    return _active.get()


# Under this name Keras's own files hold a training's `SavedTraining`.
_SAVED_TRAINING = "tfx_pruning_training"

_patch_lock = threading.Lock()
_patch_users = 0
# What stood in `keras.Model` itself: nothing as Keras ships it, but experiment trackers patch `fit` too.
_patch_covers: Callable[..., Any] | None = None


@contextlib.contextmanager
def _patched_model() -> Iterator[None]:
    """Puts the pruning `fit` in place of `keras.Model.fit`, once for all threads that have a scope open.

    Beside it, a property by which Keras, when it saves or loads a model, finds the model's `SavedTraining`.
    """
    global _patch_users, _patch_covers
    with _patch_lock:
        _patch_users += 1
        if _patch_users == 1:
            _patch_covers = vars(keras.Model).get("fit")
            keras.Model.fit = _pruned_fit(keras.Model.fit)
            setattr(keras.Model, _SAVED_TRAINING, property(_saved_training))
    try:
        yield
    finally:
        with _patch_lock:
            _patch_users -= 1
            if _patch_users == 0:
                delattr(keras.Model, _SAVED_TRAINING)
                if _patch_covers is None:
                    del keras.Model.fit
                else:
                    keras.Model.fit = _patch_covers


def _saved_training(model: keras.Model) -> SavedTraining | None:
    scope = _active.get()
    return None if scope is None else scope._saved_training(model)


def _pruned_fit(original: Callable[..., Any]) -> Callable[..., Any]:
    # Of Keras's own method: a patch of another library may hide it behind *args and **kwargs.
    signature = inspect.signature(super(keras.Model, keras.Model).fit)

    @functools.wraps(original)
    def fit(model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        scope = _active.get()
        if scope is None:  # the fit of a thread without a scope
            return original(model, *args, **kwargs)
        bound = signature.bind(model, *args, **kwargs)
        training = scope._training(model)
        with training.batches(), training.callback_in(bound.arguments.get("callbacks")) as callbacks:
            bound.arguments["callbacks"] = callbacks
            try:
                history = original(*bound.args, **bound.kwargs)
            finally:
                training.release_optimizer()
        # Once more: callbacks such as EarlyStopping restore weights when training ends.
        training.finish()
        return history

    return fit


class Training:
    """The pruning of one model: its masks, and its optimizer's part in them."""

    def __init__(self, model: keras.Model, scope: PruningScope) -> None:
        self.model = model
        self.pruning: Pruning | None = None
        self._scope = scope
        self._optimizer: keras.optimizers.Optimizer | None = None
        self._states: Mapping[Any, WeightState] = {}
        self._trained: set[Any] = set()
        self._weights: list[Weight] = []
        self._saved = scope._saved_training(model)
        self._batch_loss = BatchLoss(model)
        with tf.init_scope(), model.distribute_strategy.scope():
            # Steps less what the optimizer counts. A variable, since a file may be loaded after the step is traced.
            self._steps_before = tf.Variable(
                0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
            )

    def batches(self) -> contextlib.AbstractContextManager[None]:
        """Holds while `fit` runs."""
        return self._batch_loss.watch() if self._scope.hparams.uses_hessian else contextlib.nullcontext()

    @contextlib.contextmanager
    def callback_in(self, callbacks: Any) -> Iterator[Any]:
        """`callbacks`, as `fit` takes them, with the pruning's own in front."""
        own = PruningCallback(self, self._scope.hparams, self._scope._log_dir_of(self))
        try:
            if isinstance(callbacks, keras.callbacks.CallbackList):
                callbacks.callbacks.insert(0, own)
                yield callbacks
            else:
                yield [own, *tf.nest.flatten(callbacks or [])]
        finally:
            if isinstance(callbacks, keras.callbacks.CallbackList):
                callbacks.callbacks.remove(own)
            own.close()

    def begin(self) -> None:
        """Takes hold of the optimizer, before `fit` traces its first step."""
        optimizer = pruned_optimizer.innermost(self.model.optimizer)
        if optimizer is not self._optimizer:
            self._optimizer = optimizer
            self._states, self._trained = {}, set()
            self.forget_compiled_steps()
        self._count_on()
        pruned_optimizer.take(optimizer, self)
        if self.model.train_function is None:
            self.model.make_train_function()
        if self.model.distribute_strategy.num_replicas_in_sync > 1:
            # Keras has built the model by now, and in a replica's context it would be too late for variables.
            self.prepare()

    def prepare(self) -> None:
        """Makes the masks when all layers are built: as the first step is traced, at the latest."""
        if self._states:
            return
        with tf.init_scope(), self.model.distribute_strategy.scope():
            self._choose_weights()
            trainable = {self._optimizer._var_key(weight) for weight in self.model.trainable_variables}
            states = {self._optimizer._var_key(state.weight): state for state in self.pruning.states}
            self._states = {key: state for key, state in states.items() if key in trainable}
            self.take_up_loaded()
            self._count_on()

    def take_up_loaded(self) -> None:
        """Goes on from a Keras file that was loaded since, if one was."""
        if self._saved.take_up_loaded():
            self._count_on()

    def before_apply(self) -> None:
        """Takes in second derivatives if the step that follows updates the masks."""
        if self._scope.hparams.uses_hessian:
            batches = tf.cast(tf.convert_to_tensor(self._optimizer._iterations), tf.int64) + 1
            step = batches // (self._optimizer.gradient_accumulation_steps or 1) + self._steps_before
            self.pruning.observe_hessian_if_due(step, self._batch_loss, self._batch_loss.scale)

    def observe(self, variable: Any, gradient: Any) -> None:
        """Takes in the gradient of one variable, as the optimizer's update gets it."""
        key = self._optimizer._var_key(variable)
        if key in self._states and gradient is not None:
            self._trained.add(key)
            if self._scope.hparams.uses_backprop:
                self.pruning.observe_gradient(self._states[key], gradient)

    def check_trained(self) -> None:
        """Refuses, after the first step, weights that the optimizer does not train: they would be pruned blindly."""
        if self.pruning is None:
            raise ValueError(
                f"The optimizer that {self.model.name!r} was compiled with took no step in fit: its train_step updates "
                "the weights in another way. Let it call self.optimizer.apply_gradients."
            )
        untrained = [state.path for key, state in self._states.items() if key not in self._trained]
        if untrained:
            raise ValueError(
                f"model.optimizer does not train {', '.join(untrained)}: the loss has no gradient with respect to "
                "them, or another optimizer trains them. Take them out with exclude, or let model.optimizer train them."
            )

    def after_apply(self) -> None:
        """Updates the masks and sets pruned weights, and their moving averages, to zero."""
        tf.__internal__.distribute.interim.maybe_merge_call(self._update, self._optimizer._distribution_strategy)

    def step(self) -> int:
        """Optimizer steps so far, over all fits."""
        return int(tf.convert_to_tensor(self._saved.step))

    def finish(self) -> None:
        """Brings the sparsity to what the schedule asks for at the last step."""
        if self.pruning is not None:
            self.check_finite()
            self.pruning.finish(self.step())
            self._constrain()

    def check_finite(self) -> None:
        """Refuses weights that are NaN or infinite: they have no rank."""
        for state in self.pruning.states:
            if not bool(tf.reduce_all(tf.math.is_finite(state.weight))):
                raise FloatingPointError(
                    f"{state.path} is NaN or infinite after {self.step()} optimizer steps, since its gradients were: "
                    "the training has diverged, and there is nothing to rank. Lower the learning rate, clip the "
                    "gradients (clipnorm), or look for bad values in the data; under mixed_float16 the optimizer must "
                    "be a keras.optimizers.LossScaleOptimizer."
                )

    def next_mask_update(self) -> float:
        """The first step that may update the masks again; infinite after the last."""
        last = int(tf.convert_to_tensor(self.pruning.last_mask_update_step))
        hparams = self._scope.hparams
        due = max(last + hparams.pruning_frequency, hparams.begin_pruning_step, self.step() + 1)
        return math.inf if -1 < hparams.end_pruning_step < due else due

    def optimizer_updates(self) -> int:
        """How many batches the optimizer has taken in, skipped ones not counted."""
        return int(tf.convert_to_tensor(self._optimizer._iterations))

    def release_optimizer(self) -> None:
        """Gives the optimizer its own class back."""
        if self._optimizer is not None:
            pruned_optimizer.release(self._optimizer)

    def forget_compiled_steps(self) -> None:
        """Drops the training step that Keras has traced, so that the next `fit` traces it anew."""
        self.model.train_function = None

    def _update(self, strategy: tf.distribute.Strategy) -> None:
        del strategy
        step = tf.cast(tf.convert_to_tensor(self._optimizer.iterations), tf.int64) + self._steps_before
        self._saved.step.assign(step)
        self.pruning.update_masks_if_due(step)
        self.pruning.apply_masks()
        self._constrain()
        if self._optimizer.use_ema:
            for state in self._states.values():
                index = self._optimizer._get_variable_index(state.weight)
                average = self._optimizer._model_variables_moving_average[index]
                average.assign(average * tf.cast(state.mask, average.dtype))

    def _constrain(self) -> None:
        """Lets the layers' own constraints hold for what the masks have left."""
        constrained = [weight for weight in self._weights if getattr(weight, "constraint", None) is not None]
        for weight in constrained:
            state = WeightState.of(weight)
            if not state.masked_forward:
                weight.assign(weight.constraint(weight))
                state.apply_mask()

    def _count_on(self) -> None:
        """Counts from the step that was saved on, whatever the optimizer's own count."""
        self._steps_before.assign(self.step() - int(tf.convert_to_tensor(self._optimizer.iterations)))

    def _choose_weights(self) -> None:
        """Makes the pruning; makes it anew when weights have become trainable since."""
        trainable = self.model.trainable_variables
        chosen = prunable_weights(trainable, self._scope.hparams)
        new = [weight for weight in chosen if not any(weight is known for known in self._weights)]
        if not new:
            return
        before = self.pruning
        self.pruning = Pruning(self._scope.hparams, [*self._weights, *trainable], self._scope.sparsity)
        self._weights += new
        self.model._track_trackable(self.pruning, naming.MODEL_STATE, overwrite=True)
        if before is not None:
            self.pruning.last_mask_update_step.assign(before.last_mask_update_step)
        self._saved.hold(self.pruning)
