"""search_budget: finds the sparsity that meets a budget before anything is trained."""

import tempfile
from collections.abc import Sequence

from absl import logging

from ..budget import Budget, Delivered
from ..engine.hparams import PruningHParams
from .candidate_models import Candidate, CandidateModels
from .latency import ModelTimer
from .sparsity_plan import Measured, SparsityPlan

# A candidate this near to the budget is near enough.
_NEAR = (0.96, 0.99)
_MOST_CANDIDATES = 8
# What of the way to the largest sparsity is timed.
_TIMED = (0.25, 0.5, 0.7, 0.85, 1.0)
# If a layer dies at a sparsity, so much more of the model stays in the next candidate.
_MORE_LEFT = 1.5
_MOST_STEPS_BACK = 16
# How often the place is halved at which layers begin to die.
_HALVINGS = 3
# Of a bracket: how near to its ends the next candidate may be.
_INNER = 0.05


def search_budget(
    dense: str,
    hparams: PruningHParams,
    budget: Budget,
    examples: Sequence[bytes] | None = None,
    shrink: bool = True,
) -> SparsityPlan:
    """Measures copies of a dense model that are pruned at once: their size, and their latency if the budget has one.

    A model's size hardly depends on which channels go, as long as as many weights do. So the candidates, pruned by
    magnitude and not trained, are as large as the trained model will be; the training that follows need not be repeated
    as a rule. Each candidate is stripped, shrunk and exported as Stripper does it.

    Args:
        dense: Folder of the dense SavedModel, stripped.
        hparams: The hyperparameters of the training that is to come; their target sparsity has no effect.
        budget: The budget.
        examples: Serialized records: for exports with int8 activations, and for the calls that are timed.
        shrink: Whether Stripper is going to shrink the model; with `granularity='channel'` it has to.

    Returns:
        What was measured, from which `next_sparsity` follows.

    Raises:
        ValueError: No candidate meets the budget, the message says which is the smallest; zeros alone cannot meet it;
            the model cannot be pruned, or not be of the budget's format.
        RuntimeError: The latency cannot be measured.
    """
    budget.check_hparams(hparams)
    with tempfile.TemporaryDirectory() as folder:
        models = CandidateModels(dense, hparams, budget, folder, examples, shrink)
        unpruned = models.at(0.0)
        if budget.max_latency is None:
            plan = _by_size(models, budget, unpruned)
        else:
            plan = _by_latency(models, budget, unpruned, examples)
    plan.check_reachable()
    if plan.dense_meets:
        logging.warning(
            "The dense model meets the budget as it is (%d bytes): the sparsity is 0, and nothing is pruned.",
            plan.dense.bytes,
        )
    return plan


def _by_size(models: CandidateModels, budget: Budget, unpruned: Candidate) -> SparsityPlan:
    """Finds where the size crosses the budget, between the dense and the smallest candidate."""
    found = [unpruned]
    if budget.failures(Delivered(unpruned.bytes)):
        found.append(_smallest(models, budget))
        over, under = found
        while not budget.failures(Delivered(under.bytes)) and len(found) < _MOST_CANDIDATES:
            wanted = budget.max_bytes * sum(_NEAR) / 2
            if over.bytes <= under.bytes:
                break  # both are on one step
            share = (over.bytes - wanted) / (over.bytes - under.bytes)
            share = min(max(share, _INNER), 1 - _INNER)
            try:
                candidate = models.at(over.sparsity + share * (under.sparsity - over.sparsity))
            except ValueError as error:
                logging.info("The search ends early: %s", error)
                break
            if candidate in found:
                break
            found.append(candidate)
            if _NEAR[0] <= candidate.bytes / budget.max_bytes <= _NEAR[1]:
                break
            if candidate.bytes > wanted:
                over = candidate
            else:
                under = candidate
    return _plan(budget, [(each, Delivered(each.bytes)) for each in found])


def _by_latency(
    models: CandidateModels, budget: Budget, unpruned: Candidate, examples: Sequence[bytes] | None
) -> SparsityPlan:
    """Measures candidates at several sparsities, all by turns."""
    largest = _smallest(models, budget).sparsity
    found = {f"{share:g}": models.at(share * largest) for share in _TIMED}
    found["dense"] = unpruned
    timer = ModelTimer(unpruned.model, budget, examples)
    times = timer.latencies({name: each.path for name, each in found.items()})
    return _plan(budget, [(each, Delivered(each.bytes, times[name])) for name, each in found.items()])


def _smallest(models: CandidateModels, budget: Budget) -> Candidate:
    """The smallest candidate whose answers depend on the input; the exact one only if others miss the budget."""
    left, dead = 1.0 - models.largest_sparsity, None
    for _ in range(_MOST_STEPS_BACK):
        try:
            found = models.at(1.0 - left)
            break
        except ValueError as error:
            logging.info("No candidate at the sparsity %g: %s", 1.0 - left, error)
            left, dead, failure = min(left * _MORE_LEFT, (1.0 + left) / 2), left, error
    else:
        raise ValueError(f"The model cannot be pruned at once to measure its size: {failure}") from failure
    for _ in range(_HALVINGS if dead is not None and budget.failures(Delivered(found.bytes)) else 0):
        middle = (dead + left) / 2
        try:
            found, left = models.at(1.0 - middle), middle
        except ValueError:
            dead = middle
    return found


def _plan(budget: Budget, measured: Sequence[tuple[Candidate, Delivered]]) -> SparsityPlan:
    ordered = sorted(measured, key=lambda each: each[0].sparsity)
    return SparsityPlan(budget, tuple(Measured(each.sparsity, delivered) for each, delivered in ordered))
