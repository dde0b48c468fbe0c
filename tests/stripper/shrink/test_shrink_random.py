"""Shrinking random small graphs: the answers stay, and a search of all cuts finds none that takes more."""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfx_pruning import strip_saved_model

_INPUTS, _UNITS, _OUTPUTS = 3, 3, 2
# None of them is flat, so that what does not vary is made of nothing that varies.
_ACTIVATIONS: dict[str, Callable] = {"tanh": tf.tanh, "sigmoid": tf.sigmoid, "none": tf.identity}


@dataclasses.dataclass(frozen=True)
class Graph:
    """Layers upon layers, some of them joined with the one before.

    Attributes:
        activations: Of the layers.
        joins: How each layer but the first is joined with what it was given: 'none', 'add' or 'mul'.
        kernels: Of the layers, and of the answer; zeros where weights are pruned.
        biases: Of the layers.
    """

    activations: tuple[str, ...]
    joins: tuple[str, ...]
    kernels: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]

    @property
    def groups(self) -> list[int]:
        """The group of the units of each layer; those of one index are tied where layers are joined."""
        found = [0]
        for join in self.joins:
            found.append(found[-1] if join != "none" else found[-1] + 1)
        return found

    def layers(self, x, kernels, biases) -> list:
        """The values that each layer makes, and the answer."""
        found = []
        for kernel, bias, name, join in zip(kernels, biases, self.activations, ("none", *self.joins), strict=False):
            y = _ACTIVATIONS[name](x @ kernel + bias)
            x = {"none": y, "add": x + y, "mul": x * y}[join] if join != "none" else y
            found.append(x)
        return [*found, x @ kernels[-1]]

    def save(self, path) -> None:
        """Saves the graph with variables k0, k1, ... and b0, b1, ..."""
        module = tf.Module()
        module.kernels = [tf.Variable(each) for each in self.kernels]
        module.biases = [tf.Variable(each) for each in self.biases]

        @tf.function(input_signature=[tf.TensorSpec([None, _INPUTS], name="x")])
        def serve(x):
            return {"y": self.layers(x, module.kernels, module.biases)[-1]}

        tf.saved_model.save(module, path, signatures={"serving_default": serve})


@st.composite
def graphs(draw) -> Graph:
    """Graphs of one to three layers."""
    depth = draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.3, 0.45, 0.6]))

    def kernel(rows, columns):
        values = random.choice([-1.0, 1.0], (rows, columns)) * random.uniform(0.3, 1.0, (rows, columns))
        return (values * (random.random((rows, columns)) < density)).astype(np.float32)

    def bias():
        return (random.choice([-1.0, 0.0, 1.0], _UNITS) * random.uniform(0.3, 1.0, _UNITS)).astype(np.float32)

    sizes = [_INPUTS, *[_UNITS] * depth]
    return Graph(
        tuple(draw(st.sampled_from(sorted(_ACTIVATIONS))) for _ in range(depth)),
        tuple(draw(st.sampled_from(["none", "add", "mul"])) for _ in range(depth - 1)),
        (*itertools.starmap(kernel, itertools.pairwise(sizes)), kernel(_UNITS, _OUTPUTS)),
        tuple(bias() for _ in range(depth)),
    )


def _most_that_can_go(graph: Graph, values: list[np.ndarray]) -> int:
    """The most units, of one layer of each group, that can go; one of each group must stay."""
    groups = graph.groups
    units = [(group, index) for group in sorted(set(groups)) for index in range(_UNITS)]
    varies = [np.ptp(value, axis=0) > 1e-6 for value in values[:-1]]

    def can_go(gone: set[tuple[int, int]]) -> bool:
        for layer, group in enumerate(groups):
            # What reads a layer are the columns of the next kernel, which are units but of the answer.
            into = groups[layer + 1] if layer + 1 < len(groups) else None
            columns = [at for at in range(graph.kernels[layer + 1].shape[1]) if (into, at) not in gone]
            rows = [at for at in range(_UNITS) if (group, at) in gone and varies[layer][at]]
            if graph.kernels[layer + 1][np.ix_(rows, columns)].any():
                return False
        return True

    most = 0
    for count in range(len(units) + 1):
        for gone in itertools.combinations(units, count):
            left = {group for group, index in units if (group, index) not in gone}
            if left == set(groups) and can_go(set(gone)):
                most = count
    return most


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graphs())
def test_shrink_takes_all_that_can_go(tmp_path_factory, graph):
    folder = tmp_path_factory.mktemp("random")
    graph.save(str(folder / "model"))
    x = np.random.default_rng(5).normal(size=(64, _INPUTS)).astype(np.float32)
    values = [value.numpy() for value in graph.layers(tf.constant(x), graph.kernels, graph.biases)]
    if not (np.ptp(values[-1], axis=0) > 1e-6).any():
        with pytest.raises(ValueError, match="depends on the input any more"):
            strip_saved_model(folder / "model", folder / "shrunk", shrink=True)
        return
    report = strip_saved_model(folder / "model", folder / "shrunk", shrink=True)
    answer = tf.saved_model.load(str(folder / "shrunk")).signatures["serving_default"](x=tf.constant(x))["y"]
    np.testing.assert_allclose(answer, values[-1], rtol=1e-5, atol=1e-5)
    shapes = {each.key: each.shape_after for each in report.shrink.variables}
    left = [shapes.get(f"biases/{layer}", (_UNITS,))[0] for layer in range(len(graph.groups))]
    by_group = dict(zip(graph.groups, left, strict=True))
    gone = sum(_UNITS - each for each in by_group.values())
    assert gone == _most_that_can_go(graph, values)
