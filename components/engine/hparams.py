"""PruningHParams: every choice that pruning takes, in one frozen object."""

import dataclasses
import difflib
import json
import math
import numbers
import re
from collections.abc import Iterable, Mapping
from typing import Any

from . import hparams_string, path_map

PRUNE_OPTIONS = ("weight", "first_order_gradient", "second_order_gradient")
GRADIENT_ESTIMATORS = ("backprop", "weight_delta", "hutchinson")
ALLOCATIONS = ("uniform", "global", "erk")
SPARSITY_FUNCTIONS = ("polynomial", "constant", "cosine", "one_shot")
POOLING_FUNCTIONS = ("AVG", "MAX")
GRANULARITIES = ("element", "channel")
REGROWTHS = ("", "gradient")

# Where `for_steps` puts the ramp, as fractions of the training steps: a model first learns which weights matter, and
# recovers after the last weight has gone.
_RAMP_BEGIN = 0.15
_RAMP_END = 0.6
_UPDATES_PER_TRAINING = 100
# How far m * target_sparsity may lie from a whole number of zeros in a run of m weights.
_RUN_TOLERANCE = 0.01


@dataclasses.dataclass(frozen=True)
class PruningHParams:
    """Hyperparameters of pruning. Refused at construction when wrong.

    The names and defaults are those of google-research `model_pruning`; fields from `gradient_estimator` on are new.
    Steps are optimizer steps, sparsities are fractions in [0, 1).

    Attributes:
        name: Name of the run; prefixes the TensorBoard summaries.
        begin_pruning_step: First step at which masks may be updated.
        end_pruning_step: Last step at which masks may be updated; -1 for no last step.
        weight_sparsity_map: `regex:sparsity` items. A weight whose path a regex matches (`re.search`) has that target
            in place of `target_sparsity`.
        block_dims_map: `regex:HxW` items. A weight whose path a regex matches (`re.search`) has blocks of that height
            and width in place of `block_height` and `block_width`.
        group_sparsity_map: `regex:sparsity` items, for `group_pruning`. The weights whose paths a regex matches
            (`re.search`) are a group: they are ranked together to that target.
        group_block_dims_map: `group:HxW` items. Must be empty: `block_dims_map` names a group's blocks too.
        group_pruning: Whether weights are ranked in groups, those of `group_sparsity_map`; without a map all of them
            are one. A weight in no group is ranked alone, to `target_sparsity` or its own in `weight_sparsity_map`.
        threshold_decay: Must be 0: masks are exact, no threshold is smoothed.
        pruning_frequency: Steps between two mask updates.
        nbins: Read for the sake of the reference's strings; selection is exact and has no bins.
        block_height: Height of the blocks that are pruned as one, -1 for the whole dimension. Blocks are laid over
            weights that are matrices once dimensions of 1 are left out; all others are pruned weight by weight.
        block_width: Width of the blocks, -1 for the whole dimension.
        block_pooling_function: 'AVG' or 'MAX': how the scores of a block's or channel's weights become one.
        initial_sparsity: Sparsity at `sparsity_function_begin_step`.
        target_sparsity: Sparsity from `sparsity_function_end_step` on.
        sparsity_function_begin_step: Step at which the sparsity begins to rise; has its target from here on if
            `sparsity_function` is 'constant'.
        sparsity_function_end_step: Step at which the sparsity reaches the target.
        sparsity_function_exponent: Exponent of the polynomial; 1 is a line, 3 the cubic of Zhu and Gupta (2017). Other
            schedules have none.
        use_tpu: Read for the sake of the reference's strings; the ops are chosen by where they are compiled.
        gradient_decay_rate: Decay d of the moving average G <- d * G + (1 - d) * sample, in [0, 1).
        prune_option: Criterion: 'weight' |w|, 'first_order_gradient' |w| * G, 'second_order_gradient' w^2 * G.
        intra_block_sparsity: N:M sparsity along the last axis: in every run of `block_width` weights
            floor(block_width * sparsity) are zero. `target_sparsity` must be a whole number of `block_width`-ths.
        add_summary: Whether TensorBoard summaries are written where a log directory is known.
        gradient_estimator: What G averages. 'backprop': |dL/dw| at every optimizer step, for the second order
            (dL/dw)^2, the diagonal of the empirical Fisher matrix, which makes the score Optimal Brain Damage's
            (LeCun et al., 1990). 'weight_delta': the reference's normalised weight changes between mask updates, with
            its score |w| * G for both orders. 'hutchinson', for the second order: the diagonal of the Hessian itself,
            z * Hz with a random vector z of 1 and -1 at every mask update, with the score w^2 * |G|. G takes 4 bytes a
            weight. 'backprop' costs nothing else; 'hutchinson' one more forward and two more backward passes at every
            mask update.
        allocation: 'uniform': each weight tensor has the sparsity asked for. 'global': all weights are ranked together
            and the sparsity holds for their sum. 'erk', Erdős-Rényi-kernel (Evci et al., 2020): the sparsity holds
            for the sum, each weight tensor's density being proportional to the sum of its dimensions over their
            product, so that narrow layers stay denser.
        min_layer_density: Fraction of every weight tensor, in [0, 1), that is kept whatever the ranking says, and one
            weight at the least, so that no layer dies; 0 for no such floor. For `allocation='global'` and 'erk' and
            for groups, whose totals it leaves as they are.
        sparsity_function: Schedule. 'polynomial' and 'cosine' (half a period) rise from `initial_sparsity` to
            `target_sparsity` between the two steps above; 'constant' is at the target from
            `sparsity_function_begin_step` on, 'one_shot' from `sparsity_function_end_step` on, and at
            `initial_sparsity` before.
        include: Regexes over variable paths; weights that one of them matches (`re.search`) are pruned. Empty: the
            kernels (`kernel`, `recurrent_kernel`, `depthwise_kernel`, `pointwise_kernel`) of Dense, EinsumDense,
            convolution and recurrent layers.
        exclude: Regexes over variable paths; a weight that one of them matches is not pruned.
        seed: Seed of the tie-breaking.
        granularity: What is pruned as one: 'element', single weights, or the blocks or runs that other fields ask for;
            'channel', all that shares an index of the last axis: a column of a Dense kernel, a filter of a convolution.
            Take the output layer and depthwise kernels out with `exclude`.
        block_conv: Whether weights of more dimensions have blocks too, as matrices of (all dimensions but the last, the
            last): a convolution kernel is (height * width * in, out).
        n_of_m: 'n:m', such as '2:4': at the target, n of every m weights in a row are kept, along the axis that a
            matrix product sums over, which inference kernels want: inputs of a Dense, input channels of a Conv2D.
            `target_sparsity` must be 1 - n/m.
        regrow: Whether pruned weights come back. '': if the criterion ranks them high enough. 'gradient', RigL (Evci et
            al., 2020): at a mask update a fraction of the units that the criterion would keep makes room for those
            with the largest G, a moving average of |dL/dw| (of its square, for the second order) that pruned weights
            have too; with `gradient_decay_rate=0`, as in RigL, the last |dL/dw|. What comes back has the value that the
            optimizer's step just gave it, coming from zero; what has none stays out, and fewer units make room: the
            sparsity is that of the schedule at all times. Needs `gradient_estimator='backprop'`, 4 bytes a weight for G
            if `prune_option` is 'weight', and weights that are not under `apply_mask`.
        regrow_fraction: RigL's alpha, in (0, 1): with k units to keep, floor(f * k) make room, f falling from
            `regrow_fraction` at `begin_pruning_step` along half a period of a cosine to 0 at `end_pruning_step`, or,
            if that is -1, at the step where the schedule reaches its target: the last that came back must have time to
            learn. What `min_layer_density` keeps never makes room. Under N:M sparsity k counts the weights of a run.

    Raises:
        ValueError: A value is out of range, or two contradict each other.
        TypeError: A value is of the wrong type.
    """

    name: str = "model_pruning"
    begin_pruning_step: int = 0
    end_pruning_step: int = -1
    weight_sparsity_map: tuple[str, ...] = ()
    block_dims_map: tuple[str, ...] = ()
    group_sparsity_map: tuple[str, ...] = ()
    group_block_dims_map: tuple[str, ...] = ()
    group_pruning: bool = False
    threshold_decay: float = 0.0
    pruning_frequency: int = 10
    nbins: int = 256
    block_height: int = 1
    block_width: int = 1
    block_pooling_function: str = "AVG"
    initial_sparsity: float = 0.0
    target_sparsity: float = 0.5
    sparsity_function_begin_step: int = 0
    sparsity_function_end_step: int = 100
    sparsity_function_exponent: float = 3.0
    use_tpu: bool = False
    gradient_decay_rate: float = 0.99
    prune_option: str = "weight"
    intra_block_sparsity: bool = False
    add_summary: bool = True
    gradient_estimator: str = "backprop"
    allocation: str = "uniform"
    min_layer_density: float = 0.0
    sparsity_function: str = "polynomial"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    seed: int = 0
    granularity: str = "element"
    block_conv: bool = False
    n_of_m: str = ""
    regrow: str = ""
    regrow_fraction: float = 0.3

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(field.name, field.type, getattr(self, field.name)))
        self._check_choices()
        self._check_ranges()
        self._check_schedule()
        self._check_supported()
        self._check_granularity()
        for field in dataclasses.fields(self):
            if isinstance(getattr(self, field.name), tuple):
                hparams_string.check_items(field.name, getattr(self, field.name))
        for name in ("include", "exclude"):
            for pattern in getattr(self, name):
                path_map.regex(name, pattern)
        self._check_allocation()
        self._check_regrowth()
        _ = self.weight_sparsities, self.group_sparsities, self.block_dims

    @classmethod
    def for_steps(cls, num_steps: int, **fields: Any) -> "PruningHParams":
        """Hyperparameters for a training of `num_steps` optimizer steps.

        The masks are updated, and the sparsity rises, from 15 % to 60 % of the steps, a hundredth of the steps apart;
        the rest is recovery.

        Args:
            num_steps: Optimizer steps of the whole training, at least 2.
            **fields: Any other field; the step fields too, which then stay as given.

        Raises:
            ValueError: `num_steps` is below 2, or a field is refused.
        """
        num_steps = _typed("num_steps", int, num_steps)
        if num_steps < 2:
            raise ValueError(f"num_steps must be at least 2 to prune while training, got {num_steps}.")
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
                f"pruning_frequency={frequency} leaves no room for two mask updates in {num_steps} steps. "
                f"Lower it to {max(1, num_steps // _UPDATES_PER_TRAINING)} or leave it out."
            )
        return cls(
            **{
                "begin_pruning_step": begin,
                "end_pruning_step": end,
                "pruning_frequency": frequency,
                "sparsity_function_begin_step": begin,
                "sparsity_function_end_step": end,
                **fields,
            }
        )

    @classmethod
    def parse(cls, string: str) -> "PruningHParams":
        """Reads `'name=cifar10,target_sparsity=0.9,weight_sparsity_map=[conv1:0.9,conv.*/kernel:0.8]'`.

        Fields that are not named keep their defaults. `parse(h.to_string()) == h` for every `h`.

        Raises:
            ValueError: The string is not of that form, names an unknown field or names one twice.
            TypeError: It is no string.
        """
        if not isinstance(string, str):
            raise TypeError(f"PruningHParams.parse reads a string, got {string!r} of type {type(string).__name__}.")
        values = {}
        for name, text in hparams_string.split(string):
            values[name] = hparams_string.value_of(name, text, _field_types().get(name, str))
        return cls.from_dict(values)

    def to_string(self) -> str:
        """All fields in the form that `parse` reads."""
        return hparams_string.join(dataclasses.asdict(self))

    __str__ = to_string

    @classmethod
    def from_json(cls, text: str) -> "PruningHParams":
        """Reads the JSON object that `to_json` writes; fields may be left out.

        Raises:
            ValueError: The text is not a JSON object or names an unknown field.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"hparams are not valid JSON ({error}): {text!r}") from error
        if not isinstance(values, dict):
            raise ValueError(f"hparams as JSON must be one object of fields, got {text!r}.")
        return cls.from_dict(values)

    def to_json(self) -> str:
        """All fields as one JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PruningHParams":
        """Builds from field names and values.

        Raises:
            ValueError: A name is not that of a field.
        """
        known = _field_types()
        for name in values:
            if name not in known:
                close = difflib.get_close_matches(str(name), known, n=1)
                hint = f"Did you mean {close[0]!r}?" if close else f"The fields are {', '.join(known)}."
                raise ValueError(f"Unknown pruning hyperparameter {name!r}. {hint}")
        return cls(**values)

    @property
    def uses_gradient(self) -> bool:
        """Whether the criterion, or what comes back, needs the gradient state."""
        return self.prune_option != "weight" or bool(self.regrow)

    @property
    def uses_backprop(self) -> bool:
        """Whether the gradient state is made of the gradients of the loss."""
        return self.uses_gradient and self.gradient_estimator == "backprop"

    @property
    def uses_weight_delta(self) -> bool:
        """Whether the gradient state is made of weight changes."""
        return self.uses_gradient and self.gradient_estimator == "weight_delta"

    @property
    def uses_hessian(self) -> bool:
        """Whether the gradient state is made of second derivatives of the loss."""
        return self.gradient_estimator == "hutchinson"

    @property
    def weight_sparsities(self) -> tuple[tuple[re.Pattern[str], float], ...]:
        """`weight_sparsity_map` as (regex, target sparsity) pairs."""
        return tuple(path_map.sparsity_item("weight_sparsity_map", item) for item in self.weight_sparsity_map)

    @property
    def group_sparsities(self) -> tuple[tuple[re.Pattern[str], float], ...]:
        """`group_sparsity_map` as (regex, target sparsity) pairs."""
        return tuple(path_map.sparsity_item("group_sparsity_map", item) for item in self.group_sparsity_map)

    @property
    def target_step(self) -> int:
        """The step from which the schedule is at its target."""
        if self.sparsity_function == "constant":
            return self.sparsity_function_begin_step
        return self.sparsity_function_end_step

    @property
    def regrow_end_step(self) -> int:
        """The step from which no unit makes room for another."""
        return self.target_step if self.end_pruning_step == -1 else self.end_pruning_step

    @property
    def block_dims(self) -> tuple[tuple[re.Pattern[str], tuple[int, int]], ...]:
        """`block_dims_map` as (regex, (height, width)) pairs."""
        return tuple(path_map.block_item("block_dims_map", item) for item in self.block_dims_map)

    @property
    def run_length(self) -> int:
        """Length m of the runs of N:M sparsity; 0 without."""
        if self.intra_block_sparsity:
            return self.block_width
        return int(self.n_of_m.partition(":")[2]) if self.n_of_m else 0

    def zeros_of_run(self, sparsity: Any) -> Any:
        """How many of `run_length` weights `sparsity` makes zero, floor(m * s), a float; `sparsity` may be a tensor.

        What lies just below a whole number, as 3 * 0.6666 does, counts as that number.
        """
        return (self.run_length * sparsity + _RUN_TOLERANCE) // 1

    def _check_granularity(self) -> None:
        for name in ("block_height", "block_width"):
            if getattr(self, name) < 1 and getattr(self, name) != -1:
                raise ValueError(
                    f"{name} must be a number of weights, or -1 for the whole dimension, got {getattr(self, name)}."
                )
        blocks = (self.block_height, self.block_width) != (1, 1) and not self.intra_block_sparsity
        asked = {
            "granularity='channel'": self.granularity == "channel",
            "block_height, block_width or block_dims_map": blocks or bool(self.block_dims_map),
            f"n_of_m={self.n_of_m!r}": bool(self.n_of_m),
            "intra_block_sparsity=True": self.intra_block_sparsity,
        }
        given = [name for name, wanted in asked.items() if wanted]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other: ask for one of them.")
        if self.intra_block_sparsity and (self.block_width < 2 or self.block_height != 1):
            raise ValueError(
                "intra_block_sparsity=True makes zeros in runs of block_width weights: block_width must be at least 2 "
                f"and block_height 1, got {self.block_width} and {self.block_height}."
            )
        if self.n_of_m:
            match = re.fullmatch(r"(\d+):(\d+)", self.n_of_m)
            if not match or not 0 < int(match[1]) < int(match[2]):
                raise ValueError(f"n_of_m must be 'n:m' with 0 < n < m, such as '2:4', got {self.n_of_m!r}.")
        if self.run_length:
            self._check_runs()

    def _check_runs(self) -> None:
        name = f"n_of_m={self.n_of_m!r}" if self.n_of_m else f"intra_block_sparsity with block_width={self.block_width}"
        length, zeros = self.run_length, round(self.run_length * self.target_sparsity)
        if self.n_of_m:
            zeros = length - int(self.n_of_m.partition(":")[0])
        if abs(length * self.target_sparsity - zeros) > _RUN_TOLERANCE:
            wanted = f"{zeros / length:.6g}" if self.n_of_m else f"a whole number of {length}ths"
            raise ValueError(
                f"{name} gives every run of {length} weights the same number of zeros, which target_sparsity="
                f"{self.target_sparsity} contradicts. Set target_sparsity to {wanted}."
            )
        if self.allocation != "uniform" or self.weight_sparsity_map or self.group_pruning:
            raise ValueError(
                f"{name} gives every run the same sparsity. Use allocation='uniform', and leave out "
                "weight_sparsity_map and groups."
            )

    def _check_choices(self) -> None:
        for name, choices in (
            ("prune_option", PRUNE_OPTIONS),
            ("gradient_estimator", GRADIENT_ESTIMATORS),
            ("allocation", ALLOCATIONS),
            ("sparsity_function", SPARSITY_FUNCTIONS),
            ("block_pooling_function", POOLING_FUNCTIONS),
            ("granularity", GRANULARITIES),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}.")
        if self.uses_hessian and self.prune_option != "second_order_gradient":
            raise ValueError(
                f"gradient_estimator='hutchinson' estimates second derivatives, which prune_option="
                f"{self.prune_option!r} has no use for. Use prune_option='second_order_gradient', or "
                "gradient_estimator='backprop'."
            )
        if not re.fullmatch(r"[\w./-]+", self.name):
            raise ValueError(f"name must be letters, digits and ._/- only, got {self.name!r}.")

    def _check_ranges(self) -> None:
        for name in (
            "initial_sparsity",
            "target_sparsity",
            "threshold_decay",
            "gradient_decay_rate",
            "min_layer_density",
        ):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}.")
        for name in ("begin_pruning_step", "sparsity_function_begin_step"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")
        for name in ("pruning_frequency", "nbins", "sparsity_function_exponent"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")

    def _check_schedule(self) -> None:
        if self.sparsity_function_begin_step >= self.sparsity_function_end_step:
            raise ValueError(
                f"sparsity_function_begin_step ({self.sparsity_function_begin_step}) must be before "
                f"sparsity_function_end_step ({self.sparsity_function_end_step})."
            )
        if self.end_pruning_step == -1:
            return
        if self.end_pruning_step < -1:
            raise ValueError(f"end_pruning_step must be a step, or -1 for no last one, got {self.end_pruning_step}.")
        if self.begin_pruning_step >= self.end_pruning_step:
            raise ValueError(
                f"begin_pruning_step ({self.begin_pruning_step}) must be before end_pruning_step "
                f"({self.end_pruning_step}). Set end_pruning_step to -1 to prune until training stops."
            )
        if self.end_pruning_step < self.target_step:
            name = "begin" if self.sparsity_function == "constant" else "end"
            raise ValueError(
                f"Pruning would stop at end_pruning_step={self.end_pruning_step}, before the sparsity reaches its "
                f"target at sparsity_function_{name}_step={self.target_step}. Set end_pruning_step to "
                f"{self.target_step} or later, or to -1."
            )

    def _check_allocation(self) -> None:
        if self.group_sparsity_map and not self.group_pruning:
            raise ValueError(
                f"group_sparsity_map={list(self.group_sparsity_map)} needs group_pruning=True. Set it, or leave out "
                "the map."
            )
        if self.group_pruning and self.allocation != "uniform":
            raise ValueError(
                f"group_pruning and allocation={self.allocation!r} are two ways to share out the sparsity. Leave "
                "allocation at 'uniform', or group_pruning at False."
            )
        one_group = self.group_pruning and not self.group_sparsity_map
        if self.weight_sparsity_map and (one_group or self.allocation != "uniform"):
            choice = "group_pruning without group_sparsity_map" if one_group else f"allocation={self.allocation!r}"
            raise ValueError(
                f"{choice} gives all weights one sparsity together, so weight_sparsity_map="
                f"{list(self.weight_sparsity_map)} cannot hold. Leave out the map, or "
                + ("write the groups down." if one_group else "use allocation='uniform'.")
            )
        if self.min_layer_density and self.allocation == "uniform" and not self.group_pruning:
            raise ValueError(
                f"min_layer_density={self.min_layer_density} has no effect under allocation='uniform': every layer "
                "keeps what its own sparsity says. Use allocation='global' or 'erk', or group_pruning, or leave it "
                "at 0."
            )

    def _check_regrowth(self) -> None:
        if self.regrow not in REGROWTHS:
            raise ValueError(f"regrow must be 'gradient', or '' for no regrowth, got {self.regrow!r}.")
        if not 0.0 < self.regrow_fraction < 1.0:
            raise ValueError(f"regrow_fraction must be in (0, 1), got {self.regrow_fraction}.")
        if not self.regrow:
            return
        if self.gradient_estimator != "backprop":
            raise ValueError(
                f"regrow={self.regrow!r} ranks by |dL/dw|, which gradient_estimator={self.gradient_estimator!r} does "
                "not average. Use gradient_estimator='backprop'."
            )
        if self.regrow_end_step <= self.begin_pruning_step:
            raise ValueError(
                f"regrow={self.regrow!r} has no step to work at: it begins at begin_pruning_step="
                f"{self.begin_pruning_step} and ends where the sparsity is at its target, at step "
                f"{self.regrow_end_step}. Set end_pruning_step to the step where it is to end."
            )
        kept = self.run_length - self.zeros_of_run(self.target_sparsity)
        if self.run_length and self.regrow_fraction * kept < 1:
            raise ValueError(
                f"regrow_fraction={self.regrow_fraction} of the {kept:.0f} weights that a run of {self.run_length} "
                f"keeps is less than one: none would come back. Set it above {1 / kept:.6g}."
                if kept > 1
                else f"A run of {self.run_length} keeps one weight, which cannot make room for another. Leave out "
                f"regrow={self.regrow!r}, or keep more."
            )

    def _check_supported(self) -> None:
        if self.threshold_decay:
            raise ValueError(
                f"threshold_decay={self.threshold_decay} is not supported: masks are exact, no threshold is smoothed. "
                "Leave it at 0."
            )
        if self.group_block_dims_map:
            raise ValueError(
                f"group_block_dims_map={list(self.group_block_dims_map)} is not supported: block_dims_map names the "
                "blocks of a group's weights too. Leave it empty."
            )


def _field_types() -> dict[str, Any]:
    return {field.name: field.type for field in dataclasses.fields(PruningHParams)}


def _typed(name: str, kind: Any, value: Any) -> Any:
    """`value` as the plain Python type `kind`; NumPy scalars, whole floats and lists are taken, strings are not."""
    if kind is bool:
        if isinstance(value, bool):
            return value
    elif kind is int:
        if isinstance(value, numbers.Integral) and not isinstance(value, bool):
            return int(value)
    elif kind is float:
        if isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif kind is str:
        if isinstance(value, str):
            return value
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)):
        items = tuple(value)
        if all(isinstance(item, str) for item in items):
            return tuple(item for item in items if item)
    wanted = {bool: "True or False", int: "a whole number", float: "a finite number", str: "a string"}
    raise TypeError(
        f"{name} must be {wanted.get(kind, 'a list of strings')}, got {value!r} of type {type(value).__name__}."
    )
