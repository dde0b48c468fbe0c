"""TrainingProgress: what a pruned training saves to be resumed, in files of TensorFlow and Keras."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from keras.src.saving.keras_saveable import KerasSaveable

from .. import naming
from ..pruning import Pruning, variables_of
from ..weight_state import WeightState


class TrainingProgress(KerasSaveable):
    """What a file holds, besides the model and its optimizer, so that a pruned training can be resumed from it.

    In a `tf.train.Checkpoint` the masks and gradient states are children of their weights, and the step is a child of
    the `Pruning`. Keras's own files (`.keras`, `.weights.h5`) have no such children: there one group of arrays holds
    all of them, in the order of the pruned weights.

    Attributes:
        pruning: The pruning to save. None before the first step; nothing is saved then.
        step: int64 variable, the optimizer steps taken so far.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self.pruning: Pruning | None = None
        self._loaded: dict[str, np.ndarray] | None = None
        with tf.init_scope(), strategy.scope(), tf.name_scope(naming.STATE + "/"):
            self.step = tf.Variable(
                0,
                dtype=tf.int64,
                trainable=False,
                name=naming.STEP,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

    def hold(self, pruning: Pruning) -> None:
        """Saves this pruning from now on. Restores it from a `tf.train.Checkpoint` that was restored before."""
        self.pruning = pruning
        # TensorFlow restores the step here, when it is tracked, as it restored the masks when they were.
        pruning._track_trackable(self.step, naming.STEP)
        self._forget_other_gradients(pruning._lookup_dependency(naming.HPARAMS).numpy().decode())

    def restore_loaded(self) -> bool:
        """Restores the pruning from a Keras file that was loaded since the last call.

        Returns:
            Whether a file was loaded.

        Raises:
            ValueError: The file holds other pruned weights than the model does.
        """
        if self._loaded is None or self.pruning is None:
            return False
        loaded, self._loaded = self._loaded, None
        self._assign(loaded)
        self._forget_other_gradients(loaded[naming.HPARAMS].tobytes().decode())
        return True

    def save_own_variables(self, store: Any) -> None:
        """Called by Keras: writes all to a group of a file."""
        if self.pruning is None:
            return
        store[naming.HPARAMS] = np.frombuffer(self.pruning.hparams.to_string().encode(), np.uint8)
        store[naming.STEP] = self.step.numpy()
        store[naming.LAST_MASK_UPDATE_STEP] = self.pruning.last_mask_update_step.numpy()
        for key, state, kind in self._variables():
            store[key] = getattr(state, kind).numpy()

    def load_own_variables(self, store: Any) -> None:
        """Called by Keras: keeps a group of a file for `restore_loaded`."""
        self._loaded = {key: np.array(store[key]) for key in store.keys()} or None  # noqa: SIM118 - a store is no dict

    def _forget_other_gradients(self, hparams: str) -> None:
        """Resets the gradient states if `hparams`, which they were made under, name another criterion."""
        now = self.pruning.hparams
        if not now.has_the_criterion_of(hparams):
            for _, state, kind in self._variables():
                if kind not in (naming.MASK, naming.THRESHOLD):
                    getattr(state, kind).assign(tf.zeros_like(getattr(state, kind)))
        self.pruning._lookup_dependency(naming.HPARAMS).assign(now.to_string())

    def _assign(self, arrays: dict[str, np.ndarray]) -> None:
        shapes = {key: array.shape for key, array in arrays.items() if key.endswith(f"_{naming.MASK}")}
        wanted = {key: tuple(state.mask.shape) for key, state, kind in self._variables() if kind == naming.MASK}
        if shapes != wanted:
            raise ValueError(
                f"The file that was loaded holds the masks of weights of shapes {list(shapes.values())}, but the "
                f"weights to prune, {', '.join(self.pruning.paths)}, have shapes {list(wanted.values())}. Use "
                "the model, the include and the exclude of the training that wrote the file."
            )
        self.step.assign(arrays[naming.STEP])
        self.pruning.last_mask_update_step.assign(arrays[naming.LAST_MASK_UPDATE_STEP])
        for key, state, kind in self._variables():
            if key in arrays:
                variable = getattr(state, kind)
                variable.assign(tf.cast(arrays[key], variable.dtype))

    def _variables(self) -> Iterator[tuple[str, WeightState, str]]:
        for index, state in enumerate(self.pruning.states):
            for kind in variables_of(self.pruning.hparams):
                yield f"{index}_{kind}", state, kind

    def _obj_type(self) -> str:
        return "Layer"
