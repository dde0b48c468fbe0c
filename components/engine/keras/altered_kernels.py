"""AlteredKernel: a kernel that its layer does not multiply by as it is: LoRA adds to it, or it is quantized."""

import dataclasses
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from ..hparams import PruningHParams
from ..name_pattern import name_pattern
from ..pruning import Pruning
from ..weight_names import weight_names
from ..weight_state import Weight, path_of, tf_variable
from .version import Model

# Modes of quantization that leave a float kernel, which is trained and saved.
_WITH_FLOAT_KERNEL = frozenset(("float8",))


@dataclasses.dataclass(frozen=True)
class AlteredKernel:
    """The kernel of a layer of Keras 3 with LoRA, or of a quantized one.

    Attributes:
        path: Its path: the layer's, and 'kernel' or 'embeddings'.
        weight: The variable that the layer keeps it in.
        mode: The mode of quantization, such as 'int8'; None with LoRA alone.
        lora: Whether the layer adds the product of two matrices to the kernel.
        changed: Whether that product is not zero, as it is when LoRA is enabled and not trained yet.
    """

    path: str
    weight: Weight
    mode: str | None
    lora: bool
    changed: bool

    @property
    def how(self) -> str:
        """What the layer does, as a predicate of the kernel."""
        quantized = f"is quantized to {self.mode}"
        added = "has the product of LoRA's matrices added to it"
        return " and ".join([quantized] * (self.mode is not None) + [added] * self.lora)

    @property
    def mend(self) -> str:
        """How to come by a kernel that is as sparse as it was pruned."""
        if self.mode is not None:
            return "Quantize after pruning: the stripped model (see the tflite exports), or a copy of the model."
        return (
            "Save the weights with save_weights, which merges LoRA into the kernel, load them into a model without "
            "LoRA, and prune that."
        )

    @property
    def is_dense(self) -> bool:
        """Whether what the layer multiplies by keeps no zeros of a kernel in float."""
        return self.lora or self.mode not in _WITH_FLOAT_KERNEL


def altered_kernels(model: Model) -> list[AlteredKernel]:
    """The kernels and embeddings of a model that have LoRA or are quantized; none in a model of tf_keras."""
    if not isinstance(model, keras.Model):
        return []
    return [found for layer in model._flatten_layers() for found in _of_layer(layer)]


def pruned_and_altered(model: Model, pruning: Pruning) -> dict[str, AlteredKernel]:
    """The pruned weights whose zeros their layers no longer multiply by, by their names of `Pruning.paths`.

    Also those that a layer has given up for a quantized kernel.
    """
    kernels = [kernel for kernel in altered_kernels(model) if kernel.is_dense]
    if not kernels:
        return {}
    known = {id(tf_variable(each.weight)): each for each in kernels}
    quantized = {each.path: each for each in kernels if each.mode is not None}
    held = {id(tf_variable(weight)) for weight in model.variables}
    found = {}
    for name, state in zip(pruning.paths, pruning.states, strict=True):
        kernel = known.get(id(state.weight))
        if kernel is None and id(state.weight) not in held:
            kernel = quantized.get(state.path)
        if kernel is not None:
            found[name] = kernel
    return found


def check_not_altered(model: Model, pruning: Pruning) -> None:
    """Raises if a layer no longer multiplies by a kernel that is pruned already.

    Raises:
        ValueError: LoRA was enabled, or the layer was quantized, since the last step.
    """
    for name, kernel in pruned_and_altered(model, pruning).items():
        raise ValueError(
            f"{name} was pruned, and {kernel.how} since: what its layer multiplies by would not have the sparsity "
            f"asked for, and training was not begun. {kernel.mend}"
        )


def warn_of_altered_kernels(model: Model, hparams: PruningHParams) -> None:
    """Warns of kernels asked for that pruning leaves dense, or counts before they are rounded.

    They are what `hparams.include` names, or without it the kernels, but not embeddings; in each case without what
    `hparams.exclude` names.
    """
    kernels = altered_kernels(model)
    known = {id(tf_variable(weight)): weight for weight in model.weights} if kernels else {}
    names = dict(zip(known, weight_names(list(known.values()), model), strict=True))
    dense: dict[tuple[str, str], list[str]] = {}
    for kernel in kernels:
        name = names[id(tf_variable(kernel.weight))]
        asked = _matches(hparams.include, name) if hparams.include else name.endswith("kernel")
        if not asked or _matches(hparams.exclude, name):
            continue
        if kernel.is_dense:
            dense.setdefault((kernel.how, kernel.mend), []).append(name)
        else:
            warnings.warn(
                f"{name} {kernel.how}: its sparsity is that of the float kernel, and what its layer multiplies "
                "by is rounded. Prune first and quantize then, to count what is used.",
                stacklevel=2,
            )
    for (how, mend), paths in dense.items():
        warnings.warn(
            f"Pruning leaves dense: {', '.join(paths)}, which {how}. {mend} Or name them in exclude.", stacklevel=2
        )


def _matches(patterns: Iterable[str], path: str) -> bool:
    return any(name_pattern(pattern).search(path) for pattern in patterns)


def _of_layer(layer: Any) -> Iterator[AlteredKernel]:
    lora = bool(getattr(layer, "lora_enabled", False))
    mode = getattr(layer, "quantization_mode", None)
    if not lora and mode is None:
        return
    for name in ("kernel", "embeddings"):
        weight = getattr(layer, f"_{name}", None)
        if isinstance(weight, keras.Variable):
            changed = lora and bool(np.any(getattr(layer, f"lora_{name}_b").numpy()))
            yield AlteredKernel(path_of(weight), weight, mode, lora, changed)
            return
    if isinstance(getattr(layer, "quantized_kernel", None), keras.Variable):  # of gptq and awq
        yield AlteredKernel(f"{layer.path}/kernel", layer.quantized_kernel, mode, lora, changed=False)
