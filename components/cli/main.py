"""`tfx-pruning`: the commands, each loaded when it is asked for."""

import importlib

import click

from ..version import __version__

# Name of each command, and the module, in this package, whose `command` it is. The modules are imported for --help and
# for completion, so they must import TensorFlow, TFX and their like in functions only.
_COMMANDS = {
    "inspect": ".inspect_command",
    "metadata": ".metadata_command",
    "report": ".report_command",
    "strip": ".strip_command",
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        return importlib.import_module(_COMMANDS[cmd_name], __package__).command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tfx-pruning")
def cli() -> None:
    """Works on pruned models outside of pipelines.

    \b
    Examples:
      tfx-pruning inspect trained/model
      tfx-pruning strip trained/model stripped/model --export tflite

    \b
    Exit status: 0 if all went well, 1 after an error, 2 if the command was called wrongly.
    Completion, for bash (zsh and fish likewise):
      eval "$(_TFX_PRUNING_COMPLETE=bash_source tfx-pruning)"
    """


def main() -> None:
    """The entry point of `tfx-pruning`."""
    cli(prog_name="tfx-pruning")
