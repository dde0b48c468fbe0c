"""Pipelines that run PruningTrainer and Stripper."""
