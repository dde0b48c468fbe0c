import inspect

import pytest
from tfx import types
from tfx.components import Trainer
from tfx.orchestration import data_types
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts

from tfx_pruning import PruningHParams, PruningReport, PruningTrainer

EXAMPLES = types.Channel(type=standard_artifacts.Examples)
MODEL = types.Channel(type=standard_artifacts.Model)
HPARAMS = PruningHParams(prune_option="first_order_gradient", target_sparsity=0.9)


def component(**arguments):
    return PruningTrainer(**{"hparams": HPARAMS, "examples": EXAMPLES, "run_fn": "module.run_fn", **arguments})


def test_takes_every_parameter_of_the_tfx_trainer():
    ours, theirs = (inspect.signature(cls.__init__).parameters for cls in (PruningTrainer, Trainer))
    assert set(ours) - set(theirs) == {"hparams", "backup_steps", "teacher"}
    assert set(theirs) <= set(ours)


def test_outputs_and_execution_properties():
    pruned = component(train_args=trainer_pb2.TrainArgs(num_steps=7), custom_config={"a": 1})
    assert pruned.outputs["model"].type is standard_artifacts.Model
    assert pruned.outputs["model_run"].type is standard_artifacts.ModelRun
    assert pruned.outputs["report"].type is PruningReport
    assert PruningHParams.parse(pruned.exec_properties["hparams"]) == HPARAMS
    assert pruned.exec_properties["run_fn"] == "module.run_fn"
    assert pruned.exec_properties["custom_config"] == '{"a": 1}'
    assert "num_steps" in pruned.exec_properties["train_args"]
    assert pruned.id == "PruningTrainer"


def test_a_teacher_is_an_optional_model():
    assert "teacher" not in component().inputs
    taught = component(teacher=MODEL, hparams="distill_weight=0.5").with_id("PruningTrainer.taught")
    assert taught.inputs["teacher"] is MODEL
    parameter = data_types.RuntimeParameter(name="hparams", ptype=str, default="distill_weight=0.5")
    assert component(teacher=MODEL, hparams=parameter).inputs["teacher"] is MODEL
    tuned = types.Channel(type=standard_artifacts.HyperParameters)
    assert component(teacher=MODEL, hyperparameters=tuned).inputs["teacher"] is MODEL


def test_executor_is_found_under_the_packages_name():
    assert component().executor_spec.class_path == "tfx_pruning.pruning_trainer.executor.Executor"


@pytest.mark.parametrize(
    "hparams", [HPARAMS, HPARAMS.to_string(), "prune_option=first_order_gradient,target_sparsity=0.9"]
)
def test_hparams_are_an_object_or_its_string(hparams):
    assert PruningHParams.parse(component(hparams=hparams).exec_properties["hparams"]) == HPARAMS


def test_hparams_may_be_a_runtime_parameter():
    parameter = data_types.RuntimeParameter(name="hparams", ptype=str, default="target_sparsity=0.5")
    assert component(hparams=parameter).exec_properties["hparams"] is parameter


@pytest.mark.parametrize(
    ("arguments", "kind", "match"),
    [
        ({"hparams": "target_sparsity=1.5"}, ValueError, r"target_sparsity must be in \[0, 1\), got 1.5"),
        ({"hparams": "target_sparsty=0.5"}, ValueError, "Did you mean 'target_sparsity'"),
        ({"hparams": {"target_sparsity": 0.5}}, TypeError, "got dict"),
        ({"hparams": None}, TypeError, "got NoneType"),
        ({"backup_steps": -1}, ValueError, "backup_steps must be at least 0, got -1. Write 0 for no backups."),
        ({"backup_steps": 1.5}, TypeError, "backup_steps must be"),
        ({"teacher": MODEL}, ValueError, "teacher is given, but distill_weight is 0"),
        ({"hparams": "distill_weight=0.5"}, ValueError, "distill_weight=0.5 needs a teacher. Give the dense model"),
        ({"hparams": " "}, ValueError, "hparams is empty"),
        ({"module_file": "module.py"}, ValueError, "Exactly one of 'module_file' and 'run_fn'"),
        ({"run_fn": None}, ValueError, "Exactly one of 'module_file' and 'run_fn'"),
        ({"examples": None}, ValueError, "Exactly one of 'examples'"),
        ({"transformed_examples": EXAMPLES}, ValueError, "Exactly one of 'examples'"),
        ({"examples": None, "transformed_examples": EXAMPLES}, ValueError, "transform_graph"),
    ],
)
def test_wrong_arguments_are_refused_when_the_pipeline_is_built(arguments, kind, match):
    with pytest.raises(kind, match=match):
        component(**arguments)


@pytest.mark.parametrize("steps", [99, 100, 0])
def test_fewer_steps_than_the_schedule_are_warned_of_when_the_pipeline_is_built(steps, caplog):
    with caplog.at_level("WARNING", "absl"):
        component(
            hparams=PruningHParams(sparsity_function_end_step=100), train_args=trainer_pb2.TrainArgs(num_steps=steps)
        )
    expected = ["The sparsity reaches its target at step 100, but train_args.num_steps is 99"]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == (expected if steps == 99 else [])
