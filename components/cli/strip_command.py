"""`tfx-pruning strip`."""

import dataclasses
import os
from typing import Any

import click
from rich.console import Console

from ..quick_import import OPTIONAL, quick_import
from ..stripper.export.formats import FORMATS, exporters
from .console import Output, reporting, table


@click.command("strip", short_help="Remove all that only training needs from a SavedModel.")
@click.argument("source")
@click.argument("dest")
@click.option(
    "--export",
    "formats",
    multiple=True,
    metavar="FORMAT",
    help=f"Write this format, too; may be given several times. One of {', '.join(FORMATS.names())}; or MODULE:NAME for "
    "one that a module of yours registers with tfx_pruning.register_exporter.",
    shell_complete=lambda _context, _parameter, typed: [each for each in FORMATS.names() if each.startswith(typed)],
)
@click.option("--export-dir", help="Folder that the exports go to.  [default: DEST_exports]")
@click.option(
    "--signature", help="Signature to export.  [default: serving_default, or the first that takes numbers only]"
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    help="Largest difference of a TFLite file's answers, over the largest answer.  [default: the format's own]",
)
@click.option(
    "--metric",
    help="Measure the model and the exports by this class of keras.metrics, such as SparseCategoricalAccuracy, on the "
    "examples of --verify.",
)
@click.option("--label", help="Feature of these examples with the label of --metric.")
@click.option(
    "--verify",
    "data",
    multiple=True,
    help="TFRecord file with examples to check on, gzipped or not, or a pattern of such; may be given several times.",
)
@click.option("--num-examples", type=click.IntRange(1), default=256, show_default=True, help="Examples read at most.")
@click.option("--shrink", is_flag=True, help="Cut units that are dead, so that tensors become smaller.")
@click.option(
    "--shrink-tolerance",
    type=click.FloatRange(min=0, min_open=True),
    help="The t in |difference| <= t * (1 + |answer|), by which a shrunk model's answers may differ.  [default: 1e-05]",
)
@click.option("--overwrite", is_flag=True, help="Replace what is at DEST and in the folder of the exports.")
@reporting
def command(
    output: Output,
    source: str,
    dest: str,
    formats: tuple[str, ...],
    export_dir: str | None,
    signature: str | None,
    tolerance: float | None,
    metric: str | None,
    label: str | None,
    data: tuple[str, ...],
    num_examples: int,
    shrink: bool,
    shrink_tolerance: float | None,
    overwrite: bool,
) -> None:
    """Writes a copy of the SavedModel in SOURCE to DEST, without masks, thresholds, gradients, optimizer and all other
    variables that no signature reaches.

    Nothing appears at DEST before every signature has answered bit for bit as in SOURCE, on the examples of --verify
    and on drawn inputs, and before every export has been run. With --shrink, dead units go after that, and answers may
    differ within a tolerance, for sums of fewer numbers round otherwise.

    \b
    Examples:
      tfx-pruning strip trained/model stripped/model
      tfx-pruning strip trained/model stripped/model --verify 'examples/Split-eval/*.gz'
      tfx-pruning strip trained/model small/model --shrink --export tflite
      tfx-pruning strip trained/model stripped/model --export tflite_sparse --export frozen_graph
      tfx-pruning strip trained/model stripped/model --export tflite_int8 --verify eval.tfrecord --json
      tfx-pruning strip trained/model stripped/model --export tflite --verify eval.tfrecord --metric AUC --label big_tip
    """
    of_exports = {"--export-dir": export_dir, "--signature": signature, "--tolerance": tolerance, "--metric": metric}
    for option, value in of_exports.items():
        if value is not None and not formats:
            raise click.UsageError(f"{option} needs --export.")
    if (metric is None) != (label is None) or (metric is not None and not data):
        raise click.UsageError("--metric, --label and --verify go together: give all three, or leave out --metric.")
    if shrink_tolerance is not None and not shrink:
        raise click.UsageError("--shrink-tolerance needs --shrink: give both, or neither.")
    formats = tuple(dict.fromkeys(formats))
    with output.working(f"Stripping {source}"):
        _check_names(formats)
        with quick_import(without=OPTIONAL):
            from ..record_files import read_records
            from ..stripper.strip_and_export import strip_and_export
        _check_formats(formats, bool(data))

        report, exported = strip_and_export(
            source,
            dest,
            formats,
            export_destination=export_dir,
            export_signature=signature,
            export_tolerance=tolerance,
            export_metric=metric,
            export_label=label,
            examples=read_records(data, num_examples) if data else None,
            overwrite=overwrite,
            shrink=shrink,
            shrink_tolerance=shrink_tolerance,
        )
        sizes = {"gzipped_bytes": report.gzipped_bytes}
    found = {**dataclasses.asdict(report), **sizes, "exports": [dataclasses.asdict(each) for each in exported]}
    output.result(found, lambda console: _show(console, source, dest, found))


