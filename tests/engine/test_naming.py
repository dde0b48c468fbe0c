import pytest

from tfx_pruning.engine import naming


@pytest.mark.parametrize("kind", naming.WEIGHT_VARIABLES)
def test_pruning_variables_are_recognised(kind):
    name = naming.pruning_variable_name("sequential/dense/kernel", kind)
    assert name == f"sequential/dense/kernel/pruning/{kind}"
    assert naming.is_pruning_variable(name)
    assert naming.is_pruning_variable(name + ":0")


@pytest.mark.parametrize("name", ["dense/kernel", "attention/mask", "mask", "pruning/dense/kernel", "pruning", ""])
def test_other_variables_are_not(name):
    assert not naming.is_pruning_variable(name)
