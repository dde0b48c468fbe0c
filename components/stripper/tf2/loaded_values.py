"""LoadedValues: writes a stripped model whose values TensorFlow loads and saves."""

import tensorflow as tf

from .writer import Writer


class LoadedValues(Writer):
    """Loads the source, saves from it, and only then loads the stripped model."""

    def write(self) -> tuple[str, ...]:
        """Writes and checks the model."""
        with self.loaded(self.plan.computing) as model:
            self.save(model, self.initialized_at(model))
            answers = self.answers(model)
            del model
        return self.check(answers, tf.saved_model.load(self.folder))
