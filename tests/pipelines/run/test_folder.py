import pathlib

import pytest

from tfx_pruning.pipelines.run.folder import RunFolder


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
