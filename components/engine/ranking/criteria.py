"""Criteria: what makes a weight matter. The weights with the lowest scores are pruned.

A criterion of one's own is a class in one file, registered when that file is imported:

    import tensorflow as tf
    import tfx_pruning

    class RootMeanSquare(tfx_pruning.GradientCriterion):
        elementwise = True

        def sample(self, gradient):
            return tf.square(gradient)

        def scores(self, weight, average):
            return tf.abs(weight) * tf.sqrt(average)

    tfx_pruning.register_criterion("root_mean_square", RootMeanSquare())

See `register_criterion` for where that file is imported.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar, TypeAlias

import tensorflow as tf

from .. import naming
from ..choices import BACKPROP, BLOCK_FISHER, CRITERIA, HUTCHINSON, WEIGHT_DELTA
from ..hparams import PruningHParams

Pool: TypeAlias = Callable[[tf.Tensor], tf.Tensor]


class Criterion(abc.ABC):
    """How much a weight matters, what must be known of it, and where that comes from.

    This class itself is for criteria that look at the weights only. `GradientCriterion`, `WeightChangeCriterion` and
    `HessianCriterion` have a moving average of samples as well: average <- d * average + (1 - d) * sample with
    d = `gradient_decay_rate`, from zero on. They differ in what a sample is made of, and when.

    A criterion is a constant: its methods are TensorFlow operations without side effects, which XLA may compile, and
    what is compiled for one is used for all that equal it. A frozen dataclass is right, or a class without `__eq__`.

    Attributes:
        estimator: The `gradient_estimator` whose samples it takes; None for none.
        variables: The variables of each weight that it needs beside mask and threshold, names of
            `naming.WEIGHT_VARIABLES`. All but these are left out of memory and checkpoints.
        elementwise: Whether the score of a weight depends on that weight and its average alone, on no other weight of
            the tensor. Large tensors are then scored in parts, which needs less memory.
    """

    estimator: ClassVar[str | None] = None
    variables: ClassVar[tuple[str, ...]] = ()
    elementwise: ClassVar[bool] = False

    @abc.abstractmethod
    def scores(self, weight: tf.Tensor, average: tf.Tensor | None) -> tf.Tensor:
        """Scores of the weights.

        Args:
            weight: float32; of any shape if the criterion is `elementwise`, else of the weight's.
            average: Moving average of the samples, float32 of the same shape; None for a criterion without.

        Returns:
            float32 of the same shape. NaN and what is negative count as zero.
        """

    def unit_scores(self, weight: tf.Tensor, average: tf.Tensor | None, pool: Pool) -> tf.Tensor:
        """Scores of the units: blocks, channels or single weights.

        Args:
            weight: As `scores` takes it.
            average: As `scores` takes it.
            pool: Makes one value for each unit of one value for each weight.

        Returns:
            float32, of the shape that `pool` gives.
        """
        return pool(self.scores(weight, average))

    def channel_summands(self, weight: tf.Tensor, average: tf.Tensor | None) -> tf.Tensor:
        """What a channel's score is the sum of, over all weights that would go with it (`granularity='channel'`).

        Args:
            weight: As `scores` takes it.
            average: As `scores` takes it.

        Returns:
            float32, of the weight's shape: the scores of the weights, unless a criterion says otherwise.
        """
        return self.scores(weight, average)

    @property
    def has_average(self) -> bool:
        """Whether each weight has a moving average."""
        return naming.GRADIENT in self.variables


class GradientCriterion(Criterion):
    """A criterion with an average of the loss's gradients: a sample at every optimizer step."""

    estimator = BACKPROP
    variables = (naming.GRADIENT,)

    @abc.abstractmethod
    def sample(self, gradient: tf.Tensor) -> tf.Tensor:
        """What enters the average at an optimizer step.

        Args:
            gradient: dL/dw as the optimizer's update gets it, float32 of the weight's shape.

        Returns:
            float32 of that shape.
        """


class HessianCriterion(Criterion):
    """A criterion with an average of the Hessian's diagonal: a sample at every mask update."""

    estimator = HUTCHINSON
    variables = (naming.GRADIENT,)

    def sample(self, diagonal: tf.Tensor) -> tf.Tensor:
        """What enters the average at a mask update.

        Args:
            diagonal: z * Hz with a random vector z of 1 and -1, of either sign, float32 of the weight's shape. Its
                mean is the diagonal of the loss's Hessian.

        Returns:
            float32 of that shape; what is not finite leaves the average as it was.
        """
        return diagonal


