"""Pruning: the masks of a set of weights and their update."""

import functools
from collections.abc import Iterable, Sequence

import keras
import tensorflow as tf
from tensorflow.python.ops.resource_variable_ops import ResourceVariable

from . import gradient_state, hessian, naming, summaries
from .channel_update import ChannelUpdate
from .choices import CHANNEL
from .forward_pass import Forward, channels_of_weights, traced_forward
from .hparams import PruningHParams
from .hparams_checks import check_for_own_loop
from .mask_update import MaskUpdate
from .ranking.criteria import Criterion, GradientCriterion, HessianCriterion, criterion_of
from .ranking.schedule import SparsitySource
from .rare_branch import take_rare_branch
from .share import Share
from .weight_choice import prunable_weights, warn_of_dense_matrices
from .weight_state import Trackable, Weight, WeightState, path_of, tf_variable


def apply_mask(weight: Weight) -> tf.Tensor:
    """The weight times its mask, to be used in place of the weight in a forward pass.

    For layers, `tf.Module`s and loops of your own: `y = x @ apply_mask(self.kernel)`. The first call gives the weight a
    mask and a threshold, and later calls use them. `Pruning` adds the variables that its criterion needs. Every
    checkpoint that holds the weight holds them too. The weight keeps its value where it is pruned.

    Args:
        weight: A floating `tf.Variable` or `keras.Variable` of any shape.

    Returns:
        A tensor of the weight's shape, and its dtype (or the autocast one of a Keras layer).

    Raises:
        TypeError: `weight` is not a variable, or not a floating one.
    """
    if not isinstance(weight, (tf.Variable, keras.Variable)):
        raise TypeError(
            f"apply_mask takes a tf.Variable or keras.Variable, got {type(weight).__name__}. Pass the variable itself."
        )
    if not tf_variable(weight).dtype.is_floating:
        raise TypeError(
            f"apply_mask takes a floating weight, got {path_of(weight)} of dtype {tf_variable(weight).dtype.name}. Use "
            "it without a mask."
        )
    state = WeightState.of(weight)
    state.mask_forward()
    state.make((naming.MASK, naming.THRESHOLD))
    value = tf.convert_to_tensor(weight)
    return tf.multiply(value, tf.cast(state.mask, value.dtype), name="masked_weight")


def variables_of(hparams: PruningHParams) -> tuple[str, ...]:
    """The pruning variables (`naming.WEIGHT_VARIABLES`) that each pruned weight has under `hparams`."""
    return naming.MASK, naming.THRESHOLD, *criterion_of(hparams).variables


