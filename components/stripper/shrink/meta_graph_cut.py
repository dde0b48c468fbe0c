"""Cuts the MetaGraph of a SavedModel: functions, objects, main graph."""

from collections.abc import Mapping

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.framework.meta_graph import stripped_op_list_for_graph

from ...saved_model.function_library import drop_uncalled_functions
from ...structure.tensors import Shape
from .biases import Biases
from .cut import Cut, cut_array
from .function_cut import FunctionCutter
from .saved_structure import CapturedConstant, SavedStructure, Variable
from .saver_function import shortened

_OUTPUT_SHAPES = "_output_shapes"


def cut_meta_graph(
    structure: SavedStructure, cut: Cut, biases: Biases, *, fold: bool
) -> tuple[meta_graph_pb2.MetaGraphDef, int]:
    """The MetaGraph of a SavedModel after a cut.

    Args:
        structure: The SavedModel.
        cut: What stays of it.
        biases: What is added for what goes.
        fold: Whether scales behind convolutions go into their kernels.

    Returns:
        The MetaGraph, and how many scales went into kernels.
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
    cutter = FunctionCutter(structure.source.library.functions, cut, biases, fold=fold)
    functions = cutter.rewrite(cut.trace.roots)
    del graph_def.library.function[:]
    graph_def.library.function.extend(functions)
    drop_uncalled_functions(found)
    _cut_main_graph(graph_def, structure, shapes)
    found.meta_info_def.stripped_op_list.CopyFrom(stripped_op_list_for_graph(graph_def))
    return found, cutter.folded


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
    saver = structure.source.meta_graph.saver_def
    ends = {each.partition(":")[0] for each in (saver.save_tensor_name, saver.restore_op_name)}
    savers = {name for node, name in calls if node.name in ends}
    for function in graph_def.library.function:
        if function.signature.name in savers:
            function.CopyFrom(shortened(function))


def _set_shape(attributes: Mapping, shape: Shape) -> None:
    if _OUTPUT_SHAPES in attributes:
        attributes[_OUTPUT_SHAPES].list.shape[0].CopyFrom(tf.TensorShape(shape).as_proto())
