import pathlib

import pytest
import tensorflow as tf

from tfx_pruning import properties
from tfx_pruning.call_times import CallTimes
from tfx_pruning.pipelines.run.latency import measured_latency
from tfx_pruning.pipelines.run.outputs import NodeOutput
from tfx_pruning.report.latency import Latency


class Outputs:
    """A run with two models that parse examples, and 100 examples."""

    name, pipeline_name, record = "run-1", "line", ""

    def __init__(self, folder: pathlib.Path, split: str = "eval") -> None:
        self._nodes = {
            ("Trainer", "model"): NodeOutput(str(folder / "dense"), {}),
            ("Stripper", "model"): NodeOutput(
                str(folder / "pruned"),
                {properties.SIGNATURE_PROVEN: "serving_default", properties.SPLITS_PROVEN: f"{split},train"},
            ),
            ("ImportExampleGen", "examples"): NodeOutput(str(folder / "examples"), {}),
        }

    def output(self, node: str, key: str) -> NodeOutput:
        if (node, key) not in self._nodes:
            raise ValueError(f"no {key} of {node}")
        return self._nodes[node, key]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("run")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 2.0 * tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]}

    for name in ("dense", "pruned"):
        tf.saved_model.save(tf.Module(), str(folder / name / "Format-Serving"), signatures={"serving_default": serve})
    (folder / "examples" / "Split-eval").mkdir(parents=True)
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[1.0]))
    record = tf.train.Example(features=tf.train.Features(feature={"x": feature})).SerializeToString()
    path = str(folder / "examples" / "Split-eval" / "data.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for _ in range(100):
            writer.write(record)
    return folder


def test_both_models_are_called_on_examples_of_the_run(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def timed(calls, *_):
        asked.append({name: len(call.args[0](**call.args[1])["y"]) for name, call in calls.items()})
        return {"dense": [3.0, 1.0, 2.0], "pruned": [1.0, 1.0, 1.0]}

    monkeypatch.setattr("tfx_pruning.pipelines.run.latency.milliseconds_by_turns", timed)
    assert measured_latency(Outputs(folder)) == tuple(
        Latency("serving_default", batch, CallTimes(2.0, 1.5, 2.5, 3), CallTimes(1.0, 1.0, 1.0, 3)) for batch in (1, 64)
    )
    assert asked == [{"dense": batch, "pruned": batch} for batch in (1, 64)]


def test_nothing_is_said_where_it_cannot_be_measured(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measured_latency(Outputs(folder, split="nowhere")) == ()
    assert "Traceback" in capsys.readouterr().err


def test_times_that_lie_apart_are_clear() -> None:
    slow, fast, between = (CallTimes(*times, 9) for times in ((3.0, 2.5, 4.0), (1.0, 0.9, 1.1), (2.0, 1.0, 2.6)))
    assert (Latency("s", 1, slow, fast).times_as_fast, Latency("s", 1, slow, fast).is_clear) == (3.0, True)
    assert Latency("s", 1, fast, slow).is_clear
    assert not Latency("s", 1, slow, between).is_clear
