"""BatchLoss: computes the loss of the current batch of a Keras model's `fit` once more."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from .version import Model
from .watched_batch import WatchedBatch


class BatchLoss:
    """The model's compiled loss, as its training step computes it, without side effects.

    The forward pass is that of training: dropout drops as many units, but others, and batch normalisation uses the
    batch. What the pass changes is restored: metrics, moving statistics, seeds and the layers' `losses`.
    """

    def __init__(self, batch: WatchedBatch) -> None:
        """Takes the model's batch."""
        self._model = batch.model
        self._batch = batch

    @property
    def scale(self) -> tf.Tensor:
        """The factor by which `__call__` scales the loss: that of a `LossScaleOptimizer`, else 1; float32 scalar."""
        return tf.cast(self._model.optimizer.scale_loss(tf.ones([])), tf.float32)

    def __call__(self) -> tf.Tensor:
        """The scaled loss, a floating scalar. Can be called only while `train_step` runs."""
        batch = self._batch.unpacked()
        if batch is None:
            raise ValueError(
                f"gradient_estimator='hutchinson' computes the loss of the batch that train_step is given, and "
                f"{self._model.name!r} applied gradients outside of its train_step. Use gradient_estimator='backprop'."
            )
        model = self._model
        x, y, sample_weight = batch
        with _put_back(model):
            y_pred = model(x, training=True) if model._call_has_training_arg else model(x)
            loss = model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
            return model.optimizer.scale_loss(loss)

    def check(self) -> None:
        """Raises a ValueError unless the loss can be computed.

        It cannot if the model is one of tf_keras, trains on several replicas, or computes its loss in a `train_step` of
        its own.
        """
        model = self._model
        if not isinstance(model, keras.Model):
            raise ValueError(
                f"gradient_estimator='hutchinson' computes the loss of models of Keras 3, and {model.name!r} is one of "
                "tf_keras. Use gradient_estimator='backprop', or a loop of your own with tfx_pruning.Pruning."
            )
        replicas = model.distribute_strategy.num_replicas_in_sync
        if replicas > 1:
            raise ValueError(
                f"gradient_estimator='hutchinson' works on one replica, and {model.name!r} trains on {replicas}: they "
                "cannot agree on the second derivatives at mask updates only. Use gradient_estimator='backprop'."
            )
        own_step = "train_step" in model.__dict__ or type(model).train_step is not keras.Model.train_step
        own_loss = type(model).compute_loss is not keras.Model.compute_loss
        if own_step and not own_loss and getattr(model, "_compile_loss", None) is None:
            raise ValueError(
                f"gradient_estimator='hutchinson' computes the model's loss, and {model.name!r} has one that only its "
                "train_step knows. Compile the model with it (loss=...), override compute_loss, or use "
                "gradient_estimator='backprop'."
            )


@contextlib.contextmanager
def losses_put_back(model: Model) -> Iterator[None]:
    """Restores afterwards the losses that the layers have added in a call of the model."""
    layers = list(model._flatten_layers()) if isinstance(model, keras.Model) else []
    losses = [(list(layer._losses), set(layer._loss_ids)) for layer in layers]
    try:
        yield
    finally:
        for layer, (own, ids) in zip(layers, losses, strict=True):
            layer._losses[:] = own
            layer._loss_ids.clear()
            layer._loss_ids.update(ids)


@contextlib.contextmanager
def _put_back(model: keras.Model) -> Iterator[None]:
    """Restores the model's state afterwards, all but its trainable weights."""
    variables = [*model.non_trainable_variables, *model.metrics_variables]
    values = [tf.identity(variable) for variable in variables]
    try:
        with losses_put_back(model):
            yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
