"""`tfx-pruning run` without data and module: whole runs of the taxi example, end to end."""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys

import ml_metadata
import numpy as np
import pytest
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2

from helpers.page_text import PageText
from helpers.pipeline_nodes import NODES
from helpers.shrunk_models import matrices, without_what_was_cut
from tfx_pruning import PruningHParams, properties
from tfx_pruning.engine import naming
from tfx_pruning.engine.model_variables import model_variables
from tfx_pruning.metadata.connection import connection_config, open_store
from tfx_pruning.metadata.lineage import lineage
from tfx_pruning.metadata.runs import list_runs
from tfx_pruning.metadata.store_reader import StoreReader
from tfx_pruning.pipelines.cli.run_command import EXIT_NOT_BLESSED
from tfx_pruning.saved_model.variables import SavedVariables

COMPONENTS = [*NODES, "Resolver.latest_blessed_dense_model"]
TARGET_SPARSITY = 0.9


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of the command, and what was there after it."""

    root: pathlib.Path
    returncode: int
    stdout: str
    stderr: str
    pushed: list[str]
    report: str

    def cells(self, row: str) -> list[str]:
        """The cells of a row of the table."""
        (line,) = [line for line in self.stdout.splitlines() if line.startswith(f"{row}  ")]
        return line.removeprefix(row).split()


class Metadata:
    """Reads the SQLite file of ML Metadata."""

    def __init__(self, root: pathlib.Path) -> None:
        config = metadata_store_pb2.ConnectionConfig()
        config.sqlite.filename_uri = str(root / "metadata.sqlite")
        config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
        self.store = ml_metadata.MetadataStore(config)

    def executions(self, node: str) -> list[metadata_store_pb2.Execution]:
        """All executions of a component, oldest first."""
        context = self.store.get_context_by_type_and_name("node", f"chicago_taxi_pruning.{node}")
        return sorted(self.store.get_executions_by_context(context.id), key=lambda execution: execution.id)

    def artifacts(
        self, execution: metadata_store_pb2.Execution, key: str, event_type: int = metadata_store_pb2.Event.OUTPUT
    ) -> list[metadata_store_pb2.Artifact]:
        """The artifacts that went in or came out of an execution under `key`."""
        events = self.store.get_events_by_execution_ids([execution.id])
        ids = [event.artifact_id for event in events if event.type == event_type and event.path.steps[0].key == key]
        return list(self.store.get_artifacts_by_id(ids))

    def output(self, node: str, key: str, run: int) -> metadata_store_pb2.Artifact:
        """What a component put out in the run of that number, from 0."""
        (artifact,) = self.artifacts(self.executions(node)[run], key)
        return artifact


def _run(root: pathlib.Path, *arguments: str) -> Run:
    command = [pathlib.Path(sys.executable).with_name("tfx-pruning"), "run", "--root", str(root), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    serving = root / "serving"
    pushed = sorted(os.listdir(serving)) if serving.exists() else []
    # The next run over this folder writes its own.
    page = root / "report.html"
    report = page.read_text(encoding="utf-8") if page.exists() else ""
    return Run(root, result.returncode, result.stdout, result.stderr, pushed, report)


def _value(value: metadata_store_pb2.Value) -> int | float | str:
    return getattr(value, value.WhichOneof("value"))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run into an empty folder, as `make demo` runs it."""
    return _run(tmp_path_factory.mktemp("taxi") / "root", "--hparams", "granularity=channel")


@pytest.fixture(scope="module")
def refused(first: Run) -> Run:
    """A second run over the same folder, with a threshold that no model reaches."""
    return _run(first.root, "--hparams", "granularity=channel", "--min-metric", "1")


@pytest.fixture(scope="module")
def third(refused: Run) -> Run:
    """A third run over the same folder, with another sparsity, of elements."""
    return _run(refused.root, "--hparams", "target_sparsity=0.8")


@pytest.fixture(scope="module")
def metadata(third: Run) -> Metadata:
    return Metadata(third.root)


@pytest.fixture(scope="module")
def pushed_model(first: Run) -> pathlib.Path:
    return first.root / "serving" / first.pushed[0]


def _variables(model: pathlib.Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(model / "variables" / "variables"))
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    return {
        key.removesuffix(suffix): reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if suffix in key
    }


