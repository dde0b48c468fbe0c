"""Shrinking models that make more calls of functions than are traced."""

import json

import pytest
import tensorflow as tf
from click.testing import CliRunner

from helpers.dead_units import ZOO
from tfx_pruning import strip_saved_model
from tfx_pruning.cli.strip_command import command
from tfx_pruning.stripper.check.relative_tolerance import RelativeTolerance
from tfx_pruning.stripper.shrink.shrink import shrink_in_place
from tfx_pruning.structure import trace

WHY = "The model makes more than 2 calls of functions"


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A model with dead units that makes one call more than are traced."""
    monkeypatch.setattr(trace, "_MOST_CALLS", 2)
    ZOO["function_with_two_weights"].save(str(tmp_path / "model"))
    return tmp_path / "model"


def test_shrink_leaves_the_bytes_of_a_model_that_it_cannot_trace(source, tmp_path, snapshot):
    strip_saved_model(source, tmp_path / "stripped")
    before = snapshot(tmp_path / "stripped")
    report = shrink_in_place(str(tmp_path / "stripped"), None, RelativeTolerance(1e-5))
    assert snapshot(tmp_path / "stripped") == before
    assert report.variables == ()
    assert report.untraced.startswith(WHY)
    assert report.in_words().startswith(f"nothing was cut: {WHY}")
    assert report.parameters_before == report.parameters_after == 6 * 6 + 6 + 6 * 6 + 6 + 6 * 2
    assert (report.multiply_adds_before, report.multiply_adds_after) == (None, None)


def test_shrink_traces_as_many_calls_as_it_may(source, tmp_path, monkeypatch):
    monkeypatch.setattr(trace, "_MOST_CALLS", 3)
    report = strip_saved_model(source, tmp_path / "shrunk", shrink=True).shrink
    assert report.untraced is None
    assert {each.key for each in report.variables} == set(ZOO["function_with_two_weights"].after)


def test_strip_says_why_nothing_was_cut(source, tmp_path):
    result = CliRunner().invoke(command, [str(source), str(tmp_path / "shrunk"), "--shrink"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].startswith(f"Nothing was cut: {WHY}")


def test_strip_prints_why_in_json(source, tmp_path):
    result = CliRunner().invoke(command, [str(source), str(tmp_path / "shrunk"), "--shrink", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["shrink"]
    assert found["untraced"].startswith(WHY)
    assert found["multiply_adds_before"] is None


def test_a_model_that_cannot_be_traced_answers_as_before(source, tmp_path):
    strip_saved_model(source, tmp_path / "shrunk", shrink=True)
    x = ZOO["function_with_two_weights"].inputs()
    before, after = (
        tf.saved_model.load(folder).signatures["serving_default"](x=x)["y"] for folder in (source, tmp_path / "shrunk")
    )
    assert before.numpy().tobytes() == after.numpy().tobytes()
