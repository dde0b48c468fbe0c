"""DataProof: on Beam, two models answer every example of an Examples artifact, and the answers are compared.

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

from ...examples.example_files import ExampleFile, ExampleKey, RecordBatch, read_batches
from ...leftovers import PROOF_SUFFIX
from ..check.answers import reason
from ..check.verify import VerificationError
from .example_feed import ExampleFeed
from .model_pair import ModelPair
from .result import Finding, ProofResult


@dataclasses.dataclass(frozen=True)
class DataProof:
    """What a stripped model is compared with, and on which examples.

    Attributes:
        source: Folder of the source SavedModel. Beam's workers must be able to read it, the stripped model and the
            examples.
        feed: The signature that is compared, and how it is given examples.
        files: The examples.
        tolerance: The largest difference of two floating-point numbers; 0.0 requires bitwise equality.
    """

    source: str
    feed: ExampleFeed
    files: tuple[ExampleFile, ...]
    tolerance: float = 0.0

    def prove(self, stripped: str, make_pipeline: Callable[[], beam.Pipeline]) -> ProofResult:
        """Checks that a stripped model answers every example as its source does.

        Args:
            stripped: Folder of the stripped SavedModel, as for `compare`.
            make_pipeline: Makes the pipeline to run on.

        Returns:
            The result.

        Raises:
            VerificationError: An answer differs by more than the tolerance.
            ValueError: Both models refuse an example, or an example cannot be read.
        """
        result = self.compare(stripped, make_pipeline)
        signature = self.feed.signature
        if result.first is not None:
            tolerated = f" by more than the tolerance {self.tolerance:g}" if self.tolerance else ""
            raise VerificationError(
                f"Signature {signature!r} of the stripped model differs from the source{tolerated} on "
                f"{result.exceeding} of {result.examples} examples, by up to {result.max_absolute_difference:g}. The "
                f"first is {result.first.key}: {result.first.what}. Nothing was published; please report this model."
            )
        if result.refused is not None:
            raise ValueError(
                f"Signature {signature!r} of the model at {self.source!r} cannot be proven on the examples: it does "
                f"not take {result.refused.key}: {result.refused.what}. Give Stripper examples that it takes, or "
                "another signature_name, or leave `examples` out."
            )
        logging.info(
            "Signature %r proven on %d examples, of which %d differ within the tolerance, by up to %g.",
            signature,
            result.examples,
            result.differing,
            result.max_absolute_difference,
        )
        return result

    def compare(self, stripped: str, make_pipeline: Callable[[], beam.Pipeline]) -> ProofResult:
        """Compares a stripped model with its source on every example.

        Args:
            stripped: Folder of the stripped SavedModel. The workers leave the result in a folder beside it, which is
                deleted.
            make_pipeline: Makes the pipeline to run on.

        Returns:
            The result. It is the same for every runner and number of workers.
        """
        folder = stripped.rstrip("/") + PROOF_SUFFIX
        file = os.path.join(folder, "result.json")
        tf.io.gfile.makedirs(folder)
        try:
            with make_pipeline() as pipeline:
                _ = pipeline | "Compare" >> CompareOnExamples(self, stripped) | "HandOver" >> beam.Map(_write, file)
            with tf.io.gfile.GFile(file) as stream:
                return ProofResult.from_json(stream.read())
        finally:
            tf.io.gfile.rmtree(folder)
            # If the workers are threads of this process, Beam keeps the last shared object, both models, alive.
            shared.Shared().acquire(_Nothing)


class CompareOnExamples(beam.PTransform):
    """From a pipeline's start to a PCollection of one ProofResult."""

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
        """Reads the files in batches, spreads the batches over the workers, and adds up their results."""
        proof = self._proof
        load = functools.partial(ModelPair, proof.source, self._stripped, proof.feed, proof.tolerance)
        return (
            pipeline
            | "Files" >> beam.Create(proof.files)
            | "SpreadFiles" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(_read, proof.feed.batch_size)
            | "SpreadBatches" >> beam.Reshuffle()
            | "CompareBatch" >> beam.ParDo(_CompareBatch(load))
            # There is at least one batch, so no default is needed. Dask's runner cannot make one.
            | "Sum" >> beam.CombineGlobally(_sum).without_defaults()
        )


class _CompareBatch(beam.DoFn):
    """Compares both models on a batch. They are loaded once in each process."""

    def __init__(self, load: Callable[[], ModelPair]) -> None:
        self._load = load
        self._handle = shared.Shared()

    def setup(self) -> None:
        self._pair = self._handle.acquire(self._load)

    def process(self, batch: RecordBatch | Finding) -> Iterator[ProofResult]:
        yield ProofResult(refused=batch) if isinstance(batch, Finding) else self._pair.compare(batch)


def _read(file: ExampleFile, batch_size: int | None) -> Iterator[RecordBatch | Finding]:
    read = 0
    try:
        for batch in read_batches(file, batch_size):
            yield batch
            read += len(batch.records)
    except tf.errors.OpError as error:
        yield Finding(ExampleKey(file, read), f"it or one of those after it cannot be read: {reason(error)}")


def _sum(results: Iterable[ProofResult]) -> ProofResult:
    return functools.reduce(operator.add, results, ProofResult())


def _write(result: ProofResult, file: str) -> None:
    # A runner may do this twice at the same time; the content is the same.
    written = f"{file}.{uuid.uuid4().hex}"
    with tf.io.gfile.GFile(written, "w") as stream:
        stream.write(result.to_json())
    tf.io.gfile.rename(written, file, overwrite=True)


class _Nothing:
    pass
