"""Models of TensorFlow 1: SavedModels and checkpoints that are a graph and a saver, without objects."""
