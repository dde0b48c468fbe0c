"""Arguments of Beam's local runner: what they are, and that with workers the steps put out what they do without."""

import collections
import dataclasses
import itertools
import logging
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner.worker_handlers import SubprocessSdkWorkerHandler
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import v1 as tfx

from tfx_pruning import Stripper, properties
from tfx_pruning.metadata.artifacts import ArtifactRecord, list_artifacts
from tfx_pruning.metadata.connection import connection_config, open_store
from tfx_pruning.metadata.store_reader import StoreReader
from tfx_pruning.pipelines.beam_args import beam_pipeline_args
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.local_runner import shipped_data
from tfx_pruning.pipelines.pipeline import create_pipeline, eval_config

BEAM_NODES = ("CsvExampleGen", "StatisticsGen", "Transform", "Stripper", "Evaluator")
MODULE = "tfx_pruning.pipelines.modules.taxi"
ROWS = 1500


@pytest.mark.parametrize(("workers", "mode"), [(1, "in_memory"), (2, "multi_processing"), (7, "multi_processing")])
def test_beam_reads_the_arguments_as_they_are_meant(workers: int, mode: str) -> None:
    options = PipelineOptions(beam_pipeline_args(workers)).view_as(DirectOptions)
    assert (options.direct_running_mode, options.direct_num_workers) == (mode, workers)


@pytest.mark.parametrize(
    ("workers", "kind", "message"),
    [
        (0, ValueError, "workers must be at least 1, got 0: 1 runs the Beam steps in this process."),
        (-2, ValueError, "workers must be at least 1, got -2"),
        (2.0, TypeError, "workers must be a whole number, got 2.0 of type float."),
        ("2", TypeError, "workers must be a whole number, got '2' of type str."),
        (True, TypeError, "workers must be a whole number, got True of type bool."),
    ],
)
def test_wrong_numbers_of_workers_are_refused(workers: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        beam_pipeline_args(workers)
    assert str(caught.value).startswith(message)


class _NodeWatch(logging.Handler):
    """Knows which node LocalDagRunner runs, and counts the worker processes that are started meanwhile."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._node = ""
        self.workers: collections.Counter[str] = collections.Counter()

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage().split()
        if words[0] == "Component" and words[2:] == ["is", "running."]:
            self._node = words[1]

    def start_worker(self) -> None:
        self.workers[self._node] += 1


@dataclasses.dataclass(frozen=True)
class Run:
    """The taxi pipeline with its Beam steps in two worker processes, and each of them once more in this process.

    Attributes:
        workers: How many worker processes each node started.
        artifacts: By node and type.
    """

    workers: dict[str, int]
    artifacts: dict[tuple[str, str], ArtifactRecord]

    def folder(self, node: str, kind: str) -> pathlib.Path:
        """Where an artifact is."""
        return pathlib.Path(self.artifacts[node, kind].uri)

    def records(self, node: str, split: str) -> list[bytes]:
        """The examples of a split; workers write them in an order of their own."""
        files = [str(file) for file in self.folder(node, "Examples").glob(f"Split-{split}/*")]
        return sorted(tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator())


def _in_memory(node: str) -> str:
    return f"{node}.in_memory"


def _pipeline(root: pathlib.Path) -> tfx.dsl.Pipeline:
    config = PipelineConfig(
        pipeline_root=str(root / "artifacts"),
        data_root=str(root / "data"),
        serving_dir=str(root / "serving"),
        module_path=MODULE,
        train_steps=2,
        pruning_steps=10,
        eval_steps=1,
        warm_start=False,
    )
    pipeline = create_pipeline(config, beam_pipeline_args=beam_pipeline_args(2))
    nodes = {node.id: node for node in pipeline.components}
    examples, model = nodes["CsvExampleGen"].outputs["examples"], nodes["Stripper"].outputs["model"]
    again = (
        tfx.components.CsvExampleGen(input_base=config.data_root),
        tfx.components.StatisticsGen(examples=examples),
        tfx.components.Transform(
            examples=examples,
            schema=nodes["SchemaGen"].outputs["schema"],
            disable_statistics=True,
            preprocessing_fn=f"{MODULE}.preprocessing_fn",
        ),
        Stripper(model=nodes["PruningTrainer"].outputs["model"], examples=examples),
        tfx.components.Evaluator(
            examples=examples,
            model=model,
            baseline_model=nodes["Trainer"].outputs["model"],
            eval_config=eval_config(config),
        ),
    )
    twins = [
        node.with_id(_in_memory(name)).with_beam_pipeline_args(beam_pipeline_args(1))
        for name, node in zip(BEAM_NODES, again, strict=True)
    ]
    return tfx.dsl.Pipeline(
        pipeline_name="beam",
        pipeline_root=config.pipeline_root,
        components=[*pipeline.components, *twins],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.sqlite")
        ),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run on some of the taxi trips."""
    root = tmp_path_factory.mktemp("beam")
    (root / "data").mkdir()
    with open(pathlib.Path(shipped_data(), "data.csv"), encoding="utf-8") as shipped:
        (root / "data" / "data.csv").write_text("".join(itertools.islice(shipped, ROWS + 1)))
    watch = _NodeWatch()
    start_worker = SubprocessSdkWorkerHandler.start_worker

    def counted(handler: SubprocessSdkWorkerHandler) -> None:
        watch.start_worker()
        start_worker(handler)

    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(watch)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SubprocessSdkWorkerHandler, "start_worker", counted)
            tfx.orchestration.LocalDagRunner().run(_pipeline(root))
    finally:
        logger.removeHandler(watch)
        logger.setLevel(level)
    reader = StoreReader(open_store(connection_config(str(root / "metadata.sqlite"))))
    kinds = ("Examples", "ExampleStatistics", "TransformGraph", "Model", "ModelEvaluation")
    artifacts = {(record.origin.node, kind): record for kind in kinds for record in list_artifacts(reader, kind)}
    return Run(dict(watch.workers), artifacts)


