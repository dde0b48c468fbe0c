"""HParamsFields: the fields of PruningHParams, and what follows from them."""

import dataclasses
from typing import Any

from . import path_map
from .choices import SCHEDULES
from .name_pattern import NamePattern
from .sensitivity_curve import SensitivityCurve
from .update_steps import UpdateSteps

# How far m * sparsity may lie from a whole number of zeros in a run of m weights.
RUN_TOLERANCE = 0.01


@dataclasses.dataclass(frozen=True)
class HParamsFields:
    """The fields, unchecked. `PruningHParams` tells what each means, and is what is used."""

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
    cost: str = "parameters"
    channel_multiple: int = 1
    block_conv: bool = False
    n_of_m: str = ""
    regrow: str = ""
    regrow_fraction: float = 0.3
    distill_weight: float = 0.0
    temperature: float = 3.0
    distill_loss: str = ""
    quantize: str = ""
    quantize_begin_step: int = -1
    sensitivity_map: tuple[str, ...] = ()

    @property
    def weight_sparsities(self) -> tuple[tuple[NamePattern, float], ...]:
        """`weight_sparsity_map` as (regex, target sparsity) pairs."""
        return tuple(path_map.sparsity_item("weight_sparsity_map", item) for item in self.weight_sparsity_map)

    @property
    def group_sparsities(self) -> tuple[tuple[NamePattern, float], ...]:
        """`group_sparsity_map` as (regex, target sparsity) pairs."""
        return tuple(path_map.sparsity_item("group_sparsity_map", item) for item in self.group_sparsity_map)

    @property
    def sensitivity_curves(self) -> tuple[tuple[NamePattern, SensitivityCurve], ...]:
        """`sensitivity_map` as (regex, curve) pairs."""
        return tuple(path_map.curve_item("sensitivity_map", item) for item in self.sensitivity_map)

    @property
    def target_step_field(self) -> str:
        """The field that holds `target_step`."""
        return f"sparsity_function_{SCHEDULES.get(self.sparsity_function).reaches_target_at}_step"

    @property
    def target_step(self) -> int:
        """The step from which the schedule is at its target."""
        return getattr(self, self.target_step_field)

    @property
    def mask_updates(self) -> UpdateSteps:
        """The steps at which masks may be updated."""
        return UpdateSteps(self.begin_pruning_step, self.end_pruning_step, self.pruning_frequency)

    @property
    def regrow_end_step(self) -> int:
        """The step from which no unit makes room for another."""
        return self.target_step if self.end_pruning_step == -1 else self.end_pruning_step

    @property
    def first_quantized_step(self) -> int:
        """The first optimizer step whose forward pass is rounded, with `quantize`."""
        if self.quantize_begin_step == -1:
            return max(self.target_step, self.begin_pruning_step) + 1
        return self.quantize_begin_step

    @property
    def block_dims(self) -> tuple[tuple[NamePattern, tuple[int, int]], ...]:
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
        return (self.run_length * sparsity + RUN_TOLERANCE) // 1
