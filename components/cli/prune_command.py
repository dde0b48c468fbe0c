"""`tfx-pruning prune`."""

import dataclasses
from typing import Any

import click
from rich.console import Console

from ..engine.hparams import PruningHParams
from .calibration_options import answer_options, examples_options
from .console import Output, reporting, table


@click.command("prune", short_help="Prune a trained SavedModel at once, without a training.")
@click.argument("source")
@click.argument("dest")
@examples_options(required=False, num_examples=1024)
@click.option(
    "--hparams",
    default="",
    help="Hyperparameters as PruningHParams reads them, such as 'prune_option=obc,target_sparsity=0.9'.",
)
@answer_options(
    label="For criteria of gradients: the feature that holds the labels.",
    unseen="What becomes of weights whose inputs are not seen, as within a loop: an error, or pruned by |w|.",
)
@click.option(
    "--damping",
    type=click.FloatRange(min=0, min_open=True),
    default=0.1,
    show_default=True,
    help="For 'obc' and 'block_fisher': added to the diagonal of their matrices, as a fraction of its mean.",
)
@click.option(
    "--update/--no-update",
    default=True,
    show_default=True,
    help="Whether 'obc' and 'block_fisher' update the weights that are kept.",
)
@click.option("--recalibrate-bn", is_flag=True, help="Take the statistics of batch normalizations anew after that.")
@click.option("--overwrite", is_flag=True, help="Replace what is at DEST.")
@reporting
def command(
    output: Output,
    source: str,
    dest: str,
    data: tuple[str, ...],
    num_examples: int,
    hparams: str,
    signature: str | None,
    label: str | None,
    loss: str,
    output_name: str | None,
    unseen: str,
    damping: float,
    update: bool,
    recalibrate_bn: bool,
    overwrite: bool,
) -> None:
    """Writes a copy of the SavedModel in SOURCE to DEST whose weights are pruned, without its training code.

    prune_option=weight prunes by |w| and needs no examples; wanda by |w| times the norm of its inputs; obc layer by
    layer, and updates the weights that are kept; second_order_gradient by the gradients of a loss.

    \b
    Examples:
      tfx-pruning prune trained/model pruned/model --hparams target_sparsity=0.5
      tfx-pruning prune trained/model pruned/model --examples 'examples/Split-train/*.gz' \\
        --hparams prune_option=obc,target_sparsity=0.9,allocation=erk
      tfx-pruning prune trained/model pruned/model --examples train.tfrecord \\
        --hparams prune_option=obc,n_of_m=2:4,target_sparsity=0.5 --json
      tfx-pruning prune trained/model pruned/model --examples train.tfrecord --label species \\
        --hparams prune_option=second_order_gradient,gradient_estimator=block_fisher,target_sparsity=0.9
    """
    with output.working(f"Pruning {source}"):
        chosen = PruningHParams.parse(hparams)
        from ..post_training_pruner.prune import prune_saved_model
        from ..record_files import read_records

        report = prune_saved_model(
            source,
            dest,
            read_records(data, num_examples) if data else None,
            chosen,
            signature=signature,
            label=label,
            loss=loss,
            output=output_name,
            unseen=unseen,
            damping=damping,
            update=update,
            recalibrate_bn=recalibrate_bn,
            overwrite=overwrite,
        )
    weights = [{**dataclasses.asdict(each), "sparsity": each.sparsity} for each in report.weights]
    found = {**dataclasses.asdict(report), "weights": weights, "sparsity": report.sparsity}
    output.result(found, lambda console: _show(console, found))


def _show(console: Console, found: dict[str, Any]) -> None:
    asked = f"; {found['num_examples']} examples in {found['signature']}" if found["signature"] else ""
    console.print(f"{found['destination']}: {found['sparsity']:.2%} of the pruned weights are zero{asked}")
    rows = table("weight", "shape", "left", "sparsity")
    for each in found["weights"]:
        note = " (by magnitude)" if each["path"] in found["by_magnitude"] else ""
        shape = "x".join(map(str, each["shape"]))
        rows.add_row(each["path"] + note, shape, f"{each['nonzero']:,}", f"{each['sparsity']:.2%}")
    console.print(rows)
