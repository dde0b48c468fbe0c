"""The README says what the code has."""

import inspect
import pathlib
import re

import tfx_pruning
from tfx_pruning import properties
from tfx_pruning.stripper.check import verify

_README = (pathlib.Path(tfx_pruning.__file__).parent / "stripper" / "README.md").read_text()


def _rows(heading):
    """First cells of the table under a heading, as the names in them."""
    section = _README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [re.findall(r"`([\w.]+)(?:\(\.\.\.\))?`", cell) for cell in cells]


def test_readme_lists_the_parameters_of_stripper():
    parameters = _rows("Inputs")
    assert [name for (name,) in parameters] == list(inspect.signature(tfx_pruning.Stripper).parameters)
    used = re.search(r"Stripper\(\n(.*?)\n\)", _README, re.DOTALL)
    assert set(re.findall(r"^ +(\w+)=", used[1], re.MULTILINE)) <= {name for (name,) in parameters}


def test_readme_lists_the_properties_that_are_written():
    *outputs, copied = (rows := _rows("Outputs"))[:3]
    own = rows[3:]
    assert outputs == [["model"], ["report"]]
    assert tuple(copied) == (*properties.PRUNING, *properties.PRUNING_OF_FLOPS)
    assert [name for (name,) in own] == [
        properties.TRAINED_BYTES,
        properties.STRIPPED_BYTES,
        properties.GZIPPED_BYTES,
        properties.VARIABLES_REMOVED,
        properties.SIGNATURES_CHECKED,
        properties.VARIABLES_CUT,
        properties.SCALES_FOLDED,
        properties.PARAMETERS_BEFORE_SHRINKING,
        properties.PARAMETERS_SHRUNK,
        properties.MULTIPLY_ADDS_BEFORE_SHRINKING,
        properties.MULTIPLY_ADDS_SHRUNK,
        properties.BYTES_BEFORE_SHRINKING,
        properties.GZIPPED_BYTES_BEFORE_SHRINKING,
        properties.SHRINK_MAX_DIFFERENCE,
        properties.SHRINK_TOLERANCE,
        properties.SHRINK_UNTRACED,
        properties.SIGNATURE_PROVEN,
        properties.SPLITS_PROVEN,
        properties.EXAMPLES_PROVEN,
        properties.EXAMPLES_DIFFERING,
        properties.MAX_ABSOLUTE_DIFFERENCE,
        properties.TOLERANCE,
    ]


def test_readme_shows_the_signature_of_strip_saved_model():
    parameters = inspect.signature(tfx_pruning.strip_saved_model).parameters.values()
    places = [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY]
    keywords = [f"{each.name}={each.default}" for each in parameters if each.kind is each.KEYWORD_ONLY]
    shown = ", ".join([*places, "*", *keywords])
    assert f"`strip_saved_model({shown})`" in _README
    report = inspect.signature(tfx_pruning.strip_saved_model).return_annotation
    for name in re.findall(r"\breport\.(\w+)", _README):
        assert name in report.__dataclass_fields__ or hasattr(report, name)


def test_readme_names_an_error_that_exists():
    assert "`tfx_pruning.stripper.check.verify.VerificationError`" in _README
    assert verify.VerificationError.__module__ == "tfx_pruning.stripper.check.verify"
