"""RunReport: what one run of the pipeline came to, read from ML Metadata and the Evaluator's output."""

import dataclasses
from collections.abc import Iterator

import ml_metadata
import tensorflow_model_analysis as tfma
from ml_metadata.proto import metadata_store_pb2
from tfx.utils import path_utils

from tfx_pruning import properties
from tfx_pruning.engine.sizes import directory_bytes
from tfx_pruning.report.document import Evaluation, ReportDocument
from tfx_pruning.report.files import read_report

_AUC = "auc"
_ACCURACY = "binary_accuracy"
_EXAMPLE_COUNT = "example_count"


@dataclasses.dataclass(frozen=True)
class ModelMetrics:
    """Metrics of one model on the evaluation split, fractions in [0, 1]."""

    auc: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class RunReport:
    """Figures of the latest run of a pipeline.

    Attributes:
        dense: Metrics of the dense model.
        pruned: Metrics of the stripped model.
        sparsity: Fraction of the prunable parameters that is zero.
        prunable_parameters: How many there are.
        nonzero_parameters: How many of them are not zero.
        dense_bytes: The dense SavedModel as trained, all its files.
        trained_bytes: The pruned SavedModel as trained, all its files.
        stripped_bytes: The stripped SavedModel, all its files.
        gzipped_bytes: The stripped SavedModel as one .tar.gz.
        refusals: Why the Evaluator did not bless the model, one sentence each; empty if it did.
        pushed_to: Folder of the pushed model; None if nothing was pushed.
        metadata_path: The SQLite file of ML Metadata.
    """

    dense: ModelMetrics
    pruned: ModelMetrics
    sparsity: float
    prunable_parameters: int
    nonzero_parameters: int
    dense_bytes: int
    trained_bytes: int
    stripped_bytes: int
    gzipped_bytes: int
    refusals: tuple[str, ...]
    pushed_to: str | None
    metadata_path: str

    @classmethod
    def read(cls, metadata_path: str, pipeline_name: str) -> "RunReport":
        """Reads the latest run of the pipeline.

        Args:
            metadata_path: The SQLite file of ML Metadata.
            pipeline_name: Name of the pipeline.

        Raises:
            ValueError: No run of the pipeline is recorded, or it did not come to its end.
        """
        run = _Run(metadata_path, pipeline_name)
        evaluation = run.output("Evaluator", "evaluation").uri
        stripped = run.output("Stripper", "model").custom_properties
        pushed = run.output("Pusher", "pushed_model").custom_properties
        return cls(
            dense=_metrics(evaluation, tfma.BASELINE_KEY),
            pruned=_metrics(evaluation, tfma.CANDIDATE_KEY),
            sparsity=stripped[properties.SPARSITY].double_value,
            prunable_parameters=stripped[properties.PRUNABLE_PARAMETERS].int_value,
            nonzero_parameters=stripped[properties.NONZERO_PARAMETERS].int_value,
            dense_bytes=directory_bytes(path_utils.serving_model_dir(run.output("Trainer", "model").uri)),
            trained_bytes=stripped[properties.TRAINED_BYTES].int_value,
            stripped_bytes=stripped[properties.STRIPPED_BYTES].int_value,
            gzipped_bytes=stripped[properties.GZIPPED_BYTES].int_value,
            refusals=tuple(_refusals(evaluation)),
            pushed_to=pushed["pushed_destination"].string_value if pushed["pushed"].int_value else None,
            metadata_path=metadata_path,
        )

    def table(self) -> str:
        """The figures as a table of text, without a newline at its end."""
        rows = [
            ("", "dense", "pruned"),
            ("AUC", f"{self.dense.auc:.4f}", f"{self.pruned.auc:.4f}"),
            ("accuracy", f"{self.dense.accuracy:.4f}", f"{self.pruned.accuracy:.4f}"),
            ("sparsity of the kernels", "", f"{self.sparsity:.2%}"),
            ("parameters in the kernels", f"{self.prunable_parameters:,}", f"{self.prunable_parameters:,}"),
            ("non-zero parameters in the kernels", "", f"{self.nonzero_parameters:,}"),
            ("SavedModel as trained, bytes", f"{self.dense_bytes:,}", f"{self.trained_bytes:,}"),
            ("SavedModel stripped, bytes", "", f"{self.stripped_bytes:,}"),
            ("SavedModel stripped and gzipped, bytes", "", f"{self.gzipped_bytes:,}"),
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [f"{name:<{widths[0]}}  {dense:>{widths[1]}}  {pruned:>{widths[2]}}" for name, dense, pruned in rows]
        rule = "-" * len(lines[0])
        lines = [lines[0], rule, *lines[1:], rule]
        lines.append(f"pushed model  {self.pushed_to or 'none'}")
        lines.append(f"metadata      {self.metadata_path}")
        return "\n".join(lines)


def run_document(metadata_path: str, pipeline_name: str) -> ReportDocument:
    """One document of the latest run's reports and of what the Evaluator found.

    Args:
        metadata_path: The SQLite file of ML Metadata.
        pipeline_name: Name of the pipeline.

    Returns:
        The stripped model's weights, the course of the pruned training, sizes, metrics against the dense model's, and
        the lineage of both reports.

    Raises:
        ValueError: No run of the pipeline is recorded, or it did not come to its end.
        FileNotFoundError: A report is gone.
    """
    run = _Run(metadata_path, pipeline_name)
    trained, stripped = (read_report(run.output(node, "report").uri) for node in ("PruningTrainer", "Stripper"))
    evaluation = run.output("Evaluator", "evaluation").uri
    dense_bytes = directory_bytes(path_utils.serving_model_dir(run.output("Trainer", "model").uri))
    return dataclasses.replace(
        stripped,
        title=f"Pruned model of {pipeline_name}",
        total_parameters=trained.total_parameters,
        training=trained.training,
        sizes={"dense SavedModel as trained": dense_bytes, **stripped.sizes},
        evaluation=Evaluation(*(_all_metrics(evaluation, key) for key in (tfma.BASELINE_KEY, tfma.CANDIDATE_KEY))),
        lineage={
            "pipeline run": run.name,
            **{f"PruningTrainer: {name}": value for name, value in trained.lineage.items()},
            **{f"Stripper: {name}": value for name, value in stripped.lineage.items()},
        },
    )


class _Run:
    """The latest run of a pipeline in ML Metadata."""

    def __init__(self, metadata_path: str, pipeline_name: str) -> None:
        config = metadata_store_pb2.ConnectionConfig()
        config.sqlite.filename_uri = metadata_path
        config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
        self._store = ml_metadata.MetadataStore(config)
        self._pipeline_name = pipeline_name
        pipeline = self._store.get_context_by_type_and_name("pipeline", pipeline_name)
        runs = self._store.get_children_contexts_by_context(pipeline.id) if pipeline else []
        runs = [context for context in runs if context.type == "pipeline_run"]
        if not runs:
            raise ValueError(f"{metadata_path} records no run of the pipeline {pipeline_name!r}.")
        self._run = max(runs, key=lambda context: context.id)

    @property
    def name(self) -> str:
        """Its name in ML Metadata."""
        return self._run.name

    def output(self, node: str, key: str) -> metadata_store_pb2.Artifact:
        """The artifact that a node of this run put out under `key`."""
        context = self._store.get_context_by_type_and_name("node", f"{self._pipeline_name}.{node}")
        executions = self._store.get_executions_by_context(context.id) if context else []
        in_run = {execution.id for execution in self._store.get_executions_by_context(self._run.id)}
        ids = [execution.id for execution in executions if execution.id in in_run]
        if ids:
            for event in self._store.get_events_by_execution_ids([max(ids)]):
                if event.type == metadata_store_pb2.Event.OUTPUT and event.path.steps[0].key == key:
                    return self._store.get_artifacts_by_id([event.artifact_id])[0]
        raise ValueError(f"The run {self._run.name} of {self._pipeline_name!r} has no {key} of {node}.")


def _metrics(evaluation_uri: str, model_name: str) -> ModelMetrics:
    values = tfma.load_eval_result(evaluation_uri, model_name=model_name).get_metrics_for_slice()
    return ModelMetrics(auc=values[_AUC]["doubleValue"], accuracy=values[_ACCURACY]["doubleValue"])


def _all_metrics(evaluation_uri: str, model_name: str) -> dict[str, float]:
    values = tfma.load_eval_result(evaluation_uri, model_name=model_name).get_metrics_for_slice()
    return {
        name: value["doubleValue"]
        for name, value in values.items()
        if "doubleValue" in value and name != _EXAMPLE_COUNT
    }


def _refusals(evaluation_uri: str) -> Iterator[str]:
    result = tfma.load_validation_result(evaluation_uri)
    for of_slice in result.metric_validations_per_slice:
        for failure in of_slice.failures:
            value, threshold = failure.metric_value.double_value.value, failure.metric_threshold
            if failure.metric_key.is_diff:
                allowed = -threshold.change_threshold.absolute.value
                yield f"{failure.metric_key.name} is {-value:.4f} below the dense model's, allowed is {allowed:.4f}"
            else:
                lower = threshold.value_threshold.lower_bound.value
                yield f"{failure.metric_key.name} is {value:.4f}, asked for is at least {lower:.4f}"
