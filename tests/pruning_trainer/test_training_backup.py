"""Backups of a training: it goes on where it stood, as if it had not been broken off."""

import functools
import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from helpers.broken_off_training import EPOCHS, STEPS, AtBatch, train
from tfx_pruning import leftovers
from tfx_pruning.pruning_trainer.training_backup import PREFIX, TrainingBackups

TESTS = pathlib.Path(__file__).parents[1]


class BreakOffError(Exception):
    """Breaks a training off."""


def _break_off() -> None:
    raise BreakOffError


@functools.cache
def _unbroken(data: str, folder: pathlib.Path) -> dict[str, np.ndarray]:
    return train(folder / data, data, None, AtBatch())


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("unbroken")


def _assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    assert [key for key, value in found.items() if not np.array_equal(value, expected[key])] == []


def _kernels(trained: dict[str, np.ndarray]) -> list[int]:
    return [np.count_nonzero(value) for key, value in trained.items() if key.startswith("mask")]


@pytest.mark.parametrize(
    ("data", "step", "begins"),
    [
        *[("arrays", 1, 0), ("arrays", 9, 8), ("shuffled", 3, 2), ("shuffled", 23, 22)],
        *[("endless", 9, 8), ("endless", 23, 22), ("of unknown size", 3, 2), ("of unknown size", 23, 22)],
    ],
)
def test_goes_on_at_the_last_backup_as_if_unbroken(
    tmp_path: pathlib.Path, elsewhere: pathlib.Path, data: str, step: int, begins: int
) -> None:
    with pytest.raises(BreakOffError):
        train(tmp_path, data, 2, AtBatch(step, _break_off))
    callback = AtBatch()
    found = train(tmp_path, data, 2, callback)
    assert callback.first == begins
    if data != "of unknown size":  # where Keras counts a step for the end of the data
        assert found["step"] == EPOCHS * STEPS
    assert sum(_kernels(found)) == round(140 * 0.25)
    _assert_equal(found, _unbroken(data, elsewhere))


def test_broken_off_twice(tmp_path: pathlib.Path, elsewhere: pathlib.Path) -> None:
    for step in (7, 19):
        with pytest.raises(BreakOffError):
            train(tmp_path, "shuffled", 3, AtBatch(step, _break_off))
    callback = AtBatch()
    _assert_equal(train(tmp_path, "shuffled", 3, callback), _unbroken("shuffled", elsewhere))
    assert callback.first == 18


def test_without_a_frequency_every_epoch_is_backed_up(tmp_path: pathlib.Path, elsewhere: pathlib.Path) -> None:
    with pytest.raises(BreakOffError):
        train(tmp_path, "endless", None, AtBatch(2 * STEPS - 1, _break_off))
    callback = AtBatch()
    _assert_equal(train(tmp_path, "endless", None, callback), _unbroken("endless", elsewhere))
    assert callback.first == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_process_goes_on_and_sigterm_loses_no_step(
    tmp_path: pathlib.Path, elsewhere: pathlib.Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "helpers.broken_off_training", str(tmp_path), "shuffled", "11"]
    first, second = (
        subprocess.run([*command, str(int(each))], cwd=TESTS, capture_output=True, text=True, timeout=300, check=False)
        for each in (number, 0)
    )
    assert (first.returncode, second.returncode) == (-number, 0), first.stderr + second.stderr
    found = dict(np.load(tmp_path / "trained.npz"))
    assert found.pop("first") == (9 if number == signal.SIGKILL else 12)
    _assert_equal(found, _unbroken("shuffled", elsewhere))


def test_handler_of_sigterm_is_called_after_the_backup_and_stays(tmp_path: pathlib.Path) -> None:
    came = []
    former = signal.signal(signal.SIGTERM, lambda *_: came.append(sorted(_backup(tmp_path).iterdir())))
    own = signal.getsignal(signal.SIGTERM)
    try:
        train(tmp_path, "arrays", 1000, AtBatch(4, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, former)
    assert [[file.name for file in files] for files in came] == [["fit_0.weights.h5"]]


def _backup(folder: pathlib.Path, key: str = "a") -> pathlib.Path:
    return folder / f"{PREFIX}{key}"


def test_file_that_is_damaged_or_of_another_model_is_left_alone(
    tmp_path: pathlib.Path, elsewhere: pathlib.Path
) -> None:
    _backup(tmp_path).mkdir()
    file = _backup(tmp_path) / "fit_0.weights.h5"
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    for damage in (lambda: file.write_bytes(b"no HDF5"), lambda: other.save_weights(file)):
        damage()
        callback = AtBatch()
        _assert_equal(train(tmp_path, "arrays", 1000, callback), _unbroken("arrays", elsewhere))
        assert callback.first == 0


def test_other_trainings_of_the_node_leave_unless_they_are_under_way(tmp_path: pathlib.Path) -> None:
    for key in ("dead", "alive"):
        _backup(tmp_path, key).mkdir()
        (_backup(tmp_path, key) / "fit_0.weights.h5").touch()
    (tmp_path / "17").mkdir()
    lock = leftovers.lock(str(_backup(tmp_path, "alive")))
    try:
        with TrainingBackups.opened(str(tmp_path), "new", None) as backups:
            assert sorted(os.listdir(tmp_path)) == [f"{PREFIX}alive", f"{PREFIX}new", "17"]
            backups.remove()
        assert sorted(os.listdir(tmp_path)) == [f"{PREFIX}alive", "17"]
        with TrainingBackups.opened(str(tmp_path), "alive", None) as backups:
            assert backups is None
    finally:
        lock.release()


def test_backup_that_cannot_be_written_fails_no_training(
    tmp_path: pathlib.Path, elsewhere: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no disk")

    expected = _unbroken("arrays", elsewhere)
    monkeypatch.setattr(os, "replace", fail)
    _assert_equal(train(tmp_path, "arrays", 2, AtBatch()), expected)
    assert list(_backup(tmp_path).iterdir()) == []
