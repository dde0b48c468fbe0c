"""`tfx-pruning`: the commands, each loaded when it is asked for."""

import importlib.metadata
from typing import Any

import click

from ..version import __version__
from .interruption import ended_by_signals

# Entry points of this group are the commands; those of this package are in pyproject.toml. --help and completion import
# their modules, which must therefore import TensorFlow, TFX and the like in functions only.
_GROUP = "tfx_pruning.commands"


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(importlib.metadata.entry_points(group=_GROUP).names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = tuple(importlib.metadata.entry_points(group=_GROUP, name=cmd_name))
        return found[0].load() if found else None

    def invoke(self, ctx: click.Context) -> Any:
        """Loads the command and calls it."""
        with ended_by_signals():
            return super().invoke(ctx)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tfx-pruning")
def cli() -> None:
    """Makes pruned models in pipelines, and works on them outside of pipelines.

    \b
    Examples:
      tfx-pruning run --root demo_output
      tfx-pruning inspect trained/model
      tfx-pruning strip trained/model stripped/model --export tflite

    \b
    Exit status: 0 if all went well, 1 after an error, 2 if the command was called wrongly, 130 after Ctrl-C, 143 after
      SIGTERM.
    Completion, for bash (zsh and fish likewise):
      eval "$(_TFX_PRUNING_COMPLETE=bash_source tfx-pruning)"
    """


def main() -> None:
    """The entry point of `tfx-pruning`."""
    cli(prog_name="tfx-pruning")
