"""DataProof: what it finds on examples, the same on every runner."""

import contextlib
import dataclasses
import os
import subprocess
import sys

import apache_beam as beam
import distributed
import numpy as np
import pytest
import tensorflow as tf

from helpers.record_files import example, write_records
from tfx_pruning.examples.example_files import ExampleFile, ExampleKey
from tfx_pruning.stripper.check.verify import VerificationError
from tfx_pruning.stripper.proof.data_proof import DataProof
from tfx_pruning.stripper.proof.example_feed import ExampleFeed
from tfx_pruning.stripper.proof.result import Finding, ProofResult
from tfx_pruning.stripper.proof.served_model import ServedModel

_EXAMPLES = tf.TensorSpec([None], tf.string, name="examples")
_X = {"x": tf.io.FixedLenFeature([4], tf.float32)}
_COUNTS = {"a.gz": 300, "b.gz": 200}
_ODD = ("b.gz", 131)  # the one example whose fourth value is not zero


def _in_memory():
    return beam.Pipeline(argv=["--direct_running_mode=in_memory"])


def _save(path, weights, function):
    module = tf.Module()
    module.weights = tf.Variable(weights)
    signature = tf.function(lambda examples: function(examples, module.weights), input_signature=[_EXAMPLES])
    tf.saved_model.save(module, str(path), signatures={"serving_default": signature})


def _score(examples, weights):
    x = tf.io.parse_example(examples, _X)["x"]
    return {"score": tf.reduce_sum(x * weights, axis=1), "place": tf.strings.as_string(x[:, 0])}


def _proof(source, files, tolerance=0.0, features=frozenset({"x"})):
    feed = ExampleFeed.choose(ServedModel.read(str(source)), "serving_default", features)
    return DataProof(str(source), feed, tuple(files), tolerance)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """500 examples in two files of a split."""
    folder = tmp_path_factory.mktemp("examples")
    found = []
    for name, count in _COUNTS.items():
        records = [example(x=[float(i), 1.0, 0.0, 2.0 if (name, i) == _ODD else 0.0]) for i in range(count)]
        write_records(folder / name, records)
        found.append(ExampleFile("eval", str(folder / name)))
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model, its equal, and one with another fourth weight."""
    folder = tmp_path_factory.mktemp("models")
    for name, last in (("source", 1.0), ("equal", 1.0), ("other", 1.25)):
        _save(folder / name, [1.0, 2.0, 3.0, last], _score)
    return folder


@pytest.fixture
def pair(tmp_path):
    """Saves a source and a stripped model of two functions; the proof of the first, and the folder of the second."""

    def saved(before, after, files, **arguments):
        _save(tmp_path / "source", [0.0], lambda examples, _: before(examples))
        _save(tmp_path / "stripped", [0.0], lambda examples, _: after(examples))
        return _proof(tmp_path / "source", files, **arguments), str(tmp_path / "stripped")

    return saved


@contextlib.contextmanager
def _dask():
    """Arguments for Beam's Dask runner, with two processes."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield [
            "--runner=apache_beam.runners.dask.dask_runner.DaskRunner",
            f"--dask_client_address={cluster.scheduler_address}",
            "--dask_npartitions=2",
        ]
        distributed.default_client().close()


_RUNNERS = {
    "default": lambda: contextlib.nullcontext([]),
    "in memory": lambda: contextlib.nullcontext(["--direct_running_mode=in_memory"]),
    "threads": lambda: contextlib.nullcontext(["--direct_running_mode=multi_threading", "--direct_num_workers=2"]),
    "processes": lambda: contextlib.nullcontext(["--direct_running_mode=multi_processing", "--direct_num_workers=2"]),
    "dask": _dask,
}


@pytest.mark.parametrize(
    "runner",
    [
        "default",
        "in memory",
        "threads",
        pytest.param("processes", marks=pytest.mark.slow),
        pytest.param("dask", marks=pytest.mark.slow),
    ],
)
def test_one_weight_that_differs_on_one_example_is_found_on_every_runner(runner, models, files):
    with _RUNNERS[runner]() as arguments:
        report = _proof(models / "source", files).compare(str(models / "other"), lambda: beam.Pipeline(argv=arguments))
    key = ExampleKey(files[1], 131)
    assert report == ProofResult(
        examples=500,
        differing=1,
        exceeding=1,
        max_absolute_difference=0.5,
        first=Finding(key, "output 'score', 135.0 became 135.5"),
    )


