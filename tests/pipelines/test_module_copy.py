import importlib
import sys

import pytest

from tfx_pruning.pipelines.module_copy import importable_copy


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "of user"
    folder.mkdir()
    (folder / "helper_of_copied_module.py").write_text("FACTOR = 3\n", encoding="utf-8")
    file = folder / "my-module.py"
    file.write_text("import helper_of_copied_module\ndef run_fn(): return 2 * helper_of_copied_module.FACTOR\n")
    return file


def test_the_copy_is_imported_with_what_is_beside_it(module, tmp_path):
    name = importable_copy(str(module), tmp_path / "copies")
    assert importlib.import_module(name).run_fn() == 6
    assert name.startswith("my_module_")
    assert name.isidentifier()


def test_the_same_files_have_the_same_name_and_others_another(module, tmp_path):
    first = importable_copy(str(module), tmp_path / "copies")
    assert importable_copy(str(module), tmp_path / "elsewhere") == first
    (module.parent / "helper_of_copied_module.py").write_text("FACTOR = 4\n", encoding="utf-8")
    assert importable_copy(str(module), tmp_path / "copies") != first


def test_a_module_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        importable_copy(str(tmp_path / "nowhere.py"), tmp_path / "copies")
