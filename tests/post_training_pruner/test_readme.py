"""The component's README says what the code has."""

import inspect
import pathlib
import re

import tfx_pruning
from tfx_pruning.post_training_pruner.checks import DEFAULT_DAMPING
from tfx_pruning.post_training_pruner.loss import LOSSES
from tfx_pruning.post_training_pruner.spec import DEFAULT_NUM_EXAMPLES, PostTrainingPrunerSpec

_README = (pathlib.Path(tfx_pruning.__file__).parent / "post_training_pruner" / "README.md").read_text(encoding="utf-8")


def _names(heading):
    section = _README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_parameters_and_outputs_are_those_of_the_component():
    assert sorted(_names("Inputs")) == sorted(inspect.signature(tfx_pruning.PostTrainingPruner).parameters)
    assert _names("Outputs") == list(PostTrainingPrunerSpec.OUTPUTS)


def test_defaults_are_those_of_the_code():
    assert f"{DEFAULT_NUM_EXAMPLES:,} by default" in _README
    assert f"{DEFAULT_DAMPING:.1f} by default".lstrip("0") in _README
    assert all(f"`'{loss}'`" in _README for loss in LOSSES)


def test_example_makes_a_component():
    from tfx import types
    from tfx.types import standard_artifacts

    class _Node:
        def __init__(self, **outputs):
            self.outputs = {name: types.Channel(type=kind) for name, kind in outputs.items()}

    (example,) = re.findall(r"^```python\n(.*?)^```$", _README, re.MULTILINE | re.DOTALL)
    names = {
        "trainer": _Node(model=standard_artifacts.Model),
        "transform": _Node(transformed_examples=standard_artifacts.Examples),
    }
    exec(compile(example, "README.md", "exec"), names)
    assert names["stripper"].inputs["trained_model"] is names["pruner"].outputs["model"]
