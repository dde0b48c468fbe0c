"""prune_saved_model: prunes a SavedModel with examples, without its training code."""

import dataclasses
import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.python.saved_model import fingerprinting_utils

from .. import staging
from ..engine.hparams import PruningHParams
from ..engine.keras.delivered_sparsity import SparsityError, WeightSparsity
from ..places import checked_model_path
from ..saved_model import checkpoint, loading, sizes
from ..saved_model.checkpoint import VALUE_SUFFIX
from ..saved_model.checkpoint_copy import CheckpointCopy
from ..saved_model.saved_objects import SavedObjects
from ..saved_model.tensor_bundle import TensorBundle
from .batch_norm import recalibrated, statistics_of
from .calibration import Calibration, Examples
from .checks import DEFAULT_DAMPING, UNSEEN_ERROR, checked_criterion, needs_examples, needs_loss
from .gradient_pruning import pruned_by_gradients
from .loss import AUTO, Loss
from .model_to_prune import multiplied_weights, opened_model, signature_name
from .pruned_values import PrunedValues, pruned_by_inputs, pruned_by_magnitude
from .saved_weights import SavedWeight, chosen_weights, saved_weights
from .traced_signature import TracedSignature

_VARIABLES = "variables"


@dataclasses.dataclass(frozen=True)
class PruneReport:
    """What `prune_saved_model` did.

    Attributes:
        weights: The pruned weights, whose zeros were counted in the files that were written.
        total_parameters: Parameters of all floating variables that are trained and that signatures reach.
        signature: Name of the signature that answered the examples; None if none was asked.
        num_examples: How many examples it answered.
        by_magnitude: Names of the weights that were pruned by magnitude because their inputs are not seen.
        source_bytes: All files of the source, in bytes.
        pruned_bytes: All files of the pruned model, in bytes; zeros take as much room as other numbers.
        destination: Folder of the pruned model.
    """

    weights: tuple[WeightSparsity, ...]
    total_parameters: int
    signature: str | None
    num_examples: int
    by_magnitude: tuple[str, ...]
    source_bytes: int
    pruned_bytes: int
    destination: str

    @property
    def sparsity(self) -> float:
        """Fraction of zeros in the pruned weights together."""
        return 1.0 - self.nonzero_parameters / self.prunable_parameters

    @property
    def prunable_parameters(self) -> int:
        """Parameters of the pruned weights."""
        return sum(each.size for each in self.weights)

    @property
    def nonzero_parameters(self) -> int:
        """How many of them are not zero."""
        return sum(each.nonzero for each in self.weights)


