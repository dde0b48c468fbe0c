"""RunFolder: the places of what a run on this machine writes."""

import dataclasses
import pathlib
import tempfile


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The folder of a pipeline's runs, and the places in it.

    Attributes:
        root: The folder, an absolute path.
    """

    root: pathlib.Path

    @property
    def artifacts(self) -> pathlib.Path:
        """Where the components write."""
        return self.root / "artifacts"

    @property
    def serving(self) -> pathlib.Path:
        """Where models are pushed to."""
        return self.root / "serving"

    @property
    def metadata(self) -> pathlib.Path:
        """ML Metadata's SQLite file."""
        return self.root / "metadata.sqlite"

    @property
    def report(self) -> pathlib.Path:
        """The page on the latest run."""
        return self.root / "report.html"

    @property
    def log(self) -> pathlib.Path:
        """What TFX and TensorFlow print."""
        return self.root / "run.log"

    def make(self) -> None:
        """Makes the folder if it is missing.

        Raises:
            ValueError: It cannot be made or written to.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise ValueError(
                f"root must be a folder that can be written to, got {self.root} ({error.strerror}): name another one "
                "with --root."
            ) from error
