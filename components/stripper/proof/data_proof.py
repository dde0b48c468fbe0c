"""The proof on data: both models answer every example of an Examples artifact, on Beam, and the answers are compared.

Beam's workers import this module, so it imports no TFX.
"""

import dataclasses
import functools
import operator
import os
import uuid
from collections.abc import Callable, Iterable, Iterator

import apache_beam as beam
import tensorflow as tf
from absl import logging
from apache_beam.utils import shared

from ..check.answers import reason
from ..check.verify import VerificationError
from .example_feed import ExampleFeed
from .model_pair import ModelPair
from .records import ExampleFile, ExampleKey, RecordBatch, read_batches
from .result import Finding, ProofReport


@dataclasses.dataclass(frozen=True)
class DataProof:
    """A proof to be made: what a stripped model is compared with, and on what.

    Attributes:
        source: Folder of the source SavedModel. Beam's workers must be able to read it, the stripped model and the
            examples.
        feed: The signature that is compared, and how it is given examples.
        files: The examples.
        tolerance: By how much floating-point numbers may differ; 0.0 for not in a bit.
    """

    source: str
    feed: ExampleFeed
    files: tuple[ExampleFile, ...]
    tolerance: float = 0.0

    def prove(self, stripped: str, make_pipeline: Callable[[], beam.Pipeline]) -> ProofReport:
        """Sees that a stripped model answers every example as its source does.

        Args:
            stripped: As for `compare`.
            make_pipeline: As for `compare`.

        Returns:
            The report.

        Raises:
            VerificationError: An answer differs by more than the tolerance.
            ValueError: The models do not take an example, or an example cannot be read.
        """
        report = self.compare(stripped, make_pipeline)
        signature = self.feed.signature
        if report.first is not None:
            tolerated = f" by more than the tolerance {self.tolerance:g}" if self.tolerance else ""
            raise VerificationError(
                f"Signature {signature!r} of the stripped model differs from the source{tolerated} on "
                f"{report.exceeding} of {report.examples} examples, by up to {report.max_absolute_difference:g}. The "
                f"first is {report.first.key}: {report.first.what}. Nothing was published; please report this model."
            )
        if report.refused is not None:
            raise ValueError(
                f"Signature {signature!r} of the model at {self.source!r} cannot be proven on the examples, for it "
                f"does not take {report.refused.key}: {report.refused.what}. Give Stripper examples that it takes, or "
                "another signature_name, or leave `examples` out."
            )
        logging.info(
            "Signature %r proven on %d examples, of which %d differ within the tolerance, by up to %g.",
            signature,
            report.examples,
            report.differing,
            report.max_absolute_difference,
        )
        return report

    def compare(self, stripped: str, make_pipeline: Callable[[], beam.Pipeline]) -> ProofReport:
        """Compares a stripped model with its source on every example.

        Args:
            stripped: Folder of the stripped SavedModel. The report is handed over in one beside it, which is deleted.
            make_pipeline: Makes the pipeline to run on.

        Returns:
            The report, which is the same for every runner and number of workers.
        """
        folder = f"{stripped.rstrip('/')}.proof"
        file = os.path.join(folder, "report.json")
        tf.io.gfile.makedirs(folder)
        try:
            with make_pipeline() as pipeline:
                _ = pipeline | "Compare" >> CompareOnExamples(self, stripped) | "HandOver" >> beam.Map(_write, file)
            with tf.io.gfile.GFile(file) as stream:
                return ProofReport.from_json(stream.read())
        finally:
            tf.io.gfile.rmtree(folder)
            # In memory the workers are this process, where Beam keeps the last shared object: both models.
            shared.Shared().acquire(_Nothing)


class CompareOnExamples(beam.PTransform):
    """From a pipeline's start to a PCollection of one ProofReport."""

    def __init__(self, proof: DataProof, stripped: str) -> None:
        """Makes the transform.

        Args:
            proof: What is compared.
            stripped: Folder of the stripped SavedModel.
        """
        super().__init__()
        self._proof = proof
        self._stripped = stripped

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Reads the files in batches, spreads these over the workers and adds up the reports on them."""
        proof = self._proof
        load = functools.partial(ModelPair, proof.source, self._stripped, proof.feed, proof.tolerance)
        return (
            pipeline
            | "Files" >> beam.Create(proof.files)
            | "SpreadFiles" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(_read, proof.feed.batch_size)
            | "SpreadBatches" >> beam.Reshuffle()
            | "CompareBatch" >> beam.ParDo(_CompareBatch(load))
            # There is a batch at least, so no default is needed, for which Dask's runner lacks the side input.
            | "Sum" >> beam.CombineGlobally(_sum).without_defaults()
        )


class _CompareBatch(beam.DoFn):
    """Compares both models on a batch. They are loaded once in each process."""

    def __init__(self, load: Callable[[], ModelPair]) -> None:
        self._load = load
        self._handle = shared.Shared()

    def setup(self) -> None:
        self._pair = self._handle.acquire(self._load)

    def process(self, batch: RecordBatch | Finding) -> Iterator[ProofReport]:
        yield ProofReport(refused=batch) if isinstance(batch, Finding) else self._pair.compare(batch)


def _read(file: ExampleFile, batch_size: int | None) -> Iterator[RecordBatch | Finding]:
    read = 0
    try:
        for batch in read_batches(file, batch_size):
            yield batch
            read += len(batch.records)
    except tf.errors.OpError as error:
        yield Finding(ExampleKey(file, read), f"it or one of those after it cannot be read: {reason(error)}")


def _sum(reports: Iterable[ProofReport]) -> ProofReport:
    return functools.reduce(operator.add, reports, ProofReport())


def _write(report: ProofReport, file: str) -> None:
    # A runner may do this twice, at the same time; the content is the same.
    written = f"{file}.{uuid.uuid4().hex}"
    with tf.io.gfile.GFile(written, "w") as stream:
        stream.write(report.to_json())
    tf.io.gfile.rename(written, file, overwrite=True)


class _Nothing:
    pass
