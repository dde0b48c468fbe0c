"""Rewrites the functions of a SavedModel for a cut."""

import collections
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import function_pb2, node_def_pb2

from ...saved_model.function_body import FunctionBody, data_inputs
from ...structure.evaluation import attribute
from ...structure.site import Gather, Mend
from ...structure.tensors import Shape, Tensor
from ...structure.trace import Call
from ...structure.values import Size
from .biases import Biases
from .cut import Cut, cut_array
from .new_nodes import OUTPUT_SHAPES, new_binary, new_constant, new_node, set_tensor
from .scales import fold_scales

_INPUT_SHAPES = "_input_shapes"
_SHAPES_OF_BRANCHES = "output_shapes"
_ANY = -1


class FunctionCutter:
    """Rewrites functions, each as it is called; calls that are cut alike share one.

    Attributes:
        folded: How many scales went into kernels, in all functions that were made.
    """

    def __init__(
        self, functions: Mapping[str, function_pb2.FunctionDef], cut: Cut, biases: Biases, *, fold: bool
    ) -> None:
        """Takes the functions, by name, what becomes of their tensors, and whether scales go into kernels."""
        self.folded = 0
        self._functions = functions
        self._cut = cut
        self._biases = biases
        self._fold = fold
        self._versions: dict[str, list[function_pb2.FunctionDef]] = collections.defaultdict(list)
        self._taken = set(functions)
        self._roots: set[str] = set()

    def rewrite(self, roots: Sequence[Call]) -> list[function_pb2.FunctionDef]:
        """All functions, after the cut, and besides all as they were, for what is not traced may call them.

        Args:
            roots: The calls whose functions keep their names. Others have another name if they are changed.
        """
        self._roots = {call.function for call in roots}
        for call in roots:
            self._rewritten(call, is_root=True)
        found = [version for versions in self._versions.values() for version in versions]
        names = {each.signature.name for each in found}
        return found + [each for name, each in self._functions.items() if name not in names]

    def _rewritten(self, call: Call, *, is_root: bool = False) -> str:
        """Rewrites a function as it is called, and those below; returns its name then."""
        body = FunctionBody(self._functions[call.function])
        for name, below in call.calls.items():
            node = body.node(name)
            for (key, number), each in below.items():
                function = node.attr[key].list.func[number] if key == "branches" else node.attr[key].func
                function.name = self._rewritten(each)
        self._cut_shapes(body.proto, call)
        for node in body.nodes:
            holder = call.constants.get(node.name)
            if holder is not None and self._cut.cuts(holder):
                set_tensor(node, cut_array(tf.make_ndarray(node.attr["value"].tensor), holder.axes, self._cut))
            addend = self._biases.constants.get((call, node.name))
            if addend is not None:
                set_tensor(node, tf.make_ndarray(node.attr["value"].tensor) + addend)
        for gather in call.gathers:
            if self._cut.is_cut(gather.units):
                _gather(body, gather, self._cut.kept(gather.units))
        mended = [self._mend(body, call, mend) for mend in call.mends]
        for site in call.sites:
            addend = self._biases.addends.get(site)
            if addend is not None:
                _add_constant(body.proto, site.node, addend)
        if any(mended):
            # What computed sizes that are told by constants now.
            body = FunctionBody(body.proto)
            body.remove_unreached()
        folded = 0
        if self._fold:
            body = FunctionBody(body.proto)
            folded = fold_scales(body, call, self._cut)
        versions = self._versions[call.function]
        count = len(versions)
        name = self._published(call.function, body.proto, is_root)
        self.folded += folded * (len(versions) - count)
        return name

    def _cut_shapes(self, function: function_pb2.FunctionDef, call: Call) -> None:
        for node in function.node_def:
            tensors = call.tensors[node.name]
            _set_output_shapes(node, [self._cut.shape(each) for each in tensors], tensors)
        for index, argument in enumerate(call.arguments):
            held = argument.resource or argument.element
            for handle in function.signature.input_arg[index].handle_data if held is not None else ():
                handle.shape.CopyFrom(tf.TensorShape(self._cut.shape(held)).as_proto())
            if self._cut.cuts(argument):
                shape = self._cut.shape(argument)
                if _INPUT_SHAPES in function.attr:
                    function.attr[_INPUT_SHAPES].list.shape[index].CopyFrom(tf.TensorShape(shape).as_proto())
                if index in function.arg_attr and OUTPUT_SHAPES in function.arg_attr[index].attr:
                    shapes = function.arg_attr[index].attr[OUTPUT_SHAPES].list.shape
                    shapes[0].CopyFrom(tf.TensorShape(shape).as_proto())

    def _mend(self, body: FunctionBody, call: Call, mend: Mend) -> bool:
        """Has an input of a node tell the sizes that are left; returns whether anything was changed."""
        cut = self._cut
        if mend.operation == "Squeeze":
            if any(map(cut.cuts, call.tensors[mend.node])):
                body.node(mend.node).attr["squeeze_dims"].list.i[:] = mend.sizes
            return False
        if not any(isinstance(each, np.ndarray) and cut.is_cut(each) for each in (*mend.sizes, *_axes(mend.told))):
            return False
        wanted = [cut.count(each) if isinstance(each, np.ndarray) else each for each in mend.sizes]
        node = body.node(mend.node)
        if mend.operation == "SplitV":
            _become_split_v(body.proto, node, wanted)
            return True
        told = None if mend.told is None else [self._told(each) for each in mend.told]
        if told is not None and all(
            want is None or tell in (want, _ANY) for want, tell in zip(wanted, told, strict=True)
        ):
            return False
        reference = data_inputs(node)[mend.index]
        dtype = _dtype_of_sizes(node)
        if wanted.count(None) <= (node.op == "Reshape"):
            sizes = np.array([_ANY if each is None else each for each in wanted], dtype)
            new = new_constant(body.proto, f"{mend.node}/cut_sizes", sizes)
        else:
            changes = [
                0 if want is None or tell in (None, _ANY) else want - tell
                for want, tell in zip(wanted, told, strict=True)
            ]
            change = new_constant(body.proto, f"{mend.node}/cut_by", np.array(changes, dtype))
            new = new_binary(
                body.proto,
                f"{mend.node}/cut_sizes",
                "AddV2",
                reference,
                change,
                tf.as_dtype(dtype).as_datatype_enum,
                (len(wanted),),
            )
        node.input[mend.index] = new
        return True

    def _told(self, size: Size) -> int | None:
        """The size that the graph computes after the cut, as far as it is known."""
        if size.dynamic:
            return None
        found = size.factor
        for axis in size.axes:
            found *= self._cut.count(axis)
        return found

    def _published(self, name: str, function: function_pb2.FunctionDef, is_root: bool) -> str:
        """Takes a rewritten function into the library, unless its like is there; returns its name."""
        if not is_root:
            for version in self._versions[name]:
                function.signature.name = version.signature.name
                if function == version:
                    return version.signature.name
        function.signature.name = name
        # The name of a root is the root's own, though others call it with other tensors.
        if not is_root and (name in self._roots or function != self._functions[name]):
            number = 1
            while f"{name}_cut_{number}" in self._taken:
                number += 1
            function.signature.name = f"{name}_cut_{number}"
            self._taken.add(function.signature.name)
        self._versions[name].append(function)
        return function.signature.name


