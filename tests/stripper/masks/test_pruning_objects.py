"""Which objects of a SavedModel are variables of pruning."""

from google.protobuf import text_format
from tensorflow.core.protobuf import meta_graph_pb2

from tfx_pruning.saved_model.object_graph import ObjectGraph
from tfx_pruning.stripper.masks.pruning_objects import PruningObjects

_NODES = """
    nodes { user_object {} children { local_name: "kernel" node_id: 1 } children { local_name: "named" node_id: 4 } }
    nodes { variable { name: "dense/kernel" } children { local_name: "pruning" node_id: 2 } }
    nodes { user_object {} children { local_name: "mask" node_id: 3 } children { local_name: "threshold" node_id: 5 } }
    nodes { variable { name: "anonymous" } }
    nodes { variable { name: "other/kernel/pruning/old_weight:0" } }
    nodes { variable { name: "anonymous" } }
"""


def test_variables_of_pruning_are_told_by_place_or_name():
    meta_graph = text_format.Parse(f"object_graph_def {{ {_NODES} }}", meta_graph_pb2.MetaGraphDef())
    assert PruningObjects.of(ObjectGraph(meta_graph)) == PruningObjects(frozenset({3, 4, 5}), frozenset({3}))
