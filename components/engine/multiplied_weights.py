"""multiplied_weights: which weights a model's forward pass multiplies activations by, as its trace shows."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from .forward_pass import input_specs
from .weight_state import Weight, tf_variable

# Operations that sum products.
_PRODUCTS = frozenset(
    ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "XlaDot", "XlaDotV2")
    + ("Conv", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2")
)
# Operations after which a weight is still a weight, if nothing but weights and constants comes in. A gathered row is
# none: it is what an embedding gives.
_VIEWS = frozenset(
    ("ReadVariableOp", "Identity", "IdentityN", "Cast", "Reshape", "Transpose", "ExpandDims", "Squeeze", "StopGradient")
    + ("Slice", "StridedSlice", "Split", "SplitV", "Unpack", "Pack", "ConcatV2", "Mul", "EnsureShape")
)
# Operations that call functions, and their first input that is an argument.
_CALLS = {"PartitionedCall": 0, "StatefulPartitionedCall": 0, "While": 0, "StatelessWhile": 0}
_CALLS |= {"If": 1, "StatelessIf": 1, "Case": 1, "StatelessCase": 1}


@dataclasses.dataclass(frozen=True)
class _Flow:
    """What a tensor is.

    Attributes:
        origins: Ids of the handles of the weights that it is a view of.
        active: Whether it depends on the model's inputs.
    """

    origins: frozenset[int] = frozenset()
    active: bool = False


def multiplied_weights(model: Any, weights: Iterable[Weight]) -> list[Weight]:
    """The weights among `weights` that meet activations in a matrix product or convolution, in order.

    Args:
        model: A built model of Keras 3 or tf_keras. It is traced, not run.
        weights: Some of its variables.

    Returns:
        The weights; none if the shapes of the model's inputs are not known, or it cannot be traced with them.
    """
    try:
        specs = _input_specs(model)
        if not specs:
            return []
        graph = tf.function(lambda *inputs: model(*inputs, training=False)).get_concrete_function(*specs).graph
        held = {inner.name: _Flow(frozenset([id(outer)])) for outer, inner in graph.captures}
        flows = {each.name: held.get(each.name, _Flow(active=True)) for each in graph.inputs}
        found = _multiplied(graph, flows)
    except Exception as error:  # a user's `call` may raise anything
        logging.info("The forward pass of %s was not traced: %s", getattr(model, "name", model), error)
        return []
    return [weight for weight in weights if not found.isdisjoint(_handles(tf_variable(weight)))]


def _handles(variable: tf.Variable) -> list[int]:
    """Ids of the handles of a variable, or of its replicas."""
    replicas = variable.values if isinstance(variable, tf.distribute.DistributedValues) else [variable]
    return [id(each.handle) for each in replicas]


def _input_specs(model: Any) -> list[Any]:
    """The specs of the arguments of a model's `call`; none if they are not known."""
    specs = input_specs(model)
    if specs is not None:
        return [specs]
    shapes = getattr(model, "_build_shapes_dict", None) or {}
    return [tf.TensorSpec(shape, model.compute_dtype) for shape in shapes.values()]


def _multiplied(graph: Any, flows: Mapping[str, _Flow]) -> set[int]:
    """The weights that meet activations in a product of a graph.

    Args:
        graph: A FuncGraph.
        flows: What its inputs are, by name.

    Returns:
        Ids of the weights' handles.
    """
    known = dict(flows)
    found: set[int] = set()
    for operation in graph.get_operations():  # each after what it takes
        given = [known.get(each.name, _Flow()) for each in operation.inputs]
        origins = frozenset(origin for each in given for origin in each.origins)
        active = any(each.active for each in given)
        if operation.type in _PRODUCTS and active:
            found |= origins
        elif operation.type in _CALLS:
            arguments = given[_CALLS[operation.type] :]
            # A loop's state may depend on the inputs only after its first round.
            arguments = [each if each.origins else _Flow(active=active) for each in arguments]
            for inner in _functions(operation):
                inputs = zip((each.name for each in inner.inputs), arguments, strict=False)
                found |= _multiplied(inner, dict(inputs))
        is_view = operation.type in _VIEWS and not active
        for output in operation.outputs:
            known.setdefault(output.name, _Flow(origins if is_view else frozenset(), active))
    return found


def _functions(operation: Any) -> list[Any]:
    """The graphs of the functions that an operation calls."""
    names = [
        name
        for attribute in operation.node_def.attr.values()
        for name in (attribute.func.name, *(each.name for each in attribute.list.func))
        if name
    ]
    functions = [operation.graph._get_function(name) for name in names]
    return [function.graph for function in functions if getattr(function, "graph", None) is not None]
