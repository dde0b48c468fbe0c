"""`tfx-pruning run` with a budget, end to end."""

import json
import pathlib
import subprocess
import sys

import pytest

from helpers.taxi_trips import write_few_trips
from tfx_pruning.saved_model.sizes import directory_bytes

pytestmark = pytest.mark.e2e

BYTES = 260_000


def test_what_is_pushed_keeps_to_the_budget_and_is_not_needlessly_small(tmp_path: pathlib.Path) -> None:
    write_few_trips(tmp_path / "data", 3000)
    command = [
        *(str(pathlib.Path(sys.executable).with_name("tfx-pruning")), "run", "--root", str(tmp_path / "root")),
        *("--data-root", str(tmp_path / "data"), "--no-try-module", "--train-steps=40", "--pruning-steps=60"),
        *("--min-metric=0", "--max-metric-drop=1", f"--max-bytes={BYTES}", "--json"),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert 0.95 * BYTES <= directory_bytes(found["pushed_to"]) <= BYTES
    assert found["budget"]["delivered"]["bytes"] == directory_bytes(found["pushed_to"])
    assert found["budget"]["dense"]["bytes"] > 2 * BYTES
    assert 1 <= found["trainings"] <= 3
    assert found["refusals"] == []
    page = pathlib.Path(found["report"]).read_text(encoding="utf-8")
    assert "The budget holds: at most 260,000 bytes as savedmodel" in page
