"""The rows of the accuracy table: what prunes, and with which hyperparameters."""

from typing import Any

from tfx_pruning import PruningHParams

DENSE = "dense"
TFMOT = "tfmot prune_low_magnitude"

_DECAY = 0.9
# Fraction of the target density that every layer keeps, in the rows with a floor.
FLOOR = 0.5

_CRITERIA: dict[str, dict[str, Any]] = {
    "magnitude |w|": {"prune_option": "weight"},
    "first order |w| |dL/dw|": {"prune_option": "first_order_gradient"},
    "second order w^2 (dL/dw)^2": {"prune_option": "second_order_gradient"},
}
_ALLOCATIONS: dict[str, dict[str, Any]] = {
    "uniform": {"allocation": "uniform"},
    "ERK": {"allocation": "erk"},
    "global": {"allocation": "global"},
    "global with a floor": {"allocation": "global", "min_layer_density": FLOOR},
}
_REFERENCE: dict[str, dict[str, Any]] = {
    "reference's first order, uniform": {
        "prune_option": "first_order_gradient",
        "gradient_estimator": "weight_delta",
    },
    "reference's second order, uniform": {
        "prune_option": "second_order_gradient",
        "gradient_estimator": "weight_delta",
    },
}
# By row: fields of PruningHParams; `min_layer_density` as a fraction of the target density.
OURS: dict[str, dict[str, Any]] = {
    f"{criterion}, {allocation}": {**of_criterion, **of_allocation}
    for criterion, of_criterion in _CRITERIA.items()
    for allocation, of_allocation in _ALLOCATIONS.items()
}
_GROWN = ("magnitude |w|, ERK", "second order w^2 (dL/dw)^2, global", "second order w^2 (dL/dw)^2, global with a floor")
OURS["second order w^2 Hessian (Hutchinson), global"] = {
    "prune_option": "second_order_gradient",
    "gradient_estimator": "hutchinson",
    "allocation": "global",
}
OURS |= {f"{method}, regrowth": {**OURS[method], "regrow": "gradient"} for method in _GROWN}
METHODS = (*OURS, *_REFERENCE, TFMOT)


def hparams(method: str, sparsity: float, steps: int) -> PruningHParams:
    """The hyperparameters of a row, for a training of `steps` steps; of DENSE and TFMOT, whose steps tfmot is given."""
    fields = {**OURS, **_REFERENCE}.get(method, {})
    if "min_layer_density" in fields:
        fields = {**fields, "min_layer_density": round(fields["min_layer_density"] * (1.0 - sparsity), 6)}
    given = {"prune_option": "weight", "allocation": "uniform", "gradient_decay_rate": _DECAY, **fields}
    return PruningHParams.for_steps(steps, target_sparsity=sparsity, **given)
