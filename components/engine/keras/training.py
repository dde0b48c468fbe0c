"""PrunedTraining: the pruning of one Keras model during its `fit`s."""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from .. import naming
from ..choices import CHANNEL
from ..compilation import is_large
from ..forward_pass import knows_inputs, traced_forward
from ..history.recorder import TrainingRecorder
from ..hparams import PruningHParams
from ..pruning import Pruning
from ..ranking.criteria import GradientCriterion, HessianCriterion, criterion_of
from ..ranking.schedule import SparsitySource
from ..weight_choice import prunable_weights
from ..weight_state import Combination, Weight, WeightState
from .altered_kernels import check_not_altered, warn_of_altered_kernels
from .batch_loss import BatchLoss, losses_put_back
from .distillation import Distillation
from .finite_weights import check_finite
from .fitting_weights import warn_of_changed_weights, warn_of_other_weights
from .int8_simulation import Int8Simulation
from .last_weights import LastWeights, MaskedEpochs
from .model_optimizers import model_optimizers
from .optimizer import PrunedOptimizer
from .teacher import Teacher
from .training_progress import TrainingProgress
from .version import Model
from .watched_batch import WatchedBatch


class PrunedTraining:
    """The pruning of one model. It is the `UpdateHooks` of the model's optimizer.

    Attributes:
        model: The model.
        optimizer: Its optimizers; None before the first `fit`.
        pruning: Its pruning; None before the first step.
        recorder: Records the training's history; None if it is not recorded.
        is_running: Whether its hooks are in the optimizer.
    """

    def __init__(
        self,
        model: Model,
        hparams: PruningHParams,
        sparsity: SparsitySource | None,
        saved: TrainingProgress,
        record: bool = False,
        teacher: Teacher | None = None,
    ) -> None:
        """Begins with no weights chosen.

        Args:
            model: The model.
            hparams: The hyperparameters.
            sparsity: Replaces the schedule; see `Pruning`.
            saved: The training's progress, which is saved with the model.
            record: Whether the history is recorded.
            teacher: Whose answers join the loss; None for no teacher.
        """
        self.model = model
        self.optimizer: PrunedOptimizer | None = None
        self.pruning: Pruning | None = None
        self.recorder = TrainingRecorder() if record else None
        self.is_running = False
        self._hparams = hparams
        self._sparsity = sparsity
        self._saved = saved
        self._states: Mapping[Any, WeightState] = {}
        self._trained: set[Any] = set()
        self._turns: set[PrunedOptimizer] = set()
        # For the current optimizer step: whether it updates the masks, and which weights were masked when assigned.
        self._due: tf.Tensor | None = None
        self._masked: set[WeightState] = set()
        self._weights: list[Weight] = []
        self._batch = WatchedBatch(model)
        self._batch_loss = BatchLoss(self._batch)
        self._distillation = None if teacher is None else Distillation(teacher, hparams, self._batch)
        self._int8 = Int8Simulation(hparams, self._batch, saved.step) if hparams.quantize else None
        self._last_weights: LastWeights | None = None
        self._masked_epochs = MaskedEpochs()
        # Whether weights that were loaded since the last `fit` are still to be compared with the masks.
        self._to_compare = False
        criterion = criterion_of(hparams)
        self._samples_hessian = isinstance(criterion, HessianCriterion)
        self._samples_gradients = isinstance(criterion, GradientCriterion)
        with tf.init_scope(), model.distribute_strategy.scope():
            # Steps minus those that the optimizer counts. A variable, as a file may be loaded after tracing.
            self._steps_before = tf.Variable(
                0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
            )

    @contextlib.contextmanager
    def batches(self) -> Iterator[None]:
        """A context for `fit`, with the teacher and the rounding, if any.

        The batch is known in it if the criterion needs its loss, channels its inputs, or the teacher or rounding.
        """
        if self._samples_hessian:
            self._batch_loss.check()
        of_channels = self._hparams.granularity == CHANNEL and not knows_inputs(self.model)
        with contextlib.ExitStack() as stack:
            if self._samples_hessian or of_channels or self._distillation is not None or self._int8 is not None:
                stack.enter_context(self._batch.watch())
            if self._int8 is not None:
                stack.enter_context(self._int8.covering())
            if self._distillation is not None:
                stack.enter_context(self._distillation.joined())
            yield

    def begin(self) -> None:
        """Hooks into the optimizer, before `fit` traces its first step.

        Raises:
            ValueError: A pruned weight is not what its layer multiplies by any more, or a layer cannot be rounded.
        """
        if self.pruning is not None:
            check_not_altered(self.model, self.pruning)
        if self._int8 is not None:
            self._int8.cover()
        self.is_running = True
        optimizer = model_optimizers(self.model)
        known = self.optimizer.parts if self.optimizer is not None else []
        if [id(part.optimizer) for part in optimizer.parts] != [id(part.optimizer) for part in known]:
            self.optimizer = optimizer
            self._states, self._trained, self._turns = {}, set(), set()
            self.forget_compiled_steps()
        self._count_on()
        self.optimizer.take(self)
        if self.model.train_function is None:
            self.model.make_train_function()
        if not self.model.built:
            return
        if self.model.distribute_strategy.num_replicas_in_sync > 1:
            self._prepare(self.model.distribute_strategy)
        elif type(self.model).train_step is keras.Model.train_step and (
            self._hparams.granularity != CHANNEL or knows_inputs(self.model)
        ):
            # TensorFlow traces a step again if the first trace made variables, so they are made here. Only Keras's own
            # train_step is known to train all trainable variables with this optimizer.
            self.model.optimizer.build(self.model.trainable_variables)
            self.prepare()

    @tf.autograph.experimental.do_not_convert
    def prepare(self) -> None:
        """Makes the masks once all layers are built: at the latest when the first step is traced."""
        if not self._states:
            tf.__internal__.distribute.interim.maybe_merge_call(self._prepare, self.optimizer.strategy)

    def _prepare(self, strategy: tf.distribute.Strategy) -> None:
        del strategy
        with tf.init_scope(), self.model.distribute_strategy.scope():
            self._choose_weights()
            trainable = {self.optimizer.key(weight) for weight in self.model.trainable_variables}
            states = {self.optimizer.key(state.weight): state for state in self.pruning.states}
            self._states = {key: state for key, state in states.items() if key in trainable}
            self.restore_loaded()
            self._count_on()
            if self._to_compare:
                self.compare()

    def compare(self) -> None:
        """Warns, before the first step of a `fit`, if the weights do not fit the masks that were loaded with them."""
        self._to_compare = self.pruning is None
        if self.pruning is not None:
            warn_of_other_weights(self.pruning, self.step(), self._constrained())

    def restore_loaded(self) -> None:
        """Resumes from a Keras file if one was loaded."""
        if self._saved.restore_loaded():
            self._count_on()

    @tf.autograph.experimental.do_not_convert
    def before_apply(self) -> None:
        """Decides whether this step updates the masks, and if so samples the Hessian for a criterion that needs it."""
        step = self.optimizer.coming_step() + self._steps_before
        self._due, self._masked = self.pruning.is_due(step), set()
        if self._samples_hessian:
            self.pruning.observe_hessian_if_due(step, self._batch_loss, self._batch_loss.scale)

    @tf.autograph.experimental.do_not_convert
    def observe(self, variable: Any, gradient: Any) -> Any:
        """Adds the gradient of one variable to its moving average. Returns the gradient for the optimizer's update."""
        state = self._states.get(self.optimizer.key(variable))
        if state is None or gradient is None:
            return gradient
        self._trained.add(self.optimizer.key(variable))
        self._turns.add(self.optimizer.turn)
        if not self._samples_gradients:
            return gradient
        self.pruning.observe_gradient(state, gradient)
        if tf.executing_eagerly() or isinstance(gradient, tf.IndexedSlices) or not is_large(state.weight):
            return gradient
        # The operation that reads the gradient last may reuse its memory. Let that be the update: it would allocate new
        # memory otherwise, which takes longer than all that is done here.
        with tf.control_dependencies([state.gradient.value()]):
            return tf.identity(gradient)

    @tf.autograph.experimental.do_not_convert
    def assign(self, variable: Any, combine: Combination, value: Any) -> bool:
        """Assigns to a pruned weight and masks it in one pass, if that is the last assignment. Returns whether it did.

        At a step that updates the masks, pruned weights are not masked here but in `after_apply`.
        """
        state = self._states.get(self.optimizer.key(variable))
        if (
            state is None
            or not is_large(state.weight)  # two small operations after one are no slower than three in one
            or variable is not state.weight  # a replica of it
            or state.masked_forward
            or state in self._constrained()
            or not self.optimizer.assigns_last
            or isinstance(value, tf.IndexedSlices)
        ):
            return False
        state.assign_masked(combine, tf.cast(value, state.weight.dtype), self._due)
        self._masked.add(state)
        return True

    def check_trained(self) -> None:
        """Raises if the first step did not train every weight that is pruned, or left out the teacher or rounding."""
        if self.pruning is None:
            raise ValueError(
                f"No optimizer that {self.model.name!r} holds took a step in fit: its train_step updates the weights "
                "in another way. Let it call self.optimizer.apply_gradients, or that of an attribute of the model."
            )
        untrained = {state for key, state in self._states.items() if key not in self._trained}
        if untrained:
            raise ValueError(
                f"No optimizer of {self.model.name!r} trains {', '.join(self._names(untrained))}: the loss has no "
                "gradient with respect to them, or an optimizer does that is no attribute of the model. Take them out "
                "with exclude, or make their optimizer an attribute."
            )
        if self._distillation is not None:
            self._distillation.check_joined()
        if self._int8 is not None:
            self._int8.check_covered(self.pruning)
        if len(self._turns) > 1 and self._hparams.regrow:
            raise ValueError(
                f"regrow={self._hparams.regrow!r} chooses pruned weights by how the optimizer has moved them, and "
                f"{len(self._turns)} optimizers of {self.model.name!r} move them at different times. Prune without "
                "regrow, or let one optimizer, such as keras.optimizers.MultiOptimizer, train all pruned weights."
            )

    @tf.autograph.experimental.do_not_convert
    def after_apply(self) -> None:
        """Updates the masks and sets pruned weights, and their moving averages, to zero."""
        tf.__internal__.distribute.interim.maybe_merge_call(self._update, self.optimizer.strategy)

    def step(self) -> int:
        """Optimizer steps so far, over all fits."""
        return int(tf.convert_to_tensor(self._saved.step))

    def finish(self) -> None:
        """Brings the sparsity to what the schedule asks for at the last step."""
        if self.pruning is not None:
            self.check_finite()
            self.pruning.finish(self.step())
            self._constrain()

    def end_epoch(self) -> None:
        """Notes which masks the weights have, since callbacks may restore them."""
        self._masked_epochs.add(self.pruning)

    def keep_last_weights(self) -> None:
        """Keeps the weights, since callbacks may set others before `fit` returns."""
        if self.pruning is not None:
            self._last_weights = LastWeights(self.model, self.pruning, self.step(), self._masked_epochs)

    def settle(self, callbacks: Iterable[str]) -> None:
        """Sees to it that weights which these callbacks set when `fit` ended have the sparsity of the last step."""
        last, self._last_weights = self._last_weights, None
        if last is not None:
            self.check_finite()
            last.settle(callbacks)

    def check_finite(self) -> None:
        """Raises if a weight or gradient state is NaN or infinite, and so cannot be ranked."""
        check_finite(self.pruning, self.step())

    def close(self) -> None:
        """Warns, when no further `fit` will come, if the model has not the zeros of its masks."""
        if self.pruning is not None:
            self.restore_loaded()
            warn_of_changed_weights(self.model, self.pruning, self.step())
            if self._int8 is not None:
                self._int8.warn_if_unused(self.step())

    def release_optimizer(self) -> None:
        """Gives the optimizer its own class back."""
        self.is_running = False
        if self.optimizer is not None:
            self.optimizer.release()

    def forget_compiled_steps(self) -> None:
        """Makes the next `fit` trace the training step again."""
        self.model.train_function = None

    def _update(self, strategy: tf.distribute.Strategy) -> None:
        del strategy
        step = self.optimizer.count() + self._steps_before
        self._saved.step.assign(step)
        updated = self.pruning.update_masks_if_due(step)
        if self._masked:
            tf.cond(updated, self.pruning.apply_masks, self._apply_other_masks)
        else:
            self.pruning.apply_masks()
        self._constrain()
        for state in self._states.values():
            average = self.optimizer.moving_average(state.weight)
            if average is not None:
                average.assign(average * tf.cast(state.mask, average.dtype))

    def _apply_other_masks(self) -> None:
        """Applies the masks of the weights that were not masked when they were assigned."""
        for state in self.pruning.states:
            if state not in self._masked:
                state.apply_mask()

    def _constrain(self) -> None:
        """Applies the layers' own constraints to the masked weights, and the masks again."""
        for state, weight in self._constrained().items():
            if not state.masked_forward:
                weight.assign(weight.constraint(weight))
                state.apply_mask()

    def _constrained(self) -> dict[WeightState, Weight]:
        """The pruned weights with a constraint."""
        constrained = [weight for weight in self._weights if getattr(weight, "constraint", None) is not None]
        return {WeightState.of(weight): weight for weight in constrained}

    def _names(self, states: Collection[WeightState]) -> list[str]:
        paths = zip(self.pruning.paths, self.pruning.states, strict=True)
        return [path for path, state in paths if state in states]

    def _count_on(self) -> None:
        """Counts on from the saved step, whatever the optimizer counts."""
        self._steps_before.assign(self.step() - self.optimizer.steps)

    def _choose_weights(self) -> None:
        """Makes the pruning, and makes it anew if further weights have become trainable."""
        trainable = self.model.trainable_variables
        if self.pruning is None:
            warn_of_altered_kernels(self.model, self._hparams)
        if self._hparams.granularity == CHANNEL:
            # A channel runs through whatever is trained.
            chosen = trainable
        else:
            chosen = list(prunable_weights(trainable, self._hparams, self.model).values())
        new = [weight for weight in chosen if not any(weight is known for known in self._weights)]
        if not new:
            return
        before = self.pruning
        given = [*self._weights, *trainable]
        forward = self._forward() if self._hparams.granularity == CHANNEL else None
        self.pruning = Pruning(self._hparams, given, self._sparsity, model=self.model, forward=forward)
        self._weights += new
        self.model._track_trackable(self.pruning, naming.MODEL_STATE, overwrite=True)
        if before is not None:
            self.pruning.last_mask_update_step.assign(before.last_mask_update_step)
        self._saved.hold(self.pruning)

    def _forward(self) -> tf.types.experimental.ConcreteFunction:
        """The model's forward pass, of its own inputs or of those of the batch."""
        batch = self._batch.unpacked()
        with losses_put_back(self.model):
            return traced_forward(None, self.model, None if batch is None else batch[0])
