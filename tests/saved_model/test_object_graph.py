"""ObjectGraph on object graphs that fit on a page."""

import pytest
from google.protobuf import text_format
from tensorflow.core.protobuf import meta_graph_pb2

from tfx_pruning.saved_model.object_graph import ObjectGraph


def _graph(text):
    return ObjectGraph(text_format.Parse(f"object_graph_def {{ {text} }}", meta_graph_pb2.MetaGraphDef()))


def _node(kind="user_object {}", slots=(), **children):
    links = " ".join(f'children {{ local_name: "{name}" node_id: {node} }}' for name, node in children.items())
    slot_links = " ".join(
        f'slot_variables {{ original_variable_node_id: {variable} slot_name: "{name}" slot_variable_node_id: {node} }}'
        for variable, name, node in slots
    )
    return f"nodes {{ {kind} {links} {slot_links} }}"


def _variable(name, **children):
    return _node(f'variable {{ name: "{name}" }}', **children)


def _function(name):
    return _node(f'bare_concrete_function {{ concrete_function_name: "{name}" }}')


def _captures(function, *nodes):
    inputs = " ".join(f"bound_inputs: {node}" for node in nodes)
    return f'concrete_functions {{ key: "{function}" value {{ {inputs} }} }}'


# A weight with a mask; an optimizer that stands nearer to the root than the layer, with a slot; one signature.
_TRAINED = " ".join(
    [
        _node(optimizer=1, net=2, signatures=3),  # 0
        _node(slots=[(6, "m", 8)], step=4, weights=5),  # 1
        _node(layer=7),  # 2
        _node("user_object { identifier: 'signature_map' }", serve=9),  # 3
        _variable("iteration"),  # 4
        _node("user_object { identifier: 'trackable_list_wrapper' }", first=6),  # 5
        _variable("dense/kernel", pruning=10),  # 6
        _node(kernel=6),  # 7
        _variable("dense/kernel/m"),  # 8
        _function("serve_1"),  # 9
        _node(mask=11),  # 10
        _variable("anonymous"),  # 11
        _captures("serve_1", 6),
    ]
)


def test_object_graph_lists_signatures_and_variables():
    graph = _graph(_TRAINED)
    assert graph.signatures == {"serve": 9}
    assert graph.variables == (4, 6, 8, 11)


def test_object_graph_names_variables_as_their_checkpoint_does():
    graph = _graph(_TRAINED)
    assert [graph.key(node) for node in graph.variables] == [
        "optimizer/step",
        "optimizer/weights/first",
        "optimizer/weights/first/.OPTIMIZER_SLOT/optimizer/m",
        "optimizer/weights/first/pruning/mask",
    ]


def test_object_graph_keeps_what_signatures_reach_and_places_it_around_optimizers():
    graph = _graph(_TRAINED)
    kept = graph.kept
    assert kept == {9, 6}
    assert graph.places(kept) == {6: ("net", "layer", "kernel")}


def test_object_graph_places_a_weight_in_its_optimizer_if_it_stands_nowhere_else():
    text = " ".join(
        [
            _node(optimizer=1, signatures=3),
            _node(step=2, weight=5),
            _variable("iteration"),
            _node(serve=4),
            _function("serve_1"),
            _variable("weight"),
            _captures("serve_1", 5),
        ]
    )
    graph = _graph(text)
    assert graph.places(graph.kept) == {5: ("optimizer", "weight")}


def test_object_graph_follows_the_functions_of_a_table_to_its_asset():
    text = " ".join(
        [
            _node(table=1, signatures=2, labels=6),  # 0
            _node("resource {}", _initialize=3, _initializer=4),  # 1
            _node(serve=5),  # 2
            _function("fill_1"),  # 3
            _node(_filename=7),  # 4
            _function("serve_1"),  # 5
            _node("asset {}"),  # 6
            _node("asset {}"),  # 7
            _captures("serve_1", 1),
            _captures("fill_1", 7, 1),
        ]
    )
    graph = _graph(text)
    assert graph.reached([5]) == {5, 1, 3, 4, 7}
    assert graph.kept == {5, 1, 3, 4, 7, 6}
    assert graph.places(graph.kept) == {1: ("table",), 6: ("labels",)}


def test_object_graph_escapes_names_as_checkpoints_do():
    text = 'nodes { user_object {} children { local_name: "a/b.c" node_id: 1 } } ' + _variable("v")
    assert _graph(text).key(1) == "a.Sb..c"


def test_object_graph_refuses_a_variable_that_only_a_function_holds():
    text = " ".join(
        [
            _node(signatures=1),
            _node(serve=2),
            _node('bare_concrete_function { concrete_function_name: "serve_1" }', capture_0=3),
            _variable("lost"),
            _captures("serve_1", 3),
        ]
    )
    graph = _graph(text)
    with pytest.raises(ValueError, match=r"use \['signatures/serve/capture_0'\], which no object of the model holds"):
        graph.places(graph.kept)
