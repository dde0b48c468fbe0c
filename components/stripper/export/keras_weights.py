"""The format keras_weights: the weights of a stripped Keras model, as a file that `load_weights` reads."""

import io
from collections.abc import Iterator, Sequence

import h5py
import keras
import numpy as np

from ...saved_model.saved_objects import SavedObjects
from ..check.verify import VerificationError
from .exported_signature import ExportedSignature
from .exporter import ExportCheck, Exporter
from .keras_layout import keras_layout

# HDF5 keeps an attribute in its object's header, which holds 64 kB; Keras reads longer lists from numbered attributes.
_MAX_ATTRIBUTE_BYTES = 60_000


class KerasWeightsExporter(Exporter):
    """Writes the weights of the whole model, whichever signature is exported."""

    # Not '.weights.h5', a name by which Keras 3 knows files laid out by the classes of layers.
    file = "keras_weights.h5"
    takes_shrunk = False

    def content(self, model: ExportedSignature) -> bytes:
        """Writes the weights in the order of the source's layers."""
        return keras_weights(model.model, model.source)

    def check(self, content: bytes, model: ExportedSignature) -> ExportCheck:
        """Checks that each weight has the bits of a variable of the model."""
        graph, checkpoint = model.model.graph, model.model.checkpoint
        stored = {checkpoint.variable(graph.key(node)).tobytes() for node in graph.variables}
        if not all(value.tobytes() in stored for value in values_in(content)):
            raise VerificationError(
                f"The export {self.name!r} of {model.model.folder!r} has other values than the model's variables. "
                "Nothing was published; please report this model."
            )
        return ExportCheck(0.0, "variables")


KERAS_WEIGHTS = KerasWeightsExporter()


def keras_weights(model: SavedObjects, source: SavedObjects) -> bytes:
    """Writes the weights of a stripped Keras model in Keras' HDF5 format of layers in their order.

    `load_weights` of Keras 3 and of tf_keras reads it into a model of the same layers, by their order or by name. Keras
    3's own `.weights.h5` names its groups after the classes of layers, which are in no SavedModel.

    Args:
        model: The stripped SavedModel.
        source: The SavedModel that it was stripped from, as Keras wrote it.

    Returns:
        The file's content.

    Raises:
        KerasLayoutError: The source does not tell its layers and the order of their weights.
        ValueError: A weight is none of the stripped model's, or has a dtype that HDF5 does not know.
    """
    layout = keras_layout(source.folder, source.meta_graph)
    values = _Values(model, source)
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = keras.__version__.encode()
        _write_names(file, "layer_names", [layer.name for layer in layout.layers])
        for layer in layout.layers:
            _write_weights(file.create_group(layer.name), layer.weights, values)
        _write_weights(file.create_group("top_level_model_weights"), layout.own, values)
    return stream.getvalue()


def values_in(content: bytes) -> Iterator[np.ndarray]:
    """Yields the weights of such a file as Keras reads them: layer by layer, then the model's own."""
    with h5py.File(io.BytesIO(content), "r") as file:
        for layer in (*_read_names(file, "layer_names"), "top_level_model_weights"):
            for weight in _read_names(file[layer], "weight_names"):
                yield np.asarray(file[layer][weight])


class _Values:
    """The values of the weights in the stripped model, by the source's objects."""

    def __init__(self, model: SavedObjects, source: SavedObjects) -> None:
        self._checkpoint = model.checkpoint
        self._source = source
        graph = model.graph
        self._keys: dict[int, str] = {}
        names: dict[str, list[str]] = {}
        for variable in graph.variables:
            node = source.graph.at(graph.path(variable))
            if node is not None:
                self._keys[node] = graph.key(variable)
            names.setdefault(graph.variable(variable).name, []).append(graph.key(variable))
        # `model.export` writes each weight as two variables of one name, and functions use either.
        self._named = {name: keys[0] for name, keys in names.items() if len(keys) == 1}

    def name(self, weight: int) -> str:
        return self._source.graph.variable(weight).name

    def __getitem__(self, weight: int) -> np.ndarray:
        key = self._keys.get(weight) or self._named.get(self.name(weight))
        value = None if key is None else self._checkpoint.variable(key)
        if value is None:
            raise ValueError(
                f"The Keras weight {self.name(weight)!r} of the SavedModel at {self._source.folder!r} is none of the "
                "stripped model's: no signature uses it. Add a signature that does, or do without 'keras_weights'."
            )
        return value


def _write_weights(group: h5py.Group, weights: Sequence[int], values: _Values) -> None:
    names: list[str] = []
    for weight in weights:
        name, number = values.name(weight), 0
        while name in names:
            number += 1
            name = f"{values.name(weight)}_{number}"
        value = values[weight]
        try:
            group.create_dataset(name, data=value)
        except TypeError as error:
            raise ValueError(
                f"The Keras weight {name!r} is of {value.dtype.name}, which a Keras weights file cannot hold; do "
                "without 'keras_weights'."
            ) from error
        names.append(name)
    _write_names(group, "weight_names", names)


def _write_names(group: h5py.Group, attribute: str, names: Sequence[str]) -> None:
    encoded = np.array([name.encode() for name in names], dtype="S") if names else np.array([], dtype="S1")
    if encoded.nbytes <= _MAX_ATTRIBUTE_BYTES:
        group.attrs[attribute] = encoded
        return
    parts = -(-encoded.nbytes // _MAX_ATTRIBUTE_BYTES)
    for number, part in enumerate(np.array_split(encoded, parts)):
        group.attrs[f"{attribute}{number}"] = part


def _read_names(group: h5py.Group, attribute: str) -> list[str]:
    if attribute in group.attrs:
        return [name.decode() for name in group.attrs[attribute]]
    found: list[str] = []
    while f"{attribute}{len(found)}" in group.attrs:
        found.append(f"{attribute}{len(found)}")
    return [name.decode() for each in found for name in group.attrs[each]]
