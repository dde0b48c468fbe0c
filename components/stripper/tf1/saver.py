"""Saver: from which entry of a checkpoint a TensorFlow 1 graph restores each variable."""

import dataclasses
from collections.abc import Collection, Iterable

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import saver_pb2

from ...saved_model.checkpoint import Checkpoint
from .graph import Graph, data_inputs, node_name

ASSIGN_OPS = ("Assign", "AssignVariableOp")

_SAVE_OP = "SaveV2"
_RESTORE_OP = "RestoreV2"
_STACK_OP = "Pack"
_TENSOR_NAMES, _SLICES, _FIRST_TENSOR = 1, 2, 3
_OUTPUT_SHAPES = "_output_shapes"
_PASSING_OPS = ("Identity", "Reshape", "Cast")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A tensor of a checkpoint, or a slice of one.

    Attributes:
        key: The tensor's name.
        slice_spec: The slice as TensorFlow spells it, such as '6 4 0,3:-'; '' for the whole tensor.
    """

    key: str
    slice_spec: str

    def value(self, checkpoint: Checkpoint) -> np.ndarray:
        """The value in a checkpoint.

        Raises:
            ValueError: There is no such tensor, or the files are damaged.
        """
        return checkpoint.value(self.key)[self.slices()]

    def slices(self) -> tuple[slice, ...]:
        """The part of the whole tensor, as an index of a numpy array."""
        extents = self.slice_spec.rpartition(" ")[2]
        if not extents:
            return (...,)
        parts = [extent.split(",") for extent in extents.split(":")]
        return tuple(
            slice(None) if part == ["-"] else slice(int(part[0]), int(part[0]) + int(part[1])) for part in parts
        )


class Saver:
    """The part of a graph that saves and restores, and the edits that keep it valid.

    Attributes:
        entries: What each variable is restored from, by the variable's node.
        other_keys: Keys of everything else that is restored, such as the contents of tables.
    """

    def __init__(self, graph: Graph, saver_def: saver_pb2.SaverDef) -> None:
        """Finds the saver in `graph`.

        Raises:
            ValueError: It is of a kind that TensorFlow 1.0 and later do not make.
        """
        self._graph = graph
        self._proto = saver_def
        self.entries: dict[str, Entry] = {}
        self.other_keys: set[str] = set()
        if not self.exists:
            return
        if not self._nodes(_RESTORE_OP):
            raise ValueError(
                "its saver is not one of TensorFlow 1, or of its checkpoint format V1; save the model again with "
                "TensorFlow 1.0 or later"
            )
        restored = graph.reached([saver_def.restore_op_name])
        bound: set[Entry] = set()
        for name in sorted(restored):
            node = graph[name]
            if node.op in ASSIGN_OPS and (entry := self._restored_entry(node.input[1])) is not None:
                variable = graph.variable(node.input[0])
                if variable is not None:
                    self.entries[variable] = entry
                    bound.add(entry)
        for node in self._nodes(_RESTORE_OP):
            self.other_keys.update(entry.key for entry in self._listed(node) if entry not in bound)

    @property
    def exists(self) -> bool:
        """Whether the graph has a saver."""
        return bool(self._proto.restore_op_name)

    @property
    def roots(self) -> list[str]:
        """The nodes that saving and restoring start from."""
        if not self.exists:
            return []
        tensors = (self._proto.filename_tensor_name, self._proto.save_tensor_name)
        return [*map(node_name, tensors), self._proto.restore_op_name]

    def barriers(self, kept: Collection[str]) -> set[str]:
        """The nodes that restore variables other than those in `kept`."""
        restored = self._graph.reached([self._proto.restore_op_name] if self.exists else [])
        return assignments_to_others(self._graph, restored, kept)

    def forget(self, kept: Collection[str]) -> None:
        """Stops saving and restoring variables that are not in `kept`; if none is left, the saver is removed.

        The graph may have nodes afterwards that nothing needs.
        """
        if not self.exists:
            return
        gone = self.barriers(kept)
        self._graph.keep([name for name in self._graph.names if name not in gone])
        for node in self._nodes(_SAVE_OP):
            self._drop_saved(node, kept)
        readers = self._graph.reached(self.roots)
        for node in self._nodes(_RESTORE_OP):
            self._drop_restored(node, readers)
        if not self._nodes(_RESTORE_OP) or not self._nodes(_SAVE_OP):
            self._proto.Clear()

    def _nodes(self, op: str) -> list[node_def_pb2.NodeDef]:
        return [self._graph[name] for name in sorted(self._graph.reached(self.roots)) if self._graph[name].op == op]

    def _restored_entry(self, reference: str) -> Entry | None:
        """The entry of the checkpoint that a restored value comes from."""
        node = self._graph.maker(reference)
        while node is not None and node.op in _PASSING_OPS:
            reference = node.input[0]
            node = self._graph.maker(reference)
        if node is None or node.op != _RESTORE_OP:
            return None
        return self._listed(node)[_output(reference)]

    def _listed(self, node: node_def_pb2.NodeDef) -> list[Entry]:
        keys, specs = (self._strings(node.input[index]) for index in (_TENSOR_NAMES, _SLICES))
        return [Entry(key, spec) for key, spec in zip(keys, specs, strict=True)]

    def _strings(self, reference: str) -> list[str]:
        constant = self._graph.source(reference)
        return [each.decode() for each in tf.make_ndarray(constant.attr["value"].tensor)]

    def _drop_saved(self, node: node_def_pb2.NodeDef, kept: Collection[str]) -> None:
        tensors = data_inputs(node)[_FIRST_TENSOR:]
        variables = map(self._graph.variable, tensors)
        staying = [index for index, variable in enumerate(variables) if variable is None or variable in kept]
        if staying:
            controls = [each for each in node.input if each.startswith("^")]
            self._list_again(node, [self._listed(node)[index] for index in staying])
            node.input[:] = [*node.input[:_FIRST_TENSOR], *(tensors[index] for index in staying), *controls]
            node.attr["dtypes"].list.type[:] = [node.attr["dtypes"].list.type[index] for index in staying]
            return
        # One file of several: its name is removed from the list of those that are merged.
        for name in list(self._graph.names):
            stack = self._graph[name]
            if stack.op == _STACK_OP and node.input[0] in stack.input:
                stack.input.remove(node.input[0])
                stack.attr["N"].i -= 1
        self._graph.keep([name for name in self._graph.names if name != node.name])

    def _drop_restored(self, node: node_def_pb2.NodeDef, readers: Iterable[str]) -> None:
        read = sorted(
            {
                _output(reference)
                for name in readers
                for reference in data_inputs(self._graph[name])
                if node_name(reference) == node.name
            }
        )
        self._list_again(node, [self._listed(node)[index] for index in read])
        node.attr["dtypes"].list.type[:] = [node.attr["dtypes"].list.type[index] for index in read]
        node.attr.pop(_OUTPUT_SHAPES, None)
        moved = {_reference(node.name, old): _reference(node.name, new) for new, old in enumerate(read)}
        for name in readers:
            reader = self._graph[name]
            reader.input[:] = [moved.get(each, each) for each in reader.input]

    def _list_again(self, node: node_def_pb2.NodeDef, entries: list[Entry]) -> None:
        """Gives a node lists of its own that name these entries."""
        lists = {_TENSOR_NAMES: [each.key for each in entries], _SLICES: [each.slice_spec for each in entries]}
        for index, strings in lists.items():
            constant = node_def_pb2.NodeDef()
            constant.CopyFrom(self._graph.source(node.input[index]))
            # Another node may read the old list.
            constant.name = self._graph.unused(constant.name)
            constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(strings, tf.string, [len(strings)]))
            constant.attr.pop(_OUTPUT_SHAPES, None)
            node.input[index] = self._graph.add(constant).name


def assignments_to_others(graph: Graph, names: Iterable[str], kept: Collection[str]) -> set[str]:
    """Those of some nodes that assign to a variable that is not in `kept`."""
    assignments = {name: graph.variable(graph[name].input[0]) for name in names if graph[name].op in ASSIGN_OPS}
    return {name for name, variable in assignments.items() if variable is not None and variable not in kept}


def _output(reference: str) -> int:
    return int(reference.partition(":")[2] or 0)


def _reference(name: str, output: int) -> str:
    return f"{name}:{output}" if output else name
