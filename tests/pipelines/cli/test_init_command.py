"""`tfx-pruning init`, and the folders that it makes."""

import json
import pathlib

import pytest
from click.testing import CliRunner

from tfx_pruning.pipelines.cli import init_command
from tfx_pruning.pipelines.config import PipelineConfig

EXAMPLES = pathlib.Path(__file__).parents[3] / "examples"


def invoke(*arguments):
    return CliRunner().invoke(init_command.command, list(map(str, arguments)))


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("template", init_command.TEMPLATES)
def test_a_template_is_copied_and_its_settings_are_a_configuration(template, tmp_path):
    folder = tmp_path / "parents" / "mine"
    result = invoke(folder, "--template", template, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert files_of(folder) == files_of(EXAMPLES / template)
    assert found["files"] == sorted(files_of(folder))
    assert found["run"] == f"tfx-pruning run --root {folder}/out --config {folder}/pipeline.yaml"
    config = PipelineConfig.read(folder / "pipeline.yaml", {"pipeline_root": "out", "serving_dir": "serving"})
    assert pathlib.Path(config.module_file).is_file()
    assert any(pathlib.Path(config.data_root).iterdir())
    assert config.shrink
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def test_the_next_line_to_type_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("my prices")
    assert result.exit_code == 0
    assert result.output.splitlines()[-2:] == [
        "Next:",
        "  tfx-pruning run --root 'my prices/out' --config 'my prices/pipeline.yaml'",
    ]


def test_an_empty_folder_is_filled_and_another_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert invoke(tmp_path / "empty").exit_code == 0
    result = invoke(tmp_path / "empty")
    assert result.exit_code == 2
    assert "is not empty. Name a folder that is not there yet." in result.output
    (tmp_path / "file").write_text("mine")
    assert invoke(tmp_path / "file").exit_code == 2
    assert (tmp_path / "file").read_text() == "mine"


def test_what_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def fails(*_):
        raise PermissionError("no")

    monkeypatch.setattr(init_command.os, "rename", fails)
    result = invoke(tmp_path / "mine")
    assert result.exit_code == 1
    assert "Error: no" in result.output
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_template_is_refused(tmp_path):
    result = invoke(tmp_path / "mine", "--template", "audio")
    assert result.exit_code == 2
    assert "'tabular', 'images', 'text'" in result.output
