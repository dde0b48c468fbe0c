"""ModelPair: a source model and the stripped one, loaded, to compare their answers."""

import functools
import operator
import threading
from collections.abc import Sequence

from ...examples.example_files import RecordBatch
from ..check.answers import (
    REFUSALS,
    Answer,
    Difference,
    Refusal,
    ask,
    in_words,
    output_differences,
    reason,
)
from .example_feed import ExampleFeed
from .result import Finding, ProofResult
from .served_model import ServedModel


class ModelPair:
    """A source model and the stripped one. Threads may share it."""

    def __init__(self, source: str, stripped: str, feed: ExampleFeed, tolerance: float) -> None:
        """Loads both.

        Args:
            source: Folder of the source SavedModel.
            stripped: Folder of the stripped one.
            feed: The signature that is compared, and how it is given examples.
            tolerance: The largest difference of two floating-point numbers; 0.0 requires bitwise equality.

        Raises:
            FileNotFoundError: There is no SavedModel in one of the folders.
            ValueError: One cannot be loaded.
        """
        self._feed = feed
        self._tolerance = tolerance
        self._source = ServedModel.read(source).load()
        self._stripped = ServedModel.read(stripped).load()
        # A signature may count its calls, so both models must see the batches in the same order.
        self._lock = threading.Lock()

    def compare(self, batch: RecordBatch) -> ProofResult:
        """Compares the answers to the examples of one batch.

        If a model refuses a batch, each record is tried alone, to find the one that is refused.

        Args:
            batch: At most as many records as the feed's batch size.

        Returns:
            The result for these records. Those that both models refuse are not compared.
        """
        before, after = self._ask(batch.records)
        if isinstance(before, Refusal) and isinstance(after, Refusal):
            return ProofResult(refused=self._refused(batch, before))
        if isinstance(before, Refusal):
            return self._refused_by_one(batch, f"the source refuses it, the stripped model does not: {before.reason}")
        if isinstance(after, Refusal):
            return self._refused_by_one(batch, f"the stripped model refuses it, the source does not: {after.reason}")
        count = len(batch.records)
        answered = self._feed.batch_size or count
        found = output_differences(before, after, answered, self._tolerance)
        total = functools.reduce(operator.or_, found.values(), Difference.none(answered))
        exceeding = total.exceeding[:count]
        first = None
        if exceeding.any():
            position = int(exceeding.argmax())
            name = next(name for name, each in found.items() if each.exceeding[position])
            first = Finding(batch.key(position), f"output {name!r}, {in_words(before[name], after[name], position)}")
        return ProofResult(
            examples=count,
            differing=int(total.differing[:count].sum()),
            exceeding=int(exceeding.sum()),
            max_absolute_difference=float(total.distance[:count].max()),
            first=first,
        )

    def _ask(self, records: Sequence[bytes]) -> tuple[Answer | Refusal, Answer | Refusal]:
        try:
            inputs = self._feed.inputs(records)
        except REFUSALS as error:
            return Refusal(reason(error)), Refusal(reason(error))
        signature = self._feed.signature
        with self._lock:
            return ask(self._source.signatures[signature], inputs), ask(self._stripped.signatures[signature], inputs)

    def _refused(self, batch: RecordBatch, refusal: Refusal) -> Finding:
        """The first record that is refused alone, or the first of the batch if none is."""
        if self._feed.batch_size is None:
            for position, record in enumerate(batch.records):
                alone, _ = self._ask([record])
                if isinstance(alone, Refusal):
                    return Finding(batch.key(position), alone.reason)
        return Finding(batch.key(0), f"in a batch of {len(batch.records)}: {refusal.reason}")

    def _refused_by_one(self, batch: RecordBatch, what: str) -> ProofResult:
        count = len(batch.records)
        if self._feed.batch_size is None and count > 1:
            singles = (RecordBatch(batch.key(i), (record,)) for i, record in enumerate(batch.records))
            result = functools.reduce(operator.add, map(self.compare, singles))
            if result.exceeding:
                return result
        return ProofResult(count, count, count, float("inf"), Finding(batch.key(0), what))
