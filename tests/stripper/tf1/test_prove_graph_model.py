"""The proof on examples of SavedModels of TensorFlow 1, which are graphs without objects."""

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf

from helpers.graph_models import graph, layer, save, signature_def, tf1, trained
from helpers.record_files import example, write_records
from tfx_pruning import strip_saved_model
from tfx_pruning.examples.example_files import ExampleFile, ExampleKey
from tfx_pruning.stripper.check.verify import VerificationError
from tfx_pruning.stripper.proof.data_proof import DataProof
from tfx_pruning.stripper.proof.example_feed import ExampleFeed
from tfx_pruning.stripper.proof.result import Finding, ProofResult
from tfx_pruning.stripper.proof.served_model import ServedModel

_ODD = 231  # the one example whose fourth value is not zero
_FEATURES = frozenset({"x", "words"})


def _in_memory():
    return beam.Pipeline(argv=["--direct_running_mode=in_memory"])


def _parse():
    serialized = tf1.placeholder(tf.string, [None], name="examples")
    spec = {"x": tf1.FixedLenFeature([4], tf.float32), "words": tf1.VarLenFeature(tf.string)}
    return serialized, tf1.parse_example(serialized, spec)


def _score(x, last):
    weights = tf1.get_variable("weights", initializer=tf.constant([1.0, 2.0, 3.0, last]))
    return tf.reduce_sum(x * weights, axis=1)


def _save(path, answer):
    """Saves a model that parses examples; its outputs are a function of their features."""
    with graph(), tf1.Session() as session:
        serialized, features = _parse()
        outputs = answer(features)
        session.run(tf1.global_variables_initializer())
        save(path, session, {"serving_default": ({"examples": serialized}, outputs)})


def _proof(source, files, features=_FEATURES, tolerance=0.0):
    feed = ExampleFeed.choose(ServedModel.read(str(source)), "serving_default", features)
    return DataProof(str(source), feed, (files,), tolerance)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """300 examples, for two batches; all but the odd one have a fourth value of zero."""
    path = tmp_path_factory.mktemp("examples") / "data.gz"
    write_records(
        path,
        [
            example(x=[float(i), 1.0, 0.0, 2.0 if i == _ODD else 0.0], words=[b"word"] * (i % 3) or [b"none"])
            for i in range(300)
        ],
    )
    return ExampleFile("eval", str(path))


@pytest.fixture
def compare(tmp_path, file):
    """Compares two models of two functions of the parsed features on all examples."""

    def compared(before, after):
        _save(tmp_path / "source", before)
        _save(tmp_path / "stripped", after)
        return _proof(tmp_path / "source", file).compare(str(tmp_path / "stripped"), _in_memory)

    return compared


def _finding(file, what):
    return Finding(ExampleKey(file, _ODD), what)


def test_one_weight_that_differs_on_one_example_is_found(compare, file):
    report = compare(
        lambda parsed: {"score": _score(parsed["x"], 1.0)}, lambda parsed: {"score": _score(parsed["x"], 1.25)}
    )
    assert report == ProofResult(
        examples=300,
        differing=1,
        exceeding=1,
        max_absolute_difference=0.5,
        first=_finding(file, "output 'score', 235.0 became 235.5"),
    )


def test_string_that_differs_on_one_example_is_found(compare, file):
    def place(odd):
        return lambda parsed: {
            "place": tf.where(parsed["x"][:, 3] > 0, tf.fill([tf.shape(parsed["x"])[0]], odd), "even")
        }

    report = compare(place("odd\0"), place("odd"))
    assert report == ProofResult(300, 1, 1, 0.0, _finding(file, r"output 'place', b'odd\x00' became b'odd'"))


def test_sparse_output_that_differs_on_one_example_is_found(compare, file):
    def places(factor):
        return lambda parsed: {
            "words": parsed["words"],
            "x": tf.sparse.from_dense(parsed["x"] * tf.constant([0.0, 0.0, 1.0, factor])),
        }

    report = compare(places(1.0), places(1.5))
    assert report == ProofResult(
        300, 1, 1, 1.0, _finding(file, "output 'x', [2.0] at [[0, 3]] became [3.0] at [[0, 3]]")
    )


def test_stripped_model_is_proven_and_keeps_the_sign_that_only_the_proof_sees(tmp_path, file):
    with graph(), tf1.Session() as session:
        serialized, features = _parse()
        x = features["x"]
        layer(x, "only")
        product = tf1.get_default_graph().get_tensor_by_name("only/weights/masked_weight:0")
        odd = tf.reduce_sum(x[:, 3:], axis=1, keepdims=True)
        # Examples that the strip draws itself have no such value.
        y = tf.where(tf.equal(odd, 2.0), odd * product[:1], 1.0)
        trained(session)
        tf1.global_variables()[0].load(-np.ones([4, 3], np.float32), session)
        save(tmp_path / "in", session, {"serving_default": ({"examples": serialized}, {"y": y})})
    reports = []
    proof = _proof(tmp_path / "in", file)

    def check(folder):
        try:
            reports.append(proof.prove(folder, _in_memory))
        except VerificationError as error:
            reports.append(str(error))
            raise

    strip_saved_model(tmp_path / "in", tmp_path / "out", check=check)
    assert "on 1 of 300 examples, by up to 0" in reports[0]
    assert f"record {_ODD} (from 0)" in reports[0]
    assert reports[1:] == [ProofResult(examples=300)]


