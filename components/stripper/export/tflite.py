"""The formats of TFLite: a signature as a TFLite file."""

import contextlib
import dataclasses
import functools
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

from ..check.signature_inputs import Inputs
from .answer_difference import Answers
from .exported_signature import ExportedSignature
from .exporter import TWO_GIBIBYTES, AnsweringExporter

_UNSUPPORTED = re.compile(r"^(?:TF Select|Flex|Custom) ops: (.+)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class TFLiteOptions:
    """How a TFLite file holds its weights.

    Attributes:
        weights: 'float32', 'float16', 'dynamic_int8' (weights int8, activations float32) or 'int8' (both int8, but
            inputs and outputs keep the signature's dtypes).
        sparse: Whether weights with many zeros are stored sparsely.
    """

    weights: Literal["float32", "float16", "dynamic_int8", "int8"] = "float32"
    sparse: bool = False


class TFLiteExporter(AnsweringExporter):
    """Writes a TFLite file with the signature under its name."""

    limit_bytes = TWO_GIBIBYTES

    def __init__(self, file: str, tolerance: float, options: TFLiteOptions) -> None:
        """Makes the exporter.

        Args:
            file: Name of the file.
            tolerance: The largest difference from the model's answers.
            options: How the file holds its weights.
        """
        self.file = file
        self.tolerance = tolerance
        self.needs_examples = options.weights == "int8"
        self._options = options

    def content(self, model: ExportedSignature) -> bytes:
        """Converts the signature; examples set the ranges of int8 activations."""
        inputs = model.inputs
        if self.needs_examples and not inputs.real:
            raise ValueError(
                f"The format {self.name!r} needs examples, which set the range of its activations, and the signature "
                f"{model.signature_name!r} takes none of those given. They must be what a signature of the model "
                "parses whose outputs have the names of its inputs, or hold features of these names: "
                f"{', '.join(model.function.structured_input_signature[1])}."
            )
        return convert(model.model.folder, model.signature_name, self._options, inputs.batches)

    def runner(self, content: bytes, model: ExportedSignature) -> Callable[[Inputs], Answers]:
        """Sets up the interpreter that users have, with its default delegates."""
        return TFLiteModel(content, model.signature_name)


FLOAT32 = TFLiteExporter("model.tflite", 1e-3, TFLiteOptions())
SPARSE = TFLiteExporter("model_sparse.tflite", 1e-3, TFLiteOptions(sparse=True))
FLOAT16 = TFLiteExporter("model_float16.tflite", 2e-2, TFLiteOptions("float16"))
SPARSE_FLOAT16 = TFLiteExporter("model_sparse_float16.tflite", 2e-2, TFLiteOptions("float16", sparse=True))
DYNAMIC_INT8 = TFLiteExporter("model_dynamic_int8.tflite", 0.25, TFLiteOptions("dynamic_int8"))
SPARSE_DYNAMIC_INT8 = TFLiteExporter(
    "model_sparse_dynamic_int8.tflite", 0.25, TFLiteOptions("dynamic_int8", sparse=True)
)
INT8 = TFLiteExporter("model_int8.tflite", 0.25, TFLiteOptions("int8"))
SPARSE_INT8 = TFLiteExporter("model_sparse_int8.tflite", 0.25, TFLiteOptions("int8", sparse=True))


def convert(model: str, signature: str, options: TFLiteOptions, examples: Sequence[Inputs] = ()) -> bytes:
    """Converts one signature of a SavedModel.

    Args:
        model: Folder of a SavedModel whose graph restores its variables, as that of a stripped one does.
        signature: Name of the signature.
        options: How the file holds its weights.
        examples: Inputs that set the ranges of activations, for weights 'int8'.

    Returns:
        The file's content; it has the signature, under its name.

    Raises:
        ValueError: TFLite has no kernel for an operation, or cannot convert the signature for another reason.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(model, signature_keys=[signature])
    converter.optimizations = []
    if options.sparse:
        converter.optimizations.append(tf.lite.Optimize.EXPERIMENTAL_SPARSITY)
    if options.weights != "float32":
        converter.optimizations.append(tf.lite.Optimize.DEFAULT)
    if options.weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if options.weights == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]

        def representative() -> Iterator[dict[str, np.ndarray]]:
            for inputs in examples:
                yield {name: value.numpy() for name, value in inputs.items()}

        converter.representative_dataset = representative
    try:
        with _no_deprecation_warning():
            return converter.convert()
    except Exception as error:  # the converter raises ConverterError, RuntimeError, ValueError, ...
        raise ValueError(_explanation(signature, str(error))) from error


def _explanation(signature: str, message: str) -> str:
    operations = sorted({name for found in _UNSUPPORTED.findall(message) for name in re.split(r",\s*", found.strip())})
    if operations:
        return (
            f"The signature {signature!r} cannot be a TFLite file: TFLite has no kernels for {', '.join(operations)}. "
            "Save the model with a signature that takes numeric features and none of these, and name it with "
            "export_signature."
        )
    if "to be static" in message:
        return (
            f"The signature {signature!r} cannot be a TFLite file: TFLite runs its loops, such as those of recurrent "
            "layers, for shapes that are known only. Save the model with a signature whose inputs have a fixed batch "
            "size, such as tf.TensorSpec([1, ...]), and name it with export_signature."
        )
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return (
        f"The signature {signature!r} cannot be a TFLite file: {lines[0] if lines else 'the converter gave no reason'}."
    )


@contextlib.contextmanager
def _no_deprecation_warning() -> Iterator[None]:
    """Silences the warning that the interpreter moves to another package. The one here comes with TensorFlow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*tf\.lite\.Interpreter is deprecated")
        yield


class TFLiteModel:
    """A TFLite file that can be called, in the interpreter as it is set up by default, with XNNPACK."""

    def __init__(self, content: bytes, signature: str) -> None:
        """Sets up the interpreter at the first call."""
        self._content = content
        self._signature = signature

    def __call__(self, inputs: Inputs) -> Answers:
        """The outputs by name.

        Raises:
            RuntimeError: The interpreter cannot run the file, or a kernel fails.
        """
        values = {name: value.numpy() for name, value in inputs.items()}
        try:
            return self._default_runner(**values)
        except RuntimeError as error:
            try:
                self._runner(tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)(**values)
            except RuntimeError:
                raise error from None
            raise RuntimeError(
                f"the interpreter refuses it as it is set up by default, with XNNPACK ({error}); without default "
                "delegates it would run. Of formats with int8 weights, 'tflite_dynamic_int8' and, with examples, "
                "'tflite_int8' and 'tflite_sparse_int8' run by default"
            ) from error

    @functools.cached_property
    def _default_runner(self) -> Callable[..., Answers]:
        return self._runner(tf.lite.experimental.OpResolverType.AUTO)

    def _runner(self, kernels: tf.lite.experimental.OpResolverType) -> Callable[..., Answers]:
        with _no_deprecation_warning():
            interpreter = tf.lite.Interpreter(model_content=self._content, experimental_op_resolver_type=kernels)
        return interpreter.get_signature_runner(self._signature)
