"""start_from_target: lets a callback see only epochs that have the target sparsity."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import keras
import tf_keras

from .scope import active_scope

Callback = TypeVar("Callback", bound=keras.callbacks.Callback | tf_keras.callbacks.Callback)


def start_from_target(callback: Callback) -> Callback:
    """Lets a callback begin where the ramp ends: "best" is then the best epoch of the target sparsity.

    For EarlyStopping, ModelCheckpoint and others that compare epochs. A model loses quality while it is pruned, so
    that its best epoch is often one that is not sparse enough. As with EarlyStopping's `start_from_epoch`, the epochs
    before do not count, for `patience` neither:

        >>> import keras, numpy as np, tfx_pruning
        >>> x = np.random.default_rng(0).normal(size=(128, 12)).astype("float32")
        >>> model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(50)])
        >>> model.compile("adam", "mse")
        >>> stop = keras.callbacks.EarlyStopping("loss", mode="max", patience=2, restore_best_weights=True)
        >>> hparams = tfx_pruning.PruningHParams.for_steps(40, target_sparsity=0.9, include=["kernel"])
        >>> with tfx_pruning.pruning_scope(hparams) as scope:
        ...     history = model.fit(
        ...         x, x[:, :1], epochs=40, callbacks=[tfx_pruning.start_from_target(stop)], verbose=0
        ...     )
        >>> float(round(history.history["sparsity"][stop.best_epoch], 3)), stop.best_epoch > 0
        (0.9, True)
        >>> int(np.count_nonzero(model.layers[0].kernel))
        60

    Args:
        callback: A callback of Keras 3 or tf_keras. Its methods `on_epoch_end` and `on_train_batch_end` are called
            only while the masks have the target sparsity. Outside a `pruning_scope`, where a model is trained dense,
            they are always called.

    Returns:
        `callback` itself.

    Raises:
        TypeError: It is not a callback of Keras.
    """
    if not isinstance(callback, (keras.callbacks.Callback, tf_keras.callbacks.Callback)):
        raise TypeError(
            f"start_from_target takes a callback of keras or tf_keras, got {callback!r}. Wrap each callback by itself."
        )
    for name in ("on_epoch_end", "on_train_batch_end"):
        method = getattr(callback, name)
        if not getattr(method, "_is_default", False):
            setattr(callback, name, _from_target(callback, method))
    return callback


def _from_target(
    callback: keras.callbacks.Callback | tf_keras.callbacks.Callback, method: Callable[..., None]
) -> Callable[..., None]:
    @functools.wraps(method)
    def called_from_target(index: int, logs: Any = None) -> None:
        scope = active_scope()
        if scope is None or scope.is_at_target(callback.model):
            method(index, logs)

    return called_from_target
