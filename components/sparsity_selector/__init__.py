"""SparsitySelector: the sparsest of several models that is good enough."""
