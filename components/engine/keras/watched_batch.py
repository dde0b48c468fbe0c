"""WatchedBatch: the batch that a model's training step works on."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from .version import Model


class WatchedBatch:
    """The batch that the `train_step` of a model was given, while it runs.

    Attributes:
        model: The model.
        data: What `train_step` was given, in a tuple; None while it does not run.
    """

    def __init__(self, model: Model) -> None:
        """Takes the model; see `watch`."""
        self.model = model
        self.data: tuple[Any] | None = None

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Inside this context, remembers the batch that `train_step` is called with."""
        attributes = self.model.__dict__
        covered = attributes.get("train_step")
        train_step = self.model.train_step

        def noting(data: Any) -> Any:
            self.data = (data,)
            try:
                return train_step(data)
            finally:
                self.data = None

        # In __dict__: the model's __setattr__ would track it.
        attributes["train_step"] = noting
        try:
            yield
        finally:
            del attributes["train_step"]
            if covered is not None:
                attributes["train_step"] = covered

    def unpacked(self) -> tuple[Any, Any, Any] | None:
        """Inputs, targets and sample weights of the batch; None while `train_step` does not run."""
        return None if self.data is None else keras.utils.unpack_x_y_sample_weight(self.data[0])
