"""What a stripped model has to pass before it is published."""

import dataclasses
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True)
class Acceptance:
    """How a stripped model is compared with its source.

    Attributes:
        records: Serialized records for signatures that parse such, besides drawn inputs; None for drawn inputs only.
        tolerance: By how much floating-point numbers of the answers may differ; 0.0 for not in a bit.
        further: What is called with the stripped model's folder when all signatures answered as before; it raises an
            error if the model does not pass, a VerificationError if its answers are why.
    """

    records: Sequence[bytes] | None = None
    tolerance: float = 0.0
    further: Callable[[str], object] | None = None

    def run_further(self, folder: str) -> None:
        """Calls `further`, if there is one."""
        if self.further is not None:
            self.further(folder)
