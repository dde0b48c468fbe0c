"""Arguments of Beam's local runner: what they are, and that with workers the steps put out what they do without."""

import collections
import dataclasses
import importlib
import importlib.resources
import itertools
import pathlib
import re
from collections.abc import Callable
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner.worker_handlers import SubprocessSdkWorkerHandler
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.testing import util as testing_util
from google.protobuf import json_format
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import v1 as tfx
from tfx.orchestration.portable.launcher import Launcher

from tfx_pruning import Stripper, properties
from tfx_pruning.metadata.artifacts import ArtifactRecord, list_artifacts
from tfx_pruning.metadata.connection import connection_config, open_store
from tfx_pruning.metadata.store_reader import StoreReader
from tfx_pruning.pipelines.beam_args import beam_pipeline_args
from tfx_pruning.pipelines.beam_engine import beam_engine_args
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.pipeline import create_pipeline

BEAM_NODES = ("CsvExampleGen", "StatisticsGen", "Transform", "Stripper", "Evaluator")
MODULE = "tfx_pruning.pipelines.modules.taxi"
TAXI_DATA = "examples/chicago_taxi_pipeline/data/simple/data.csv"
ROWS = 1500


@pytest.mark.parametrize(("workers", "mode"), [(1, "in_memory"), (2, "multi_processing"), (7, "multi_processing")])
def test_beam_reads_the_arguments_as_they_are_meant(workers: int, mode: str) -> None:
    options = PipelineOptions(beam_pipeline_args(workers)).view_as(DirectOptions)
    assert (options.direct_running_mode, options.direct_num_workers) == (mode, workers)


def test_steps_never_start_prism(tmp_path: pathlib.Path) -> None:
    started, prism = tmp_path / "started", tmp_path / "prism"
    prism.write_text(f"#!/bin/sh\ntouch {started}\nexit 1\n")
    prism.chmod(0o755)
    argv = [*beam_pipeline_args(1), f"--prism_location={prism}"]
    with beam.Pipeline(argv=argv) as pipeline:
        numbers = pipeline | beam.Create([1, 2, 3]) | beam.Map(lambda number: 2 * number)
        testing_util.assert_that(numbers, testing_util.equal_to([2, 4, 6]))
    assert not started.exists()


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


@pytest.mark.parametrize("heading", ["Dataflow", "Flink", "Spark", "Dask"])
def test_beam_knows_the_arguments_in_the_docs(heading: str) -> None:
    page = (pathlib.Path(__file__).parents[2] / "docs" / "beam.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {heading}\n\n")[2].partition("\n## ")[0]
    arguments = section.partition("\n\n")[0].split()
    variants = [word for span in re.findall(r"`(--[^`]*=[^`]*)`", section) for word in span.split()]
    assert arguments[0].startswith("--runner=")
    importlib.import_module("apache_beam.runners.dask.dask_runner")  # has Dask's options
    options = PipelineOptions([*arguments, *variants])
    known = options.get_all_options(drop_default=True)
    assert known == options.get_all_options(drop_default=True, retain_unknown_options=True)
    assert len(known) >= 3


