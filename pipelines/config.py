"""PipelineConfig: all settings of a pruning pipeline."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tfx_pruning import PruningHParams
from tfx_pruning.budget import CHANNEL, FORMATS, SAVED_MODEL, Budget, parsed_bytes, parsed_milliseconds
from tfx_pruning.pipelines.config_file import read_mapping
from tfx_pruning.pipelines.user_module import import_for_names
from tfx_pruning.suggestion import suggestion
from tfx_pruning.sweep import MetricGoal
from tfx_pruning.typed_value import checked_value, shown

TAXI_MODULE_FILE = str(pathlib.Path(__file__).with_name("modules") / "taxi.py")
TAXI_MODULE_PATH = "tfx_pruning.pipelines.modules.taxi"
DATA_FORMATS = ("csv", "tfrecord")
DIRECTIONS = ("higher", "lower")

_TARGET_SPARSITY = 0.9
# Relative paths in a configuration file start at the folder of the file.
_PATHS = ("pipeline_root", "data_root", "serving_dir", "module_file")
# Limits of a budget, and how a text is read as one.
_LIMITS = {"max_bytes": parsed_bytes, "max_latency": parsed_milliseconds}
_MAX_STEM = 40
_MAY_BE_EMPTY = ("module_path", "preprocessing_signature")
# ML Metadata and the names of folders hold it. TFX takes 63 characters, of which a sweep adds six.
_PIPELINE_NAME = re.compile(r"[^\W_][\w.-]{0,56}")
_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")
# Metrics that say how wrong a model is, by the names that TFMA and Keras give them.
_OF_MISTAKES = re.compile(
    r"(Error|Loss|Cross[eE]ntropy|Hinge|KLDivergence|LogCosh|Poisson|False(Posi|Nega)tives|Brier.*)$"
)


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """Configuration of `create_pipeline`, checked when it is constructed.

    The defaults are those of the taxi example that the package ships.

    Attributes:
        pipeline_root: Where the components write their artifacts; a path or a URI that TFX can write to.
        data_root: Folder of the data files.
        serving_dir: Where Pusher puts the models that the Evaluator blessed.
        pipeline_name: Name of the pipeline in ML Metadata: at most 57 letters, digits and `_.-`, with a letter or digit
            first.
        data_format: What the files are: 'csv', with a header each, or 'tfrecord', TFRecords of tf.Examples, gzipped or
            not.
        module_file: Python file with `preprocessing_fn` and `run_fn`, used by Transform, Trainer and PruningTrainer.
        module_path: Dotted path of an installed module with these functions, used in place of `module_file` if it is
            not empty. An image that holds the module needs no wheel built of its file.
        label_key: Name of the label, as the Evaluator sees it: among the outputs of `preprocessing_signature`, or,
            without one, in the raw examples.
        serving_signature: Signature of the model whose answers the Evaluator measures; it takes serialized examples.
        preprocessing_signature: Signature that computes the label from serialized examples; '' if the raw
            examples hold it.
        metric: Class of the metric that decides whether a model is pushed, from TFMA or Keras: 'AUC',
            'MeanSquaredError', 'SparseCategoricalAccuracy'.
        metric_direction: Whether 'higher' or 'lower' values of the metric are better.
        min_metric: Lowest value with which a model is pushed, if higher values are better; None for no limit.
        max_metric: Highest value with which a model is pushed, if lower values are better; None for no limit.
        max_metric_drop: How much worse than the dense model's the metric may be, in the metric's own unit.
        further_metrics: Classes of metrics that are measured only.
        train_steps: Optimizer steps of the dense training.
        pruning_steps: Optimizer steps of the training that prunes.
        eval_steps: Batches of the validation at the end of each training.
        pruning: Fields of PruningHParams and their values. The other fields come from `PruningHParams.for_steps`,
            except `target_sparsity`, whose default here is 0.9. With `distill_weight` above 0 the dense model is the
            teacher of the pruned one.
        shrink: Whether Stripper cuts what is dead, so that the pushed model has smaller tensors.
        max_bytes: The most bytes that the pushed model may take, a number or a text such as '1MB'; None for no limit.
            With this or `max_latency`, a budget, the target sparsity is found by measuring; `granularity` is 'channel'
            unless `pruning` says otherwise, and `cost` 'flops' with `max_latency`.
        max_latency: The longest that one call of it may take, the median of many: a number of milliseconds, or a text
            such as '2ms'; None for no limit.
        format: What the budget is for: 'savedmodel', all files of the folder; 'savedmodel_gz', the same as one .tar.gz;
            'tflite' or 'tflite_int8', a TFLite file, which is pushed in place of the SavedModel.
        batch_size: Examples of one call whose latency is measured.
        threads: Threads that such a call may take.
        try_module: Whether `tfx-pruning run` and `sweep` first try the module on a few examples, in a process of its
            own: preprocessing, a training of one step, and the signatures of the model that it saves.
        warm_start: Whether the dense training starts from the dense model of the last run whose pruned model was
            blessed, if that ran on other data. That needs a Resolver, which Kubeflow and Vertex AI do not have.
        enable_cache: Whether a component is skipped if its inputs have not changed since an earlier run.

    Raises:
        ValueError: A value is out of range or empty, or two contradict each other.
        TypeError: A value is of the wrong type.
    """

    pipeline_root: str
    data_root: str
    serving_dir: str
    pipeline_name: str = "chicago_taxi_pruning"
    data_format: str = "csv"
    module_file: str = TAXI_MODULE_FILE
    module_path: str = ""
    label_key: str = "tips_xf"
    serving_signature: str = "serving_default"
    preprocessing_signature: str = "transform_features"
    metric: str = "AUC"
    metric_direction: str = "higher"
    min_metric: float | None = 0.85
    max_metric: float | None = None
    max_metric_drop: float = 0.02
    further_metrics: tuple[str, ...] = ("BinaryAccuracy",)
    train_steps: int = 400
    pruning_steps: int = 800
    eval_steps: int = 20
    pruning: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    shrink: bool = True
    max_bytes: int | None = None
    max_latency: float | None = None
    format: str = SAVED_MODEL
    batch_size: int = 1
    threads: int = 1
    try_module: bool = True
    warm_start: bool = True
    enable_cache: bool = True

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field.name, field.type, getattr(self, field.name)))
        choices_of = {"data_format": DATA_FORMATS, "metric_direction": DIRECTIONS, "format": FORMATS}
        for name, choices in choices_of.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, got {shown(getattr(self, name))}.")
        if not _PIPELINE_NAME.fullmatch(self.pipeline_name):
            raise ValueError(
                "pipeline_name must be at most 57 letters, digits and '_.-', a letter or digit first, got "
                f"{shown(self.pipeline_name)}. Choose one such as 'prices_pruning'."
            )
        self._check_thresholds()
        self._check_budget()

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "PipelineConfig":
        """Builds a configuration from field names and values, some of which may come from a file.

        Some defaults suit the taxi example only. With another module, `label_key` must be given, the pipeline is named
        after the module, `further_metrics` is empty, and the model is not shrunk unless `shrink` says so or there is a
        budget. With another module or metric, there is no `min_metric`. If lower values are better, `max_metric_drop`
        must be given, as such metrics have units of all sizes.

        Args:
            values: Fields and their values.

        Raises:
            ValueError: A name is not that of a field, a required field is missing, or a value is refused.
            TypeError: A value is of the wrong type.
        """
        _check_names(values)
        kinds = {field.name: field.type for field in dataclasses.fields(cls)}
        given = _without_the_example({name: _checked(name, kinds[name], value) for name, value in values.items()})
        for name in ("pipeline_root", "data_root", "serving_dir"):
            if name not in given:
                raise ValueError(f"{name} is missing: it has no default.")
        return cls(**given)

    @classmethod
    def read(cls, path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> "PipelineConfig":
        """Reads a YAML or JSON file with the names of fields as keys, as `from_values` takes them.

        Args:
            path: The file. Relative paths in it are relative to its folder.
            overrides: Fields that have other values than in the file, or that are not in it.

        Raises:
            ValueError: The file is no YAML or JSON of that form, or a value is refused.
            TypeError: A value is of the wrong type.
            OSError: The file cannot be read.
        """
        return cls.from_values({**cls.file_values(path), **(overrides or {})})

    @classmethod
    def file_values(cls, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Reads the values in a file, with absolute paths, as `from_values` takes them.

        Raises:
            ValueError: The file is no YAML or JSON of that form, or has a key that is no field's name.
            OSError: The file cannot be read.
        """
        values = read_mapping(path)
        try:
            _check_names(values)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None
        folder = pathlib.Path(path).absolute().parent
        for name in _PATHS:
            if isinstance(values.get(name), str) and values[name] and "://" not in values[name]:
                values[name] = os.path.normpath(folder / values[name])
        return values

    @staticmethod
    def with_hparams(values: Mapping[str, Any], hparams: str) -> dict[str, Any]:
        """The values, with fields of `pruning` overridden by those in a string that PruningHParams parses.

        Raises:
            ValueError: The string is refused.
            TypeError: The values' `pruning` is no mapping.
        """
        given = _checked_mapping("pruning", values.get("pruning", {}))
        return {**values, "pruning": {**given, **PruningHParams.fields_of(hparams)}}

    @property
    def hparams(self) -> PruningHParams:
        """Pruning hyperparameters, the ramp fitted to `pruning_steps`."""
        return self.hparams_of({"target_sparsity": _TARGET_SPARSITY, **self.pruning})

    def hparams_of(self, fields: Mapping[str, Any]) -> PruningHParams:
        """Pruning hyperparameters with these fields, the ramp fitted to `pruning_steps`.

        A criterion or a schedule that is not known is looked for in the pipeline's module.

        Raises:
            ValueError: A value is refused.
            TypeError: A value is of the wrong type.
        """
        if (self.module_path or self.module_file) not in (TAXI_MODULE_FILE, TAXI_MODULE_PATH):
            import_for_names(self.module_path, self.module_file, fields)
        if self.budget is not None and self.budget.needs_channels:
            fields = {"granularity": CHANNEL, **fields}
            if self.budget.max_latency is not None and fields["granularity"] == CHANNEL:
                fields = {"cost": "flops", **fields}
        return PruningHParams.fitted_to(self.pruning_steps, fields, "pruning_steps")

    @property
    def budget(self) -> Budget | None:
        """How large or slow the pushed model may be; None for no limit."""
        if self.max_bytes is None and self.max_latency is None:
            return None
        return Budget(self.max_bytes, self.max_latency, self.format, self.batch_size, self.threads)

    @property
    def goal(self) -> MetricGoal:
        """How good a pruned model must be."""
        bound = self.min_metric if self.higher_is_better else self.max_metric
        return MetricGoal(self.metric, self.max_metric_drop, self.metric_direction, bound)

    @property
    def higher_is_better(self) -> bool:
        """Whether higher values of the metric are better."""
        return self.metric_direction == "higher"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Classes of all metrics without repetition, the deciding one first."""
        return tuple(dict.fromkeys([self.metric, *self.further_metrics]))

    def _check_thresholds(self) -> None:
        if self.higher_is_better and _OF_MISTAKES.search(self.metric):
            raise ValueError(f"Lower values of {self.metric} are better: set metric_direction to 'lower'.")
        bound, other = ("min_metric", "max_metric") if self.higher_is_better else ("max_metric", "min_metric")
        if getattr(self, other) is not None:
            raise ValueError(
                f"{other}={getattr(self, other)} is no bound for {self.metric}, of which {self.metric_direction} "
                f"values are better: leave it out or set {bound}, or mend metric_direction."
            )
        if self.max_metric_drop < 0:
            raise ValueError(f"max_metric_drop must not be negative, got {self.max_metric_drop}.")

    def _check_budget(self) -> None:
        """Checks the hyperparameters, and that a budget and they do not contradict each other."""
        if self.budget is None:
            if self.format != SAVED_MODEL:
                raise ValueError(
                    f"format={self.format!r} says what a budget is for, and there is none. Set max_bytes or "
                    "max_latency, or leave format out."
                )
            _ = self.hparams
            return
        if "target_sparsity" in self.pruning:
            raise ValueError(
                "A budget and target_sparsity exclude each other: the sparsity that meets the budget is found by "
                "measuring. Leave out target_sparsity, or max_bytes and max_latency."
            )
        self.budget.check_hparams(self.hparams)
        if self.budget.needs_channels and not self.shrink:
            raise ValueError(
                "shrink must be true with a budget: channels that are pruned take room and time until they are cut. "
                "Leave shrink out, or limit the compressed model, format='savedmodel_gz'."
            )


def _without_the_example(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, and other defaults in place of those that suit the taxi example only."""
    given = dict(values)
    module = given.get("module_path") or given.get("module_file") or TAXI_MODULE_FILE
    of_user = module not in (TAXI_MODULE_FILE, TAXI_MODULE_PATH)
    if of_user:
        if "label_key" not in given:
            raise ValueError(
                f"label_key is missing: {module} is a module of your own. Name its label: an output of the signature "
                "'transform_features' or, with preprocessing_signature: '', a column of the data."
            )
        name = module.rpartition(".")[2] if given.get("module_path") else pathlib.Path(module).stem
        name = re.sub(r"[^\w.-]+", "_", name).lstrip("_.-")[:_MAX_STEM] or "module"
        shrinks = any(given.get(limit) is not None for limit in _LIMITS)
        given = {"pipeline_name": f"{name}_pruning", "further_metrics": (), "shrink": shrinks} | given
    if of_user or "metric" in given:
        given.setdefault("min_metric", None)
    if given.get("metric_direction") == "lower" and "max_metric_drop" not in given:
        raise ValueError(
            f"max_metric_drop is missing: say by how much {given.get('metric', 'the metric')} may be above that of "
            "the dense model, in its own unit."
        )
    return given


