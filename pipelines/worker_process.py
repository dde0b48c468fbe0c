"""A worker process of a Beam engine, started by `worker_pool` as Beam's `boot` would start it in a container.

It asks the engine for the options of the job. Then it runs Beam's own worker, which imports the plugins that they name.
"""

import os
import sys

import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc, endpoints_pb2
from apache_beam.runners.worker import sdk_worker_main
from google.protobuf import json_format, text_format

_SECONDS_TO_ANSWER = 60


def environment(worker: str, control: str, logging: str, provision: str) -> dict[str, str]:
    """The variables, beside WORKER_ID, from which Beam's worker takes its job.

    Args:
        worker: Name that the engine gave to the worker.
        control: Address for the worker's instructions.
        logging: Address for what it logs.
        provision: Address that tells the options of the job; what it tells has precedence over the others.

    Raises:
        grpc.RpcError: `provision` does not answer.
    """
    with grpc.insecure_channel(provision) as channel:
        stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        # The worker's name tells an engine which of its jobs is asked for.
        answer = stub.GetProvisionInfo(
            beam_provision_api_pb2.GetProvisionInfoRequest(),
            timeout=_SECONDS_TO_ANSWER,
            wait_for_ready=True,
            metadata=[("worker_id", worker)],
        )
    return {
        "PIPELINE_OPTIONS": json_format.MessageToJson(answer.info.pipeline_options),
        "CONTROL_API_SERVICE_DESCRIPTOR": _descriptor(answer.info.control_endpoint.url or control),
        "LOGGING_API_SERVICE_DESCRIPTOR": _descriptor(answer.info.logging_endpoint.url or logging),
        "RUNNER_CAPABILITIES": " ".join(answer.info.runner_capabilities),
    }


def _descriptor(url: str) -> str:
    return text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url))


if __name__ == "__main__":
    os.environ.update(environment(os.environ["WORKER_ID"], *sys.argv[1:]))
    sdk_worker_main.main([])
