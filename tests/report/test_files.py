import pytest

from tfx_pruning.report.files import HTML_NAME, JSON_NAME, read_report, write_report, write_whole


def test_a_report_is_two_files_and_is_read_again(trained, tmp_path):
    write_report(trained.document, tmp_path / "new" / "folder")
    assert sorted(file.name for file in (tmp_path / "new" / "folder").iterdir()) == sorted([HTML_NAME, JSON_NAME])
    assert read_report(tmp_path / "new" / "folder") == trained.document


def test_a_folder_without_a_report_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"holds no {JSON_NAME}"):
        read_report(tmp_path)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(str(path), "first")
    write_whole(str(path), "second")
    assert path.read_text() == "second"

    def fails(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("tensorflow.io.gfile.rename", fails)
    with pytest.raises(OSError, match="disk full"):
        write_whole(str(path), "third")
    assert path.read_text() == "second"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
