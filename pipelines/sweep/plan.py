"""SweepPlan: at which sparsities, and by which options, a sweep may prune."""

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from typing import Any

from tfx_pruning import PruningHParams
from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.typed_value import checked_value

# Sparsities are multiples of a hundredth of a percent, so that names of candidates hold them exactly.
_UNITS = 10_000
_LONGEST_OPTION = 48  # letters of an option in the name of a candidate


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One model to prune, strip and evaluate.

    Attributes:
        name: Letters, digits and underscores; what its nodes' ids end with. The same hyperparameters in the same sweep
            have the same name, in whichever round they are tried.
        hparams: The pruning hyperparameters.
    """

    name: str
    hparams: PruningHParams


@dataclasses.dataclass(frozen=True)
class SweepPlan:
    """The search space of a sweep, checked when it is constructed.

    `config` says what is good enough: `metric`, `max_metric_drop`, and `min_metric` or `max_metric`.

    Attributes:
        config: Configuration of the pipeline. Its `pruning` applies to all options; its target sparsity is not used.
        options: Ways to prune: names of criteria, as 'weight', or fields of PruningHParams, as
            'prune_option=weight,allocation=uniform'. Empty for the one way in `config.pruning`.
        min_sparsity: The least target sparsity.
        max_sparsity: The largest.
        resolution: Step between target sparsities; like the other two, a multiple of 0.0001.

    Raises:
        ValueError: A value is out of range, or an option is unknown, given twice or cannot have those sparsities.
        TypeError: A value is of the wrong type.
    """

    config: PipelineConfig
    options: tuple[str, ...] = ()
    min_sparsity: float = 0.5
    max_sparsity: float = 0.99
    resolution: float = 0.01

    def __post_init__(self) -> None:
        for name in ("min_sparsity", "max_sparsity", "resolution"):
            _check_fraction(name, getattr(self, name))
        if self.resolution == 0:
            raise ValueError("resolution must be above 0, got 0: give the step between sparsities, such as 0.01.")
        if not 0 < self.min_sparsity <= self.max_sparsity < 1:
            raise ValueError(
                "min_sparsity and max_sparsity must be above 0 and below 1, the first no larger than the second, got "
                f"{self.min_sparsity} and {self.max_sparsity}."
            )
        if not self.config.enable_cache:
            raise ValueError("enable_cache must be True: a sweep trains each candidate once and finds it in the cache.")
        object.__setattr__(self, "options", self._checked_options())
        for option in self.options:
            for sparsity in (self.min_sparsity, self.max_sparsity):
                self.candidate(option, sparsity)

    @property
    def sparsities(self) -> tuple[float, ...]:
        """The target sparsities in ascending order; the largest is always among them."""
        low, high, step = (round(value * _UNITS) for value in (self.min_sparsity, self.max_sparsity, self.resolution))
        return tuple(units / _UNITS for units in sorted({*range(low, high, step), high}))

    def candidate(self, option: str, sparsity: float) -> Candidate:
        """The candidate of an option at a target sparsity.

        Raises:
            ValueError: The option cannot have that sparsity.
        """
        fields = {**self.config.pruning, **_fields(option), "target_sparsity": sparsity}
        try:
            hparams = self.config.hparams_of(fields)
        except ValueError as error:
            raise ValueError(f"The option {option!r} at the sparsity {sparsity}: {error}") from error
        return Candidate(f"{_slug(option)}_s{round(sparsity * _UNITS):04d}", hparams)

    def _checked_options(self) -> tuple[str, ...]:
        options = checked_value("options", tuple, self.options) or (self.config.hparams.prune_option,)
        for option in options:
            if "target_sparsity" in _fields(option):
                raise ValueError(
                    f"The option {option!r} sets target_sparsity, which is what a sweep looks for: leave it out."
                )
        given = [tuple(sorted(_fields(option).items())) for option in options]
        slugs = [_slug(option) for option in options]
        for index, option in enumerate(options):
            if given[index] in given[:index] or slugs[index] in slugs[:index]:
                raise ValueError(f"The option {option!r} is given twice.")
        return options


def budget_ways(config: PipelineConfig, options: Sequence[str]) -> dict[str, PruningHParams]:
    """The ways to prune to a budget.

    Args:
        config: Configuration of the pipeline, with a budget.
        options: As `SweepPlan` takes them.

    Returns:
        Hyperparameters, by a name of letters, digits and underscores; their target sparsities have no meaning.

    Raises:
        ValueError: There is no budget, or an option is unknown, given twice, or contradicts the budget.
    """
    plan = SweepPlan(config, tuple(options))
    if config.budget is None:
        raise ValueError("config has no budget: set max_bytes or max_latency.")
    ways = {_slug(option): plan.candidate(option, plan.max_sparsity).hparams for option in plan.options}
    for hparams in ways.values():
        config.budget.check_hparams(hparams)
    return ways


def _fields(option: str) -> dict[str, Any]:
    """The fields of PruningHParams that an option sets."""
    if not option.strip():
        raise ValueError("An option is empty: name a criterion such as 'weight', or fields such as 'allocation=erk'.")
    return PruningHParams.fields_of(option if "=" in option else f"prune_option={option}")


def _slug(option: str) -> str:
    """An option as part of a name."""
    slug = re.sub(r"[^A-Za-z0-9]+", "_", option.removeprefix("prune_option=")).strip("_")
    if len(slug) <= _LONGEST_OPTION:
        return slug
    return f"{slug[:_LONGEST_OPTION]}_{hashlib.sha256(option.encode()).hexdigest()[:8]}"


def _check_fraction(name: str, value: Any) -> None:
    """Raises a TypeError or ValueError if a value is no multiple of 1 / _UNITS in [0, 1]."""
    if not 0 <= checked_value(name, float, value) <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}.")
    if abs(value * _UNITS - round(value * _UNITS)) > 1e-6:
        raise ValueError(f"{name} must be a multiple of {1 / _UNITS}, got {value}.")
