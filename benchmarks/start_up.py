"""Start of the command line: CPU seconds of a whole call on a small model, and when its first output comes.

Each call is a process of its own, on a terminal as a user has it. With --old, the calls of another build take turns
with those of this one: the folder of a checkout, such as `git worktree add` makes, whose requirements this environment
has.
"First output" is the first byte on the terminal: seconds that have passed, and CPU seconds of the process until then.

Exit status 1 if a bar is missed: with --old a strip takes at most .6 of the other build's CPU seconds; a strip's first
output comes after at most 1 CPU second.
"""

import argparse
import os
import pathlib
import pty
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _table import publish

_SCRIPT = pathlib.Path(sys.executable).with_name("tfx-pruning")
_UNITS = 64
_STRIP = "strip"
_MOST_OF_OLD, _MOST_UNTIL_OUTPUT = 0.6, 1.0
# Of each call: CPU seconds, seconds until the first output, CPU seconds until then.
_Call = tuple[float, float, float]


def main() -> int:
    """Times the calls, prints the table, and judges it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=pathlib.Path, metavar="FOLDER", help="another checkout to compare with")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each call (default: 5)")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        _make(arguments.make)
        return 0
    if arguments.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {arguments.rounds}.")
    if arguments.old and not (arguments.old / "components" / "cli").is_dir():
        parser.error(f"--old must be a checkout of this repository, got {arguments.old}, which has no components/cli.")
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "model")
        subprocess.run([sys.executable, __file__, "--make", model], check=True, capture_output=True)
        builds = {"this build": dict(os.environ)}
        if arguments.old:
            builds = {"old build": _environment(arguments.old, folder), **builds}
        calls = {_STRIP: [_STRIP, model, f"{folder}/stripped", "--overwrite"], "inspect": ["inspect", model]}
        found = _measured(calls, builds, arguments.rounds)
    return _published(found, list(builds), arguments.rounds)


def _environment(checkout: pathlib.Path, folder: str) -> dict[str, str]:
    """Environment variables with which a process imports another build."""
    path = pathlib.Path(folder, "path")
    path.mkdir()
    (path / "tfx_pruning").symlink_to(checkout.absolute() / "components")
    return {**os.environ, "PYTHONPATH": str(path)}


def _measured(
    calls: Mapping[str, Sequence[str]], builds: Mapping[str, Mapping[str, str]], rounds: int
) -> dict[tuple[str, str], _Call]:
    """Medians by call and build; the first turn, which fills the page cache, does not count."""
    found: dict[tuple[str, str], list[_Call]] = {(call, build): [] for call in calls for build in builds}
    for turn in range(rounds + 1):
        for call, arguments in calls.items():
            for build, environment in builds.items():
                figures = _timed([str(_SCRIPT), *arguments], environment)
                if turn:
                    found[call, build].append(figures)
                print(f"{call}, {build}: {figures}", file=sys.stderr, flush=True)
    return {
        key: (statistics.median(cpu), statistics.median(seconds), statistics.median(cpu_until))
        for key, (cpu, seconds, cpu_until) in ((key, zip(*each, strict=True)) for key, each in found.items())
    }


def _timed(command: Sequence[str], environment: Mapping[str, str]) -> _Call:
    """Runs a command on a terminal.

    Raises:
        RuntimeError: It failed.
    """
    ours, terminal = pty.openpty()
    printed, until = b"", None
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    while True:
        try:
            more = os.read(ours, 4096)
        except OSError:  # what Linux says when the other side is closed
            more = b""
        if not more:
            break
        until = until or (time.perf_counter() - start, _cpu_seconds(process.pid))
        printed += more
    os.close(ours)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or until is None:
        raise RuntimeError(f"{command} ended with {process.returncode}:\n{printed.decode()[-4000:]}")
    return usage.ru_utime + usage.ru_stime, *until


def _cpu_seconds(process: int) -> float:
    fields = pathlib.Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _published(found: Mapping[tuple[str, str], _Call], builds: Sequence[str], rounds: int) -> int:
    first = builds[0]
    rows = [
        [f"{call}, {build}", *(f"{figure:.2f}" for figure in figures), f"{figures[0] / found[call, first][0]:.2f}"]
        for (call, build), figures in found.items()
    ]
    verdicts = [("CPU seconds until a strip's first output", found[_STRIP, builds[-1]][2], _MOST_UNTIL_OUTPUT)]
    if len(builds) > 1:
        ratio = found[_STRIP, builds[-1]][0] / found[_STRIP, first][0]
        verdicts.append(("CPU seconds of a strip over those of the old build", ratio, _MOST_OF_OLD))
    publish(
        "start_up",
        "Start of the command line",
        ["call", "CPU s", "first output, s", "first output, CPU s", f"CPU s / {first}"],
        rows,
        [
            *(
                f"{'pass' if figure <= most else 'FAIL'}: {what}: {figure:.2f}, at most {most} was wanted."
                for what, figure, most in verdicts
            ),
            f"Medians of {rounds} turns, files in the page cache. The model has two Dense layers of {_UNITS} units.",
        ],
    )
    return int(any(figure > most for _, figure, most in verdicts))


def _make(folder: str) -> None:
    import keras
    import tensorflow as tf

    from tfx_pruning import PruningHParams, pruning_scope

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8,)), *(keras.layers.Dense(_UNITS, "relu") for _ in range(2))])
    model.compile("adam", "mse")
    with pruning_scope(PruningHParams.for_steps(4, target_sparsity=0.9)):
        model.fit(tf.random.normal([32, 8]), tf.zeros([32, _UNITS]), batch_size=8, verbose=0)
    serve = tf.function(lambda x: {"y": model(x)}, input_signature=[tf.TensorSpec([None, 8], name="x")])
    tf.saved_model.save(model, folder, signatures={"serving_default": serve})


if __name__ == "__main__":
    sys.exit(main())
