"""What a TFX pipeline may ask of any component, asked of ours: four runs of one small pipeline over one root.

The first, the second unchanged, the third with other values of its RuntimeParameters, the fourth with another span.
"""

import dataclasses
import json
import pathlib
from typing import Any

import pytest
from tfx import v1 as tfx
from tfx.dsl.compiler import compiler
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.proto import range_config_pb2
from tfx.proto.orchestration import pipeline_pb2, platform_config_pb2

from helpers import regression_module
from tfx_pruning import PruningHParams, PruningTrainer, Stripper
from tfx_pruning.metadata.artifacts import ArtifactRecord, list_artifacts
from tfx_pruning.metadata.connection import connection_config, open_store
from tfx_pruning.metadata.runs import list_runs
from tfx_pruning.metadata.store_reader import StoreReader
from tfx_pruning.report.files import read_report

pytestmark = pytest.mark.e2e
# The one kind that LocalDagRunner takes; a process has no use for it.
PLATFORM_CONFIG = platform_config_pb2.DockerPlatformConfig(name="pruning")

NAME = "citizenship"
# Records of each span: of the split train, and of eval.
SPANS = {1: (40, 10), 2: (60, 20)}
DATA = ("ImportExampleGen", "Window")
TRAINED = ("Trainer", "Tuner", "PruningTrainer.tuned")
CONDITIONAL = ("PruningTrainer.conditional", "Stripper.conditional")
CUSTOM_CONFIG = {"units": 16, "nested": {"list": [1, "two", None]}}
TAUGHT = dataclasses.replace(regression_module.HPARAMS, distill_weight=0.25)
SPARSER = PruningHParams.for_steps(24, prune_option="weight", target_sparsity=0.9, distill_weight=0.5)
# A RuntimeParameter each, and what the third run gives them.
BINDINGS = {
    "hparams": SPARSER.to_string(),
    "pruning_args": '{"num_steps": 24}',
    "tolerance": 0.125,
}


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of the pipeline.

    Attributes:
        states: State of the execution of each node, in the order in which they ran.
        artifacts: What came out of it, anew or from the cache, by node and type.
    """

    states: dict[str, str]
    artifacts: dict[tuple[str, str], ArtifactRecord]

    def properties(self, node: str) -> dict[str, Any]:
        """Properties of the model of a node."""
        return self.artifacts[node, "Model"].properties

    def seen(self, node: str) -> dict[str, Any]:
        """What run_fn was given at a node."""
        folder = pathlib.Path(self.artifacts[node, "ModelRun"].uri)
        return json.loads((folder / "seen.json").read_text())


def _write_span(data: pathlib.Path, span: int) -> None:
    for split, count in zip(("train", "eval"), SPANS[span], strict=True):
        regression_module.write_examples(data / f"span-{span}" / split / "data.tfrecord.gz", count, seed=span)


def _pipeline(root: pathlib.Path) -> tfx.dsl.Pipeline:
    parameter = tfx.dsl.experimental.RuntimeParameter
    run_fn, eval_args = "helpers.regression_module.run_fn", tfx.proto.EvalArgs()
    splits = [tfx.proto.Input.Split(name=name, pattern=f"span-{{SPAN}}/{name}/*") for name in ("train", "eval")]
    example_gen = tfx.components.ImportExampleGen(
        input_base=str(root / "data"), input_config=tfx.proto.Input(splits=splits)
    )
    examples = example_gen.outputs["examples"]
    window = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.SpanRangeStrategy,
        config={"range_config": range_config_pb2.RangeConfig(rolling_range=range_config_pb2.RollingRange(num_spans=2))},
        examples=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Examples, producer_component_id=example_gen.id),
    ).with_id("Window")
    window.add_upstream_node(example_gen)
    trainer = tfx.components.Trainer(
        run_fn=run_fn, examples=examples, train_args=tfx.proto.TrainArgs(num_steps=20), eval_args=eval_args
    )
    tuner = tfx.components.Tuner(
        tuner_fn="helpers.regression_module.tuner_fn",
        examples=examples,
        train_args=tfx.proto.TrainArgs(num_steps=20),
        eval_args=eval_args,
    )
    plain = PruningTrainer(
        run_fn=run_fn,
        examples=window.outputs["examples"],
        train_args=parameter("pruning_args", str, '{"num_steps": 20}'),
        eval_args=eval_args,
        hparams=parameter("hparams", str, TAUGHT.to_string()),
        teacher=trainer.outputs["model"],
        custom_config=CUSTOM_CONFIG,
    ).with_id("PruningTrainer.plain")
    plain = plain.with_platform_config(PLATFORM_CONFIG)
    tuned = PruningTrainer(
        run_fn=run_fn,
        examples=examples,
        hyperparameters=tuner.outputs["best_hyperparameters"],
        train_args=tfx.proto.TrainArgs(num_steps=20),
        eval_args=eval_args,
        hparams=regression_module.HPARAMS,
    ).with_id("PruningTrainer.tuned")
    sparsity = plain.outputs["model"].future()[0].custom_property("sparsity")
    with tfx.dsl.Cond(sparsity >= 0.5):
        stripper = Stripper(
            model=plain.outputs["model"],
            examples=window.outputs["examples"],
            tolerance=parameter("tolerance", float, 0.25),  # TFX loses a default of 0
        ).with_id("Stripper.plain")
    with tfx.dsl.Cond(sparsity >= 0.8):
        again = PruningTrainer(
            run_fn=run_fn,
            examples=examples,
            train_args=tfx.proto.TrainArgs(num_steps=20),
            eval_args=eval_args,
            hparams=TAUGHT,
            teacher=trainer.outputs["model"],
        ).with_id("PruningTrainer.conditional")
        strip_again = Stripper(model=again.outputs["model"]).with_id("Stripper.conditional")
    return tfx.dsl.Pipeline(
        pipeline_name=NAME,
        pipeline_root=str(root / "artifacts"),
        components=[example_gen, window, trainer, tuner, plain, tuned, stripper, again, strip_again],
        enable_cache=True,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.sqlite")
        ),
    )


def _run(root: pathlib.Path, **parameters: Any) -> Run:
    compiled = compiler.Compiler().compile(_pipeline(root))
    runtime_parameter_utils.substitute_runtime_parameter(compiled, parameters)
    tfx.orchestration.LocalDagRunner().run_with_ir(compiled)
    reader = StoreReader(open_store(connection_config(str(root / "metadata.sqlite"))))
    run, *_ = list_runs(reader)
    artifacts = {
        (record.made_by.node, kind): record
        for kind in ("Examples", "Model", "ModelRun", "HyperParameters", "PruningReport")
        for record in list_artifacts(reader, kind)
        if run.id in record.runs
    }
    return Run({execution.node: execution.state for execution in run.executions}, artifacts)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """The four runs."""
    root = tmp_path_factory.mktemp("citizenship")
    _write_span(root / "data", 1)
    found = [_run(root), _run(root), _run(root, **BINDINGS)]
    _write_span(root / "data", 2)
    return [*found, _run(root)]


def test_first_run_executes_every_node_but_those_whose_condition_does_not_hold(runs: list[Run]) -> None:
    assert runs[0].states == dict.fromkeys([*DATA, *TRAINED, "PruningTrainer.plain", "Stripper.plain"], "complete")


def test_second_run_executes_nothing(runs: list[Run]) -> None:
    # Resolvers are queries, which have no cache.
    assert runs[1].states == {**dict.fromkeys(runs[0].states, "cached"), "Window": "complete"}
    assert runs[1].artifacts.keys() == runs[0].artifacts.keys()
    assert all(record.id == runs[0].artifacts[key].id for key, record in runs[1].artifacts.items())


def test_other_hparams_run_what_takes_them_and_what_comes_after(runs: list[Run]) -> None:
    ran = {node for node, state in runs[2].states.items() if state == "complete"} - {"Window"}
    assert ran == {"PruningTrainer.plain", "Stripper.plain", *CONDITIONAL}
    cached = {node for node, state in runs[2].states.items() if state == "cached"}
    assert cached == {"ImportExampleGen", *TRAINED}


def test_runtime_parameters_have_their_defaults_or_the_values_of_a_run(runs: list[Run]) -> None:
    node = "PruningTrainer.plain"
    assert PruningHParams.parse(runs[0].properties(node)["hparams"]) == TAUGHT
    assert PruningHParams.parse(runs[2].properties(node)["hparams"]) == SPARSER
    assert [run.seen(node)["train_steps"] for run in runs] == [20, 20, 24, 20]
    assert [run.properties("Stripper.plain")["tolerance"] for run in runs] == ["0.25", "0.25", "0.125", "0.25"]
    # Of 10 * 16 + 16 weights, 88 and 158 at zero.
    assert [run.properties("Stripper.plain")["nonzero_parameters"] for run in runs] == [88, 88, 18, 88]


def test_condition_on_the_sparsity_runs_and_skips(runs: list[Run]) -> None:
    assert [set(CONDITIONAL) & set(run.states) for run in runs] == [set(), set(), set(CONDITIONAL), set()]
    assert runs[2].properties("Stripper.conditional")["sparsity"] == 0.5


def test_teacher_is_the_dense_model_of_the_run_by_the_reports_lineage(runs: list[Run]) -> None:
    taught = [(run, "PruningTrainer.plain") for run in runs] + [(runs[2], CONDITIONAL[0])]
    for run, node in taught:
        dense = run.artifacts["Trainer", "Model"]
        report = read_report(run.artifacts[node, "PruningReport"].uri)
        assert report.lineage["input teacher"] == f"Model {dense.id}: {dense.uri}"
    assert runs[0].artifacts["Trainer", "Model"].id != runs[3].artifacts["Trainer", "Model"].id


def test_custom_config_reaches_run_fn_as_it_was_given(runs: list[Run]) -> None:
    assert runs[0].seen("PruningTrainer.plain")["custom_config"] == CUSTOM_CONFIG
    assert runs[0].properties("PruningTrainer.plain")["total_parameters"] == 10 * 16 + 16 + 16 + 1


def test_two_trainers_with_ids_leave_a_model_each(runs: list[Run]) -> None:
    found = {node: runs[0].properties(node)["sparsity"] for node in ("PruningTrainer.plain", "PruningTrainer.tuned")}
    assert found == {"PruningTrainer.plain": 0.5, "PruningTrainer.tuned": 0.75}


def test_platform_config_of_a_node_is_compiled_for_it_alone(tmp_path: pathlib.Path, runs: list[Run]) -> None:
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    assert compiler.Compiler().compile(_pipeline(tmp_path)).deployment_config.Unpack(deployment)
    (name,) = deployment.node_level_platform_configs
    assert name == "PruningTrainer.plain"
    assert runs[0].states[name] == "complete"
    found = platform_config_pb2.DockerPlatformConfig()
    assert deployment.node_level_platform_configs[name].Unpack(found)
    assert found == PLATFORM_CONFIG


def test_tuner_overrides_the_pruning_hyperparameters_that_it_searched(runs: list[Run]) -> None:
    folder = pathlib.Path(runs[0].artifacts["Tuner", "HyperParameters"].uri)
    (file,) = folder.iterdir()
    best = json.loads(file.read_text())
    criterion = best["values"]["pruning/prune_option"]
    assert best["values"] == {"units": 12, "pruning/prune_option": criterion, "pruning/target_sparsity": 0.75}
    effective = dataclasses.replace(regression_module.HPARAMS, prune_option=criterion, target_sparsity=0.75)
    found = runs[0].properties("PruningTrainer.tuned")
    assert found["hparams"] == effective.to_string()
    assert (found["prune_option"], found["target_sparsity"]) == (criterion, 0.75)
    assert (found["prunable_parameters"], found["nonzero_parameters"]) == (10 * 12 + 12, 33)
    report = read_report(runs[0].artifacts["PruningTrainer.tuned", "PruningReport"].uri)
    assert report.hparams == effective.to_string()
    tuned = runs[0].artifacts["Tuner", "HyperParameters"]
    assert report.lineage["input hyperparameters"] == f"HyperParameters {tuned.id}: {tuned.uri}"


def test_run_fn_gets_all_hyperparameters_untouched(runs: list[Run]) -> None:
    (file,) = pathlib.Path(runs[0].artifacts["Tuner", "HyperParameters"].uri).iterdir()
    assert runs[0].seen("PruningTrainer.tuned")["hyperparameters"] == json.loads(file.read_text())


def test_later_span_is_found_and_trained_on(runs: list[Run]) -> None:
    assert [run.artifacts["ImportExampleGen", "Examples"].properties["span"] for run in runs] == [1, 1, 1, 2]
    assert [run.seen("PruningTrainer.tuned")["records"] for run in runs] == [40, 40, 40, 60]
    assert runs[3].states == runs[0].states


def test_rolling_window_of_spans_is_trained_and_proven_on(runs: list[Run]) -> None:
    assert [run.seen("PruningTrainer.plain")["records"] for run in runs] == [40, 40, 40, 100]
    assert [run.properties("Stripper.plain")["examples_proven"] for run in runs] == [10, 10, 10, 30]
