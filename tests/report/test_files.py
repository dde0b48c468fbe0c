import pytest

from tfx_pruning.report.files import HTML_NAME, JSON_NAME, read_report, write_report


def test_a_report_is_two_files_and_is_read_again(trained, tmp_path):
    write_report(trained.document, tmp_path / "new" / "folder")
    assert sorted(file.name for file in (tmp_path / "new" / "folder").iterdir()) == sorted([HTML_NAME, JSON_NAME])
    assert read_report(tmp_path / "new" / "folder") == trained.document


def test_a_folder_without_a_report_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"holds no {JSON_NAME}"):
        read_report(tmp_path)
