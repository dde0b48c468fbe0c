"""A Beam step in several processes that die ends with an error."""

import sys

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.worker_handlers import SubprocessSdkWorkerHandler

from tfx_pruning.pipelines.beam_args import beam_pipeline_args
from tfx_pruning.pipelines.beam_workers import failing_with_their_workers


def test_step_fails_whose_workers_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "exit 7;")
    start_worker = SubprocessSdkWorkerHandler.start_worker
    with failing_with_their_workers():
        pipeline = beam.Pipeline(options=PipelineOptions(beam_pipeline_args(2)))
        numbers = pipeline | beam.Create([1, 2, 3]) | beam.Reshuffle()
        numbers | beam.combiners.Count.Globally()
        with pytest.raises(RuntimeError, match=r"A worker process of Beam died \(.*return code 7\).*--beam-workers"):
            pipeline.run().wait_until_finish()
    assert SubprocessSdkWorkerHandler.start_worker is start_worker
