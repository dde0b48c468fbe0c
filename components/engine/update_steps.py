"""UpdateSteps: at which steps masks are updated."""

import dataclasses
import math
from typing import Any


@dataclasses.dataclass(frozen=True)
class UpdateSteps:
    """The steps at which masks may be updated, `frequency` apart.

    Attributes:
        begin: The first.
        end: The last; -1 for no last one.
        frequency: Steps between two updates, at least.
    """

    begin: int
    end: int
    frequency: int

    def is_due(self, step: Any, last_update: Any) -> Any:
        """Whether `step` calls for an update.

        Args:
            step: Optimizer steps taken, a whole number or an integer tensor.
            last_update: The step of the last update, likewise; 0 before the first.

        Returns:
            A bool, or a bool tensor if one of the two is a tensor.
        """
        due = (last_update + self.frequency <= step) & (step >= self.begin)
        return due if self.end == -1 else due & (step <= self.end)

    def next_due(self, step: int, last_update: int) -> float:
        """The first step after `step` that calls for an update if none is made until then; infinite if none does."""
        coming = max(last_update + self.frequency, self.begin, step + 1)
        return coming if self.is_due(coming, last_update) else math.inf

    def between(self, after: int, last_update: int) -> range:
        """The steps of the updates that came after the step `after`, given the last: every one took place when due."""
        first = max(after + 1, self.begin)
        return range(last_update, first - 1, -self.frequency)[::-1]

    def latest(self, step: int) -> int | None:
        """The last step up to `step` whose sparsity the masks can have; None before `begin`."""
        if step < self.begin:
            return None
        return step if self.end == -1 else min(step, self.end)
