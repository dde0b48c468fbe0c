"""What is left when a process is killed at a random moment: models, sources, trainings and pipelines.

Every trial ends a process by SIGKILL, SIGTERM or Ctrl-C, looks at what is there, does the same again without a signal,
and looks again. Strips and trainings run in forks of one process, from the moment when everything is imported;
`tfx-pruning run` is a process of its own.

Exit status 1 if a model is half there or other than without the signal, a source has changed, something is left behind
after the next run, or a command ends with another exit status or other words than documented. Files that Keras's
own BackupAndRestore cannot read, and what TFX's own Pusher leaves, are counted only.
"""

import argparse
import collections
import contextlib
import functools
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
from _killed import BACKUPS, EPOCHS, PUSHERS, STEPS, push, save_source, train, trained
from _kills import SIGNALS, End, checksums, forked, started
from _table import publish

_PAGE = "reliability.md"
_TABLES = ("strips", "pushes", "trainings", "runs")
_COMMANDS = {
    "strip": [],
    "strip, overwriting": ["--overwrite"],
    "strip --shrink": ["--shrink"],
    "strip with exports": ["--export", "tflite", "--export", "frozen_graph"],
}
# Its files differ from strip to strip in nothing but these: names of functions, and a random number.
_NOT_EQUAL = ("saved_model.pb", "fingerprint.pb")
_RUN = ["--train-steps", "20", "--pruning-steps", "40", "--min-metric", "0.01", "--max-metric-drop", "0.9"]
# A little longer than it takes, as no two take equally long.
_LATEST = 1.05
# Before, Python itself is loading.
_IMPORTED, _FORKED = 2.0, 0.01

# States of executions in ML Metadata.
_NEW, _RUNNING, _FAILED = 1, 2, 4

_Counts = collections.Counter[str]


