"""ModuleCheck: tries a user's module before a pipeline runs."""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from tfx_pruning.pipelines.config import PipelineConfig
from tfx_pruning.pipelines.log_end import log_end
from tfx_pruning.pipelines.trial.trial_process import REQUEST, RESULT, main
from tfx_pruning.pipelines.user_code import UserCode

_SECONDS = 180
# Python puts the working directory, which may be that of the module, before its own libraries; here it is left out.
_PROGRAM = f"""\
import sys
sys.path[:] = sys.argv[2:]
import pathlib
from {main.__module__} import main
main(pathlib.Path(sys.argv[1]))
"""
_OR_LEAVE_OUT = "Mend that, or leave the trial out with --no-try-module (try_module: false)."


class ModuleCheck:
    """A trial of a user's module on a few examples, in a process and a temporary folder of its own."""

    def __init__(self, config: PipelineConfig, folder: pathlib.Path, seconds: float) -> None:
        """Starts the process; use `begun`, which ends it too."""
        self._config, self._folder, self._seconds = config, folder, seconds
        # The criterion or schedule may be the module's own, which need not be imported for this.
        of_teacher = {name: value for name, value in config.pruning.items() if name == "distill_weight"}
        request = dataclasses.asdict(dataclasses.replace(config, pruning=of_teacher))
        (folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")
        self._started = time.monotonic()
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(folder), *filter(None, sys.path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(folder)},
                start_new_session=True,  # so that processes of its own end with it
            )

    @classmethod
    @contextlib.contextmanager
    def begun(cls, config: PipelineConfig, seconds: float = _SECONDS) -> Iterator["ModuleCheck"]:
        """A trial that goes on while the block runs, and ends with it.

        Args:
            config: Configuration of the pipeline, whose data and module are there.
            seconds: After how many seconds the trial is broken off.
        """
        with tempfile.TemporaryDirectory(prefix="tfx_pruning_trial_", ignore_cleanup_errors=True) as folder:
            check = cls(config, pathlib.Path(folder), seconds)
            try:
                yield check
            finally:
                check._end()

    def outcome(self) -> str:
        """Waits for the end of the trial.

        Returns:
            Why the module could not be tried, though nothing is wrong with it; '' if it was tried and works.

        Raises:
            ValueError: The module fails, or saves a model that the pipeline cannot use; or a file of the data is
                damaged.
        """
        try:
            status = self._process.wait(max(0, self._started + self._seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            return f"its trial took more than {self._seconds:g} s"
        file, result = UserCode.of(self._config).file, self._folder / RESULT
        if status or not result.exists():
            raise ValueError(
                f"The module {file}, tried on a few examples, ended its process with the status {status}. "
                f"{_OR_LEAVE_OUT} The end of what it printed:\n{log_end(self._log)}"
            )
        found = json.loads(result.read_text(encoding="utf-8"))
        if "data" in found:
            raise ValueError(found["data"])
        if "module" in found:
            raise ValueError(f"The module {file} was tried on a few examples: {found['module']}. {_OR_LEAVE_OUT}")
        return found.get("untried", "")

    @property
    def _log(self) -> pathlib.Path:
        return self._folder / "log"

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
