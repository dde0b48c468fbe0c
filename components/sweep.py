"""Sweep: models of one dense model at several sparsities, and which of them is the sparsest that is good enough."""

import dataclasses
import decimal
import math
from collections.abc import Mapping
from typing import Any

from .budget import BudgetVerdict
from .typed_value import checked_value

HIGHER, LOWER = "higher", "lower"
DIRECTIONS = (HIGHER, LOWER)

# Sparsities that agree to so many decimals count as equal: a target is met up to the rounding of one weight.
_SPARSITY_DECIMALS = 4
_DIGITS = 4  # of the tolerance that would do


@dataclasses.dataclass(frozen=True)
class MetricGoal:
    """How good a pruned model must be.

    Attributes:
        metric: Name of the metric, as Evaluator writes it, such as 'AUC'.
        tolerance: How much worse than the baseline's it may be, in the metric's own unit; 0 or more.
        direction: Whether 'higher' or 'lower' values are better.
        bound: The worst value that is allowed, whatever the baseline's is; None for no limit.

    Raises:
        ValueError: A value is out of range.
        TypeError: A value is of another type.
    """

    metric: str
    tolerance: float
    direction: str = HIGHER
    bound: float | None = None

    def __post_init__(self) -> None:
        if not checked_value("metric", str, self.metric):
            raise ValueError("metric must be the name of a metric, such as 'AUC', got ''.")
        if self.direction not in DIRECTIONS:
            raise ValueError(f"direction must be 'higher' or 'lower', got {self.direction!r}: which values are better?")
        if checked_value("tolerance", float, self.tolerance) < 0:
            raise ValueError(
                f"tolerance must be 0 or more, got {self.tolerance}: it is how much worse than the dense model's the "
                f"{self.metric} may be."
            )
        if self.bound is not None:
            checked_value("bound", float, self.bound)

    def limit(self, baseline: float) -> float:
        """The worst value that is allowed, given the baseline's."""
        # In decimals, where 0.8 - 0.1 is exactly 0.7, so that 0.7 is allowed.
        exact, tolerance = decimal.Decimal(repr(float(baseline))), decimal.Decimal(repr(float(self.tolerance)))
        relative = float(exact - tolerance if self.direction == HIGHER else exact + tolerance)
        if self.bound is None:
            return relative
        return max(relative, self.bound) if self.direction == HIGHER else min(relative, self.bound)

    def allows(self, value: float, baseline: float) -> bool:
        """Whether a value is good enough, given the baseline's; NaN never is."""
        limit = self.limit(baseline)
        return value >= limit if self.direction == HIGHER else value <= limit

    def goodness(self, value: float) -> float:
        """A number that is larger for better values; -inf for NaN."""
        if math.isnan(value):
            return -math.inf
        return value if self.direction == HIGHER else -value


@dataclasses.dataclass(frozen=True)
class SweepCandidate:
    """One pruned and stripped model.

    Attributes:
        name: Unique among the candidates.
        sparsity: Fraction of the prunable parameters that is zero.
        metric: Value of the metric; NaN if the model has none, which is never within the tolerance.
        stripped_bytes: The stripped SavedModel, all its files.
        gzipped_bytes: The stripped SavedModel as one .tar.gz.
        hparams: The pruning hyperparameters, as `PruningHParams.parse` reads them; '' if unknown.
        check: What it takes of a budget; None if there is no budget.
    """

    name: str
    sparsity: float
    metric: float
    stripped_bytes: int
    gzipped_bytes: int
    hparams: str = ""
    check: BudgetVerdict | None = None


