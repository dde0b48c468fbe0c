"""Int8Simulation: the layers of a model compute with rounded kernels and inputs while it is trained."""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from ..hparams import PruningHParams
from ..int8_rounding import rounded_activation, rounded_weight, straight_through
from ..pruning import Pruning
from ..weight_state import tf_variable
from .watched_batch import WatchedBatch

_DENSE: Mapping[str, Sequence[int]] = {"kernel": (-1,)}
_TRANSPOSED: Mapping[str, Sequence[int]] = {"kernel": (-2,)}
_DEPTHWISE: Mapping[str, Sequence[int]] = {"depthwise_kernel": (-2, -1)}
_SEPARABLE: Mapping[str, Sequence[int]] = {**_DEPTHWISE, "pointwise_kernel": (-1,)}
_EINSUM = "EinsumDense"
# By class of either Keras: the axes of each kernel that have scales of their own in TFLite's file. Those of EinsumDense
# are in its equation.
_CHANNEL_AXES: Mapping[str, Mapping[str, Sequence[int]]] = {
    "Dense": _DENSE,
    **dict.fromkeys(("Conv1D", "Conv2D"), _DENSE),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose"), _TRANSPOSED),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _DEPTHWISE),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _SEPARABLE),
}
_KERAS = ("keras.src.", "tf_keras.src.")


class Int8Simulation:
    """Rounds the kernels of a model, and what its layers multiply by them, in the steps of its training.

    It takes the place of the layers' `call`, and works while `train_step` runs. The variables keep their values, and
    all other calls of the model are plain.
    """

    def __init__(self, hparams: PruningHParams, batch: WatchedBatch, step: tf.Variable) -> None:
        """Takes the model of a batch.

        Args:
            hparams: The hyperparameters.
            batch: Tells whether `train_step` runs.
            step: Optimizer steps so far, int64 scalar.
        """
        self._hparams = hparams
        self._batch = batch
        self._step = step
        # Layers, and what covered their call before, by id; and all layers that were covered so far.
        self._covered: dict[int, tuple[Any, Any]] = {}
        self._known: dict[int, Any] = {}
        self._warned = False

    @contextlib.contextmanager
    def covering(self) -> Iterator[None]:
        """Inside this context the layers that `cover` was called for are covered; after it they have their own call."""
        try:
            yield
        finally:
            for layer, call in self._covered.values():
                del layer.__dict__["call"]
                if call is not None:
                    layer.__dict__["call"] = call
            self._covered.clear()

    def cover(self) -> None:
        """Covers the layers that the model has now.

        Raises:
            ValueError: A layer does not compute in float32.
        """
        for layer in self._batch.model._flatten_layers():
            if id(layer) not in self._covered and _axes_by_kernel(layer):
                _check_float32(layer)
                self._known[id(layer)] = layer
                self._covered[id(layer)] = layer, layer.__dict__.get("call")
                # In __dict__: the layer's __setattr__ would track it.
                layer.__dict__["call"] = self._rounding(layer, layer.call)

    def check_covered(self, pruning: Pruning) -> None:
        """Warns, after the first step, of pruned weights that are not rounded.

        Raises:
            ValueError: No layer is rounded, or one was made after the step was traced.
        """
        model = self._batch.model
        layers = [layer for layer in model._flatten_layers() if _axes_by_kernel(layer)]
        late = [layer.name for layer in layers if id(layer) not in self._known]
        if late:
            raise ValueError(
                f"quantize={self._hparams.quantize!r} came too late for {', '.join(late)} of {model.name!r}, made when "
                "the first step was traced. Build the model before fit, or make its layers in __init__."
            )
        if not layers:
            raise ValueError(
                f"quantize={self._hparams.quantize!r} finds nothing to round in {model.name!r}: it rounds in Keras's "
                "own Dense, EinsumDense and 1-D and 2-D convolution layers. Use them, or leave out quantize."
            )
        kernels = {id(tf_variable(_kernel(layer, name)[1])) for layer in layers for name in _axes_by_kernel(layer)}
        others = [
            path for path, state in zip(pruning.paths, pruning.states, strict=True) if id(state.weight) not in kernels
        ]
        if others and not self._warned:
            self._warned = True
            warnings.warn(
                f"quantize={self._hparams.quantize!r} does not round {', '.join(others)}: it rounds in Keras's own "
                "Dense, EinsumDense and 1-D and 2-D convolution layers. Compare the accuracy of the exported file.",
                stacklevel=2,
            )

    def warn_if_unused(self, step: int) -> None:
        """Warns, when the training is over after so many steps, if none of them was rounded."""
        first = self._hparams.first_quantized_step
        if step < first:
            warnings.warn(
                f"quantize={self._hparams.quantize!r} has rounded nothing: the training of {self._batch.model.name!r} "
                f"ended at step {step}, and would have been rounded from step {first} on. Train longer, or set "
                "quantize_begin_step.",
                stacklevel=2,
            )

    def _rounding(self, layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        @tf.autograph.experimental.do_not_convert
        def rounding_call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if self._batch.data is None:
                return call(inputs, *args, **kwargs)
            is_on = tf.convert_to_tensor(self._step) + 1 >= self._hparams.first_quantized_step
            if isinstance(inputs, tf.Tensor) and inputs.dtype.is_floating:
                inputs = straight_through(inputs, rounded_activation, is_on)
            with contextlib.ExitStack() as stack:
                for name, axes in _axes_by_kernel(layer).items():
                    attribute, kernel = _kernel(layer, name)
                    rounding = functools.partial(rounded_weight, channel_axes=axes)
                    rounded = straight_through(tf.convert_to_tensor(kernel), rounding, is_on)
                    stack.enter_context(_replaced(layer, attribute, rounded))
                return call(inputs, *args, **kwargs)

        return rounding_call


def _axes_by_kernel(layer: Any) -> Mapping[str, Sequence[int]]:
    """The kernels that are rounded in a layer, by name, and their channel axes; none of a layer with its own `call`."""
    if not type(layer).call.__module__.startswith(_KERAS):
        return {}
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None) is not None:
        return {}
    names = [kind.__name__ for kind in type(layer).__mro__ if kind.__module__.startswith(_KERAS)]
    if _EINSUM in names:
        factors, output = layer.equation.split("->")
        return {"kernel": [axis for axis, letter in enumerate(factors.split(",")[1].strip()) if letter in output]}
    return next((_CHANNEL_AXES[name] for name in names if name in _CHANNEL_AXES), {})


def _kernel(layer: Any, name: str) -> tuple[str, Any]:
    """The attribute that holds a kernel, and the variable."""
    names = (f"_{name}", name, "kernel")  # Keras 3 calls a depthwise kernel `kernel`
    return next((each, layer.__dict__[each]) for each in names if layer.__dict__.get(each) is not None)


@contextlib.contextmanager
def _replaced(layer: Any, attribute: str, value: tf.Tensor) -> Iterator[None]:
    covered = layer.__dict__[attribute]
    layer.__dict__[attribute] = value
    try:
        yield
    finally:
        layer.__dict__[attribute] = covered


def _check_float32(layer: Any) -> None:
    if layer.compute_dtype != "float32":
        raise ValueError(
            f"quantize='int8' is for layers that compute in float32, and {layer.name!r} computes in "
            f"{layer.compute_dtype}, which cannot tell the codes of int8 apart. Train with the policy 'float32', or "
            "leave out quantize."
        )
