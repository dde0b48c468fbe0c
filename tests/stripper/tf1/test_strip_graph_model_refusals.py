"""What strip_saved_model refuses of TensorFlow 1, with one clear error, and that nothing is left behind then."""

import os

import numpy as np
import pytest
import tensorflow as tf

from helpers.graph_models import X, graph, layer, run, save, save_model, signature_def, tf1, trained, variables
from tfx_pruning import strip_saved_model
from tfx_pruning.saved_model.checkpoint import Checkpoint
from tfx_pruning.stripper.check import verify
from tfx_pruning.stripper.tf1 import saved_model, value_writer


def _refused(tmp_path, message, error=ValueError):
    with pytest.raises(error, match=message):
        strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]


def _save(tmp_path, answer, **options):
    """Saves a model with a masked layer `only` and the answer of a function of its input and its graph's tensors."""
    with graph(use_resource=False) as built, tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        y = layer(x, "only")
        y = answer(x, y, lambda name: built.get_tensor_by_name(f"only/{name}:0"))
        trained(session)
        save(tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": y})}, **options)


def test_strip_refuses_a_signature_that_reports_on_a_mask(tmp_path):
    _save(tmp_path, lambda x, y, tensor: y + tf.reduce_mean(tensor("mask/read"), name="density"))
    _refused(tmp_path, r"tags \['serve'\].*uses the pruning variable 'only/mask' other than.*Mean 'density'")


def test_strip_refuses_a_signature_that_reports_on_a_threshold(tmp_path):
    _save(tmp_path, lambda x, y, tensor: y + tf.identity(tensor("threshold/read")) * 2)
    _refused(tmp_path, r"uses the pruning variable 'only/threshold' other than")


def test_strip_refuses_a_signature_that_prunes(tmp_path):
    def pruning(x, y, tensor):
        with tf.control_dependencies([tf1.assign(tensor("mask"), tf.zeros([4, 3]))]):
            return tf.identity(y)

    _save(tmp_path, pruning)
    _refused(tmp_path, r"uses the pruning variable 'only/mask' other than.*Assign")


def test_strip_refuses_a_weight_that_is_used_without_its_mask_too(tmp_path):
    _save(tmp_path, lambda x, y, tensor: y + tf.matmul(x, tensor("weights/read"), name="bare"))
    _refused(tmp_path, r"weight 'only/weights' .* used without its mask too: MatMul 'bare'")


def test_strip_takes_a_weight_that_is_used_without_its_mask_but_is_zero_there(tmp_path):
    with graph(use_resource=False) as built, tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        y = layer(x, "only") + tf.matmul(x, built.get_tensor_by_name("only/weights/read:0"))
        trained(session)
        session.run(tf1.global_variables()[0].assign(built.get_tensor_by_name("only/weights/masked_weight:0")))
        save(tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": y})})
    strip_saved_model(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(run(tmp_path / "out", {"x": X})["y"], run(tmp_path / "in", {"x": X})["y"])


def test_strip_refuses_a_mask_of_other_values(tmp_path):
    def doubled(weights, scope):
        with tf1.variable_scope(scope):
            mask = tf1.get_variable("mask", weights.shape, initializer=tf1.constant_initializer(2), trainable=False)
        return tf.multiply(mask, weights, name="weights/masked_weight")

    with graph(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        y = layer(x, "only", multiply=doubled)
        session.run(tf1.global_variables_initializer())
        save(tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": y})})
    _refused(tmp_path, "mask 'only/mask' has values other than 0 and 1")


def test_strip_refuses_two_masks_of_one_weight(tmp_path):
    with graph(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        weights = tf1.get_variable("weights", [4, 3])
        products = []
        for name in ("a", "b"):
            with tf1.variable_scope(name):
                mask = tf1.get_variable("mask", [4, 3], trainable=False)
                products.append(tf.multiply(mask, weights, name="weights/masked_weight"))
        y = tf.matmul(x, products[0]) + tf.matmul(x, products[1])
        trained(session)
        save(tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": y})})
    _refused(tmp_path, "weight 'weights' is multiplied by two masks, whose products differ")


def test_strip_refuses_a_masked_weight_that_is_something_else(tmp_path):
    with graph(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [4, 3], name="x")
        y = layer(x, "only", multiply=lambda weights, scope: tf.multiply(x, x, name="masked_weight")[:3])
        trained(session)
        save(tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": y})})
    _refused(tmp_path, "'only/masked_weight' does not multiply a variable by its mask, but 'x' by 'x'")


def test_strip_refuses_a_masked_weight_in_a_function(tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        y = tf1.cond(tf.reduce_sum(x) > 0, lambda: layer(x, "positive"), lambda: layer(x, "negative"))
        trained(session)
        save(tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": y})})
    _refused(tmp_path, r"multiplied by its mask in a function, at '.*masked_weight'.*disable_control_flow_v2")


def test_strip_refuses_a_variable_that_is_not_saved(tmp_path):
    with graph(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        lost = tf1.get_variable("lost", [4], collections=[tf1.GraphKeys.LOCAL_VARIABLES])
        y = layer(x + lost, "only")
        trained(session)
        session.run(lost.initializer)
        save(tmp_path / "in", session, {"serving_default": ({"x": x}, {"y": y})})
    _refused(tmp_path, "its variable 'lost' is neither saved nor initialized")


def test_strip_refuses_a_checkpoint_that_lacks_a_variable(tmp_path):
    save_model(tmp_path / "in")
    keys = [key for key in variables(tmp_path / "in") if key != "second/weights"]
    value_writer.write_values(Checkpoint(str(tmp_path / "in")), str(tmp_path / "in"), keys, {})
    _refused(tmp_path, "its variable 'second/weights' has no value")


def test_strip_refuses_damaged_values(tmp_path):
    save_model(tmp_path / "in")
    values = tmp_path / "in" / "variables" / "variables.data-00000-of-00001"
    values.write_bytes(bytes(reversed(values.read_bytes())))
    _refused(
        tmp_path, r"(?s)The variables of the SavedModel at .* cannot be read: .*[Cc]hecksum.*save the model again\.$"
    )


def test_strip_refuses_a_model_that_is_only_for_training(tmp_path):
    save_model(tmp_path / "in", tags=("train",))
    _refused(tmp_path, r"MetaGraphs with the tags \[\['train'\]\], expected one that is not for training alone")


def test_strip_refuses_a_graph_without_signatures(tmp_path):
    with graph(), tf1.Session() as session:
        layer(tf.constant(X), "only")
        trained(session)
        save(tmp_path / "in", session, {})
    _refused(tmp_path, r"tags \['serve'\].*has no signatures")


def test_strip_refuses_meta_graphs_with_other_masks(tmp_path):
    with graph(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        weights = tf1.get_variable("weights", [4, 3])
        signatures = []
        for name in ("a", "b"):
            with tf1.variable_scope(name):
                mask = tf1.get_variable("mask", [4, 3], trainable=False)
                product = tf.multiply(mask, weights, name="weights/masked_weight")
                signatures.append({name: signature_def({"x": x}, {"y": tf.matmul(x, product)})})
        trained(session)
        builder = tf1.saved_model.Builder(str(tmp_path / "in"))
        builder.add_meta_graph_and_variables(session, ["serve", "a"], signatures[0])
        builder.add_meta_graph(["serve", "b"], signatures[1])
        builder.save()
    _refused(tmp_path, "weight 'weights' .* different masks in two MetaGraphs")


def test_strip_refuses_a_random_answer(tmp_path):
    def noisy(x, y, tensor):
        return y + tf.raw_ops.RandomStandardNormal(shape=tf.shape(y), dtype=tf.float32, seed=0, seed2=0)

    _save(tmp_path, noisy)
    _refused(tmp_path, "'serving_default' cannot be checked.*differs from call to call", verify.VerificationError)


def test_strip_publishes_no_graph_whose_answer_changes_by_one_bit(tmp_path, monkeypatch):
    save_model(tmp_path / "in")

    def write_off_by_one_bit(source, folder, keys, changed):
        write = value_writer.write_values
        write(source, folder, keys, {entry: np.nextafter(value, np.float32(9)) for entry, value in changed.items()})

    monkeypatch.setattr(saved_model, "write_values", write_off_by_one_bit)
    _refused(tmp_path, "'serving_default' of the stripped model differs.*'y", verify.VerificationError)
