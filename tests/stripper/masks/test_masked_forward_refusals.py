"""Masks in a forward pass that Stripper refuses."""

import os

import pytest
import tensorflow as tf

import tfx_pruning
from helpers.masked_models import masked_weight, served
from tfx_pruning import apply_mask, strip_saved_model
from tfx_pruning.engine.weight_state import WeightState


def _refused(module, serve, tmp_path, message, error=ValueError):
    tf.saved_model.save(module, tmp_path / "in", signatures={"serve": served(serve)})
    with pytest.raises(error, match=message):
        strip_saved_model(tmp_path / "in", tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize("kind", ["threshold", "gradient", "old_weight"])
def test_strip_refuses_a_signature_that_reads_other_pruning_state(kind, tmp_path, attach_state):
    module = tf.Module()
    module.kernel = tf.Variable(tf.ones([4, 2]), name="dense/kernel")
    state = attach_state(module.kernel)

    def serve(x):
        masked = lambda: x @ (module.kernel * getattr(state, kind))  # noqa: E731
        return {"y": tf.cond(tf.shape(x)[0] > 1, masked, lambda: x @ module.kernel)}

    message = (
        rf"Signature 'serve' of '.*in' reads .*'kernel/pruning/{kind}' .*Mul 'cond/mul' in the function 'cond_true"
    )
    _refused(module, serve, tmp_path, message)


def test_strip_refuses_a_signature_that_reports_a_mask(tmp_path):
    module = tf.Module()
    module.weight = masked_weight("weight")

    def serve(x):
        kept = tf.cast(WeightState.of(module.weight).mask, tf.float32)
        return {"y": x @ apply_mask(module.weight), "kept": tf.reduce_sum(kept)}

    _refused(
        module, serve, tmp_path, r"Signature 'serve' .* reads .*'weight/pruning/mask' .*: Sum 'Sum' in the function"
    )


def test_strip_refuses_a_signature_that_returns_a_mask(tmp_path):
    module = tf.Module()
    module.weight = masked_weight("weight")
    mask = tf.function(lambda: WeightState.of(module.weight).mask.value())
    _refused(
        module,
        lambda x: {"y": x @ (module.weight * tf.cast(mask(), tf.float32))},
        tmp_path,
        r"Signature 'serve' .* reads .*'weight/pruning/mask' .*: return 'identity' in the function",
    )


@pytest.mark.slow
def test_strip_refuses_a_signature_that_updates_masks(tmp_path):
    module = tf.Module()
    module.weight = masked_weight("weight")
    hparams = tfx_pruning.PruningHParams(prune_option="weight", target_sparsity=0.5, begin_pruning_step=0)
    module.pruning = tfx_pruning.Pruning(hparams, [module.weight])

    def serve(x):
        module.pruning.conditional_mask_update(5)
        return {"y": x @ apply_mask(module.weight)}

    _refused(
        module, serve, tmp_path, r"Signature 'serve' .* the pruning variable 'pruning/last_mask_update_step' other than"
    )


def test_strip_refuses_a_loop_that_changes_what_it_multiplies_by(tmp_path):
    module = tf.Module()
    module.weight = masked_weight("weight")

    def serve(x):
        mask = tf.cast(WeightState.of(module.weight).mask, tf.float32)
        _, y, _ = tf.while_loop(
            lambda i, *_: i < 2, lambda i, s, m: (i + 1, s @ (module.weight * m), 1.0 - m), (0, x, mask)
        )
        return {"y": y}

    _refused(module, serve, tmp_path, r"reads .*'weight/pruning/mask' .*: While 'while' in the function")


def test_strip_refuses_a_weight_that_is_used_without_its_mask_and_not_zero_there(tmp_path):
    module = tf.Module()
    module.weight = masked_weight("weight")
    message = r"The weight 'weight' of '.*in' is multiplied by its mask, and used without its mask too: MatMul"
    _refused(module, lambda x: {"y": x @ apply_mask(module.weight), "z": x @ module.weight}, tmp_path, message)


def test_strip_refuses_a_signature_that_changes_a_masked_weight(tmp_path):
    module = tf.Module()
    module.weight = masked_weight("weight")
    module.weight.assign(tf.where(WeightState.of(module.weight).mask, module.weight, 0.0))

    def serve(x):
        module.weight.assign_add(tf.ones([4, 4]))
        return {"y": x @ apply_mask(module.weight)}

    message = r"The weight 'weight' .* is multiplied by its mask, and changed too: AssignAddVariableOp"
    _refused(module, serve, tmp_path, message)


def test_strip_refuses_two_masks_of_one_weight(tmp_path):
    module = tf.Module()
    module.weight = masked_weight("weight")
    module.second = tf.Variable(tf.eye(4), name="second/pruning/mask")
    message = r"'weight' of '.*in' is multiplied by '.*' and by '.*', whose products differ"
    _refused(
        module,
        lambda x: {"y": x @ apply_mask(module.weight), "z": x @ (module.weight * module.second)},
        tmp_path,
        message,
    )


def test_strip_refuses_a_mask_of_fractions(tmp_path):
    module = tf.Module()
    module.weight = tf.Variable(tf.ones([4, 4]), name="weight")
    module.soft = tf.Variable(tf.fill([4, 4], 0.5), name="weight/pruning/mask")
    message = "mask 'soft' of '.*in' has values other than 0 and 1"
    _refused(module, lambda x: {"y": x @ (module.weight * module.soft)}, tmp_path, message)


def test_strip_refuses_a_mask_of_another_shape(tmp_path):
    module = tf.Module()
    module.weight = tf.Variable(tf.ones([4, 4]), name="weight")
    module.rows = tf.Variable(tf.ones([4, 1]), name="weight/pruning/mask")
    message = r"Signature 'serve' .* reads the pruning variable 'rows' .*: Mul 'mul'"
    _refused(module, lambda x: {"y": x @ (module.weight * module.rows)}, tmp_path, message)
