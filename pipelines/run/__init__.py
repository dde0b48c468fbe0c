"""A pipeline run on this machine."""