@pytest.mark.e2e
def test_run_pushes_and_says_nothing_but_components_and_table(first: Run) -> None:
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stderr == ""
    lines = first.stdout.splitlines()
    assert lines[0] == "Neither data nor module is named: this is the taxi example, on the trips that tfx ships."
    assert lines[1] == f"Running chicago_taxi_pruning in {first.root}; details in {first.root / 'run.log'}"
    ran = re.findall(rf"^ +\d+ of {len(COMPONENTS)}  (\S+) +\d+\.\d s$", first.stdout, re.MULTILINE)
    assert sorted(ran) == sorted(COMPONENTS)
    memory = re.fullmatch(r"\d+ s, at most (\d+\.\d) GB of memory", lines[-1])
    assert float(memory[1]) < 4.0


@pytest.mark.e2e
def test_table_tells_what_metadata_tells(first: Run, metadata: Metadata) -> None:
    trained = metadata.output("PruningTrainer", "model", 0).custom_properties
    stripped = metadata.output("Stripper", "model", 0).custom_properties
    parameters = _value(stripped[properties.PRUNABLE_PARAMETERS])
    assert parameters >= 100_000
    assert first.cells("sparsity of the pruned weights") == [f"{_value(stripped[properties.SPARSITY]):.2%}"]
    assert first.cells("parameters in the pruned weights") == [f"{parameters:,}"] * 2
    assert first.cells("non-zero parameters in them") == [f"{_value(stripped[properties.NONZERO_PARAMETERS]):,}"]
    assert first.cells("SavedModel as trained, bytes")[1] == f"{_value(trained[properties.TRAINED_BYTES]):,}"
    assert first.cells("SavedModel stripped, bytes") == [f"{_value(stripped[properties.STRIPPED_BYTES]):,}"]
    assert first.cells("SavedModel stripped and gzipped, bytes") == [f"{_value(stripped[properties.GZIPPED_BYTES]):,}"]
    measured = metadata.output("Evaluator", "evaluation", 0).custom_properties
    assert _value(measured[properties.METRIC]) == "AUC"
    values = [float(_value(measured[key])) for key in (properties.BASELINE_METRIC_VALUE, properties.METRIC_VALUE)]
    assert first.cells("AUC") == [f"{value:.4f}" for value in values]
    times = [float(_value(measured[key])) for key in (properties.DENSE_MILLISECONDS, properties.MILLISECONDS)]
    assert first.cells("milliseconds a call, batch of 64") == [f"{value:.3g}" for value in times]
    assert _value(measured[properties.LATENCY_BATCH]) == 64
    assert first.cells("pushed model") == [str(first.root / "serving" / first.pushed[0])]
    assert first.cells("metadata") == [str(first.root / "metadata.sqlite")]
    assert first.cells("report") == [str(first.root / "report.html")]


@pytest.mark.e2e
def test_report_tells_what_the_table_and_the_trained_model_tell(first: Run, metadata: Metadata) -> None:
    page = PageText(first.report)
    # Of what was pruned, before the zeros were cut out.
    saved = SavedVariables(f"{metadata.output('PruningTrainer', 'model', 0).uri}/Format-Serving")
    weights = {v.name: saved.value(v) for v in model_variables(saved)}
    rows = page.tables["layers"][1:]
    # Channels take their biases with them; the output has none to lose.
    assert {row[0]: (row[2], row[3]) for row in rows} == {
        name: (f"{weight.size:,}", f"{np.count_nonzero(weight):,}")
        for name, weight in weights.items()
        if weight.shape != (1,)
    }
    metrics = {row[0]: row[1:3] for row in page.tables["evaluation"][1:]}
    assert (metrics["AUC"], metrics["BinaryAccuracy"]) == (first.cells("AUC"), first.cells("BinaryAccuracy"))
    assert {"course", "sizes", "weights", "hparams", "lineage"} <= set(page.tables)
    assert page.tiles["Optimizer steps"] == "800"
    assert page.tiles["Verdict"] == "good enough"
    assert page.tiles["AUC"].split()[0] == first.cells("AUC")[1]
    assert page.tiles["Parameters served"].split() == [
        first.cells("parameters, before and after shrinking")[1],
        "of",
        first.cells("parameters, before and after shrinking")[0],
    ]


@pytest.mark.e2e
def test_properties_of_the_trained_model(metadata: Metadata) -> None:
    found = {k: _value(v) for k, v in metadata.output("PruningTrainer", "model", 0).custom_properties.items()}
    assert set(properties.PRUNING) <= set(found)
    assert found[properties.PRUNE_OPTION] == "first_order_gradient"
    assert found[properties.GRADIENT_ESTIMATOR] == "backprop"
    assert found[properties.TARGET_SPARSITY] == TARGET_SPARSITY
    hparams = PruningHParams.parse(found[properties.HPARAMS])
    assert (hparams.prune_option, hparams.target_sparsity) == ("first_order_gradient", TARGET_SPARSITY)
    assert hparams.granularity == "channel"


