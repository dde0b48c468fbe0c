"""Times models by turns, in this process: `python -m tfx_pruning.budget_fit.timing` reads a task and prints the times.

It is a process of its own because TensorFlow's threads cannot be changed once it has run anything. Standard input is a
JSON object: `models`, paths by name; `format`, one of those of a budget; `signature`; `inputs`, a file of numpy.savez;
`threads`; `warm_up` and `calls`, numbers of calls of each model; `seconds`, after which no more turns begin. Standard
output ends with a line of JSON: by name, the milliseconds of each call.
"""

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ..call_times import milliseconds_by_turns


def main() -> None:
    """Reads the task, times the models, and prints the times."""
    task = json.load(sys.stdin)
    tf.config.threading.set_intra_op_parallelism_threads(task["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(task["threads"])
    with np.load(task["inputs"], allow_pickle=True) as file:
        inputs = dict(file)
    tflite = task["format"].startswith("tflite")
    calls = {
        name: (_tflite if tflite else _saved_model)(path, task["signature"], inputs, task["threads"])
        for name, path in task["models"].items()
    }
    print(json.dumps(milliseconds_by_turns(calls, task["warm_up"], task["calls"], task["seconds"])))


def _saved_model(path: str, signature: str, inputs: Mapping[str, np.ndarray], threads: int) -> Callable[[], Any]:
    del threads  # of the whole process
    loaded = tf.saved_model.load(path)
    function = loaded.signatures[signature]
    specs = function.structured_input_signature[1]
    tensors = {
        name: tf.constant(value.tolist() if value.dtype == object else value, specs[name].dtype)
        for name, value in inputs.items()
    }

    def call(model: Any = loaded) -> Any:  # which holds the variables
        return [each.numpy() for each in function(**tensors).values()]

    return call


def _tflite(path: str, signature: str, inputs: Mapping[str, np.ndarray], threads: int) -> Callable[[], Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*tf\.lite\.Interpreter is deprecated")
        interpreter = tf.lite.Interpreter(model_path=path, num_threads=threads)
    runner = interpreter.get_signature_runner(signature)
    return lambda: runner(**inputs)


if __name__ == "__main__":
    main()
