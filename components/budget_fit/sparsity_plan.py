"""SparsityPlan: which sparsity meets a budget, by what was measured of candidates and of trained models."""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..budget import Budget, Delivered

# Which part of the budget a training aims at. Its masks are not those of the candidates, and times vary.
_AIM_BYTES = 0.975
_AIM_LATENCY = 0.9
# Candidates whose sparsities are this near to each other, and whose sizes are not, are on two sides of a step;
_STEP_SPARSITY = 0.02
# and by how much of the budget two models on one side may differ.
_SAME_STEP = 0.01
# How far a candidate's load may be from 1 to be taken as it is.
_NEAR = 0.015
_DIGITS = 6
_SMALLEST_STEP = 1e-5


@dataclasses.dataclass(frozen=True)
class Measured:
    """A model at a target sparsity.

    Attributes:
        sparsity: The target, a fraction.
        delivered: What it takes.
    """

    sparsity: float
    delivered: Delivered


@dataclasses.dataclass(frozen=True)
class SparsityPlan:
    """What is known of sparsities and what they deliver.

    Attributes:
        budget: The budget.
        candidates: Models that were pruned at once, in the order of their sparsities; the first is the dense one.
        trained: Models that were trained, in that order.
    """

    budget: Budget
    candidates: tuple[Measured, ...]
    trained: tuple[Measured, ...] = ()

    @property
    def dense(self) -> Delivered:
        """What the dense model takes."""
        return self.candidates[0].delivered

    @property
    def smallest(self) -> Measured:
        """The candidate that takes least of the budget."""
        return min(self.candidates, key=lambda each: self.budget.use(each.delivered))

    @property
    def dense_meets(self) -> bool:
        """Whether the dense model meets the budget, so that nothing need be pruned."""
        return not self.budget.failures(self.dense)

    @property
    def is_met(self) -> bool:
        """Whether the last trained model meets the budget, and is no smaller than it has to be.

        Sizes fall in steps, of one channel. If the steps are so large that no candidate takes 95 % of the budget, what
        the largest candidate within it takes is enough.
        """
        if not self.trained:
            return False
        last = self.trained[-1]
        if self.budget.failures(last.delivered):
            return False
        if last.sparsity == 0.0 or not self.budget.is_wasted(last.delivered):
            return True
        uses = [(self.budget.use(each.delivered), each.sparsity) for each in self.candidates]
        within, over = max(each for each in uses if each[0] <= 1), min(each for each in uses if each[0] > 1)
        is_step = abs(within[1] - over[1]) <= _STEP_SPARSITY
        return is_step and self.budget.use(last.delivered) >= within[0] - _SAME_STEP

    def next_sparsity(self) -> float:
        """The sparsity at which the next training should meet the budget.

        The first is read off the candidates. Once a trained model takes more or less than the candidate of its
        sparsity, the candidates' sizes are scaled by that; and between two trained models, one of which takes too much
        and one too little, the sparsity is interpolated.

        Returns:
            A fraction; 0.0 if the dense model meets the budget.
        """
        if self.dense_meets:
            return 0.0
        curve = [(each.sparsity, self._load(each.delivered)) for each in self.candidates]
        if not self.trained:
            # Sizes fall in steps, of one channel: rather a candidate that was measured than a place between two.
            sparsity, load = min(curve, key=lambda each: abs(each[1] - 1))
            return sparsity if abs(load - 1) <= _NEAR else round(self._crossing(curve), _DIGITS)
        points = [(each.sparsity, self._load(each.delivered)) for each in self.trained]
        over = max((each for each in points if each[1] > 1), default=None)
        under = min((each for each in points if each[1] <= 1), default=None)
        if over and under and over[0] < under[0]:
            return round(self._crossing([over, under]), _DIGITS)
        sparsity, load = points[-1]
        scale = load / _interpolated(curve, sparsity)
        found = self._crossing([(at, value * scale) for at, value in curve])
        if load > 1:
            found = max(found, sparsity + _SMALLEST_STEP)
        return round(min(found, self.candidates[-1].sparsity), _DIGITS)

    def check_reachable(self) -> None:
        """Raises a ValueError if no candidate meets the budget."""
        smallest = self.smallest
        if failures := self.budget.failures(smallest.delivered):
            raise ValueError(
                f"The budget cannot be met: the smallest model, at the sparsity {smallest.sparsity:g}, is over it, for "
                f"{' and '.join(failures)}. The dense model takes {delivered_in_words(self.dense)}. Allow more, or "
                "make a smaller dense model; nothing was pruned."
            )

    def with_trained(self, sparsity: float, delivered: Delivered) -> "SparsityPlan":
        """The plan, with one more trained model."""
        return dataclasses.replace(self, trained=(*self.trained, Measured(sparsity, delivered)))

    def to_json(self, sparsity: float) -> str:
        """The plan and the next sparsity, as PruningTrainer reads hyperparameters; `from_json` reads the plan."""
        return json.dumps(
            {"space": [], "values": {"pruning/target_sparsity": sparsity}, "budget_plan": dataclasses.asdict(self)}
        )

    @classmethod
    def from_json(cls, text: str) -> "SparsityPlan":
        """Reads what `to_json` wrote.

        Raises:
            ValueError: The text is something else.
        """
        try:
            fields = json.loads(text)["budget_plan"]
            return cls(Budget(**fields["budget"]), _measured(fields["candidates"]), _measured(fields["trained"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"These hyperparameters are not of BudgetSearch ({type(error).__name__}: {error}). Give BudgetCheck "
                "the output 'hyperparameters' of BudgetSearch, or of the BudgetCheck before it."
            ) from error

    def _load(self, delivered: Delivered) -> float:
        """What a model takes of what is aimed at: 1 is right."""
        loads = []
        if self.budget.max_bytes is not None:
            loads.append(delivered.bytes / (_AIM_BYTES * self.budget.max_bytes))
        if self.budget.max_latency is not None and delivered.latency is not None:
            loads.append(delivered.latency.median / (_AIM_LATENCY * self.budget.max_latency))
        return max(loads)

    @staticmethod
    def _crossing(curve: Sequence[tuple[float, float]]) -> float:
        """The least sparsity from which on the load is 1 or less, linear between points; the last if it never is."""
        place = curve[-1][0]
        for (low, before), (high, after) in reversed(list(itertools.pairwise(curve))):
            if after > 1:
                break
            if before > 1:
                return low + (high - low) * (before - 1) / (before - after)
            place = low
        return place


def delivered_in_words(delivered: Delivered) -> str:
    """What a model takes as text: '12,345 bytes and 1.2 ms (1.1 to 1.3) a call'."""
    latency = "" if delivered.latency is None else f" and {delivered.latency.in_words()} a call"
    return f"{delivered.bytes:,} bytes{latency}"


def _measured(fields: Sequence[Mapping[str, Any]]) -> tuple[Measured, ...]:
    return tuple(Measured(float(each["sparsity"]), Delivered.from_dict(each["delivered"])) for each in fields)


def _interpolated(curve: Sequence[tuple[float, float]], sparsity: float) -> float:
    """The load at a sparsity, linear between points."""
    for (low, before), (high, after) in itertools.pairwise(curve):
        if sparsity <= high:
            return before + (after - before) * max(0.0, sparsity - low) / (high - low)
    return curve[-1][1]
