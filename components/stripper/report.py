"""What Stripper's report says."""

import os
from collections.abc import Collection, Mapping, Sequence

from ..engine.keras.delivered_sparsity import WeightSparsity
from ..report.document import Export, ReportDocument, Shrinking, Stripping
from ..report.saved_weights import Identity, masked_identities, saved_weights
from ..saved_model.checkpoint import VALUE_SUFFIX
from ..saved_model.meta_graph import has_objects, read_saved_model
from ..saved_model.variables import SavedVariables
from ..structure.kept_indices import KeptIndices
from .export.model_export import ExportedFile
from .strip import StripReport
from .weight_sparsities import weight_sparsities


def strip_document(
    source: str | os.PathLike[str],
    stripped: str | os.PathLike[str],
    report: StripReport,
    exported: Sequence[ExportedFile] = (),
    hparams: str | None = None,
    lineage: Mapping[str, str] | None = None,
    metric: str | None = None,
) -> ReportDocument:
    """The report on a stripped model.

    Args:
        source: Folder of the SavedModel that was stripped.
        stripped: Folder of the stripped one, whose zeros are counted.
        report: What `strip_saved_model` returned.
        exported: What `export_model` returned.
        hparams: The pruning hyperparameters' string, if known.
        lineage: What the model was made of and by.
        metric: Name of the metric that the exports were measured by, if any.

    Raises:
        ValueError: One of the two cannot be read.
    """
    return ReportDocument(
        title="Stripped model",
        weights=_weights(source, stripped),
        sizes={
            "SavedModel before stripping": report.source_bytes,
            "SavedModel stripped": report.stripped_bytes,
            "SavedModel stripped and gzipped": report.gzipped_bytes,
            **{f"{file.format}{packed}": size for file in exported for packed, size in _sizes(file)},
        },
        hparams=hparams,
        stripping=Stripping(
            report.variables_removed, report.variables_kept, report.signatures_checked, _shrinking(report)
        ),
        lineage=dict(lineage or {}),
        exports=tuple(
            Export(
                file.format,
                file.bytes,
                file.max_abs_difference,
                file.checked_on,
                metric,
                file.metric_value,
                file.model_metric_value,
            )
            for file in exported
        ),
    )


def _weights(source: str | os.PathLike[str], stripped: str | os.PathLike[str]) -> tuple[WeightSparsity, ...]:
    saved_model = read_saved_model(os.fspath(source))
    if has_objects(saved_model):
        pruned, saved = masked_identities(SavedVariables(source)), SavedVariables(stripped)
        return saved_weights(saved, pruned | _cut(stripped, saved, pruned))
    return weight_sparsities(source, saved_model, stripped)


def _cut(stripped: str | os.PathLike[str], saved: SavedVariables, pruned: Collection[Identity]) -> set[Identity]:
    """Those of the pruned weights that became smaller, by the shapes that they have now."""
    kept = KeptIndices.read(os.fspath(stripped)).variables
    found = ((variable, kept.get(variable.key.removesuffix(VALUE_SUFFIX))) for variable in saved)
    return {
        (variable.name, variable.shape)
        for variable, before in found
        if before is not None and (variable.name, before.shape) in pruned
    }


def _shrinking(stripped: StripReport) -> Shrinking | None:
    report = stripped.shrink
    if report is None:
        return None
    return Shrinking(
        shapes={each.key: (_in_words(each.shape_before), _in_words(each.shape_after)) for each in report.variables},
        parameters=(report.parameters_before, report.parameters_after),
        multiply_adds=None
        if report.untraced is not None
        else (report.multiply_adds_before, report.multiply_adds_after),
        bytes=(report.bytes_before, report.bytes_after),
        gzipped_bytes=report.gzipped_bytes(stripped.gzipped_bytes),
        largest_difference=report.largest_difference,
        tolerance=report.tolerance,
        folded_scales=report.folded_scales,
        untraced=report.untraced,
    )


def _in_words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _sizes(file: ExportedFile) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("", file.bytes), (" gzipped", file.gzipped_bytes)
