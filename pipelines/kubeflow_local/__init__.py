"""What the launcher of compiled pipelines is made of; nothing here imports kfp or tfx."""
