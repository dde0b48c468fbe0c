"""SavedModels of TensorFlow 2, which hold objects."""
