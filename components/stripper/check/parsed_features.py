"""The tf.Example features that the functions of a SavedModel parse."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from ...saved_model.function_body import CALL_OPS, data_inputs, first_argument
from ...saved_model.function_library import FunctionLibrary, called_functions
from ...saved_model.saved_objects import SavedObjects

Layout = Literal["dense", "sparse", "ragged"]

_EXAMPLE_OPS = ("ParseExample", "ParseExampleV2")
_RECORD_OPS = (*_EXAMPLE_OPS, "ParseSingleExample", "ParseSequenceExample", "ParseSequenceExampleV2", "DecodeProtoV2")
_PYTHON_OPS = ("EagerPyFunc", "PyFunc", "PyFuncStateless")
_MAX_CONSTANT_BYTES = 1 << 20
_MAX_SIZES = 8
_MAX_CALLS = 10_000  # a bound on the walk, which enters a function once for each set of constant arguments


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature of a tf.Example, as a ParseExample operation reads it.

    Attributes:
        key: The feature's name.
        layout: 'dense' (fixed length, or padded if its first dimension is None), 'sparse' or 'ragged'.
        dtype: tf.float32, tf.int64 or tf.string.
        shape: Of one example's value, if it is dense; else empty.
        required: Whether an example without it is refused.
    """

    key: str
    layout: Layout
    dtype: tf.DType
    shape: tuple[int | None, ...] = ()
    required: bool = False


@dataclasses.dataclass(frozen=True)
class ParsedFeatures:
    """What a function, and the functions that it calls, parse.

    Attributes:
        features: The features of tf.Examples, by name, in ascending order.
        reads_records: Whether serialized records of any kind (tf.Example, tf.SequenceExample, protos) are parsed.
        sizes: Lengths of some dimensions of the weights. Those of an input may have to be equal to one of them.
        calls_python: Whether Python code is called, as by `tf.py_function`. No SavedModel holds that code.
    """

    features: tuple[Feature, ...]
    reads_records: bool
    sizes: tuple[int, ...] = ()
    calls_python: bool = False


def parsed_features(model: SavedObjects, function: int) -> ParsedFeatures:
    """Finds what `function` parses, by a walk of the function library.

    Feature names are constants of the graph, possibly captured or passed as arguments. Names that are not constants
    are left out.

    Args:
        model: The SavedModel.
        function: The object of a function in it.

    Returns:
        What the function parses.
    """
    graph, walk = model.graph, _Walk(model.library)
    for name in graph.concrete_functions(function):
        walk.enter_from_outside(name, [graph.constant_operation(node) for node in graph.bound_inputs(function)])
    shapes = [graph.variable(node).shape for node in graph.bound_inputs(function) if graph.kind(node) == "variable"]
    dimensions = dict.fromkeys(size for shape in shapes for size in tf.TensorShape(shape).as_list() if size)
    return dataclasses.replace(walk.found(), sizes=tuple(dimensions)[:_MAX_SIZES])


def parsed_features_of(library: FunctionLibrary, nodes: Iterable[node_def_pb2.NodeDef]) -> ParsedFeatures:
    """Finds what nodes of the main graph, and the functions that they call, parse, as `parsed_features` does."""
    walk = _Walk(library)
    walk.enter_nodes(nodes)
    return walk.found()


_Constant = np.ndarray | None  # None: known only when the function runs


