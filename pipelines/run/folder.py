"""RunFolder: the places of what a run on this machine writes."""

import contextlib
import dataclasses
import datetime
import os
import pathlib
import tempfile
from collections.abc import Iterator

# The roots that this process has locked.
_LOCKED: set[pathlib.Path] = set()


class FolderInUseError(Exception):
    """Another process is at work in a folder; the message names both."""


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The folder of a pipeline's runs, and the places in it.

    Attributes:
        root: The folder, an absolute path.
    """

    root: pathlib.Path

    @property
    def artifacts(self) -> pathlib.Path:
        """Where the components write."""
        return self.root / "artifacts"

    @property
    def modules(self) -> pathlib.Path:
        """Copies of users' modules, which the components import."""
        return self.root / "modules"

    @property
    def serving(self) -> pathlib.Path:
        """Where models are pushed to."""
        return self.root / "serving"

    @property
    def metadata(self) -> pathlib.Path:
        """ML Metadata's SQLite file."""
        return self.root / "metadata.sqlite"

    @property
    def report(self) -> pathlib.Path:
        """The page on the latest run."""
        return self.root / "report.html"

    @property
    def log(self) -> pathlib.Path:
        """What TFX and TensorFlow print."""
        return self.root / "run.log"

    @contextlib.contextmanager
    def reserved(self, command: str) -> Iterator[None]:
        """Keeps every other run out of the folder, which must exist, while the block runs.

        The system ends the reservation of a process that dies. On file systems without locks there is none.

        Args:
            command: What is run, for the message that others get.

        Raises:
            FolderInUseError: Another process has reserved it.
        """
        # Here, as it imports TensorFlow, which takes seconds and prints.
        from tfx_pruning import leftovers

        place = self.root / ".in_use"
        place.touch()
        try:
            lock = leftovers.lock(str(place))
        except BlockingIOError as error:
            who = place.read_text(encoding="utf-8") or "another process"
            raise FolderInUseError(
                f"{who} is at work in {self.root}, which takes one at a time. Wait until it has ended, or name another "
                "folder with --root."
            ) from error
        try:
            now = datetime.datetime.now().isoformat(" ", "seconds")
            place.write_text(f"{command} (process {os.getpid()}, since {now})", encoding="utf-8")
            if not isinstance(lock, leftovers.NoLock):
                _LOCKED.add(self.root)
            yield
        finally:
            _LOCKED.discard(self.root)
            lock.release()

    @property
    def is_locked(self) -> bool:
        """Whether this process has reserved the folder, on a file system with locks: no other one is at work there."""
        return self.root in _LOCKED

    def end_dead_executions(self, pipeline_root: str) -> None:
        """Marks executions of runs that were killed as failed, and removes their folders; see `end_dead_executions`.

        Unless the folder is locked, nothing is done: a run that lives might be hit.

        Args:
            pipeline_root: Where the runs write. If it is not in this folder, other runs may write there at the same
                time, and all stays that is there.
        """
        if not self.is_locked:
            return
        # Here, as it imports TFX.
        from tfx_pruning.pipelines.run.dead_executions import end_dead_executions

        is_own = "://" not in pipeline_root and pathlib.Path(pipeline_root).resolve().is_relative_to(
            self.root.resolve()
        )
        end_dead_executions(str(self.metadata), pipeline_root if is_own else None)

    def make(self) -> None:
        """Makes the folder if it is missing.

        Raises:
            ValueError: It cannot be made or written to.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise ValueError(
                f"root must be a folder that can be written to, got {self.root} ({error.strerror}): name another one "
                "with --root."
            ) from error
