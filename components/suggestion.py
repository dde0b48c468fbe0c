"""suggestion: what a message says of a name that is not known."""

import difflib
from collections.abc import Collection


def suggestion(name: str, known: Collection[str]) -> str:
    """The known name that was probably meant, or all of them if none is close.

    Args:
        name: The name that is not known.
        known: The names that are, in the order in which they are shown.

    Returns:
        A sentence, for the end of an error message.

    Example:
        >>> suggestion("target_sparsty", ["target_sparsity", "allocation"])
        "Did you mean 'target_sparsity'?"
        >>> suggestion("steps", ["target_sparsity", "allocation"])
        'There are target_sparsity, allocation.'
    """
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(known) or 'none'}."
