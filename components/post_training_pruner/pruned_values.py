"""PrunedValues: the values of a model's weights after they were pruned by a criterion."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from ..engine.hparams import PruningHParams
from ..engine.ranking.criteria import (
    Criterion,
    InputCriterion,
    Magnitude,
    OptimalBrainCompression,
    Wanda,
)
from ..saved_model.saved_objects import SavedObjects
from ..structure.weight_uses import WeightUse
from .calibration import Calibration
from .checks import UNSEEN_MAGNITUDE
from .layer_repair import bias_of_layer
from .layer_statistics import LayerStatistics, input_norms
from .masking import Masking
from .reconstruction import Reconstruction, multiply_adds_of_round
from .saved_weights import SavedWeight, saved_value
from .traced_signature import TracedSignature

# A round keeps so much of what is left: the more, the better and the slower.
_SHARE = 0.75
# What the rounds of one weight may cost, beside the first and what follows the last: tens of seconds.
_MOST_MULTIPLY_ADDS = 2e11


@dataclasses.dataclass(frozen=True, eq=False)
class PrunedValues:
    """What becomes of a model's variables.

    Attributes:
        weights: The weights that were pruned.
        masks: For each of them, which of its elements are kept.
        values: New values of variables, by object: of all pruned weights, and of the biases that were updated.
        by_magnitude: Names of the weights that were pruned by magnitude because their inputs are not seen.
    """

    weights: tuple[SavedWeight, ...]
    masks: tuple[np.ndarray, ...]
    values: Mapping[int, np.ndarray]
    by_magnitude: tuple[str, ...] = ()


def pruned_by_magnitude(
    source: SavedObjects, weights: Sequence[SavedWeight], hparams: PruningHParams, criterion: Criterion
) -> PrunedValues:
    """Prunes by a criterion of the weights alone; the model is not loaded.

    Args:
        source: The model.
        weights: The weights to prune.
        hparams: The hyperparameters.
        criterion: The criterion that they name.

    Raises:
        ValueError: The sparsity cannot be reached, or a value is missing.
    """
    masking = Masking(hparams, weights)
    values = [saved_value(source, each) for each in weights]
    masks = masking.masks([_scores(criterion, value, None) for value in values])
    return _masked(masking, weights, values, masks)


def pruned_by_inputs(
    signature: TracedSignature,
    calibration: Calibration,
    weights: Sequence[SavedWeight],
    hparams: PruningHParams,
    criterion: InputCriterion,
    *,
    unseen: str,
    damping: float,
    biases: Sequence[SavedWeight],
    update: bool,
) -> PrunedValues:
    """Prunes by what examples show of the inputs of the layers.

    Args:
        signature: The signature that is run.
        calibration: The examples.
        weights: The weights to prune.
        hparams: The hyperparameters.
        criterion: The criterion that they name.
        unseen: 'magnitude' if weights whose inputs are not seen are pruned by magnitude, or 'error'.
        damping: See `Reconstruction`.
        biases: The weights that may be updated as biases.
        update: Whether the weights that are kept are updated.

    Raises:
        ValueError: The sparsity cannot be reached; or the inputs of a weight are not seen.
    """
    masking = Masking(hparams, weights)
    uses = {each.node: [use for use in signature.uses.products if use.weight == each.node] for each in weights}
    if isinstance(criterion, OptimalBrainCompression):
        return _Layerwise(signature, calibration, weights, masking, uses, unseen, damping, biases, update).pruned()
    if not isinstance(criterion, Wanda):
        raise ValueError(f"There is no statistic of inputs for the criterion {type(criterion).__name__}.")
    values = [signature.value(each) for each in weights]
    norms = _norms(signature, calibration, weights, uses)
    lacking = [each for each, norm in zip(weights, norms, strict=True) if norm is None]
    _check_seen(signature, lacking, unseen, masking)
    scores = [
        _scores(Magnitude(), value, None) if norm is None else _scores(criterion, value, norm)
        for value, norm in zip(values, norms, strict=True)
    ]
    found = _masked(masking, weights, values, masking.masks(scores))
    return dataclasses.replace(found, by_magnitude=tuple(each.name for each in lacking))


class _Layerwise:
    """Prunes one layer after the other, each with the inputs that the pruned layers before it give."""

    def __init__(
        self,
        signature: TracedSignature,
        calibration: Calibration,
        weights: Sequence[SavedWeight],
        masking: Masking,
        uses: Mapping[int, Sequence[WeightUse]],
        unseen: str,
        damping: float,
        biases: Sequence[SavedWeight],
        update: bool,
    ) -> None:
        masking.check_alone()
        self._update = update
        self._signature = signature
        self._calibration = calibration
        self._weights = weights
        self._masking = masking
        self._uses = uses
        self._damping = damping
        self._biases = {each.node: each for each in biases}
        _check_seen(signature, [each for each in weights if not uses[each.node]], unseen, masking)
        self._unseen = unseen
        # By object, what stands in for weights that are pruned, and for their biases.
        self._changed: dict[int, tf.Variable] = {}

    def pruned(self) -> PrunedValues:
        order = [use.weight for use in self._signature.uses.products if use.weight in self._uses]
        nodes = {each.node: index for index, each in enumerate(self._weights)}
        first = list(dict.fromkeys([*order, *nodes]))
        masks: dict[int, np.ndarray] = {}
        by_magnitude = []
        for node in first:
            weight = self._weights[nodes[node]]
            mask = self._prune(nodes[node], weight)
            if mask is None:
                _check_seen(self._signature, [weight], self._unseen, self._masking)
                by_magnitude.append(weight.name)
                mask = self._prune_by_magnitude(nodes[node], weight)
            masks[nodes[node]] = mask
            logging.info("Pruned %s: %d of %d weights are left.", weight.name, np.count_nonzero(mask), mask.size)
        ordered = tuple(masks[index] for index in range(len(self._weights)))
        self._masking.check(ordered)
        values = {node: variable.numpy() for node, variable in self._changed.items()}
        return PrunedValues(tuple(self._weights), ordered, values, tuple(by_magnitude))

    def _prune(self, index: int, weight: SavedWeight) -> np.ndarray | None:
        """Prunes a weight and updates what is left; returns its mask, None if its inputs are not seen."""
        uses = self._uses[weight.node]
        found = [LayerStatistics.of(self._signature, self._calibration, use, self._changed) for use in uses]
        if not found or any(each is None for each in found):
            return None
        parts = LayerStatistics.joined(found)
        if parts is None:
            raise ValueError(
                f"{weight.name} is used in several ways, as one and as its transpose or in parts, so that no one layer "
                "can be reconstructed. Take it out with exclude, or use prune_option='wanda'."
            )
        value = self._signature.value(weight).astype(np.float64)
        bias = bias_of_layer(self._signature, uses, parts, self._biases)
        problems = Reconstruction(value, parts, bias is not None, self._damping)
        pruned, mask = problems.pruned(
            lambda scores, level: self._masking.at_level(index, scores, level), self._levels(index, parts)
        )
        self._change(weight, pruned if self._update else np.where(mask, value, 0.0))
        if bias is not None:
            self._change(bias, self._signature.value(bias).astype(np.float64) + problems.bias_change(pruned))
        return mask

    def _prune_by_magnitude(self, index: int, weight: SavedWeight) -> np.ndarray:
        value = self._signature.value(weight)
        mask = self._masking.at_level(index, _scores(Magnitude(), value, None), self._masking.levels(index, _SHARE)[-1])
        self._change(weight, np.where(mask, value, 0))
        return mask

    def _levels(self, index: int, statistics: LayerStatistics) -> list[int]:
        """The levels of as many rounds as may be afforded, the last ones first; the first round goes further then."""
        levels = self._masking.levels(index, _SHARE)
        costs = [multiply_adds_of_round(statistics, self._masking.density(index, each)) for each in levels[:-1]]
        while sum(costs) > _MOST_MULTIPLY_ADDS:
            del costs[0]
        return levels[len(levels) - 1 - len(costs) :]

    def _change(self, weight: SavedWeight, value: np.ndarray) -> None:
        self._changed[weight.node] = tf.Variable(value.astype(weight.dtype.as_numpy_dtype), trainable=False)


def _norms(
    signature: TracedSignature,
    calibration: Calibration,
    weights: Sequence[SavedWeight],
    uses: Mapping[int, Sequence[WeightUse]],
) -> list[np.ndarray | None]:
    """For each weight the L2 norm of what each element is multiplied by, float32; None if that is not seen."""
    every = [use for each in weights for use in uses[each.node]]
    found = dict(zip(map(id, every), input_norms(signature, calibration, every), strict=True))
    norms: list[np.ndarray | None] = []
    for weight in weights:
        of_uses = [found[id(use)] for use in uses[weight.node]]
        if not of_uses or any(each is None for each in of_uses):
            norms.append(None)
            continue
        total = np.zeros(int(np.prod(weight.shape)))
        for squares, elements in of_uses:
            np.add.at(total, elements.ravel(), np.broadcast_to(squares[..., None], elements.shape).ravel())
        norms.append(np.sqrt(total).reshape(weight.shape).astype(np.float32))
    return norms


def _check_seen(signature: TracedSignature, lacking: Sequence[SavedWeight], unseen: str, masking: Masking) -> None:
    """Raises a ValueError if the inputs of weights are not seen, unless these may be pruned by magnitude."""
    if not lacking:
        return
    if unseen == UNSEEN_MAGNITUDE:
        masking.check_alone()
        return
    inside = [each.node in signature.uses.inside for each in lacking]
    reasons = ", ".join(
        f"{each.name} ({'in a loop or branch' if hidden else 'in no matrix product or convolution'})"
        for each, hidden in zip(lacking, inside, strict=True)
    )
    raise ValueError(
        f"The inputs of these weights are not seen in the signature {signature.name!r}: {reasons}. Take them out with "
        "exclude, name a signature that uses them, or prune them by magnitude with unseen='magnitude'."
    )


def _scores(criterion: Criterion, value: np.ndarray, statistic: np.ndarray | None) -> np.ndarray:
    given = None if statistic is None else tf.constant(statistic)
    return criterion.scores(tf.cast(tf.constant(value), tf.float32), given).numpy()


def _masked(
    masking: Masking, weights: Sequence[SavedWeight], values: Sequence[np.ndarray], masks: Sequence[np.ndarray]
) -> PrunedValues:
    masking.check(masks)
    pruned = {
        weight.node: np.where(mask, value, np.zeros((), value.dtype))
        for weight, value, mask in zip(weights, values, masks, strict=True)
    }
    return PrunedValues(tuple(weights), tuple(masks), pruned)
