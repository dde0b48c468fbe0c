"""`tfx-pruning inspect`."""

import dataclasses
from typing import Any

import click
from rich.console import Console

from ..quick_import import OPTIONAL, quick_import
from .console import Output, reporting, table


@click.command("inspect", short_help="Show the variables of a SavedModel: shape, sparsity, non-zeros, bytes.")
@click.argument("model_dir")
@reporting
def command(output: Output, model_dir: str) -> None:
    """Shows every variable of the SavedModel in MODEL_DIR: shape, dtype, sparsity, non-zeros and bytes.

    A weight with a mask is counted as the model uses it, multiplied by the mask. The variables of pruning (masks,
    thresholds, gradients) and those that only training needs (optimizer, metrics) are listed last. Of a variable that
    became smaller when the model was shrunk, both shapes are shown, as in 45x75 of 300x100.

    \b
    Examples:
      tfx-pruning inspect trained/model
      tfx-pruning inspect stripped/model --json
    """
    with output.working(f"Reading {model_dir}"):
        with quick_import(without=OPTIONAL):
            from .inventory import inventory

        listed = inventory(model_dir)
    found = {**dataclasses.asdict(listed), **listed.totals()}
    output.result(found, lambda console: _show(console, found))


def _shape(variable: dict[str, Any]) -> str:
    shape, before = ("x".join(map(str, variable[key] or ())) for key in ("shape", "shape_before"))
    return f"{shape} of {before}" if before else shape or "scalar"


_TITLES = {"model": "weight", "pruning": "of pruning", "training": "of training", "copy": "second copy"}


def _show(console: Console, found: dict[str, Any]) -> None:
    rows = table("variable", "kind ", "shape ", "dtype ", "sparsity", "non-zeros", "bytes")
    for each in found["variables"]:
        rows.add_row(
            each["name"],
            _TITLES[each["kind"]] + (", masked" if each["masked"] else ""),
            _shape(each),
            each["dtype"],
            "" if each["nonzeros"] is None else f"{each['sparsity']:.2%}",
            "" if each["nonzeros"] is None else f"{each['nonzeros']:,}",
            f"{each['bytes']:,}",
        )
    console.print(rows)
    console.print()
    totals = table("", "variables", "bytes", "parameters", "non-zeros", "sparsity")
    for kind, each in found["kinds"].items():
        totals.add_row(
            f"all {_TITLES[kind]}{'s' if kind == 'model' else ''}",
            f"{each['variables']:,}",
            f"{each['bytes']:,}",
            f"{each['parameters']:,}",
            f"{each['nonzeros']:,}",
            f"{each['sparsity']:.2%}",
        )
    console.print(totals)
    console.print(f"\nall files: {found['total_bytes']:,} bytes, {found['gzipped_bytes']:,} gzipped")
