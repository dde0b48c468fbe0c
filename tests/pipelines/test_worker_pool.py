"""A pool of workers: its workers obey the options of the job, and end with it."""

import ast
import os
import pathlib
import subprocess
import sys

import apache_beam as beam
import pytest
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.local_job_service import LocalJobServicer

from tfx_pruning.pipelines import worker_pool
from tfx_pruning.pipelines.beam_engine import beam_engine_args
from tfx_pruning.pipelines.worker_pool import WorkerPool, serving


@pytest.mark.slow
def test_worker_is_a_process_of_its_own_that_imports_the_plugins_of_the_job(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugin_of_the_test.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def seen_by_worker(number: int) -> tuple[int, int, bool]:
        return number, os.getpid(), "plugin_of_the_test" in sys.modules

    job_server = LocalJobServicer(str(tmp_path / "staging"))
    endpoint = f"localhost:{job_server.start_grpc_server()}"
    with serving("127.0.0.1", 0) as port:
        arguments = beam_engine_args(endpoint, f"localhost:{port}")
        plugin = "--beam_plugin=plugin_of_the_test"
        with beam.Pipeline(argv=[plugin, *(each for each in arguments if "beam_plugin" not in each)]) as pipeline:
            seen = pipeline | beam.Create([1, 2]) | beam.Map(seen_by_worker)
            _ = seen | beam.Map(repr) | beam.io.WriteToText(str(tmp_path / "seen"), num_shards=1)
    job_server.stop()
    lines = (tmp_path / "seen-00000-of-00001").read_text(encoding="utf-8").splitlines()
    found = sorted(ast.literal_eval(line) for line in lines)
    assert [(number, with_plugin) for number, _, with_plugin in found] == [(1, True), (2, True)]
    (worker,) = {process for _, process, _ in found}
    assert worker != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_closing_ends_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(command: list[str], **attributes: object) -> "subprocess.Popen[bytes]":
        assert command[:3] == [sys.executable, "-m", "tfx_pruning.pipelines.worker_process"]
        assert attributes["env"]["WORKER_ID"] == f"w{len(started)}"
        started.append(popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    pool = WorkerPool()
    for number in range(3):
        assert pool.StartWorker(beam_fn_api_pb2.StartWorkerRequest(worker_id=f"w{number}"), None).error == ""
    pool.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="w1"), None)
    assert [process.poll() is None for process in started] == [True, False, True]
    pool.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="unknown"), None)
    pool.close()
    assert all(process.poll() is not None for process in started)
    for process in started:
        process.stdin.close()


def test_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with serving("127.0.0.1", 0) as port, pytest.raises(SystemExit):
        worker_pool.main(["--port", str(port)])
    assert f"127.0.0.1:{port} cannot be listened at" in capsys.readouterr().err
