"""Pruning inside Keras's `fit`."""