@pytest.mark.e2e
def test_properties_of_the_stripped_model(metadata: Metadata) -> None:
    trained = {k: _value(v) for k, v in metadata.output("PruningTrainer", "model", 0).custom_properties.items()}
    artifact = metadata.output("Stripper", "model", 0)
    found = {k: _value(v) for k, v in artifact.custom_properties.items()}
    assert {key: found[key] for key in properties.PRUNING} == {key: trained[key] for key in properties.PRUNING}
    files = [file for file in pathlib.Path(artifact.uri, "Format-Serving").rglob("*") if file.is_file()]
    assert found[properties.STRIPPED_BYTES] == sum(file.stat().st_size for file in files)
    assert 0 < found[properties.GZIPPED_BYTES] < found[properties.STRIPPED_BYTES] < found[properties.TRAINED_BYTES]
    assert found[properties.VARIABLES_REMOVED] > 0
    assert found[properties.SIGNATURES_CHECKED] == "serving_default,transform_features"
    proven = metadata.output("CsvExampleGen", "examples", 0)
    files = [str(file) for file in pathlib.Path(proven.uri, "Split-eval").glob("*")]
    records = sum(1 for _ in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator())
    assert found[properties.EXAMPLES_PROVEN] == records > 4_000
    assert (found[properties.SIGNATURE_PROVEN], found[properties.SPLITS_PROVEN]) == ("serving_default", "eval")
    # It was shrunk: answers may differ in their last bits.
    assert found[properties.EXAMPLES_DIFFERING] <= records
    assert (found[properties.TOLERANCE], found[properties.SHRINK_TOLERANCE]) == ("1e-05", "1e-05")
    assert float(found[properties.MAX_ABSOLUTE_DIFFERENCE]) <= 2e-5
    # The graph, the vocabularies and a tenth of the weights.
    assert found[properties.STRIPPED_BYTES] < 0.4 * found[properties.BYTES_BEFORE_SHRINKING]
    assert found[properties.MULTIPLY_ADDS_SHRUNK] < 0.11 * found[properties.MULTIPLY_ADDS_BEFORE_SHRINKING]


@pytest.mark.e2e
def test_pushed_model_is_as_sparse_as_its_properties_say(pushed_model: pathlib.Path, metadata: Metadata) -> None:
    found = {k: _value(v) for k, v in metadata.output("Stripper", "model", 0).custom_properties.items()}
    trained = pathlib.Path(metadata.output("PruningTrainer", "model", 0).uri, "Format-Serving")
    pushed = _variables(pushed_model)
    kernels = {key: kernel for key, kernel in matrices(trained).items() if key in pushed}
    assert len(kernels) == 3
    biases = {key: bias for key, bias in _variables(trained).items() if key in pushed and bias.ndim == 1}
    hidden = [*kernels.values(), *(bias for bias in biases.values() if bias.size > 1)]
    size = sum(weight.size for weight in hidden)
    nonzero = sum(np.count_nonzero(weight) for weight in hidden)
    largest_channel = max(kernel.shape[0] for kernel in kernels.values()) + max(
        kernel.shape[1] for kernel in kernels.values()
    )
    assert 0 <= size * (1 - TARGET_SPARSITY) - nonzero <= largest_channel
    assert (size, nonzero) == (found[properties.PRUNABLE_PARAMETERS], found[properties.NONZERO_PARAMETERS])
    # ML Metadata keeps six decimals in SQLite.
    assert found[properties.SPARSITY] == pytest.approx(1 - nonzero / found[properties.PRUNABLE_PARAMETERS], abs=1e-6)
    assert found[properties.TOTAL_PARAMETERS] == found[properties.PARAMETERS_BEFORE_SHRINKING]
    cut = without_what_was_cut(trained, pushed_model)
    assert [key for key in kernels if not np.array_equal(pushed[key], cut[key])] == []
    assert sum(value.size for value in pushed.values()) == found[properties.PARAMETERS_SHRUNK]
    # Whole channels went, so nothing that is left is zero.
    assert found[properties.PARAMETERS_SHRUNK] - nonzero == 1


