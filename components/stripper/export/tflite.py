"""A signature as a TFLite file."""

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from ..check.signature_inputs import Inputs
from .formats import TFLiteOptions

_UNSUPPORTED = re.compile(r"^(?:TF Select|Flex|Custom) ops: (.+)$", re.MULTILINE)


def convert(model: str, signature: str, options: TFLiteOptions, examples: Sequence[Inputs] = ()) -> bytes:
    """Converts one signature of a SavedModel.

    Args:
        model: Folder of the SavedModel, which must be one that is restored by its graph: a stripped one is.
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
    """Silences the warning that the interpreter moves to another package; this one comes with TensorFlow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*tf\.lite\.Interpreter is deprecated")
        yield


class TFLiteModel:
    """A TFLite file that can be called."""

    def __init__(self, content: bytes, signature: str, options: TFLiteOptions) -> None:
        """Sets up an interpreter with the kernels that the file needs.

        Raises:
            RuntimeError: The interpreter does not take the file.
        """
        types = tf.lite.experimental.OpResolverType
        kernels = types.AUTO if options.default_kernels else types.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        with _no_deprecation_warning():
            interpreter = tf.lite.Interpreter(model_content=content, experimental_op_resolver_type=kernels)
        self._runner = interpreter.get_signature_runner(signature)

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
        """The outputs by name.

        Raises:
            RuntimeError: A kernel fails.
        """
        return self._runner(**{name: value.numpy() for name, value in inputs.items()})
