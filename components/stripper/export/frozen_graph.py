"""The format frozen_graph: a signature as a GraphDef whose variables are constants."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.python.framework import convert_to_constants

from ..check.signature_inputs import Inputs
from .answer_difference import Answers
from .exported_signature import ExportedSignature, arrays
from .exporter import TWO_GIBIBYTES, AnsweringExporter, ExportCheck

_OUTPUT_SUFFIX = "_output"


class FrozenGraphExporter(AnsweringExporter):
    """Writes a GraphDef with constants for variables, which must answer bit for bit as the model."""

    file = "frozen_graph.pb"
    limit_bytes = TWO_GIBIBYTES

    def content(self, model: ExportedSignature) -> bytes:
        """Freezes the signature."""
        return freeze(model.function, model.signature_name).SerializeToString(deterministic=True)

    def runner(self, content: bytes, model: ExportedSignature) -> Callable[[Inputs], Answers]:
        """Imports the graph."""
        function = model.function
        inputs = list(function.structured_input_signature[1])
        return FrozenGraph(graph_pb2.GraphDef.FromString(content), inputs, list(function.structured_outputs))

    def check(self, content: bytes, model: ExportedSignature) -> ExportCheck:
        """Compares the graph's answers with the model's; both run as they are written."""
        with graph_as_written():
            return super().check(content, model)


FROZEN_GRAPH = FrozenGraphExporter()


def freeze(signature: Any, name: str) -> graph_pb2.GraphDef:
    """Turns a signature's variables into constants.

    Args:
        signature: As `tf.saved_model.load(path).signatures` holds it.
        name: Its name, for errors.

    Returns:
        A GraphDef. Its placeholders have the names of the signature's inputs, and the nodes that give the outputs have
        the names of the outputs, followed by '_output' where an input has that name.

    Raises:
        ValueError: The signature reads a lookup table or another resource that no GraphDef holds.
    """
    specs = signature.structured_input_signature[1]
    frozen = convert_to_constants.convert_variables_to_constants_v2(signature, lower_control_flow=False)
    graph_def = frozen.graph.as_graph_def()
    if len(frozen.inputs) > len(specs):
        kinds = _resource_operations(graph_def)
        raise ValueError(
            f"The signature {name!r} cannot be a frozen graph: it uses what a GraphDef cannot hold, such as lookup "
            f"tables ({', '.join(kinds)}). Choose a signature without them, such as one that takes transformed "
            "features, with export_signature; or export no frozen graph."
        )
    _rename(graph_def, {tensor.op.name: key for key, tensor in zip(sorted(specs), frozen.inputs, strict=True)})
    keys = sorted(signature.structured_outputs)
    for key, tensor in zip(keys, frozen.outputs, strict=True):
        source = next((given for given, each in zip(sorted(specs), frozen.inputs, strict=True) if each is tensor), None)
        _add_output(graph_def, output_node(key, specs), source or tensor.name, tensor.dtype)
    return graph_def


def output_node(output: str, inputs: Mapping[str, Any]) -> str:
    """Name of the node that gives an output, in the frozen graph of a signature with these inputs."""
    return f"{output}{_OUTPUT_SUFFIX}" if output in inputs else output


class FrozenGraph:
    """A frozen graph that can be called."""

    def __init__(self, graph_def: graph_pb2.GraphDef, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Imports a graph.

        Args:
            graph_def: As `freeze` gives it.
            inputs: Names of the signature's inputs.
            outputs: Names of its outputs.
        """
        self._outputs = list(outputs)
        imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
        self._inputs = list(inputs)
        self._function = imported.prune(
            [f"{name}:0" for name in self._inputs],
            [f"{output_node(name, dict.fromkeys(inputs))}:0" for name in self._outputs],
        )

    def __call__(self, inputs: Inputs) -> Answers:
        """The outputs by name."""
        answers = self._function(*(inputs[name] for name in self._inputs))
        return arrays(dict(zip(self._outputs, answers, strict=True)))


@contextlib.contextmanager
def graph_as_written() -> Iterator[None]:
    """Makes TensorFlow run functions as they are written.

    Otherwise it folds constants first, for example a scale that follows a convolution into its kernel. It can do so
    with the constants of a graph but not with the variables of a SavedModel, and the last bits of answers differ.
    """
    option = "disable_meta_optimizer"
    before = tf.config.optimizer.get_experimental_options().get(option, False)
    tf.config.optimizer.set_experimental_options({option: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({option: before})


def _resource_operations(graph_def: graph_pb2.GraphDef) -> list[str]:
    """The operations on lookup tables, in all functions; without one, those that no constant can replace."""
    functions = [graph_def.node, *(each.node_def for each in graph_def.library.function)]
    operations = sorted({node.op for nodes in functions for node in nodes})
    return [each for each in operations if "Table" in each] or [each for each in operations if "Resource" in each]


def _rename(graph_def: graph_pb2.GraphDef, names: Mapping[str, str]) -> None:
    """Renames nodes, and gives way to their new names: another node of such a name gets a free one."""
    names = {old: new for old, new in names.items() if old != new}
    taken = {node.name for node in graph_def.node}
    for new in set(names.values()) & (taken - names.keys()):
        names[new] = _free(f"{new}_inner", taken)
    for node in graph_def.node:
        node.name = names.get(node.name, node.name)
        for index, given in enumerate(node.input):
            control, bare = ("^", given[1:]) if given.startswith("^") else ("", given)
            name, colon, output = bare.partition(":")
            node.input[index] = f"{control}{names.get(name, name)}{colon}{output}"


def _add_output(graph_def: graph_pb2.GraphDef, name: str, tensor: str, dtype: tf.DType) -> None:
    """Adds an Identity node of this name for a tensor; a node that is called so already gets another name."""
    taken = {node.name for node in graph_def.node}
    if name in taken:
        free = _free(f"{name}_inner", taken)
        _rename(graph_def, {name: free})
        if tensor.partition(":")[0] == name:
            tensor = free + tensor[len(name) :]
    node = graph_def.node.add(name=name, op="Identity", input=[tensor.removesuffix(":0")])
    node.attr["T"].type = dtype.as_datatype_enum


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
