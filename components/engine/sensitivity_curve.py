"""SensitivityCurve: how much worse a model gets as one of its weights is pruned."""

import dataclasses
import math

# Figures are written with so many significant digits.
_DIGITS = 4


@dataclasses.dataclass(frozen=True)
class SensitivityCurve:
    """What was measured with one weight pruned and all others dense.

    Attributes:
        points: Pairs of a sparsity in (0, 1) and the rise of the loss, which is negative if the model got better. The
            sparsities rise. At sparsity 0 the rise is 0.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        """Checks the points.

        Raises:
            ValueError: There are none, a sparsity is outside (0, 1), they do not rise, or a rise is not finite.
        """
        sparsities = [sparsity for sparsity, _ in self.points]
        ascending = all(before < after for before, after in zip([0.0, *sparsities], [*sparsities, 1.0], strict=True))
        if not self.points or not ascending or not all(math.isfinite(rise) for _, rise in self.points):
            raise ValueError(
                f"A sensitivity curve has points of rising sparsities in (0, 1), each with a finite rise, got "
                f"{self.text!r}. Write it as in '0.5=0.001;0.9=0.2'."
            )

    @classmethod
    def parse(cls, text: str) -> "SensitivityCurve":
        """Reads '0.5=0.001;0.9=0.2'.

        Raises:
            ValueError: It is not of that form, or a point is wrong.
        """
        points = []
        for each in text.split(";"):
            sparsity, _, rise = each.partition("=")
            try:
                points.append((float(sparsity), float(rise)))
            except ValueError:
                raise ValueError(
                    f"A sensitivity curve is 'sparsity=rise' for each point, as in '0.5=0.001;0.9=0.2', got {text!r}."
                ) from None
        return cls(tuple(points))

    @property
    def text(self) -> str:
        """The form that `parse` reads; rises have four significant digits."""
        return ";".join(f"{sparsity!r}={rise:.{_DIGITS}g}" for sparsity, rise in self.points)

    def hull(self, units: int, most: int) -> list[tuple[int, float]]:
        """The lower convex hull of the curve.

        Args:
            units: How many units the weight has.
            most: How many of them may be zero.

        Returns:
            Its corners, from (0, 0): numbers of zeros, which rise, and the rise of the loss. The last is at the largest
            sparsity that was measured, or at `most` on the way there.
        """
        corners = [(0, 0.0)]
        for sparsity, rise in self.points:
            point = (units - round(units * (1.0 - sparsity)), rise)
            if point[0] <= corners[-1][0]:
                continue
            while len(corners) > 1 and _slope(corners[-1], point) <= _slope(corners[-2], corners[-1]):
                corners.pop()
            corners.append(point)
        while len(corners) > 1 and corners[-2][0] >= most:
            corners.pop()
        last, zeros = corners[-1], min(corners[-1][0], most)
        if zeros < last[0]:
            corners[-1] = (zeros, last[1] - (last[0] - zeros) * _slope(corners[-2], last))
        return corners


def _slope(begin: tuple[int, float], end: tuple[int, float]) -> float:
    return (end[1] - begin[1]) / (end[0] - begin[0])
