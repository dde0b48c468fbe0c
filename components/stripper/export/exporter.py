"""Exporter: one format that a stripped model can be exported in."""

import abc
import dataclasses
from collections.abc import Callable, Iterable
from typing import ClassVar

from ...structure.kept_indices import KeptIndices
from ..check.signature_inputs import Inputs
from ..check.verify import VerificationError
from .answer_difference import Answers
from .exported_signature import ExportedSignature

# Neither a protobuf message nor a flatbuffer can be longer.
TWO_GIBIBYTES = 1 << 31


@dataclasses.dataclass(frozen=True)
class ExportCheck:
    """What a file was checked on, and how it did.

    Attributes:
        max_abs_difference: The largest difference of a number from the model's; 0.0 where each bit agrees.
        checked_on: 'examples', 'drawn inputs' or 'variables'.
        metric_value: The metric of the file's answers; None if none is asked for, or the file cannot be run.
    """

    max_abs_difference: float
    checked_on: str
    metric_value: float | None = None


class Exporter(abc.ABC):
    """How a signature of a stripped model becomes a file of one format, and how the file is checked against the model.

    `export_model` calls `check_model` of all formats before anything is written, then for each `content` and `check`.
    Nothing is published if one raises an error.

    Attributes:
        name: Name of the format; it is set when the format is looked up or registered.
        file: Name of the file that is written.
        needs_examples: Whether the format needs real examples, not drawn inputs.
        takes_shrunk: Whether a model can be of this format that was shrunk, and has another architecture than before.
        limit_bytes: The variables of the signature must take less; None for no limit.
    """

    name: str = ""
    file: str
    needs_examples: bool = False
    takes_shrunk: ClassVar[bool] = True
    limit_bytes: ClassVar[int | None] = None

    def check_model(self, model: ExportedSignature) -> None:
        """Checks what can be checked before anything is written. An override calls this one, too.

        Raises:
            ValueError: The signature cannot be of this format, or examples are missing.
        """
        if self.needs_examples and not model.has_examples:
            raise ValueError(
                f"The format {self.name!r} needs examples, and none are given; give some, or leave the format out."
            )
        if not self.takes_shrunk and KeptIndices.read(model.model.folder).variables:
            check_shrunk_formats([self])
        if self.limit_bytes is not None and model.variable_bytes >= self.limit_bytes:
            raise ValueError(
                f"The variables of signature {model.signature_name!r} take {model.variable_bytes} bytes, and a file of "
                f"the format {self.name!r} holds less than {self.limit_bytes}. Export no such file of this model."
            )

    @abc.abstractmethod
    def content(self, model: ExportedSignature) -> bytes:
        """Makes the file's content.

        Raises:
            ValueError: The signature cannot be of this format.
        """

    @abc.abstractmethod
    def check(self, content: bytes, model: ExportedSignature) -> ExportCheck:
        """Checks a file against the model.

        Args:
            content: As `content` made it.
            model: The signature that was exported.

        Raises:
            VerificationError: The file is not the model, or does not run.
        """


def check_shrunk_formats(exporters: Iterable[Exporter]) -> None:
    """Raises a ValueError if a shrunk model cannot be of one of some formats."""
    for exporter in exporters:
        if not exporter.takes_shrunk:
            raise ValueError(
                f"{exporter.name} cannot be exported of a shrunk model: its weights fit no model of the architecture "
                "that was trained. Export it without shrink, or leave it out."
            )


class AnsweringExporter(Exporter):
    """An exporter whose files can be run: they are checked on the inputs that the signature gets.

    Attributes:
        tolerance: The largest difference from the model's answers, as `AnswerDifference.relative` measures it, unless
            the user gives another; None where each bit must agree, whatever the user gives.
    """

    tolerance: float | None = None

    @abc.abstractmethod
    def runner(self, content: bytes, model: ExportedSignature) -> Callable[[Inputs], Answers]:
        """A function that runs the file: from inputs by name to answers by name, as numpy arrays.

        Raises:
            RuntimeError: The file cannot be run.
        """

    def check(self, content: bytes, model: ExportedSignature) -> ExportCheck:
        """Compares the file's answers with the model's, on all inputs."""
        signature, inputs = model.signature_name, model.inputs
        try:
            run = self.runner(content, model)
            difference = model.difference(run)
        except (RuntimeError, ValueError) as error:
            raise VerificationError(
                f"The export {self.name!r} of signature {signature!r} does not run: {error}. Nothing was published; "
                "choose another format."
            ) from error
        if difference.mismatch:
            raise VerificationError(
                f"The export {self.name!r} of signature {signature!r} answers in another form than the model: "
                f"{difference.mismatch}. Nothing was published; please report this model."
            )
        if self.tolerance is None and not difference.bitwise_equal:
            raise VerificationError(
                f"The export {self.name!r} of signature {signature!r} differs from the model: {difference}. "
                "Nothing was published; please report this model."
            )
        tolerance = self.tolerance if model.tolerance is None else model.tolerance
        if self.tolerance is not None and not difference.relative <= tolerance:
            raise VerificationError(
                f"The export {self.name!r} of signature {signature!r} differs from the model by "
                f"{difference.beyond(tolerance)}, more than the tolerance of {tolerance:g}. Nothing was published; "
                "choose another format, or a larger export_tolerance."
            )
        checked_on = "examples" if inputs.real else "drawn inputs"
        largest = 0.0 if self.tolerance is None else difference.max_abs
        return ExportCheck(largest, checked_on, model.metric_of(run))
