"""SavedModels and checkpoints as files and graphs. Nothing here knows of pruning."""
