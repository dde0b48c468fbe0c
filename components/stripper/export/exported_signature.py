"""ExportedSignature: one signature of a stripped model, and all that exporters need of it."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ...saved_model import loading
from ...saved_model.saved_objects import SavedObjects
from ..check.signature_inputs import Inputs
from .answer_difference import AnswerDifference, Answers
from .inputs import ExportInputs, chosen_signature, inputs_of
from .labelled_metric import LabelledBatch, LabelledMetric, labelled_batches


class ExportedSignature:
    """One signature of a stripped model. It is loaded, and its inputs are made, when an exporter asks for them.

    Attributes:
        model: The stripped model, as it is on disk.
        source_folder: Folder of the SavedModel that it was stripped from.
        signature_name: The signature's name.
        tolerance: The tolerance that the user gives; None for each format's own.
        metric: The metric that exports are measured by; None for none.
    """

    def __init__(
        self,
        folder: str,
        source_folder: str,
        signature: str | None,
        examples: Sequence[bytes] | None,
        tolerance: float | None,
        metric: LabelledMetric | None = None,
    ) -> None:
        """Reads the model.

        Args:
            folder: Its folder.
            source_folder: Folder of the SavedModel that it was stripped from.
            signature: Name of the signature; None to choose one, as `chosen_signature` does.
            examples: Serialized records, if there are any.
            tolerance: The tolerance that the user gives, if any.
            metric: The metric that exports are measured by, if any. It needs examples.

        Raises:
            FileNotFoundError: There is no SavedModel.
            ValueError: It has no such signature, or there is a metric without examples.
        """
        self.model = SavedObjects.read(folder)
        self.source_folder = source_folder
        self.signature_name = chosen_signature(self.model, signature)
        self.tolerance = tolerance
        self.metric = metric
        self._examples = examples
        if metric is not None and not examples:
            raise ValueError(
                f"the metric {metric.name!r} is measured against labels in examples, and none are given. Give some, or "
                "leave the metric out."
            )

    @functools.cached_property
    def source(self) -> SavedObjects:
        """The SavedModel that the model was stripped from."""
        return SavedObjects.read(self.source_folder)

    @property
    def has_examples(self) -> bool:
        """Whether examples were given."""
        return bool(self._examples)

    @property
    def variable_bytes(self) -> int:
        """Bytes of the variables that the signature uses."""
        graph = self.model.graph
        captured = set(graph.bound_inputs(graph.signatures[self.signature_name]))
        declared = [graph.variable(node) for node in captured if graph.kind(node) == "variable"]
        return sum(tf.as_dtype(each.dtype).size * tf.TensorShape(each.shape).num_elements() for each in declared)

    @property
    def function(self) -> Any:
        """The signature, loaded: keyword tensors in, a dict of tensors out.

        Raises:
            ValueError: The model cannot be loaded.
        """
        return self._loaded.signatures[self.signature_name]

    @functools.cached_property
    def inputs(self) -> ExportInputs:
        """Inputs that the signature takes.

        Raises:
            ValueError: It takes none of those that were tried.
        """
        return inputs_of(self.model, self._loaded, self.signature_name, self._examples)

    def answers(self, inputs: Inputs) -> Answers:
        """The model's answers to one batch of inputs."""
        return arrays(self.function(**inputs))

    def metric_of(self, run: Callable[[Inputs], Answers]) -> float | None:
        """The metric of the answers of a function to the examples; None if none is asked for.

        Raises:
            ValueError: It cannot be measured: see `labelled_batches` and `LabelledMetric.of`.
        """
        return None if self.metric is None else self.metric.of(run, self._labelled)

    @functools.cached_property
    def metric_value(self) -> float | None:
        """The model's own metric; None if none is asked for.

        Raises:
            ValueError: As `metric_of`.
        """
        return self.metric_of(self.answers)

    @functools.cached_property
    def _labelled(self) -> tuple[LabelledBatch, ...]:
        return labelled_batches(self.model, self._loaded, self.signature_name, self._examples, self.metric.label)

    def difference(self, run: Callable[[Inputs], Answers]) -> AnswerDifference:
        """How far the answers of a function are from the model's, over all inputs."""
        difference = AnswerDifference()
        for inputs in self.inputs.batches:
            difference.add(self.answers(inputs), run(inputs))
        return difference

    @functools.cached_property
    def _loaded(self) -> Any:
        return loading.load(self.model)


def arrays(tensors: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    """Tensors as numpy arrays; a string of rank 0 keeps its trailing zeros."""
    return {
        name: np.asarray(tensor.numpy(), dtype=object if tensor.dtype == tf.string else None)
        for name, tensor in tensors.items()
    }
