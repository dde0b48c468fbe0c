"""The weights and sparsity of a SavedModel, read from its files."""

import os
from collections.abc import Collection

import numpy as np

from ..engine import naming
from ..engine.keras.delivered_sparsity import WeightSparsity
from ..engine.model_variables import model_variables
from ..saved_model.sizes import directory_bytes, gzipped_bytes
from ..saved_model.variables import ROOT, SavedVariable, SavedVariables
from .document import ReportDocument

Identity = tuple[str, tuple[int, ...]]


def saved_model_report(directory: str | os.PathLike[str], title: str = "Model") -> ReportDocument:
    """Makes a report on any SavedModel, stripped or not, without a component's.

    Args:
        directory: Folder of the SavedModel, local or of any file system that TensorFlow reads.
        title: Subject of the report.

    Returns:
        Its weights, sizes and, if pruning's variables are still in it, its hyperparameters.

    Raises:
        ValueError: There is no SavedModel, or its variables cannot be read.
    """
    saved = SavedVariables(directory)
    return ReportDocument(
        title=title,
        weights=saved_weights(saved, masked_identities(saved)),
        sizes={"SavedModel": directory_bytes(directory), "SavedModel gzipped": gzipped_bytes(directory)},
        hparams=_hparams(saved),
        lineage={"SavedModel": os.fspath(directory)},
    )


def saved_weights(saved: SavedVariables, pruned: Collection[Identity]) -> tuple[WeightSparsity, ...]:
    """The floating weights of a SavedModel, biases too; zeros of a mask count as zeros of its weight.

    Args:
        saved: The SavedModel.
        pruned: Names and shapes of the weights that were pruned, as `masked_identities` gives them.
    """
    found: dict[Identity, list[np.ndarray]] = {}
    reports = []
    for variable in model_variables(saved):
        value = saved.value(variable)
        identity = variable.name, variable.shape
        # Keras's `export` writes every variable twice.
        if not is_floating(value) or any(np.array_equal(value, other) for other in found.get(identity, ())):
            continue
        found.setdefault(identity, []).append(value)
        mask = _mask(saved, variable)
        kept = value if mask is None else value * saved.value(mask)
        reports.append(WeightSparsity(variable.name, variable.shape, int(np.count_nonzero(kept)), identity in pruned))
    return tuple(reports)


def masked_identities(saved: SavedVariables) -> set[Identity]:
    """Names and shapes of the weights of a SavedModel that have masks of this package."""
    return {(variable.name, variable.shape) for variable in saved if _mask(saved, variable) is not None}


def _mask(saved: SavedVariables, weight: SavedVariable) -> SavedVariable | None:
    return _descendant(saved, weight.node, naming.STATE, naming.MASK)


def _hparams(saved: SavedVariables) -> str | None:
    variable = _descendant(saved, ROOT, naming.MODEL_STATE, naming.HPARAMS)
    return None if variable is None else saved.value(variable).item().decode()


def _descendant(saved: SavedVariables, node: int, *names: str) -> SavedVariable | None:
    for name in names:
        children = saved.children(node)
        if name not in children:
            return None
        node = children[name]
    return saved.variable(node)


def is_floating(value: np.ndarray) -> bool:
    """Whether an array is of floating-point numbers, of whatever library."""
    # bfloat16, float8_e5m2 and their like are no floating types to numpy.
    return np.issubdtype(value.dtype, np.floating) or "float" in value.dtype.name
