"""Histogram: the distribution of a tensor's values, in few numbers."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

BINS = 60

# XLA may treat smaller numbers as zero.
_SMALLEST = float(np.finfo(np.float32).smallest_normal)
# How many values are converted to float64 at a time.
_AT_ONCE = 1 << 16


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts of values in bins of equal width. Zeros are counted apart.

    Attributes:
        low: Left edge of the first bin.
        high: Right edge of the last bin.
        logarithmic: Whether the bins are equally wide on a logarithmic scale.
        counts: Values in each bin; empty if all are zero.
        zeros: How many values are zero. They are in no bin.
    """

    low: float
    high: float
    logarithmic: bool
    counts: tuple[int, ...]
    zeros: int

    @classmethod
    def of(cls, values: np.ndarray) -> "Histogram":
        """The histogram of weights, real numbers of any shape. Those that are not finite are left out."""
        values = np.asarray(values, np.float32).reshape(-1)
        return cls._of(values[(values != 0) & np.isfinite(values)], int(np.count_nonzero(values == 0)), False)

    @classmethod
    def of_scores(cls, scores: np.ndarray) -> "Histogram":
        """The histogram of scores, non-negative numbers of any shape, on a logarithmic scale.

        The smallest normal float32 counts as zero: it stands for the score zero of a kept weight.
        """
        scores = np.asarray(scores, np.float32).reshape(-1)
        positive = scores[(scores > _SMALLEST) & np.isfinite(scores)]
        return cls._of(positive, int(np.count_nonzero(scores <= _SMALLEST)), True)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Histogram":
        """Reads what `dataclasses.asdict` made of one, also after JSON."""
        return cls(**{**fields, "counts": tuple(fields["counts"])})

    @property
    def edges(self) -> np.ndarray:
        """Edges of the bins, ascending, float64. There is one more than there are bins."""
        if not self.counts:
            return np.array([self.low])
        spaced = np.geomspace if self.logarithmic else np.linspace
        return spaced(self.low, self.high, len(self.counts) + 1)

    @property
    def total(self) -> int:
        """How many values there are, zeros included."""
        return sum(self.counts) + self.zeros

    @classmethod
    def _of(cls, values: np.ndarray, zeros: int, logarithmic: bool) -> "Histogram":
        if not values.size:
            return cls(0.0, 0.0, logarithmic, (), zeros)

        def placed(some: np.ndarray) -> np.ndarray:
            # In float64, since processors differ in how they round the logarithm of a float32.
            return np.log10(some, dtype=np.float64) if logarithmic else some.astype(np.float64)

        first, last = placed(np.stack([values.min(), values.max()]))
        if first == last:
            # Edges of bins around equal values must differ in float64.
            half = max(0.5, abs(first) * 1e-6)
            first, last = first - half, last + half
        counts = np.zeros(BINS, np.int64)
        for start in range(0, values.size, _AT_ONCE):
            bins = (placed(values[start : start + _AT_ONCE]) - first) / (last - first) * BINS
            # Clipped, since a logarithm may be rounded differently in an array of another size, and since the last bin
            # includes its right edge.
            counts += np.bincount(np.clip(bins, 0, BINS - 1).astype(np.int64), minlength=BINS)
        low, high = (float(10**edge) if logarithmic else float(edge) for edge in (first, last))
        return cls(low, high, logarithmic, tuple(counts.tolist()), zeros)
