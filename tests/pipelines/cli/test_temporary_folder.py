import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

from tfx_pruning.pipelines.cli.temporary_folder import temporary_folder

CHILD = [sys.executable, "-c", "import tempfile; print(tempfile.mkdtemp())"]


@pytest.mark.parametrize("variable", [None, "elsewhere"])
def test_temporary_files_of_the_process_and_its_children_are_in_it_and_go_with_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("TMPDIR", raising=False)
    if variable is not None:
        monkeypatch.setenv("TMPDIR", variable)

    root = tmp_path / "root"
    root.mkdir()

    def work() -> None:
        with temporary_folder(root, is_alone=True) as folder:
            assert pathlib.Path(folder).parent == tmp_path
            (pathlib.Path(tempfile.mkdtemp()) / "file").write_text("own", encoding="utf-8")
            child = subprocess.run(CHILD, capture_output=True, text=True, check=True).stdout.strip()
            assert pathlib.Path(child).parent == pathlib.Path(folder)
            assert len(list(pathlib.Path(folder).iterdir())) == 2
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert list(tmp_path.iterdir()) == [root]
    assert tempfile.tempdir == str(tmp_path)
    assert os.environ.get("TMPDIR") == variable


@pytest.mark.parametrize("is_alone", [True, False])
def test_what_a_process_of_the_same_root_left_goes_if_no_other_can_be_alive(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, is_alone: bool
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = []
    for name in ("root", "other"):
        (tmp_path / name).mkdir()
        with temporary_folder(tmp_path / name, is_alone=True) as folder:
            left.append(pathlib.Path(f"{folder}_of_a_process_that_was_killed"))
            left[-1].mkdir()
            (left[-1] / "file").touch()
    with temporary_folder(tmp_path / "root", is_alone):
        assert [folder.exists() for folder in left] == [not is_alone, True]
