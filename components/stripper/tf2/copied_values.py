"""CopiedValues: writes a stripped model whose values are those of the source, byte for byte."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ...saved_model import checkpoint, loading
from ...saved_model.object_graph import Path
from ...saved_model.value_copy import ValueCopy, ValueCopyError
from ..check.acceptance import Acceptance
from ..check.verify import VerificationError
from .object_tree import object_tree
from .plan import StripPlan
from .writer import Writer


class CopiedValues(Writer):
    """Copies the values from file to file. Source and stripped model are in memory together and share them."""

    def __init__(self, plan: StripPlan, folder: str, acceptance: Acceptance, values: ValueCopy) -> None:
        """Does nothing yet; `of` makes the copy too."""
        super().__init__(plan, folder, acceptance)
        self._values = values

    @classmethod
    def of(cls, plan: StripPlan, folder: str, acceptance: Acceptance) -> "CopiedValues | None":
        """A writer for a plan; None if the values cannot be copied, which `ValueCopy.of` says when."""
        values = ValueCopy.of(plan.source.folder, folder, plan.copied)
        return None if values is None else cls(plan, folder, acceptance, values)

    def write(self) -> tuple[str, ...]:
        """Writes and checks the model."""
        source = self.plan.source
        with self._values, loading.loaded_without_values(source, self.plan.computing.meta_graph) as model:
            objects = self.objects_at(model)
            self._read_resources(source.folder, objects)
            for path in self.plan.copied:
                # In place of its value, which is copied.
                _assign(objects[path], tf.constant(np.empty(0, objects[path].dtype.as_numpy_dtype)))
            try:
                self.save(model, objects, self._values)
            except ValueCopyError as error:
                raise VerificationError(str(error)) from error
            stripped = loading.load_without_values(self.folder)
            stripped_objects = self.objects_at(stripped)
            self._read_resources(self.folder, stripped_objects)
            for path, value in self._values.tensors().items():
                _assign(objects[path], value)
                _assign(stripped_objects[path], value)
            return self.check(self.answers(model), stripped)

    def _read_resources(self, folder: str, objects: Mapping[Path, Any]) -> None:
        """Gives tables the contents that the checkpoint of a SavedModel has for them."""
        reduced = self.plan.stripped
        places = [path for node, path in reduced.places.items() if reduced.graph.kind(node) == "resource"]
        if places:
            tree = object_tree({path: objects[path] for path in places})
            with loading.failure_explained(folder):
                tf.train.Checkpoint(tree).read(checkpoint.prefix(folder)).expect_partial()


def _assign(variable: tf.Variable, value: tf.Tensor) -> None:
    # Not `assign`, which would refuse a placeholder's shape, and copy the value.
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
