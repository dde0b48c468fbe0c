"""Training loops of one's own on several replicas, and two worker processes."""

import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from helpers import replicas

TIMEOUT = 300


def assert_same_masks(arrays, expected):
    assert arrays.keys() == expected.keys()
    for name, value in expected.items():
        if "/mask_" in f"/{name}":
            np.testing.assert_array_equal(arrays[name], value)
        else:
            np.testing.assert_allclose(arrays[name], value, rtol=1e-4, atol=1e-6)
        if "/gradient_" not in f"/{name}":
            assert np.count_nonzero(arrays[name]) == round(value.size * 0.3), name


@pytest.mark.slow
@pytest.mark.parametrize("version", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_a_loop_on_two_replicas_gives_the_masks_of_one_device(version):
    expected = replicas.state_arrays(replicas.train_by_a_loop(version, tf.distribute.get_strategy()))
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    pruning = replicas.train_by_a_loop(version, tf.distribute.MirroredStrategy(devices))
    assert_same_masks(replicas.state_arrays(pruning), expected)
    for state in pruning.states:
        for mirrored in (state.mask, state.weight, state.gradient):
            first, second = (component.numpy() for component in mirrored.values)
            np.testing.assert_array_equal(first, second)


@pytest.mark.e2e
def test_two_workers_give_the_masks_of_one_device(tmp_path):
    expected = replicas.train_all(tf.distribute.get_strategy())
    addresses = ",".join(f"localhost:{port}" for port in free_ports(2))
    files = [tmp_path / f"worker_{index}.npz" for index in range(2)]
    workers = [
        subprocess.Popen(
            [sys.executable, replicas.__file__, addresses, str(index), str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index, file in enumerate(files)
    ]
    try:
        printed = [worker.communicate(timeout=TIMEOUT)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(printed)
    first, second = (dict(np.load(file)) for file in files)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    assert_same_masks(first, expected)


def free_ports(count):
    """Ports that no one listens on; all are held at once, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
