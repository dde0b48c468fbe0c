"""A task of a benchmark in a process of its own: its seconds, and the most memory that it took."""

import os
import pathlib
import subprocess
import sys


def run_measured(script: str, task: str, folder: str, *options: str) -> tuple[float, int]:
    """Runs a task of a script, on the CPU; the task ends with `report_measured`.

    Args:
        script: Path of the script.
        task: Name of the task.
        folder: What the task works in.
        options: Further arguments of the script.

    Returns:
        The seconds that the task reported, and the process's peak memory in bytes.

    Raises:
        RuntimeError: The process failed; the message ends with what it printed.
    """
    run = subprocess.run(
        [sys.executable, script, "--task", task, folder, *options],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    if run.returncode:
        what = " ".join([task, *options])
        raise RuntimeError(f"{what} failed with exit status {run.returncode}:\n{run.stderr[-4000:]}")
    seconds, peak = run.stdout.split()[-2:]
    return float(seconds), int(peak)


def report_measured(seconds: float) -> None:
    """Prints what `run_measured` reads."""
    peak = next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(seconds, 1024 * int(peak.split()[1]))
