"""AnswerDifference: how far an export's answers are from the model's."""

from collections.abc import Mapping

import numpy as np

Answers = Mapping[str, np.ndarray]


class AnswerDifference:
    """The difference over all batches of inputs added.

    Attributes:
        mismatch: Why answers cannot be compared; '' if they can.
        bitwise_equal: Whether each bit of each answer agrees.
        max_abs: The largest absolute difference of two numbers; infinite if they differ and one is not finite.
    """

    def __init__(self) -> None:
        self.mismatch = ""
        self.bitwise_equal = True
        self.max_abs = 0.0
        self._outputs: dict[str, _Output] = {}

    def add(self, expected: Answers, actual: Answers) -> None:
        """Compares the answers to one batch of inputs, outputs by name."""
        if expected.keys() != actual.keys():
            self.mismatch = self.mismatch or f"outputs {sorted(expected)} became {sorted(actual)}"
            return
        for name, before in expected.items():
            after = actual[name]
            if (before.dtype, before.shape) != (after.dtype, after.shape):
                self.mismatch = self.mismatch or (
                    f"output {name!r} of {before.dtype}{before.shape} became {after.dtype}{after.shape}"
                )
                continue
            is_object = before.dtype == object
            equal = np.array_equal(before, after) if is_object else before.tobytes() == after.tobytes()
            self.bitwise_equal = self.bitwise_equal and equal
            output = self._outputs.setdefault(name, _Output(before.dtype))
            output.add(before, after)
            self.max_abs = max(self.max_abs, output.max_abs)

    @property
    def relative(self) -> float:
        """The largest difference of any output.

        For floats this is the largest difference over the largest finite absolute value expected, or over 1 if all are
        zero; for others it is the fraction of values that differ.
        """
        return max((output.relative for output in self._outputs.values()), default=0.0)

    def __str__(self) -> str:
        """The difference of each output in words, the largest first."""
        return self.beyond(-1.0)

    def beyond(self, tolerance: float) -> str:
        """The same, for the outputs whose difference is more than `tolerance`."""
        found = sorted(self._outputs.items(), key=lambda item: item[1].relative, reverse=True)
        return "; ".join(output.in_words(name) for name, output in found if output.relative > tolerance) or "nothing"


class _Output:
    """One output, over all batches."""

    def __init__(self, dtype: np.dtype) -> None:
        self.is_float = np.issubdtype(dtype, np.inexact) or dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")
        self._is_number = not np.issubdtype(dtype, np.object_)
        self.largest = 0.0
        self.max_abs = 0.0
        self.count = 0
        self.differing = 0

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        self.count += before.size
        self.differing += int(np.count_nonzero(before != after))
        if not self._is_number or not before.size:
            return
        wide = np.complex128 if before.dtype.kind == "c" else np.float64
        before, after = before.astype(wide), after.astype(wide)
        same = (before == after) | (np.isnan(before) & np.isnan(after))
        with np.errstate(invalid="ignore"):
            gaps = np.where(same, 0.0, np.abs(before - after))
        self.max_abs = max(self.max_abs, float(np.nan_to_num(gaps, nan=np.inf, posinf=np.inf).max()))
        finite = np.abs(before[np.isfinite(before)])
        self.largest = max(self.largest, float(finite.max(initial=0.0)))

    @property
    def relative(self) -> float:
        if not self.is_float:
            return self.differing / max(self.count, 1)
        return self.max_abs / (self.largest or 1.0)

    def in_words(self, name: str) -> str:
        if not self.is_float:
            return f"{self.differing} of {self.count} values of output {name!r}, {self.relative:.3g} of them"
        return f"{self.max_abs:g} in output {name!r}, {self.relative:.3g} of its largest value {self.largest:g}"
