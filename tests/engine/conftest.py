import keras
import pytest
import tensorflow as tf


def pytest_configure():
    # Two devices to mirror on, as two GPUs would be; must come before TensorFlow first uses the CPU.
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(autouse=True)
def _same_weights_in_every_run():
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _collectives_of_their_own():
    # Two MirroredStrategies of one process number their collective operations alike, and TensorFlow takes those of the
    # one, of other shapes, for the other's; its own tests do this.
    tf.distribute.MirroredStrategy._collective_key_base += 100_000
