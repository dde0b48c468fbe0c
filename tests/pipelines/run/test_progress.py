import io
import re
import time

from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.pipeline import create_pipeline
from tfx_pruning.pipelines.run.progress import Progress
from tfx_pruning.pipelines.task_state import TaskState


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_for_each_component_with_its_time_or_how_it_ended() -> None:
    stream = io.StringIO()
    with Progress(stream, width=8) as progress:
        progress("First", None)
        assert stream.getvalue() == ""
        assert progress.running == "First"
        progress("First", TaskState.SUCCEEDED)
        assert progress.running is None
        progress("Skipped", TaskState.SKIPPED)
        progress("Second", None)
        progress("Second", TaskState.FAILED)
    first, *others = stream.getvalue().splitlines()
    assert re.fullmatch(r"  First      0\.\d s", first)
    assert others == ["  Skipped skipped", "  Second  failed"]


def test_components_are_counted() -> None:
    stream = io.StringIO()
    with Progress(stream, width=8, total=11) as progress:
        for name in ("First", "Second"):
            progress(name, None)
            progress(name, TaskState.FAILED)
    assert stream.getvalue().splitlines() == ["   1 of 11  First   failed", "   2 of 11  Second  failed"]


def test_a_component_that_takes_long_has_further_lines() -> None:
    stream = io.StringIO()
    said = iter(["", "step 1 of 2", "step 2 of 2"])
    with Progress(stream, width=8, detail=lambda: next(said, ""), seconds=0.05) as progress:
        progress("Trainer", None)
        while "step 2" not in stream.getvalue():
            time.sleep(0.01)
        progress("Trainer", TaskState.SUCCEEDED)
        after = stream.getvalue()
        time.sleep(0.2)
        assert stream.getvalue() == after
    first, second, third, *_, last = after.splitlines()
    assert first == "    Trainer: 0 s so far"
    assert (second, third) == ("    Trainer: step 1 of 2", "    Trainer: step 2 of 2")
    assert re.fullmatch(r"  Trainer    \d\.\d s", last)


def test_after_an_error_nothing_more_is_printed() -> None:
    stream = io.StringIO()
    try:
        with Progress(stream, seconds=0.02) as progress:
            progress("Trainer", None)
            raise KeyError
    except KeyError:
        printed = stream.getvalue()
    time.sleep(0.1)
    assert stream.getvalue() == printed


def test_a_terminal_shows_one_line_that_changes(monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with Progress(stream, width=8, total=3, detail=lambda: "step 1 of 2") as progress:
        progress("Trainer", None)
        progress("Trainer", TaskState.SUCCEEDED)
    shown = stream.getvalue()
    assert "1 of 3  Trainer      0 s  step 1 of 2" in shown
    assert re.fullmatch(r"  1 of 3  Trainer    0\.\d s", shown.splitlines()[-1].rpartition("\x1b[2K")[2])


def test_every_component_of_a_run_has_room() -> None:
    config = PipelineConfig(pipeline_root="a", data_root="b", serving_dir="c")
    stream = io.StringIO()
    with Progress(stream) as progress:
        for node in create_pipeline(config).components:
            progress(node.id, None)
            progress(node.id, TaskState.SKIPPED)
    assert len({line.rindex("skipped") for line in stream.getvalue().splitlines()}) == 1
