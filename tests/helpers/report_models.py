"""A pruned model and the report on it, for tests of reports."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfx_pruning import PruningHParams, pruning_scope
from tfx_pruning.engine.keras.delivered_sparsity import delivered_sparsity
from tfx_pruning.report.document import Evaluation, ReportDocument, Stripping

HPARAMS = PruningHParams(
    prune_option="first_order_gradient",
    target_sparsity=0.75,
    pruning_frequency=2,
    sparsity_function_end_step=8,
    allocation="global",
)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A pruned model, where it is saved, and the report on it."""

    model: keras.Model
    saved: str
    document: ReportDocument


def train(saved):
    """Trains a model, saves it in the folder `saved` and reports on it."""
    keras.utils.set_random_seed(0)
    saved = str(saved)
    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((12,)), layers.Dense(16, activation="relu", name="hidden"), layers.Dense(2, name="logits")],
        name="net",
    )
    model.compile("adam", "mse", metrics=["mae"], jit_compile=False)
    x = np.random.default_rng(0).normal(size=(64, 12)).astype("f")
    with pruning_scope(HPARAMS, record=True) as scope:
        model.fit(x, x[:, :2], batch_size=16, epochs=3, validation_split=0.25, verbose=0)
    tf.saved_model.save(model, saved)
    report = delivered_sparsity(scope, saved)
    document = ReportDocument(
        title="Pruned model",
        weights=report.weights,
        total_parameters=report.total_parameters,
        sizes={"SavedModel as trained": 123_456, "SavedModel stripped": 65_432},
        hparams=HPARAMS.to_string(),
        training=report.history,
        stripping=Stripping(("net/hidden/kernel/pruning/mask",), ("net/hidden/kernel",), ("serving_default",)),
        evaluation=Evaluation({"auc": 0.95, "only_here": 1.0}, {"auc": 0.9375}),
        lineage={"input examples": "Examples 4: /data/examples/4"},
    )
    return Trained(model, saved, document)
