"""The reference, google-research `model_pruning`, run as a peer in a process of its own.

It is TF1 graph code, so it gets a process with TensorFlow 2 behaviour switched off. Its package is never imported as a
whole, for its `__init__` wants modules that no longer exist; bare packages with its folders as path stand in for it.

    [steps] = reference_runs([([{'kernel': at_step_0}, {'kernel': at_step_1}], {'prune_option': 'weight'})])
    steps[-1].masks['kernel']
"""

import dataclasses
import importlib.util
import pathlib
import sys
import time
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _process import Arrays, in_own_process, run_task

_KINDS = ("masks", "gradients", "old_weights", "old_old_weights")


Trajectory = Sequence[Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class ReferenceStep:
    """What the reference holds after one step, by weight name; only masks for `prune_option='weight'`.

    Attributes:
        masks: 1 kept, 0 pruned; float32 of the weight's shape.
        gradients: The moving averages.
        old_weights: The weights at the last mask update.
        old_old_weights: The weights at the one before.
    """

    masks: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]
    old_weights: dict[str, np.ndarray]
    old_old_weights: dict[str, np.ndarray]


def reference_runs(cases: Sequence[tuple[Trajectory, Mapping[str, Any]]]) -> list[list[ReferenceStep]]:
    """Runs the reference's mask updates over trajectories of weights, all of them in one process.

    Args:
        cases: Pairs of a trajectory and hyperparameters. The trajectory holds the weights at global step 0, 1, 2, ...:
            float32 arrays by name, the same names and shapes throughout. The hyperparameters are those of the
            reference's that differ from its defaults.

    Returns:
        For each case the state after each step.

    Raises:
        ValueError: A trajectory is empty, or its steps differ in names or shapes.
        RuntimeError: The reference failed; the message ends with what it printed.
    """
    arrays = {}
    for case, (trajectory, _) in enumerate(cases):
        shapes = [{name: value.shape for name, value in step.items()} for step in trajectory]
        if not shapes or not shapes[0] or any(step != shapes[0] for step in shapes):
            raise ValueError(f"Trajectory {case} needs a step and a weight, and the same names and shapes throughout.")
        for weight, name in enumerate(trajectory[0]):
            arrays[f"{case}/weight/{weight}"] = np.stack([step[name] for step in trajectory])
    hparams = [dict(case_hparams) for _, case_hparams in cases]
    found = in_own_process(__file__, "masks", arrays, {"hparams": hparams})

    def state(case: int, kind: str, step: int) -> dict[str, np.ndarray]:
        keys = {name: f"{case}/{kind}/{weight}" for weight, name in enumerate(cases[case][0][0])}
        return {name: found[key][step] for name, key in keys.items() if key in found}

    return [
        [ReferenceStep(*(state(case, kind, step) for kind in _KINDS)) for step in range(len(trajectory))]
        for case, (trajectory, _) in enumerate(cases)
    ]


def reference_seconds(weight: np.ndarray, sparsity: float, repeats: int) -> list[float]:
    """Seconds that each of `repeats` mask updates of one weight takes the reference; a first one is not counted."""
    found = in_own_process(__file__, "time", {"weight": weight}, {"sparsity": sparsity, "repeats": repeats})
    return found["seconds"].tolist()


def reference_modules() -> tuple[Any, Any]:
    """TensorFlow as the reference needs it, and the reference's `pruning` module."""
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    root = pathlib.Path(importlib.util.find_spec("model_pruning").origin).parent
    for name, folder in (("model_pruning", root), ("model_pruning.python", root / "python")):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(folder)]
    from model_pruning.python import pruning

    return tf, pruning


def _masks(arrays: Arrays, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    tf, pruning = reference_modules()
    found = {}
    for case, hparams in enumerate(options["hparams"]):
        trajectories = [values for name, values in arrays.items() if name.startswith(f"{case}/")]
        with tf.Graph().as_default():
            for name, values in _masks_of_case(tf, pruning, trajectories, hparams).items():
                found[f"{case}/{name}"] = values
    return found


def _masks_of_case(
    tf: Any, pruning: Any, trajectories: Sequence[np.ndarray], values: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    hparams = pruning.get_pruning_hparams()
    hparams.override_from_dict(values)
    # int64, as a global step is: an int32 variable would share its buffer with the reference's last_update_step.
    step = tf.train.get_or_create_global_step()
    due = tf.Variable(False, trainable=False)

    class OrderedPruning(pruning.Pruning):
        """Leaves the reference its decision when to update the masks, and takes over the order of the update.

        The reference names an order but does not enforce it: the operations of a mask update are a data race, and its
        gradients depend on which of them runs first. Here each runs alone.
        """

        def mask_update_op(self) -> Any:
            return tf.group(tf.assign(self._last_update_step, self._global_step), tf.assign(due, True))

        def mask_assign_op(self) -> Any:
            self._get_mask_assign_ops()
            return tf.group(*self._assign_ops)

    updater = OrderedPruning(hparams, global_step=step)
    weights = []
    for i, trajectory in enumerate(trajectories):
        with tf.variable_scope(f"weight_{i}"):
            weights.append(tf.get_variable("weights", trajectory.shape[1:], tf.float32))
            updater.apply_mask(weights[-1])
    decide = updater.conditional_mask_update_op()
    update = (
        updater.gradient_update_op(),
        updater.old_old_weight_update_op(),
        updater.old_weight_update_op(),
        updater.mask_assign_op(),
    )
    states = dict(
        zip(
            _KINDS,
            (pruning.get_masks(), pruning.get_gradients(), pruning.get_old_weights(), pruning.get_old_old_weights()),
            strict=True,
        )
    )
    history: dict[str, list[np.ndarray]] = {}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for number in range(len(trajectories[0])):
            step.load(number, session)
            for weight, trajectory in zip(weights, trajectories, strict=True):
                weight.load(trajectory[number], session)
            due.load(False, session)
            session.run(decide)
            for operation in update if session.run(due) else ():
                session.run(operation)
            for kind, values in session.run(states).items():
                for i, value in enumerate(values):
                    history.setdefault(f"{kind}/{i}", []).append(value)
    return {name: np.stack(values) for name, values in history.items()}


def _time(arrays: Arrays, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    tf, pruning = reference_modules()
    hparams = pruning.get_pruning_hparams()
    hparams.override_from_dict({"target_sparsity": options["sparsity"], "initial_sparsity": options["sparsity"]})
    updater = pruning.Pruning(hparams, global_step=tf.constant(1))
    weight = tf.Variable(arrays["weight"])
    updater.apply_mask(weight)
    update = updater.mask_update_op()
    seconds = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(options["repeats"] + 1):
            start = time.perf_counter()
            session.run(update)
            seconds.append(time.perf_counter() - start)
    return {"seconds": np.array(seconds[1:])}


if __name__ == "__main__":
    run_task({"masks": _masks, "time": _time})
