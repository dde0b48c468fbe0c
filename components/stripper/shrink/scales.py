"""Scales: multiplications by channel behind convolutions, which go into the kernels."""

import collections
import math
from collections.abc import Iterator

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
_ADDITIONS = ("Add", "AddV2")
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
    for convolution in [node for node in body.nodes if node.op in _CONVOLUTIONS]:
        folder.fold(convolution)
    folder.remove_folded()
    return folder.folded


class _ScaleFolder:
    def __init__(self, body: FunctionBody, call: Call, cut: Cut) -> None:
        self.folded = 0
        self._body, self._call, self._cut = body, call, cut
        self._readers: dict[str, list[node_def_pb2.NodeDef]] = collections.defaultdict(list)
        for node in body.nodes:
            for each in data_inputs(node):
                self._readers[each.partition(":")[0]].append(node)
        self._returned = {each.partition(":")[0] for each in body.proto.ret.values()}
        self._substitutes: dict[str, Reference] = {}
        # By convolution: the kernel that it had.
        self._kernels: dict[str, Reference] = {}

    def fold(self, convolution: node_def_pb2.NodeDef) -> None:
        """Folds the multiplications by channel behind a convolution, and joins the vectors that are added there."""
        channels = self._channels(convolution)
        if channels is None or not _is_channels_last(convolution):
            return
        chain = list(self._chain(convolution, channels))
        scales = [factor for node, factor in chain if node.op == "Mul"]
        if not scales:
            return
        self.folded += len(scales)
        dtype, bias = convolution.attr["T"].type, None
        for node, vector in chain:
            if node.op == "Mul":
                self._scale_kernel(convolution, vector, node.name)
                bias = bias and self._binary(f"{node.name}/bias", "Mul", bias, vector, dtype, channels)
            else:
                bias = (
                    vector
                    if bias is None
                    else self._binary(f"{node.name}/bias", "AddV2", bias, vector, dtype, channels)
                )
        made, last = f"{convolution.name}:output:0", chain[-1][0]
        gone = [node.name for node, _ in chain if bias is None or node is not last]
        self._substitutes.update(dict.fromkeys(gone, made))
        if bias is not None:
            self._become_bias(last, made, bias)

    def remove_folded(self) -> None:
        """Removes all that convolutions compute now."""
        self._body.remove(self._substitutes.keys(), self._substitutes)

    def _chain(
        self, convolution: node_def_pb2.NodeDef, channels: int
    ) -> Iterator[tuple[node_def_pb2.NodeDef, Reference]]:
        """The additions and multiplications by channel behind a convolution that nothing reads between, and by what."""
        name = convolution.name
        while (reader := self._only_reader(name)) is not None:
            others = [each for each in data_inputs(reader) if each.partition(":")[0] != name]
            if len(others) != 1:
                return
            if reader.op == "Mul":
                if not self._is_scale(others[0], convolution):
                    return
            elif not _is_addition(reader) or self._shape(others[0]) != (channels,):
                return
            yield reader, others[0]
            name = reader.name

    def _channels(self, convolution: node_def_pb2.NodeDef) -> int | None:
        made = self._shape(f"{convolution.name}:output:0")
        return made[-1] if made else None

    def _is_scale(self, factor: Reference, convolution: node_def_pb2.NodeDef) -> bool:
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

    def _scale_kernel(self, convolution: node_def_pb2.NodeDef, factor: Reference, name: str) -> None:
        kernel = data_inputs(convolution)[1]
        shape, dtype = self._shape(self._kernels.setdefault(convolution.name, kernel)), convolution.attr["T"].type
        if convolution.op == _DEPTHWISE:
            # A kernel's last two axes are the channels of what goes in, and how many are made of each.
            factor = self._reshaped(factor, shape[-2:], dtype, f"{name}/of_kernel")
        convolution.input[1] = new_binary(self._body.proto, f"{name}/kernel", "Mul", kernel, factor, dtype, shape)

    def _binary(
        self, name: str, operation: str, bias: Reference, vector: Reference, dtype: int, channels: int
    ) -> Reference:
        """Arithmetic of a bias and a vector, which is the one that may have further axes."""
        if self._shape(vector) != (channels,):
            vector = self._reshaped(vector, (channels,), dtype, f"{name}_vector")
        return new_binary(self._body.proto, name, operation, bias, vector, dtype, (channels,))

    def _reshaped(self, vector: Reference, shape: Shape, dtype: int, name: str) -> Reference:
        sizes = new_constant(self._body.proto, f"{name}_sizes", np.array(shape, np.int32))
        node = new_node(self._body.proto, name, "Reshape", [vector, sizes], shape)
        node.attr["T"].type = dtype
        node.attr["Tshape"].type = tf.int32.as_datatype_enum
        return f"{node.name}:output:0"

    def _become_bias(self, node: node_def_pb2.NodeDef, value: Reference, vector: Reference) -> None:
        """Makes a node a BiasAdd, which TensorFlow computes within a convolution in front of it."""
        controls = [each for each in node.input if each.startswith("^")]
        node.op = _BIAS
        node.input[:] = [value, vector, *controls]
        # BiasAdd has this one name for channels last, whatever the number of axes.
        node.attr["data_format"].s = b"NHWC"
        old, new = f"{node.name}:z:0", f"{node.name}:output:0"
        for reader in self._readers[node.name]:
            reader.input[:] = [new if each == old else each for each in reader.input]
        for key, reference in list(self._body.proto.ret.items()):
            if reference == old:
                self._body.proto.ret[key] = new

    def _only_reader(self, name: str) -> node_def_pb2.NodeDef | None:
        """The one node that reads another, and reads it once; None if that is returned, or read otherwise."""
        found = self._readers[name]
        return found[0] if len(found) == 1 and name not in self._returned else None

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


def _is_addition(node: node_def_pb2.NodeDef) -> bool:
    """Whether a vector that a node adds is one of numbers along the last axis."""
    return node.op in _ADDITIONS or (node.op == _BIAS and _is_channels_last(node))


def _is_channels_last(node: node_def_pb2.NodeDef) -> bool:
    return attribute(node, "data_format") in _CHANNELS_LAST
