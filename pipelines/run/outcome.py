"""RunOutcome: the results of one run of the pipeline, read from ML Metadata and the Evaluator's output."""

import dataclasses
from collections.abc import Iterator, Mapping

from tfx.utils import path_utils

# isort: split
import tensorflow_model_analysis as tfma  # after tfx, or it comes without its names

from tfx_pruning import properties
from tfx_pruning.budget import BudgetVerdict
from tfx_pruning.pipelines.evaluation import EXAMPLE_COUNT
from tfx_pruning.pipelines.run.outputs import RunOutputs
from tfx_pruning.pipelines.run.page_file import PageFile, report_of
from tfx_pruning.report.document import Evaluation, ReportDocument
from tfx_pruning.report.figures import Table
from tfx_pruning.report.latency import Latency
from tfx_pruning.saved_model.sizes import directory_bytes, gzipped_bytes
from tfx_pruning.sweep import Sweep


@dataclasses.dataclass(frozen=True)
class RunOutcome:
    """Figures of one run of a pipeline.

    Attributes:
        pipeline_name: Name of the pipeline.
        dense: Metrics of the dense model by class, the deciding one first.
        pruned: Those of the stripped model.
        sparsity: Fraction of the prunable parameters that is zero.
        prunable_parameters: How many there are.
        nonzero_parameters: How many of them are not zero.
        dense_bytes: The dense SavedModel as trained, all its files.
        trained_bytes: The pruned SavedModel as trained, all its files.
        stripped_bytes: The stripped SavedModel, all its files.
        gzipped_bytes: The stripped SavedModel as one .tar.gz.
        refusals: Why the Evaluator did not bless the model, one sentence each; empty if it did.
        pushed_to: Folder of the pushed model; None if nothing was pushed.
        record: The file that records the run: ML Metadata's SQLite file, or what the launcher of Kubeflow files wrote.
        page: The page on the run.
        shrunk: What shrinking made smaller, by name: before and after; empty if the model was not to be shrunk.
        latency: How long both models take, one for each size of batch; empty if it was not measured.
        budget: What the model takes of its budget; None if there is none.
        trainings: How many trainings pruned; with a budget there may be more than one.
    """

    pipeline_name: str
    dense: Mapping[str, float]
    pruned: Mapping[str, float]
    sparsity: float
    prunable_parameters: int
    nonzero_parameters: int
    dense_bytes: int
    trained_bytes: int
    stripped_bytes: int
    gzipped_bytes: int
    refusals: tuple[str, ...]
    pushed_to: str | None
    record: str
    page: PageFile
    shrunk: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    latency: tuple[Latency, ...] = ()
    budget: BudgetVerdict | None = None
    trainings: int = 1

    @classmethod
    def of(
        cls,
        run: RunOutputs,
        page: PageFile,
        latency: tuple[Latency, ...] = (),
        candidate: str = "",
        sweep: Sweep | None = None,
    ) -> "RunOutcome":
        """Reads the figures of a run, whose page is written already and whose latency is measured.

        Args:
            run: The run.
            page: The page.
            latency: How long both models take; empty if it was not measured.
            candidate: Suffix of the ids of the model's nodes; '' if there is only one model.
            sweep: All models, if SparsitySelector judged; None if the Evaluator did.

        Raises:
            ValueError: The run is incomplete.
        """
        end = f".{candidate}" if candidate else ""
        evaluation = run.output(f"Evaluator{end}", "evaluation").uri
        stripped = run.output(f"Stripper{end}", "model").properties
        pushed = run.output("Pusher", "pushed_model").properties
        return cls(
            pipeline_name=run.pipeline_name,
            dense=_metrics(evaluation, tfma.BASELINE_KEY),
            pruned=_metrics(evaluation, tfma.CANDIDATE_KEY),
            sparsity=properties.exact_sparsity(stripped),
            prunable_parameters=int(stripped[properties.PRUNABLE_PARAMETERS]),
            nonzero_parameters=int(stripped[properties.NONZERO_PARAMETERS]),
            dense_bytes=directory_bytes(path_utils.serving_model_dir(run.output("Trainer", "model").uri)),
            trained_bytes=int(stripped[properties.TRAINED_BYTES]),
            stripped_bytes=int(stripped[properties.STRIPPED_BYTES]),
            gzipped_bytes=int(stripped[properties.GZIPPED_BYTES]),
            refusals=tuple(_refusals(evaluation)) if sweep is None else sweep.refusals,
            pushed_to=str(pushed["pushed_destination"]) if pushed["pushed"] else None,
            record=run.record,
            page=page,
            shrunk=_shrunk(stripped),
            latency=latency,
            budget=None if sweep is None else sweep.nearest.check,
            trainings=1 if sweep is None else len(sweep.candidates),
        )

    def table(self) -> Table:
        """Headings and rows of the figures, as text."""
        rows = (
            *((name, figure(value), figure(self.pruned[name])) for name, value in self.dense.items()),
            ("sparsity of the pruned weights", "", f"{self.sparsity:.2%}"),
            ("parameters in the pruned weights", f"{self.prunable_parameters:,}", f"{self.prunable_parameters:,}"),
            ("non-zero parameters in them", "", f"{self.nonzero_parameters:,}"),
            ("SavedModel as trained, bytes", f"{self.dense_bytes:,}", f"{self.trained_bytes:,}"),
            ("SavedModel stripped, bytes", "", f"{self.stripped_bytes:,}"),
            ("SavedModel stripped and gzipped, bytes", "", f"{self.gzipped_bytes:,}"),
            *((f"{name}, before and after shrinking", *map("{:,}".format, pair)) for name, pair in self.shrunk.items()),
            *(
                (f"milliseconds a call, batch of {each.batch}", f"{each.dense.median:.3g}", f"{each.pruned.median:.3g}")
                for each in self.latency
            ),
            *(
                (f"budget, {what}: {allowed}", dense, delivered)
                for what, allowed, dense, delivered in (self.budget.rows() if self.budget else ())
            ),
        )
        return ("", "dense", "pruned"), rows