def _set_output_shapes(node: node_def_pb2.NodeDef, shapes: Sequence[Shape], tensors: Sequence[Tensor]) -> None:
    """Says in a node what shapes its outputs have, where axes may be cut; all others stay as they were told."""
    for key in (OUTPUT_SHAPES, _SHAPES_OF_BRANCHES):
        told = node.attr[key].list.shape if key in node.attr else ()
        for proto, shape, tensor in zip(told, shapes, tensors, strict=False):
            for dimension, size, axis in zip(proto.dim, shape or (), tensor.axes, strict=False):
                if axis is not None and dimension.size >= 0:
                    dimension.size = size


def _dtype_of_sizes(node: node_def_pb2.NodeDef) -> np.dtype:
    """The dtype in which a node takes sizes."""
    keys = {
        "Reshape": "Tshape",
        "StridedSlice": "Index",
        "Slice": "Index",
        "SplitV": "Tlen",
        "Fill": "index_type",
        "TensorListFromTensor": "shape_type",
    }
    key = keys.get(node.op)
    return np.dtype(np.int32 if key is None else tf.as_dtype(attribute(node, key)).as_numpy_dtype)


def _axes(told: Sequence[Size] | None) -> list[np.ndarray]:
    return [axis for size in told or () for axis in size.axes]


def _gather(body: FunctionBody, gather: Gather, kept: np.ndarray) -> None:
    """Gives a node only some indices of an input."""
    function, node = body.proto, body.node(gather.node)
    indices = new_constant(function, f"{gather.node}/kept", kept.astype(np.int32))
    axis = new_constant(function, f"{gather.node}/kept_axis", np.array(gather.axis, np.int32))
    inputs = [node.input[gather.index], indices, axis]
    new = new_node(function, f"{gather.node}/of_kept", "GatherV2", inputs, (None, len(kept)))
    new.attr["Tparams"].type = node.attr["T"].type
    for key in ("Tindices", "Taxis"):
        new.attr[key].type = tf.int32.as_datatype_enum
    node.input[gather.index] = f"{new.name}:output:0"


def _add_constant(function: function_pb2.FunctionDef, name: str, addend: np.ndarray) -> None:
    """Adds a constant to what a node makes, for all that read it."""
    node = next(each for each in function.node_def if each.name == name)
    reader = [
        (each.input, index, reference)
        for each in function.node_def
        for index, reference in enumerate(each.input)
        if reference.partition(":")[0] == name
    ]
    output = next((reference for _, _, reference in reader), None)
    returned = [key for key, reference in function.ret.items() if reference.partition(":")[0] == name]
    if output is None:
        output = function.ret[returned[0]] if returned else None
    if output is None:
        return
    constant = new_constant(function, f"{name}/of_cut_units", addend)
    dtype = tf.as_dtype(addend.dtype).as_datatype_enum
    new = new_binary(function, f"{name}/with_cut_units", "AddV2", output, constant, dtype, None)
    sum_node = function.node_def[-1]
    sum_node.attr[OUTPUT_SHAPES].CopyFrom(node.attr[OUTPUT_SHAPES])
    for inputs, index, _ in reader:
        inputs[index] = new
    for key in returned:
        function.ret[key] = new


def _become_split_v(function: function_pb2.FunctionDef, node: node_def_pb2.NodeDef, sizes: Sequence[int]) -> None:
    """Makes a node of Split one of SplitV, with parts of given sizes."""
    axis, value, *controls = node.input
    constant = new_constant(function, f"{node.name}/cut_sizes", np.array(sizes, np.int32))
    node.op = "SplitV"
    del node.input[:]
    node.input.extend([value, constant, axis, *controls])
    node.attr["Tlen"].type = tf.int32.as_datatype_enum