class Pruning(Trackable):
    """The masks of a set of weights, updated as the hyperparameters say.

    A training loop of your own calls `conditional_mask_update` after every optimizer step, inside or outside a
    `tf.function`. Under a `tf.distribute.Strategy` it is called inside `strategy.run`, as `apply_gradients` is:

        pruning = Pruning(hparams, model)
        ...
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        pruning.conditional_mask_update(optimizer.iterations, gradients)

    Attributes:
        hparams: The hyperparameters.
        last_mask_update_step: int64 variable, the step of the last mask update; 0 before the first.
    """

    def __init__(
        self,
        hparams: PruningHParams,
        variables: Sequence[Weight] | tf.Module | keras.Layer,
        sparsity: SparsitySource | None = None,
        *,
        model: tf.Module | keras.Layer | None = None,
        forward: Forward | None = None,
    ) -> None:
        """Chooses the weights and makes their variables.

        Args:
            hparams: The hyperparameters.
            variables: A Keras model, a layer or a `tf.Module`, for its `trainable_variables`; or a list of variables.
                `hparams.include` and `exclude` choose among them (see `prunable_weights`). A model is saved with this
                object; for a list, make the object an attribute of what is saved.
            sparsity: Replaces the schedule: a floating scalar variable, read at every mask update, or a callable that
                takes the step (int64 scalar tensor) and returns a floating scalar tensor; in [0, 1).
            model: The model that listed `variables` are of. Its layers tell weights of one name apart, and if it is a
                Keras model its forward pass is traced, to see what it multiplies activations by.
            forward: The forward pass, for `granularity='channel'`: a ConcreteFunction, or a function without arguments
                that runs the model on some batch. It is traced, never run. What it returns keeps its shape. Not needed
                for a built Keras model that knows its inputs, as functional and Sequential ones do.

        Raises:
            TypeError: `hparams` is not PruningHParams, `variables` is neither a model nor a list of variables,
                `sparsity` is neither a variable nor callable, or `forward` is not callable.
            ValueError: A regex matches nothing, no weight is left to prune, a layer would lose all its weights,
                `hparams.regrow` is set for a weight under `apply_mask`, or channels are asked for and there is no
                forward pass that can be traced, or it has no channel to prune.
        """
        if not isinstance(hparams, PruningHParams):
            raise TypeError(
                f"hparams must be PruningHParams, got {type(hparams).__name__}. A string is read by "
                "PruningHParams.parse."
            )
        self.hparams = hparams
        holder = variables if hasattr(variables, "trainable_variables") else None
        if holder is None and (not isinstance(variables, Iterable) or isinstance(variables, (tf.Variable, tf.Tensor))):
            raise TypeError(
                f"Expected a model or a list of variables to prune, got {variables!r}. Pass one variable in a list."
            )
        given = list(variables if holder is None else holder.trainable_variables)
        model = model if holder is None else holder
        channels = None
        if hparams.granularity == CHANNEL:
            once = list({id(tf_variable(weight)): weight for weight in given}.values())
            channels, named = channels_of_weights(once, hparams, traced_forward(forward, model), model)
        else:
            named = prunable_weights(given, hparams, model)
            warn_of_dense_matrices(given, named.values(), hparams, model)
        self._paths, chosen = list(named), list(named.values())
        self._given = len(given)
        self._positions = [next(i for i, v in enumerate(given) if v is weight) for weight in chosen]
        self._states = [WeightState.of(weight) for weight in chosen]
        self._masks: MaskUpdate | ChannelUpdate = (
            MaskUpdate(hparams, self._paths, self._states, sparsity)
            if channels is None
            else ChannelUpdate(hparams, self._states, channels, sparsity)
        )
        for state in self._states:
            state.make(variables_of(hparams))
        with tf.init_scope(), tf.name_scope(naming.STATE + "/"):
            self.last_mask_update_step = tf.Variable(
                0, dtype=tf.int64, trainable=False, name=naming.LAST_MASK_UPDATE_STEP
            )
            # Saved, so that a later training knows what the gradient state in the file means. tf.Variable would make a
            # variable of the strategy, whose workers cannot send strings to each other.
            saved_hparams = ResourceVariable(hparams.to_string(), trainable=False, name=naming.HPARAMS)
        self._track_trackable(self.last_mask_update_step, naming.LAST_MASK_UPDATE_STEP)
        self._track_trackable(saved_hparams, naming.HPARAMS)
        for index, state in enumerate(self._states):
            self._track_trackable(state, f"weight_{index}")
        if holder is not None:
            # Saves the steps and the hyperparameters with the model.
            holder._track_trackable(self, naming.MODEL_STATE, overwrite=True)

    @property
    def criterion(self) -> Criterion:
        """What scores the weights."""
        return self._masks.criterion

    @property
    def states(self) -> tuple[WeightState, ...]:
        """The pruned weights' states, in order."""
        return tuple(self._states)

    @property
    def paths(self) -> list[str]:
        """The pruned weights' names, in order, each one's own: see `weight_names`."""
        return list(self._paths)

    @property
    def weights(self) -> list[tf.Variable]:
        """The pruned weights, in order."""
        return [state.weight for state in self._states]

    @property
    def masks(self) -> list[tf.Variable]:
        """The masks, in the order of `weights`: True kept, False pruned; bool, the weights' shapes."""
        return [state.mask for state in self._states]

    def conditional_mask_update(
        self,
        step: int | tf.Tensor,
        gradients: Sequence[tf.Tensor | tf.IndexedSlices | None] | None = None,
        loss: hessian.Loss | None = None,
    ) -> tf.Tensor:
        """Averages the gradients, updates the masks if `step` calls for it, and sets pruned weights to zero.

        Masks are updated if begin_pruning_step <= step <= end_pruning_step (no upper bound if that is -1) and
        `pruning_frequency` steps have passed since the last update. Weights under `apply_mask` keep their values. All
        others are zero where they are pruned when this returns.

        Args:
            step: Optimizer steps taken so far, integer scalar.
            gradients: Gradients of the loss with respect to the variables that this object was made with, one each, in
                their order. Needed at every step for a criterion that averages gradients, and for `regrow`. In a
                replica of a `tf.distribute.Strategy`, those of the replica: their sum over the replicas counts, as in
                the optimizer.
            loss: Computes the loss of the batch, a floating scalar, from the weights. Takes no argument. Needed for
                `gradient_estimator='hutchinson'`; called at mask updates, and when they are traced.

        Returns:
            Whether the masks were updated, bool scalar.

        Raises:
            ValueError: Gradients are missing, or their number is wrong; the loss is missing, or has no second
                derivative; or `hparams.distill_weight` or `quantize` is set.
        """
        check_for_own_loop(self.hparams)
        samples_hessian = isinstance(self.criterion, HessianCriterion)
        if samples_hessian and loss is None:
            raise ValueError(
                "gradient_estimator='hutchinson' needs a callable that computes the loss: "
                "conditional_mask_update(step, loss=lambda: ...)."
            )
        chosen = self._gradients_of_weights(gradients) if isinstance(self.criterion, GradientCriterion) else []
        if tf.distribute.in_cross_replica_context() or tf.distribute.get_strategy().num_replicas_in_sync == 1:
            if samples_hessian:
                self.observe_hessian_if_due(step, loss)
            return self._observe_and_update(None, step, chosen)
        if samples_hessian:
            raise ValueError(
                "gradient_estimator='hutchinson' works on one replica: several cannot agree on the second derivatives "
                "at mask updates only. Use gradient_estimator='backprop'."
            )
        context = tf.distribute.get_replica_context()
        if chosen:
            chosen = context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.convert_to_tensor(each) for each in chosen])
        return tf.__internal__.distribute.interim.maybe_merge_call(
            self._observe_and_update, context.strategy, step, chosen
        )

    def observe_gradient(self, state: WeightState, gradient: tf.Tensor | tf.IndexedSlices) -> None:
        """Adds dL/dw of one weight to its moving average. The criterion must be a `GradientCriterion`."""
        dense, decay = tf.convert_to_tensor(gradient), self.hparams.gradient_decay_rate
        gradient_state.observe(self.criterion, decay, dense, state.gradient)

    def observe_hessian_if_due(self, step: int | tf.Tensor, loss: hessian.Loss, scale: float | tf.Tensor = 1.0) -> None:
        """Adds a sample of the Hessian's diagonal to the moving averages if `step` calls for a mask update.

        The criterion must be a `HessianCriterion`. Where the sample is infinite or NaN, as an overflow in float16 makes
        it, the average stays as it was.

        Args:
            step: Integer scalar.
            loss: Computes the loss times `scale`.
            scale: float32 scalar.
        """
        step = tf.cast(tf.convert_to_tensor(step), tf.int64)

        def observe() -> None:
            shapes = [weight.shape for weight in self.weights]
            probes = [hessian.probe(shape, self.hparams.seed + index, step) for index, shape in enumerate(shapes)]
            samples = hessian.diagonal_samples(loss, self.weights, probes)
            for state, sample in zip(self._states, samples, strict=True):
                sample = self.criterion.sample(sample / scale)
                average = gradient_state.moving_average(state.gradient, sample, self.hparams.gradient_decay_rate)
                state.gradient.assign(tf.where(tf.math.is_finite(average), average, state.gradient))

        take_rare_branch(self.is_due(step), observe)

    def is_due(self, step: tf.Tensor) -> tf.Tensor:
        """Whether `step`, int64 scalar, calls for a mask update, bool scalar."""
        return self.hparams.mask_updates.is_due(step, self.last_mask_update_step)

    def next_mask_update(self, step: int) -> float:
        """The first step after `step` that may update the masks again; infinite after the last."""
        last_update = int(tf.convert_to_tensor(self.last_mask_update_step))
        return self.hparams.mask_updates.next_due(step, last_update)

    def update_masks_if_due(self, step: int | tf.Tensor) -> tf.Tensor:
        """Updates the masks if `step` calls for it; returns whether it did, bool scalar."""
        step = tf.cast(tf.convert_to_tensor(step), tf.int64)

        def update() -> None:
            self._masks.update(step)
            self.last_mask_update_step.assign(step)

        return take_rare_branch(self.is_due(step), update)

    def apply_masks(self) -> None:
        """Sets the pruned weights to zero, except those under `apply_mask`."""
        for state in self._states:
            state.apply_mask()

    def finish(self, step: int) -> None:
        """Gives the masks exactly the sparsity that the schedule asks for at `step`, the last of a training.

        Few trainings end at a mask update, so the last masks may lag behind the schedule. Does nothing before
        `begin_pruning_step`.

        Args:
            step: Optimizer steps taken so far.
        """
        latest = self.hparams.mask_updates.latest(step)
        if latest is None:
            return
        if not all(share.is_delivered for share in self._masks.shares(latest)):
            # No pruned weight comes back: it would be zero, with no step left to learn.
            self._masks.update(tf.constant(latest, tf.int64), regrow=False)
        self.apply_masks()

    def adopt_zeros(self, step: int) -> bool:
        """Makes the weights' own zeros the masks, if they have the sparsity that the schedule asks for at `step`.

        Not with N:M sparsity, whose zeros have places.

        Args:
            step: Optimizer steps taken so far, at least `begin_pruning_step`.

        Returns:
            Whether the masks were changed.
        """
        latest = self.hparams.mask_updates.latest(step)
        if latest is None or self.hparams.run_length:
            return False
        before = [tf.identity(mask) for mask in self.masks]
        for mask, zeros in zip(self.masks, self._masks.zeros(), strict=True):
            mask.assign(zeros)
        if all(share.is_delivered for share in self._masks.shares(latest)):
            return True
        for mask, value in zip(self.masks, before, strict=True):
            mask.assign(value)
        return False

    def sparsity(self) -> float:
        """Fraction of zeros that the masks have made in all weights together; assigned over, a zero counts no more."""
        return sum(state.pruned() for state in self._states) / sum(state.size for state in self._states)

    def reached(self) -> float:
        """Fraction of what `target_sparsity` counts that the masks have pruned.

        The sparsity, or with `cost='flops'` the fraction of the multiply-adds that is gone.
        """
        return self._masks.reached()

    def sparsity_by_variable(self) -> dict[str, float]:
        """Fraction of such zeros in each weight, by the weight's name of `paths`."""
        return {path: state.pruned() / state.size for path, state in zip(self._paths, self._states, strict=True)}

    def sparsity_asked(self, step: int) -> float:
        """What `reached` should be at `step`.

        The sparsity of the schedule; 0 before `begin_pruning_step`; after `end_pruning_step`, that of
        `end_pruning_step`.
        """
        latest = self.hparams.mask_updates.latest(step)
        return 0.0 if latest is None else self._masks.sparsity_at(latest)

    def scores(self, index: int) -> tf.Tensor:
        """The scores of the units (weights, blocks, channels) of one of `weights` as they are now.

        A pruned unit is zero and has the score zero, unless its weight is under `apply_mask`.

        Args:
            index: Index of the weight.

        Returns:
            Non-negative float32 scores of the weight's shape; for blocks and channels, one for each unit.
        """
        return self._masks.scores(index)

    @property
    def parts(self) -> list[list[int]]:
        """Indices of the weights that share a sparsity, which holds for their sum: single weights, groups, or all."""
        return self._masks.parts

    def shares_at_target(self) -> list[Share]:
        """For each of `parts`, what the masks keep, and what the target sparsity asks for."""
        return self._masks.shares(max(self.hparams.begin_pruning_step, self.hparams.target_step))

    def add_pruning_summaries(self, step: int | tf.Tensor, *, scalars: bool = True, histograms: bool = True) -> None:
        """Writes TensorBoard summaries to the default `tf.summary` writer; nothing if there is none.

        The sparsity over all weights, the last mask update step, and for each weight its sparsity, threshold and the
        histograms of its values and scores; for a criterion with a gradient state also the norm, sparsity and
        histogram of that. They stand under the name of the hyperparameters.

        Args:
            step: Step to write at, integer scalar.
            scalars: Whether sparsities, thresholds and norms are written.
            histograms: Whether the histograms are.
        """
        step = tf.cast(tf.convert_to_tensor(step), tf.int64)
        has_average = self.criterion.has_average
        named = dict(zip(self._paths, self._states, strict=True))
        # One scope for both: in a graph a second of the same name would be called another.
        with tf.name_scope(self.hparams.name):
            if scalars:
                summaries.write_scalars(named, has_average, self.last_mask_update_step, step)
            if histograms:
                summaries.write_histograms(named, has_average, self.scores, step)

    def _observe_and_update(
        self,
        strategy: tf.distribute.Strategy | None,
        step: int | tf.Tensor,
        gradients: Sequence[tf.Tensor | tf.IndexedSlices],
    ) -> tf.Tensor:
        """`conditional_mask_update`, called once: with a strategy, once for all its replicas."""
        for state, gradient in zip(self._states if gradients else [], gradients, strict=True):
            if strategy is None:
                self.observe_gradient(state, gradient)
            else:
                observe = functools.partial(self._observe_in_replica, state)
                strategy.extended.update(state.weight, observe, args=(gradient,))
        if strategy is not None:
            step = strategy.experimental_local_results(step)[0]
        updated = self.update_masks_if_due(step)
        self.apply_masks()
        return updated

    def _observe_in_replica(self, state: WeightState, weight: tf.Variable, gradient: tf.Tensor) -> None:
        del weight
        self.observe_gradient(state, gradient)

    def _gradients_of_weights(
        self, gradients: Sequence[tf.Tensor | tf.IndexedSlices | None] | None
    ) -> list[tf.Tensor | tf.IndexedSlices]:
        if gradients is None:
            raise ValueError(
                f"prune_option={self.hparams.prune_option!r} with gradient_estimator='backprop' and regrow="
                f"{self.hparams.regrow!r} needs the gradients of the loss: conditional_mask_update(step, gradients). "
                "Without them use prune_option='weight' or gradient_estimator='weight_delta', and no regrow."
            )
        gradients = list(gradients)
        if len(gradients) != self._given:
            raise ValueError(
                f"Expected one gradient for each of the {self._given} variables that Pruning was made with, in their "
                f"order, got {len(gradients)}."
            )
        chosen = [gradients[position] for position in self._positions]
        missing = [path for path, gradient in zip(self.paths, chosen, strict=True) if gradient is None]
        if missing:
            raise ValueError(
                f"The loss has no gradient with respect to {', '.join(missing)}. Take them out with exclude, or let "
                "the loss depend on them."
            )
        return chosen