class WeightChangeCriterion(Criterion):
    """A criterion with an average of how a weight changes: a sample at every mask update.

    Attributes:
        variables: With 'old_weight', the weight at the last mask update, and, if that is declared, 'old_old_weight',
            the one before.
    """

    estimator = WEIGHT_DELTA
    variables = (naming.GRADIENT, naming.OLD_WEIGHT)

    @abc.abstractmethod
    def sample(self, weight: tf.Tensor, *old_weights: tf.Tensor) -> tf.Tensor:
        """What enters the average at a mask update.

        Args:
            weight: Weights now, float32.
            *old_weights: Those at the last mask update, and at the one before if `variables` says so; float32 of the
                same shape, zero before the first.

        Returns:
            float32 of that shape.
        """


class InputCriterion(Criterion):
    """A criterion that needs the inputs of the layers, for a model that is pruned after its training.

    `average` is a statistic of these inputs then, in the weight's shape; the classes say which.
    """


@dataclasses.dataclass(frozen=True)
class Magnitude(Criterion):
    """|w| (Zhu and Gupta, 2017, https://arxiv.org/abs/1710.01878)."""

    elementwise = True

    def scores(self, weight: tf.Tensor, average: tf.Tensor | None) -> tf.Tensor:
        """See `Criterion.scores`."""
        del average
        return tf.abs(weight)

    def channel_summands(self, weight: tf.Tensor, average: tf.Tensor | None) -> tf.Tensor:
        """w^2: channels rank by the L2 norm of their weights."""
        del average
        return tf.square(weight)


@dataclasses.dataclass(frozen=True)
class FirstOrder(GradientCriterion):
    """|w| * G: with G the mean |dL/dw|, a bound of the first-order change of the loss when w goes to zero.

    Molchanov et al., 2017, https://arxiv.org/abs/1611.06440, average the product; here, as in the reference, the
    gradient is averaged and multiplied by the weight as it is now.
    """

    elementwise = True

    def sample(self, gradient: tf.Tensor) -> tf.Tensor:
        """See `GradientCriterion.sample`."""
        return tf.abs(gradient)

    def scores(self, weight: tf.Tensor, average: tf.Tensor) -> tf.Tensor:
        """See `Criterion.scores`."""
        return tf.abs(weight) * average


@dataclasses.dataclass(frozen=True)
class SecondOrder(GradientCriterion):
    """w^2 * G: with G the mean (dL/dw)^2, Optimal Brain Damage's saliency with the empirical Fisher diagonal.

    LeCun, Denker and Solla, 1990, "Optimal brain damage". The factor 1/2 changes no ranking and is left out.
    """

    elementwise = True

    def sample(self, gradient: tf.Tensor) -> tf.Tensor:
        """See `GradientCriterion.sample`."""
        return tf.square(gradient)

    def scores(self, weight: tf.Tensor, average: tf.Tensor) -> tf.Tensor:
        """See `Criterion.scores`."""
        return tf.square(weight) * average


@dataclasses.dataclass(frozen=True)
class HessianDiagonal(HessianCriterion):
    """w^2 * |G|: with G the mean of the Hessian's diagonal, Optimal Brain Damage's saliency itself; see `SecondOrder`.

    A second derivative may be negative: its size counts.
    """

    elementwise = True

    def scores(self, weight: tf.Tensor, average: tf.Tensor) -> tf.Tensor:
        """See `Criterion.scores`."""
        return tf.square(weight) * tf.abs(average)


@dataclasses.dataclass(frozen=True)
class WeightChange(WeightChangeCriterion):
    """|w| * G: with G the mean normalised change of the weight between mask updates, as the reference has it."""

    elementwise = True

    def sample(self, weight: tf.Tensor, *old_weights: tf.Tensor) -> tf.Tensor:
        """|w - w_old|, divided by its L2 norm over the whole weight."""
        (old_weight,) = old_weights
        return tf.nn.l2_normalize(tf.abs(weight - old_weight))

    def scores(self, weight: tf.Tensor, average: tf.Tensor) -> tf.Tensor:
        """See `Criterion.scores`."""
        return tf.abs(weight) * average

    def unit_scores(self, weight: tf.Tensor, average: tf.Tensor, pool: Pool) -> tf.Tensor:
        """See `Criterion.unit_scores`; as in the reference, the weight and its average are pooled each by itself."""
        return self.scores(pool(tf.abs(weight)), pool(average))


