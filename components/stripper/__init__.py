"""The Stripper component."""