def test_prove_raises_with_count_difference_output_and_key(models, files):
    with pytest.raises(VerificationError) as error:
        _proof(models / "source", files).prove(str(models / "other"), _in_memory)
    assert str(error.value) == (
        "Signature 'serving_default' of the stripped model differs from the source on 1 of 500 examples, by up to 0.5. "
        f"The first is record 131 (from 0) of {files[1].path!r} in split 'eval': output 'score', 135.0 became 135.5. "
        "Nothing was published; please report this model."
    )


def test_prove_is_content_with_equal_models_and_leaves_them_alone(models, files):
    before = sorted(os.listdir(models))
    assert _proof(models / "source", files).prove(str(models / "equal"), _in_memory) == ProofResult(examples=500)
    assert sorted(os.listdir(models)) == before


def test_prove_is_content_within_the_tolerance_and_says_what_differs(models, files):
    report = _proof(models / "source", files, tolerance=0.5).prove(str(models / "other"), _in_memory)
    assert report == ProofResult(examples=500, differing=1, max_absolute_difference=0.5)
    with pytest.raises(VerificationError, match=r"by more than the tolerance 0.4 on 1 of 500 examples, by up to 0.5"):
        _proof(models / "source", files, tolerance=0.4).prove(str(models / "other"), _in_memory)


def test_source_is_loaded_with_the_masks_that_its_forward_pass_uses(tmp_path, files):
    from helpers.masked_models import masked_weight
    from tfx_pruning import apply_mask, strip_saved_model

    module = tf.Module()
    module.weight = masked_weight("weight", (4, 2))

    def serve(examples):
        return {"y": tf.io.parse_example(examples, _X)["x"] @ apply_mask(module.weight)}

    source, stripped = tmp_path / "source", tmp_path / "stripped"
    signature = tf.function(serve, input_signature=[_EXAMPLES])
    tf.saved_model.save(module, str(source), signatures={"serving_default": signature})
    strip_saved_model(source, stripped)
    assert _proof(source, files).prove(str(stripped), _in_memory) == ProofResult(examples=500)


def test_strings_are_compared(pair, files):
    def place(end):
        return lambda examples: {"place": tf.strings.join([_score(examples, [0.0] * 4)["place"], end])}

    proof, stripped = pair(place("\0"), place(""), files)
    report = proof.compare(stripped, _in_memory)
    assert (report.differing, report.exceeding, report.max_absolute_difference) == (500, 500, 0.0)
    assert report.first.key == ExampleKey(files[0], 0)
    assert report.first.what == r"output 'place', b'0.000000\x00' became b'0.000000'"


def test_first_is_the_smallest_key_of_several(pair, files):
    def numbered(odd):
        def answer(examples):
            x = tf.io.parse_example(examples, _X)["x"][:, 0]
            return {"y": tf.where(tf.math.floormod(x, 50.0) == odd, -1.0, x)}

        return answer

    proof, stripped = pair(numbered(49.0), numbered(-1.0), files[::-1])
    report = proof.compare(stripped, _in_memory)
    assert (report.examples, report.exceeding, report.max_absolute_difference) == (500, 10, 300.0)
    assert report.first == Finding(ExampleKey(files[0], 49), "output 'y', -1.0 became 49.0")


def test_features_are_given_by_name(tmp_path, files):
    for name, factor in (("source", 2.0), ("stripped", 3.0)):
        signature = tf.function(
            lambda x, factor=factor: {"y": x * factor}, input_signature=[tf.TensorSpec([None, 4], name="x")]
        )
        tf.saved_model.save(tf.Module(), str(tmp_path / name), signatures={"serving_default": signature})
    report = _proof(tmp_path / "source", files).compare(str(tmp_path / "stripped"), _in_memory)
    # The first example is [0, 1, 0, 0].
    assert (report.examples, report.exceeding, report.max_absolute_difference) == (500, 500, 299.0)
    assert report.first.key == ExampleKey(files[0], 0)


def test_fixed_batch_counts_each_example_once(tmp_path, files):
    for name, last in (("source", 1.0), ("stripped", 1.25)):
        signature = tf.function(
            lambda examples, last=last: _score(examples, [1.0, 2.0, 3.0, last]),
            # The odd example is in a batch of 80, which is filled with its first 40.
            input_signature=[tf.TensorSpec([120], tf.string, name="examples")],
        )
        tf.saved_model.save(tf.Module(), str(tmp_path / name), signatures={"serving_default": signature})
    report = _proof(tmp_path / "source", files).compare(str(tmp_path / "stripped"), _in_memory)
    assert (report.examples, report.differing, report.first.key) == (500, 1, ExampleKey(files[1], 131))


