"""Budget: how large, or how slow, the model may be that is pushed, and what models take of it."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, Protocol

from .call_times import CallTimes, in_milliseconds
from .typed_value import checked_value, shown

SAVED_MODEL, GZIPPED, TFLITE, TFLITE_INT8 = FORMATS = ("savedmodel", "savedmodel_gz", "tflite", "tflite_int8")
# What a model takes at least of a budget of bytes, if it can be had: less is needlessly small.
LEAST_USE = 0.95
CHANNEL = "channel"  # the granularity that makes tensors smaller

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]*)\s*")
_BYTES = {"": 1, "B": 1, "kB": 1000, "KB": 1000, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_MILLISECONDS = {"": 1.0, "us": 1e-3, "ms": 1.0, "s": 1e3}


def parsed_bytes(name: str, value: Any) -> int:
    """A size in bytes.

    Args:
        name: Name of the setting, for the error.
        value: A whole number of bytes, or a text such as '1MB', '500 kB', '64KiB' or '1000000'.

    Returns:
        The number of bytes, rounded down.

    Raises:
        TypeError: It is neither a number nor a text.
        ValueError: It has another form or unit, or is less than one byte.

    Example:
        >>> parsed_bytes("max_bytes", "1MB"), parsed_bytes("max_bytes", "1.5 KiB"), parsed_bytes("max_bytes", 500)
        (1000000, 1536, 500)
    """
    found = math.floor(_quantity(name, value, _BYTES, "bytes", "kB, MB, GB, KiB, MiB, GiB", "'1MB' or 1000000"))
    if found < 1:
        raise ValueError(f"{name} must be at least one byte, got {shown(value)}. Write '1MB' for a million bytes.")
    return found


def parsed_milliseconds(name: str, value: Any) -> float:
    """A time in milliseconds.

    Args:
        name: Name of the setting, for the error.
        value: A number of milliseconds, or a text such as '2ms', '500us', '0.1s' or '2'.

    Returns:
        The number of milliseconds.

    Raises:
        TypeError: It is neither a number nor a text.
        ValueError: It has another form or unit, or is not above zero.

    Example:
        >>> parsed_milliseconds("max_latency", "2ms"), parsed_milliseconds("max_latency", "0.1s")
        (2.0, 100.0)
    """
    found = _quantity(name, value, _MILLISECONDS, "milliseconds", "us, ms, s", "'2ms' or 2")
    if not found > 0:
        raise ValueError(f"{name} must be above 0, got {shown(value)}. Write '2ms' for two milliseconds.")
    return found


def _quantity(name: str, value: Any, units: Mapping[str, float], what: str, known: str, example: str) -> float:
    if not isinstance(value, str):
        number = checked_value(name, float, value)
        if number <= 0:
            raise ValueError(f"{name} must be above 0, got {shown(value)}. Write {example}.")
        return number
    match = _NUMBER.fullmatch(value)
    if match is None or match[2] not in units:
        raise ValueError(
            f"{name} must be a number of {what}, alone or with one of {known}, got {shown(value)}. Write {example}."
        )
    return float(match[1]) * units[match[2]]


@dataclasses.dataclass(frozen=True)
class Delivered:
    """How large and slow a model is, in the format of a budget.

    Attributes:
        bytes: Of all its files.
        latency: Of one call; None if it was not measured.
    """

    bytes: int
    latency: CallTimes | None = None

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Delivered":
        """Reads what `dataclasses.asdict` made; raises KeyError or TypeError if it did not."""
        latency = fields["latency"]
        return cls(int(fields["bytes"]), None if latency is None else CallTimes(**latency))


class PruningFields(Protocol):
    """The fields of PruningHParams that decide whether a budget can be met.

    Attributes:
        granularity: See `PruningHParams`, as all that follow.
        n_of_m: See there.
        intra_block_sparsity: See there.
        weight_sparsity_map: See there.
        group_pruning: See there.
    """

    granularity: str
    n_of_m: str
    intra_block_sparsity: bool
    weight_sparsity_map: tuple[str, ...]
    group_pruning: bool


@dataclasses.dataclass(frozen=True)
class Budget:
    """How large or slow a model may be, checked when it is constructed.

    Attributes:
        max_bytes: The most bytes; None for no limit.
        max_latency: The longest that one call may take, the median of many, in milliseconds; None for no limit.
        format: What is measured: 'savedmodel', the folder of the stripped SavedModel, all its files;
            'savedmodel_gz', the same as one .tar.gz; 'tflite' or 'tflite_int8', a TFLite file.
        batch_size: How many examples one call has.
        threads: How many threads one call may take.

    Raises:
        ValueError: There is no limit, the format is unknown, a number is below 1, or a latency is asked for of a file
            that cannot be called.
        TypeError: A value is of the wrong type.
    """

    max_bytes: int | None = None
    max_latency: float | None = None
    format: str = SAVED_MODEL
    batch_size: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        if self.max_bytes is None and self.max_latency is None:
            raise ValueError("A budget needs max_bytes, max_latency or both, got neither. Write max_bytes='1MB'.")
        if self.max_bytes is not None:
            object.__setattr__(self, "max_bytes", parsed_bytes("max_bytes", self.max_bytes))
        if self.max_latency is not None:
            object.__setattr__(self, "max_latency", parsed_milliseconds("max_latency", self.max_latency))
        if self.format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {shown(self.format)}.")
        for name in ("batch_size", "threads"):
            if checked_value(name, int, getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")

    @property
    def export(self) -> str | None:
        """The export of Stripper that is measured; None for the SavedModel itself."""
        return self.format if self.format in (TFLITE, TFLITE_INT8) else None

    @property
    def needs_channels(self) -> bool:
        """Whether zeros alone help nothing: whole channels have to go."""
        return self.max_latency is not None or self.format != GZIPPED

    def check_hparams(self, hparams: PruningFields) -> None:
        """Raises a ValueError if the zeros that pruning hyperparameters ask for make no model smaller or faster."""
        if self.needs_channels and hparams.granularity != CHANNEL:
            what = f"max_bytes of the format {self.format!r}" if self.max_latency is None else "max_latency"
            raise ValueError(
                f"{what} needs granularity='channel', got {hparams.granularity!r}: single zeros take as much room and "
                "time as other numbers. Leave granularity out, or limit the compressed model, format='savedmodel_gz'."
            )
        for name in ("n_of_m", "intra_block_sparsity", "weight_sparsity_map", "group_pruning"):
            if getattr(hparams, name):
                raise ValueError(
                    f"A budget and {name} exclude each other: both say how much of a weight goes. Leave one of them "
                    "out."
                )

    def use(self, delivered: Delivered) -> float:
        """How much of the budget a model takes: 1 for all, more if it is over it. Of two limits, the one that binds."""
        uses = []
        if self.max_bytes is not None:
            uses.append(delivered.bytes / self.max_bytes)
        if self.max_latency is not None and delivered.latency is not None:
            uses.append(delivered.latency.median / self.max_latency)
        return max(uses, default=0.0)

    def failures(self, delivered: Delivered) -> tuple[str, ...]:
        """What a model has too much of, one sentence each; empty if the budget holds."""
        found = []
        if self.max_bytes is not None and delivered.bytes > self.max_bytes:
            found.append(
                f"the {self.format} takes {delivered.bytes:,} bytes, allowed are {self.max_bytes:,}: max_bytes="
                f"{delivered.bytes} would take it"
            )
        if self.max_latency is not None:
            if delivered.latency is None:
                found.append("its latency was not measured")
            elif delivered.latency.median > self.max_latency:
                found.append(
                    f"one call takes {delivered.latency.in_words()}, allowed are {in_milliseconds(self.max_latency)}: "
                    f"max_latency={math.ceil(delivered.latency.median * 1e3) / 1e3:g}ms would take it"
                )
        return tuple(found)

    def is_wasted(self, delivered: Delivered) -> bool:
        """Whether a model is needlessly small: it takes less than 95 % of the bytes, and time does not bind."""
        if self.max_bytes is None or self.failures(delivered):
            return False
        timed = self.max_latency is not None and self.use(delivered) > delivered.bytes / self.max_bytes
        return not timed and delivered.bytes < LEAST_USE * self.max_bytes

    def in_words(self) -> str:
        """The budget as text: 'at most 1 MB as tflite, at most 2 ms a call of 1 example on 1 thread'."""
        found = [] if self.max_bytes is None else [f"at most {self.max_bytes:,} bytes as {self.format}"]
        if self.max_latency is not None:
            of = "" if self.max_bytes is not None else f" as {self.format}"
            found.append(f"at most {in_milliseconds(self.max_latency)} a call{of}, with {self.conditions}")
        return ", ".join(found)

    @property
    def conditions(self) -> str:
        """How calls are made, as text: '8 examples on 1 thread'."""
        examples = "1 example" if self.batch_size == 1 else f"{self.batch_size} examples"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{examples} on {threads}"


@dataclasses.dataclass(frozen=True)
class BudgetVerdict:
    """A model against a budget.

    Attributes:
        budget: The budget.
        dense: What the dense model takes.
        delivered: What the pruned model takes.
    """

    budget: Budget
    dense: Delivered
    delivered: Delivered

    @property
    def failures(self) -> tuple[str, ...]:
        """What the pruned model has too much of, one sentence each; empty if the budget holds."""
        return self.budget.failures(self.delivered)

    def rows(self) -> tuple[tuple[str, str, str, str], ...]:
        """A row for each limit: what it is of, the budget, the dense model's and the pruned model's."""
        found = []
        if self.budget.max_bytes is not None:
            sizes = (self.budget.max_bytes, self.dense.bytes, self.delivered.bytes)
            found.append((f"bytes of the {self.budget.format}", *(f"{each:,}" for each in sizes)))
        if self.budget.max_latency is not None:
            times = [each.latency.in_words() if each.latency else "" for each in (self.dense, self.delivered)]
            what = f"a call of the {self.budget.format} with {self.budget.conditions}"
            found.append((what, in_milliseconds(self.budget.max_latency), *times))
        return tuple(found)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "BudgetVerdict":
        """Reads what `dataclasses.asdict` made; raises KeyError or TypeError if it did not."""
        return cls(
            Budget(**fields["budget"]),
            Delivered.from_dict(fields["dense"]),
            Delivered.from_dict(fields["delivered"]),
        )
