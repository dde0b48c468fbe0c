"""log_end: the last lines of a log, for an error message."""

import pathlib

from tfx_pruning.engine.shown import escaped

_LINES = 20
_BYTES = 64 * 1024


def log_end(log: pathlib.Path, lines: int = _LINES) -> str:
    """The last lines of a log, without what controls a terminal; '' if there is no log.

    Args:
        log: The file.
        lines: How many lines.
    """
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _BYTES))
        text = file.read().decode("utf-8", errors="replace")
    return "\n".join(escaped(line.replace("\t", "    ")) for line in text.splitlines()[-lines:])
