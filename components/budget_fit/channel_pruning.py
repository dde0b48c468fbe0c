"""ChannelPruning: takes channels out of a SavedModel at once, by the magnitude of their weights."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ..engine.hparams import PruningHParams
from ..engine.name_pattern import name_pattern
from ..engine.ranking.channel_selection import ChannelSelection
from ..post_training_pruner.pruned_values import PrunedValues
from ..post_training_pruner.saved_weights import SavedWeight, saved_value, saved_weights
from ..saved_model.saved_objects import SavedObjects
from ..stripper.shrink.saved_structure import SavedStructure, Variable
from ..structure.channels import NONE, Channels, channels_of

_LAST_STEP = 0


class ChannelPruning:
    """The channels of a SavedModel, ranked as a training with `granularity='channel'` and `prune_option='weight'` does.

    It is for candidates that are measured: a training moves the weights, so that other channels may go. How much of the
    model goes at a sparsity is the same, up to one channel.

    Attributes:
        weights: By object, the weights that channels run through.
    """

    def __init__(self, model: SavedObjects, hparams: PruningHParams) -> None:
        """Traces the functions of the model.

        Args:
            model: A stripped SavedModel.
            hparams: The hyperparameters, of `granularity='channel'`. Their criterion has no effect, nor does their
                target sparsity. `include` and `exclude` match the names of variables; regexes that match none have no
                effect.

        Raises:
            ValueError: The model has no channels that may go, or cannot be traced.
        """
        trained, _ = saved_weights(model)
        structure = SavedStructure.of(model)
        names = {Variable(each.node): each for each in trained if Variable(each.node) in structure.trace.holders}
        included, excluded = (
            {key for key, each in names.items() if any(name_pattern(regex).search(each.name) for regex in regexes)}
            for regexes in (hparams.include, hparams.exclude)
        )
        self._channels: Channels = channels_of(structure.trace, names, frozen=excluded, made_by=included or set(names))
        if not self._channels.count:
            raise ValueError(
                f"No channel of the model {model.folder!r} may go: what it returns and what it reads stays, and what "
                f"include={list(hparams.include)} and exclude={list(hparams.exclude)} spare. Use "
                "format='savedmodel_gz' with granularity='element'."
            )
        self._weights = [names[key] for key in self._channels.axes]
        self._values = [saved_value(model, each) for each in self._weights]
        self._hparams = hparams
        counted = self._channels.multiply_adds if hparams.cost == "flops" else self._channels.parameters
        selection = self._selection(0.0)
        # In steps of a millionth, rounded down.
        self.largest_sparsity = int(selection.most / self._channels.total(counted) * 1e6) / 1e6

    @property
    def weights(self) -> dict[int, SavedWeight]:
        """By object, the weights that channels run through."""
        return {each.node: each for each in self._weights}

    def pruned(self, sparsity: float) -> PrunedValues:
        """The weights without the least channels.

        Args:
            sparsity: A fraction, from 0 to `largest_sparsity`, of what `cost` counts.

        Returns:
            The masks and the new values.
        """
        alive, _ = self._selection(sparsity).keep(tf.constant(self._scores()), tf.constant(_LAST_STEP, tf.int64))
        alive = np.append(alive.numpy(), True)  # one more, for what is never cut
        masks = []
        for value, axes in zip(self._values, self._channels.axes.values(), strict=True):
            mask = np.ones(value.shape, bool)
            for number, axis in enumerate(axes):
                if axis is not None:
                    kept = alive[np.where(axis == NONE, self._channels.count, axis)]
                    mask &= kept.reshape([-1 if at == number else 1 for at in range(value.ndim)])
            masks.append(mask)
        values = {
            each.node: np.where(mask, value, np.zeros((), value.dtype))
            for each, value, mask in zip(self._weights, self._values, masks, strict=True)
        }
        return PrunedValues(tuple(self._weights), tuple(masks), values)

    def _selection(self, sparsity: float) -> ChannelSelection:
        hparams = self._hparams
        return ChannelSelection(
            self._channels,
            self._channels.multiply_adds if hparams.cost == "flops" else self._channels.parameters,
            lambda _: tf.constant(sparsity, tf.float64),
            same_share=hparams.allocation == "uniform",
            min_density=hparams.min_layer_density,
            multiple=hparams.channel_multiple,
            seed=hparams.seed,
        )

    def _scores(self) -> np.ndarray:
        """The sum of the squares of all weights that would go with each channel, float32 [channels]."""
        total = np.zeros(self._channels.count)
        for value, axes in zip(self._values, self._channels.axes.values(), strict=True):
            squares = np.square(value.astype(np.float64))
            for number, axis in enumerate(axes):
                if axis is not None:
                    total += _sum_by_channel(squares, number, axis, self._channels.count)
        return total.astype(np.float32)


def _sum_by_channel(elements: np.ndarray, number: int, axis: Sequence[int], count: int) -> np.ndarray:
    """The sums over all axes but one, by the channel of each index; what is in none is dropped."""
    sums = elements.sum(axis=tuple(each for each in range(elements.ndim) if each != number))
    channels = np.asarray(axis)
    return np.bincount(channels[channels != NONE], sums[channels != NONE], count)
