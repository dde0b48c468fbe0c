"""RelativeTolerance: by how much an answer may differ, more so the larger it is."""

import math
import numbers

import numpy as np
import tensorflow as tf

DEFAULT_SHRINK_TOLERANCE = 1e-5

# How much more is tolerated in numbers of fewer digits.
_LOOSER = {tf.float16: 1e3, tf.bfloat16: 5e3}


class RelativeTolerance(float):
    """A tolerance of t * (1 + |answer|) for float32 and wider numbers, and more for narrower ones.

    It is a number, t, that is above 0.0: float16 is allowed 1000 and bfloat16 5000 times as much.
    """

    def exceeded(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Whether answers differ by more, row by row.

        Args:
            before: Floating-point or complex numbers; [rows, numbers].
            after: The same of another model.

        Returns:
            A bool for each row; NaN and infinity must equal themselves.
        """
        wide = np.complex128 if np.iscomplexobj(before) else np.float64
        allowed = float(self) * _LOOSER.get(tf.as_dtype(before.dtype), 1.0)
        old, new = before.astype(wide), after.astype(wide)
        with np.errstate(invalid="ignore"):
            near = np.abs(new - old) <= allowed * (1 + np.abs(old))
        near &= np.isfinite(old)
        return ~(near | (old == new) | (np.isnan(old) & np.isnan(new))).all(axis=1)


def checked_shrink_tolerance(shrink: bool, value: float | None) -> RelativeTolerance | None:
    """The tolerance of a shrunk model; None if the model is not shrunk.

    Args:
        shrink: Whether the model is shrunk.
        value: By how much its answers may differ then; None for 1e-5.

    Raises:
        TypeError: `shrink` is not a bool, or `value` not a number.
        ValueError: `value` is not above 0.0 and finite, or given though the model is not shrunk.
    """
    if not isinstance(shrink, bool):
        raise TypeError(f"shrink is {shrink!r} of type {type(shrink).__name__}, expected True or False.")
    if value is None:
        return RelativeTolerance(DEFAULT_SHRINK_TOLERANCE) if shrink else None
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        kind = type(value).__name__
        raise TypeError(f"shrink_tolerance is {value!r} of type {kind}, expected a number such as 1e-5.")
    if not shrink:
        raise ValueError(f"shrink_tolerance is {value}, but nothing is shrunk; give shrink=True, too, or leave it out.")
    if not 0.0 < value < math.inf:
        raise ValueError(
            f"shrink_tolerance is {value}, expected a finite number above 0.0: sums of fewer numbers round otherwise."
        )
    return RelativeTolerance(value)