@dataclasses.dataclass(frozen=True)
class SweepBaseline:
    """The dense model.

    Attributes:
        metric: Value of the metric.
        stripped_bytes: The SavedModel without optimizer variables, all its files; None if it was not stripped.
        gzipped_bytes: The same as one .tar.gz; None likewise.
    """

    metric: float
    stripped_bytes: int | None = None
    gzipped_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Candidates against the dense model that they were pruned from.

    Attributes:
        goal: How good a candidate must be.
        baseline: The dense model.
        candidates: The trained candidates; at least one, each with a name of its own.
    """

    goal: MetricGoal
    baseline: SweepBaseline
    candidates: tuple[SweepCandidate, ...]

    @property
    def limit(self) -> float:
        """The worst value of the metric that is within the tolerance."""
        return self.goal.limit(self.baseline.metric)

    @property
    def has_budget(self) -> bool:
        """Whether the candidates were checked against a budget."""
        return any(each.check is not None for each in self.candidates)

    def within(self, candidate: SweepCandidate) -> bool:
        """Whether a candidate's metric is within the tolerance."""
        return self.goal.allows(candidate.metric, self.baseline.metric)

    def passes(self, candidate: SweepCandidate) -> bool:
        """Whether a candidate may be pushed: its metric is within the tolerance, and the budget, if any, holds."""
        return self.within(candidate) and not (candidate.check and candidate.check.failures)

    @property
    def chosen(self) -> SweepCandidate | None:
        """Of the candidates that may be pushed, the sparsest, or with a budget the best; None if there is none.

        Without a budget, among candidates that are equally sparse to a hundredth of a percent, the best metric decides,
        then the smallest gzipped size, then the order in `candidates`. With one, the best metric decides first, and
        then the sparsity.
        """
        return max(filter(self.passes, self.candidates), key=self._merit, default=None)

    @property
    def nearest(self) -> SweepCandidate:
        """The chosen candidate, or the one that is nearest to being chosen.

        That is, of those that keep to the budget, the best; else the one that is least above it.
        """
        if self.chosen is not None:
            return self.chosen
        fitting = [each for each in self.candidates if not (each.check and each.check.failures)]
        if fitting:
            return max(fitting, key=lambda each: self.goal.goodness(each.metric))
        return min(self.candidates, key=lambda each: each.check.budget.use(each.check.delivered))

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why no candidate may be pushed, one sentence each, with what would let one pass; empty if one may be.

        They are of the `nearest` candidate.
        """
        if self.chosen is not None:
            return ()
        nearest = self.nearest
        found = [*nearest.check.failures] if nearest.check else []
        if not self.within(nearest):
            worst = "least" if self.goal.direction == HIGHER else "most"
            text = f"the {self.goal.metric} is {nearest.metric:.6g}, allowed is at {worst} {self.limit:.6g}"
            if not math.isnan(nearest.metric):
                text += f": {self._mend(nearest.metric)} would take it"
            found.append(text)
        return tuple(found)

    @property
    def front(self) -> tuple[SweepCandidate, ...]:
        """The Pareto front, the smallest gzipped first: each is better than all that are smaller."""
        front: list[SweepCandidate] = []
        good = self.goal.goodness
        measured = [each for each in self.candidates if not math.isnan(each.metric)]
        for candidate in sorted(measured, key=lambda each: (each.gzipped_bytes, -good(each.metric))):
            if not front or good(candidate.metric) > good(front[-1].metric):
                front.append(candidate)
        return tuple(front)

    def _mend(self, metric: float) -> str:
        """What of the goal would have to be how large for a value of the metric to be good enough."""
        found = []
        if not dataclasses.replace(self.goal, bound=None).allows(metric, self.baseline.metric):
            lack = abs(decimal.Decimal(repr(self.baseline.metric)) - decimal.Decimal(repr(metric)))
            enough = decimal.Context(_DIGITS, decimal.ROUND_UP).create_decimal(lack).normalize()
            found.append(f"a tolerance of {enough:f}")
        bound = self.goal.bound
        if bound is not None and self.goal.goodness(metric) < self.goal.goodness(bound):
            found.append(f"a bound of {metric!r}")
        return " and ".join(found)

    def to_dict(self) -> dict[str, Any]:
        """The sweep as a dict for JSON, with derived values: `limit`, `chosen` and, of each candidate, `within`.

        `in_budget` of a candidate is None if there is no budget.
        """
        chosen = self.chosen
        return {
            "goal": dataclasses.asdict(self.goal),
            "baseline": dataclasses.asdict(self.baseline),
            "candidates": [
                {
                    **dataclasses.asdict(each),
                    "metric": None if math.isnan(each.metric) else each.metric,
                    "within": self.within(each),
                    "in_budget": None if each.check is None else not each.check.failures,
                }
                for each in self.candidates
            ],
            "limit": self.limit,
            "chosen": chosen and chosen.name,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Sweep":
        """Reads what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: The fields are not what `to_dict` writes.
        """
        names = [field.name for field in dataclasses.fields(SweepCandidate) if field.name != "check"]
        candidates = [
            {**{name: each[name] for name in names}, "check": each.get("check")} for each in fields["candidates"]
        ]
        return cls(
            MetricGoal(**fields["goal"]),
            SweepBaseline(**fields["baseline"]),
            tuple(
                SweepCandidate(
                    **{
                        **each,
                        "metric": math.nan if each["metric"] is None else each["metric"],
                        "check": None if each["check"] is None else BudgetVerdict.from_dict(each["check"]),
                    }
                )
                for each in candidates
            ),
        )

    def _merit(self, candidate: SweepCandidate) -> tuple[float, float, int]:
        sparsity, goodness = round(candidate.sparsity, _SPARSITY_DECIMALS), self.goal.goodness(candidate.metric)
        first, second = (goodness, sparsity) if self.has_budget else (sparsity, goodness)
        return first, second, -candidate.gzipped_bytes
