"""KeptIndices: which indices of which axes of a shrunk model's variables are left, kept beside it."""

import dataclasses
import json
import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

# Where TensorFlow and its users leave what they do not know.
FILE = os.path.join("assets.extra", "tfx_pruning_kept_indices.json")

_VERSION = 2


@dataclasses.dataclass(frozen=True)
class KeptVariable:
    """One variable that became smaller.

    Attributes:
        shape: Its shape before.
        kept: By axis: the indices that are left, ascending; axes that were not cut are not in it.
    """

    shape: tuple[int, ...]
    kept: Mapping[int, tuple[int, ...]]

    @property
    def left(self) -> tuple[int, ...]:
        """Its shape now."""
        return tuple(len(self.kept.get(axis, range(size))) for axis, size in enumerate(self.shape))

    def expanded(self, value: np.ndarray) -> np.ndarray:
        """The variable in its shape before, with zeros for what was cut.

        Args:
            value: What is left of it.

        Raises:
            ValueError: That has another shape than was kept.
        """
        if value.shape != self.left:
            raise ValueError(
                f"The variable has shape {value.shape}, but {self.left} was kept of it when it was shrunk."
            )
        found = np.zeros(self.shape, value.dtype)
        found[np.ix_(*(self.kept.get(axis, range(size)) for axis, size in enumerate(self.shape)))] = value
        return found

    def then(self, later: "KeptVariable") -> "KeptVariable":
        """What is left after another cut of what is left."""
        kept = dict(self.kept)
        for axis, indices in later.kept.items():
            before = kept.get(axis, range(self.shape[axis]))
            kept[axis] = tuple(before[index] for index in indices)
        return KeptVariable(self.shape, kept)


@dataclasses.dataclass(frozen=True)
class KeptIndices:
    """All variables of a model that became smaller.

    Attributes:
        variables: By key in the checkpoint, less '/.ATTRIBUTES/VARIABLE_VALUE'.
    """

    variables: Mapping[str, KeptVariable]

    @classmethod
    def read(cls, folder: str) -> "KeptIndices":
        """Reads them from the folder of a SavedModel; there are none in one that was not shrunk.

        Raises:
            ValueError: The file is damaged, or of a later version.
        """
        path = os.path.join(folder, FILE)
        if not tf.io.gfile.exists(path):
            return cls({})
        with tf.io.gfile.GFile(path) as stream:
            text = stream.read()
        try:
            content = json.loads(text)
            if content["version"] != _VERSION:
                raise ValueError(f"its version is {content['version']}, expected {_VERSION}")
            indices = [tuple(each) for each in content["indices"]]
            return cls(
                {
                    key: KeptVariable(
                        tuple(each["shape"]), {int(axis): indices[number] for axis, number in each["kept"].items()}
                    )
                    for key, each in content["variables"].items()
                }
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{path!r} cannot be read: {error}. Shrink the model again.") from error

    def write(self, folder: str) -> None:
        """Writes them into the folder of a SavedModel.

        Raises:
            tf.errors.OpError: They cannot be written.
        """
        path = os.path.join(folder, FILE)
        tf.io.gfile.makedirs(os.path.dirname(path))
        # A unit is an index of a dozen variables: kernel, normalisation, the kernel behind. Each list stands once.
        numbers: dict[tuple[int, ...], int] = {}
        variables = {
            key: {
                "shape": each.shape,
                "kept": {
                    str(axis): numbers.setdefault(indices, len(numbers)) for axis, indices in sorted(each.kept.items())
                },
            }
            for key, each in sorted(self.variables.items())
        }
        content = {"version": _VERSION, "indices": list(numbers), "variables": variables}
        with tf.io.gfile.GFile(path, "w") as stream:
            stream.write(json.dumps(content, separators=(",", ":")))

    def then(self, later: "KeptIndices") -> "KeptIndices":
        """What is left after another cut."""
        found = dict(self.variables)
        for key, each in later.variables.items():
            found[key] = found[key].then(each) if key in found else each
        return KeptIndices(found)
