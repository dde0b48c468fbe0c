"""ModelTimer: how long calls of models take, measured by turns in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from ..budget import Budget
from ..call_times import CallTimes
from ..saved_model import loading
from ..saved_model.saved_objects import SavedObjects
from ..stripper.export.inputs import chosen_signature, inputs_of

_DEFAULT_SIGNATURE = "serving_default"
_WARM_UP = 20
_CALLS = 400
_SECONDS = 10.0
_TIMEOUT_SECONDS = 600.0


class ModelTimer:
    """Times models of one interface: the dense one, and pruned copies of it.

    Attributes:
        signature: Name of the signature that is called: 'serving_default' of a SavedModel, or that which is exported.
    """

    def __init__(self, model: str, budget: Budget, examples: Sequence[bytes] | None = None) -> None:
        """Makes a batch for the calls: of examples if there are any that the signature takes, or else drawn.

        Args:
            model: Folder of the SavedModel; a TFLite file is called with inputs of its signature.
            budget: What is called, with how many examples, on how many threads.
            examples: Serialized records.

        Raises:
            ValueError: The signature takes no inputs that can be made, or its batches have another, fixed size.
        """
        self._budget = budget
        saved = SavedObjects.read(model)
        names = [name for name in saved.meta_graph.signature_def if not name.startswith("__")]
        served = _DEFAULT_SIGNATURE if budget.export is None and _DEFAULT_SIGNATURE in names else None
        self.signature = chosen_signature(saved, served)
        loaded = loading.load(saved)
        inputs = inputs_of(saved, loaded, self.signature, examples)
        self._inputs = _batch(inputs.batches[-1], budget.batch_size)
        self._check_taken(loaded.signatures[self.signature], model)

    def latencies(self, models: Mapping[str, str], most_calls: int = _CALLS) -> dict[str, CallTimes]:
        """Times models by turns.

        Args:
            models: Paths of artifacts of the budget's format, by name.
            most_calls: How often each is called and timed, at most: no more calls begin after ten seconds.

        Returns:
            By name, how long a call takes.

        Raises:
            RuntimeError: The process that times them failed; the message ends with what it printed.
        """
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "inputs.npz")
            np.savez(file, **self._inputs)
            task = {
                "models": dict(models),
                "format": self._budget.format,
                "signature": self.signature,
                "inputs": file,
                "threads": self._budget.threads,
                "warm_up": _WARM_UP,
                "calls": most_calls,
                "seconds": _SECONDS,
            }
            run = subprocess.run(
                [sys.executable, "-m", "tfx_pruning.budget_fit.timing"],
                input=json.dumps(task),
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                # Models are timed on the processor, as threads are.
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
            )
        if run.returncode:
            raise RuntimeError(
                f"The latency of {', '.join(models)} cannot be measured: the process that calls them ended with exit "
                f"status {run.returncode}. Its output ends with:\n{run.stderr[-2000:]}"
            )
        times = json.loads(run.stdout.splitlines()[-1])
        return {name: CallTimes.of(values) for name, values in times.items()}

    def _check_taken(self, signature: tf.types.experimental.ConcreteFunction, model: str) -> None:
        specs = signature.structured_input_signature[1]
        for name in self._inputs:
            fixed = specs[name].shape[0] if specs[name].shape.rank else None
            if fixed is not None and fixed != self._budget.batch_size:
                raise ValueError(
                    f"batch_size is {self._budget.batch_size}, but the signature {self.signature!r} of {model!r} takes "
                    f"batches of {fixed} alone. Give batch_size={fixed}, or save the model with an open batch size."
                )


def _batch(inputs: Mapping[str, tf.Tensor], size: int) -> dict[str, np.ndarray]:
    """The first examples of a batch, repeated if there are fewer than `size`."""
    found = {}
    for name, tensor in inputs.items():
        value = np.asarray(tensor.numpy())
        found[name] = np.resize(value, (size, *value.shape[1:])) if value.ndim else value
    return found