def _check_names(formats: tuple[str, ...]) -> None:
    """Looks formats up, which imports modules of users, but no TensorFlow for those that are built in."""
    try:
        for name in formats:
            FORMATS.get(name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--export") from error


def _check_formats(formats: tuple[str, ...], has_examples: bool) -> None:
    try:
        chosen = exporters(formats)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--export") from error
    for exporter in chosen:
        if exporter.needs_examples and not has_examples:
            raise click.UsageError(f"--export {exporter.name} needs examples: give --verify.")


def _show(console: Console, source: str, dest: str, found: dict[str, Any]) -> None:
    removed, kept = len(found["variables_removed"]), len(found["variables_kept"])
    console.print(f"{removed} of {removed + kept} variables removed; checked: {', '.join(found['signatures_checked'])}")
    measured = [each["model_metric_value"] for each in found["exports"] if each["model_metric_value"] is not None]
    sizes = table("", "bytes", "gzipped", "largest difference", "checked on ", *["metric"] * bool(measured))
    sizes.add_row(source, f"{found['source_bytes']:,}", "", "", "")
    shrunk = found["shrink"]
    difference = "0" if shrunk is None else f"{shrunk['largest_difference']:.3g}"
    sizes.add_row(
        *(dest, f"{found['stripped_bytes']:,}", f"{found['gzipped_bytes']:,}", difference, ""),
        *(f"{value:.4f}" for value in measured[:1]),
    )
    for each in found["exports"]:
        sizes.add_row(
            os.path.relpath(each["path"]) if "://" not in each["path"] else each["path"],
            f"{each['bytes']:,}",
            f"{each['gzipped_bytes']:,}",
            f"{each['max_abs_difference']:.3g}",
            each["checked_on"],
            *([] if each["metric_value"] is None else [f"{each['metric_value']:.4f}"]),
        )
    console.print(sizes)
    if shrunk is not None:
        _show_shrunk(console, {**shrunk, "gzipped_bytes_after": found["gzipped_bytes"]})


def _show_shrunk(console: Console, found: dict[str, Any]) -> None:
    console.print()
    if found["untraced"] is not None:
        console.print(f"Nothing was cut: {found['untraced']}", soft_wrap=True, markup=False)
        return
    if not found["variables"]:
        console.print("No unit is dead, so that nothing was cut.")
        return
    rows = table("shrunk", "before", "after")
    for name in ("parameters", "multiply_adds", "bytes", "gzipped_bytes"):
        if found[f"{name}_before"] is None:
            continue
        title = "multiply-adds an example" if name == "multiply_adds" else name.replace("_", " ")
        rows.add_row(title, f"{found[f'{name}_before']:,}", f"{found[f'{name}_after']:,}")
    if found["folded_scales"]:
        rows.add_row("scales in kernels", "0", f"{found['folded_scales']:,}")
    for each in found["variables"]:
        rows.add_row(each["key"], *("x".join(map(str, each[f"shape_{when}"])) for when in ("before", "after")))
    console.print(rows)
