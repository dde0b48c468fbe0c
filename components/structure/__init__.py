"""Which indices of which axes live and die together, found in a graph of functions."""
