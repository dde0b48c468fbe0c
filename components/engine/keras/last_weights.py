"""LastWeights: a model's weights after the last step of a `fit`, beside those that callbacks set then."""

import hashlib
import warnings
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from ..pruning import Pruning
from ..weight_state import WeightState
from .version import Model


class LastWeights:
    """Keeps a model's weights, with the final masks, while the callbacks' `on_train_end` run.

    Callbacks may set weights then: EarlyStopping does with `restore_best_weights=True`. Those of an earlier step may
    not fit the masks, which are of the last one.
    """

    def __init__(self, model: Model, pruning: Pruning, step: int, masked: "MaskedEpochs") -> None:
        """Keeps copies of all weights of the model.

        Args:
            model: The model, after `Pruning.finish`.
            pruning: Its pruning.
            step: Optimizer steps taken.
            masked: What is known of the ends of the epochs.
        """
        self._model = model
        self._pruning = pruning
        self._step = step
        self._masked = masked
        self._values = [(weight, weight.numpy()) for weight in model.weights]
        self._pruned = {state: state.weight.numpy() for state in pruning.states}

    def settle(self, callbacks: Iterable[str]) -> None:
        """Makes the weights and the masks fit each other, with the sparsity of the last step.

        Weights that have the last masks' zeros stay. Those with as many zeros elsewhere, as regrowth makes them, stay
        too, and the masks become theirs. Any others were never trained with so few weights: the model gets those of its
        last step back, with a warning.

        Args:
            callbacks: Names of the callbacks that may have set the weights.
        """
        now = {state: state.weight.numpy() for state in self._pruned}
        if all(np.array_equal(now[state], last) for state, last in self._pruned.items()):
            return
        under_mask = [state for state in now if state.masked_forward]
        known = not under_mask or self._masked.fit(under_mask)
        if known and (self._have_the_zeros_of_the_masks(now) or self._pruning.adopt_zeros(self._step)):
            return
        for weight, value in self._values:
            weight.assign(value)
        warnings.warn(
            f"When fit ended, {' or '.join(callbacks)} restored weights of another step, which the masks of step "
            f"{self._step} with a sparsity of {self._pruning.sparsity():.2%} do not fit; {self._model.name!r} keeps "
            "the weights of its last step. Let only epochs of the target sparsity count: wrap the callback in "
            "tfx_pruning.start_from_target(...).",
            stacklevel=2,
        )

    def _have_the_zeros_of_the_masks(self, now: dict[WeightState, np.ndarray]) -> bool:
        """Whether the weights, once masked, are the last step's, or have no more zeros than the masks make."""
        kept = {
            state: np.where(state.mask.numpy(), value, 0) for state, value in now.items() if not state.masked_forward
        }
        if all(np.array_equal(value, self._pruned[state]) for state, value in kept.items()):
            self._pruning.apply_masks()
            return True
        return all(
            np.array_equal(value, now[state]) and np.count_nonzero(value) >= np.count_nonzero(self._pruned[state])
            for state, value in kept.items()
        )


class MaskedEpochs:
    """Which weights under `apply_mask`, whose zeros do not tell, went with which masks at the ends of epochs."""

    def __init__(self) -> None:
        self._masks: dict[bytes, bytes] = {}

    def add(self, pruning: Pruning) -> None:
        """Remembers the weights and masks of now."""
        states = [state for state in pruning.states if state.masked_forward]
        if states:
            self._masks[_digest(state.weight for state in states)] = _digest(state.mask for state in states)

    def fit(self, states: Iterable[WeightState]) -> bool:
        """Whether these weights went with the masks that they have now."""
        states = list(states)
        return self._masks.get(_digest(state.weight for state in states)) == _digest(state.mask for state in states)


def _digest(variables: Iterable[tf.Variable]) -> bytes:
    digest = hashlib.blake2b()
    for variable in variables:
        digest.update(variable.numpy().tobytes())
    return digest.digest()
