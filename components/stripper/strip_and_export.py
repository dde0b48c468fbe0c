"""strip_and_export: strips a model and exports it, or does neither."""

from collections.abc import Callable, Iterable, Sequence

from .. import staging
from ..examples.serialized_records import checked_records
from ..places import checked_model_path, checked_place, holds
from .check.acceptance import DRAWN_INPUTS, Acceptance
from .check.answers import checked_tolerance
from .check.relative_tolerance import checked_shrink_tolerance
from .export.exporter import check_shrunk_formats
from .export.formats import exporters
from .export.model_export import ExportedFile, check_export_tolerance, checked_metric, export_model
from .strip import StripReport, opened, strip_saved_model, write_stripped


def strip_and_export(
    source: str,
    destination: str,
    formats: Sequence[str] = (),
    *,
    export_destination: str | None = None,
    export_signature: str | None = None,
    export_tolerance: float | None = None,
    export_metric: str | None = None,
    export_label: str | None = None,
    examples: Iterable[bytes] | None = None,
    overwrite: bool = False,
    tolerance: float = 0.0,
    check: Callable[[str], object] | None = None,
    shrink: bool = False,
    shrink_tolerance: float | None = None,
) -> tuple[StripReport, tuple[ExportedFile, ...]]:
    """Strips a SavedModel and exports the stripped model; nothing appears unless both succeed.

    Args:
        source: Folder of the SavedModel.
        destination: Where the stripped SavedModel goes.
        formats: Names of formats, as `export_model` takes them; there may be none.
        export_destination: The folder that the exports go to; None for `destination` with '_exports' behind it.
        export_signature: Name of the signature that is exported, as for `export_model`.
        export_tolerance: The tolerance of `export_model`.
        export_metric: The metric of `export_model`.
        export_label: The label of `export_model`.
        examples: Serialized records, as for `strip_saved_model` and `export_model`.
        overwrite: Whether folders at both places are replaced.
        tolerance: As for `strip_saved_model`.
        check: As for `strip_saved_model`.
        shrink: As for `strip_saved_model`; exports are made of the shrunk model.
        shrink_tolerance: As for `strip_saved_model`.

    Returns:
        What was stripped and what was exported.

    Raises:
        ValueError: The places of the stripped model and of the exports lie one within the other; and as
            `strip_saved_model` and `export_model`, which say what else is raised.
    """
    records = checked_records(examples, DRAWN_INPUTS)
    if not exporters(formats):
        report = strip_saved_model(
            source,
            destination,
            examples=records,
            overwrite=overwrite,
            tolerance=tolerance,
            check=check,
            shrink=shrink,
            shrink_tolerance=shrink_tolerance,
        )
        return report, ()
    if shrink:
        check_shrunk_formats(exporters(formats))
    check_export_tolerance(export_tolerance)
    checked_metric(export_metric, export_label)
    exports = f"{destination.rstrip('/')}_exports" if export_destination is None else export_destination
    source = checked_model_path(source)
    shrunk = checked_shrink_tolerance(shrink, shrink_tolerance)
    acceptance = Acceptance(records, checked_tolerance(tolerance), check, shrunk)
    staging.check_apart(source, destination)
    staging.check_apart(source, exports)
    _check_side_by_side(destination, exports)
    staging.checked_destination(exports, overwrite)
    checked_model_path(staging.checked_destination(destination, overwrite))
    model = opened(source, shrink)
    with staging.staged(destination, overwrite) as folder:
        report = write_stripped(model, source, folder, destination, acceptance)
        exported = export_model(
            folder,
            exports,
            formats,
            signature=export_signature,
            examples=records,
            tolerance=export_tolerance,
            source=source,
            overwrite=overwrite,
            metric=export_metric,
            label=export_label,
        )
    return report, exported


def _check_side_by_side(destination: str, exports: str) -> None:
    one, other = checked_place(destination), checked_place(exports)
    if holds(one, other) or holds(other, one):
        raise ValueError(
            f"The folder of the exports, {exports!r}, and the destination {destination!r} lie one within the other; "
            "give two folders side by side."
        )
