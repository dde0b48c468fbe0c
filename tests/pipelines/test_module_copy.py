import importlib
import subprocess
import sys

import pytest

from tfx_pruning.pipelines.module_copy import COPIES_VARIABLE, importable_copy


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(COPIES_VARIABLE, "")
    monkeypatch.setenv("PYTHONSAFEPATH", "")
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


def test_process_of_beam_imports_the_copy_and_its_own_libraries(module, tmp_path):
    (module.parent / "random.py").write_text("raise ImportError\n", encoding="utf-8")
    name = importable_copy(str(module), tmp_path / "copies")
    program = "\n".join(
        [
            f"import sys; sys.path += {sys.path[:-1]!r}",
            "from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions",
            "from apache_beam.runners.worker.sdk_worker_main import _import_beam_plugins",
            "from tfx_pruning.pipelines.beam_args import beam_pipeline_args",
            "plugins = PipelineOptions(beam_pipeline_args(2)).view_as(SetupOptions).beam_plugins",
            "_import_beam_plugins([each for each in plugins if each != 'tfx'])",
            f"import random, {name}",
            f"print(plugins[0], random.Random(1).randint(5, 5), {name}.run_fn())",
        ]
    )
    cwd = module.parent if sys.version_info >= (3, 11) else None
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=cwd)
    assert (found.stdout, found.returncode) == ("tfx 5 6\n", 0), found.stderr


def test_the_same_files_have_the_same_name_and_others_another(module, tmp_path):
    first = importable_copy(str(module), tmp_path / "copies")
    assert importable_copy(str(module), tmp_path / "elsewhere") == first
    (module.parent / "helper_of_copied_module.py").write_text("FACTOR = 4\n", encoding="utf-8")
    assert importable_copy(str(module), tmp_path / "copies") != first


def test_a_module_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        importable_copy(str(tmp_path / "nowhere.py"), tmp_path / "copies")
