"""Names of splits, as components take them."""

from collections.abc import Sequence


def check_splits(value: Sequence[str] | None) -> None:
    """Raises a TypeError or ValueError unless `value` is None or a list of distinct names of splits."""
    if value is None:
        return
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(each, str) for each in value):
        raise TypeError(f"splits is {value!r}, expected a list of names of splits such as ['eval'], or None.")
    if not value or not all(value) or len(set(value)) != len(value):
        raise ValueError(
            f"splits is {list(value)!r}, expected one or more names, each once and none empty; leave it out for the "
            "component's own choice."
        )
