"""output_in: sends what a process prints to a file."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def output_in(log: pathlib.Path) -> Iterator[tuple[TextIO, TextIO]]:
    """Appends to a file what the process, its C++ code and its children print; yields the real stdout and stderr."""
    with log.open("a", encoding="utf-8") as file:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = os.dup(1), os.dup(2)
        try:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)
            with (
                open(kept[0], "w", encoding="utf-8", closefd=False) as stdout,
                open(kept[1], "w", encoding="utf-8", closefd=False) as stderr,
            ):
                yield stdout, stderr
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, former in zip((1, 2), kept, strict=True):
                os.dup2(former, descriptor)
                os.close(former)
