"""UnitCount: how many units of some weights each step keeps."""

from collections.abc import Sequence

import tensorflow as tf

from .schedule import ExternalSparsity, Schedule, kept_count


class UnitCount:
    """How many units of a part each step keeps."""

    def __init__(
        self, what: str, size: int, least: int, sparsity: Schedule | ExternalSparsity, targets_name: str, mend: str
    ) -> None:
        """Checks that the schedule keeps enough.

        Args:
            what: What the units are, for messages.
            size: How many there are.
            least: How many must be kept.
            sparsity: The sparsity at a step.
            targets_name: The hyperparameter that set the target, for messages.
            mend: What to do if too few would be kept, for messages.

        Raises:
            ValueError: Fewer than `least` units would be kept at one of the schedule's ends.
        """
        self.size = size
        self.least = least
        self.sparsity = sparsity
        self.refusal = f"of the {size} {what}, and {least} must stay. {mend}"
        if isinstance(sparsity, Schedule):
            self._check(targets_name, sparsity.target_sparsity)
            self._check("initial_sparsity", sparsity.initial_sparsity)

    def _check(self, name: str, sparsity: float) -> None:
        kept = int(kept_count(self.size, sparsity))
        if kept < self.least:
            raise ValueError(f"{name}={sparsity} would leave {kept or 'none'} {self.refusal}")


def kept_units(counts: Sequence[UnitCount], step: int | tf.Tensor) -> tf.Tensor:
    """How many units each part keeps at `step`, int64 of shape [parts]."""
    # Most parts have one schedule, and a graph would compute it for each.
    schedules = {id(count.sparsity): count.sparsity for count in counts}
    sparsities = {key: schedule(step) for key, schedule in schedules.items()}
    sizes = tf.constant([count.size for count in counts], tf.int64)
    kept = kept_count(sizes, tf.stack([sparsities[id(count.sparsity)] for count in counts]))
    if all(isinstance(schedule, Schedule) for schedule in schedules.values()):
        return kept
    least = tf.constant([count.least for count in counts], tf.int64)
    too_few = kept < least
    worst = tf.argmax(too_few)  # the first of them
    beginning = "The sparsity given in place of the schedule would leave too few"
    refusals = [f"{beginning} {count.refusal} Would be left:" for count in counts]
    check = tf.debugging.Assert(~tf.reduce_any(too_few), [tf.gather(refusals, worst), kept[worst]])
    with tf.control_dependencies([] if check is None else [check]):
        return tf.clip_by_value(kept, least, sizes)
