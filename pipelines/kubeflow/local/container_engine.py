"""ContainerEngine: how a container's command is run."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Protocol

ENGINES = ("process", "podman")


class ContainerEngine(Protocol):
    """Runs the command of one container to its end."""

    def run(self, image: str, command: Sequence[str], environment: Mapping[str, str], log: pathlib.Path) -> int:
        """Runs a command.

        Args:
            image: The container's image.
            command: The command and its arguments, placeholders replaced.
            environment: Variables that the container has besides its own.
            log: File to which standard output and error are appended.

        Returns:
            The command's exit status.
        """


class ProcessEngine:
    """Runs commands as processes of this machine, in this Python environment; the image is not looked at."""

    def run(self, image: str, command: Sequence[str], environment: Mapping[str, str], log: pathlib.Path) -> int:
        """As ContainerEngine, in an empty working directory."""
        # `python` is this interpreter, as in a container it is the image's.
        path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        with tempfile.TemporaryDirectory() as directory:
            return _logged(command, log, env=os.environ | environment | {"PATH": path}, cwd=directory)


class PodmanEngine:
    """Runs commands in containers of their own, which share one folder with this machine and with each other, and may
    read others.

    Settings of podman itself (storage, runtime, network) are those of its configuration files, or of those that
    CONTAINERS_CONF and CONTAINERS_STORAGE_CONF name.
    """

    def __init__(self, shared: pathlib.Path, read_only: Sequence[pathlib.Path] = ()) -> None:
        """Checks that podman is there.

        Args:
            shared: The folder; containers see it under the same path. The image's user must be allowed to write to it.
            read_only: Folders that containers see under the same paths, too, and cannot write to.

        Raises:
            ValueError: podman is not installed.
        """
        if shutil.which("podman") is None:
            raise ValueError("podman is not installed: install it, or run with --engine=process.")
        self._volumes = [f"--volume={shared}:{shared}", *(f"--volume={folder}:{folder}:ro" for folder in read_only)]

    def run(self, image: str, command: Sequence[str], environment: Mapping[str, str], log: pathlib.Path) -> int:
        """As ContainerEngine, in the image's working directory."""
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        podman = [
            "podman",
            "run",
            "--rm",
            "--pull=never",
            *self._volumes,
            *variables,
            f"--entrypoint={command[0]}",
            image,
        ]
        return _logged([*podman, *command[1:]], log)


def container_engine(name: str, shared: pathlib.Path, read_only: Sequence[pathlib.Path] = ()) -> ContainerEngine:
    """The engine of that name, one of ENGINES; the folders are for containers, as PodmanEngine has them.

    Raises:
        ValueError: It is not installed.
    """
    return PodmanEngine(shared, read_only) if name == "podman" else ProcessEngine()


def _logged(
    command: Sequence[str], log: pathlib.Path, env: Mapping[str, str] | None = None, cwd: str | None = None
) -> int:
    with log.open("ab") as file:
        try:
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env, cwd=cwd, check=False
            ).returncode
        except OSError as error:
            file.write(f"{command[0]} cannot be run: {error}\n".encode())
            return 127
