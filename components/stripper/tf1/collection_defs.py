"""The collections of a TensorFlow 1 MetaGraph: lists of nodes, variables and other protos stored with the graph."""

import re
from collections.abc import Callable, Iterator, MutableSequence
from typing import Any

from google.protobuf.message import Message
from tensorflow.core.framework import variable_pb2
from tensorflow.core.protobuf import control_flow_pb2, meta_graph_pb2, queue_runner_pb2
from tensorflow.python.framework import ops

from .graph import Graph, node_name

MASKS = "masks"
TABLE_INITIALIZERS = "table_initializer"
INIT_SIGNATURE = "__saved_model_init_op"
TRAIN_SIGNATURE = "__saved_model_train_op"

_INIT_OPS = ("saved_model_main_op", "legacy_init_op")
_ASSETS = "saved_model_assets"
_TRAIN_OP = "saved_model_train_op"
_SAVERS = "savers"
# The collections of a group end in its name.
_PRUNING_STATES = re.compile(r"(masks|thresholds|gradient_weights|old_weights|old_old_weights)(_.+)?", re.DOTALL)
_PRUNED = re.compile(r"(masked_weights|kernel)(_.+)?", re.DOTALL)


def nodes_of(meta_graph: meta_graph_pb2.MetaGraphDef, key: str) -> list[str]:
    """The names of the nodes in a collection of nodes; none if there is no such collection."""
    if key not in meta_graph.collection_def:
        return []
    return [node_name(each) for each in meta_graph.collection_def[key].node_list.value]


def init_ops(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """The nodes that run when the model is loaded, from the two places where TensorFlow keeps them."""
    found = [name for key in _INIT_OPS for name in nodes_of(meta_graph, key)]
    if INIT_SIGNATURE in meta_graph.signature_def:
        infos = meta_graph.signature_def[INIT_SIGNATURE].outputs.values()
        found.extend(name for info in infos for name in tensor_nodes(info))
    return found


def pruning_states(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """The collections of masks, thresholds, gradients and old weights; none if there are no masks."""
    keys = meta_graph.collection_def.keys()
    return [key for key in keys if _PRUNING_STATES.fullmatch(key)] if MASKS in keys else []


def variables_of(meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, list[variable_pb2.VariableDef]]:
    """The entries of each variable in the collections, by its node."""
    found: dict[str, list[variable_pb2.VariableDef]] = {}
    for key, collection in meta_graph.collection_def.items():
        if _proto_type(key) is variable_pb2.VariableDef:
            for each in collection.bytes_list.value:
                variable = variable_pb2.VariableDef.FromString(each)
                found.setdefault(node_name(variable.variable_name), []).append(variable)
    return found


def assets_of(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[meta_graph_pb2.AssetFileDef]:
    """The assets, from the two places where TensorFlow keeps them."""
    assets = list(meta_graph.asset_file_def)
    if _ASSETS in meta_graph.collection_def:
        for packed in meta_graph.collection_def[_ASSETS].any_list.value:
            asset = meta_graph_pb2.AssetFileDef()
            if packed.Unpack(asset) and asset not in assets:
                assets.append(asset)
    return assets


def forget_removed(meta_graph: meta_graph_pb2.MetaGraphDef, graph: Graph) -> None:
    """Removes the entries that name nodes which the graph lacks, and the collections of pruning.

    Args:
        meta_graph: Changed in place.
        graph: What is left of its graph.
    """
    keys = list(meta_graph.collection_def)
    pruned = MASKS in keys
    for key in keys:
        collection = meta_graph.collection_def[key]
        if key in (_TRAIN_OP, _SAVERS) or (pruned and (_PRUNING_STATES.fullmatch(key) or _PRUNED.fullmatch(key))):
            del meta_graph.collection_def[key]
            continue
        values = getattr(collection, collection.WhichOneof("kind") or "node_list").value
        before = len(values)
        if collection.HasField("node_list"):
            _keep(values, lambda value: node_name(value) in graph)
        elif collection.HasField("any_list"):
            _keep(values, lambda value: all(name in graph for name in _names_in_any(value)))
        elif collection.HasField("bytes_list") and (proto_type := _proto_type(key)) is not None:
            _keep(values, lambda value, kind=proto_type: all(name in graph for name in _names(kind.FromString(value))))
        if before and not values:
            del meta_graph.collection_def[key]


def _keep(values: MutableSequence, is_kept: Callable[[Any], bool]) -> None:
    for index in reversed(range(len(values))):
        if not is_kept(values[index]):
            del values[index]


def _proto_type(key: str) -> type[Message] | None:
    """The proto that a collection's bytes hold; None for a user's own bytes."""
    return ops.get_collection_proto_type(key)


def _names_in_any(packed: Message) -> Iterator[str]:
    asset, tensor = meta_graph_pb2.AssetFileDef(), meta_graph_pb2.TensorInfo()
    if packed.Unpack(asset):
        yield from tensor_nodes(asset.tensor_info)
    elif packed.Unpack(tensor):
        yield from tensor_nodes(tensor)


def tensor_nodes(info: meta_graph_pb2.TensorInfo) -> list[str]:
    """The names of the nodes that make a tensor, or the parts of a sparse or other composite one."""
    encoding = info.WhichOneof("encoding")
    if encoding == "name":
        return [node_name(info.name)]
    if encoding == "coo_sparse":
        sparse = info.coo_sparse
        return [
            node_name(each)
            for each in (sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name)
        ]
    return [name for part in info.composite_tensor.components for name in tensor_nodes(part)]


def _names(proto: Message) -> Iterator[str]:
    """The nodes that an entry of a collection needs to be read."""
    if isinstance(proto, variable_pb2.VariableDef):
        yield node_name(proto.variable_name)
    elif isinstance(proto, queue_runner_pb2.QueueRunnerDef):
        yield from map(node_name, (proto.queue_name, *proto.enqueue_op_name, proto.close_op_name, proto.cancel_op_name))
    elif isinstance(proto, (control_flow_pb2.CondContextDef, control_flow_pb2.WhileContextDef)):
        yield from _names_of_context(proto)


def _names_of_context(context: Message) -> Iterator[str]:
    values = context.values_def
    names = [context.pivot_name, *values.values, *values.external_values.values()]
    if isinstance(context, control_flow_pb2.WhileContextDef):
        names += [context.pivot_for_pred_name, context.pivot_for_body_name, context.maximum_iterations_name]
        names += [*context.loop_exit_names, *context.loop_enter_names]
    else:
        names.append(context.pred_name)
    yield from (node_name(each) for each in names if each)
    for nested in context.nested_contexts:
        yield from _names_of_context(getattr(nested, nested.WhichOneof("ctxt")))
