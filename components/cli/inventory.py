"""The variables of a SavedModel with their sparsity, read from its files."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from ..engine.model_variables import model_variables
from ..places import checked_model_path
from ..saved_model import sizes
from ..saved_model.checkpoint import VALUE_SUFFIX, prefix
from ..saved_model.meta_graph import read_saved_model
from ..saved_model.variables import SavedVariable, SavedVariables
from ..stripper.masks.pruning_names import is_mask_name, is_pruning_name
from ..structure.kept_indices import KeptIndices

Kind = Literal["model", "training", "pruning", "copy"]

_KINDS: tuple[Kind, ...] = ("model", "copy", "training", "pruning")
_STATE = "/pruning"
# `model.export` writes each weight a second time, in this list.
_COPIES = "_all_variables/"


@dataclasses.dataclass(frozen=True)
class VariableEntry:
    """One variable.

    Attributes:
        name: Its name, as in 'sequential/dense/kernel'.
        key: Its key in the checkpoint, without '/.ATTRIBUTES/VARIABLE_VALUE'.
        kind: 'model'; 'training' for optimizers and metrics; 'pruning' for masks, thresholds, gradients, ...; 'copy'
            for a second copy of a value.
        shape: Its shape.
        dtype: Name of its dtype.
        parameters: Number of its elements.
        nonzeros: How many of them are not zero, after multiplication by the mask if there is one; None for strings.
        masked: Whether there is a mask.
        bytes: Size of its elements; for strings, the sum of their lengths.
        shape_before: Its shape before the model was shrunk; None if it was not cut.
    """

    name: str
    key: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    parameters: int
    nonzeros: int | None
    masked: bool
    bytes: int
    shape_before: tuple[int, ...] | None = None
    sparsity: float = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Sets the fraction of zeros; 0.0 for strings and for variables without elements."""
        zeros = 0 if self.nonzeros is None else self.parameters - self.nonzeros
        object.__setattr__(self, "sparsity", zeros / self.parameters if self.parameters else 0.0)


@dataclasses.dataclass(frozen=True)
class Inventory:
    """All variables of a SavedModel.

    Attributes:
        variables: All variables, those of the model first, each kind sorted by key.
        total_bytes: Size of all files.
        gzipped_bytes: Size of all files as one .tar.gz.
    """

    variables: tuple[VariableEntry, ...]
    total_bytes: int
    gzipped_bytes: int

    def totals(self) -> dict[str, Any]:
        """Sums of each kind that occurs: variables, bytes, parameters, nonzeros, sparsity."""
        kinds = {}
        for kind in _KINDS:
            if entries := [each for each in self.variables if each.kind == kind]:
                parameters = sum(each.parameters for each in entries)
                nonzeros = sum(each.parameters if each.nonzeros is None else each.nonzeros for each in entries)
                kinds[kind] = {
                    "variables": len(entries),
                    "bytes": sum(each.bytes for each in entries),
                    "parameters": parameters,
                    "nonzeros": nonzeros,
                    "sparsity": 1 - nonzeros / parameters if parameters else 0.0,
                }
        return {"kinds": kinds}


def inventory(path: str) -> Inventory:
    """Reads the variables of a SavedModel; its graph is not loaded.

    Args:
        path: Folder of the model, which may be pruned, stripped or dense, of TensorFlow 1 or 2.

    Returns:
        The inventory.

    Raises:
        FileNotFoundError: There is no SavedModel at `path`.
        ValueError: Its files are damaged, or TensorFlow cannot read a SavedModel there.
    """
    path = checked_model_path(path)
    read_saved_model(path)
    variables: list[tuple[str, str, np.ndarray, Kind]] = []
    if tf.io.gfile.exists(f"{prefix(path)}.index"):
        variables = _variables(SavedVariables(path))
    values = {key: value for _, key, value, _ in variables}
    masks = _masks(variables)
    entries = [_entry(name, key, value, kind, values.get(masks.get(key, ""))) for name, key, value, kind in variables]
    kept = KeptIndices.read(path).variables
    entries = [
        dataclasses.replace(each, shape_before=kept[each.key].shape) if each.key in kept else each for each in entries
    ]
    entries.sort(key=lambda each: (_KINDS.index(each.kind), each.key))
    return Inventory(tuple(entries), sizes.directory_bytes(path), sizes.gzipped_bytes(path))


def _variables(saved: SavedVariables) -> list[tuple[str, str, np.ndarray, Kind]]:
    """Name, key, value and kind of each variable."""
    if not saved.has_objects:
        # TensorFlow 1: names are keys.
        return [
            (each.name, each.key, saved.value(each), "pruning" if is_pruning_name(each.name) else "model")
            for each in saved
        ]
    of_model = {variable.node for variable in model_variables(saved)}
    found: list[tuple[str, str, np.ndarray, Kind]] = []
    seen: dict[tuple[str, bytes], str] = {}
    for variable in sorted(saved, key=lambda each: each.key.startswith(_COPIES)):
        value, key = saved.value(variable), variable.key.removesuffix(VALUE_SUFFIX)
        kind = _kind(variable, key, of_model)
        if kind == "model" and value.dtype != object:
            first = seen.setdefault((variable.name, value.tobytes()), key)
            if first != key and key.startswith(_COPIES):
                kind = "copy"
        found.append((variable.name, key, value, kind))
    return found


def _kind(variable: SavedVariable, key: str, of_model: set[int]) -> Kind:
    if is_pruning_name(variable.name) or is_pruning_name(key):
        return "pruning"
    return "model" if variable.node in of_model else "training"


def _masks(variables: list[tuple[str, str, np.ndarray, Kind]]) -> Mapping[str, str]:
    """The key of the mask of each weight that has one."""
    found = {}
    for name, mask, value, _ in variables:
        if not (is_mask_name(name) or is_mask_name(mask)):
            continue
        # This project's masks hang from their weight, tfmot's stand beside the layer that holds it.
        owner = os.path.dirname(mask).removesuffix(_STATE)
        owned = [
            key
            for _, key, weight, kind in variables
            if kind == "model" and weight.shape == value.shape and f"{key}/".startswith(f"{owner}/")
        ]
        if len(owned) == 1:
            found[owned[0]] = mask
    return found


def _entry(name: str, key: str, value: np.ndarray, kind: Kind, mask: np.ndarray | None) -> VariableEntry:
    if value.dtype == object:
        size = sum(len(each) for each in value.ravel())
        return VariableEntry(name, key, kind, value.shape, "string", value.size, None, False, size)
    used = value if mask is None else value * mask.astype(value.dtype)
    nonzeros = int(np.count_nonzero(used))
    return VariableEntry(
        name, key, kind, value.shape, value.dtype.name, value.size, nonzeros, mask is not None, value.nbytes
    )
