"""Acceptance: what a stripped model has to pass before it is published."""

import dataclasses
from collections.abc import Callable, Sequence

from .relative_tolerance import RelativeTolerance

# What a caller may give in place of examples.
DRAWN_INPUTS = "None to check on drawn inputs"


@dataclasses.dataclass(frozen=True)
class Acceptance:
    """How a stripped model is compared with its source.

    Attributes:
        records: Serialized records for signatures that parse such records, in addition to drawn inputs; None for drawn
            inputs only.
        tolerance: The largest difference of two floating-point numbers of the answers; 0.0 requires bitwise equality.
        further: A further check, called with the stripped model's folder once all signatures have answered as before.
            It raises an error if the model does not pass: a VerificationError if that is due to its answers.
        shrunk: By how much the answers may differ once dead units were cut; None if the model is not shrunk.
    """

    records: Sequence[bytes] | None = None
    tolerance: float = 0.0
    further: Callable[[str], object] | None = None
    shrunk: RelativeTolerance | None = None

    def run_further(self, folder: str) -> None:
        """Calls `further`, if there is one."""
        if self.further is not None:
            self.further(folder)
