import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from tfx_pruning.pipelines.run.folder import FolderInUseError, RunFolder

HOLD = """
import pathlib, sys, time
from tfx_pruning.pipelines.run.folder import RunFolder
with RunFolder(pathlib.Path(sys.argv[1])).reserved("tfx-pruning sweep"):
    print("reserved", flush=True)
    time.sleep(600)
"""


def test_folder_is_made_and_left_empty_and_may_be_there(tmp_path: pathlib.Path) -> None:
    folder = RunFolder(tmp_path / "new" / "root")
    folder.make()
    folder.make()
    assert list(folder.root.iterdir()) == []


def test_folder_that_cannot_be_made_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        ValueError, match=r"folder that can be written to, got .*/file/root \(Not a directory\): .* with --root"
    ):
        RunFolder(tmp_path / "file" / "root").make()


def test_folder_is_for_one_process_at_a_time_which_is_named(tmp_path: pathlib.Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.reserved("tfx-pruning run"):
        who = rf"tfx-pruning run \(process {os.getpid()}, since 20\d\d-.*\) is at work in {re.escape(str(tmp_path))}, "
        with pytest.raises(FolderInUseError, match=who), folder.reserved("tfx-pruning sweep"):
            pass
        with pytest.raises(FolderInUseError, match=who), folder.reserved("tfx-pruning sweep"):
            pass
    with folder.reserved("tfx-pruning sweep"):
        pass
    with pytest.raises(KeyError), folder.reserved("tfx-pruning run"):
        raise KeyError
    with folder.reserved("tfx-pruning run"):
        pass


@pytest.mark.slow
def test_folder_of_a_process_that_was_killed_is_free(tmp_path: pathlib.Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "reserved\n"
        who = rf"tfx-pruning sweep \(process {process.pid}, "
        with pytest.raises(FolderInUseError, match=who), RunFolder(tmp_path).reserved("tfx-pruning run"):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with RunFolder(tmp_path).reserved("tfx-pruning run"):
        pass
