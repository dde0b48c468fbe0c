import pytest

from tfx_pruning.engine import naming


@pytest.mark.parametrize("kind", naming.WEIGHT_VARIABLES)
def test_pruning_variables_are_recognised_with_their_owner(kind):
    name = naming.pruning_variable_name("sequential/dense/kernel", kind)
    assert name == f"sequential/dense/kernel/pruning/{kind}"
    assert naming.is_pruning_variable(name)
    assert naming.is_pruning_variable(name + ":0")
    assert naming.owner(name + ":0") == "sequential/dense/kernel"
    assert naming.is_mask(name) == (kind == "mask")


@pytest.mark.parametrize("name", ["dense/kernel", "attention/mask", "mask", "pruning/dense/kernel", "pruning", ""])
def test_other_variables_are_not(name):
    assert not naming.is_pruning_variable(name)
    assert not naming.is_mask(name)
    with pytest.raises(ValueError, match="not the name of a pruning variable"):
        naming.owner(name)
