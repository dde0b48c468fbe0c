import io
import re

from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.pipeline import create_pipeline
from tfx_pruning.pipelines.run.progress import Progress
from tfx_pruning.pipelines.task_state import TaskState


def test_a_line_for_each_component_with_its_time_or_how_it_ended() -> None:
    stream = io.StringIO()
    progress = Progress(stream, width=8)
    progress("First", None)
    assert stream.getvalue() == "  First   "
    assert progress.running == "First"
    progress("First", TaskState.SUCCEEDED)
    assert progress.running is None
    progress("Skipped", TaskState.SKIPPED)
    progress("Second", None)
    progress("Second", TaskState.FAILED)
    first, *others = stream.getvalue().splitlines()
    assert re.fullmatch(r"  First      0\.\d s", first)
    assert others == ["  Skipped skipped", "  Second  failed"]


def test_every_component_of_a_run_has_room() -> None:
    config = PipelineConfig(pipeline_root="a", data_root="b", serving_dir="c")
    stream = io.StringIO()
    progress = Progress(stream)
    for node in create_pipeline(config).components:
        progress(node.id, None)
        progress(node.id, TaskState.SKIPPED)
    assert len({line.rindex("skipped") for line in stream.getvalue().splitlines()}) == 1
