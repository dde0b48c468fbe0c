import pytest

from tfx_pruning.pipelines.kubeflow.local.condition import holds

GIVEN = {
    "inputs": {
        "artifacts": {
            "blessing": {
                "artifacts": [{"uri": "/root/blessing", "metadata": {"blessed": 1.0, "name": "a && b == 'c'"}}]
            },
            "none": {"artifacts": []},
        },
        "parameterValues": {"steps": 40, "option": "weight"},
    }
}
BLESSED = "inputs.artifacts['blessing'].artifacts[0].metadata['blessed']"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (f"({BLESSED} == 1.0)", True),
        (f"({BLESSED} == 2.0)", False),
        (f"({BLESSED} > 0.5)", True),
        (f"({BLESSED} < 0.5)", False),
        (f"!({BLESSED} == 1.0)", False),
        (f"{BLESSED} != 1.0", False),
        (f"(({BLESSED} == 1.0) && ({BLESSED} > 3.0))", False),
        (f"(({BLESSED} == 1.0) || ({BLESSED} > 3.0))", True),
        (f"({BLESSED} == 1.0) && !({BLESSED} > 3.0)", True),
        ("(inputs.artifacts['blessing'].artifacts[0].uri == ('/root' + '/blessing'))", True),
        ("inputs.artifacts['blessing'].artifacts[0].metadata[\"name\"] == \"a && b == 'c'\"", True),
        ("inputs.parameter_values['steps'] >= 40.0", True),
        ("inputs.parameter_values['option'] == 'weight'", True),
        ("true && !false", True),
    ],
)
def test_holds(condition: str, expected: bool) -> None:
    assert holds(condition, GIVEN) is expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (f"{BLESSED} == 'yes'", "1.0 and 'yes' are of different types"),
        (f"{BLESSED} + 1.0", "is 2.0, neither true nor false"),
        (f"{BLESSED} && true", "is 1.0, neither true nor false"),
        ("inputs.artifacts['none'].artifacts[0].uri == 'x'", "list index out of range"),
        ("inputs.artifacts['other'].artifacts[0].uri == 'x'", "'other'"),
        ("outputs == 1.0", "'outputs'"),
        ("size(inputs.artifacts) == 1", "is not supported"),
        ("__import__('os').getcwd() == 'x'", "is not supported"),
        (f"({BLESSED} == 1.0", "cannot be decided"),
        ("", "cannot be decided"),
    ],
)
def test_what_cannot_be_decided_is_refused(condition: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        holds(condition, GIVEN)
    assert repr(condition) in str(raised.value)
