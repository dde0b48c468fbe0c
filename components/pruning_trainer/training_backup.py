"""TrainingBackups: what a training that is killed has left, so that the next execution goes on where it stood."""

import contextlib
import dataclasses
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import h5py
import keras
import tensorflow as tf
from absl import logging
from keras.src.backend.tensorflow import trainer as keras_trainer

from .. import leftovers
from ..places import is_local

PREFIX = ".training_backup_"
_STATE = "tfx_pruning_position"
_SEEDS = "tfx_pruning_seeds"
# Within an epoch, without a frequency of one's own: the time between two backups, in seconds and in backups' lengths.
_SECONDS = 60.0
_LENGTHS = 20.0


@dataclasses.dataclass
class Position:
    """How far a `fit` has come.

    Attributes:
        first_epoch: The epoch that the `fit` began with.
        epoch: The current epoch.
        batches: How many batches of it were trained.
    """

    first_epoch: int = 0
    epoch: int = 0
    batches: int = 0


class TrainingBackups:
    """The backups of the `fit`s of one training, one file each, in one folder.

    Attributes:
        folder: The folder. What a training loop of the user's own keeps in it is treated likewise.
    """

    def __init__(self, folder: str, steps: int | None) -> None:
        """Takes a folder that exists and that no other training writes to.

        Args:
            folder: The folder.
            steps: Batches between two backups; None for one at the end of each epoch, and within an epoch one a minute.
        """
        self.folder = folder
        self._steps = steps
        self._fits = 0

    @classmethod
    @contextlib.contextmanager
    def opened(cls, place: str, key: str, steps: int | None) -> Iterator["TrainingBackups | None"]:
        """Opens the backups of a training, and removes those of others that are no longer under way.

        Args:
            place: The folder in which the backups of all trainings of one node are.
            key: Tells this training from others. Letters and digits.
            steps: As for the class.

        Yields:
            The backups; None if another process is at the same training.
        """
        folder = os.path.join(place, f"{PREFIX}{key}")
        _remove_dead(place, folder)
        tf.io.gfile.makedirs(folder)
        try:
            lock = leftovers.lock(folder)
        except (BlockingIOError, FileNotFoundError):
            logging.warning("Another process is at the same training: this one begins anew, and keeps no backup.")
            yield None
            return
        try:
            yield cls(folder, steps)
        finally:
            lock.release()

    def remove(self) -> None:
        """Removes the folder, once the training's result is safe."""
        try:
            tf.io.gfile.rmtree(self.folder)
        except tf.errors.OpError as error:
            logging.warning("The backup %s cannot be removed: %s", self.folder, error.message)

    @contextlib.contextmanager
    def of_fit(self, model: Any, callbacks: Any) -> Iterator[Any]:
        """Backs up a `fit` of Keras 3 while the block runs, and lets it go on where its backup stands.

        Args:
            model: The model. Of tf_keras, nothing is backed up.
            callbacks: The callbacks, pruning's own first; a list or Keras's CallbackList.

        Yields:
            The callbacks for `fit`.
        """
        if not isinstance(model, keras.Model):
            yield callbacks
            return
        path = os.path.join(self.folder, f"fit_{self._fits}.weights.h5")
        self._fits += 1
        listed = callbacks.callbacks if isinstance(callbacks, keras.callbacks.CallbackList) else callbacks
        backup = _FitBackup(path, self._steps, resumes=not _others_resume(listed))
        backup.set_model(model)
        listed.insert(1, backup)
        try:
            with _data_after(backup.start), _terminated_after(backup):
                yield callbacks
        finally:
            listed.remove(backup)
            # Keras would begin the next fit there.
            model._initial_epoch = None


class _FitBackup(keras.callbacks.Callback):
    """Saves the model, its optimizer and, through the scope, the pruning; restores them when the training begins.

    Attributes:
        start: Where the training begins.
        terminated: Whether SIGTERM came: save, and send it again.
    """

    def __init__(self, path: str, steps: int | None, resumes: bool) -> None:
        super().__init__()
        self._path = path
        self._steps = steps
        self._resumes = resumes
        self._now = Position()
        self._begun = False
        self._since = 0
        self._saved_at = time.monotonic()
        self._length = 0.0
        self.start = Position()
        self.terminated = False

    def on_train_begin(self, logs: Any = None) -> None:
        if not self._resumes or not self.model.built or not tf.io.gfile.exists(self._path):
            return
        self.model.optimizer.build(self.model.trainable_variables)
        with _as_local_file(self._path) as file:
            try:
                with h5py.File(file) as opened:
                    state = json.loads(opened.attrs[_STATE])
                    seeds = [array[()] for array in opened.get(_SEEDS, {}).values()]
                if state["variables"] != self._variables():
                    logging.warning("The backup %s is of another model: the training begins anew.", self._path)
                    return
            except (OSError, KeyError, ValueError) as error:
                logging.warning("The backup %s cannot be read: the training begins anew. %s", self._path, error)
                return
            self.model.load_weights(file)
        for variable, value in zip(self._seeds(), seeds, strict=True):
            variable.assign(value)
        self._now = Position(**state["position"])
        # In place: the data are told by it where to begin.
        vars(self.start).update(vars(self._now))
        self._begun = True
        self.model._initial_epoch = self._now.epoch
        logging.info("The training goes on after %d batches of epoch %d.", self._now.batches, self._now.epoch)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if not self._begun:
            self._begun, self._now.first_epoch = True, epoch
        if epoch != self._now.epoch:
            self._now.epoch, self._now.batches = epoch, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._since += batch + 1 - self._now.batches
        self._now.batches = batch + 1
        if self._steps is None:
            waited = time.monotonic() - self._saved_at
            is_due = waited >= max(_SECONDS, _LENGTHS * self._length)
        else:
            is_due = self._since >= self._steps
        if is_due or self.terminated:
            self._save()
        self._end_if_terminated()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.terminated:
            self._save()
            self._end_if_terminated()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._now.epoch, self._now.batches = epoch + 1, 0
        if self._steps is None or self.terminated:
            self._save()
        self._end_if_terminated()

    def _save(self) -> None:
        """Writes the backup, unless no batch is left to train. An error fails no training."""
        epochs, steps = self.params["epochs"], self.params["steps"]
        if self._now.epoch >= epochs or (self._now.epoch == epochs - 1 and self._now.batches == steps):
            return
        began = time.monotonic()
        state = json.dumps({"position": dataclasses.asdict(self._now), "variables": self._variables()})
        try:
            with _replacing(self._path) as file:
                self.model.save_weights(file)
                with h5py.File(file, "a") as opened:
                    opened.attrs[_STATE] = state
                    for index, variable in enumerate(self._seeds()):
                        opened[f"{_SEEDS}/{index:04}"] = keras.ops.convert_to_numpy(variable)
        except (OSError, tf.errors.OpError) as error:
            logging.warning("The backup %s cannot be written, and the training goes on without: %s", self._path, error)
        self._since, self._saved_at = 0, time.monotonic()
        self._length = self._saved_at - began

    def _end_if_terminated(self) -> None:
        if self.terminated:
            self.terminated = False
            os.kill(os.getpid(), signal.SIGTERM)

    def _seeds(self) -> list[Any]:
        """The states of random numbers, such as those of Dropout, which Keras leaves out of files of weights."""
        weights = {id(weight) for weight in self.model.weights}
        return [variable for variable in self.model.variables if id(variable) not in weights]

    def _variables(self) -> list[list[Any]]:
        # Without names: Keras numbers layers through the whole process.
        variables = [*self.model.variables, *self.model.optimizer.variables]
        return [[list(variable.shape), variable.dtype] for variable in variables]


