"""Beam's worker processes on this machine: a step fails if one of them dies."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability import local_job_service
from apache_beam.runners.portability.fn_api_runner import worker_handlers


@contextlib.contextmanager
def failing_with_their_workers() -> Iterator[None]:
    """Lets Beam steps fail whose worker processes die, while the block runs.

    Without, Beam's local runner waits for the answers of a dead process for ever: it looks after containers only. The
    error is a RuntimeError that Beam raises in the step.
    """
    handler = worker_handlers.SubprocessSdkWorkerHandler
    former = handler.start_worker
    handler.start_worker = _start_worker
    try:
        yield
    finally:
        handler.start_worker = former


def _start_worker(self: worker_handlers.SubprocessSdkWorkerHandler) -> None:
    """As Beam's own, but the thread that waits for the process tells how it ended."""
    self.worker = local_job_service.SubprocessSdkWorker(
        self._worker_command_line, self.control_address, self.provision_info, self.worker_id
    )
    self.worker_thread = threading.Thread(
        name="run_worker", target=_run_watched, args=(self.worker.run, self.control_conn)
    )
    self.worker_thread.start()


def _run_watched(run: Callable[[], None], connection: worker_handlers.ControlConnection) -> None:
    try:
        run()
    except RuntimeError as error:
        _answer_all(
            connection,
            f"A worker process of Beam died ({error}), perhaps for lack of memory, of which each takes 1 GB and more. "
            "What it printed is in the log. Use fewer workers (--beam-workers), or 1, which needs no process.",
        )


def _answer_all(connection: worker_handlers.ControlConnection, error: str) -> None:
    """Answers with an error whatever was asked of a worker, and will be."""
    push = connection.push

    def answered(request: Any) -> worker_handlers.ControlFuture | None:
        if request is worker_handlers.BeamFnControlServicer._DONE_MARKER:
            return push(request)
        response = beam_fn_api_pb2.InstructionResponse(instruction_id=request.instruction_id, error=error)
        return worker_handlers.ControlFuture(request.instruction_id, response)

    connection.push = answered
    for number, future in list(connection._futures_by_id.items()):
        if not future.is_done():
            future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=number, error=error))
