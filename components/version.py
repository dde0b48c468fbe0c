"""The package's version, read by setup without importing TensorFlow."""

__version__ = "0.1.0"