def main() -> int:
    """Runs everything, prints the tables, and judges them; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=_TABLES, default=_TABLES, help="(default: all)")
    parser.add_argument("--trials", type=int, default=10, help="of each strip and training, by signal (default: 10)")
    parser.add_argument("--run-trials", type=int, default=1, help="of `tfx-pruning run`, by signal (default: 1)")
    parser.add_argument("--units", type=int, default=128, help="of the two hidden layers (default: 128)")
    parser.add_argument("--seed", type=int, default=7, help="of the moments (default: 7)")
    arguments = parser.parse_args()
    if min(arguments.trials, arguments.run_trials) < 1:
        parser.error(f"trials must be at least 1, got {arguments.trials} and {arguments.run_trials}.")
    moments = random.Random(arguments.seed)
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if "strips" in arguments.only:
            failures += _strips(folder, arguments.units, arguments.trials, moments)
        if "pushes" in arguments.only:
            failures += _pushes(folder, arguments.units, arguments.trials, moments)
        if "trainings" in arguments.only:
            failures += _trainings(folder, arguments.units, arguments.trials, moments)
        if "runs" in arguments.only:
            failures += _runs(folder, arguments.run_trials, moments)
    return int(failures > 0)


def _strips(folder: pathlib.Path, units: int, trials: int, moments: random.Random) -> int:
    _import_all()
    source = folder / "source"
    _check(forked(lambda: save_source(source, units)))
    unharmed = checksums(source)
    found: dict[str, _Counts] = {}
    for name, options in _COMMANDS.items():
        expected = _strip(source, folder / "whole", options)
        whole, seconds = checksums(folder / "whole"), expected.seconds
        for place, number in SIGNALS.items():
            counts = found[f"{name}, {place}"] = _Counts(trials=trials)
            for _ in range(trials):
                delay = moments.uniform(_FORKED, _LATEST * seconds)
                counts += _strip_trial(source, folder / "trial", options, number, delay, whole)
                counts["source changed"] += checksums(source) != unharmed
        shutil.rmtree(folder / "whole")
    columns = {
        "trials": None,
        "done before": None,
        "new, whole": None,
        "as before": None,
        "half": 0,
        "source changed": 0,
        "left behind": 0,
        "wrong after the next run": 0,
        "left after the next run": 0,
        "wrong status or words": 0,
    }
    notes = [
        "Done before: the command had ended when the signal came. New, whole: at the destination, and at that of the "
        "exports, are the files of a strip without a signal, with equal values. As before: nothing is there, or, "
        "overwriting, the former folder, or after SIGKILL its copy under a hidden name, which the next run puts back.",
        "Left behind: hidden folders beside the destination, which only SIGKILL may leave.",
        f"An MLP of 20, {units}, {units} and 10 units, a quarter of them dead, with Adam's moments and pruning state.",
    ]
    return _publish("strips", "Commands that are killed", "command, signal", columns, found, notes, _of_strip)


def _of_strip(name: str, column: str) -> bool:
    # Who is killed cannot clean up.
    return column != "left behind" or not name.endswith("SIGKILL")


def _strip_trial(
    source: pathlib.Path,
    folder: pathlib.Path,
    options: Sequence[str],
    number: signal.Signals,
    delay: float,
    whole: Mapping[str, str],
) -> _Counts:
    old = {}
    if "--overwrite" in options:
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "old").write_text("old", encoding="utf-8")
        old = checksums(folder)
    end = _strip(source, folder, options, number, delay)
    counts = _Counts()
    there = checksums(folder)
    hidden = {name for name in there if name.startswith(".")}
    hidden |= {each.name for each in folder.glob(".*")} if folder.exists() else set()
    shown = {name: sum_ for name, sum_ in there.items() if name not in hidden}
    counts["done before"] += not end.was_sent
    # The model appears after its exports; a signal between the two leaves those.
    complete = _is_equal(shown, whole)
    before = shown == old or (not shown and number == signal.SIGKILL and any("/old" in name for name in hidden))
    of_exports = not complete and _is_equal(shown, {k: v for k, v in whole.items() if not k.startswith("model/")})
    kind = "new, whole" if complete else "as before" if before or (of_exports and shown) else "half"
    counts[kind] += 1
    counts["left behind"] += bool(hidden)
    counts["wrong status or words"] += not end.is_in_order(number)
    if kind == "half" or not end.is_in_order(number) or (hidden and number != signal.SIGKILL):
        print(f"{options} {number.name} after {delay:.2f} s: {end} {sorted(there)}", file=sys.stderr, flush=True)
    again = _strip(source, folder, [*options, *([] if "--overwrite" in options else ["--overwrite"])])
    counts["wrong after the next run"] += again.status != 0 or not _is_equal(checksums(folder), whole)
    counts["left after the next run"] += any(folder.glob(".*"))
    shutil.rmtree(folder)
    return counts


def _strip(
    source: pathlib.Path,
    folder: pathlib.Path,
    options: Sequence[str],
    number: signal.Signals | None = None,
    delay: float = 0.0,
) -> End:
    from tfx_pruning.cli.main import cli

    arguments = ["strip", str(source), str(folder / "model"), *options]
    if "--export" in options:
        arguments += ["--export-dir", str(folder / "exports")]
    folder.mkdir(exist_ok=True)
    end = forked(lambda: cli(arguments, prog_name="tfx-pruning"), number, delay)
    return end if number else _check(end)


def _is_equal(found: Mapping[str, str], whole: Mapping[str, str]) -> bool:
    return found.keys() == whole.keys() and all(
        found[name] == whole[name] for name in whole if pathlib.Path(name).name not in _NOT_EQUAL
    )


def _pushes(folder: pathlib.Path, units: int, trials: int, moments: random.Random) -> int:
    _import_all()
    import tfx.v1  # noqa: F401

    import tfx_pruning.pipelines.pusher_executor  # noqa: F401

    model = folder / "pushed" / "Format-Serving"
    _check(forked(lambda: save_source(model, units)))
    whole = checksums(model)
    found: dict[str, _Counts] = {}
    for pusher in PUSHERS:
        for place, number in SIGNALS.items():
            counts = found[f"{pusher}, {place}"] = _Counts(trials=trials)
            for _ in range(trials):
                counts += _push_trial(
                    folder / "push", functools.partial(push, model.parent, pusher), number, moments, whole
                )
    columns = {
        "trials": None,
        "done before": None,
        "whole version": None,
        "none": None,
        "half version": 0,
        "left behind": 0,
        "wrong after the next push": 0,
        "left after the next push": 0,
    }
    notes = [
        "Whole version: the folder of a new version has the model's files, with equal bytes. None: there is no such "
        "folder. Half version: it has others. Left: half versions, and hidden folders, which SIGKILL may leave.",
        "The moments are spread evenly over the time that a push takes, which is measured before each. What TFX's own "
        "leaves is counted only.",
        f"{sum(file.stat().st_size for file in model.rglob('*') if file.is_file()):,} bytes in {len(whole)} files.",
    ]
    return _publish("pushes", "Pushes that are killed", "Pusher, signal", columns, found, notes, _of_push)


def _of_push(name: str, column: str) -> bool:
    is_own = name.startswith(PUSHERS[0])
    return is_own and (column != "left behind" or not name.endswith("SIGKILL"))


def _push_trial(
    folder: pathlib.Path,
    push: Callable[[pathlib.Path], float],
    number: signal.Signals,
    moments: random.Random,
    whole: Mapping[str, str],
) -> _Counts:
    counts = _Counts()
    # How long it takes varies more than where in it the signal comes, so each trial has a measure of its own.
    end = forked(functools.partial(push, folder / "other"))
    seconds = _check(end).seconds
    end = forked(functools.partial(push, folder), number, moments.uniform(_FORKED, _LATEST) * seconds)
    versions = [checksums(each) for each in folder.glob("[0-9]*")]
    half = [each for each in versions if each != whole]
    counts["done before"] += not end.was_sent
    counts["half version" if half else "whole version" if versions else "none"] += 1
    counts["left behind"] += bool(half) or any(folder.glob(".*"))
    again = forked(functools.partial(push, folder))
    versions = [checksums(each) for each in folder.glob("[0-9]*")]
    counts["wrong after the next push"] += again.status != 0 or whole not in versions
    counts["left after the next push"] += any(each != whole for each in versions) or any(folder.glob(".*"))
    shutil.rmtree(folder)
    return counts


def _trainings(folder: pathlib.Path, units: int, trials: int, moments: random.Random) -> int:
    _import_all()
    found: dict[str, _Counts] = {}
    for backup in BACKUPS:
        training = functools.partial(train, folder / "training", units, backup)
        seconds = _check(forked(training)).seconds
        expected = trained(folder / "training")
        for place, number in SIGNALS.items():
            counts = found[f"{backup}, {place}"] = _Counts(trials=trials)
            for _ in range(trials):
                counts += _training_trial(folder / "training", training, number, moments, seconds, expected)
    columns = {
        "trials": None,
        "done before": None,
        "resumed": None,
        "began anew": None,
        "equal masks": None,
        "equal weights": None,
        "other": 0,
        "failed in Keras's file": None,
        "failed": 0,
        "left behind": 0,
    }
    notes = [
        "A training that was killed is begun again once. Masks, gradient states, weights, Adam's moments and the step "
        "are compared bit for bit with a training that was not killed. Other: one of them differs.",
        "Failed in Keras's file: BackupAndRestore, which backs up after each epoch, could not read the file that it "
        "was writing when it was killed, in spite of its `double_checkpoint=True`.",
        f"An MLP of 20, {units}, {units} and 1 units, {EPOCHS} epochs of {STEPS} steps, first order, 80 % at the "
        "end. PruningTrainer's backup is written every 3 steps.",
    ]
    return _publish("trainings", "Trainings that are killed", "backup, signal", columns, found, notes, _of_training)


def _of_training(name: str, column: str) -> bool:
    # Keras writes weights and epoch to two files, one after the other.
    return column != "other" or not name.startswith(BACKUPS[0])


def _training_trial(
    folder: pathlib.Path,
    training: Callable[[], object],
    number: signal.Signals,
    moments: random.Random,
    seconds: float,
    expected: Mapping[str, np.ndarray],
) -> _Counts:
    shutil.rmtree(folder, ignore_errors=True)
    end = forked(training, number, moments.uniform(0, _LATEST) * seconds)
    counts = _Counts()
    if end.status == 0:
        counts["done before"] += 1
    else:
        again = forked(training)
        if again.status:
            of_keras = "backup_and_restore.py" in again.errors
            counts["failed in Keras's file" if of_keras else "failed"] += 1
            print(again.errors[-2000:], file=sys.stderr, flush=True)
            return counts
    found = trained(folder)
    if end.status:
        counts["resumed" if found["first"] else "began anew"] += 1
    unequal = [name for name in expected if name != "first" and not np.array_equal(found[name], expected[name])]
    counts["equal masks"] += not any(name.startswith("mask") for name in unequal)
    counts["equal weights"] += not any(name.startswith("weight") for name in unequal)
    counts["other"] += bool(unequal)
    counts["left behind"] += any(folder.glob("backup*/*"))
    return counts


def _runs(folder: pathlib.Path, trials: int, moments: random.Random) -> int:
    script = str(pathlib.Path(sys.executable).with_name("tfx-pruning"))
    found: dict[str, _Counts] = {}
    root = folder / "root"
    command = [script, "run", "--root", str(root), *_RUN, "--hparams", "target_sparsity=0.5"]
    seconds = _check(started(command)).seconds
    (pushed,) = (root / "serving").iterdir()
    files = set(checksums(pushed))
    for place, number in SIGNALS.items():
        counts = found[place] = _Counts(trials=trials)
        for _ in range(trials):
            shutil.rmtree(root)
            delay = moments.uniform(_IMPORTED, _LATEST * seconds)
            end = started(command, number, delay)
            counts["done before"] += not end.was_sent
            if not end.is_in_order(number):
                counts["wrong status or words"] += 1
                print(f"{number.name} after {delay:.1f} s: {end}", file=sys.stderr, flush=True)
            counts["half pushed"] += _half_pushed(root, files)
            again = started(command)
            versions = list((root / "serving").iterdir()) if again.status == 0 else []
            counts["next run pushed"] += again.status == 0 and bool(versions)
            counts["next run failed"] += again.status != 0
            counts["left after the next run"] += bool(_left(root))
            if again.status:
                print(f"{number.name} after {delay:.1f} s, then: {again}", file=sys.stderr, flush=True)
    columns = {
        "trials": None,
        "done before": None,
        "half pushed": 0,
        "next run pushed": None,
        "next run failed": 0,
        "left after the next run": 0,
        "wrong status or words": 0,
    }
    notes = [
        f"The taxi example with few steps, {seconds:.0f} s without a signal, which comes from the third second on. "
        "Left: hidden files of strips and pushes, backups, executions that ML Metadata has as running, and folders of "
        "executions that are not complete.",
    ]
    return _publish("runs", "`tfx-pruning run` that is killed", "signal", columns, found, notes)


def _half_pushed(root: pathlib.Path, files: set[str]) -> int:
    serving = root / "serving"
    return sum(set(checksums(each)) != files for each in serving.iterdir()) if serving.exists() else 0


def _left(root: pathlib.Path) -> list[str]:
    endings = (".*.stripping", ".*.replaced", ".*.writing", ".training_backup_*", "stateful_working_dir/*")
    found = [str(path) for ending in endings for path in root.rglob(ending)]
    with contextlib.closing(sqlite3.connect(root / "metadata.sqlite")) as store:
        states = dict(store.execute("SELECT id, last_known_state FROM Execution"))
    running = [f"execution {number}" for number, state in states.items() if state in (_NEW, _RUNNING)]
    folders = [path for path in (root / "artifacts").glob("*/*/*") if states.get(_number(path)) == _FAILED]
    return [*found, *running, *map(str, folders)]


def _number(path: pathlib.Path) -> int | None:
    return int(path.name) if path.name.isdigit() else None


def _publish(
    name: str,
    title: str,
    first: str,
    columns: Mapping[str, int | None],
    found: Mapping[str, _Counts],
    notes: Sequence[str],
    is_judged: Callable[[str, str], bool] = lambda *_: True,
) -> int:
    """Publishes a table; returns how many trials were over the most that a column allows, None for any number."""
    bad = {
        (row, column): counts[column]
        for row, counts in found.items()
        for column, most in columns.items()
        if most is not None and counts[column] > most and is_judged(row, column)
    }
    verdicts = [f"FAIL: {row}: {column}: {count}, none was wanted." for (row, column), count in bad.items()]
    judged = ", ".join(column for column, most in columns.items() if most is not None)
    publish(
        name,
        title,
        [first, *columns],
        [[row, *(str(counts[column]) for column in columns)] for row, counts in found.items()],
        [*(verdicts or [f"pass: none wanted and none found: {judged}."]), *notes],
        page=_PAGE,
    )
    return sum(bad.values())


def _check(end: End) -> End:
    if end.status:
        raise RuntimeError(f"Without a signal it ended with exit status {end.status}: {end.errors[-4000:]}")
    return end


def _import_all() -> None:
    """Imports what forks use, which spares each of them the seconds; runs nothing."""
    import tfx_pruning.cli.main
    import tfx_pruning.cli.strip_command
    import tfx_pruning.pruning_trainer.training_backup
    import tfx_pruning.stripper.strip_and_export  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