@dataclasses.dataclass(frozen=True)
class SecondWeightChange(WeightChange):
    """`WeightChange` of the second order: the change of the change. No curvature, in spite of its name."""

    variables = (naming.GRADIENT, naming.OLD_WEIGHT, naming.OLD_OLD_WEIGHT)

    def sample(self, weight: tf.Tensor, *old_weights: tf.Tensor) -> tf.Tensor:
        """|w + w_old_old - 2 * w_old|, divided by its L2 norm over the whole weight."""
        old_weight, old_old_weight = old_weights
        return tf.nn.l2_normalize(tf.abs(weight + old_old_weight - 2.0 * old_weight))


@dataclasses.dataclass(frozen=True)
class Wanda(InputCriterion):
    """|w| * ||x||: with the L2 norm, over all examples, of the input that the weight is multiplied by.

    Sun et al., 2023, "A simple and effective pruning approach for large language models",
    https://arxiv.org/abs/2306.11695. There weights are ranked within each output; here as `allocation` says.
    """

    elementwise = True

    def scores(self, weight: tf.Tensor, average: tf.Tensor) -> tf.Tensor:
        """See `Criterion.scores`."""
        return tf.abs(weight) * average


@dataclasses.dataclass(frozen=True)
class OptimalBrainCompression(InputCriterion):
    """w^2 / [H^-1]_ii: the squared error of a layer's output that is left when the other weights make up for w.

    H = X^T X of the layer's inputs X; `average` is 1 / [H^-1]_ii. Frantar and Alistarh, 2022, "Optimal brain
    compression", https://arxiv.org/abs/2208.11580.
    """

    elementwise = True

    def scores(self, weight: tf.Tensor, average: tf.Tensor) -> tf.Tensor:
        """See `Criterion.scores`."""
        return tf.square(weight) * average


@dataclasses.dataclass(frozen=True)
class BlockFisher(Criterion):
    """w^2 / [F^-1]_ii: Optimal Brain Surgeon's saliency, with the Fisher matrix in blocks (`block_fisher`).

    `average` is 1 / [F^-1]_ii. Singh and Alistarh, 2020, "WoodFisher", https://arxiv.org/abs/2004.14340. The factor 1/2
    changes no ranking and is left out.
    """

    estimator = BLOCK_FISHER
    elementwise = True

    def scores(self, weight: tf.Tensor, average: tf.Tensor) -> tf.Tensor:
        """See `Criterion.scores`."""
        return tf.square(weight) * average


@dataclasses.dataclass(frozen=True)
class WithGradientSize(GradientCriterion):
    """A criterion without an average, beside one of |dL/dw| that regrowth ranks by.

    Attributes:
        criterion: What scores.
    """

    criterion: Criterion

    def sample(self, gradient: tf.Tensor) -> tf.Tensor:
        """See `GradientCriterion.sample`."""
        return tf.abs(gradient)

    def scores(self, weight: tf.Tensor, average: tf.Tensor) -> tf.Tensor:
        """See `Criterion.scores`."""
        del average
        return self.criterion.scores(weight, None)

    def unit_scores(self, weight: tf.Tensor, average: tf.Tensor, pool: Pool) -> tf.Tensor:
        """See `Criterion.unit_scores`."""
        del average
        return self.criterion.unit_scores(weight, None, pool)

    def channel_summands(self, weight: tf.Tensor, average: tf.Tensor) -> tf.Tensor:
        """See `Criterion.channel_summands`."""
        del average
        return self.criterion.channel_summands(weight, None)


