"""Shrinking random graphs that put units in ever other shapes: the answers of all signatures stay."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfx_pruning import strip_saved_model

_INPUTS, _OUTPUTS, _MOST_UNITS = 5, 2, 48
_LETTERS = "cdefgh"

Shape = tuple[int, ...]
Weights = dict[str, tf.Variable]
# What a step makes of the weights and of all values before, the last of which it goes on with.
Step = Callable[[Weights, Sequence[tf.Tensor]], tf.Tensor]


@tf.function(jit_compile=True)
def _grouped(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(x, kernel, 1, "SAME")


@dataclasses.dataclass(frozen=True)
class Graph:
    """Steps upon steps, and signatures that read some of the values, each in a shape of its own.

    Attributes:
        weights: The variables, by name.
        steps: What they compute.
        names: Of the steps, to tell a graph that fails.
        reads: By signature: which value it reads, in which shape, and by which weight.
    """

    weights: dict[str, np.ndarray]
    steps: tuple[Step, ...]
    names: tuple[str, ...]
    reads: dict[str, tuple[int, Shape, str]]

    def __repr__(self) -> str:
        """The steps and the signatures."""
        return f"Graph({', '.join(self.names)}; {self.reads})"

    def answer(self, weights: Weights, x: tf.Tensor, signature: str) -> tf.Tensor:
        """What a signature answers."""
        at, shape, name = self.reads[signature]
        values = [x]
        for step in self.steps[: at + 1]:
            values.append(step(weights, values))
        read = tf.reshape(values[-1], [-1, *shape])
        axes = _LETTERS[: len(shape)]
        return tf.einsum(f"b{axes},{axes}o->bo", read, weights[name])

    def save(self, path: str) -> None:
        """Saves the graph with all its signatures, from 'x' to 'y'."""
        module = tf.Module()
        module.weights = {name: tf.Variable(value) for name, value in self.weights.items()}

        def signature(name: str) -> Callable:
            specification = tf.TensorSpec([None, _INPUTS], name="x")
            return tf.function(lambda x: {"y": self.answer(module.weights, x, name)}, input_signature=[specification])

        tf.saved_model.save(module, path, signatures={name: signature(name) for name in self.reads})


class _Builder:
    """Adds steps, and sees to it that their shapes fit."""

    def __init__(self, draw: Callable, seed: int) -> None:
        self.draw = draw
        self.random = np.random.default_rng(seed)
        self.weights: dict[str, np.ndarray] = {}
        self.steps: list[Step] = []
        self.names: list[str] = []
        self.shapes: list[Shape] = []

    @property
    def shape(self) -> Shape:
        return self.shapes[-1]

    def choice(self, options: Sequence) -> object:
        return self.draw(st.sampled_from(options))

    def add(self, name: str, shape: Sequence[int], step: Step) -> None:
        self.names.append(f"{name} {tuple(shape)}")
        self.shapes.append(tuple(shape))
        self.steps.append(step)

    def weight(self, *shape: int) -> str:
        """A new weight, of which indices of each axis are 0: some, a run of them, or each so-and-so-many-th."""
        value = self.random.choice([-1.0, 1.0], shape) * self.random.uniform(0.3, 1.0, shape)
        for axis, size in enumerate(shape):
            each = int(self.random.integers(1, size + 1))
            index = np.arange(size)
            rest = int(self.random.integers(max(1, size // each)))
            dead = (
                self.random.random(size) < 0.3,
                index // each == rest,
                index % each == rest % each,
                np.zeros(size, bool),
            )[self.random.integers(4)]
            if not dead.all():
                value[(slice(None),) * axis + (dead,)] = 0
        name = f"w{len(self.weights)}"
        self.weights[name] = value.astype(np.float32)
        return name

    def sizes(self, total: int) -> Shape:
        """A shape of a number of elements."""
        found = []
        while total > 1 and len(found) < 3:
            found.append(self.choice([size for size in range(1, total + 1) if total % size == 0]))
            total //= found[-1]
        return (*found, total) if total > 1 or not found else tuple(found)

    def width(self, rest: int, multiple: int = 1) -> int:
        """The size of a new axis, beside others."""
        fitting = [size for size in (2, 3, 4, 6, 8, 12) if size % multiple == 0 and size * rest <= _MOST_UNITS]
        return self.choice(fitting) if fitting else multiple

    # What follows are the steps.

    def first(self) -> None:
        width = self.choice([8, 12, 24])
        name = self.weight(_INPUTS, width)
        self.add("first", (width,), lambda w, v: tf.tanh(v[-1] @ w[name]))

    def reshape(self) -> None:
        shape, told = self.sizes(math.prod(self.shape)), self.draw(st.booleans())
        self.add("reshape", shape, lambda w, v: tf.reshape(v[-1], [tf.shape(v[-1])[0] if told else -1, *shape]))

    def transpose(self) -> None:
        order = self.draw(st.permutations(range(len(self.shape))))
        shape = [self.shape[axis] for axis in order]
        self.add("transpose", shape, lambda w, v: tf.transpose(v[-1], [0, *(axis + 1 for axis in order)]))

    def activation(self) -> None:
        function = self.choice([tf.sigmoid, tf.nn.relu, tf.sin])
        self.add("activation", self.shape, lambda w, v: function(v[-1]))

    def vectors(self) -> None:
        axis = self.draw(st.integers(0, len(self.shape) - 1))
        spread = [size if at == axis else 1 for at, size in enumerate(self.shape)]
        scale, offset = (self.weight(self.shape[axis]) for _ in range(2))
        self.add(
            f"vectors of axis {axis}",
            self.shape,
            lambda w, v: v[-1] * tf.reshape(w[scale], spread) + tf.reshape(w[offset], spread),
        )

    def product(self) -> None:
        """A matrix, or one for each index of other axes, some of which are summed over too."""
        axes = _LETTERS[: len(self.shape)]
        summed = "".join(axis for axis in axes[:-1] if self.draw(st.integers(0, 3)) == 0) + axes[-1]
        kept = "".join(axis for axis in axes if axis not in summed)
        shared = "".join(axis for axis in kept if self.draw(st.booleans()))
        size = dict(zip(axes, self.shape, strict=True))
        width = self.width(math.prod(size[axis] for axis in kept))
        name = self.weight(*(size[axis] for axis in shared + summed), width)
        equation = f"b{axes},{shared}{summed}o->b{kept}o"
        self.add(
            equation, [*(size[axis] for axis in kept), width], lambda w, v: tf.tanh(tf.einsum(equation, v[-1], w[name]))
        )

    def attention(self) -> None:
        """Over two or three places, with heads of their own or of units that there are."""
        total = math.prod(self.shape)
        places = [each for each in (2, 3) if total % each == 0 and total > each]
        if not places:
            return
        length = self.choice(places)
        width = total // length
        heads = self.choice([each for each in (2, 3, 4) if width % each == 0] or [1])
        split = (length, heads, width // heads)
        names = [self.weight(width, width) if self.draw(st.booleans()) else None for _ in range(3)]

        def step(w: Weights, v: Sequence[tf.Tensor]) -> tf.Tensor:
            x = tf.reshape(v[-1], [-1, length, width])
            query, key, value = (
                tf.reshape(x if name is None else tf.einsum("btc,cd->btd", x, w[name]), [-1, *split]) for name in names
            )
            scores = tf.nn.softmax(tf.einsum("bthk,bshk->bhts", query, key))
            return tf.reshape(tf.einsum("bhts,bshk->bthk", scores, value), [-1, length, width])

        self.add(f"attention of {heads}", (length, width), step)

    def grouped(self) -> None:
        channels, places = self.shape[-1], math.prod(self.shape[:-1])
        groups = [each for each in range(2, channels + 1) if channels % each == 0]
        if not groups:
            return
        number = self.choice(groups)
        made = self.width(places, number)
        shape, name = (*self.shape[:-1], made), self.weight(1, self.choice([1, 3]), channels // number, made)

        def step(w: Weights, v: Sequence[tf.Tensor]) -> tf.Tensor:
            image = tf.reshape(v[-1], [-1, 1, places, channels])
            return tf.reshape(tf.tanh(_grouped(image, w[name])), [-1, *shape])

        self.add(f"{number} groups", shape, step)

    def residual(self) -> None:
        total = math.prod(self.shape)
        at = self.choice([at for at, shape in enumerate(self.shapes) if math.prod(shape) == total])
        shape = self.shape
        self.add(f"residual of {at}", shape, lambda w, v: v[-1] + tf.reshape(v[at + 1], [-1, *shape]))

    def gate(self) -> None:
        size = self.shape[-1]
        if size % 2:
            return

        def step(w: Weights, v: Sequence[tf.Tensor]) -> tf.Tensor:
            one, other = tf.split(v[-1], 2, axis=-1)
            return one * tf.sigmoid(other)

        self.add("gate", (*self.shape[:-1], size // 2), step)

    def twice(self) -> None:
        axis = self.draw(st.integers(0, len(self.shape) - 1))
        shape = [size * 2 if at == axis else size for at, size in enumerate(self.shape)]
        if math.prod(shape) <= _MOST_UNITS:
            self.add(f"axis {axis} twice", shape, lambda w, v: tf.concat([v[-1], tf.sin(v[-1])], axis + 1))


_STEPS = ("grouped", "grouped", "attention", "reshape", "reshape", "transpose", "product", "vectors", "residual")


@st.composite
def graphs(draw: Callable) -> Graph:
    """Graphs of three to nine steps with one or two signatures."""
    builder = _Builder(draw, draw(st.integers(0, 2**32 - 1)))
    builder.first()
    for _ in range(draw(st.integers(2, 8))):
        getattr(builder, builder.choice([*_STEPS, "gate", "twice", "activation"]))()
    reads = {}
    for name in ("serving_default", "other")[: draw(st.integers(1, 2))]:
        at = len(builder.steps) - 1 if not reads else draw(st.integers(0, len(builder.steps) - 1))
        shape = builder.sizes(math.prod(builder.shapes[at]))
        reads[name] = (at, shape, builder.weight(*shape, _OUTPUTS))
    return Graph(builder.weights, tuple(builder.steps), tuple(builder.names), reads)


def _is_cut(graph: Graph, folder: str) -> bool:
    """Shrinks a graph, whose answers must be the same; returns whether a variable became smaller."""
    graph.save(f"{folder}/model")
    x = tf.constant(np.random.default_rng(5).normal(size=(16, _INPUTS)), tf.float32)
    signatures = tf.saved_model.load(f"{folder}/model").signatures
    expected = {name: signatures[name](x=x)["y"].numpy() for name in graph.reads}
    try:
        report = strip_saved_model(f"{folder}/model", f"{folder}/shrunk", shrink=True)
    except ValueError as error:
        if "depends on the input any more" not in str(error):
            raise
        assert any(np.ptp(each, axis=0).max() < 1e-5 for each in expected.values())
        return False
    shrunk = tf.saved_model.load(f"{folder}/shrunk").signatures
    for name, answer in expected.items():
        np.testing.assert_allclose(shrunk[name](x=x)["y"], answer, rtol=1e-4, atol=1e-4)
    return bool(report.shrink.variables)


@pytest.mark.slow
def test_answers_stay_whatever_shapes_units_are_put_in(tmp_path_factory):
    cut = []

    @settings(
        max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(graphs())
    def answers_stay(graph: Graph) -> None:
        cut.append(_is_cut(graph, str(tmp_path_factory.mktemp("shapes"))))

    answers_stay()
    assert sum(cut) > len(cut) / 3