def test_model_that_counts_its_calls_is_proven(tmp_path, files):
    module = tf.Module()
    module.calls = tf.Variable(0.0)

    def serve(examples):
        return {"y": tf.fill(tf.shape(examples), module.calls.assign_add(1.0))}

    for name in ("source", "stripped"):
        signature = tf.function(serve, input_signature=[_EXAMPLES])
        tf.saved_model.save(module, str(tmp_path / name), signatures={"serving_default": signature})
    proof = _proof(tmp_path / "source", files)
    threads = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]
    assert proof.prove(str(tmp_path / "stripped"), lambda: beam.Pipeline(argv=threads)) == ProofResult(examples=500)


def _strict(limit):
    """A signature that refuses a batch with an example of at least `limit`."""

    def answer(examples):
        x = tf.io.parse_example(examples, _X)["x"][:, 0]
        with tf.control_dependencies([tf.debugging.assert_less(x, limit, message="too large")]):
            return {"y": tf.identity(x)}

    return answer


def test_examples_that_both_refuse_are_an_error_that_names_the_first_and_the_operation_s_reason(pair, files):
    proof, stripped = pair(_strict(150.0), _strict(150.0), files)
    with pytest.raises(ValueError, match="cannot be proven on the examples") as error:
        proof.prove(stripped, _in_memory)
    assert f"record 150 (from 0) of {files[0].path!r} in split 'eval': " in str(error.value)
    assert "too large" in str(error.value)


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (1000.0, 250.0, "the stripped model refuses it, the source does not: "),
        (250.0, 1000.0, "the source refuses it, the stripped model does not: "),
    ],
)
def test_example_that_one_model_refuses_is_a_difference(before, after, what, pair, files):
    proof, stripped = pair(_strict(before), _strict(after), files)
    report = proof.compare(stripped, _in_memory)
    assert (report.examples, report.exceeding, report.max_absolute_difference) == (500, 50, np.inf)
    assert report.first.key == ExampleKey(files[0], 250)
    assert report.first.what.startswith(what)
    with pytest.raises(VerificationError, match=what):
        proof.prove(stripped, _in_memory)


def test_batch_that_one_model_refuses_as_a_whole_is_a_difference(pair, files):
    def crowded(examples):
        with tf.control_dependencies([tf.debugging.assert_less(tf.shape(examples)[0], 250)]):
            return {"y": tf.strings.length(examples)}

    proof, stripped = pair(lambda examples: {"y": tf.strings.length(examples)}, crowded, files)
    report = proof.compare(stripped, _in_memory)
    # The first of the three batches has 256 examples.
    assert (report.examples, report.exceeding) == (500, 256)
    assert report.first.key == ExampleKey(files[0], 0)


def test_records_that_are_no_examples_are_an_error(pair, tmp_path):
    path = tmp_path / "examples" / "data.gz"
    write_records(path, [example(x=[1.0] * 4), b"\xff\xff", example(x=[1.0] * 4)])
    proof, stripped = pair(_strict(9.0), _strict(9.0), [ExampleFile("eval", str(path))])
    with pytest.raises(ValueError, match=r"does not take record 1 \(from 0\) .*Could not parse example input"):
        proof.prove(stripped, _in_memory)


def test_file_that_is_damaged_is_an_error(models, tmp_path, files):
    path = tmp_path / "data.gz"
    with open(files[0].path, "rb") as stream:
        path.write_bytes(stream.read()[:-300])
    proof = _proof(models / "source", [ExampleFile("eval", str(path))])
    with pytest.raises(ValueError, match=r"does not take record \d+ .*it or one of those after it cannot be read"):
        proof.prove(str(models / "equal"), _in_memory)


def test_model_that_cannot_be_loaded_fails_and_leaves_nothing(models, files):
    before = sorted(os.listdir(models))
    with pytest.raises(Exception, match="no-such-model"):
        _proof(models / "source", files).prove(str(models / "no-such-model"), _in_memory)
    assert sorted(os.listdir(models)) == before


def test_report_survives_json():
    finding = Finding(ExampleKey(ExampleFile("eval", "a.gz"), 3), "output 'y', 0.0 became nan")
    report = ProofResult(5, 2, 1, float("inf"), finding, dataclasses.replace(finding, what="x"))
    assert ProofResult.from_json(report.to_json()) == report
    assert ProofResult.from_json(ProofResult().to_json()) == ProofResult()


@pytest.mark.slow
def test_workers_import_no_tfx():
    program = (
        "import sys, tfx_pruning.stripper.proof.data_proof\n"
        "print({'tfx', 'tensorflow_data_validation', 'ml_metadata', 'keras'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert result.stdout == "set()\n"
