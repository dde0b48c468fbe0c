import json
import pathlib
from typing import Any

import pytest

from tfx_pruning.budget import Budget
from tfx_pruning.pipelines.config import PipelineConfig

PATHS = {"pipeline_root": "artifacts", "data_root": "data", "serving_dir": "serving"}


def test_defaults() -> None:
    config = PipelineConfig(**PATHS)
    assert config.pipeline_name == "chicago_taxi_pruning"
    assert pathlib.Path(config.module_file).name == "taxi.py"
    assert pathlib.Path(config.module_file).is_file()
    assert config.enable_cache


def test_hparams_fit_the_ramp_to_the_pruning_steps() -> None:
    pruning = {"prune_option": "second_order_gradient", "target_sparsity": 0.75, "include": ["dense"]}
    hparams = PipelineConfig(**PATHS, pruning_steps=200, pruning=pruning).hparams
    assert hparams.prune_option == "second_order_gradient"
    assert hparams.target_sparsity == 0.75
    assert hparams.include == ("dense",)
    assert 0 < hparams.sparsity_function_begin_step < hparams.sparsity_function_end_step < 200


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data_root", "", "data_root must not be empty"),
        ("train_steps", 0, "train_steps must be at least 1, got 0"),
        ("eval_steps", -3, "eval_steps must be at least 1, got -3"),
        ("pruning_steps", 1, "pruning_steps must be at least 2"),
        ("max_metric_drop", -0.1, "max_metric_drop must not be negative, got -0.1"),
        ("min_metric", float("nan"), "min_metric must be a finite number, got nan"),
        ("max_metric", 0.9, "max_metric=0.9 is no bound for AUC, of which higher values are better: .* min_metric"),
        ("metric_direction", "lower", "min_metric=0.85 is no bound for AUC, of which lower values .* set max_metric"),
        ("metric", "MeanSquaredError", "Lower values of MeanSquaredError are better: set metric_direction to 'lower'"),
        ("metric_direction", "up", "metric_direction must be 'higher' or 'lower', got 'up'"),
        ("data_format", "parquet", "data_format must be 'csv' or 'tfrecord', got 'parquet'"),
        ("further_metrics", ["Precision", ""], "further_metrics must not be empty"),
        ("pruning", {"target_sparsity": 1.0}, r"target_sparsity must be in \[0, 1\), got 1.0"),
        ("pruning", {"prune_option": "magnitude"}, "Unknown prune_option 'magnitude'. There are weight, "),
        ("pruning", {"sparsity_function_end_step": 801}, "=801 is the step .* target, but pruning_steps=800 ends"),
        ("pruning", {"begin_pruning_step": 801, "end_pruning_step": -1}, "=801 .*first, but pruning_steps=800 ends"),
        ("pruning", {"pruning_frequency": 700}, "pruning_frequency=700 leaves no room .* in pruning_steps=800"),
        ("pruning", {"sparsity": 0.5}, "Unknown pruning hyperparameter 'sparsity'"),
        ("pruning", {"num_steps": 5}, "Unknown pruning hyperparameter 'num_steps'"),
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
        ("min_metric", "high", "min_metric must be a finite number, got 'high' of type str"),
        ("max_metric_drop", None, "max_metric_drop must be a finite number, got None of type NoneType"),
        ("further_metrics", "Precision", "further_metrics must be a list of strings, got 'Precision' of type str"),
        ("pruning", "target_sparsity=0.5", "pruning must be a mapping from fields of PruningHParams to values"),
        ("pruning", {"target_sparsity": "0.5"}, "target_sparsity must be a finite number, got '0.5' of type str"),
        ("enable_cache", "no", "enable_cache must be True or False, got 'no'"),
        ("warm_start", 1, "warm_start must be True or False, got 1"),
        ("module_path", None, "module_path must be a string, got None of type NoneType"),
    ],
)
def test_value_of_another_type_is_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        PipelineConfig(**(PATHS | {field: value}))


def test_metrics_are_those_measured_each_once() -> None:
    assert PipelineConfig(**PATHS, metric="Recall", further_metrics=("Precision", "Recall")).metrics == (
        "Recall",
        "Precision",
    )


