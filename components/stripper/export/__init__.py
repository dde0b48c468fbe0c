"""A stripped model in other formats."""
