"""ReportDocument: what a report says, before it is shown."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..budget import BudgetVerdict
from ..call_times import CallTimes
from ..engine.history.training_history import TrainingHistory
from ..engine.keras.delivered_sparsity import WeightSparsity
from ..sweep import Sweep
from ..typed_value import shown
from .checked_types import check_types
from .latency import Latency

FORMAT = 3


@dataclasses.dataclass(frozen=True)
class Shrinking:
    """What went of a model because it was dead; pairs are of before and after.

    Attributes:
        shapes: By variable that became smaller: its shapes, each as text such as '64 x 300'.
        parameters: Of all variables.
        multiply_adds: Of matrix products and convolutions for one example; None if they could not be counted.
        bytes: Of all files.
        gzipped_bytes: Of one .tar.gz; None if that before was not measured.
        largest_difference: Of two numbers among the answers.
        tolerance: The t in |difference| <= t * (1 + |answer|), which all answers kept.
        folded_scales: How many multiplications by channel went into the kernels of convolutions.
        untraced: Why the model could not be traced, so that nothing was cut; None if it was.
    """

    shapes: Mapping[str, tuple[str, str]]
    parameters: tuple[int, int]
    multiply_adds: tuple[int, int] | None
    bytes: tuple[int, int]
    gzipped_bytes: tuple[int, int] | None
    largest_difference: float
    tolerance: float
    folded_scales: int = 0
    untraced: str | None = None

    @property
    def figures(self) -> dict[str, tuple[int, int]]:
        """What was counted, by name."""
        counted = {
            "parameters": self.parameters,
            "multiply-adds an example": self.multiply_adds,
            "bytes": self.bytes,
            "bytes gzipped": self.gzipped_bytes,
        }
        return {name: pair for name, pair in counted.items() if pair is not None}


@dataclasses.dataclass(frozen=True)
class Stripping:
    """What Stripper did.

    Attributes:
        variables_removed: Sorted keys of the variables that were removed.
        variables_kept: Sorted keys of the variables that were kept.
        signatures_checked: Names of the signatures that answered as before.
        shrinking: What was cut besides; None if the model was not to be shrunk.
    """

    variables_removed: tuple[str, ...]
    variables_kept: tuple[str, ...]
    signatures_checked: tuple[str, ...]
    shrinking: Shrinking | None = None


@dataclasses.dataclass(frozen=True)
class Export:
    """A file in another format that was made from the stripped model.

    Attributes:
        format: Name of the format.
        bytes: Length of the file.
        largest_difference: Of a number in its answers from the stripped model's.
        checked_on: What it was run on, in words.
        metric: Name of the metric that it was measured by; None if it was not.
        metric_value: The metric of its answers; None likewise.
        model_metric_value: The same of the stripped model; None likewise.
    """

    format: str
    bytes: int
    largest_difference: float
    checked_on: str
    metric: str | None = None
    metric_value: float | None = None
    model_metric_value: float | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Metrics of two models on the same data; each by its name.

    Attributes:
        baseline: Of the model that was not pruned.
        pruned: Of the pruned model. The metric that decides comes first.
        refusals: Why the pruned model is not good enough, one sentence each; empty if it is; None if nobody asked.
    """

    baseline: Mapping[str, float]
    pruned: Mapping[str, float]
    refusals: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class ReportDocument:
    """The content of a report.

    Attributes:
        title: Subject of the report.
        weights: Weights of the saved model; at least those that were pruned.
        total_parameters: Parameters of the model; None if it is not known which variables are the model's.
        sizes: Sizes in bytes, by what they are of; names that end in 'gzipped' are of compressed files.
        hparams: The pruning hyperparameters, as `PruningHParams.parse` reads them; None if unknown.
        training: The course of the training; None if it was not recorded.
        stripping: What Stripper did; None if it did nothing.
        evaluation: Metrics against a baseline; None if there are none.
        sweep: Several pruned copies of one dense model; None if the report is on one model.
        lineage: What the model was made of and by: names and URIs.
        multiply_adds: Those of one example, before pruning and as the masks keep them; None if the sparsity that was
            asked for does not count them.
        latency: How long the dense and the pruned model take, one for each size of batch; empty if not measured.
        exports: Files in other formats that were made from the stripped model.
        budget: What the model takes of a size or latency that was asked for; None if none was.
    """

    title: str
    weights: tuple[WeightSparsity, ...]
    total_parameters: int | None = None
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    hparams: str | None = None
    training: TrainingHistory | None = None
    stripping: Stripping | None = None
    evaluation: Evaluation | None = None
    sweep: Sweep | None = None
    lineage: Mapping[str, str] = dataclasses.field(default_factory=dict)
    multiply_adds: tuple[int, int] | None = None
    latency: tuple[Latency, ...] = ()
    exports: tuple[Export, ...] = ()
    budget: BudgetVerdict | None = None

    @property
    def pruned_weights(self) -> tuple[WeightSparsity, ...]:
        """The weights that were pruned."""
        return tuple(weight for weight in self.weights if weight.pruned)

    @property
    def prunable_parameters(self) -> int:
        """Parameters of the pruned weights."""
        return sum(weight.size for weight in self.pruned_weights)

    @property
    def nonzero_parameters(self) -> int:
        """Parameters of the pruned weights that are not zero."""
        return sum(weight.nonzero for weight in self.pruned_weights)

    @property
    def sparsity(self) -> float:
        """Fraction of zeros in the pruned weights together; 0 if there are none."""
        return 1.0 - self.nonzero_parameters / self.prunable_parameters if self.prunable_parameters else 0.0

    @property
    def total_sparsity(self) -> float | None:
        """The zeros of the pruned weights as a fraction of all parameters of the model; None if these are unknown."""
        if not self.total_parameters:
            return None
        return (self.prunable_parameters - self.nonzero_parameters) / self.total_parameters

    def to_json(self) -> str:
        """The document as JSON; `from_json` reads it."""
        fields = {"format": FORMAT, **dataclasses.asdict(self), "sweep": self.sweep and self.sweep.to_dict()}
        return json.dumps(fields, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, source: str | os.PathLike[str] = "the text") -> "ReportDocument":
        """Reads what `to_json` wrote.

        Args:
            text: The JSON.
            source: Where it is from, for messages.

        Raises:
            ValueError: The text is no report, or one of another format.
        """
        try:
            fields = json.loads(text, parse_constant=_check_constant)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{os.fspath(source)} is no JSON ({error}); expected the JSON of a report.") from error
        found = fields.pop("format", None) if isinstance(fields, dict) else None
        if found != FORMAT:
            raise ValueError(
                f"{os.fspath(source)} has format {shown(found)}, expected {FORMAT}; make the report again with this "
                "version."
            )
        try:
            document = cls(**{**fields, **_parts(fields)})
            check_types("", cls, document)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{os.fspath(source)} is no report: {error}. Make it again.") from error
        return document