def _checked(name: str, kind: Any, value: Any) -> Any:
    """The value of a field as its type.

    Raises:
        ValueError: It is out of range or empty.
        TypeError: It is of another type.
    """
    if kind == Mapping[str, Any]:
        return _checked_mapping(name, value)
    if name in _LIMITS:
        return None if value is None else _LIMITS[name](name, value)
    if kind == float | None:
        return None if value is None else _checked(name, float, value)
    try:
        checked = checked_value(name, kind, value)
    except TypeError as error:
        if kind is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
            # YAML takes 1e-3 for text.
            raise TypeError(f"{error} Write it with a point, as 1.0e-3.") from None
        raise
    if kind is int and checked < 1:
        raise ValueError(f"{name} must be at least 1, got {checked}.")
    texts = checked if isinstance(checked, tuple) else (checked,)
    if "" in texts and name not in _MAY_BE_EMPTY:
        raise ValueError(f"{name} must not be empty, got {shown(value)}.")
    return checked


def _checked_mapping(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{name} must be a mapping from fields of PruningHParams to values, got {shown(value)} of type "
            f"{type(value).__name__}."
        )
    return {field if isinstance(field, str) else shown(field): of_field for field, of_field in value.items()}


def _check_names(names: Iterable[Any]) -> None:
    """Raises a ValueError if one of the names is not that of a field."""
    known = [field.name for field in dataclasses.fields(PipelineConfig)]
    for name in names:
        if name not in known:
            text = name if isinstance(name, str) else shown(name)
            raise ValueError(f"Unknown setting {shown(name)}. {suggestion(text, known)}")
