"""Results of trainings, kept in a file as they come, so that a run that was cut short goes on."""

import json
import pathlib
from typing import Any


class ResultsFile:
    """JSON values by key, one a line; the file is read when opened and appended to, never rewritten.

    A key must say all that a result depends on. It cannot say how the code was: when that changes, delete the file.
    """

    def __init__(self, path: pathlib.Path | None) -> None:
        """Reads `path`, if it is there; without a path nothing is kept.

        Raises:
            ValueError: A line is no result; the last one may be cut short, and is dropped.
        """
        self._path = path
        self._values: dict[str, Any] = {}
        if path is None or not path.exists():
            return
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                key, value = json.loads(line)
            except ValueError as error:
                raise ValueError(
                    f"{path}:{number} is no result of a training: delete the line, or the file."
                ) from error
            self._values[json.dumps(key)] = value
        if whole != text:
            path.write_text(whole, encoding="utf-8")

    def __contains__(self, key: Any) -> bool:
        return json.dumps(key) in self._values

    def __getitem__(self, key: Any) -> Any:
        return self._values[json.dumps(key)]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._values[json.dumps(key)] = value
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, value]) + "\n")
