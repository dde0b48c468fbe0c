"""Names of pruning variables, this project's and tfmot's."""

import pytest

from tfx_pruning.stripper.masks import pruning_names

_MASKS = (
    "dense/kernel/pruning/mask",
    "layer/_kernel/pruning/mask",
    "prune_low_magnitude_dense/mask:0",
    "model/prune_low_magnitude_lstm/mask_1",
)
_OTHERS = (
    "dense/kernel/pruning/threshold:0",
    "dense/kernel/pruning/old_weight",
    "prune_low_magnitude_dense/threshold",
    "prune_low_magnitude_dense/pruning_step:0",
)
_NONE = (
    "mask",
    "attention/mask",
    "threshold",
    "prune_low_magnitude_dense/kernel",
    "prune_low_magnitude_dense/inner/mask",
    "Adam/m/prune_low_magnitude_dense/kernel",
)


@pytest.mark.parametrize("name", [*_MASKS, *_OTHERS, *_NONE])
def test_pruning_variables_are_told_by_their_names(name):
    assert pruning_names.is_pruning_name(name) == (name not in _NONE)
    assert pruning_names.is_mask_name(name) == (name in _MASKS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model/prune_low_magnitude_dense/MatMul", "model/dense/MatMul"),
        ("model_prune_low_magnitude_dense_mul_resource", "model_dense_mul_resource"),
        ("model/dense/MatMul", "model/dense/MatMul"),
    ],
)
def test_without_wrapper_takes_out_what_tfmot_puts_before_a_layers_name(name, expected):
    assert pruning_names.without_wrapper(name) == expected
