import json
import pathlib
import shutil

import click.testing
import numpy as np
import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from helpers.page_text import PageText
from helpers.report_models import train
from tfx_pruning.cli.report_command import command
from tfx_pruning.report.files import write_report


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="module")
def report_folder(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(trained.document, folder)
    return str(folder)


@pytest.fixture
def run(tmp_path):
    """Calls the command; returns its result and the page that it wrote, or None."""

    def call(*arguments):
        out = tmp_path / "out.html"
        result = click.testing.CliRunner().invoke(command, [*map(str, arguments), "-o", str(out)])
        return result, PageText(out.read_text(encoding="utf-8")) if out.exists() else None

    return call


@pytest.fixture
def database(tmp_path, trained, report_folder):
    """A store with three artifacts: a PruningReport, a Model, and one that has no report."""
    path = str(tmp_path / "metadata.sqlite")
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = path
    store = MetadataStore(config)
    model = tmp_path / "model_artifact"
    shutil.copytree(trained.saved, model / "Format-Serving")
    for name, uri in (("tfx_pruning.PruningReport", report_folder), ("Model", str(model)), ("Examples", "/examples")):
        type_id = store.put_artifact_type(metadata_store_pb2.ArtifactType(name=name))
        store.put_artifacts([metadata_store_pb2.Artifact(type_id=type_id, uri=uri)])
    return path


def left(trained):
    return sum(np.count_nonzero(layer.kernel) for layer in trained.model.layers)


def test_a_saved_model_is_reported_on(run, trained):
    result, page = run(trained.saved)
    assert result.exit_code == 0, result.output
    assert page.tiles["Weights not zero"].split() == [str(left(trained)), "of", "224", "pruned"]
    assert f"{left(trained)} of 224 prunable parameters are left, sparsity 75.00%" in result.stdout
    assert "out.html" in result.stdout


def test_a_report_is_shown_with_its_training(run, trained, report_folder):
    result, page = run(report_folder, "--json")
    assert json.loads(result.stdout) == {
        "report": str(pathlib.Path(json.loads(result.stdout)["report"])),
        "title": "Pruned model",
        "sparsity": 0.75,
        "prunable_parameters": 224,
        "nonzero_parameters": left(trained),
        "total_parameters": trained.model.count_params(),
        "total_sparsity": pytest.approx((224 - left(trained)) / trained.model.count_params()),
        "sizes": dict(trained.document.sizes),
    }
    assert {"course", "weights", "hparams"} <= set(page.tables)


@pytest.mark.parametrize("artifact", [1, 2])
def test_an_artifact_is_found_by_its_id(run, trained, database, artifact, monkeypatch):
    result, page = run(artifact, "--db", database)
    assert result.exit_code == 0, result.output
    assert page.tiles["Weights not zero"].split()[0] == str(left(trained))
    assert ("course" in page.tables) == (artifact == 1)
    monkeypatch.setenv("TFX_PRUNING_DB", database)
    assert run(artifact)[0].exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], ["nowhere is no folder", "SavedModel or PruningReport"]),
        (["7"], ["Artifact 7", "--db"]),
        (["7", "--db", "nowhere.sqlite"], ["there is no file", "nowhere.sqlite"]),
        (["9", "--db", "{database}"], ["no artifact 9"]),
        (["3", "--db", "{database}"], ["'Examples'", "expected a PruningReport or a Model"]),
        (["{empty}"], ["holds no SavedModel"]),
    ],
)
def test_what_cannot_be_reported_on_is_refused_and_nothing_written(run, database, tmp_path, arguments, words):
    (tmp_path / "empty").mkdir()
    result, page = run(*(each.format(database=database, empty=tmp_path / "empty") for each in arguments))
    assert (result.exit_code, page) == (1, None)
    for word in words:
        assert word in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
