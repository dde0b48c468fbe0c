"""Pruning: the masks of a set of weights and their update."""

import functools
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from . import gradient_state, naming, summaries
from .allocation import Allocation, allocation
from .fused import fused
from .granularity import Elements, Granularity, granularities
from .hparams import PruningHParams
from .n_of_m import NOfM
from .saliency import Criterion, criterion
from .schedule import ExternalSparsity, SparsitySource, schedule
from .selection import Scores
from .weight_choice import prunable_weights
from .weight_state import Trackable, Weight, WeightState, path_of, tf_variable

_SMALLEST_SCORE = float(np.finfo(np.float32).smallest_normal)


def apply_mask(weight: Weight) -> tf.Tensor:
    """The weight times its mask, to be used in its place in a forward pass.

    For layers, `tf.Module`s and loops of one's own: `y = x @ apply_mask(self.kernel)`. The first call gives the weight
    a mask and a threshold, later calls use the same; `Pruning` adds the gradient and old weights that its criterion
    needs. All are in every checkpoint that holds the weight. The weight keeps its value where it is pruned.

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
        raise TypeError(f"apply_mask takes a floating weight; {path_of(weight)} is {tf_variable(weight).dtype.name}.")
    state = WeightState.of(weight)
    state.masked_forward = True
    state.make((naming.MASK, naming.THRESHOLD))
    value = tf.convert_to_tensor(weight)
    return tf.multiply(value, tf.cast(state.mask, value.dtype), name="masked_weight")


class Pruning(Trackable):
    """Masks of a set of weights, updated as the hyperparameters say.

    A training loop of one's own calls `conditional_mask_update` after every optimizer step, in or out of a
    `tf.function`:

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
    ) -> None:
        """Chooses the weights and makes their variables.

        Args:
            hparams: The hyperparameters.
            variables: A Keras model, a layer or a `tf.Module`, whose `trainable_variables` are meant; or a list of
                variables. Among them `hparams.include` and `exclude` choose (see `prunable_weights`). A model saves
                this object with itself; for a list, make it an attribute of what is saved.
            sparsity: Takes the place of the schedule: a floating scalar variable, read at every mask update, or a
                callable of the step (int64 scalar tensor) that gives a floating scalar tensor; in [0, 1).

        Raises:
            TypeError: `hparams` is not PruningHParams, `variables` neither a model nor a list of variables, or
                `sparsity` neither a variable nor callable.
            ValueError: A regex matches nothing, no weight is left to prune, or a layer would lose all its weights.
        """
        if not isinstance(hparams, PruningHParams):
            raise TypeError(
                f"hparams must be PruningHParams, got {type(hparams).__name__}. A string is read by "
                "PruningHParams.parse."
            )
        self.hparams = hparams
        model = variables if hasattr(variables, "trainable_variables") else None
        if model is None and (not isinstance(variables, Iterable) or isinstance(variables, (tf.Variable, tf.Tensor))):
            raise TypeError(
                f"Expected a model or a list of variables to prune, got {variables!r}. Put one into a list."
            )
        given = list(variables if model is None else model.trainable_variables)
        chosen = prunable_weights(given, hparams)
        self._given = len(given)
        self._positions = [next(i for i, v in enumerate(given) if v is weight) for weight in chosen]
        self._states = [WeightState.of(weight) for weight in chosen]
        self._second_order = hparams.prune_option == "second_order_gradient"
        self._criterion = criterion(hparams.prune_option, hparams.gradient_estimator)
        shapes = [tuple(state.weight.shape) for state in self._states]
        self._granularities = granularities(hparams, self.paths, shapes)
        units = [granularity.units for granularity in self._granularities]
        if hparams.run_length:
            sparsities = schedule(hparams, hparams.target_sparsity) if sparsity is None else ExternalSparsity(sparsity)
            self._allocation: Allocation = NOfM(hparams, self.paths, shapes, sparsities)
        else:
            self._allocation = allocation(hparams, self.paths, shapes, units, sparsity)
        for state in self._states:
            state.make(self.kinds(hparams))
        with tf.init_scope(), tf.name_scope(naming.STATE + "/"):
            self.last_mask_update_step = tf.Variable(
                0, dtype=tf.int64, trainable=False, name=naming.LAST_MASK_UPDATE_STEP
            )
            # Saved, so that a later training knows what the gradient state in the file means.
            saved_hparams = tf.Variable(hparams.to_string(), trainable=False, name=naming.HPARAMS)
        self._track_trackable(self.last_mask_update_step, naming.LAST_MASK_UPDATE_STEP)
        self._track_trackable(saved_hparams, naming.HPARAMS)
        for index, state in enumerate(self._states):
            self._track_trackable(state, f"weight_{index}")
        if model is not None:
            # TensorFlow restores no children of variables when it loads a SavedModel: the masks need this second path.
            model._track_trackable(self, naming.MODEL_STATE, overwrite=True)

    @property
    def states(self) -> tuple[WeightState, ...]:
        """The pruned weights' states, in order."""
        return tuple(self._states)

    @property
    def paths(self) -> list[str]:
        """The pruned weights' paths, in order."""
        return [state.path for state in self._states]

    @property
    def weights(self) -> list[tf.Variable]:
        """The pruned weights, in order."""
        return [state.weight for state in self._states]

    @property
    def masks(self) -> list[tf.Variable]:
        """The masks, in the order of `weights`: True kept, False pruned; bool, the weights' shapes."""
        return [state.mask for state in self._states]

    def conditional_mask_update(
        self, step: int | tf.Tensor, gradients: Sequence[tf.Tensor | tf.IndexedSlices | None] | None = None
    ) -> tf.Tensor:
        """Takes in the gradients, updates the masks if `step` calls for it, and sets pruned weights to zero.

        Masks are updated if begin_pruning_step <= step <= end_pruning_step (no upper bound if that is -1) and
        `pruning_frequency` steps have passed since the last update. Weights under `apply_mask` keep their value; all
        others are zero where they are pruned when this returns.

        Args:
            step: Optimizer steps taken so far, integer scalar.
            gradients: Gradients of the loss with respect to the variables that this object was made with, one each,
                in their order. Needed for the gradient options with `gradient_estimator='backprop'`, at every step.

        Returns:
            Whether the masks were updated, bool scalar.

        Raises:
            ValueError: Gradients are missing, or their number is wrong.
        """
        if self.hparams.uses_backprop:
            for state, gradient in zip(self._states, self._gradients_of_weights(gradients), strict=True):
                self.observe_gradient(state, gradient)
        updated = self.update_masks_if_due(step)
        self.apply_masks()
        return updated

    def observe_gradient(self, state: WeightState, gradient: tf.Tensor | tf.IndexedSlices) -> None:
        """Takes dL/dw of one weight into its moving average."""
        dense, before = tf.convert_to_tensor(gradient), tf.convert_to_tensor(state.gradient)
        decay = self.hparams.gradient_decay_rate
        state.gradient.assign(gradient_state.observed(self._second_order, decay, dense, before))

    def update_masks_if_due(self, step: int | tf.Tensor) -> tf.Tensor:
        """Updates the masks if `step` calls for it; returns whether it did, bool scalar."""
        step = tf.cast(tf.convert_to_tensor(step), tf.int64)
        due = self._in_window(step) & (self.last_mask_update_step + self.hparams.pruning_frequency <= step)

        def update() -> tf.Tensor:
            self._update_masks(step)
            self.last_mask_update_step.assign(step)
            return tf.constant(True)

        return tf.cond(due, update, lambda: tf.constant(False))

    def apply_masks(self) -> None:
        """Sets the pruned weights to zero, but for those under `apply_mask`."""
        for state in self._states:
            state.apply_mask()

    def finish(self, step: int) -> None:
        """Brings the masks to exactly the sparsity that the schedule asks for at `step`, the last one of a training.

        Training seldom ends on a mask update; what the schedule asks for since then is made up for here. Nothing
        happens before `begin_pruning_step`.

        Args:
            step: Optimizer steps taken so far.
        """
        if step < self.hparams.begin_pruning_step:
            return
        if self.hparams.end_pruning_step != -1:
            step = min(step, self.hparams.end_pruning_step)
        if [kept for kept, _ in self.kept_units()] != [int(kept) for kept in self._allocation.kept(step)]:
            self._update_masks(tf.constant(step, tf.int64))
        self.apply_masks()

    def sparsity(self) -> float:
        """Fraction of zeros in the masks of all weights together."""
        return 1.0 - sum(int(state.kept()) for state in self._states) / sum(state.size for state in self._states)

    def sparsity_by_variable(self) -> dict[str, float]:
        """Fraction of zeros in each weight's mask, by the weight's path."""
        return {state.path: float(state.sparsity()) for state in self._states}

    @property
    def parts(self) -> list[list[int]]:
        """Indices of the weights whose sparsity holds for their sum: each by itself, groups, or all together."""
        return self._allocation.parts

    def kept_units(self) -> list[tuple[int, int]]:
        """How many units (weights, blocks, channels) the masks keep now, and of how many; for each of `parts`."""
        kept = [
            int(tf.math.count_nonzero(granularity.any(tf.cast(state.mask, tf.float32))))
            for granularity, state in zip(self._granularities, self._states, strict=True)
        ]
        return [
            (sum(kept[index] for index in part), sum(self._granularities[index].units for index in part))
            for part in self.parts
        ]

    def kept_units_at_target(self) -> list[int]:
        """How many units the target sparsity keeps, for each of `parts`."""
        end = max(self.hparams.begin_pruning_step, self.hparams.target_step)
        return [int(kept) for kept in self._allocation.kept(end)]

    def add_pruning_summaries(self, step: int | tf.Tensor) -> None:
        """Writes TensorBoard summaries to the default `tf.summary` writer; nothing if there is none.

        The sparsity over all weights, the last mask update step, and for each weight its sparsity, threshold and, for
        the gradient options, the norm, sparsity and histogram of its gradient state.

        Args:
            step: Step to write at, integer scalar.
        """
        summaries.write_pruning(self, step)

    def _update_masks(self, step: tf.Tensor) -> None:
        if self.hparams.uses_gradient and not self.hparams.uses_backprop:
            for state in self._states:
                self._observe_weight_delta(state)
        units = list(zip(self._states, self._granularities, strict=True))
        scores = [self._unit_scores(state, granularity) for state, granularity in units]
        masks = self._allocation.masks(scores, step, tf.bool)
        for (state, granularity), (mask, threshold) in zip(units, masks, strict=True):
            state.mask.assign(granularity.expand(mask))
            state.threshold.assign(threshold)

    def _unit_scores(self, state: WeightState, granularity: Granularity) -> tf.Tensor | Scores:
        """Scores of the units of one weight, float32."""
        gradient = tf.convert_to_tensor(state.gradient) if self.hparams.uses_gradient else None
        mask = None if state.masked_forward else tf.convert_to_tensor(state.mask)
        pooled_apart = self.hparams.gradient_estimator == "weight_delta"
        weight = tf.convert_to_tensor(state.weight)
        if isinstance(granularity, Elements) and not self.hparams.run_length:
            inputs = [value for value in (weight, gradient, mask) if value is not None]
            return Scores(_element_formula(type(self._criterion), gradient is None, mask is None), tuple(inputs))
        return _scores_of_units(self._criterion, granularity, pooled_apart, gradient, mask, weight)

    def _observe_weight_delta(self, state: WeightState) -> None:
        weight = tf.cast(state.weight, tf.float32)
        older = state.old_old_weight if self._second_order else None
        sample = gradient_state.weight_delta_sample(weight, state.old_weight, older)
        state.gradient.assign(gradient_state.moving_average(state.gradient, sample, self.hparams.gradient_decay_rate))
        if older is not None:
            older.assign(state.old_weight)
        state.old_weight.assign(weight)

    def _in_window(self, step: tf.Tensor) -> tf.Tensor:
        inside = step >= self.hparams.begin_pruning_step
        return inside if self.hparams.end_pruning_step == -1 else inside & (step <= self.hparams.end_pruning_step)

    @staticmethod
    def kinds(hparams: PruningHParams) -> tuple[str, ...]:
        """The pruning variables (`naming.WEIGHT_VARIABLES`) that a weight needs under `hparams`."""
        kinds = [naming.MASK, naming.THRESHOLD]
        if hparams.uses_gradient:
            kinds.append(naming.GRADIENT)
            if not hparams.uses_backprop:
                kinds.append(naming.OLD_WEIGHT)
                if hparams.prune_option == "second_order_gradient":
                    kinds.append(naming.OLD_OLD_WEIGHT)
        return tuple(kinds)

    def _gradients_of_weights(
        self, gradients: Sequence[tf.Tensor | tf.IndexedSlices | None] | None
    ) -> list[tf.Tensor | tf.IndexedSlices]:
        if gradients is None:
            raise ValueError(
                f"prune_option={self.hparams.prune_option!r} with gradient_estimator='backprop' needs the gradients of "
                "the loss: conditional_mask_update(step, gradients). Without them use prune_option='weight' or "
                "gradient_estimator='weight_delta'."
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


def _scores(
    criterion: Criterion,
    granularity: Granularity,
    pooled_apart: bool,
    gradient: tf.Tensor | None,
    mask: tf.Tensor | None,
    weight: tf.Tensor,
) -> tf.Tensor:
    weight = tf.cast(weight, tf.float32)
    if pooled_apart:
        # As the reference: the weight and its gradient state are pooled each by itself.
        weight = granularity.pool(tf.abs(weight))
        gradient = None if gradient is None else granularity.pool(gradient)
        scores = criterion.scores(weight, gradient)
    else:
        scores = granularity.pool(criterion.scores(weight, gradient))
    if mask is None:
        return scores
    # A live weight may score zero, as one without gradient does. It still ranks above those that are zero already: were
    # it to tie with them, chance would put dead weights in its place.
    return tf.maximum(scores, granularity.any(tf.cast(mask, tf.float32)) * _SMALLEST_SCORE)


_scores_of_units = fused(_scores)


@functools.cache
def _element_formula(
    criterion: type[Criterion], without_gradient: bool, without_mask: bool
) -> Callable[..., tf.Tensor]:
    """`_scores_of_units` of single weights, of the tensors that are not left out: weight, gradient, mask."""

    def scores(weight: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
        gradient = None if without_gradient else others[0]
        mask = None if without_mask else others[-1]
        return _scores(criterion(), Elements(()), False, gradient, mask, weight)

    return scores
