"""What shrinking did."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class CutVariable:
    """A variable that became smaller.

    Attributes:
        key: Its key in the checkpoint, less '/.ATTRIBUTES/VARIABLE_VALUE'.
        shape_before: Its shape in the model before.
        shape_after: Its shape in the shrunk model.
    """

    key: str
    shape_before: tuple[int, ...]
    shape_after: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ShrinkReport:
    """What shrinking did to a stripped model.

    Attributes:
        variables: Those that became smaller, sorted by key; none if no unit was dead, and nothing was changed then.
        parameters_before: Elements of all variables that are no strings, before.
        parameters_after: The same of the shrunk model.
        multiply_adds_before: Of all matrix products and convolutions for one example, of the signature that has most of
            them; an axis whose size is not known before the model runs, such as that of examples, counts as 1. None if
            they could not be counted, for the model could not be traced.
        multiply_adds_after: The same of the shrunk model.
        bytes_before: All files of the stripped model, in bytes.
        bytes_after: The same of the shrunk model.
        gzipped_bytes_before: The stripped model as one .tar.gz, in bytes; None if nothing was changed, or if
            `bytes_before` is above 32 MiB, for it would take most of the time. That of the shrunk model is
            `StripReport.gzipped_bytes`.
        largest_difference: The largest absolute difference of a number among the answers that were compared.
        tolerance: The t in |difference| <= t * (1 + |answer|).
        folded_scales: How many multiplications by channel, as batch normalisation has them, went into the kernels of
            convolutions, in all functions of the model; none if they would have taken more than half the tolerance.
        untraced: Why the model could not be traced, so that nothing was cut; None if it was.
    """

    variables: tuple[CutVariable, ...]
    parameters_before: int
    parameters_after: int
    multiply_adds_before: int | None
    multiply_adds_after: int | None
    bytes_before: int
    bytes_after: int
    gzipped_bytes_before: int | None
    largest_difference: float
    tolerance: float
    folded_scales: int = 0
    untraced: str | None = None

    def gzipped_bytes(self, gzipped_after: int) -> tuple[int, int] | None:
        """Bytes as one .tar.gz before and after.

        Args:
            gzipped_after: Those of the model after.

        Returns:
            Both, which are equal if nothing was changed; None if those before were not measured.
        """
        if self.gzipped_bytes_before is not None:
            return self.gzipped_bytes_before, gzipped_after
        unchanged = not self.variables and self.bytes_before == self.bytes_after
        return (gzipped_after, gzipped_after) if unchanged else None

    def in_words(self) -> str:
        """The report in one sentence."""
        if self.untraced is not None:
            return f"nothing was cut: {self.untraced}"
        if not self.variables:
            return "no unit is dead, so that nothing was cut"
        return (
            f"{len(self.variables)} variables became smaller, {self.parameters_before:,} parameters "
            f"{self.parameters_after:,}, {self.multiply_adds_before:,} multiply-adds an example "
            f"{self.multiply_adds_after:,}, {self.folded_scales} scales went into kernels; answers differ by up to "
            f"{self.largest_difference:g}"
        )
