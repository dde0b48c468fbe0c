import io
import re

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
