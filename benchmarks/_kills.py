"""Processes that get a signal at a moment of their work, and what is left of folders."""

import dataclasses
import hashlib
import os
import pathlib
import select
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}
# What a process that was ended in order says: exit status and the beginning of its only line.
_ENDS = {signal.SIGKILL: (-9, ""), signal.SIGTERM: (143, ""), signal.SIGINT: (130, "Interrupted: ")}


@dataclasses.dataclass(frozen=True)
class End:
    """How a process ended.

    Attributes:
        status: Its exit status, negative for a signal.
        errors: What it wrote to stderr.
        seconds: How long it took.
        was_sent: Whether it had not ended when the signal was to be sent.
    """

    status: int
    errors: str
    seconds: float
    was_sent: bool

    def is_in_order(self, number: signal.Signals) -> bool:
        """Whether it was done before the signal came, or ended as one should that gets it: status, and one line."""
        if not self.was_sent:
            return self.status == 0
        status, begin = _ENDS[number]
        lines = self.errors.splitlines()
        return self.status == status and len(lines) == bool(begin) and self.errors.startswith(begin)


def forked(work: Callable[[], object], number: signal.Signals | None = None, delay: float = 0.0) -> End:
    """Calls a function in a fork of this process, which must have run nothing of TensorFlow.

    Args:
        work: The function. A SystemExit gives the exit status.
        number: A signal to send; None for none.
        delay: When it is sent, in seconds.

    Returns:
        How it ended.
    """
    ready, begun = os.pipe()
    output, written = os.pipe()
    pid = os.fork()
    if not pid:
        _work_and_exit(work, written, begun)
    os.close(written)
    os.read(ready, 1)
    start = time.perf_counter()
    errors, was_sent = b"", False
    while True:
        is_due = number is not None and not was_sent
        left = max(0.0, start + delay - time.perf_counter()) if is_due else None
        if not select.select([output], [], [], left)[0]:
            # The work may be done, though the process takes its time to go.
            if select.select([ready], [], [], 0)[0]:
                number = None
            else:
                os.kill(pid, number)
                was_sent = True
        elif chunk := os.read(output, 1 << 16):
            errors += chunk
        else:
            break
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for descriptor in (ready, begun, output):
        os.close(descriptor)
    return End(status, errors.decode(errors="replace"), time.perf_counter() - start, was_sent)


def started(command: Sequence[str], number: signal.Signals | None = None, delay: float = 0.0) -> End:
    """Runs a command in a process group of its own; Ctrl-C goes to all of the group, as from a terminal."""

    def default() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    start, was_sent = time.perf_counter(), False
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=default,
    ) as child:
        try:
            _, errors = child.communicate(timeout=None if number is None else delay)
        except subprocess.TimeoutExpired:
            was_sent = True
            (os.killpg if number == signal.SIGINT else os.kill)(child.pid, number)
            _, errors = child.communicate()
    return End(child.returncode, errors, time.perf_counter() - start, was_sent)


def checksums(folder: pathlib.Path) -> dict[str, str]:
    """The checksum of each file in a folder, by its path in there; empty if there is no folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _work_and_exit(work: Callable[[], object], errors: int, begun: int) -> NoReturn:
    """Calls a function, with stderr at a file descriptor; writes to another before and after, and ends the process."""
    status = 1
    try:
        # Shells let processes in the background ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(errors, 2)
        os.write(begun, b".")
        work()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os.write(begun, b".")
        # Nothing else of this process may run in its fork.
        os._exit(status)
