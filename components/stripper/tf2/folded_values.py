"""FoldedValues: writes a stripped model whose weights take in their masks."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from ..check import verify
from .writer import Writer


class FoldedValues(Writer):
    """Asks the source as it is, then saves from its rewritten functions, with other values for the pruned weights.

    Pruned weights become +0.0, or the exact product with the mask, -0.0, if an answer tells the one from the other.
    """

    def write(self) -> tuple[str, ...]:
        """Writes and checks the model."""
        with self.loaded(self.plan.computing) as model:
            answers = self.answers(model)
            del model
        weights = self.plan.weights
        try:
            return self._save_and_check(answers, {node: value.positive for node, value in weights.items()})
        except verify.VerificationError as error:
            if not any(value.sign_differs for value in weights.values()):
                raise
            logging.info("Saving the signs of pruned weights, too: %s", error)
        return self._save_and_check(answers, {node: value.product for node, value in weights.items()})

    def _save_and_check(
        self, answers: Sequence[verify.SourceAnswers], values: Mapping[int, np.ndarray]
    ) -> tuple[str, ...]:
        with self.loaded(self.plan.stripped) as model:
            objects = self.initialized_at(model)
            for node, value in values.items():
                objects[self.plan.stripped.places[node]].assign(value)
            self.save(model, objects)
            del model, objects
        return self.check(answers, tf.saved_model.load(self.folder))
