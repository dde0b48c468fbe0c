"""Scales: multiplications by channel behind convolutions, which go into the kernels."""

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from ...saved_model.function_body import FunctionBody, Reference, data_inputs
from ...structure.evaluation import attribute
from ...structure.tensors import Shape, Tensor
from ...structure.trace import Call
from ...structure.values import Known
from .cut import Cut
from .new_nodes import new_binary, new_constant, new_node

_DEPTHWISE = "DepthwiseConv2dNative"
_CONVOLUTIONS = ("Conv2D", "Conv3D", _DEPTHWISE)
_CHANNELS_LAST = (b"NHWC", b"NDHWC")
_BIAS = "BiasAdd"
_ADDITIONS = ("Add", "AddV2", _BIAS)
# A kernel is scaled once a call, a convolution's output once an example. Where the kernel is the larger, scaling the
# output costs less, unless many examples come at once.
_EXAMPLES_AT_ONCE = 8


def fold_scales(body: FunctionBody, call: Call, cut: Cut) -> int:
    """Has convolutions multiply by a scaled kernel, in place of scaling what they make.

    Batch normalisation, as Keras 3 writes it, multiplies a convolution's output by a vector of constants, and adds
    another: two passes over what is by far the largest in most networks. The vector goes into the kernel when the
    function runs, so that all variables keep their values; what is added becomes one BiasAdd, which TensorFlow computes
    within the convolution, with the activation behind it.

    Args:
        body: A function, after the cut; it is changed.
        call: The same as it was traced.
        cut: What stays of it.

    Returns:
        How many multiplications are gone.
    """
    folder = _ScaleFolder(body, call, cut)
    return sum(folder.fold(name) for name in [node.name for node in body.nodes if node.op == "Mul"])


