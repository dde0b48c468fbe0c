"""Several pruned copies of one dense model."""
