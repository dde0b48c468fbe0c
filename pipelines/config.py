"""PipelineConfig: all that the Chicago taxi pipeline can be told."""

import dataclasses
import numbers
import pathlib

from tfx_pruning import PruningHParams

TAXI_MODULE_FILE = str(pathlib.Path(__file__).with_name("modules") / "taxi.py")


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """Configuration of `create_pipeline`. Refused at construction when wrong.

    Attributes:
        pipeline_root: Where the components write their artifacts; a path or a URI that TFX can write to.
        data_root: Folder of the CSV files.
        serving_dir: Where Pusher puts the models that the Evaluator blessed.
        pipeline_name: Name of the pipeline in ML Metadata.
        module_file: Python file with `preprocessing_fn` and `run_fn`, used by Transform, Trainer and PruningTrainer.
        module_path: Dotted path of an installed module with these functions, used in place of `module_file` if it is
            not empty. An image that holds the module needs no wheel built of its file.
        train_steps: Optimizer steps of the dense training.
        pruning_steps: Optimizer steps of the training that prunes.
        eval_steps: Batches of the validation at the end of each training.
        prune_option: Criterion, as in PruningHParams.
        target_sparsity: Fraction of the weights to prune, in [0, 1).
        min_auc: The least AUC with which a model is pushed, in [0, 1].
        max_auc_drop: How far its AUC may be below that of the dense model, in [0, 1].
        warm_start: Whether the dense training starts from the model that was blessed last. It takes a Resolver, which
            not every runner has.
        enable_cache: Whether a component whose inputs have not changed since an earlier run is not run again.

    Raises:
        ValueError: A value is out of range or empty.
        TypeError: A value is of the wrong type.
    """

    pipeline_root: str
    data_root: str
    serving_dir: str
    pipeline_name: str = "chicago_taxi_pruning"
    module_file: str = TAXI_MODULE_FILE
    module_path: str = ""
    train_steps: int = 400
    pruning_steps: int = 800
    eval_steps: int = 20
    prune_option: str = "first_order_gradient"
    target_sparsity: float = 0.9
    min_auc: float = 0.85
    max_auc_drop: float = 0.02
    warm_start: bool = True
    enable_cache: bool = True

    def __post_init__(self) -> None:
        for name in ("pipeline_root", "data_root", "serving_dir", "pipeline_name", "module_file", "module_path"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a string, got {value!r} of type {type(value).__name__}.")
            if not value and name != "module_path":
                raise ValueError(f"{name} must not be empty.")
        for name in ("train_steps", "pruning_steps", "eval_steps"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be a whole number, got {value!r} of type {type(value).__name__}.")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        for name in ("min_auc", "max_auc_drop"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Real) or isinstance(value, bool):
                raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}.")
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {value}.")
        for name in ("warm_start", "enable_cache"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise TypeError(f"{name} must be True or False, got {value!r}.")
        _ = self.hparams

    @property
    def hparams(self) -> PruningHParams:
        """Pruning hyperparameters, the ramp fitted to `pruning_steps`."""
        return PruningHParams.for_steps(
            self.pruning_steps, prune_option=self.prune_option, target_sparsity=self.target_sparsity
        )
