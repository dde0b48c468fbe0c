"""Which sparsity gives a model of a size or a latency."""
