"""Arguments of an engine's job server, and that it is asked for before anything runs."""

import concurrent.futures
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, SetupOptions, StandardOptions
from click.testing import CliRunner, Result

from helpers import house_data
from tfx_pruning.cli.main import cli
from tfx_pruning.pipelines import beam_engine
from tfx_pruning.pipelines.beam_engine import beam_engine_args
from tfx_pruning.pipelines.config import TAXI_MODULE_PATH


def _run(root: pathlib.Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["run", "--root", str(root), *arguments])


@pytest.fixture
def job_server() -> Iterator[str]:
    """The address of a server that speaks gRPC."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_beam_reads_the_arguments_as_they_are_meant() -> None:
    options = PipelineOptions(beam_engine_args("jobs.example:8099", "[::1]:50000"))
    portable = options.view_as(PortableOptions)
    assert options.view_as(StandardOptions).runner == "PortableRunner"
    assert portable.job_endpoint == "jobs.example:8099"
    assert (portable.environment_type, portable.environment_config) == ("EXTERNAL", "[::1]:50000")
    assert options.view_as(SetupOptions).beam_plugins == ["tfx", "tfx_pruning.pipelines.worker_path"]
    assert options.get_all_options(drop_default=True) == options.get_all_options(
        drop_default=True, retain_unknown_options=True
    )


@pytest.mark.parametrize("address", ["", "host", "host:", ":8099", "host:0", "host:65536", "http://host:8099", "a b:1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    for name, given in (("job_server", (address, "host:1")), ("worker_pool", ("host:1", address))):
        with pytest.raises(ValueError, match="must be HOST:PORT") as caught:
            beam_engine_args(*given)
        assert str(caught.value) == f"{name} must be HOST:PORT, got {address!r}. Write it as localhost:8099."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beam-worker-pool", "host:1"], "--beam-worker-pool host:1 needs --beam-job-server"),
        (
            ["--beam-job-server", "host:1", "--beam-workers", "2"],
            "--beam-workers 2 is for this machine, and --beam-job-server host:1 for an engine",
        ),
        (["--beam-job-server", "8099"], "job_server must be HOST:PORT, got '8099'."),
        (["--beam-job-server", "host:1", "--beam-worker-pool", "x"], "worker_pool must be HOST:PORT, got 'x'."),
        (
            [
                *("--beam-job-server", "host:1", "--module-file", str(house_data.MODULE_FILE), "--label-key", "price"),
                *("--data-root", "."),
            ],
            f"--beam-job-server needs --module-path, got the file {house_data.MODULE_FILE}:",
        ),
        (["--beam-job-server", "host:1", "--runner", "kubeflow-local"], "--beam-job-server needs --runner=local:"),
    ],
)
def test_contradictions_are_refused(tmp_path: pathlib.Path, arguments: list[str], message: str) -> None:
    result = _run(tmp_path / "root", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "root").exists()


def test_job_server_that_does_not_answer_is_named_before_anything_runs(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beam_engine, "_SECONDS_TO_ANSWER", 0.5)
    # It accepts connections and says nothing, as a server of another kind may.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        result = _run(tmp_path / "root", "--beam-job-server", address)
    assert result.exit_code == 2
    assert f"No Beam job server answered at {address} within 0.5 s. Start it, or mend its address" in result.stderr
    assert not (tmp_path / "root").exists()


def test_runner_is_handed_the_arguments_and_a_module_that_workers_can_import(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, job_server: str
) -> None:
    from tfx_pruning.pipelines.run import local_runner
    from tfx_pruning.pipelines.task_state import TaskFailedError

    handed: list[Any] = []

    def run(config: Any, folder: Any, on_task: Any, arguments: Any) -> None:
        handed.append((config.module_path, arguments))
        raise TaskFailedError("stopped")

    monkeypatch.setattr(local_runner, "run", run)
    assert _run(tmp_path / "root", "--beam-job-server", job_server).exit_code == 1
    assert _run(tmp_path / "root", "--beam-job-server", job_server, "--beam-worker-pool", "pool:7").exit_code == 1
    assert handed == [
        (TAXI_MODULE_PATH, tuple(beam_engine_args(job_server, "localhost:50000"))),
        (TAXI_MODULE_PATH, tuple(beam_engine_args(job_server, "pool:7"))),
    ]
