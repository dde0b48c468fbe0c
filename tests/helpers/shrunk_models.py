"""What a shrunk model must have kept of the model that it was made of."""

import pathlib

import numpy as np
import tensorflow as tf

from tfx_pruning.structure.kept_indices import KeptIndices

_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def matrices(model: pathlib.Path) -> dict[str, np.ndarray]:
    """The matrices among the variables of a SavedModel, by checkpoint key."""
    reader = tf.train.load_checkpoint(str(model / "variables" / "variables"))
    shapes = reader.get_variable_to_shape_map()
    return {
        key.removesuffix(_SUFFIX): reader.get_tensor(key)
        for key, shape in shapes.items()
        if key.endswith(_SUFFIX) and len(shape) == 2
    }


def without_what_was_cut(trained: pathlib.Path, shrunk: pathlib.Path) -> dict[str, np.ndarray]:
    """The matrices of a trained model, less the rows and columns that the shrunk one says were cut; some were."""
    found, kept = matrices(trained), KeptIndices.read(str(shrunk)).variables
    cut = {}
    for key in matrices(shrunk):
        indices = kept[key].kept if key in kept else {}
        cut[key] = found[key][np.ix_(*(indices.get(axis, range(size)) for axis, size in enumerate(found[key].shape)))]
    assert sum(map(np.size, cut.values())) < sum(np.size(found[key]) for key in cut)
    return cut
