"""`tfx-pruning init`."""

import contextlib
import importlib.resources
import os
import pathlib
import shlex
import shutil
import tempfile

import click

from tfx_pruning.cli.console import Output, reporting

TEMPLATES = {
    "tabular": "prices of diamonds, from numbers and words",
    "images": "handwritten digits, from PNG files",
    "text": "the time of a sentence, from its words",
}
_CONFIG = "pipeline.yaml"


@click.command("init", short_help="Make a folder with a small pipeline that runs, to begin your own from.")
@click.argument("folder", type=click.Path(path_type=pathlib.Path))
@click.option(
    "--template",
    type=click.Choice(tuple(TEMPLATES)),
    default="tabular",
    show_default=True,
    help="; ".join(f"{name}: {what}" for name, what in TEMPLATES.items()) + ".",
)
@reporting
def command(output: Output, folder: pathlib.Path, template: str) -> None:
    """Makes FOLDER with a module, settings, a little real data, and a README that says what to change for your own.

    \b
    Examples:
      tfx-pruning init diamonds
      tfx-pruning init digits --template images

    \b
    Exit status: 0 if all went well, 1 if FOLDER cannot be written, 2 if there is something in it.
    JSON: {"folder", "files": [...], "run"}; run is the command that runs the pipeline.
    """
    try:
        files = copy_template(template, folder)
    except FileExistsError as error:
        raise click.UsageError(str(error)) from None
    config, root = folder / _CONFIG, folder / "out"
    call = shlex.join(["tfx-pruning", "run", "--root", str(root), "--config", str(config)])
    output.result(
        {"folder": str(folder), "files": files, "run": call},
        lambda console: console.print("\n".join([*(str(folder / name) for name in files), "", "Next:", f"  {call}"])),
    )


def copy_template(template: str, folder: pathlib.Path) -> list[str]:
    """Copies the folder of a template; all of it, or nothing.

    Args:
        template: One of `TEMPLATES`.
        folder: A path where there is nothing, or an empty folder. Missing parents are made.

    Returns:
        The files, relative to `folder`, in order.

    Raises:
        FileExistsError: There is something at `folder`.
        OSError: It cannot be written.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty. Name a folder that is not there yet.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as staged:
        # By its path from the package: the folder of a template is no package.
        with importlib.resources.as_file(importlib.resources.files("tfx_pruning.templates")) as examples:
            made = pathlib.Path(shutil.copytree(examples / template, pathlib.Path(staged) / template, ignore=_CACHES))
        for path in (made, *made.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()
        os.rename(made, folder)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


_CACHES = shutil.ignore_patterns("__pycache__", "*.pyc")