def _check_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which is no number of JSON")


def _parts(fields: Mapping[str, Any]) -> dict[str, Any]:
    training, stripping, evaluation, sweep = (fields[key] for key in ("training", "stripping", "evaluation", "sweep"))
    return {
        "weights": tuple(WeightSparsity(**{**each, "shape": tuple(each["shape"])}) for each in fields["weights"]),
        **_tuples({"multiply_adds": fields["multiply_adds"]} if fields.get("multiply_adds") is not None else {}),
        "training": None if training is None else TrainingHistory.from_dict(training),
        "stripping": None if stripping is None else _stripping(stripping),
        "evaluation": None if evaluation is None else _evaluation(evaluation),
        "sweep": None if sweep is None else Sweep.from_dict(sweep),
        "latency": tuple(_latency(each) for each in fields.get("latency", ())),
        "exports": tuple(Export(**each) for each in fields.get("exports", ())),
        "budget": None if fields.get("budget") is None else BudgetVerdict.from_dict(fields["budget"]),
    }


def _latency(fields: Mapping[str, Any]) -> Latency:
    return Latency(**{**fields, **{name: CallTimes(**fields[name]) for name in ("dense", "pruned")}})


def _evaluation(fields: Mapping[str, Any]) -> Evaluation:
    refusals = fields.get("refusals")
    return Evaluation(**{**fields, "refusals": None if refusals is None else tuple(refusals)})


def _stripping(fields: Mapping[str, Any]) -> Stripping:
    shrinking = fields.get("shrinking")
    if shrinking is not None:
        pairs = _tuples({key: each for key, each in shrinking.items() if isinstance(each, list)})
        shrinking = Shrinking(**{**shrinking, **pairs, "shapes": _tuples(shrinking["shapes"])})
    lists = {key: each for key, each in fields.items() if key != "shrinking"}
    return Stripping(**_tuples(lists), shrinking=shrinking)


def _tuples(fields: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(value) for key, value in fields.items()}
