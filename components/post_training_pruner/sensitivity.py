"""sensitivity: prunes one layer of a SavedModel at a time, in memory, and measures what that costs."""

import dataclasses
import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from absl import logging

from ..engine.hparams import PruningHParams
from ..engine.ranking.criteria import Criterion, OptimalBrainCompression
from ..engine.ranking.granularity import granularities
from ..engine.ranking.schedule import kept_count
from ..places import checked_model_path
from ..saved_model.saved_objects import SavedObjects
from ..typed_value import checked_value
from .answer_measure import AnswerMeasure
from .calibration import Calibration, Examples
from .checks import DEFAULT_DAMPING, UNSEEN_ERROR, checked_criterion, needs_examples, needs_loss
from .layer_repair import LayerRepair
from .layer_sensitivity import LayerSensitivity, Sensitivity
from .loss import AUTO, Loss
from .model_to_prune import multiplied_weights, opened_model, signature_name
from .multiply_adds import multiply_adds
from .pruned_values import pruned_by_inputs, pruned_by_magnitude
from .saved_weights import SavedWeight, chosen_weights, saved_weights
from .traced_signature import TracedSignature

DEFAULT_SPARSITIES = (0.5, 0.7, 0.9, 0.95, 0.98)


def sensitivity(
    source: str | os.PathLike[str],
    examples: Examples,
    hparams: PruningHParams | None = None,
    *,
    sparsities: Sequence[float] = DEFAULT_SPARSITIES,
    signature: str | None = None,
    label: str | None = None,
    loss: str = AUTO,
    output: str | None = None,
    repair: bool = True,
    unseen: str = UNSEEN_ERROR,
    damping: float = DEFAULT_DAMPING,
) -> Sensitivity:
    """Measures how much worse a trained SavedModel gets as one of its layers is pruned, for each layer.

    Each weight is pruned by itself, in memory, to each of the sparsities; all others stay dense. The model is only
    read. The weights that are kept in the layer, and its bias, are repaired by least squares: its outputs become as
    near as possible to what they were. So the loss tells more of what is lost after a training.

    With a label the loss is measured; so is it with an `output` that is the loss; else the distance of all answers from
    those of the dense model.

    The result shares out the zeros of a training:

        found = tfx_pruning.sensitivity(source, examples, label="species")
        hparams = tfx_pruning.PruningHParams.for_steps(1000, target_sparsity=0.9, **found.fields)

    Args:
        source: Folder of a SavedModel of TensorFlow 2, without variables of pruning.
        examples: Serialized tf.Examples, or other records that the signature parses; or arrays by the names of its
            inputs. All are held in memory.
        hparams: `prune_option` chooses the weights: 'weight' or 'wanda', or a criterion of your own that looks at
            weights alone. `include`, `exclude`, blocks and `seed` mean what they mean in a training; sparsities, maps
            and `allocation` have no effect. None for |w| and all kernels.
        sparsities: Those that are measured, fractions in (0, 1). A weight is left out where it would lose all.
        signature: As `prune_saved_model` takes it.
        label: The feature or array that the answers are compared with.
        loss: As `prune_saved_model` takes it.
        output: The output that is compared with the labels; without a label, the output that is the loss.
        repair: Whether the weights that are kept are repaired. A layer is not whose inputs are not seen, or that is
            large: of more than 4,096 inputs, or too many multiply-adds.
        unseen: As `prune_saved_model` takes it, for 'wanda'.
        damping: Of the repair: what is added to the diagonal of each layer's X^T X, as a fraction of its mean.

    Returns:
        What was measured.

    Raises:
        FileNotFoundError: There is no SavedModel at `source`.
        TypeError: `hparams` is not PruningHParams, or an argument is of another type.
        ValueError: A sparsity is outside (0, 1), or there is none; `source` is not a SavedModel of TensorFlow 2 with
            signatures, or holds variables of pruning; the criterion is another; the hyperparameters leave no
            weight; the examples do not fit the signature; or the measure is not finite.
    """
    hparams = PruningHParams() if hparams is None else hparams
    criterion = checked_criterion(
        hparams, has_examples=True, has_loss=True, loss=loss, unseen=unseen, damping=damping, recalibrate_bn=False
    )
    _check_hparams(hparams, criterion)
    sparsities = _checked_sparsities(sparsities)
    if examples is None:
        raise TypeError("examples is None: give examples, whose answers show what pruning costs.")
    model = opened_model(checked_model_path(source))
    weights, untrained = saved_weights(model)
    chosen = chosen_weights(weights, multiplied_weights(model, weights), hparams)
    traced = TracedSignature.of(model, signature_name(model, signature), [*weights, *untrained])
    calibration = Calibration.of(examples, traced.specs, traced.name, label)
    chosen_loss = None
    if label is not None or output is not None:
        _, labels = next(calibration.batches(1))
        chosen_loss = Loss.of(traced, labels, loss, output)
    measure = AnswerMeasure(traced, calibration, chosen_loss, weights if repair else chosen)
    pruning = _Pruning(model, traced, calibration, criterion, hparams, unseen)
    names = [each.name for each in chosen]
    units = [each.units for each in granularities(hparams, names, [each.shape for each in chosen])]
    masks: list[list[tuple[float, np.ndarray]]] = [[] for _ in chosen]
    for sparsity in sparsities:
        bearing = [index for index, size in enumerate(units) if int(kept_count(size, sparsity))]
        for index, mask in zip(bearing, pruning.masks([chosen[index] for index in bearing], sparsity), strict=True):
            masks[index].append((sparsity, mask))
    biases = {each.node: each for each in weights}
    repaired: list[bool] = []
    measured: list[list[tuple[float, float]]] = [[] for _ in chosen]
    for index, weight in enumerate(chosen):
        repairing = None
        if repair and len(weight.shape) > 1:
            at = [sparsity for sparsity, _ in masks[index]]
            repairing = LayerRepair.of(traced, calibration, weight, biases, damping, at)
        repaired.append(repairing is not None)
        for sparsity, mask in masks[index]:
            kept = (
                {weight.node: np.where(mask, traced.value(weight), 0)} if repairing is None else repairing.values(mask)
            )
            found = measure.of(kept)
            if not math.isfinite(found):
                raise ValueError(
                    f"With {weight.name} at sparsity {sparsity} the measure, {measure.name!r}, is {found}. Leave out "
                    "that sparsity, or take the weight out with exclude."
                )
            measured[index].append((sparsity, found))
            logging.info("%s at sparsity %s: %s %.6g.", weight.name, sparsity, measure.name, found)
    if lacking := [name for name, points in zip(names, measured, strict=True) if not points]:
        raise ValueError(
            f"{', '.join(lacking)} would lose all at each of the sparsities {sparsities}. Measure a lower one, or take "
            "them out with exclude."
        )
    layers = zip(chosen, units, multiply_adds(traced, calibration, chosen), repaired, measured, strict=True)
    return Sensitivity(
        measure=measure.name,
        dense=measure.dense,
        prune_option=hparams.prune_option,
        signature=traced.name,
        num_examples=calibration.count,
        layers=tuple(
            LayerSensitivity(
                path=each.name,
                shape=each.shape,
                units=size,
                bytes=int(np.prod(each.shape)) * each.dtype.size,
                multiply_adds=count,
                repaired=is_repaired,
                measured=tuple(points),
            )
            for each, size, count, is_repaired, points in layers
        ),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Pruning:
    """Prunes weights, each as if it were the only one."""

    model: SavedObjects
    signature: TracedSignature
    calibration: Calibration
    criterion: Criterion
    hparams: PruningHParams
    unseen: str

    def masks(self, weights: Sequence[SavedWeight], sparsity: float) -> Sequence[np.ndarray]:
        """The mask of each weight."""
        if not weights:
            return ()
        names = [each.name for each in weights]
        blocks = zip(self.hparams.block_dims_map, self.hparams.block_dims, strict=True)
        hparams = dataclasses.replace(
            self.hparams,
            allocation="uniform",
            sensitivity_map=(),
            weight_sparsity_map=(),
            group_sparsity_map=(),
            group_pruning=False,
            min_layer_density=0.0,
            initial_sparsity=0.0,
            target_sparsity=sparsity,
            block_dims_map=tuple(item for item, (pattern, _) in blocks if any(map(pattern.search, names))),
        )
        if not needs_examples(self.criterion):
            return pruned_by_magnitude(self.model, weights, hparams, self.criterion).masks
        return pruned_by_inputs(
            *(self.signature, self.calibration, weights, hparams, self.criterion),
            unseen=self.unseen,
            damping=DEFAULT_DAMPING,
            biases=(),
            update=False,
        ).masks


def _check_hparams(hparams: PruningHParams, criterion: Criterion) -> None:
    if needs_loss(criterion) or isinstance(criterion, OptimalBrainCompression):
        raise ValueError(
            f"prune_option={hparams.prune_option!r} prunes in rounds, which take too long for each layer and sparsity. "
            "Use 'weight' or 'wanda'."
        )
    if hparams.run_length:
        raise ValueError(
            "n_of_m and intra_block_sparsity give every run the same sparsity, so there is nothing to share out. Leave "
            "them out."
        )


def _checked_sparsities(sparsities: Any) -> list[float]:
    if isinstance(sparsities, (str, bytes)) or not isinstance(sparsities, Iterable):
        raise TypeError(f"sparsities must be numbers such as (0.5, 0.9), got {sparsities!r}.")
    found = sorted({checked_value("sparsities", float, each) for each in sparsities})
    if not found or not all(0.0 < each < 1.0 for each in found):
        raise ValueError(f"sparsities must be fractions in (0, 1), got {found}. Write 0.9 for 90 %.")
    return found
