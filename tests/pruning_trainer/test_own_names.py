"""A criterion and a schedule of the user's, defined in the module with run_fn."""

import pathlib

import keras
import pytest
from tfx import v1 as tfx
from tfx.dsl.components.common import importer

from helpers import own_names
from tfx_pruning import PruningHParams, PruningReport, PruningTrainer, properties
from tfx_pruning.pruning_trainer.executor import Executor
from tfx_pruning.report.files import HTML_NAME, read_report

HPARAMS = (
    "prune_option={criterion},sparsity_function={schedule},target_sparsity=0.8,pruning_frequency=1,"
    "begin_pruning_step=1,sparsity_function_end_step=8"
)


def user_module(folder, suffix=""):
    """Writes the module to a folder, its names and classes with a suffix."""
    text = pathlib.Path(own_names.__file__).read_text()
    for name in ("RootMeanSquare", "Stairs", "root_mean_square", "stairs"):
        text = text.replace(name, name + suffix)
    file = folder / "users_module.py"
    file.write_text(text)
    return str(file)


def artifact(kind, folder):
    made = kind()
    made.uri = str(folder)
    return made


def trained(folder, module_file, hparams):
    """Runs the executor; gives the model and the report."""
    examples = artifact(tfx.types.standard_artifacts.Examples, folder / "examples")
    examples.split_names = '["train", "eval"]'
    model, report = (
        artifact(kind, folder / kind.__name__) for kind in (tfx.types.standard_artifacts.Model, PruningReport)
    )
    outputs = {
        "model": [model],
        "report": [report],
        "model_run": [artifact(tfx.types.standard_artifacts.ModelRun, folder / "model_run")],
    }
    given = {
        "module_file": module_file,
        "train_args": '{"num_steps": 10}',
        "eval_args": "{}",
        "custom_config": "null",
        "hparams": hparams,
    }
    Executor().Do({"examples": [examples]}, outputs, given)
    return model, report


def test_the_executor_imports_the_module_before_it_reads_the_hyperparameters(tmp_path):
    hparams = HPARAMS.format(criterion="root_mean_square_of_executor", schedule="stairs_of_executor")
    with pytest.raises(ValueError, match=r"register_criterion\('root_mean_square_of_executor'"):
        PruningHParams.parse(hparams)
    model, report = trained(tmp_path, user_module(tmp_path, "_of_executor"), hparams)
    assert model.get_custom_property(properties.PRUNE_OPTION) == "root_mean_square_of_executor"
    assert model.get_custom_property(properties.NONZERO_PARAMETERS) == 40 + 4
    points = {point.step: point.reached for point in read_report(report.uri).training.sparsity}
    assert [points[step] for step in (1, 3, 5, 7, 9)] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert "root_mean_square_of_executor" in (pathlib.Path(report.uri) / HTML_NAME).read_text()


def test_the_executor_imports_the_module_that_the_hyperparameters_name(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    pathlib.Path(user_module(tmp_path / "code", "_of_code")).rename(tmp_path / "code" / "names_of_code.py")
    monkeypatch.syspath_prepend(tmp_path / "code")
    criterion = "names_of_code:root_mean_square_of_code"
    hparams = HPARAMS.format(criterion=criterion, schedule="names_of_code:stairs_of_code")
    model, report = trained(tmp_path, user_module(tmp_path, "_of_run_fn"), hparams)
    assert model.get_custom_property(properties.PRUNE_OPTION) == criterion
    assert model.get_custom_property(properties.NONZERO_PARAMETERS) == 40 + 4
    assert criterion in (pathlib.Path(report.uri) / HTML_NAME).read_text()


def component(module_file, hparams):
    examples = importer.Importer(
        source_uri=str(pathlib.Path(module_file).parent / "examples"),
        artifact_type=tfx.types.standard_artifacts.Examples,
        properties={"split_names": '["train", "eval"]'},
    ).with_id("Examples")
    trainer = PruningTrainer(
        module_file=module_file,
        examples=examples.outputs["result"],
        train_args=tfx.proto.TrainArgs(num_steps=10),
        eval_args=tfx.proto.EvalArgs(),
        hparams=hparams,
    )
    return [examples, trainer]


def test_a_pipeline_that_did_not_import_the_module_is_refused_where_it_is_made(tmp_path):
    hparams = HPARAMS.format(criterion="root_mean_square_of_nobody", schedule="stairs")
    with pytest.raises(ValueError, match=r"import the module that calls tfx_pruning\.register_criterion"):
        component(user_module(tmp_path, "_of_nobody"), hparams)


@pytest.mark.e2e
@pytest.mark.usefixtures("registered_before")
def test_a_pipeline_runs_with_a_criterion_and_a_schedule_of_its_module(tmp_path):
    (tmp_path / "examples").mkdir()
    keras.utils.set_random_seed(0)
    hparams = HPARAMS.format(criterion="root_mean_square", schedule="stairs")
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="own_names",
        pipeline_root=str(tmp_path / "root"),
        components=component(user_module(tmp_path), hparams),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(tmp_path / "metadata.sqlite")
        ),
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)
    (report,) = (tmp_path / "root" / "PruningTrainer" / "report").iterdir()
    document = read_report(str(report))
    assert {weight.shape: weight.nonzero for weight in document.weights} == {(10, 20): 40, (20, 1): 4}
    assert "prune_option=root_mean_square," in document.hparams
