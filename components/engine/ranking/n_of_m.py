"""NOfM: N:M sparsity, the same number of zeros in every run of m weights."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from ..compilation import compiled_if_large
from ..hparams import PruningHParams
from .allocation import Allocation
from .position_hash import hashed, seed_words
from .radix_select import score_keys


class NOfM(Allocation):
    """Ranks the weights of each run among themselves.

    Runs are consecutive along one axis. If the last run is short, it keeps as many weights as the others, or all
    that it has.
    """

    def __init__(
        self,
        hparams: PruningHParams,
        paths: Sequence[str],
        shapes: Sequence[tuple[int, ...]],
        schedule: Callable[[int | tf.Tensor], tf.Tensor],
    ) -> None:
        """Divides the weights into runs.

        Args:
            hparams: The hyperparameters, with `n_of_m` or `intra_block_sparsity`.
            paths: The weights' paths.
            shapes: The weights' shapes.
            schedule: Step -> sparsity, float64 scalar.

        Raises:
            ValueError: A weight is not of rank 2 or 4, so that the axis of its runs is unknown.
        """
        for path, shape in zip(paths, shapes, strict=True):
            if len(shape) not in (2, 4):
                raise ValueError(
                    f"N:M sparsity is for kernels of rank 2 (Dense) and 4 (Conv2D); {path} has the shape "
                    f"{list(shape)}. Take it out with exclude."
                )
        super().__init__([[index] for index in range(len(shapes))], [0] * len(shapes), hparams.seed)
        self._hparams = hparams
        self._schedule = schedule
        self._runs = [_Runs.along(-2 if hparams.n_of_m else -1, shape, hparams.run_length) for shape in shapes]

    def counts(self, step: int | tf.Tensor) -> list[tf.Tensor]:
        """See `Allocation.counts`: how many weights a whole run keeps, int32."""
        return [self._kept_of_run(step)] * len(self._runs)

    def best(
        self,
        scores: Sequence[tf.Tensor],
        counts: Sequence[tf.Tensor],
        step: tf.Tensor,
        dtype: tf.DType,
        floors: bool = False,
    ) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """See `Allocation.best`; there are no floors."""
        del floors
        return [
            runs.mask(tf.cast(score, tf.float32), count, self._tie_seed(index, step), dtype)
            for index, (runs, score, count) in enumerate(zip(self._runs, scores, counts, strict=True))
        ]

    def kept(self, step: int | tf.Tensor) -> list[tf.Tensor]:
        """See `Allocation.kept`."""
        kept = self._kept_of_run(step)
        return [tf.cast(runs.kept(kept), tf.int64) for runs in self._runs]

    def _kept_of_run(self, step: int | tf.Tensor) -> tf.Tensor:
        """How many weights a whole run keeps, int32 scalar, at least one."""
        zeros = self._hparams.zeros_of_run(self._schedule(step))
        return tf.maximum(1, self._hparams.run_length - tf.cast(zeros, tf.int32))


@dataclasses.dataclass(frozen=True)
class _Runs:
    """The runs of one weight: `outer * inner` rows of `row` weights are divided into runs of `length`."""

    outer: int
    row: int
    inner: int
    length: int

    @classmethod
    def along(cls, axis: int, shape: tuple[int, ...], length: int) -> "_Runs":
        """Runs of `length` weights along an axis, which counts from the end."""
        axis += len(shape)
        return cls(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]), length)

    def kept(self, kept: tf.Tensor) -> tf.Tensor:
        """How many weights are kept in all if every whole run keeps `kept`."""
        whole, rest = divmod(self.row, self.length)
        return self.outer * self.inner * (whole * kept + tf.minimum(kept, rest))

    def mask(self, scores: tf.Tensor, kept: tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """The mask of the `kept` largest scores of each run, and the lowest score kept. Ties are broken at random.

        Args:
            scores: float32, shape of the weight.
            kept: int32 scalar.
            seed: int64, shape [2].
            dtype: Dtype of the mask.
        """
        return _mask_of_runs(self, dtype, kept, seed, scores)

    def ranked(
        self, dtype: tf.DType, kept: tf.Tensor, seed: tf.Tensor, scores: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`mask`, uncompiled."""
        missing = -self.row % self.length
        keys = score_keys(scores)
        row = tf.reshape(keys, [self.outer, self.row, self.inner])
        # The padding of the last run ranks below all scores.
        row = tf.pad(row, [[0, 0], [0, missing], [0, 0]], constant_values=-1)
        runs = tf.reshape(row, [self.outer, -1, self.length, self.inner])
        ties = self._random_ranks(runs.shape, seed)
        rank = tf.zeros_like(runs, tf.int32)
        for distance in range(1, self.length):
            other, other_tie = (tf.roll(each, distance, axis=2) for each in (runs, ties))
            rank += tf.cast((other > runs) | ((other == runs) & (other_tie > ties)), tf.int32)
        mask = rank < kept
        mask = tf.reshape(mask, [self.outer, self.row + missing, self.inner])[:, : self.row]
        mask = tf.reshape(mask, scores.shape)
        lowest = tf.reduce_min(tf.where(mask, keys, keys.dtype.max))
        return tf.cast(mask, dtype), tf.bitcast(lowest, tf.float32)

    def _random_ranks(self, shape: tf.TensorShape, seed: tf.Tensor) -> tf.Tensor:
        """Random int32 numbers, different within a run, that break ties."""
        positions = tf.reshape(tf.range(shape.num_elements()), shape)
        draws = tf.bitcast(hashed(tf.cast(positions, tf.uint32), seed_words(seed)), tf.int32)
        place = tf.reshape(tf.range(self.length), [self.length, 1])
        return tf.bitwise.bitwise_or(tf.bitwise.left_shift(draws, self.length.bit_length()), place)


_mask_of_runs = compiled_if_large(_Runs.ranked)
