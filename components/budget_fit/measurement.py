"""measured: what a stripped model takes of a budget, beside the dense model."""

import dataclasses
import os
import tempfile
from collections.abc import Sequence

from ..budget import Budget, BudgetVerdict, Delivered
from ..stripper.export.model_export import export_model
from .candidate_models import artifact_bytes, artifact_path
from .latency import ModelTimer


def measured(
    pruned: tuple[str, str],
    dense: str,
    budget: Budget,
    known: Delivered,
    examples: Sequence[bytes] | None = None,
) -> BudgetVerdict:
    """Measures the size of a pruned model, and its latency, by turns with the dense one, if the budget has one.

    Args:
        pruned: Folder of the stripped SavedModel, and that of its exports.
        dense: Folder of the dense SavedModel, stripped.
        budget: The budget.
        known: What the dense model takes, as BudgetSearch found it.
        examples: Serialized records, for the calls.

    Returns:
        The budget, and what both models take.

    Raises:
        FileNotFoundError, NotADirectoryError: The model has no artifact of the budget's format.
        RuntimeError: The latency cannot be measured.
    """
    path = artifact_path(*pruned, budget)
    size = artifact_bytes(path, budget)
    if budget.max_latency is None:
        return BudgetVerdict(budget, known, Delivered(size))
    with tempfile.TemporaryDirectory() as folder:
        exports = os.path.join(folder, "exports")
        if budget.export is not None:
            export_model(dense, exports, [budget.export], examples=examples)
        times = ModelTimer(pruned[0], budget, examples).latencies(
            {"pruned": path, "dense": artifact_path(dense, exports, budget)}
        )
    return BudgetVerdict(budget, dataclasses.replace(known, latency=times["dense"]), Delivered(size, times["pruned"]))
