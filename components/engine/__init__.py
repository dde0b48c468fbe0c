"""Pruning itself: what it computes and how a training run is pruned. Imports no TFX."""
