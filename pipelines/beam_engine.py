"""Arguments with which an engine runs the Beam steps of a pipeline, through its job server."""

import re

import grpc

from tfx_pruning.pipelines.beam_args import NOT_PACKED, WORKER_IMPORTS

_ADDRESS = re.compile(r"(?P<host>[^\s:/]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")
_SECONDS_TO_ANSWER = 10


def beam_engine_args(job_server: str, worker_pool: str) -> list[str]:
    """Arguments for `beam_pipeline_args` of a pipeline or component.

    Args:
        job_server: HOST:PORT of the engine's Beam job server.
        worker_pool: HOST:PORT where each machine of the engine finds its pool of workers (`worker_pool`).

    Raises:
        ValueError: An address is no HOST:PORT.
    """
    return [
        "--runner=PortableRunner",
        f"--job_endpoint={_checked_address('job_server', job_server)}",
        "--environment_type=EXTERNAL",
        f"--environment_config={_checked_address('worker_pool', worker_pool)}",
        NOT_PACKED,
        *WORKER_IMPORTS,
    ]


def check_answers(job_server: str) -> None:
    """Raises a ConnectionError if nothing speaks gRPC at HOST:PORT; Beam waits for it for five minutes in each step."""
    with grpc.insecure_channel(job_server) as channel:
        try:
            grpc.channel_ready_future(channel).result(_SECONDS_TO_ANSWER)
        except grpc.FutureTimeoutError:
            raise ConnectionError(
                f"No Beam job server answered at {job_server} within {_SECONDS_TO_ANSWER} s. Start it, or mend its "
                "address: it is the gRPC port of the job server, not that of the engine's own master or page."
            ) from None


def _checked_address(name: str, address: str) -> str:
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 2**16:
        raise ValueError(f"{name} must be HOST:PORT, got {address!r}. Write it as localhost:8099.")
    return address