class _ScaleFolder:
    def __init__(self, body: FunctionBody, call: Call, cut: Cut) -> None:
        self._body, self._call, self._cut = body, call, cut
        self._scaled_biases: set[Reference] = set()

    def fold(self, name: str) -> bool:
        """Folds a multiplication, if it is one of a convolution by channel; returns whether it was."""
        multiplication = self._body.node(name)
        for value, factor in (data_inputs(multiplication), data_inputs(multiplication)[::-1]):
            source = self._body.node(value)
            bias = None if source is None else self._bias(source)
            convolution = source if bias is None else self._body.node(bias[0])
            if (
                self._is_convolution(convolution)
                and self._only_reader(convolution.name) is (multiplication if bias is None else source)
                and self._only_reader(source.name) is multiplication
                and self._is_worth_it(convolution, factor)
            ):
                self._scale(convolution, factor, name)
                if bias is not None:
                    self._become_bias(source, bias[0], self._scaled_bias(bias[1], factor, convolution, name))
                self._body.remove([name], {name: f"{source.name}:output:0"})
                self._join_bias(convolution)
                return True
        return False

    def _bias(self, addition: node_def_pb2.NodeDef) -> tuple[Reference, Reference] | None:
        """What a vector is added to along the last axis, and the vector; None if this is no such addition."""
        if addition.op not in _ADDITIONS or (addition.op == _BIAS and not _is_channels_last(addition)):
            return None
        for value, vector in (data_inputs(addition), data_inputs(addition)[::-1]):
            convolution = self._body.node(value)
            if self._is_convolution(convolution) and self._shape(vector) == (self._channels(convolution),):
                return value, vector
        return None

    def _is_convolution(self, node: node_def_pb2.NodeDef | None) -> bool:
        """Whether it is one that was in the function before, and makes a known number of channels, on the last axis."""
        return (
            node is not None
            and node.op in _CONVOLUTIONS
            and _is_channels_last(node)
            and self._channels(node) is not None
        )

    def _channels(self, convolution: node_def_pb2.NodeDef) -> int | None:
        made = self._shape(f"{convolution.name}:output:0")
        return made[-1] if made else None

    def _is_worth_it(self, convolution: node_def_pb2.NodeDef, factor: Reference) -> bool:
        """Whether a factor is a constant for each channel of a convolution, and the kernel the smaller to scale."""
        scale, kernel = self._tensor(factor), self._shape(data_inputs(convolution)[1])
        made = self._shape(f"{convolution.name}:output:0")
        if scale is None or not isinstance(scale.value, Known) or kernel is None or None in kernel:
            return False
        shape = self._cut.shape(scale)
        if not shape or len(shape) > len(made) or math.prod(shape) != shape[-1] or shape[-1] != made[-1]:
            return False
        if not np.isfinite(scale.value.array).all():
            return False
        places = made[1:-1]
        return None in places or math.prod(kernel) <= _EXAMPLES_AT_ONCE * math.prod(places) * made[-1]

    def _scale(self, convolution: node_def_pb2.NodeDef, factor: Reference, name: str) -> None:
        """Gives a convolution a scaled kernel."""
        kernel = data_inputs(convolution)[1]
        shape, dtype = self._shape(kernel), convolution.attr["T"].type
        if convolution.op == _DEPTHWISE:
            # A kernel's last two axes are the channels of what goes in, and how many are made of each.
            factor = self._reshaped(factor, shape[-2:], dtype, f"{name}/of_kernel")
        convolution.input[1] = new_binary(self._body.proto, f"{name}/kernel", "Mul", kernel, factor, dtype, shape)

    def _scaled_bias(
        self, vector: Reference, factor: Reference, convolution: node_def_pb2.NodeDef, name: str
    ) -> Reference:
        dtype, shape = convolution.attr["T"].type, (self._channels(convolution),)
        if self._shape(factor) != shape:
            factor = self._reshaped(factor, shape, dtype, f"{name}/of_bias")
        scaled = new_binary(self._body.proto, f"{name}/bias", "Mul", vector, factor, dtype, shape)
        self._scaled_biases.add(scaled)
        return scaled

    def _reshaped(self, vector: Reference, shape: Shape, dtype: int, name: str) -> Reference:
        sizes = new_constant(self._body.proto, f"{name}_sizes", np.array(shape, np.int32))
        node = new_node(self._body.proto, name, "Reshape", [vector, sizes], shape)
        node.attr["T"].type = dtype
        node.attr["Tshape"].type = tf.int32.as_datatype_enum
        return f"{node.name}:output:0"

    def _join_bias(self, convolution: node_def_pb2.NodeDef) -> None:
        """Makes the vectors that are added behind a convolution one, and that a BiasAdd."""
        value, dtype = f"{convolution.name}:output:0", convolution.attr["T"].type
        shape = (self._channels(convolution),)
        found: list[tuple[node_def_pb2.NodeDef, Reference]] = []
        reader = self._only_reader(convolution.name)
        while reader is not None and reader.op in _ADDITIONS and len(data_inputs(reader)) == 2:
            read = found[-1][0].name if found else convolution.name
            others = [each for each in data_inputs(reader) if each.partition(":")[0] != read]
            if len(others) != 1 or (others[0] not in self._scaled_biases and self._shape(others[0]) != shape):
                break
            found.append((reader, others[0]))
            reader = self._only_reader(reader.name)
        if not found:
            return
        vector = found[0][1]
        for node, other in found[1:]:
            vector = new_binary(self._body.proto, f"{node.name}/bias", "AddV2", vector, other, dtype, shape)
        last = found[-1][0]
        gone = [node.name for node, _ in found[:-1]]
        self._become_bias(last, value, vector)
        self._body.remove(gone, dict.fromkeys(gone, value))

    def _become_bias(self, addition: node_def_pb2.NodeDef, value: Reference, vector: Reference) -> None:
        """Makes an addition a BiasAdd, which TensorFlow computes within a convolution in front of it."""
        controls = [each for each in addition.input if each.startswith("^")]
        addition.op = _BIAS
        addition.input[:] = [value, vector, *controls]
        # BiasAdd has this one name for channels last, whatever the number of axes.
        addition.attr["data_format"].s = b"NHWC"
        old, new = f"{addition.name}:z:0", f"{addition.name}:output:0"
        for node in self._body.nodes:
            node.input[:] = [new if each == old else each for each in node.input]
        for key, reference in list(self._body.proto.ret.items()):
            if reference == old:
                self._body.proto.ret[key] = new

    def _only_reader(self, name: str) -> node_def_pb2.NodeDef | None:
        """The one node that reads another, and reads it once; None if that is returned, or read otherwise."""
        reads = [node.name for node in self._body.nodes for each in data_inputs(node) if each.partition(":")[0] == name]
        returned = any(each.partition(":")[0] == name for each in self._body.proto.ret.values())
        return self._body.node(reads[0]) if len(reads) == 1 and not returned else None

    def _tensor(self, reference: Reference) -> Tensor | None:
        """What an argument, or a node's only output, is; None for a node that the function did not have before."""
        argument = self._body.argument(reference)
        if argument is not None:
            return self._call.arguments[argument]
        made = self._call.tensors.get(reference.partition(":")[0], ())
        return made[0] if len(made) == 1 else None

    def _shape(self, reference: Reference) -> Shape:
        tensor = self._tensor(reference)
        return None if tensor is None else self._cut.shape(tensor)


def _is_channels_last(node: node_def_pb2.NodeDef) -> bool:
    return attribute(node, "data_format") in _CHANNELS_LAST