class _Walk:
    def __init__(self, library: FunctionLibrary) -> None:
        self._functions = library.functions
        self._main = library.main
        self._calls: set[tuple[str, tuple[bytes | None, ...]]] = set()
        self.features: dict[str, Feature] = {}
        self.reads_records = False
        self.calls_python = False

    def enter_from_outside(self, name: str, captured: Sequence[str | None]) -> None:
        """Walks a function whose last arguments are captures, given as names of main-graph constants."""
        function = self._functions.get(name)
        if function is None:
            return
        constants = [_value(self._main[each]) if each in self._main else None for each in captured]
        given = len(function.signature.input_arg) - len(constants)
        self._enter(name, [None] * given + constants)

    def enter_nodes(self, nodes: Iterable[node_def_pb2.NodeDef]) -> None:
        """Walks nodes of the main graph."""
        self._look_at(_Body(nodes, {}))

    def found(self) -> ParsedFeatures:
        """What was parsed where the walk has been."""
        features = tuple(self.features[key] for key in sorted(self.features))
        return ParsedFeatures(features, self.reads_records, calls_python=self.calls_python)

    def _enter(self, name: str, arguments: Sequence[_Constant]) -> None:
        call = (name, tuple(None if each is None else repr(each.tolist()).encode() for each in arguments))
        if name not in self._functions or call in self._calls or len(self._calls) >= _MAX_CALLS:
            return
        self._calls.add(call)
        function = self._functions[name]
        names = [each.name for each in function.signature.input_arg]
        self._look_at(_Body(function.node_def, dict(zip(names, arguments, strict=False))))

    def _look_at(self, body: "_Body") -> None:
        for node in body.nodes:
            if node.op in _RECORD_OPS:
                self.reads_records = True
            if node.op in _PYTHON_OPS:
                self.calls_python = True
            if node.op in _EXAMPLE_OPS:
                for feature in _features(node, body):
                    self._add(feature)
            for callee, inputs in _callees(node):
                self._enter(callee, [body.constant(each) for each in inputs])

    def _add(self, feature: Feature) -> None:
        known = self.features.get(feature.key)
        # Read twice, the stricter reading decides what a valid example holds.
        if known is None or (feature.required and not known.required):
            self.features[feature.key] = feature


class _Body:
    """The nodes of a function or a graph, with the constants among its arguments known."""

    def __init__(self, nodes: Iterable[node_def_pb2.NodeDef], arguments: Mapping[str, _Constant]) -> None:
        self._arguments = arguments
        self._nodes = {node.name: node for node in nodes}

    @property
    def nodes(self) -> Iterable[node_def_pb2.NodeDef]:
        return self._nodes.values()

    def constant(self, tensor: str) -> _Constant:
        name = tensor.partition(":")[0]
        while name in self._nodes:
            node = self._nodes[name]
            # Defaults are reshaped to their feature's shape; here only their size counts.
            if node.op in ("Identity", "Reshape"):
                name = node.input[0].partition(":")[0]
            else:
                return _value(node)
        return self._arguments.get(name)


def _value(node: node_def_pb2.NodeDef) -> _Constant:
    if node.op != "Const":
        return None
    tensor = node.attr["value"].tensor
    # Weights may be constants, too; names and defaults of features are small.
    return tf.make_ndarray(tensor) if tensor.ByteSize() <= _MAX_CONSTANT_BYTES else None


def _callees(node: node_def_pb2.NodeDef) -> list[tuple[str, list[str]]]:
    """The functions that a node calls, each with the inputs that become its first arguments."""
    inputs = data_inputs(node)[first_argument(node) :] if node.op in CALL_OPS else []
    return [(name, inputs) for name in called_functions(node)]


def _features(node: node_def_pb2.NodeDef, body: _Body) -> list[Feature]:
    inputs = data_inputs(node)
    dense_types = list(node.attr["Tdense"].list.type)
    sparse_types = list(node.attr["sparse_types"].list.type)
    ragged_types = list(node.attr["ragged_value_types"].list.type)
    shapes = [_dimensions(shape) for shape in node.attr["dense_shapes"].list.shape]
    if node.op == "ParseExampleV2":
        sparse_keys, dense_keys, ragged_keys = (_strings(body.constant(each)) for each in inputs[2:5])
        defaults = inputs[5:]
    else:
        keys = [_strings(body.constant(each)) for each in inputs[2 : 2 + len(sparse_types) + len(dense_types)]]
        sparse_keys = [key for each in keys[: len(sparse_types)] for key in each]
        dense_keys = [key for each in keys[len(sparse_types) :] for key in each]
        ragged_keys = []
        defaults = inputs[2 + len(keys) :]
    found = []
    for key, dtype, shape, default in zip(dense_keys, dense_types, shapes, defaults, strict=False):
        value = body.constant(default)
        varying = bool(shape) and shape[0] is None
        required = not varying and (value is None or value.size == 0)
        found.append(Feature(key, "dense", tf.as_dtype(dtype), shape, required))
    found.extend(
        Feature(key, "sparse", tf.as_dtype(dtype)) for key, dtype in zip(sparse_keys, sparse_types, strict=False)
    )
    found.extend(
        Feature(key, "ragged", tf.as_dtype(dtype)) for key, dtype in zip(ragged_keys, ragged_types, strict=False)
    )
    return found


def _dimensions(shape: object) -> tuple[int | None, ...]:
    return tuple(tf.TensorShape(shape).as_list())


def _strings(value: _Constant) -> list[str]:
    return [] if value is None else [key.decode() for key in np.ravel(value)]
