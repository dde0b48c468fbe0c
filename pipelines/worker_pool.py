"""`python -m tfx_pruning.pipelines.worker_pool`: starts worker processes for the jobs of a Beam engine.

Beam's own pool starts processes that neither read the options of the job nor import its plugins, unless it is given the
`boot` of Beam's images. TFDV before 1.21 does not load in such a process.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.utils.thread_pool_executor import shared_unbounded_instance

DEFAULT_PORT = 50000
_SECONDS_TO_END = 10
_PROCESS = "tfx_pruning.pipelines.worker_process"


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Starts and stops a process for each worker that an engine asks for."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def StartWorker(
        self, start_worker_request: beam_fn_api_pb2.StartWorkerRequest, context: Any
    ) -> beam_fn_api_pb2.StartWorkerResponse:
        """Starts the process of a worker."""
        asked = start_worker_request
        command = [sys.executable, "-m", _PROCESS, asked.control_endpoint.url]
        command += [asked.logging_endpoint.url, asked.provision_endpoint.url]
        # Beam's log handler reads the name as it is imported; engines refuse logs without.
        variables = {"WORKER_ID": asked.worker_id, "PYTHONSAFEPATH": "1"}
        try:
            process = subprocess.Popen(command, env=os.environ | variables)
        except OSError as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=str(error))
        with self._lock:
            self._processes[asked.worker_id] = process
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(
        self, stop_worker_request: beam_fn_api_pb2.StopWorkerRequest, context: Any
    ) -> beam_fn_api_pb2.StopWorkerResponse:
        """Ends the process of a worker."""
        with self._lock:
            process = self._processes.pop(stop_worker_request.worker_id, None)
        if process is not None:
            _end(process)
        return beam_fn_api_pb2.StopWorkerResponse()

    def close(self) -> None:
        """Ends all processes."""
        with self._lock:
            processes = list(self._processes.values())
            self._processes.clear()
        for process in processes:
            _end(process)


@contextlib.contextmanager
def serving(host: str, port: int) -> Iterator[int]:
    """Serves a pool while the block runs; yields its port. At the end its workers end too.

    Args:
        host: Name or address of the interface to listen at.
        port: The port; 0 for any that is free.

    Raises:
        RuntimeError: The port cannot be had.
    """
    pool = WorkerPool()
    server = grpc.server(shared_unbounded_instance(), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    found = server.add_insecure_port(f"{host}:{port}")
    server.start()
    try:
        yield found
    finally:
        server.stop(None).wait()
        pool.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves a pool until the process is told to end.

    Args:
        arguments: In place of those of the command line.
    """
    parser = argparse.ArgumentParser(
        "python -m tfx_pruning.pipelines.worker_pool", description="Starts worker processes for a Beam engine."
    )
    parser.add_argument("--host", default="127.0.0.1", help="Interface to listen at.  [default: %(default)s]")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="Port to listen at.  [default: %(default)s]")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with serving(given.host, given.port) as port:
            print(f"Starting workers for {given.host}:{port}", flush=True)
            signal.pause()
    except RuntimeError as error:
        parser.error(f"{given.host}:{given.port} cannot be listened at: {error}. Choose another --port.")
    except KeyboardInterrupt:
        pass


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
