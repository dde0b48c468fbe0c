"""The PruningTrainer component."""
