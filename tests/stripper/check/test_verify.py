"""verify: which differences between two models it sees, and which are none."""

import numpy as np
import pytest
import tensorflow as tf

from tfx_pruning.saved_model.saved_objects import SavedObjects
from tfx_pruning.stripper.check.verify import VerificationError, answers_of, verify

_X = [tf.TensorSpec([None, 2], tf.float32, name="x")]


@pytest.fixture
def compare(tmp_path):
    """Saves two sets of signatures and verifies the second against the first."""

    def compared(before, after, examples=None):
        models = []
        for name, signatures in (("before", before), ("after", after)):
            path = str(tmp_path / name)
            tf.saved_model.save(tf.Module(), path, signatures=signatures)
            models.append((tf.saved_model.load(path), SavedObjects.read(path)))
        (source, saved_source), (stripped, saved_stripped) = models
        answers = answers_of(saved_source, source, examples)
        return verify(answers, saved_source.meta_graph, stripped, saved_stripped.meta_graph, lambda: source)

    return compared


def _signature(function, spec=_X):
    return tf.function(function, input_signature=spec)


def test_verify_passes_equal_models_and_names_every_signature(compare):
    signatures = {"sum": _signature(lambda x: {"y": x + 1.0}), "product": _signature(lambda x: {"y": x * 2.0})}
    assert compare(signatures, signatures) == ("sum", "product")


def test_verify_takes_nan_as_equal_to_itself(compare):
    undefined = _signature(lambda x: {"y": tf.math.log(-tf.abs(x) - 1.0)})
    assert compare({"log": undefined}, {"log": undefined}) == ("log",)


def test_verify_sees_a_difference_of_one_bit(compare):
    more = np.nextafter(np.float32(2), np.float32(3))
    with pytest.raises(
        VerificationError,
        match=r"Signature 'f' of the stripped model differs .*\[1, 2\].*'y' differs, by up to 4.76837e-07",
    ):
        compare({"f": _signature(lambda x: {"y": x * 2.0})}, {"f": _signature(lambda x: {"y": x * more})})


def test_verify_tells_negative_zero_from_zero(compare):
    with pytest.raises(VerificationError, match="differs from the source"):
        compare({"f": _signature(lambda x: {"y": x * 0.0})}, {"f": _signature(lambda x: {"y": tf.abs(x) * 0.0})})


def test_verify_compares_strings_of_every_rank(compare):
    spec = [tf.TensorSpec([], tf.string, name="word")]
    plain = _signature(lambda word: {"y": word}, spec)
    padded = _signature(lambda word: {"y": tf.strings.join([word, "\0"])}, spec)
    assert compare({"f": plain}, {"f": plain}) == ("f",)
    with pytest.raises(VerificationError, match="'y"):
        compare({"f": plain}, {"f": padded})


def test_verify_sees_a_difference_in_large_batches_only(compare):
    other = _signature(lambda x: {"y": tf.cond(tf.shape(x)[0] > 2, lambda: x + 1.0, lambda: x)})
    with pytest.raises(VerificationError, match=r"shapes \{'x': \[61, 2\]\}"):
        compare({"f": _signature(lambda x: {"y": x})}, {"f": other})


def test_verify_sees_a_difference_in_given_examples_only(compare):
    spec = [tf.TensorSpec([None], tf.string, name="examples")]
    features = {"x": tf.io.FixedLenFeature([], tf.float32)}

    def signature(threshold):
        def parse(examples):
            x = tf.io.parse_example(examples, features)["x"]
            return {"y": tf.where(x > threshold, -1.0, x)}

        return _signature(parse, spec)

    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(1500.0)
    before, after = {"f": signature(1000.0)}, {"f": signature(2000.0)}
    assert compare(before, after) == ("f",)
    with pytest.raises(VerificationError, match=r"shapes \{'examples': \[1\]\}"):
        compare(before, after, [example.SerializeToString()])


def test_verify_sees_that_an_input_is_refused_by_one_model_only(compare):
    def strict(x):
        with tf.control_dependencies([tf.debugging.assert_less(tf.shape(x)[0], 2)]):
            return {"y": tf.identity(x)}

    plain = _signature(lambda x: {"y": tf.identity(x)})
    with pytest.raises(VerificationError, match="it refuses an input"):
        compare({"f": plain}, {"f": _signature(strict)})
    with pytest.raises(VerificationError, match="it takes an input that the source refuses"):
        compare({"f": _signature(strict)}, {"f": plain})


def test_verify_is_content_with_one_batch_size(compare):
    def single(x):
        return {"y": tf.ensure_shape(x, [1, 2])}

    assert compare({"f": _signature(single)}, {"f": _signature(single)}) == ("f",)


@pytest.mark.parametrize(
    "after",
    [
        {"f": _signature(lambda x: {"z": x})},
        {"g": _signature(lambda x: {"y": x})},
        {"f": _signature(lambda x: {"y": x}), "g": _signature(lambda x: {"y": x})},
        {"f": _signature(lambda x: {"y": tf.cast(x, tf.float64)})},
        {"f": _signature(lambda x: {"y": x}, [tf.TensorSpec([None, 2], name="renamed")])},
        {"f": _signature(lambda x: {"y": x}, [tf.TensorSpec([1, 2], name="x")])},
    ],
    ids=["output name", "signature name", "more signatures", "output dtype", "input name", "input shape"],
)
def test_verify_sees_another_declaration(after, compare):
    with pytest.raises(VerificationError, match=r"The stripped model declares signature '[fg]' in another way"):
        compare({"f": _signature(lambda x: {"y": x})}, after)


def test_verify_passes_a_model_that_counts_its_calls(tmp_path):
    module = tf.Module()
    module.count = tf.Variable(0.0)
    counting = _signature(lambda x: {"y": x + module.count.assign_add(1.0)})
    for name in ("before", "after"):
        tf.saved_model.save(module, tmp_path / name, signatures={"f": counting})
    before, after = str(tmp_path / "before"), str(tmp_path / "after")
    saved = SavedObjects.read(before)
    answers = answers_of(saved, tf.saved_model.load(before))
    checked = verify(
        answers,
        saved.meta_graph,
        tf.saved_model.load(after),
        SavedObjects.read(after).meta_graph,
        lambda: tf.saved_model.load(before),
    )
    assert checked == ("f",)


def test_verify_names_a_random_source(compare):
    def noise(x):
        return {"y": x + tf.raw_ops.RandomStandardNormal(shape=tf.shape(x), dtype=tf.float32, seed=0, seed2=0)}

    with pytest.raises(VerificationError, match="the source model's own answer differs from call to call"):
        compare({"f": _signature(noise)}, {"f": _signature(noise)})


def test_verify_refuses_to_pass_what_it_cannot_check(compare):
    never = _signature(lambda x: {"y": tf.debugging.check_numerics(x / 0.0, "always")})
    expected = r"'f' cannot be checked.*'x' \(float32, shape \(None, 2\)\); the last refusal was: always : Tensor had"
    with pytest.raises(VerificationError, match=expected):
        compare({"f": never}, {"f": never})
