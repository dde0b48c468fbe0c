"""The table that a benchmark prints, and keeps on a page of docs/."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import re
import shlex
import sys
from collections.abc import Sequence

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PAGE = "benchmarks.md"
_PACKAGES = (
    "tfx-pruning",
    "tensorflow",
    "keras",
    "numpy",
    "tensorflow-model-optimization",
    "model-pruning-google-research",
)


def publish(
    name: str,
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str],
    *,
    page: str = _PAGE,
) -> None:
    """Prints a table with the date, versions and command it came from, and puts it on the page.

    Args:
        name: Name of its place on the page, between `<!-- name -->` and `<!-- /name -->`; what stood there goes.
        title: Heading.
        header: Column names.
        rows: Cells; the first column is text, the others are numbers.
        notes: Sentences that follow the table.
        page: Name of the page, a file of docs/.

    Raises:
        ValueError: The page has no such place.
    """
    header, *rows = ([cell.replace("|", r"\|") for cell in row] for row in [header, *rows])
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        numbers = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join([cells[0].ljust(widths[0]), *numbers])} |"

    rule = "|".join(["", "-" * (widths[0] + 2), *(f"{'-' * (width + 1)}:" for width in widths[1:]), ""])
    text = "\n".join(
        [
            f"## {title}",
            "",
            line(header),
            rule,
            *(line(row) for row in rows),
            "",
            *(f"- {note}" for note in notes),
            f"- {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, {_machine()}",
            f"- Python {platform.python_version()}, {_versions()}",
            f"- `{_command()}`",
            "",
        ]
    )
    print(text, flush=True)
    file = _ROOT / "docs" / page
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    content = file.read_text(encoding="utf-8")
    content, places = re.subn(f"(?<={begin}).*?(?={end})", lambda _: text, content, flags=re.DOTALL)
    if places != 1:
        raise ValueError(f"{file} must have one place for this table: put the lines {begin!r} and {end!r} there.")
    file.write_text(content, encoding="utf-8")


def _machine() -> str:
    load = f"load average {os.getloadavg()[2]:.1f}"
    priority = f", at the priority {nice} (nice)" if (nice := os.getpriority(os.PRIO_PROCESS, 0)) else ""
    return f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {load}{priority}"


def _versions() -> str:
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def _command() -> str:
    script = pathlib.Path(sys.argv[0]).resolve().relative_to(_ROOT)
    # Where something lies on this machine is of no use to a reader.
    arguments = ("PATH" if os.path.isabs(each) else each for each in sys.argv[1:])
    return shlex.join(["python", str(script), *arguments])
