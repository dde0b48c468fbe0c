"""NOfM: N:M sparsity, the same number of zeros in every run of m weights."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from ..compilation import compiled_if_large
from ..hparams import PruningHParams
from .allocation import Allocation
from .position_hash import hashed, seed_words
from .radix_select import Formula, score_keys
from .selection import Scores


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
        scores: Sequence[tf.Tensor | Scores],
        counts: Sequence[tf.Tensor],
        step: tf.Tensor,
        dtype: tf.DType,
        floors: bool = False,
    ) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """See `Allocation.best`; there are no floors."""
        del floors
        seeds = tf.unstack(self._tie_seeds(range(len(scores)), step))
        return [
            runs.mask(
                score if isinstance(score, Scores) else Scores(tf.identity, (score,)),
                count,
                seed,
                dtype,
            )
            for runs, score, count, seed in zip(self._runs, scores, counts, seeds, strict=True)
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

    def mask(self, scores: Scores, kept: tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """The mask of the `kept` largest scores of each run, and the lowest score kept. Ties are broken at random.

        Args:
            scores: Of the weight, with its shape.
            kept: int32 scalar.
            seed: int64, shape [2].
            dtype: Dtype of the mask.
        """
        formula, inputs = scores.formula, scores.inputs
        lowest = _lowest_kept(self, formula, kept, *inputs)
        ties = tf.reduce_min(lowest) < 0
        lowest = tf.bitwise.bitwise_and(lowest, tf.int32.max)
        mask = tf.cond(
            ties,
            lambda: _mask_by_lot(self, dtype, kept, _lots_of_tied(self, formula, lowest, seed, *inputs)),
            lambda: _mask(self, formula, dtype, lowest, *inputs),
        )
        return tf.reshape(mask, inputs[0].shape), tf.bitcast(tf.reduce_min(lowest), tf.float32)

    def lowest_kept(self, formula: Formula, kept: tf.Tensor, *inputs: tf.Tensor) -> tf.Tensor:
        """Key of the lowest score that each run keeps, int32 of shape [outer, runs, inner].

        Where no score is kept it is `tf.int32.max`. With its sign bit set it says that not all equal ones are kept.
        """
        keys = self._keys(formula, inputs)
        lowest = _kth_of_runs(keys, kept)
        fitting = tf.reduce_sum(tf.cast(keys >= lowest[:, :, None], tf.int32), axis=2) <= kept
        return tf.where(fitting, lowest, tf.bitwise.bitwise_or(lowest, tf.int32.min))

    def mask_of_keys(self, formula: Formula, dtype: tf.DType, lowest: tf.Tensor, *inputs: tf.Tensor) -> tf.Tensor:
        """The mask of the keys that are no lower than `lowest` of their run."""
        return self._rows(self._keys(formula, inputs) >= lowest[:, :, None], dtype)

    def lots_of_tied(self, formula: Formula, lowest: tf.Tensor, seed: tf.Tensor, *inputs: tf.Tensor) -> tf.Tensor:
        """Keys, int64 as `_keys`, that differ where those of the scores are the `lowest` of their run, by random."""
        keys, lowest = self._keys(formula, inputs), lowest[:, :, None]
        positions = tf.reshape(tf.range(keys.shape.num_elements()), keys.shape)
        draws = tf.bitcast(hashed(tf.cast(positions, tf.uint32), seed_words(seed)), tf.int32)
        place = tf.reshape(tf.range(self.length), [self.length, 1])
        lots = tf.bitwise.bitwise_or(tf.bitwise.left_shift(draws, self.length.bit_length()), place)
        lots = tf.cast(lots, tf.int64) - tf.int32.min
        return tf.where(keys == lowest, lots, tf.where(keys > lowest, tf.constant(1 << 32, tf.int64), -1))

    def mask_by_lot(self, dtype: tf.DType, kept: tf.Tensor, lots: tf.Tensor) -> tf.Tensor:
        """The mask of the `kept` largest of `lots_of_tied` in each run."""
        return self._rows(lots >= _kth_of_runs(lots, kept)[:, :, None], dtype)

    def _keys(self, formula: Formula, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """Keys of the scores, int32 of shape [outer, runs, length, inner]."""
        scores = tf.cast(formula(*inputs), tf.float32)
        keys = tf.reshape(score_keys(scores), [self.outer, self.row, self.inner])
        keys = tf.pad(keys, [[0, 0], [0, -self.row % self.length], [0, 0]], constant_values=-1)
        return tf.reshape(keys, [self.outer, -1, self.length, self.inner])

    def _rows(self, runs: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """What is divided as `_keys` are, of shape [outer, row, inner] again."""
        return tf.cast(tf.reshape(runs, [self.outer, -1, self.inner])[:, : self.row], dtype)


_lowest_kept = compiled_if_large(_Runs.lowest_kept)
_mask = compiled_if_large(_Runs.mask_of_keys)
_lots_of_tied = compiled_if_large(_Runs.lots_of_tied)
_mask_by_lot = compiled_if_large(_Runs.mask_by_lot)


def _kth_of_runs(keys: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    """The k-th largest key of each run, or the lowest if it has fewer; the largest integer if `k` is 0.

    Args:
        keys: Of shape [outer, runs, length, inner]. What is negative is no key.
        k: int32 scalar.

    Returns:
        A tensor of the shape [outer, runs, inner], dtype of `keys`.
    """
    larger = sum(tf.cast(keys[:, :, place : place + 1] > keys, tf.int32) for place in range(keys.shape[2]))
    return tf.reduce_min(tf.where((larger < k) & (keys >= 0), keys, keys.dtype.max), axis=2)
