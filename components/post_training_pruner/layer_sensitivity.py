"""Sensitivity: how much worse a model gets as one of its layers is pruned, for each layer."""

import dataclasses
import json
import re
from typing import Any

from ..engine.hparams import PruningHParams
from ..engine.ranking.allocation import allocation
from ..engine.sensitivity_curve import SensitivityCurve
from ..typed_value import shown

_ALLOCATION = "sensitivity"


@dataclasses.dataclass(frozen=True)
class LayerSensitivity:
    """What pruning one weight costs, while all others stay dense.

    Attributes:
        path: Its name.
        shape: Its shape.
        units: How many single weights, or blocks, it is pruned in.
        bytes: Size of its elements.
        multiply_adds: What it takes for one example, in matrix products and convolutions; None if that is not seen.
        repaired: Whether the weights that are kept were repaired.
        measured: Pairs of a sparsity and what was measured there.
    """

    path: str
    shape: tuple[int, ...]
    units: int
    bytes: int
    multiply_adds: int | None
    repaired: bool
    measured: tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """What `tfx_pruning.sensitivity` measured.

    Attributes:
        measure: What was measured: a loss, such as 'softmax_cross_entropy'; 'output', the mean of an output that is the
            loss; or 'distance' of the answers from those of the dense model, squared, over the squares of these.
        dense: The same of the dense model.
        prune_option: The criterion that chose the weights.
        signature: Name of the signature that answered the examples.
        num_examples: How many examples it answered.
        layers: Each pruned weight, in the order of the model.
    """

    measure: str
    dense: float
    prune_option: str
    signature: str
    num_examples: int
    layers: tuple[LayerSensitivity, ...]

    def curve(self, layer: LayerSensitivity) -> SensitivityCurve:
        """The rise above the dense model's measure, by sparsity."""
        return SensitivityCurve(tuple((sparsity, found - self.dense) for sparsity, found in layer.measured))

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of `PruningHParams` by which zeros go where they cost least: `allocation`, `sensitivity_map`."""
        return {
            "allocation": _ALLOCATION,
            "sensitivity_map": tuple(f"^{_escaped(each.path)}$:{self.curve(each).text}" for each in self.layers),
        }

    def layer_sparsities(self, target_sparsity: float) -> dict[str, float]:
        """The sparsity that each weight gets, by its path, if that of all together is `target_sparsity`.

        Raises:
            ValueError: It is outside [0, 1), or above what was measured.
        """
        hparams = PruningHParams(target_sparsity=target_sparsity, **self.fields)
        units = [each.units for each in self.layers]
        found = allocation(hparams, [each.path for each in self.layers], [each.shape for each in self.layers], units)
        kept = found.kept(hparams.target_step)
        return {each.path: 1.0 - int(count) / each.units for each, count in zip(self.layers, kept, strict=True)}

    def to_json(self) -> str:
        """All of it as one JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Sensitivity":
        """Reads what `to_json` wrote; other keys, as `tfx-pruning sensitivity --json` has, are ignored.

        Raises:
            ValueError: It is no such JSON.
        """
        try:
            values = json.loads(text)
            layers = tuple(
                LayerSensitivity(
                    str(each["path"]),
                    tuple(map(int, each["shape"])),
                    int(each["units"]),
                    int(each["bytes"]),
                    None if each["multiply_adds"] is None else int(each["multiply_adds"]),
                    bool(each["repaired"]),
                    tuple((float(sparsity), float(found)) for sparsity, found in each["measured"]),
                )
                for each in values["layers"]
            )
            return cls(
                str(values["measure"]),
                float(values["dense"]),
                str(values["prune_option"]),
                str(values["signature"]),
                int(values["num_examples"]),
                layers,
            )
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(
                f"Expected the JSON of Sensitivity.to_json or `tfx-pruning sensitivity --json`, got "
                f"{shown(text)} ({type(error).__name__}: {error})."
            ) from error


def _escaped(path: str) -> str:
    return re.escape(path).replace(",", r"\,")
