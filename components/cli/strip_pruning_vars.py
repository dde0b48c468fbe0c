"""`strip_pruning_vars`: the frozen, stripped graph of a TensorFlow 1 checkpoint, with the flags of `model_pruning`."""

import os

import click

from ..quick_import import OPTIONAL, quick_import
from .interruption import ended_by_signals

_EXAMPLE = """\b
Example:
  strip_pruning_vars --checkpoint_dir=/tmp/model_ckpts --output_node_names=softmax \\
      --output_dir=/tmp --filename=pruning_stripped.pb
"""


def _checked_node_names(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    names = value.replace(" ", "").split(",")
    if not all(names):
        raise click.BadParameter(
            f"{value!r} has an empty name; give the names of nodes with commas between them, such as 'softmax,logits'."
        )
    return names


def _checked_file_name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not os.path.basename(value):
        raise click.BadParameter(f"{value!r} names no file; give a name such as 'pruning_stripped.pb'.")
    return value


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--checkpoint_dir",
    default="",
    metavar="DIR",
    help="Folder with the checkpoints, the latest of which is taken. Default: the current folder.",
)
@click.option(
    "--output_node_names",
    required=True,
    metavar="NAME[,NAME...]",
    callback=_checked_node_names,
    help="Names of the output nodes, with commas between them.",
)
@click.option(
    "--output_dir",
    default="/tmp",
    show_default=True,
    metavar="DIR",
    help="Folder to write the graph to, made if missing.",
)
@click.option(
    "--filename",
    default="pruning_stripped.pb",
    show_default=True,
    metavar="NAME",
    callback=_checked_file_name,
    help="Name of the GraphDef file, which is replaced if it is there.",
)
def main(checkpoint_dir: str, output_node_names: list[str], output_dir: str, filename: str) -> None:
    """Removes the variables and operations of pruning from a TensorFlow 1 checkpoint.

    Reads the latest checkpoint and its meta graph, makes variables constants, replaces each masked weight by one
    constant, mask * weight, and writes the graph, cut back to the output nodes, as a binary GraphDef.
    """
    # Here, so that --help and wrong usage need no TensorFlow.
    with quick_import(without=OPTIONAL):
        from .. import staging
        from ..stripper.tf1.frozen_checkpoint import freeze_checkpoint

    path = os.path.join(output_dir, filename)
    try:
        with ended_by_signals():
            staging.check_writable(path)
            frozen = freeze_checkpoint(checkpoint_dir, output_node_names)
            content = frozen.graph_def.SerializeToString(deterministic=True)
            staging.write_file(path, content)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    for name, sparsity in frozen.sparsities.items():
        click.echo(f"{name}: {sparsity:.2%} zeros")
    if not frozen.sparsities:
        click.echo(f"{frozen.checkpoint} has no masked weights: its graph was frozen, nothing was stripped.", err=True)
    click.echo(f"{path}: {len(frozen.graph_def.node)} nodes, {len(content)} bytes")