def prune_saved_model(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    examples: Examples | None,
    hparams: PruningHParams,
    *,
    signature: str | None = None,
    label: str | None = None,
    loss: str = AUTO,
    output: str | None = None,
    unseen: str = UNSEEN_ERROR,
    damping: float = DEFAULT_DAMPING,
    update: bool = True,
    recalibrate_bn: bool = False,
    overwrite: bool = False,
) -> PruneReport:
    """Writes a copy of a SavedModel whose weights are pruned to the target sparsity at once, without a training.

    The copy differs in the values of the pruned weights, and of biases that make up for them; its graph, signatures,
    assets and all else stay. What the layers are given is taken from the functions of the SavedModel itself, so any
    model of TensorFlow 2 will do: of Keras 3, of tf_keras, or a tf.Module.

    `hparams.prune_option` says how weights are chosen:

    - 'weight': by |w|. Needs no examples.
    - 'wanda': by |w| * ||x||, with the L2 norm of the input x that w is multiplied by, over all examples.
    - 'obc': layer by layer, such that each layer's output, for the inputs that it gets from the pruned layers before
      it, stays as near as possible to what it was. The weights and biases that are kept are updated. Layers need a
      sparsity of their own: `allocation` 'uniform', 'erk' or 'sensitivity'.
    - 'second_order_gradient' with `gradient_estimator='block_fisher'`: by w^2 / [F^-1]_ii, with the empirical Fisher
      matrix F of the loss in blocks of 16 consecutive weights. The weights that are kept in a block make up for those
      that go. F takes 64 bytes a weight, in memory only, while it is gathered.
    - 'first_order_gradient' and 'second_order_gradient': by |w| and w^2 times the mean of |dL/dw| and (dL/dw)^2; and
      any `GradientCriterion` of your own.

    The last two need a loss: `label`, or an `output` of the signature that is the loss. They prune in up to 16 rounds,
    and take the gradients of single examples before each.

    Of the other hyperparameters, those of the schedule and of gradients have no effect; sparsities, maps, groups,
    `allocation`, blocks, `n_of_m`, `include` and `exclude` mean what they mean in a training.

    Args:
        source: Folder of a SavedModel of TensorFlow 2, without variables of pruning. It is only read.
        destination: Where the pruned SavedModel goes: nothing or an empty folder must be there, unless `overwrite`.
        examples: Serialized tf.Examples, or other records that the signature parses; or arrays by the names of its
            inputs. None for `prune_option='weight'`. All are held in memory.
        hparams: The hyperparameters.
        signature: The signature that answers the examples; by default 'serving_default', or the only one.
        label: For criteria of gradients, the feature or array that the answers are compared with; None if the output is
            the loss itself, of one example or for each.
        loss: How they are compared: 'softmax_cross_entropy', 'sigmoid_cross_entropy' or 'squared_error'; or 'auto', by
            the operation that makes the answers, and by the labels' dtype. Answers may be logits or probabilities.
        output: The output of the signature that is compared with the labels, or is the loss; by default the only one.
        unseen: What becomes of weights whose inputs are not seen, for they are used within a loop or a branch, or by
            another operation than a matrix product or a convolution: 'error', or 'magnitude' to prune them by |w|.
        damping: For 'obc' and 'block_fisher', what is added to the diagonal of each layer's X^T X, or of each weight's
            F, as a fraction of its mean.
        update: Whether 'obc' and 'block_fisher' update the weights that are kept.
        recalibrate_bn: Whether means and variances of batch normalizations, `moving_mean` and `moving_variance`, are
            taken anew after that, over all examples.
        overwrite: Whether a folder at `destination` is replaced, once the pruned model is written.

    Returns:
        What was pruned.

    Raises:
        FileNotFoundError: There is no SavedModel at `source`.
        FileExistsError: There is something at `destination`, and `overwrite` is False or it is a file.
        OSError: `destination` cannot be written.
        TypeError: `hparams` is not PruningHParams, or an argument is of another type.
        ValueError: `source` is not a SavedModel of TensorFlow 2 with signatures, or holds variables of pruning; the
            hyperparameters are for trainings alone, or leave no weight; the examples do not fit the signature; the
            inputs of a weight are not seen; there is no loss, or no gradient of it; or no batch normalization.
        SparsityError: A weight would have more zeros than asked for, since some that are kept are zero.
    """
    criterion = checked_criterion(
        hparams,
        has_examples=examples is not None,
        has_loss=label is not None or output is not None,
        loss=loss,
        unseen=unseen,
        damping=damping,
        recalibrate_bn=recalibrate_bn,
    )
    by_gradients = needs_loss(criterion)
    source = checked_model_path(source)
    staging.check_apart(source, destination)
    checked_model_path(staging.checked_destination(destination, overwrite))
    model = opened_model(source)
    weights, untrained = saved_weights(model)
    chosen = chosen_weights(weights, multiplied_weights(model, weights), hparams)
    name, count = None, 0
    if needs_examples(criterion) or recalibrate_bn:
        traced = TracedSignature.of(model, signature_name(model, signature), [*weights, *untrained])
        calibration = Calibration.of(examples, traced.specs, traced.name, label if by_gradients else None)
        name, count = traced.name, calibration.count
    if by_gradients:
        _, labels = next(calibration.batches(1))
        chosen_loss = Loss.of(traced, labels, loss, output)
        pruned = pruned_by_gradients(
            traced, calibration, chosen_loss, chosen, hparams, criterion, damping=damping, update=update
        )
    elif needs_examples(criterion):
        pruned = pruned_by_inputs(
            *(traced, calibration, chosen, hparams, criterion),
            unseen=unseen,
            damping=damping,
            biases=weights if update else (),
            update=update,
        )
    else:
        pruned = pruned_by_magnitude(model, chosen, hparams, criterion)
    if recalibrate_bn:
        statistics = recalibrated(traced, calibration, statistics_of(untrained), pruned.values)
        pruned = dataclasses.replace(pruned, values={**pruned.values, **statistics})
    with staging.staged(destination, overwrite) as folder:
        with staging.write_failure_explained(folder):
            write_pruned(model, folder, {each.node: each for each in (*weights, *untrained)}, pruned)
        report = PruneReport(
            weights=_delivered(folder, pruned),
            total_parameters=sum(int(np.prod(each.shape)) for each in weights),
            signature=name,
            num_examples=count,
            by_magnitude=pruned.by_magnitude,
            source_bytes=sizes.directory_bytes(source),
            pruned_bytes=sizes.directory_bytes(folder),
            destination=os.fspath(destination),
        )
    logging.info("Pruned %s to %s: sparsity %.4f of %d weights.", source, destination, report.sparsity, len(chosen))
    return report


def write_pruned(model: SavedObjects, folder: str, weights: Mapping[int, SavedWeight], pruned: PrunedValues) -> None:
    """Writes the files of the pruned model, all but the checkpoint as they are.

    Args:
        model: What was pruned.
        folder: An empty folder.
        weights: By object, the weights that may have new values.
        pruned: The new values.

    Raises:
        ValueError: A file of the model is damaged.
    """
    for name in tf.io.gfile.listdir(model.folder):
        name = name.rstrip("/")
        origin, target = os.path.join(model.folder, name), os.path.join(folder, name)
        if name == _VARIABLES:
            continue
        if tf.io.gfile.isdir(origin):
            staging.copy_folder(origin, target)
        else:
            tf.io.gfile.copy(origin, target, overwrite=True)
    with loading.failure_explained(model.folder):
        copy = CheckpointCopy(TensorBundle.read(checkpoint.prefix(model.folder)))
    for node, value in pruned.values.items():
        for key in weights[node].keys:
            copy.replace(key + VALUE_SUFFIX, value.shape, lambda value=value: [value])
    copy.write(folder)
    fingerprinting_utils.write_fingerprint(folder)


def _delivered(folder: str, pruned: PrunedValues) -> tuple[WeightSparsity, ...]:
    """Counts the zeros in the files that were written."""
    written = SavedObjects.read(folder).checkpoint
    found = []
    for weight, mask in zip(pruned.weights, pruned.masks, strict=True):
        value = written.variable(weight.keys[0])
        if not np.isfinite(value.astype(np.float64)).all():
            raise ValueError(
                f"{weight.name} has values that are not finite. Mend the model, or give examples with finite numbers."
            )
        nonzero, kept = int(np.count_nonzero(value)), int(np.count_nonzero(mask))
        if nonzero != kept:
            raise SparsityError(
                f"{weight.name} has {value.size - nonzero} zeros, {value.size - kept} were asked for: some of the "
                "weights that are kept are zero. Ask for a higher sparsity, or take it out with exclude."
            )
        found.append(WeightSparsity(weight.name, weight.shape, nonzero))
    return tuple(found)
