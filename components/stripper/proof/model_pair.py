"""ModelPair: a source model and the stripped one, loaded, which answer the same batches of examples."""

import functools
import operator
import threading
from collections.abc import Sequence

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
from .records import RecordBatch
from .result import Finding, ProofReport
from .served_model import ServedModel


class ModelPair:
    """A source model and the stripped one. Threads may share it."""

    def __init__(self, source: str, stripped: str, feed: ExampleFeed, tolerance: float) -> None:
        """Loads both.

        Args:
            source: Folder of the source SavedModel.
            stripped: Folder of the stripped one.
            feed: The signature that is compared, and how it is given examples.
            tolerance: By how much floating-point numbers may differ; 0.0 for not in a bit.

        Raises:
            FileNotFoundError: There is no SavedModel in one of the folders.
            ValueError: One cannot be loaded.
        """
        self._feed = feed
        self._tolerance = tolerance
        self._source = ServedModel.read(source).load()
        self._stripped = ServedModel.read(stripped).load()
        # A signature may count its calls: both models must see them in one order.
        self._lock = threading.Lock()

    def compare(self, batch: RecordBatch) -> ProofReport:
        """Compares the answers to the examples of one batch.

        A batch that a model refuses is asked again record by record, to tell which one is refused.

        Args:
            batch: Records, not more than the feed's batch size.

        Returns:
            The report on these records. What both models refuse is not compared.
        """
        before, after = self._ask(batch.records)
        if isinstance(before, Refusal) and isinstance(after, Refusal):
            return ProofReport(refused=self._refused(batch, before))
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
        return ProofReport(
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
        """The first record that both refuse, or all in a batch, if none is refused alone."""
        if self._feed.batch_size is None:
            for position, record in enumerate(batch.records):
                alone, _ = self._ask([record])
                if isinstance(alone, Refusal):
                    return Finding(batch.key(position), alone.reason)
        return Finding(batch.key(0), f"in a batch of {len(batch.records)}: {refusal.reason}")

    def _refused_by_one(self, batch: RecordBatch, what: str) -> ProofReport:
        count = len(batch.records)
        if self._feed.batch_size is None and count > 1:
            singles = (RecordBatch(batch.key(i), (record,)) for i, record in enumerate(batch.records))
            report = functools.reduce(operator.add, map(self.compare, singles))
            if report.exceeding:
                return report
        return ProofReport(count, count, count, float("inf"), Finding(batch.key(0), what))
