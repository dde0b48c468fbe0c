"""User modules of the pipelines: preprocessing and training functions, as any TFX project has them."""