class _DataAfter(keras_trainer.TFEpochIterator):
    """The data of a `fit`, which begin where an earlier one was broken off: what comes before is read, and left out."""

    start = Position()

    def _enumerate_iterator(self) -> Iterator[Any]:
        # Keras looks at the data before the training begins, when this is not known yet.
        start = dataclasses.replace(self.start)
        vars(self.start).update(vars(Position()))
        for _ in range(start.epoch - start.first_epoch):
            with self.catch_stop_iteration():
                for _, _, data in super()._enumerate_iterator():
                    self._leave_out(data)
        for begin, end, data in super()._enumerate_iterator():
            if end < start.batches:
                self._leave_out(data)
            else:
                yield begin, end, data

    def _leave_out(self, data: Iterator[Any]) -> None:
        for _ in range(self.steps_per_execution):
            next(data)


@contextlib.contextmanager
def _data_after(start: Position) -> Iterator[None]:
    """Lets the first data that `fit` of this thread iterates over begin at a position, which is read when it does."""
    original, thread = keras_trainer.TFEpochIterator, threading.get_ident()
    starts = [start]

    def iterator(*args: Any, **kwargs: Any) -> keras_trainer.TFEpochIterator:
        if threading.get_ident() != thread or not starts:  # another's, or those of the validation
            return original(*args, **kwargs)
        made = _DataAfter(*args, **kwargs)
        made.start = starts.pop()
        return made

    keras_trainer.TFEpochIterator = iterator
    try:
        yield
    finally:
        keras_trainer.TFEpochIterator = original


@contextlib.contextmanager
def _terminated_after(backup: _FitBackup) -> Iterator[None]:
    """Lets SIGTERM wait until the batch has ended and is backed up; a second one acts at once."""
    former = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or former in (None, signal.SIG_IGN):
        yield
        return

    def wait(*_: object) -> None:
        signal.signal(signal.SIGTERM, former)
        backup.terminated = True

    signal.signal(signal.SIGTERM, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
        backup._end_if_terminated()


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[str]:
    """A local file to write, which takes the place of another at once; of Keras's ending for weights."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path) if is_local(path) else None) as folder:
        file = os.path.join(folder, "new.weights.h5")
        yield file
        if is_local(path):
            os.replace(file, path)
            return
        tf.io.gfile.copy(file, f"{path}.new", overwrite=True)
        tf.io.gfile.rename(f"{path}.new", path, overwrite=True)


@contextlib.contextmanager
def _as_local_file(path: str) -> Iterator[str]:
    if is_local(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "old.weights.h5")
        tf.io.gfile.copy(path, file)
        yield file


def _others_resume(callbacks: list[Any]) -> bool:
    """Whether a BackupAndRestore of the user's own has something to restore: it knows better."""
    own = [each for each in callbacks if isinstance(each, keras.callbacks.BackupAndRestore)]
    return any(tf.io.gfile.exists(each.backup_dir) for each in own)


def _remove_dead(place: str, folder: str) -> None:
    """Removes the backups of other trainings of the node, which have other inputs, unless they are under way."""
    if not tf.io.gfile.isdir(place):
        return
    for name in tf.io.gfile.listdir(place):
        other = os.path.join(place, name.rstrip("/"))
        if not name.startswith(PREFIX) or other == folder:
            continue
        try:
            lock = leftovers.lock(other)
        except OSError:
            continue
        try:
            # Without locks, nobody knows whether it is under way.
            if not isinstance(lock, leftovers.NoLock):
                tf.io.gfile.rmtree(other)
        except tf.errors.OpError as error:
            logging.warning("The backup %s cannot be removed: %s", other, error.message)
        finally:
            lock.release()
