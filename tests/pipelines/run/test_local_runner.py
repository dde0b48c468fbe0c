import pathlib

import pytest
from tfx import v1 as tfx

from tfx_pruning.pipelines.run import local_runner
from tfx_pruning.pipelines.run.metadata_run import MetadataRun
from tfx_pruning.pipelines.task_state import TaskState
from tfx_pruning.pipelines.user_code import UserCode

STATES = []


@tfx.dsl.components.component
def Writer(
    text: tfx.dsl.components.Parameter[str],
    model: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Model],
) -> None:
    """Writes its parameter to its output."""
    pathlib.Path(model.uri, "text").write_text(text, encoding="utf-8")


def _run(root: pathlib.Path, text: str) -> str:
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    components = [Writer(text=text)]
    pipeline = tfx.dsl.Pipeline("small", str(root), components=components, metadata_connection_config=connection)
    return local_runner.run_pipeline(
        pipeline, lambda name, state: STATES.append((name, state)), UserCode(pathlib.Path(__file__))
    )


@pytest.mark.slow
def test_each_run_finds_its_own_outputs_whatever_began_after_it(tmp_path: pathlib.Path) -> None:
    STATES.clear()
    names = {text: _run(tmp_path, text) for text in ("first", "second")}
    assert STATES == [("Writer", None), ("Writer", TaskState.SUCCEEDED)] * 2
    assert len(set(names.values())) == 2
    for text, name in names.items():
        run = MetadataRun(str(tmp_path / "metadata.sqlite"), "small", name)
        assert run.name == name
        assert pathlib.Path(run.output("Writer", "model").uri, "text").read_text(encoding="utf-8") == text
