"""Folders that `tfx-pruning init` copies: a module, its settings and a little data. Nothing here is imported."""
