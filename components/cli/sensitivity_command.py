"""`tfx-pruning sensitivity`."""

import json
from typing import Any

import click
from rich.console import Console

from ..engine import hparams_string
from ..engine.hparams import PruningHParams
from .calibration_options import answer_options, examples_options
from .console import Output, reporting, table


def _sparsities(_: click.Context, __: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(each) for each in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"numbers with commas between them, such as 0.5,0.9, are expected, got {text!r}."
        ) from None


@click.command("sensitivity", short_help="Show what pruning each layer of a trained SavedModel costs.")
@click.argument("model_dir")
@examples_options(required=True, num_examples=512)
@click.option(
    "--sparsities",
    default="0.5,0.7,0.9,0.95,0.98",
    show_default=True,
    callback=_sparsities,
    help="Sparsities that each layer is pruned to, with commas between them.",
)
@click.option("--target-sparsity", type=float, help="Also show how a sparsity of all layers together is shared out.")
@click.option(
    "--hparams",
    default="",
    help="Hyperparameters as PruningHParams reads them, such as 'prune_option=wanda,exclude=[head]'.",
)
@answer_options(
    label="The feature that holds the labels. Without one, the distance from the dense answers.",
    unseen="For 'wanda': what becomes of weights whose inputs are not seen.",
)
@click.option(
    "--repair/--no-repair",
    default=True,
    show_default=True,
    help="Whether the weights that a layer keeps make up for the others, as they would learn to in a training.",
)
@reporting
def command(
    output: Output,
    model_dir: str,
    data: tuple[str, ...],
    num_examples: int,
    sparsities: tuple[float, ...],
    target_sparsity: float | None,
    hparams: str,
    signature: str | None,
    label: str | None,
    loss: str,
    output_name: str | None,
    repair: bool,
    unseen: str,
) -> None:
    """Prunes one layer of the SavedModel in MODEL_DIR at a time, in memory, and shows the loss at each sparsity.

    The last line is hyperparameters for a training: with them zeros go where they cost least, at any target sparsity.

    \b
    Examples:
      tfx-pruning sensitivity trained/model --examples 'examples/Split-eval/*.gz' --label species
      tfx-pruning sensitivity trained/model --examples eval.tfrecord --label species --target-sparsity 0.9
      tfx-pruning sensitivity trained/model --examples eval.tfrecord --hparams prune_option=wanda --json
    """
    with output.working(f"Pruning the layers of {model_dir}"):
        chosen = PruningHParams.parse(hparams)
        from ..post_training_pruner.sensitivity import sensitivity
        from ..record_files import read_records

        found = sensitivity(
            model_dir,
            read_records(data, num_examples),
            chosen,
            sparsities=sparsities,
            signature=signature,
            label=label,
            loss=loss,
            output=output_name,
            repair=repair,
            unseen=unseen,
        )
        shared_out = None if target_sparsity is None else found.layer_sparsities(target_sparsity)
    result = {
        **json.loads(found.to_json()),
        "target_sparsity": target_sparsity,
        "layer_sparsities": shared_out,
        "hparams": hparams_string.join(found.fields),
    }
    output.result(result, lambda console: _show(console, result))


def _show(console: Console, found: dict[str, Any]) -> None:
    console.print(f"{found['measure']}, dense {found['dense']:.4g}; {found['num_examples']} examples")
    sparsities = sorted({sparsity for each in found["layers"] for sparsity, _ in each["measured"]})
    target = [] if found["target_sparsity"] is None else [f"of {found['target_sparsity']:.6g}"]
    rows = table("weight", "shape", "bytes", "multiply-adds", *(f"at {each:.6g}" for each in sparsities), *target)
    for each in found["layers"]:
        measured = dict(map(tuple, each["measured"]))
        rows.add_row(
            each["path"] + ("" if each["repaired"] else " (not repaired)"),
            "x".join(map(str, each["shape"])),
            f"{each['bytes']:,}",
            "" if each["multiply_adds"] is None else f"{each['multiply_adds']:,}",
            *(f"{measured[sparsity]:.4g}" if sparsity in measured else "" for sparsity in sparsities),
            *([f"{found['layer_sparsities'][each['path']]:.2%}"] if target else []),
        )
    console.print(rows)
    console.print(f"\n{found['hparams']}")
