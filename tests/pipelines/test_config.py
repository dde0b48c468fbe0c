import pathlib
from typing import Any

import pytest

from tfx_pruning.pipelines.config import PipelineConfig

PATHS = {"pipeline_root": "artifacts", "data_root": "data", "serving_dir": "serving"}


def test_defaults() -> None:
    config = PipelineConfig(**PATHS)
    assert config.pipeline_name == "chicago_taxi_pruning"
    assert pathlib.Path(config.module_file).name == "taxi.py"
    assert pathlib.Path(config.module_file).is_file()
    assert config.enable_cache


def test_hparams_fit_the_ramp_to_the_pruning_steps() -> None:
    config = PipelineConfig(**PATHS, pruning_steps=200, prune_option="second_order_gradient", target_sparsity=0.75)
    hparams = config.hparams
    assert hparams.prune_option == "second_order_gradient"
    assert hparams.target_sparsity == 0.75
    assert 0 < hparams.sparsity_function_begin_step < hparams.sparsity_function_end_step < 200


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data_root", "", "data_root must not be empty"),
        ("train_steps", 0, "train_steps must be at least 1, got 0"),
        ("eval_steps", -3, "eval_steps must be at least 1, got -3"),
        ("pruning_steps", 1, "num_steps must be at least 2"),
        ("min_auc", 1.5, r"min_auc must be in \[0, 1\], got 1.5"),
        ("max_auc_drop", -0.1, r"max_auc_drop must be in \[0, 1\], got -0.1"),
        ("min_auc", float("nan"), r"min_auc must be in \[0, 1\], got nan"),
        ("target_sparsity", 1.0, r"target_sparsity must be in \[0, 1\), got 1.0"),
        ("prune_option", "magnitude", "prune_option must be one of weight, .* got 'magnitude'"),
    ],
)
def test_value_out_of_range_is_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PipelineConfig(**(PATHS | {field: value}))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pipeline_root", pathlib.Path("artifacts"), "pipeline_root must be a string, got .* of type PosixPath"),
        ("train_steps", 1.5, "train_steps must be a whole number, got 1.5 of type float"),
        ("eval_steps", True, "eval_steps must be a whole number, got True of type bool"),
        ("min_auc", "high", "min_auc must be a number, got 'high' of type str"),
        ("enable_cache", "no", "enable_cache must be True or False, got 'no'"),
        ("warm_start", 1, "warm_start must be True or False, got 1"),
        ("module_path", None, "module_path must be a string, got None of type NoneType"),
    ],
)
def test_value_of_another_type_is_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        PipelineConfig(**(PATHS | {field: value}))
