"""PruningHParams: every choice that pruning takes, in one frozen object."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..registry import plain_name
from ..suggestion import suggestion
from ..typed_value import checked_value, shown
from . import hparams_checks, hparams_string
from .choices import SCHEDULES
from .hparams_fields import HParamsFields

# Where `for_steps` puts the ramp, as fractions of the training steps. The model first learns which weights matter, and
# recovers after the last mask update.
_RAMP_BEGIN = 0.15
_RAMP_END = 0.6
_UPDATES_PER_TRAINING = 100
# What else `for_steps` chooses: the best by benchmarks/accuracy.py.
_MEASURED_BEST = {"prune_option": "first_order_gradient", "gradient_decay_rate": 0.9, "allocation": "global"}
# Fields that contradict one ranking of all weights.
_OWN_SPARSITIES = ("weight_sparsity_map", "group_pruning", "n_of_m", "intra_block_sparsity")
# Prefix by which a tuner tells these hyperparameters from the model's, as KerasTuner's `name_scope("pruning")` adds it.
TUNED_PREFIX = "pruning/"


@dataclasses.dataclass(frozen=True)
class PruningHParams(HParamsFields):
    """Hyperparameters of pruning, checked when they are constructed.

    Names and defaults are those of google-research `model_pruning`, so that its strings have the same meaning here. The
    fields from `gradient_estimator` on are new. `for_steps` has the defaults that were measured best. Steps are
    optimizer steps, sparsities are fractions in [0, 1). Regexes have RE2's syntax, which is Python's without
    lookarounds and backreferences: with these no time could be promised in which a name is searched.

    Attributes:
        name: Name of the run; prefixes the TensorBoard summaries.
        begin_pruning_step: First step at which masks may be updated.
        end_pruning_step: Last step at which masks may be updated; -1 for no last step.
        weight_sparsity_map: `regex:sparsity` items. A weight whose path matches a regex anywhere has that target
            instead of `target_sparsity`.
        block_dims_map: `regex:HxW` items. A weight whose path matches a regex anywhere has blocks of that height
            and width instead of `block_height` and `block_width`.
        group_sparsity_map: `regex:sparsity` items, for `group_pruning`. The weights whose paths match a regex
            are a group: they are ranked together, to that target.
        group_block_dims_map: Must be empty: `block_dims_map` is for the weights of groups too.
        group_pruning: Whether weights are ranked in groups, those of `group_sparsity_map`. Without that map all weights
            are one group. A weight in no group is ranked alone, to `target_sparsity` or its target in
            `weight_sparsity_map`.
        threshold_decay: Must be 0: masks are exact, and thresholds are not smoothed.
        pruning_frequency: Steps between two mask updates.
        nbins: Has no effect: selection is exact and has no bins. Accepted since the reference's strings hold it.
        block_height: Height of the blocks that are pruned as one, -1 for the whole dimension. Weights that are
            matrices, not counting dimensions of 1, are divided into blocks. All others are pruned weight by weight.
        block_width: Width of the blocks, -1 for the whole dimension.
        block_pooling_function: 'AVG' or 'MAX': how the scores of a block's or channel's weights become one.
        initial_sparsity: Sparsity at `sparsity_function_begin_step`.
        target_sparsity: Sparsity from `sparsity_function_end_step` on.
        sparsity_function_begin_step: Step at which the sparsity begins to rise. With `sparsity_function='constant'` it
            is at the target from this step on.
        sparsity_function_end_step: Step at which the sparsity reaches the target.
        sparsity_function_exponent: Exponent of the polynomial schedule: 1 is a line, 3 the cubic of Zhu and Gupta
            (2017).
        use_tpu: Has no effect. Accepted since the reference's strings hold it.
        gradient_decay_rate: Decay d of the moving average G <- d * G + (1 - d) * sample, in [0, 1).
        prune_option: Criterion, which scores the weights: 'weight' by |w|, 'first_order_gradient' by |w| * G,
            'second_order_gradient' by w^2 * G; or one that `tfx_pruning.register_criterion` added; 'MODULE:NAME'
            imports the module that adds it. For `prune_saved_model` and PostTrainingPruner alone: 'wanda' by |w| times
            the L2 norm of its inputs; 'obc' by the error of the layer's output, with an update of the weights kept.
        intra_block_sparsity: N:M sparsity along the last axis: in every run of `block_width` weights
            floor(block_width * sparsity) are zero. `target_sparsity` must be a whole number of `block_width`-ths.
        add_summary: Whether TensorBoard summaries are written where a log directory is known.
        gradient_estimator: What G averages. 'backprop': |dL/dw| at every optimizer step; for the second order
            (dL/dw)^2, the diagonal of the empirical Fisher matrix, which makes the score that of Optimal Brain Damage
            (LeCun et al., 1990). 'weight_delta': the reference's normalised weight changes between mask updates, with
            its score |w| * G for both orders. 'hutchinson', for the second order: the diagonal of the Hessian, sampled
            as z * Hz with a random vector z of 1 and -1 at every mask update, with the score w^2 * |G|. G takes 4 bytes
            a weight. 'hutchinson' also takes one forward and two backward passes at every mask update. 'block_fisher',
            for the second order, in `prune_saved_model` and PostTrainingPruner alone: the empirical Fisher matrix in
            blocks of 16 consecutive weights, with the score w^2 / [F^-1]_ii and an update of the weights kept.
        allocation: 'uniform': each weight tensor has the sparsity asked for. 'global': all weights are ranked together,
            and the sparsity holds for their sum. 'erk', Erdős-Rényi-kernel (Evci et al., 2020): the sparsity holds
            for the sum, and the density of a weight tensor is proportional to the sum of its dimensions over their
            product, so that narrow layers stay denser. 'sensitivity': the sparsity holds for the sum, and zeros go
            where `sensitivity_map` says that they cost least.
        min_layer_density: Fraction of every weight tensor, in [0, 1), that is kept whatever the ranking says, at least
            one weight, so that no layer dies; 0 for no minimum. For `allocation='global'`, 'erk' and 'sensitivity' and
            for groups; it does not change their totals.
        sparsity_function: Schedule. 'polynomial' and 'cosine' (half a period) rise from `initial_sparsity` to
            `target_sparsity` between `sparsity_function_begin_step` and `sparsity_function_end_step`. 'constant' jumps
            to the target at the first of these steps, 'one_shot' at the second. Or one that
            `tfx_pruning.register_schedule` added; 'MODULE:NAME' imports the module that adds it.
        include: Regexes of variable paths. Weights that match one of them anywhere are pruned. Empty: the
            kernels (`kernel`, `recurrent_kernel`, `depthwise_kernel`, `pointwise_kernel`) of Dense, EinsumDense,
            convolution and recurrent layers; and all else of two dimensions and more, embeddings apart, that the
            forward pass of a Keras model multiplies activations by, where it can be traced.
        exclude: Regexes of variable paths. A weight that matches one of them is not pruned.
        seed: Seed of the random tie-breaking.
        granularity: What is pruned as one. 'element': single weights, or the blocks or runs that other fields ask for.
            'channel': what makes a channel, what goes along with it and what reads it, in all weights that it runs
            through: columns of a Dense kernel or filters of a convolution, their biases, the normalisation behind
            them, depthwise kernels, all branches of a sum, and the rows of every kernel behind them. The forward pass
            is traced to find them. What the model returns stays whole. A channel's score is the sum of its
            weights' (w^2 for 'weight'). `allocation` is 'global', which ranks all channels by their scores over what
            would go, or 'uniform', which leaves every layer the same share of its channels; `min_layer_density` counts
            channels. Then `include` matches weights that make a channel, and `exclude` weights that keep all theirs.
        cost: What `target_sparsity` is a fraction of with `granularity='channel'`: 'parameters', the weights that
            channels run through; or 'flops', the multiply-adds of the forward pass for one example. At least that much
            goes, and less than one channel more.
        channel_multiple: With `granularity='channel'`, every layer keeps a multiple of so many channels, or all of its
            channels: 8 or 16 suit the vector units of most processors. The least channels of a layer go together, by
            the mean of their scores. Then less than so many channels more go than were asked for. Called `round_to` in
            Torch-Pruning and `channel_divisor` in ModelOpt.
        block_conv: Whether weights of more dimensions are divided into blocks too. All dimensions but the last are
            taken as one: a convolution kernel is a matrix of (height * width * in, out).
        n_of_m: 'n:m', such as '2:4': at the target, n of every m consecutive weights are kept, along the axis that a
            matrix product sums over, as inference kernels need it: inputs of a Dense, input channels of a Conv2D.
            `target_sparsity` must be 1 - n/m.
        regrow: How pruned weights come back. '': if the criterion ranks them high enough. 'gradient', RigL (Evci et
            al., 2020): at a mask update a fraction of the units that the criterion would keep is replaced by those with
            the largest G. G is a moving average of |dL/dw| (squared for the second order), which pruned weights have
            too. With `gradient_decay_rate=0` it is the last |dL/dw|, as in RigL. A weight comes back with the value of
            the last optimizer step. Units with a weight that is still zero do not come back, and fewer units
            are replaced, so that the sparsity is always that of the schedule. Needs `gradient_estimator='backprop'`, 4
            bytes a weight for G if `prune_option` is 'weight', and weights that are not under `apply_mask`.
        regrow_fraction: RigL's alpha, in (0, 1). With k units to keep, floor(f * k) are replaced. f falls from
            `regrow_fraction` at `begin_pruning_step` to 0 at `end_pruning_step`, along half a period of a cosine. If
            `end_pruning_step` is -1, it falls to 0 where the schedule reaches its target: the weights that came back
            last must have time to learn. What `min_layer_density` keeps is never replaced. Under N:M sparsity k counts
            the weights of a run.
        distill_weight: The teacher's share w of the loss, in [0, 1]: (1 - w) * loss + w * D, where D compares the
            model's answers with those of the teacher of PruningTrainer or `pruning_scope` (Hinton et al., 2015). 0 for
            no teacher. What layers add to the loss, such as regularisation, is not scaled.
        temperature: T > 0, by which logits are divided before they become probabilities; D is the Kullback-Leibler
            divergence of these, times T^2. Has no effect on squared errors.
        distill_loss: What D is. '' chooses it from the compiled loss of each output: 'categorical' for a softmax and
            'binary' for a sigmoid, both followed by '_from_logits' if the model returns logits, and 'squared_error' for
            regression. Any of these holds for all outputs that have a loss.
        quantize: 'int8': the last part of a training in `fit` computes with kernels and inputs of Dense, EinsumDense,
            and 1-D and 2-D convolution layers rounded as in TFLite's int8 files, so that the weights get used to it
            (Jacob et al., 2018). Kernels have a symmetric scale for each output channel, max |w| / 127: zeros stay
            zeros. Inputs have 256 values over the range of the batch. The gradients are as if nothing were rounded.
            What is saved is a float model. '' for no rounding.
        quantize_begin_step: First step that is rounded; -1 for the one after the sparsity has reached its target.
        sensitivity_map: For `allocation='sensitivity'`, `regex:sparsity=rise;sparsity=rise` items, as
            `tfx_pruning.sensitivity` and `tfx-pruning sensitivity` write them: how much the loss rises if the weight
            whose path matches is pruned alone. Every pruned weight needs one. The sum of the rises is made as small as
            the total of zeros allows, at every step, on the lower convex hulls of these curves. No weight gets more
            zeros than at the largest sparsity of its curve.

    Raises:
        ValueError: A value is out of range, or two contradict each other.
        TypeError: A value is of the wrong type.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(field.name, field.type, getattr(self, field.name)))
        hparams_checks.check(self)

    @classmethod
    def for_steps(cls, num_steps: int, /, **fields: Any) -> "PruningHParams":
        """Hyperparameters for a training of `num_steps` optimizer steps, with the defaults that were measured best.

        The masks are updated, and the sparsity rises, from 15 % to 60 % of the steps, at every hundredth of the steps;
        with a `sparsity_function_end_step` of your own they are updated up to that, if it is later.
        The rest is for recovery. Unless given, `prune_option` is 'first_order_gradient', `gradient_decay_rate` 0.9 and
        `allocation` 'global': the one row of the accuracy table (docs/benchmarks.md) that meets the goals at 98, 99 and
        99.5 %. `allocation` is 'uniform' beside `weight_sparsity_map`, `group_pruning` and N:M, which give each weight
        or group a sparsity of its own.

        Args:
            num_steps: Optimizer steps of the whole training, at least 2.
            **fields: Any field, those that hold steps too.

        Raises:
            ValueError: `num_steps` is below 2, the training ends before the ramp does, or a field is wrong.
            TypeError: `num_steps` or a field is of the wrong type.
        """
        return cls.fitted_to(num_steps, fields)

    @classmethod
    def fitted_to(cls, num_steps: int, fields: Mapping[str, Any], steps_field: str = "num_steps") -> "PruningHParams":
        """As `for_steps`, for a training whose length is a setting with a name of its own.

        Args:
            num_steps: Optimizer steps of the whole training, at least 2.
            fields: Fields and their values.
            steps_field: What errors call `num_steps`.

        Raises:
            ValueError: `num_steps` is below 2, the training ends before the ramp does, or a field is wrong.
            TypeError: `num_steps` or a field is of the wrong type.
        """
        _check_names(fields)
        known = _field_types()
        num_steps = _typed(steps_field, int, num_steps)
        if num_steps < 2:
            raise ValueError(f"{steps_field} must be at least 2 to prune while training, got {num_steps}.")
        frequency = _typed(
            "pruning_frequency", int, fields.get("pruning_frequency", max(1, num_steps // _UPDATES_PER_TRAINING))
        )
        if frequency < 1:
            raise ValueError(f"pruning_frequency must be positive, got {frequency}.")
        begin = max(1, frequency, round(_RAMP_BEGIN * num_steps))
        updates = max(1, round((_RAMP_END * num_steps - begin) / frequency))
        end = begin + updates * frequency
        if end > num_steps:
            raise ValueError(
                f"pruning_frequency={frequency} leaves no room for two mask updates in {steps_field}={num_steps}. "
                f"Lower it to {max(1, num_steps // _UPDATES_PER_TRAINING)} or leave it out."
            )
        own_sparsities = any(_typed(name, known[name], fields[name]) for name in _OWN_SPARSITIES if name in fields)
        steps = {
            "begin_pruning_step": begin,
            "sparsity_function_begin_step": begin,
            "sparsity_function_end_step": end,
        }
        steps = {name: _typed(name, int, fields.get(name, step)) for name, step in steps.items()}
        _check_ramp_ends(steps, fields, num_steps, steps_field)
        made = cls(
            **{
                **_MEASURED_BEST,
                "allocation": "uniform" if own_sparsities else _MEASURED_BEST["allocation"],
                "end_pruning_step": max(end, steps["sparsity_function_end_step"]),
                "pruning_frequency": frequency,
                **steps,
                **fields,
            }
        )
        if made.quantize and made.first_quantized_step > num_steps:
            raise ValueError(
                f"quantize={made.quantize!r} would begin at step {made.first_quantized_step}, after the training ends "
                f"with {steps_field}={num_steps}. Set quantize_begin_step to {num_steps} or less, or {steps_field} to "
                "more."
            )
        return made

    @classmethod
    def parse(cls, string: str) -> "PruningHParams":
        """Reads `'name=cifar10,target_sparsity=0.9,weight_sparsity_map=[conv1:0.9,conv.*/kernel:0.8]'`.

        Fields that are not named keep their defaults. `parse(h.to_string()) == h` for every `h`.

        Raises:
            ValueError: The string is not of that form, names an unknown field or names one twice.
            TypeError: It is not a string.
        """
        return cls(**cls.fields_of(string))

    @classmethod
    def fields_of(cls, string: str) -> dict[str, Any]:
        """The fields that a string names, and their values. The string has the form that `parse` reads.

        Values are not checked against each other, and a criterion or schedule need not be registered.

        Raises:
            ValueError: The string is not of that form, names an unknown field or names one twice.
            TypeError: It is not a string.
        """
        if not isinstance(string, str):
            raise TypeError(
                f"PruningHParams.parse reads a string, got {shown(string)} of type {type(string).__name__}."
            )
        known, assignments = _field_types(), list(hparams_string.split(string))
        _check_names(name for name, _ in assignments)
        return {name: hparams_string.value_of(name, text, known[name]) for name, text in assignments}

    def has_the_criterion_of(self, string: str) -> bool:
        """Whether the hyperparameters that another training wrote name this criterion and this estimator.

        The string is not checked: a criterion in it need not be registered here, and no module that it names is
        imported. 'MODULE:NAME' is the criterion NAME.

        Args:
            string: What `to_string` wrote.
        """
        fields = self.fields_of(string)
        return (
            plain_name(fields.get("prune_option", "")) == plain_name(self.prune_option)
            and fields.get("gradient_estimator") == self.gradient_estimator
        )

    def to_string(self) -> str:
        """All fields in the form that `parse` reads."""
        return hparams_string.join(dataclasses.asdict(self))

    __str__ = to_string

    @classmethod
    def from_json(cls, text: str) -> "PruningHParams":
        """Reads the JSON object that `to_json` writes; fields may be left out.

        Raises:
            ValueError: The text is not a JSON object, names an unknown field, or a value is refused.
            TypeError: It is not a text, or a value is of the wrong type.
        """
        if not isinstance(text, (str, bytes)):
            raise TypeError(f"PruningHParams.from_json reads a text, got {shown(text)} of type {type(text).__name__}.")
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"hparams must be valid JSON, got {shown(text)} ({error}).") from error
        if not isinstance(values, dict):
            raise ValueError(f"hparams as JSON must be one object of fields, got {shown(text)}.")
        return cls.from_dict(values)

    def to_json(self) -> str:
        """All fields as one JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PruningHParams":
        """Builds from field names and values.

        Raises:
            ValueError: A name is not that of a field, or a value is refused.
            TypeError: `values` is no mapping, or a value is of the wrong type.
        """
        if not isinstance(values, Mapping):
            raise TypeError(
                f"PruningHParams.from_dict takes a mapping from fields to values, got {shown(values)} of type "
                f"{type(values).__name__}."
            )
        _check_names(values)
        return cls(**values)

    def tuned(self, values: Mapping[str, Any]) -> "PruningHParams":
        """These hyperparameters, with the values that a tuner chose.

        Args:
            values: Names and values, as in `values` of KerasTuner's HyperParameters. 'pruning/target_sparsity' is the
                field `target_sparsity`, and so on. Names that do not begin with 'pruning/' are ignored. Tuners have no
                lists, so a list may be given as a string: '[dense_1,dense_2]'.

        Raises:
            ValueError: A name that begins with 'pruning/' is not that of a field, or the result is wrong.
        """
        chosen = {name: value for name, value in values.items() if name.startswith(TUNED_PREFIX)}
        try:
            fields = dataclasses.asdict(self)
            for prefixed, value in chosen.items():
                name = prefixed.removeprefix(TUNED_PREFIX)
                is_list_as_string = isinstance(value, str) and isinstance(fields.get(name), tuple)
                fields[name] = hparams_string.value_of(name, value, tuple) if is_list_as_string else value
            return self.from_dict(fields)
        except (TypeError, ValueError) as error:
            given = ", ".join(f"{name}={shown(value)}" for name, value in chosen.items())
            raise ValueError(
                f"Hyperparameters that were tuned are refused ({given}): {error} Change what the tuner may choose."
            ) from error


def _check_ramp_ends(steps: Mapping[str, int], fields: Mapping[str, Any], num_steps: int, steps_field: str) -> None:
    """Raises a ValueError if a training is over before it has the target sparsity."""
    function = _typed("sparsity_function", str, fields.get("sparsity_function", HParamsFields.sparsity_function))
    reached_at = f"sparsity_function_{SCHEDULES.get(function).reaches_target_at}_step"
    for name in ("begin_pruning_step", reached_at):
        if steps[name] > num_steps:
            what = "the sparsity reaches its target" if name == reached_at else "masks are updated first"
            raise ValueError(
                f"{name}={steps[name]} is the step at which {what}, but {steps_field}={num_steps} ends the training "
                f"before it. Set {steps_field} to {steps[name]} or more, or {name} to less, or leave {name} out."
            )


def _field_types() -> dict[str, Any]:
    return {field.name: field.type for field in dataclasses.fields(PruningHParams)}


def _check_names(names: Iterable[Any]) -> None:
    known = _field_types()
    for name in names:
        if name not in known:
            text = name if isinstance(name, str) else shown(name)
            raise ValueError(f"Unknown pruning hyperparameter {shown(name)}. {suggestion(text, known)}")


def _typed(name: str, kind: Any, value: Any) -> Any:
    """`value` as the plain Python type `kind`; of a list without the items that are empty."""
    checked = checked_value(name, kind, value)
    return tuple(filter(None, checked)) if isinstance(checked, tuple) else checked
