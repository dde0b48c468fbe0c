"""The README says what the code has."""

import inspect
import pathlib
import re

import tfx_pruning
from tfx_pruning import properties
from tfx_pruning.sparsity_selector.spec import SparsitySelectorSpec

_README = (pathlib.Path(tfx_pruning.__file__).parent / "sparsity_selector" / "README.md").read_text(encoding="utf-8")


def _names(heading):
    section = _README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_parameters_are_those_of_the_component():
    assert sorted(_names("Inputs")) == sorted(inspect.signature(tfx_pruning.SparsitySelector).parameters)


def test_outputs_and_properties_are_those_that_are_written():
    assert _names("Outputs") == [
        *SparsitySelectorSpec.OUTPUTS,
        properties.CANDIDATE,
        properties.METRIC_VALUE,
        properties.METRIC,
        properties.BASELINE_METRIC_VALUE,
        properties.METRIC_LIMIT,
        properties.CANDIDATES,
    ]


def test_example_uses_parameters_that_there_are():
    (example,) = re.findall(r"SparsitySelector\(\n(.*?)\n\)", _README, re.DOTALL)
    assert set(re.findall(r"^    (\w+)=", example, re.MULTILINE)) == {"models", "evaluations", "metric", "tolerance"}
