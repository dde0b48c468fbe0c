"""The structure of a SavedModel: its functions, with what they capture, traced."""

import dataclasses
from collections.abc import Hashable

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import function_pb2, tensor_pb2

from ...places import is_local
from ...saved_model import checkpoint, loading
from ...saved_model.object_graph import ObjectGraph
from ...saved_model.saved_objects import SavedObjects
from ...saved_model.tensor_bundle import TensorBundle
from ...structure.liveness import gatherable, live_units
from ...structure.tensors import HeldValue, Shape
from ...structure.trace import Root, Trace, trace


@dataclasses.dataclass(frozen=True)
class Variable:
    """Names a variable in a trace.

    Attributes:
        node: Its object.
    """

    node: int


@dataclasses.dataclass(frozen=True)
class CapturedConstant:
    """Names a constant, in a trace, that functions capture.

    Attributes:
        operation: The node of the main graph that holds it.
    """

    operation: str


@dataclasses.dataclass(frozen=True)
class SavedStructure:
    """A SavedModel, traced.

    Attributes:
        source: The SavedModel.
        bundle: Where its values stand.
        roots: The names of the functions that its objects offer, in the order of the trace's roots.
        trace: The trace of those.
    """

    source: SavedObjects
    bundle: TensorBundle
    roots: tuple[str, ...]
    trace: Trace

    @classmethod
    def of(cls, source: SavedObjects) -> "SavedStructure":
        """Traces a SavedModel.

        Args:
            source: The SavedModel, of TensorFlow 2.

        Raises:
            TooManyCallsError: Its functions call each other too often to be traced.
            ValueError: Its files are damaged, or it uses operations that are not loaded.
        """
        with loading.failure_explained(source.folder):
            bundle = TensorBundle.read(checkpoint.prefix(source.folder))
        held: dict[Hashable, HeldValue] = {
            Variable(node): _held_variable(source.graph, node, bundle) for node in source.graph.variables
        }
        for name, node in source.library.main.items():
            if node.op == "Const":
                held[CapturedConstant(name)] = _held_constant(node.attr["value"].tensor)
        functions = source.library.functions
        names = tuple(sorted(source.meta_graph.object_graph_def.concrete_functions))
        roots = [_root(source, functions[name], held) for name in names]
        found = trace(functions, roots, held)
        if gathered := gatherable(found, live_units(found)):
            found = trace(functions, roots, held, gathered)
        return cls(source, bundle, names, found)

    def key(self, node: int) -> str:
        """The key of a variable in the checkpoint."""
        return checkpoint_key(self.source.graph, node)


def checkpoint_key(graph: ObjectGraph, node: int) -> str:
    """The key of a variable in the checkpoint."""
    return graph.key(node) + checkpoint.VALUE_SUFFIX


def declared_shape(graph: ObjectGraph, node: int) -> tuple[int | None, ...]:
    """The shape that a variable is declared with; () if its rank is not."""
    shape = tf.TensorShape(graph.variable(node).shape)
    return tuple(shape.as_list()) if shape.rank is not None else ()


def read_value(bundle: TensorBundle, key: str) -> np.ndarray:
    """The value of a variable, read from where it stands only as far as it is used, if that file is local."""
    entry = bundle.entries[key.encode()]
    file = bundle.data_file(entry)
    shape = tuple(tf.TensorShape(entry.shape).as_list())
    dtype = tf.as_dtype(entry.dtype).as_numpy_dtype
    if not is_local(file) or not entry.size:
        with tf.io.gfile.GFile(file, "rb") as stream:
            stream.seek(entry.offset)
            return np.frombuffer(stream.read(entry.size), dtype).reshape(shape)
    return np.memmap(file, np.uint8, "r", entry.offset, (entry.size,)).view(np.ndarray).view(dtype).reshape(shape)


def _held_variable(graph: ObjectGraph, node: int, bundle: TensorBundle) -> HeldValue:
    shape = declared_shape(graph, node)
    key = checkpoint_key(graph, node)
    if not tf.TensorShape(graph.variable(node).shape).is_fully_defined() or not bundle.is_plain(key):
        return HeldValue(shape, None)
    return HeldValue(shape, lambda: read_value(bundle, key))


def _held_constant(proto: tensor_pb2.TensorProto) -> HeldValue:
    shape = tuple(dimension.size for dimension in proto.tensor_shape.dim)
    floating = tf.as_dtype(proto.dtype).is_floating
    return HeldValue(shape, (lambda: tf.make_ndarray(proto)) if floating else None, is_tensor=True)


def _root(source: SavedObjects, function: function_pb2.FunctionDef, held: dict[Hashable, HeldValue]) -> Root:
    name = function.signature.name
    graph = source.graph
    captures: list[Hashable | None] = []
    for node in source.meta_graph.object_graph_def.concrete_functions[name].bound_inputs:
        operation = graph.constant_operation(node)
        if graph.kind(node) == "variable":
            captures.append(Variable(node))
        else:
            captures.append(CapturedConstant(operation) if operation is not None else None)
    captures = [name if name in held else None for name in captures]
    return Root(name, captures, _argument_shapes(function))


def _argument_shapes(function: function_pb2.FunctionDef) -> list[Shape]:
    shapes: list[Shape] = [None] * len(function.signature.input_arg)
    told = function.attr.get("_input_shapes")
    for index, each in enumerate(() if told is None else told.list.shape):
        if not each.unknown_rank:
            shapes[index] = tuple(None if dimension.size < 0 else dimension.size for dimension in each.dim)
    return shapes
