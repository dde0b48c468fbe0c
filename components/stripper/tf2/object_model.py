"""Strips a SavedModel of TensorFlow 2: objects, and functions that capture them."""

from ..check.acceptance import Acceptance
from .copied_values import CopiedValues
from .folded_values import FoldedValues
from .loaded_values import LoadedValues
from .plan import StripPlan
from .writer import Writer


class ObjectModel:
    """What a stripped SavedModel of TensorFlow 2 keeps of its source.

    Attributes:
        removed: Keys of the variables that go, sorted.
        kept: Keys of the variables that stay, sorted; empty until the model is written.
        kept_bytes: The least that their values take in a file.
    """

    def __init__(self, source: str) -> None:
        """Reads the SavedModel in the folder `source` and decides.

        Raises:
            ValueError: Its objects do not fit together, or as `StripPlan.of` says.
        """
        try:
            self._plan = StripPlan.of(source)
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError(
                f"The SavedModel at {source!r} cannot be read: its objects refer to what is not there "
                f"({type(error).__name__}: {error}). It is damaged, save the model again."
            ) from error
        self.removed = self._plan.removed
        self.kept: tuple[str, ...] = ()
        self.kept_bytes = self._plan.kept_bytes

    def write(self, folder: str, acceptance: Acceptance) -> tuple[str, ...]:
        """Writes the stripped model to an empty folder and checks it; returns the names of the signatures checked.

        Source and stripped model are in memory with the kept variables only, which they share, or else one after the
        other.

        Raises:
            OSError: The folder cannot be written.
            ValueError: The source cannot be loaded.
            VerificationError: A signature does not answer as before, or that could not be checked.
        """
        writer = self._writer(folder, acceptance)
        checked = writer.write()
        self.kept = writer.kept
        return checked

    def _writer(self, folder: str, acceptance: Acceptance) -> Writer:
        if self._plan.folds:
            return FoldedValues(self._plan, folder, acceptance)
        copying = CopiedValues.of(self._plan, folder, acceptance)
        return copying or LoadedValues(self._plan, folder, acceptance)
