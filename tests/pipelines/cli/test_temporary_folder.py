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

    def work() -> None:
        with temporary_folder() as folder:
            assert pathlib.Path(folder).parent == tmp_path
            (pathlib.Path(tempfile.mkdtemp()) / "file").write_text("own", encoding="utf-8")
            child = subprocess.run(CHILD, capture_output=True, text=True, check=True).stdout.strip()
            assert pathlib.Path(child).parent == pathlib.Path(folder)
            assert len(list(pathlib.Path(folder).iterdir())) == 2
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert list(tmp_path.iterdir()) == []
    assert tempfile.tempdir == str(tmp_path)
    assert os.environ.get("TMPDIR") == variable