def _file(folder: pathlib.Path, text: str) -> pathlib.Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_file_of_ones_own_task_takes_nothing_from_the_example(tmp_path: pathlib.Path) -> None:
    path = _file(
        tmp_path,
        """\
pipeline_root: /elsewhere
data_root: data/prices
serving_dir: gs://bucket/serving
data_format: tfrecord
module_file: ../houses.py
label_key: price
preprocessing_signature: ''
metric: MeanSquaredError
metric_direction: lower
max_metric: 3
max_metric_drop: 0.5
pruning: {target_sparsity: 0.8, exclude: [head/kernel]}
""",
    )
    config = PipelineConfig.read(path, {"train_steps": 7, "max_metric": 4.5})
    assert config == PipelineConfig(
        pipeline_root="/elsewhere",
        data_root=str(tmp_path / "data" / "prices"),
        serving_dir="gs://bucket/serving",
        pipeline_name="houses_pruning",
        data_format="tfrecord",
        module_file=str(tmp_path.parent / "houses.py"),
        label_key="price",
        preprocessing_signature="",
        metric="MeanSquaredError",
        metric_direction="lower",
        min_metric=None,
        max_metric=4.5,
        max_metric_drop=0.5,
        further_metrics=(),
        train_steps=7,
        pruning={"target_sparsity": 0.8, "exclude": ["head/kernel"]},
        shrink=False,
    )


def test_json_is_read_and_an_empty_file_leaves_the_example(tmp_path: pathlib.Path) -> None:
    config = PipelineConfig.read(_file(tmp_path, json.dumps({"metric": "Recall", "warm_start": False})), PATHS)
    assert (config.metric, config.min_metric, config.warm_start) == ("Recall", None, False)
    assert (config.label_key, config.further_metrics) == ("tips_xf", ("BinaryAccuracy",))
    assert PipelineConfig.read(_file(tmp_path, ""), PATHS) == PipelineConfig(**PATHS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lable_key: price", "settings.yaml: Unknown setting 'lable_key'. Did you mean 'label_key'?"),
        ("42: price", "settings.yaml: Unknown setting '?42'?. There are pipeline_root, data_root, "),
        (
            "- label_key",
            "settings.yaml must be one mapping, such as 'label_key: price', got ..label_key.. of type list",
        ),
        ("label_key: [", "settings.yaml is neither YAML nor JSON: while parsing"),
        ("metric: AUC\nmetric: Recall", "settings.yaml is neither YAML nor JSON: 'metric' is named twice"),
        ("module_file: m.py", "label_key is missing: /.*/m.py is a module of your own\\. Name its label"),
        (
            "metric: MeanSquaredError\nmetric_direction: lower",
            "max_metric_drop is missing: say by how much MeanSquaredError may be above that of the dense model",
        ),
        ("max_metric_drop: 1e-3", r"must be a finite number, got '1e-3' of type str. Write it with a point, as 1.0e-3"),
        ("pipeline_root:", "pipeline_root must be a string, got None of type NoneType"),
    ],
)
def test_wrong_file_is_refused(tmp_path: pathlib.Path, text: str, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        PipelineConfig.read(_file(tmp_path, text), {key: value for key, value in PATHS.items() if key not in text})


def test_missing_file_and_missing_setting_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.yaml"):
        PipelineConfig.read(tmp_path / "nothing.yaml")
    with pytest.raises(ValueError, match="serving_dir is missing: it has no default"):
        PipelineConfig.from_values({"pipeline_root": "artifacts", "data_root": "data"})


def test_a_budget_prunes_channels_and_shrinks_also_a_module_of_ones_own(tmp_path: pathlib.Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "data_root: data\nmodule_file: houses.py\nlabel_key: price\nmetric: MeanSquaredError\n"
        "metric_direction: lower\nmax_metric_drop: 1\nmax_bytes: 1.5MB\nmax_latency: 2ms\nformat: tflite\n",
        encoding="utf-8",
    )
    overrides = {"pipeline_root": "r", "serving_dir": "s"}
    config = PipelineConfig.read(tmp_path / "own.yaml", overrides)
    assert config.budget == Budget(max_bytes=1_500_000, max_latency=2.0, format="tflite")
    assert config.shrink
    assert (config.hparams.granularity, config.hparams.cost) == ("channel", "flops")
    zipped = PipelineConfig.read(tmp_path / "own.yaml", {**overrides, "max_latency": None, "format": "savedmodel_gz"})
    assert (zipped.hparams.granularity, zipped.hparams.cost) == ("element", "parameters")
    with pytest.raises(ValueError, match="shrink must be true with a budget"):
        PipelineConfig.read(tmp_path / "own.yaml", {**overrides, "shrink": False})


def test_without_a_limit_there_is_no_budget() -> None:
    assert PipelineConfig(**PATHS).budget is None
