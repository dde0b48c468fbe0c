import io
import re

from tfx_pruning.pipelines.kubeflow.local.task_result import State
from tfx_pruning.pipelines.run.progress import Progress


def test_a_line_for_each_component_with_its_time_or_how_it_ended() -> None:
    stream = io.StringIO()
    progress = Progress(stream, width=8)
    progress("First", None)
    assert stream.getvalue() == "  First   "
    assert progress.running == "First"
    progress("First", State.SUCCEEDED)
    assert progress.running is None
    progress("Skipped", State.SKIPPED)
    progress("Second", None)
    progress("Second", State.FAILED)
    first, *others = stream.getvalue().splitlines()
    assert re.fullmatch(r"  First      0\.\d s", first)
    assert others == ["  Skipped skipped", "  Second  failed"]
