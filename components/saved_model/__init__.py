"""SavedModels and checkpoints as files and graphs; nothing of pruning."""