@pytest.mark.e2e
def test_pushed_model_has_the_metrics_of_the_table(first: Run, pushed_model: pathlib.Path, metadata: Metadata) -> None:
    model = tf.saved_model.load(str(pushed_model))
    assert set(model.signatures) == {"serving_default", "transform_features"}
    assert not [v.name for v in model.signatures["serving_default"].variables if naming.is_pruning_variable(v.name)]
    files = pathlib.Path(metadata.output("CsvExampleGen", "examples", 0).uri, "Split-eval").glob("*")
    records = tf.data.TFRecordDataset([str(file) for file in files], compression_type="GZIP")
    examples = tf.constant(list(records.as_numpy_iterator()))
    label = model.signatures["transform_features"](examples)["tips_xf"].numpy().ravel() == 1
    score = model.signatures["serving_default"](examples)["outputs"].numpy().ravel()
    tipped, others = score[label], score[~label]
    pairs = np.subtract.outer(tipped, others)
    auc = np.mean(pairs > 0) + np.mean(pairs == 0) / 2
    assert float(first.cells("BinaryAccuracy")[1]) == pytest.approx(np.mean((score > 0.5) == label), abs=1e-4)
    assert float(first.cells("AUC")[1]) == pytest.approx(auc, abs=1e-3)
    assert auc > 0.9


@pytest.mark.e2e
def test_blessing_is_of_the_stripped_model_against_the_dense_one(metadata: Metadata) -> None:
    found = {k: _value(v) for k, v in metadata.output("Evaluator", "blessing", 0).custom_properties.items()}
    assert found["blessed"] == 1
    assert found["current_model_id"] == metadata.output("Stripper", "model", 0).id
    assert found["baseline_model_id"] == metadata.output("Trainer", "model", 0).id


@pytest.mark.e2e
def test_impossible_threshold_pushes_nothing(first: Run, refused: Run, metadata: Metadata) -> None:
    assert refused.returncode == EXIT_NOT_BLESSED, refused.stdout + refused.stderr
    auc = refused.cells("AUC")[1]
    message = f"Nothing was pushed: the Evaluator refused the model: AUC is {auc}, asked for is at least 1.0000.\n"
    assert refused.stderr == message
    assert refused.cells("pushed model") == ["none"]
    assert refused.pushed == first.pushed
    assert _value(metadata.output("Evaluator", "blessing", 1).custom_properties["blessed"]) == 0
    assert _value(metadata.output("Pusher", "pushed_model", 1).custom_properties["pushed"]) == 0


@pytest.mark.e2e
def test_later_run_prunes_the_same_dense_model_and_pushes_beside_the_first(
    first: Run, third: Run, metadata: Metadata
) -> None:
    assert third.returncode == 0, third.stdout + third.stderr
    assert third.stderr == ""
    assert len(third.pushed) == 2
    assert first.pushed[0] in third.pushed
    assert third.cells("sparsity of the pruned weights") == ["80.00%"]
    trainings = metadata.executions("Trainer")
    states = [training.last_known_state for training in trainings]
    assert states == [metadata_store_pb2.Execution.COMPLETE] + [metadata_store_pb2.Execution.CACHED] * 2
    assert len({metadata.output("Trainer", "model", run).id for run in range(3)}) == 1


@pytest.mark.e2e
def test_lineage_of_the_first_model_leads_from_the_data_to_its_push(third: Run, metadata: Metadata) -> None:
    reader = StoreReader(open_store(connection_config(str(third.root / "metadata.sqlite"))))
    found = lineage(reader, metadata.output("Stripper", "model", 0).id)
    nodes = {node.artifact.id: node for node in found.nodes}

    def path(artifact_id: int | None) -> list[tuple[str, str]]:
        if artifact_id is None:
            return []
        node = nodes[artifact_id]
        return [*path(node.parent_id), (node.artifact.type, node.artifact.made_by.node)]

    model = [
        ("Examples", "CsvExampleGen"),
        ("ExampleStatistics", "StatisticsGen"),
        ("Schema", "SchemaGen"),
        ("Examples", "Transform"),
        ("Model", "Trainer"),
        ("Model", "PruningTrainer"),
        ("Model", "Stripper"),
    ]
    pushed = metadata.output("Pusher", "pushed_model", 0).id
    assert path(pushed) == [*model, ("ModelBlessing", "Evaluator"), ("PushedModel", "Pusher")]
    assert nodes[pushed].followed
    assert nodes[metadata.output("Stripper", "model", 0).id].artifact.stage == "stripped"


@pytest.mark.e2e
def test_listed_runs_are_those_that_ran(third: Run) -> None:
    runs = list_runs(StoreReader(open_store(connection_config(str(third.root / "metadata.sqlite")))))
    assert [run.pipeline for run in runs] == ["chicago_taxi_pruning"] * 3
    assert [run.states() for run in reversed(runs)] == [
        {"complete": 11},
        {"cached": 8, "complete": 3},
        {"cached": 6, "complete": 5},
    ]
    assert sorted(execution.node for execution in runs[0].executions) == sorted(COMPONENTS)
