"""The commands of `tfx-pruning` that run pipelines."""
