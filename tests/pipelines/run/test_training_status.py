"""TrainingStatus: what it says during `fit`."""

import keras
import numpy as np
import pytest
import tf_keras

from tfx_pruning import PruningHParams, pruning_scope
from tfx_pruning.pipelines.run.training_status import TrainingStatus

X = np.ones([64, 4], "f")
Y = np.ones([64, 1], "f")


def model_of(library):
    model = library.Sequential([library.layers.Input((4,)), library.layers.Dense(8), library.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def seen_by(status, library):
    """A callback that keeps what the status says after each step."""

    class Seen(library.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.said = []

        def on_train_batch_end(self, batch, logs=None):
            self.said.append(status())

    return Seen()


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_steps_loss_and_time_left(library):
    status, seen = TrainingStatus(), None
    fit = library.Model.fit
    with status.observing():
        model = model_of(library)
        seen = seen_by(status, library)
        model.fit(X, Y, batch_size=16, steps_per_epoch=4, epochs=2, verbose=0, callbacks=[seen])
        assert status() == ""
    assert library.Model.fit is fit
    assert len(seen.said) == 8
    assert seen.said[0].startswith("step 1 of 8, loss ")
    assert seen.said[-1].startswith("step 8 of 8, loss ")
    assert seen.said[-1].endswith(", 0 s left")


def test_sparsity_in_a_scope_and_no_total_where_steps_are_not_told():
    status, seen = TrainingStatus(), None
    hparams = PruningHParams(target_sparsity=0.5, sparsity_function_end_step=2, pruning_frequency=1)
    with status.observing(), pruning_scope(hparams):
        model = model_of(keras)
        seen = seen_by(status, keras)
        model.fit(X, Y, batch_size=16, verbose=0, callbacks=[seen])
    assert seen.said[-1].startswith("step 4, loss ")
    assert seen.said[-1].endswith(", sparsity 50.0%")


def test_a_model_that_tells_nothing_is_no_error():
    class Odd(keras.Model):
        metrics = property(lambda self: 1 / 0)

    status = TrainingStatus()
    with status.observing():
        with pytest.raises(ValueError, match="compile"):
            Odd().fit(X, Y)
        assert status() == ""
