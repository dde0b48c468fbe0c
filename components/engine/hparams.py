"""PruningHParams: every choice that pruning takes, in one frozen object."""

import dataclasses
import difflib
import json
import math
import numbers
import re
from collections.abc import Iterable, Mapping
from typing import Any

from . import hparams_string

PRUNE_OPTIONS = ("weight", "first_order_gradient", "second_order_gradient")
GRADIENT_ESTIMATORS = ("backprop", "weight_delta")
ALLOCATIONS = ("uniform", "global")
POOLING_FUNCTIONS = ("AVG", "MAX")

# Where `for_steps` puts the ramp, as fractions of the training steps: a model first learns which weights matter, and
# recovers after the last weight has gone.
_RAMP_BEGIN = 0.15
_RAMP_END = 0.6
_UPDATES_PER_TRAINING = 100


@dataclasses.dataclass(frozen=True)
class PruningHParams:
    """Hyperparameters of pruning. Refused at construction when wrong.

    The names and defaults are those of google-research `model_pruning`; `gradient_estimator`, `allocation`, `include`,
    `exclude` and `seed` are new. Steps are optimizer steps, sparsities are fractions in [0, 1).

    Attributes:
        name: Name of the run; prefixes the TensorBoard summaries.
        begin_pruning_step: First step at which masks may be updated.
        end_pruning_step: Last step at which masks may be updated; -1 for no last step.
        weight_sparsity_map: `regex:sparsity` items. A weight whose path a regex matches (`re.search`) has that target
            in place of `target_sparsity`.
        block_dims_map: `regex:HxW` items. Must be empty: this version prunes single weights.
        group_sparsity_map: `group:sparsity` items. Must be empty: this version has no groups.
        group_block_dims_map: `group:HxW` items. Must be empty: this version has no groups.
        group_pruning: Must be False: this version has no groups; `allocation='global'` ranks all weights together.
        threshold_decay: Must be 0: masks are exact, no threshold is smoothed.
        pruning_frequency: Steps between two mask updates.
        nbins: Read for the sake of the reference's strings; selection is exact and has no bins.
        block_height: Must be 1: this version prunes single weights.
        block_width: Must be 1: this version prunes single weights.
        block_pooling_function: 'AVG' or 'MAX'.
        initial_sparsity: Sparsity at `sparsity_function_begin_step`.
        target_sparsity: Sparsity from `sparsity_function_end_step` on.
        sparsity_function_begin_step: Step at which the sparsity begins to rise.
        sparsity_function_end_step: Step at which the sparsity reaches the target.
        sparsity_function_exponent: Exponent of the polynomial; 1 is a line, 3 the cubic of Zhu and Gupta (2017).
        use_tpu: Read for the sake of the reference's strings; the ops are chosen by where they are compiled.
        gradient_decay_rate: Decay d of the moving average G <- d * G + (1 - d) * sample, in [0, 1).
        prune_option: Criterion: 'weight' |w|, 'first_order_gradient' |w| * G, 'second_order_gradient' w^2 * G.
        intra_block_sparsity: Must be False: this version has no N:M sparsity.
        add_summary: Whether TensorBoard summaries are written where a log directory is known.
        gradient_estimator: What G averages. 'backprop': |dL/dw| at every optimizer step, for the second order
            (dL/dw)^2, the diagonal of the empirical Fisher matrix, which makes the score Optimal Brain Damage's
            (LeCun et al., 1990). 'weight_delta': the reference's normalised weight changes between mask updates, with
            its score |w| * G for both orders.
        allocation: 'uniform': each weight tensor has the sparsity asked for. 'global': all weights are ranked together
            and the sparsity holds for their sum.
        include: Regexes over variable paths; weights that one of them matches (`re.search`) are pruned. Empty: the
            kernels (`kernel`, `recurrent_kernel`, `depthwise_kernel`, `pointwise_kernel`) of Dense, EinsumDense,
            convolution and recurrent layers.
        exclude: Regexes over variable paths; a weight that one of them matches is not pruned.
        seed: Seed of the tie-breaking.

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
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(field.name, field.type, getattr(self, field.name)))
        self._check_choices()
        self._check_ranges()
        self._check_schedule()
        self._check_supported()
        for field in dataclasses.fields(self):
            if isinstance(getattr(self, field.name), tuple):
                hparams_string.check_items(field.name, getattr(self, field.name))
        for name in ("include", "exclude"):
            for pattern in getattr(self, name):
                _regex(name, pattern)
        if self.allocation == "global" and self.weight_sparsity_map:
            raise ValueError(
                f"allocation='global' ranks all weights together, so weight_sparsity_map="
                f"{list(self.weight_sparsity_map)} cannot hold. Use allocation='uniform' or leave out the map."
            )
        _ = self.weight_sparsities

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
        """Whether the criterion needs the gradient state."""
        return self.prune_option != "weight"

    @property
    def uses_backprop(self) -> bool:
        """Whether the criterion needs the gradients of the loss."""
        return self.uses_gradient and self.gradient_estimator == "backprop"

    @property
    def weight_sparsities(self) -> tuple[tuple[re.Pattern[str], float], ...]:
        """`weight_sparsity_map` as (regex, target sparsity) pairs."""
        return tuple(_mapped_sparsity("weight_sparsity_map", item) for item in self.weight_sparsity_map)

    def _check_choices(self) -> None:
        for name, choices in (
            ("prune_option", PRUNE_OPTIONS),
            ("gradient_estimator", GRADIENT_ESTIMATORS),
            ("allocation", ALLOCATIONS),
            ("block_pooling_function", POOLING_FUNCTIONS),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}.")
        if not re.fullmatch(r"[\w./-]+", self.name):
            raise ValueError(f"name must be letters, digits and ._/- only, got {self.name!r}.")

    def _check_ranges(self) -> None:
        for name in ("initial_sparsity", "target_sparsity", "threshold_decay", "gradient_decay_rate"):
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
        if self.end_pruning_step < self.sparsity_function_end_step:
            raise ValueError(
                f"Pruning would stop at end_pruning_step={self.end_pruning_step}, before the sparsity reaches its "
                f"target at sparsity_function_end_step={self.sparsity_function_end_step}. Set end_pruning_step to "
                f"{self.sparsity_function_end_step} or later, or to -1."
            )

    def _check_supported(self) -> None:
        only = {
            "block_dims_map": (),
            "group_sparsity_map": (),
            "group_block_dims_map": (),
            "group_pruning": False,
            "threshold_decay": 0.0,
            "block_height": 1,
            "block_width": 1,
            "intra_block_sparsity": False,
        }
        for name, value in only.items():
            if getattr(self, name) != value:
                wanted = list(value) if isinstance(value, tuple) else value
                got = getattr(self, name)
                raise ValueError(
                    f"{name}={list(got) if isinstance(got, tuple) else got} is not supported: this version prunes "
                    f"single weights, by layer or globally. Leave {name} at {wanted}."
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


def _regex(name: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{name} holds {pattern!r}, which is not a regular expression: {error}.") from error


def _mapped_sparsity(name: str, item: str) -> tuple[re.Pattern[str], float]:
    pattern, colon, text = item.rpartition(":")
    try:
        sparsity = float(text)
    except ValueError:
        sparsity = math.nan
    if not colon or not pattern or not 0.0 <= sparsity < 1.0:
        raise ValueError(f"{name} items are 'regex:sparsity' with a sparsity in [0, 1), got {item!r}.")
    return _regex(name, pattern), sparsity