@pytest.mark.e2e
def test_every_beam_step_runs_in_two_worker_processes_and_its_twin_in_none(run: Run) -> None:
    assert set(run.workers) == set(BEAM_NODES)
    assert {count % 2 for count in run.workers.values()} == {0}


@pytest.mark.e2e
@pytest.mark.parametrize("node", ["CsvExampleGen", "Transform"])
@pytest.mark.parametrize("split", ["train", "eval"])
def test_examples_are_the_same(run: Run, node: str, split: str) -> None:
    records = run.records(node, split)
    assert records == run.records(_in_memory(node), split)
    assert ROWS / 4 < len(records) < ROWS * 3 / 4


@pytest.mark.e2e
@pytest.mark.parametrize("split", ["train", "eval"])
def test_statistics_are_the_same(run: Run, split: str) -> None:
    found = [
        statistics_pb2.DatasetFeatureStatisticsList.FromString(
            (run.folder(node, "ExampleStatistics") / f"Split-{split}" / "FeatureStats.pb").read_bytes()
        )
        for node in ("StatisticsGen", _in_memory("StatisticsGen"))
    ]
    assert found[0] == found[1]
    assert found[0].datasets[0].num_examples == len(run.records("CsvExampleGen", split))


@pytest.mark.e2e
def test_vocabularies_are_the_same(run: Run) -> None:
    files = [
        {
            file.name: file.read_bytes()
            for file in (run.folder(node, "TransformGraph") / "transform_fn/assets").iterdir()
        }
        for node in ("Transform", _in_memory("Transform"))
    ]
    assert files[0] == files[1]
    assert set(files[0]) == {"company", "payment_type"}


@pytest.mark.e2e
def test_metrics_are_the_same(run: Run) -> None:
    found = []
    for node in ("Evaluator", _in_memory("Evaluator")):
        uri = str(run.folder(node, "ModelEvaluation"))
        results = [tfma.load_eval_result(uri, model_name=name) for name in (tfma.BASELINE_KEY, tfma.CANDIDATE_KEY)]
        found.append([result.get_metrics_for_slice() for result in results])
    assert found[0] == found[1]
    count = len(run.records("CsvExampleGen", "eval"))
    assert [metrics["example_count"]["doubleValue"] for metrics in found[0]] == [count, count]


@pytest.mark.e2e
def test_proofs_are_the_same(run: Run) -> None:
    found = [
        {
            name: run.artifacts[node, "Model"].properties[name]
            for name in (
                properties.EXAMPLES_PROVEN,
                properties.EXAMPLES_DIFFERING,
                properties.MAX_ABSOLUTE_DIFFERENCE,
                properties.SIGNATURE_PROVEN,
                properties.SPLITS_PROVEN,
                properties.NONZERO_PARAMETERS,
            )
        }
        for node in ("Stripper", _in_memory("Stripper"))
    ]
    assert found[0] == found[1]
    assert found[0][properties.EXAMPLES_PROVEN] == len(run.records("CsvExampleGen", "eval"))
