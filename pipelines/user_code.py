"""UserCode: a user's module, as errors point to it."""

import dataclasses
import importlib.util
import pathlib
import re
import sysconfig
import traceback
from collections.abc import Iterator

import tfx_pruning
from tfx_pruning.engine.shown import escaped
from tfx_pruning.pipelines.config import PipelineConfig

# What `importable_copy` adds to the name of a module.
_COPY = re.compile(r"_[0-9a-f]{12}$")
# AutoGraph tells of the lines that it compiled in the message, not in the traceback.
_LINE_IN_MESSAGE = re.compile(r'File "([^"]+)", line (\d+), in ([\w.<>]+)')
_FOREIGN = tuple(
    pathlib.Path(folder).resolve()
    for folder in (
        *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *tfx_pruning.__path__,
        pathlib.Path(__file__).parent,
    )
)
_MOST = 500  # characters of an error's message


@dataclasses.dataclass(frozen=True)
class UserCode:
    """A user's module and the files beside it, of which TFX runs copies.

    Attributes:
        file: The module's file.
    """

    file: pathlib.Path

    @classmethod
    def of(cls, config: PipelineConfig) -> "UserCode":
        """The module of a configuration; a file that does not exist if it is not on this machine."""
        if not config.module_path:
            return cls(pathlib.Path(config.module_file).absolute())
        try:
            spec = importlib.util.find_spec(config.module_path)
        except ImportError:
            spec = None
        return cls(pathlib.Path(spec.origin if spec and spec.origin else config.module_path))

    def described(self, error: BaseException) -> str:
        """An error as its type, its message, and the line of the user's code that it comes from, if there is one.

        Args:
            error: The error, with its traceback.

        Returns:
            Text on one line, as "NameError: name 'x' is not defined, at /home/me/houses.py:12 in run_fn".
        """
        # TFX, Beam and others may raise an error of their own in place of the module's.
        of_user = next((each for each in _chain(error) if self._place(each)), error)
        kind, text = type(of_user).__name__, str(of_user)
        if "in user code:" in text:
            text = re.split(r"\n\s*\n", text.strip())[-1]
        text = escaped(" ".join(text.split())).removeprefix(f"{kind}:").strip().rstrip(".")
        if len(text) > _MOST:
            text = f"{text[:_MOST]}..."
        described = f"{kind}: {text}" if text else kind
        place = self._place(of_user)
        return f"{described}, at {place}" if place else described

    def _place(self, error: BaseException) -> str | None:
        found = None
        for file, line, function in _lines(error):
            if own := self._own(pathlib.Path(file)):
                found = f"{own}:{line} in {function}" if function else f"{own}:{line}"
        return found

    def _own(self, file: pathlib.Path) -> pathlib.Path | None:
        """The user's file that a file of a traceback is, or is a copy of."""
        resolved = file.resolve()
        if resolved == self.file.resolve():
            return self.file
        if any(resolved.is_relative_to(folder) for folder in _FOREIGN) or file.name == "__init__.py":
            return None
        # A root, and with it a copy, may be below the module's folder.
        if self.file.parent.resolve() in resolved.parents and not _COPY.search(file.parent.name):
            return resolved
        if _COPY.sub("", file.stem) == re.sub(r"[^A-Za-z0-9_]", "_", self.file.stem) or file.name == self.file.name:
            return self.file
        beside = self.file.with_name(file.name)
        return beside if beside.is_file() else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised in place of."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _lines(error: BaseException) -> Iterator[tuple[str, int, str]]:
    """File, line and function of the lines that an error went through, the innermost last."""
    for frame in traceback.extract_tb(error.__traceback__):
        yield frame.filename, frame.lineno or 0, frame.name
    for file, line, function in _LINE_IN_MESSAGE.findall(str(error)):
        yield file, int(line), function
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        yield error.filename, error.lineno, ""
