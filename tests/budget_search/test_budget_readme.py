"""The README says what the code has."""

import inspect
import pathlib
import re

import tfx_pruning
from tfx_pruning import BudgetCheck, BudgetSearch, properties

_README = (pathlib.Path(tfx_pruning.__file__).parent / "budget_search" / "README.md").read_text(encoding="utf-8")


def _names(heading):
    section = _README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_parameters_are_those_of_the_components():
    assert _names("Inputs of BudgetSearch") == list(inspect.signature(BudgetSearch).parameters)
    assert _names("Inputs of BudgetCheck") == list(inspect.signature(BudgetCheck).parameters)


def test_properties_are_those_that_are_written():
    assert _names("Outputs") == [
        properties.BUDGET,
        properties.DELIVERED_BYTES,
        properties.DELIVERED_LATENCY,
        properties.BUDGET_MET,
        properties.BUDGET_RETRY,
        properties.BUDGET_VERDICT,
    ]
