"""Folding masks into the weights that they prune."""
