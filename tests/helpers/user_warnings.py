"""The warnings that a piece of code gives its user."""

import contextlib
import re
import warnings


@contextlib.contextmanager
def warned(*patterns):
    """Expects exactly these user warnings, in order; none without a pattern.

    With Python's own filters a warning that is given twice from one place would be seen once.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    texts = [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
    assert len(texts) == len(patterns), texts
    for text, pattern in zip(texts, patterns, strict=True):
        assert re.search(pattern, text), text
