"""Latency: how long two models take to answer, measured by turns."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class CallTimes:
    """How long the calls of one model took, in milliseconds.

    Attributes:
        median: Half of the calls took no longer.
        lower: The lower quartile.
        upper: The upper quartile.
    """

    median: float
    lower: float
    upper: float


@dataclasses.dataclass(frozen=True)
class Latency:
    """Calls of the dense and the pruned model with the same batch, one after the other by turns.

    Attributes:
        signature: The signature that was called.
        batch: Number of examples in the batch.
        calls: How many calls of each model were timed.
        dense: Of the dense model.
        pruned: Of the pruned model.
    """

    signature: str
    batch: int
    calls: int
    dense: CallTimes
    pruned: CallTimes

    @property
    def times_as_fast(self) -> float:
        """How many times as fast the pruned model is, by the medians."""
        return self.dense.median / self.pruned.median

    @property
    def is_clear(self) -> bool:
        """Whether the middle halves of both models' times lie apart."""
        return self.dense.lower > self.pruned.upper or self.pruned.lower > self.dense.upper
