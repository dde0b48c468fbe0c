"""Gradient-based pruning for TensorFlow Extended.

The public names are loaded on first use: `import tfx_pruning` loads neither TensorFlow nor TFX, and the engine alone
never loads TFX.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .budget import Budget
    from .budget_check.component import BudgetCheck
    from .budget_search.component import BudgetSearch
    from .engine.hparams import PruningHParams
    from .engine.keras.scope import current_scope, in_scope, pruning_scope
    from .engine.keras.start_from_target import start_from_target
    from .engine.keras.warm_start import warm_start
    from .engine.pruning import Pruning, apply_mask
    from .engine.ranking.criteria import (
        Criterion,
        GradientCriterion,
        HessianCriterion,
        WeightChangeCriterion,
        register_criterion,
    )
    from .engine.ranking.schedule import Schedule, register_schedule
    from .post_training_pruner.component import PostTrainingPruner
    from .post_training_pruner.layer_sensitivity import LayerSensitivity, Sensitivity
    from .post_training_pruner.prune import prune_saved_model
    from .post_training_pruner.sensitivity import sensitivity
    from .pruning_report import PruningReport
    from .pruning_trainer.component import PruningTrainer
    from .sparsity_selector.component import SparsitySelector
    from .stripper.component import Stripper
    from .stripper.export.formats import register_exporter
    from .stripper.strip import strip_saved_model

_HOME = {
    "Budget": ".budget",
    "BudgetCheck": ".budget_check.component",
    "BudgetSearch": ".budget_search.component",
    "Criterion": ".engine.ranking.criteria",
    "GradientCriterion": ".engine.ranking.criteria",
    "HessianCriterion": ".engine.ranking.criteria",
    "LayerSensitivity": ".post_training_pruner.layer_sensitivity",
    "PostTrainingPruner": ".post_training_pruner.component",
    "Pruning": ".engine.pruning",
    "PruningHParams": ".engine.hparams",
    "PruningReport": ".pruning_report",
    "PruningTrainer": ".pruning_trainer.component",
    "Schedule": ".engine.ranking.schedule",
    "Sensitivity": ".post_training_pruner.layer_sensitivity",
    "SparsitySelector": ".sparsity_selector.component",
    "Stripper": ".stripper.component",
    "WeightChangeCriterion": ".engine.ranking.criteria",
    "apply_mask": ".engine.pruning",
    "current_scope": ".engine.keras.scope",
    "in_scope": ".engine.keras.scope",
    "prune_saved_model": ".post_training_pruner.prune",
    "pruning_scope": ".engine.keras.scope",
    "register_criterion": ".engine.ranking.criteria",
    "register_schedule": ".engine.ranking.schedule",
    "register_exporter": ".stripper.export.formats",
    "sensitivity": ".post_training_pruner.sensitivity",
    "start_from_target": ".engine.keras.start_from_target",
    "strip_saved_model": ".stripper.strip",
    "warm_start": ".engine.keras.warm_start",
}

__all__ = [
    "Budget",
    "BudgetCheck",
    "BudgetSearch",
    "Criterion",
    "GradientCriterion",
    "HessianCriterion",
    "LayerSensitivity",
    "PostTrainingPruner",
    "Pruning",
    "PruningHParams",
    "PruningReport",
    "PruningTrainer",
    "Schedule",
    "Sensitivity",
    "SparsitySelector",
    "Stripper",
    "WeightChangeCriterion",
    "__version__",
    "apply_mask",
    "current_scope",
    "in_scope",
    "prune_saved_model",
    "pruning_scope",
    "register_criterion",
    "register_exporter",
    "register_schedule",
    "sensitivity",
    "start_from_target",
    "strip_saved_model",
    "warm_start",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
