"""The weights of a stripped Keras model, as a file that `load_weights` takes."""

import io
from collections.abc import Iterator, Sequence

import h5py
import keras
import numpy as np
from tensorflow.core.protobuf import meta_graph_pb2

from ...saved_model import loading
from ...saved_model.object_graph import ObjectGraph
from .keras_layout import keras_layout

# HDF5 keeps an attribute in its object's header, which holds 64 kB; Keras reads longer lists from numbered attributes.
_MAX_ATTRIBUTE_BYTES = 60_000


def keras_weights(
    model: str, meta_graph: meta_graph_pb2.MetaGraphDef, source: str, source_meta_graph: meta_graph_pb2.MetaGraphDef
) -> bytes:
    """Writes the weights of a stripped Keras model in Keras' HDF5 format of layers in their order.

    `load_weights` of Keras 3 and of tf_keras takes it, for a model of the same layers, by their order or by name. A
    SavedModel does not tell the classes of layers, which Keras 3's own `.weights.h5` names its groups after.

    Args:
        model: Folder of the stripped SavedModel.
        meta_graph: Its MetaGraph.
        source: Folder of the SavedModel that it was stripped from, as Keras wrote it.
        source_meta_graph: That one's MetaGraph.

    Returns:
        The file's content.

    Raises:
        KerasLayoutError: The source does not tell its layers and the order of their weights.
        ValueError: A weight is none of the stripped model's, or has a dtype that HDF5 does not know.
    """
    layout = keras_layout(source, source_meta_graph)
    values = _Values(model, ObjectGraph(meta_graph), source, ObjectGraph(source_meta_graph))
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
    """Values of the weights, as the stripped model has them; asked for by the source's objects."""

    def __init__(self, model: str, graph: ObjectGraph, source: str, source_graph: ObjectGraph) -> None:
        self._model = model
        self._source = source
        self._source_graph = source_graph
        self._keys: dict[int, str] = {}
        names: dict[str, list[str]] = {}
        for variable in graph.variables:
            node = source_graph.at(graph.path(variable))
            if node is not None:
                self._keys[node] = graph.key(variable)
            names.setdefault(graph.variable(variable).name, []).append(graph.key(variable))
        # What `model.export` writes holds each weight in two variables of one name, and functions use either.
        self._named = {name: keys[0] for name, keys in names.items() if len(keys) == 1}

    def name(self, weight: int) -> str:
        return self._source_graph.variable(weight).name

    def __getitem__(self, weight: int) -> np.ndarray:
        key = self._keys.get(weight) or self._named.get(self.name(weight))
        value = None if key is None else loading.saved_value(self._model, key)
        if value is None:
            raise ValueError(
                f"The Keras weight {self.name(weight)!r} of the SavedModel at {self._source!r} is none of the stripped "
                "model's: no signature uses it. Add a signature that does, or do without 'keras_weights'."
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
