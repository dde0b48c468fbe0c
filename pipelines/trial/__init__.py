"""A user's module, tried on a few examples before a pipeline runs."""