def _shrunk(stripped: Mapping[str, object]) -> dict[str, tuple[int, int]]:
    if properties.VARIABLES_CUT not in stripped:
        return {}
    pairs = {
        "parameters": (properties.PARAMETERS_BEFORE_SHRINKING, properties.PARAMETERS_SHRUNK),
        "multiply-adds an example": (properties.MULTIPLY_ADDS_BEFORE_SHRINKING, properties.MULTIPLY_ADDS_SHRUNK),
        "SavedModel, bytes": (properties.BYTES_BEFORE_SHRINKING, properties.STRIPPED_BYTES),
    }
    return {
        name: (int(stripped[before]), int(stripped[after]))
        for name, (before, after) in pairs.items()
        # The multiply-adds of a model that could not be traced are not known.
        if before in stripped
    }


def run_document(
    run: RunOutputs, candidate: str = "", latency: tuple[Latency, ...] = (), sweep: Sweep | None = None
) -> ReportDocument:
    """Joins the reports of a run and the Evaluator's metrics in one document.

    Args:
        run: The run.
        candidate: Suffix of the ids of the model's nodes; '' if there is only one model.
        latency: How long both models take; empty if it was not measured.
        sweep: All models, if SparsitySelector judged; None if the Evaluator did.

    Returns:
        The stripped model's weights, the course of the pruned training, sizes, metrics against the dense model's, and
        the lineage of both reports.

    Raises:
        ValueError: The run or a report is incomplete.
        FileNotFoundError: A report is missing.
    """
    end = f".{candidate}" if candidate else ""
    trained, stripped = (report_of(run, f"{node}{end}") for node in ("PruningTrainer", "Stripper"))
    evaluation = run.output(f"Evaluator{end}", "evaluation").uri
    dense = path_utils.serving_model_dir(run.output("Trainer", "model").uri)
    raw = {name: size for name, size in stripped.sizes.items() if not name.endswith("gzipped")}
    gzipped = {name: size for name, size in stripped.sizes.items() if name not in raw}
    shrunk = stripped.stripping is not None and stripped.stripping.shrinking is not None
    return dataclasses.replace(
        stripped,
        title=f"Pruned model of {run.pipeline_name}",
        # Of a shrunk model the zeros are gone.
        weights=trained.weights if shrunk else stripped.weights,
        total_parameters=trained.total_parameters,
        training=trained.training,
        multiply_adds=trained.multiply_adds,
        latency=latency,
        sizes={
            "dense SavedModel as trained": directory_bytes(dense),
            **raw,
            "dense SavedModel as trained and gzipped": gzipped_bytes(dense),
            **gzipped,
        },
        evaluation=Evaluation(
            *(_metrics(evaluation, key) for key in (tfma.BASELINE_KEY, tfma.CANDIDATE_KEY)),
            refusals=tuple(_refusals(evaluation)) if sweep is None else sweep.refusals,
        ),
        budget=next((each.check for each in sweep.candidates if each.name == candidate), None) if sweep else None,
        lineage={
            "pipeline run": run.name,
            **{f"PruningTrainer: {name}": value for name, value in trained.lineage.items()},
            **{f"Stripper: {name}": value for name, value in stripped.lineage.items()},
        },
    )


def _metrics(evaluation_uri: str, model_name: str) -> dict[str, float]:
    """Values by class, in the order of the Evaluator's configuration."""
    result = tfma.load_eval_result(evaluation_uri, model_name=model_name)
    classes = [metric.class_name for spec in result.config.metrics_specs for metric in spec.metrics]
    values = result.get_metrics_for_slice()
    return {
        name: values[name]["doubleValue"]
        for name in classes
        if name != EXAMPLE_COUNT and "doubleValue" in values.get(name, {})
    }


def _refusals(evaluation_uri: str) -> Iterator[str]:
    result = tfma.load_validation_result(evaluation_uri)
    for of_slice in result.metric_validations_per_slice:
        for failure in of_slice.failures:
            name, threshold = failure.metric_key.name, failure.metric_threshold
            if not failure.HasField("metric_value"):
                yield f"{name} was not measured"
                continue
            value = failure.metric_value.double_value.value
            if failure.metric_key.is_diff:
                change = threshold.change_threshold
                worse = "above" if change.direction == tfma.MetricDirection.LOWER_IS_BETTER else "below"
                allowed = abs(change.absolute.value)
                yield f"{name} is {figure(abs(value))} {worse} the dense model's, allowed is {figure(allowed)}"
                continue
            bounds = threshold.value_threshold
            if bounds.HasField("upper_bound") and value > bounds.upper_bound.value:
                yield f"{name} is {figure(value)}, asked for is at most {figure(bounds.upper_bound.value)}"
            else:
                yield f"{name} is {figure(value)}, asked for is at least {figure(bounds.lower_bound.value)}"


def figure(value: float) -> str:
    """A metric's value with four decimals, or with five significant digits if it is very small or large."""
    return f"{value:.4f}" if value == 0 or 0.01 <= abs(value) < 100 else f"{value:.5g}"
