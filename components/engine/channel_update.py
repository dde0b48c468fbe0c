"""ChannelUpdate: computes new masks of channels, which run through several weights."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ..structure.channels import NONE, Channels
from .hparams import PruningHParams
from .mask_update import SMALLEST, observe_change
from .ranking.channel_selection import ChannelSelection
from .ranking.criteria import Criterion, WeightChangeCriterion, criterion_of
from .ranking.schedule import ExternalSparsity, SparsitySource, schedule_of
from .share import MULTIPLY_ADDS, Share
from .weight_state import WeightState


class ChannelUpdate:
    """Scores the channels of a model and updates the masks of all weights that they run through."""

    def __init__(
        self,
        hparams: PruningHParams,
        states: Sequence[WeightState],
        channels: Channels,
        sparsity: SparsitySource | None = None,
    ) -> None:
        """Takes the weights. Raises the errors that `Pruning` documents.

        Args:
            hparams: The hyperparameters.
            states: Their states, in the order of `channels.axes`.
            channels: The model's channels.
            sparsity: Replaces the schedule.
        """
        self._hparams = hparams
        self._states = states
        self._channels = channels
        self._axes = list(channels.axes.values())
        self._criterion = criterion_of(hparams)
        self._counted = MULTIPLY_ADDS if hparams.cost == "flops" else "weights"
        self._selection = ChannelSelection(
            channels,
            channels.multiply_adds if hparams.cost == "flops" else channels.parameters,
            schedule_of(hparams, hparams.target_sparsity) if sparsity is None else ExternalSparsity(sparsity),
            same_share=hparams.allocation == "uniform",
            min_density=hparams.min_layer_density,
            multiple=hparams.channel_multiple,
            seed=hparams.seed,
        )
        if sparsity is None:
            self._check_reachable("target_sparsity", hparams.target_sparsity)
            self._check_reachable("initial_sparsity", hparams.initial_sparsity)

    @property
    def criterion(self) -> Criterion:
        """What scores the weights."""
        return self._criterion

    @property
    def parts(self) -> list[list[int]]:
        """Indices of the weights whose sparsity holds for their sum: all."""
        return [list(range(len(self._states)))]

    def shares(self, step: int) -> list[Share]:
        """What the masks keep, and what the sparsity of a step asks for."""
        alive = np.asarray(self._alive())
        asked, total = int(self._selection.asked(step)), self._selection.total
        most = total - asked
        least = most - max(0, self._selection.largest_step(alive) - 1)
        return [
            Share(
                members=tuple(range(len(self._states))),
                counted=self._counted,
                total=total,
                kept=total - self._selection.gone(alive),
                least=least,
                most=most,
            )
        ]

    def sparsity_at(self, step: int) -> float:
        """Fraction that the sparsity of a step asks for, of what is counted."""
        return int(self._selection.asked(step)) / self._selection.total

    def reached(self) -> float:
        """Fraction of what is counted that has gone."""
        return self._selection.gone(np.asarray(self._alive())) / self._selection.total

    def scores(self, index: int) -> tf.Tensor:
        """Scores of the channels that run through one weight, as they are now, float32; in the order of channels."""
        members = np.unique(np.concatenate([axis for axis in self._axes[index] if axis is not None]))
        return tf.gather(self._scores(), members[members != NONE])

    def update(self, step: tf.Tensor, regrow: bool = True) -> None:
        """Gives every weight the mask, and the threshold, of `step`.

        Args:
            step: int64 scalar.
            regrow: Has no effect.
        """
        del regrow
        if isinstance(self._criterion, WeightChangeCriterion):
            for state in self._states:
                observe_change(self._criterion, state, self._hparams.gradient_decay_rate)
        alive, threshold = self._selection.keep(self._scores(), step)
        for state, mask in zip(self._states, self._masks(alive), strict=True):
            state.mask.assign(mask)
            state.threshold.assign(threshold)

    def zeros(self) -> list[tf.Tensor]:
        """The masks that the weights' own zeros make, bool: a channel is pruned if all its weights are zero.

        A weight under `apply_mask` counts as its mask.
        """
        marks = [state.mask if state.masked_forward else state.weight != 0 for state in self._states]
        return self._masks(self._seen([tf.convert_to_tensor(mark) for mark in marks]))

    def _masks(self, alive: tf.Tensor) -> list[tf.Tensor]:
        """The masks of all weights when some channels are left, bool [channels]."""
        # One more for what is never cut.
        alive = tf.concat([alive, tf.ones([1], tf.bool)], 0)
        masks = []
        for state, axes in zip(self._states, self._axes, strict=True):
            mask = tf.ones(state.weight.shape, tf.bool)
            for number, axis in enumerate(axes):
                if axis is not None:
                    kept = tf.gather(alive, np.where(axis == NONE, self._channels.count, axis))
                    mask = mask & tf.reshape(kept, [-1 if at == number else 1 for at in range(len(axes))])
            masks.append(mask)
        return masks

    def _scores(self) -> tf.Tensor:
        """The sum of the scores of all weights that would go with each channel, float32 [channels]."""
        total = tf.zeros([self._channels.count])
        for state, axes in zip(self._states, self._axes, strict=True):
            weight = tf.cast(tf.convert_to_tensor(state.weight), tf.float32)
            average = tf.convert_to_tensor(state.gradient) if self._criterion.has_average else None
            elements = self._criterion.channel_summands(weight, average)
            elements = tf.where(elements > 0, elements, 0.0) * tf.cast(state.mask, tf.float32)
            total += self._sum_by_channel(elements, axes)
        # A channel that is left may have the score zero, for lack of a gradient say. It must still rank above pruned
        # ones: in a tie with them, a pruned one might be kept in its place.
        return tf.maximum(total, tf.cast(self._alive(), tf.float32) * SMALLEST)

    def _alive(self) -> tf.Tensor:
        """Which channels have a weight that is not pruned, bool [channels]."""
        return self._seen([tf.convert_to_tensor(state.mask) for state in self._states])

    def _seen(self, marks: Sequence[tf.Tensor]) -> tf.Tensor:
        """Which channels have a mark, bool [channels]; marks are bool, of the weights' shapes."""
        total = tf.zeros([self._channels.count])
        for mark, axes in zip(marks, self._axes, strict=True):
            for number, axis in enumerate(axes):
                if axis is not None:
                    found = tf.reduce_any(mark, [each for each in range(len(axes)) if each != number])
                    total += self._by_channel(tf.cast(found, tf.float32), axis)
        return total > 0

    def _sum_by_channel(self, elements: tf.Tensor, axes: Sequence[np.ndarray | None]) -> tf.Tensor:
        """Sums up one weight's elements by channel; one that is in a channel by two axes counts once."""
        total = tf.zeros([self._channels.count])
        rank = len(axes)
        for number, axis in enumerate(axes):
            if axis is None:
                continue
            left = elements
            for before in range(number):
                if axes[before] is not None and np.intersect1d(axes[before], axis[axis != NONE]).size:
                    one, other = (
                        np.reshape(axes[at], [-1 if each == at else 1 for each in range(rank)])
                        for at in (before, number)
                    )
                    left = left * tf.constant(one != other, tf.float32)
            total += self._by_channel(tf.reduce_sum(left, [each for each in range(rank) if each != number]), axis)
        return total

    def _by_channel(self, values: tf.Tensor, axis: np.ndarray) -> tf.Tensor:
        """Sums up one value for each index of an axis by channel; what is in none is dropped."""
        return tf.math.unsorted_segment_sum(values, axis, self._channels.count)

    def _check_reachable(self, name: str, sparsity: float) -> None:
        most, total = self._selection.most, self._selection.total
        if round(total * sparsity) > most:
            density, multiple = self._hparams.min_layer_density, self._hparams.channel_multiple
            kept = f"{multiple} channels (channel_multiple) or all" if multiple > 1 else "one channel"
            if density:
                kept = f"min_layer_density={density} of its channels, and at least {kept}"
            raise ValueError(
                f"{name}={sparsity} asks for more than can go: every layer keeps {kept}, so that {most} of {total} "
                f"{self._counted} can. Lower it to {math.floor(most / total * 10000) / 10000}."
            )
