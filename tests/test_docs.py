"""The code on the pages of the site runs, and the pages are in the navigation."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs" / "concepts").glob("*.md"), *(ROOT / "docs" / "guides").glob("*.md")])
EXPECTED = {
    "schedules.md": "150 600 10",
    "images.md": r"0\.[45]\d of the multiply-adds",
    "multi_gpu.md": r"0\.75",
    "training_loops.md": r"0\.75\n\(1, 4\)",
    "tflite.md": r"exports/model\.tflite \d+ [\d.e-]+\n.*model_dynamic_int8\.tflite",
}


def _code(page: pathlib.Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if _code(page)], ids=lambda page: page.stem)
def test_code_of_a_page_runs(
    page: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "docs"}
    for number, code in enumerate(_code(page)):
        exec(compile(code, f"{page.name}, {number}", "exec"), names)
    assert re.search(EXPECTED.get(page.name, ""), capsys.readouterr().out)