def test_example_that_both_refuse_is_named_with_the_reason(tmp_path, file):
    def strict(parsed):
        with tf.control_dependencies([tf1.assert_less(parsed["x"][:, 3], 1.0, message="too large")]):
            return {"y": tf.identity(parsed["x"])}

    _save(tmp_path / "model", strict)
    with pytest.raises(ValueError, match=rf"does not take record {_ODD} \(from 0\) of .*too large"):
        _proof(tmp_path / "model", file).prove(str(tmp_path / "model"), _in_memory)


def test_features_are_given_by_name_to_dense_and_sparse_inputs(tmp_path, file):
    for name, last in (("source", 1.0), ("stripped", 1.25)):
        with graph(), tf1.Session() as session:
            x = tf1.placeholder(tf.float32, [None, 4], name="x")
            words = tf1.sparse_placeholder(tf.string, [None, None], name="words")
            outputs = {"score": _score(x, last), "words": tf.strings.length(tf.sparse.to_dense(words))}
            session.run(tf1.global_variables_initializer())
            save(tmp_path / name, session, {"serving_default": ({"x": x, "words": words}, outputs)})
    proof = _proof(tmp_path / "source", file)
    assert not proof.feed.whole
    inputs = proof.feed.inputs([example(x=[0.0] * 4, words=[b"a", b"b"]), example(x=[1.0] * 4, words=[b"c"])])
    assert tf.sparse.to_dense(inputs["words"]).numpy().tolist() == [[b"a", b"b"], [b"c", b""]]
    report = proof.compare(str(tmp_path / "stripped"), _in_memory)
    assert report == ProofResult(300, 1, 1, 0.5, _finding(file, "output 'score', 235.0 became 235.5"))


def test_model_that_parses_gets_whole_records_even_if_a_feature_has_its_input_s_name(tmp_path):
    _save(tmp_path / "model", lambda parsed: {"y": parsed["x"]})
    feed = ExampleFeed.choose(ServedModel.read(str(tmp_path / "model")), "serving_default", {"x", "examples"})
    assert feed.whole


def test_ragged_input_is_refused_by_name(tmp_path):
    with graph(), tf1.Session() as session:
        x = tf1.ragged.placeholder(tf.float32, ragged_rank=1, name="x")
        save(tmp_path / "model", session, {"serving_default": ({"x": x}, {"y": tf.reduce_sum(x)})})
    with pytest.raises(ValueError, match=r"'serving_default' of the model at .* the input 'x' is neither a tensor nor"):
        ExampleFeed.choose(ServedModel.read(str(tmp_path / "model")), "serving_default", {"x"})


def _save_meta_graphs(path, *tags):
    """Saves MetaGraphs, each with the signature 'serving_default' and one that has its tags for a name."""
    with graph(), tf1.Session() as session:
        serialized, parsed = _parse()
        signature = signature_def({"examples": serialized}, {"score": _score(parsed["x"], 1.0)})
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(str(path))
        for number, each in enumerate(tags):
            signatures = {"serving_default": signature, "+".join(each): signature}
            if number:
                builder.add_meta_graph(each, signatures)
            else:
                builder.add_meta_graph_and_variables(session, each, signatures)
        builder.save()


@pytest.mark.parametrize(
    ("tags", "served"),
    [
        ([["train"], ["eval"], ["serve"]], "serve"),
        ([["serve", "gpu"], ["serve"]], "serve"),
        ([["eval"], ["serve", "gpu"]], "serve+gpu"),
        ([["train"], ["eval"]], "eval"),
    ],
    ids=str,
)
def test_meta_graph_that_is_served_is_proven(tags, served, tmp_path, file):
    _save_meta_graphs(tmp_path / "in", *tags)
    assert sorted(ServedModel.read(str(tmp_path / "in")).signatures) == sorted(["serving_default", served])
    proof = _proof(tmp_path / "in", file)
    strip_saved_model(tmp_path / "in", tmp_path / "out", check=lambda folder: proof.prove(folder, _in_memory))


@pytest.mark.parametrize("tags", [[["train"]], [["eval"], ["test"]], [["serve", "a"], ["serve", "b"]]], ids=str)
def test_meta_graphs_none_of_which_is_the_served_one_are_refused(tags, tmp_path):
    _save_meta_graphs(tmp_path / "in", *tags)
    with pytest.raises(
        ValueError, match=r"has MetaGraphs with the tags .*, expected one that is to be served"
    ) as error:
        ServedModel.read(str(tmp_path / "in"))
    assert str([sorted(each) for each in tags]) in str(error.value)


def test_sessions_end_with_the_model(tmp_path, monkeypatch):
    _save(tmp_path / "model", lambda parsed: {"score": _score(parsed["x"], 1.0)})
    begun, ended = [], []
    begin, close = tf1.Session.__init__, tf1.Session.close

    def beginning(session, *args, **kwargs):
        begin(session, *args, **kwargs)
        begun.append(session.graph)

    def closing(session):
        # The garbage collector may close sessions of other tests now.
        if any(session.graph is graph for graph in begun):
            ended.append(session.graph)
        close(session)

    monkeypatch.setattr(tf1.Session, "__init__", beginning)
    monkeypatch.setattr(tf1.Session, "close", closing)
    loaded = ServedModel.read(str(tmp_path / "model")).load()
    assert len(begun) == 1
    answer = loaded.signatures["serving_default"](examples=tf.constant([example(x=[1.0, 0.0, 0.0, 2.0])]))
    assert answer["score"].tolist() == [3.0]
    assert not ended
    del loaded
    assert ended == begun
