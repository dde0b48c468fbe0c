"""What ML Metadata records of runs, models and where they came from. Imports ml_metadata, and no TFX."""
