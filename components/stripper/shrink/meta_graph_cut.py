"""Cuts the MetaGraph of a SavedModel: functions, objects, main graph."""

from collections.abc import Mapping

import tensorflow as tf
from tensorflow.core.framework import function_pb2, graph_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.framework.meta_graph import stripped_op_list_for_graph

from ...saved_model.function_library import drop_uncalled_functions
from ...structure.node_order import in_order
from ...structure.tensors import Shape
from .biases import Biases
from .cut import Cut, cut_array
from .function_cut import FunctionCutter
from .saved_structure import CapturedConstant, SavedStructure, Variable

_OUTPUT_SHAPES = "_output_shapes"
_HANDS_ON = ("ReadVariableOp", "Identity")


def cut_meta_graph(structure: SavedStructure, cut: Cut, biases: Biases) -> meta_graph_pb2.MetaGraphDef:
    """The MetaGraph of a SavedModel after a cut.

    Args:
        structure: The SavedModel.
        cut: What stays of it.
        biases: What is added for what goes.
    """
    found = meta_graph_pb2.MetaGraphDef()
    found.CopyFrom(structure.source.meta_graph)
    graph_def = found.graph_def
    shapes: dict[int, Shape] = {}
    for holder in cut.held():
        if isinstance(holder.name, Variable):
            shapes[holder.name.node] = cut.shape(holder)
        elif isinstance(holder.name, CapturedConstant):
            node = next(each for each in graph_def.node if each.name == holder.name.operation)
            array = cut_array(tf.make_ndarray(node.attr["value"].tensor), holder.axes, cut)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array, tf.as_dtype(array.dtype), array.shape))
            _set_shape(node.attr, cut.shape(holder))
    for number, shape in shapes.items():
        found.object_graph_def.nodes[number].variable.shape.CopyFrom(tf.TensorShape(shape).as_proto())
    functions = FunctionCutter(structure.source.library.functions, cut, biases).rewrite(cut.trace.roots)
    del graph_def.library.function[:]
    graph_def.library.function.extend(functions)
    drop_uncalled_functions(found)
    _cut_main_graph(graph_def, structure, shapes)
    found.meta_info_def.stripped_op_list.CopyFrom(stripped_op_list_for_graph(graph_def))
    return found


def _cut_main_graph(graph_def: graph_pb2.GraphDef, structure: SavedStructure, shapes: Mapping[int, Shape]) -> None:
    """Mends the nodes that make and read variables, and the functions that save them."""
    handles: dict[str, Shape] = {}
    concrete_functions = structure.source.meta_graph.object_graph_def.concrete_functions
    calls = [(node, node.attr["f"].func.name) for node in graph_def.node if "f" in node.attr]
    for node, name in calls:
        captures = concrete_functions[name].bound_inputs if name in concrete_functions else ()
        inputs = [each for each in node.input if not each.startswith("^")]
        for number, reference in zip(captures, inputs[len(inputs) - len(captures) :], strict=True):
            if number in shapes:
                handles[reference.partition(":")[0]] = shapes[number]
    for node in graph_def.node:
        if node.op == "VarHandleOp" and node.name in handles:
            node.attr["shape"].shape.CopyFrom(tf.TensorShape(handles[node.name]).as_proto())
        elif node.op == "ReadVariableOp" and node.input[0] in handles:
            _set_shape(node.attr, handles[node.input[0]])
    functions = {each.signature.name: each for each in graph_def.library.function}
    for node, name in calls:
        if name not in concrete_functions:
            given = [handles.get(each.partition(":")[0]) for each in node.input if not each.startswith("^")]
            _cut_reads(functions[name], given)


def _cut_reads(function: function_pb2.FunctionDef, given: list[Shape]) -> None:
    """Says what shapes the variables have that a function reads and hands on."""
    known = {
        argument.name: shape
        for argument, shape in zip(function.signature.input_arg, given, strict=True)
        if shape is not None
    }
    for node in in_order(function):
        name = node.input[0].partition(":")[0] if node.input else ""
        if node.op in _HANDS_ON and name in known:
            known[node.name] = known[name]
            _set_shape(node.attr, known[name])


def _set_shape(attributes: Mapping, shape: Shape) -> None:
    if _OUTPUT_SHAPES in attributes:
        attributes[_OUTPUT_SHAPES].list.shape[0].CopyFrom(tf.TensorShape(shape).as_proto())
