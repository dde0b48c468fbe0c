"""The formats that a stripped model is exported in, beside the SavedModel."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

FROZEN_GRAPH = "frozen_graph"
KERAS_WEIGHTS = "keras_weights"


@dataclasses.dataclass(frozen=True)
class TFLiteOptions:
    """How a TFLite file holds its weights.

    Attributes:
        weights: 'float32', 'float16', 'dynamic_int8' (weights int8, activations float32) or 'int8' (both, inputs and
            outputs stay as the signature has them).
        sparse: Whether weights with many zeros are stored sparsely.
        default_kernels: Whether TensorFlow's interpreter runs the file as it is set up by default, with XNNPACK. If
            not, it needs the resolver BUILTIN_WITHOUT_DEFAULT_DELEGATES.
    """

    weights: Literal["float32", "float16", "dynamic_int8", "int8"] = "float32"
    sparse: bool = False
    default_kernels: bool = True


@dataclasses.dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: Its name.
        file: Name of the file that is written.
        tolerance: The largest difference from the stripped model's answers, as `export_model` measures it; None where
            each bit must agree.
        tflite: How the file holds its weights, if it is a TFLite one.
    """

    name: str
    file: str
    tolerance: float | None = None
    tflite: TFLiteOptions | None = None

    @property
    def needs_examples(self) -> bool:
        """Whether the format cannot be written without real examples: those that set the range of each activation."""
        return self.tflite is not None and self.tflite.weights == "int8"


def _tflite(name: str, tolerance: float, options: TFLiteOptions) -> Format:
    return Format(name, f"{name.replace('tflite', 'model', 1)}.tflite", tolerance, options)


FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format(FROZEN_GRAPH, "frozen_graph.pb"),
        # Not '.weights.h5', a name by which Keras 3 knows files laid out by the classes of layers.
        Format(KERAS_WEIGHTS, "keras_weights.h5"),
        _tflite("tflite", 1e-3, TFLiteOptions()),
        _tflite("tflite_sparse", 1e-3, TFLiteOptions(sparse=True)),
        _tflite("tflite_float16", 2e-2, TFLiteOptions("float16")),
        _tflite("tflite_sparse_float16", 2e-2, TFLiteOptions("float16", sparse=True)),
        _tflite("tflite_dynamic_int8", 0.25, TFLiteOptions("dynamic_int8")),
        _tflite("tflite_sparse_dynamic_int8", 0.25, TFLiteOptions("dynamic_int8", sparse=True, default_kernels=False)),
        _tflite("tflite_int8", 0.25, TFLiteOptions("int8")),
        _tflite("tflite_sparse_int8", 0.25, TFLiteOptions("int8", sparse=True)),
    )
}


def chosen_formats(names: Sequence[str]) -> tuple[Format, ...]:
    """The formats of these names, in the order given.

    Raises:
        TypeError: `names` is a single string.
        ValueError: A name is unknown, or given twice.
    """
    if isinstance(names, str):
        raise TypeError(f"export is the string {names!r}, expected a sequence of format names, such as [{names!r}].")
    for index, name in enumerate(names):
        if name not in FORMATS:
            raise ValueError(f"export has the unknown format {name!r}, expected some of {', '.join(FORMATS)}.")
        if name in names[:index]:
            raise ValueError(f"export has the format {name!r} twice; name each once.")
    return tuple(FORMATS[name] for name in names)


def refuse_tolerance(value: float | None) -> None:
    """Raises a ValueError if `value` is no possible tolerance."""
    if value is not None and not value > 0:
        raise ValueError(
            f"export_tolerance is {value}, expected a number above 0: the largest difference of an answer over the "
            "largest answer; None for each format's own."
        )