def criterion_of(hparams: PruningHParams) -> Criterion:
    """The criterion that `prune_option`, `gradient_estimator` and `regrow` ask for, for a training.

    Raises:
        ValueError: It needs what a training does not gather.
    """
    criterion = CRITERIA.get(hparams.prune_option)[hparams.gradient_estimator]()
    if isinstance(criterion, BlockFisher):
        raise ValueError(
            f"gradient_estimator={hparams.gradient_estimator!r} gathers gradients of a model that is trained already. "
            "Give the hyperparameters to PostTrainingPruner or tfx_pruning.prune_saved_model, or train with "
            "gradient_estimator='backprop'."
        )
    if isinstance(criterion, InputCriterion):
        raise ValueError(
            f"prune_option={hparams.prune_option!r} scores weights by the inputs of their layers, for a model that is "
            "trained already. Give the hyperparameters to PostTrainingPruner or tfx_pruning.prune_saved_model, or "
            "choose another prune_option for the training."
        )
    if hparams.regrow and not criterion.has_average:
        return _with_gradient_size(criterion)
    return criterion


# One instance for each: what is compiled for it is kept as long as it lives.
_with_gradient_size = functools.cache(WithGradientSize)


def register_criterion(name: str, *criteria: Criterion) -> None:
    """Adds a criterion: `prune_option=name` prunes by it, everywhere.

    Call it in the module that defines the criterion, at its top level: whoever imports the module can use the name.

    - PruningTrainer's executor imports the module with `run_fn` before it reads the hyperparameters: put the criterion
      in that module, or let that module import yours. So it works in any process and container.
    - Where the pipeline is made, import the module yourself; `tfx-pruning run` and `sweep` import the module that
      `--module-file` or `--module-path` names. Hyperparameters that name an unknown criterion are refused here.
    - `prune_option='my_module:name'` imports `my_module` in every process that reads the hyperparameters.
    - An installed package needs no import: it has an entry point `name = "its.module"` in the group
      `tfx_pruning.criteria`, and `its.module` calls this function.

    Args:
        name: Lower-case letters, digits and underscores, a letter first.
        *criteria: One criterion; or several that take different `gradient_estimator`s, which chooses among them. One
            without an average goes with `gradient_estimator='backprop'`, the default.

    Raises:
        TypeError: One is not an instance of `Criterion`, or cannot be hashed; or the name is not a string.
        ValueError: There is none; two take the same estimator; a criterion declares variables that do not exist, or no
            average although it takes samples; or the name is of another form, built in, registered by another class,
            or an entry point of another package.
    """
    if not criteria:
        raise ValueError(f"register_criterion({name!r}) needs a criterion: register_criterion({name!r}, Mine()).")
    by_estimator: dict[str, Callable[[], Criterion]] = {}
    for criterion in criteria:
        _check_criterion(name, criterion)
        estimator = criterion.estimator or BACKPROP
        if estimator in by_estimator:
            raise ValueError(
                f"Two criteria of {name!r} take gradient_estimator={estimator!r}. Register one of them under another "
                "name."
            )
        by_estimator[estimator] = lambda criterion=criterion: criterion
    CRITERIA.register(name, by_estimator, type(criteria[0]))


def _check_criterion(name: str, criterion: Criterion) -> None:
    if not isinstance(criterion, Criterion):
        raise TypeError(
            f"register_criterion({name!r}, ...) takes instances of tfx_pruning.Criterion, got {criterion!r} of type "
            f"{type(criterion).__name__}. Derive a class from it and pass an instance."
        )
    kind = type(criterion).__name__
    try:
        hash(criterion)
    except TypeError as error:
        raise TypeError(
            f"{kind} cannot be hashed ({error}). Make it a dataclass with frozen=True, or leave out __eq__."
        ) from error
    bases = {base.estimator: base for base in (Criterion, GradientCriterion, HessianCriterion, WeightChangeCriterion)}
    base = bases.get(criterion.estimator)
    if base is None or not isinstance(criterion, base):
        raise ValueError(
            f"{kind}.estimator is {criterion.estimator!r}, which its base class does not take samples of. Derive from "
            "GradientCriterion, HessianCriterion or WeightChangeCriterion and leave estimator as it is."
        )
    allowed = [base.variables]
    if base is WeightChangeCriterion:
        allowed.append((*base.variables, naming.OLD_OLD_WEIGHT))
    if criterion.variables not in allowed:
        raise ValueError(
            f"{kind}.variables must be {' or '.join(map(str, allowed))}, as it is a {base.__name__}, got "
            f"{criterion.variables!r}. Leave it out for the first of them."
        )
