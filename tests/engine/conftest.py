import tensorflow as tf


def pytest_configure():
    # Two devices to mirror on, as two GPUs would be; must come before TensorFlow first uses the CPU.
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