class _Starts:
    """How many worker processes of this machine each node starts, or how many jobs of an engine."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.by_node: collections.Counter[str] = collections.Counter()
        launch = Launcher.launch

        def launch_counting(launcher: Launcher) -> Any:
            self._node = launcher._pipeline_node.node_info.id
            return launch(launcher)

        patch.setattr(Launcher, "launch", launch_counting)
        for starter, method in (
            (SubprocessSdkWorkerHandler, "start_worker"),
            (PortableRunner, "run_portable_pipeline"),
        ):
            patch.setattr(starter, method, self._counting(starter, getattr(starter, method)))

    def _counting(self, starter: type, start: Callable[..., Any]) -> Callable[..., Any]:
        def counting(of: Any, *arguments: Any) -> Any:
            # DirectRunner tries a PrismRunner first, which is a PortableRunner.
            if type(of) is starter:
                self.by_node[self._node] += 1
            return start(of, *arguments)

        return counting


@dataclasses.dataclass(frozen=True)
class Run:
    """The taxi pipeline with its Beam steps in two worker processes or an engine, and each once more in this process.

    Attributes:
        starts: How many worker processes, or jobs of the engine, each node started.
        expected_starts: How many the nodes without a twin's name have to start.
        artifacts: By node and type.
    """

    starts: dict[str, int]
    expected_starts: int
    artifacts: dict[tuple[str, str], ArtifactRecord]

    def folder(self, node: str, kind: str) -> pathlib.Path:
        """Where an artifact is."""
        return pathlib.Path(self.artifacts[node, kind].uri)

    def examples(self, node: str, split: str) -> list[tf.train.Example]:
        """The examples of a split; workers write them in an order of their own."""
        files = [str(file) for file in self.folder(node, "Examples").glob(f"Split-{split}/*")]
        records = tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator()
        return [tf.train.Example.FromString(record) for record in records]


def _in_memory(node: str) -> str:
    return f"{node}.in_memory"


def _pipeline(root: pathlib.Path, beam_args: list[str]) -> tfx.dsl.Pipeline:
    config = PipelineConfig(
        pipeline_root=str(root / "artifacts"),
        data_root=str(root / "data"),
        serving_dir=str(root / "serving"),
        module_path=MODULE,
        train_steps=2,
        pruning_steps=10,
        eval_steps=1,
        warm_start=False,
        shrink=False,  # so that answers agree bit for bit, whatever the batches
    )
    pipeline = create_pipeline(config, beam_pipeline_args=beam_args)
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
            eval_config=json_format.Parse(nodes["Evaluator"].exec_properties["eval_config"], tfma.EvalConfig()),
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
def run(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Run:
    """One run on some of the taxi trips."""
    job_server = pytestconfig.getoption("--beam-job-server")
    beam_args = beam_engine_args(job_server, "localhost:50000") if job_server else beam_pipeline_args(2)
    root = tmp_path_factory.mktemp("beam")
    (root / "data").mkdir()
    with (importlib.resources.files("tfx") / TAXI_DATA).open(encoding="utf-8") as shipped:
        (root / "data" / "data.csv").write_text("".join(itertools.islice(shipped, ROWS + 1)))
    with pytest.MonkeyPatch.context() as patch:
        starts = _Starts(patch)
        tfx.orchestration.LocalDagRunner().run(_pipeline(root, beam_args))
    reader = StoreReader(open_store(connection_config(str(root / "metadata.sqlite"))))
    kinds = ("Examples", "ExampleStatistics", "TransformGraph", "Model", "ModelEvaluation")
    artifacts = {(record.made_by.node, kind): record for kind in kinds for record in list_artifacts(reader, kind)}
    return Run(dict(starts.by_node), 1 if job_server else 2, artifacts)


@pytest.mark.e2e
def test_every_beam_step_runs_elsewhere_and_its_twin_in_this_process(run: Run) -> None:
    assert run.starts == dict.fromkeys(BEAM_NODES, run.expected_starts)


@pytest.mark.e2e
@pytest.mark.parametrize("split", ["train", "eval"])
def test_examples_are_the_same(run: Run, split: str) -> None:
    found = [
        sorted(example.SerializeToString(deterministic=True) for example in run.examples(node, split))
        for node in ("CsvExampleGen", _in_memory("CsvExampleGen"))
    ]
    assert found[0] == found[1]
    assert ROWS / 4 < len(found[0]) < ROWS * 3 / 4


@pytest.mark.e2e
@pytest.mark.parametrize("split", ["train", "eval"])
def test_transformed_examples_are_the_same(run: Run, split: str) -> None:
    found = []
    for node in ("Transform", _in_memory("Transform")):
        features = [example.features.feature for example in run.examples(node, split)]
        names = sorted(features[0])
        floats = [name for name in names if features[0][name].float_list.value]
        whole = [name for name in names if name not in floats]
        rows = (
            [*(each[name].float_list.value[0] for name in floats), *(each[name].int64_list.value[0] for name in whole)]
            for each in features
        )
        found.append(np.array(sorted(rows), np.float64))
    assert found[0].shape == (len(run.examples("CsvExampleGen", split)), 15)
    assert len(floats) == 3
    # z-scores of means whose last bits depend on the order of the examples.
    np.testing.assert_allclose(found[0][:, :3], found[1][:, :3], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[0][:, 3:], found[1][:, 3:])


@pytest.mark.e2e
@pytest.mark.parametrize("split", ["train", "eval"])
def test_statistics_are_the_same(run: Run, split: str) -> None:
    found, moments = [], []
    for node in ("StatisticsGen", _in_memory("StatisticsGen")):
        content = (run.folder(node, "ExampleStatistics") / f"Split-{split}" / "FeatureStats.pb").read_bytes()
        (statistics,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(content).datasets
        statistics.features.sort(key=lambda feature: feature.path.step[0])
        numbers = [feature.num_stats for feature in statistics.features if feature.HasField("num_stats")]
        # Sums, whose last bits depend on the order of the examples.
        moments.append([moment for each in numbers for moment in (each.mean, each.std_dev)])
        for each in numbers:
            each.ClearField("mean")
            each.ClearField("std_dev")
        found.append(statistics)
    assert found[0] == found[1]
    assert moments[0] == pytest.approx(moments[1], rel=1e-9)
    assert found[0].num_examples == len(run.examples("CsvExampleGen", split))
    assert len(moments[0]) >= 20


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
    count = len(run.examples("CsvExampleGen", "eval"))
    for model in (tfma.BASELINE_KEY, tfma.CANDIDATE_KEY):
        found = []
        for node in ("Evaluator", _in_memory("Evaluator")):
            result = tfma.load_eval_result(str(run.folder(node, "ModelEvaluation")), model_name=model)
            metrics = result.get_metrics_for_slice()
            found.append({name: metrics[name]["doubleValue"] for name in ("AUC", "BinaryAccuracy", "ExampleCount")})
        # Batches are of other sizes, and with them the last bits of answers.
        assert found[0] == pytest.approx(found[1], abs=1e-4)
        assert found[0]["ExampleCount"] == found[1]["ExampleCount"] == count


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
    assert found[0][properties.EXAMPLES_PROVEN] == len(run.examples("CsvExampleGen", "eval"))
