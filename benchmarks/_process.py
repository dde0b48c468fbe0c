"""A peer's task in a process of its own: arrays and options in, arrays out."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
Task = Callable[[Arrays, Mapping[str, Any]], Arrays]


def in_own_process(
    script: str, task: str, arrays: Arrays, options: Mapping[str, Any], timeout: float = 3600
) -> dict[str, np.ndarray]:
    """Runs one task of a script that ends with `run_task`, on the CPU, with Keras 2 as `tf.keras`.

    Args:
        script: Path of the script.
        task: Name of the task.
        arrays: What the task is given.
        options: JSON-able options.
        timeout: Seconds after which the process is killed.

    Returns:
        What the task found.

    Raises:
        RuntimeError: The process failed; the message ends with what it printed.
        subprocess.TimeoutExpired: It took longer than `timeout`.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, found = pathlib.Path(folder, "given.npz"), pathlib.Path(folder, "found.npz")
        np.savez(given, **arrays)
        run = subprocess.run(
            [sys.executable, script, task, str(given), str(found), json.dumps(options)],
            env={**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if run.returncode:
            name = pathlib.Path(script).name
            raise RuntimeError(f"{name} {task} failed with exit status {run.returncode}:\n{run.stderr[-4000:]}")
        with np.load(found) as arrays_found:
            return dict(arrays_found)


def run_task(tasks: Mapping[str, Task]) -> None:
    """The other side: runs the task that the command line names."""
    parser = argparse.ArgumentParser(description="Runs one task for the benchmarks; they start it themselves.")
    parser.add_argument("task", choices=list(tasks))
    parser.add_argument("given", type=pathlib.Path, help=".npz file")
    parser.add_argument("found", type=pathlib.Path, help=".npz file to write")
    parser.add_argument("options", type=json.loads, help="JSON")
    arguments = parser.parse_args()
    with np.load(arguments.given) as arrays:
        np.savez(arguments.found, **tasks[arguments.task](dict(arrays), arguments.options))
