"""Executions of runs that were killed, as rows of ML Metadata and as folders."""

import pathlib

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx import v1 as tfx

from helpers.store_builder import STATE, StoreBuilder
from tfx_pruning.pipelines.run import local_runner
from tfx_pruning.pipelines.run.dead_executions import end_dead_executions
from tfx_pruning.pipelines.run.folder import RunFolder
from tfx_pruning.pipelines.user_code import UserCode

FILES = (
    "Trainer/model/1/Format-Serving/saved_model.pb",
    "Trainer/.system/executor_execution/1/executor_output.pb",
    "PruningTrainer.weight_s9000/model/2/Format-Serving/variables",
    "PruningTrainer.weight_s9000/report/2/report.json",
    "PruningTrainer.weight_s9000/.system/executor_execution/2/.temp/file",
    "PruningTrainer.weight_s9000/.system/stateful_working_dir/0e0d/file",
    "PruningTrainer.weight_s9000/model/1/file",
    "PruningTrainer.weight_s9000/model/22/file",
    "PruningTrainer.weight_s9000/model/.training_backup_0a1b/fit_0.weights.h5",
    "Stripper/model/3/file",
    "Stripper/model/2/file",
    "Evaluator/evaluation/5/metrics",
    "metadata.sqlite",
)
GONE = {FILES[index] for index in (2, 3, 4, 5, 9)}


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with a run that is done, one of another pipeline that was killed at two nodes, and one that failed."""
    builder = StoreBuilder(tmp_path / "metadata.sqlite")
    builder.run("taxi", "first")
    builder.execute("tfx.components.Trainer", outputs={"model": "Model"})
    builder.run("taxi_sweep", "second")
    builder.execute("tfx_pruning.PruningTrainer", node="PruningTrainer.weight_s9000", state=STATE.RUNNING)
    builder.execute("tfx_pruning.Stripper", {"model": 1}, state=STATE.NEW)
    builder.execute("tfx_pruning.Stripper", {"model": 1}, state=STATE.FAILED)
    builder.execute("tfx.components.Evaluator", {"model": 1}, state=STATE.CACHED)
    builder.run(None, None)
    builder.execute("elsewhere", state=STATE.RUNNING)
    for name in FILES[:-1]:
        (tmp_path / "artifacts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "artifacts" / name).touch()
    return tmp_path


def _executions(root: pathlib.Path) -> dict[int, mlmd.Execution]:
    return {each.id: each for each in StoreBuilder(root / "metadata.sqlite").store.get_executions()}


def _files(root: pathlib.Path) -> set[str]:
    artifacts = root / "artifacts"
    return {str(file.relative_to(artifacts)) for file in artifacts.rglob("*") if file.is_file()} | {FILES[-1]}


def test_what_was_running_failed_and_its_folders_go_and_nothing_else(root: pathlib.Path) -> None:
    before = _executions(root)
    assert end_dead_executions(str(root / "metadata.sqlite"), str(root / "artifacts")) == 2
    after = _executions(root)
    failed, complete = STATE.FAILED, STATE.COMPLETE
    states = [complete, failed, failed, failed, STATE.CACHED, STATE.RUNNING]
    assert [after[id].last_known_state for id in sorted(after)] == states
    assert all(after[id] == before[id] for id in (1, 4, 5, 6))
    for id in (2, 3):
        assert "process of the run has ended" in after[id].custom_properties["__execution_result__"].string_value
    assert _files(root) == set(FILES) - GONE
    assert not (root / "artifacts" / "PruningTrainer.weight_s9000" / "report" / "2").exists()
    store = StoreBuilder(root / "metadata.sqlite").store
    assert {each.name for each in store.get_contexts_by_execution(3)} == {"taxi_sweep", "second", "taxi_sweep.Stripper"}
    assert [event.artifact_id for event in store.get_events_by_execution_ids([3])] == [1]
    assert end_dead_executions(str(root / "metadata.sqlite"), str(root / "artifacts")) == 0
    assert _executions(root) == after


def test_folders_stay_if_the_root_is_not_named_and_no_file_is_made(root: pathlib.Path) -> None:
    assert end_dead_executions(str(root / "metadata.sqlite")) == 2
    assert _files(root) == set(FILES)
    assert end_dead_executions(str(root / "none.sqlite"), str(root / "artifacts")) == 0
    assert not (root / "none.sqlite").exists()


def test_only_a_locked_folder_is_put_in_order(root: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(root)
    before = _executions(root)
    folder.end_dead_executions(str(folder.artifacts))
    with monkeypatch.context() as patched:
        # As on a file system without locks.
        patched.setattr("tfx_pruning.leftovers.is_local", lambda path: False)
        with folder.reserved("tfx-pruning run"):
            folder.end_dead_executions(str(folder.artifacts))
    assert (_executions(root), _files(root)) == (before, set(FILES))
    with folder.reserved("tfx-pruning run"):
        folder.end_dead_executions(str(folder.artifacts))
    assert _files(root) == set(FILES) - GONE


def test_artifacts_elsewhere_stay(root: pathlib.Path) -> None:
    (root / "root").mkdir()
    (root / "metadata.sqlite").rename(root / "root" / "metadata.sqlite")
    folder = RunFolder(root / "root")
    with folder.reserved("tfx-pruning run"):
        folder.end_dead_executions(str(folder.root / ".." / "artifacts"))
    assert _executions(folder.root)[2].last_known_state == STATE.FAILED
    assert _files(root) == set(FILES)


@tfx.dsl.components.component
def Interrupted(
    text: tfx.dsl.components.Parameter[str],
    model: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Model],
) -> None:
    """Writes half of its output, and is ended by Ctrl-C unless there is nothing to do."""
    pathlib.Path(model.uri, "half").write_text(text, encoding="utf-8")
    if text == "interrupted":
        raise KeyboardInterrupt


def test_folders_are_those_that_tfx_makes(tmp_path: pathlib.Path) -> None:
    metadata, artifacts = str(tmp_path / "metadata.sqlite"), tmp_path / "artifacts"
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(metadata)

    def run(text: str) -> None:
        pipeline = tfx.dsl.Pipeline(
            "small", str(artifacts), components=[Interrupted(text=text)], metadata_connection_config=connection
        )
        local_runner.run_pipeline(pipeline, lambda *_: None, UserCode(pathlib.Path(__file__)))

    run("whole")
    before = _files(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run("interrupted")
    assert (artifacts / "Interrupted" / "model" / "2" / "half").exists()
    assert end_dead_executions(metadata, str(artifacts)) == 1
    assert _files(tmp_path) == before
    kinds = {path.parent.name for path in artifacts.rglob("2")}
    assert kinds == set()
    states = {id: each.last_known_state for id, each in _executions(tmp_path).items()}
    assert states == {1: STATE.COMPLETE, 2: STATE.FAILED}
