"""Shrinking: dead units leave a stripped SavedModel, whose tensors become smaller."""
