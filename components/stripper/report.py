"""What Stripper's report says."""

import os
from collections.abc import Mapping, Sequence

from ..engine.keras.delivered_sparsity import WeightSparsity
from ..report.document import ReportDocument, Stripping
from ..report.saved_weights import masked_identities, saved_weights
from ..saved_model.meta_graph import has_objects, read_saved_model
from ..saved_model.variables import SavedVariables
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
) -> ReportDocument:
    """The report on a stripped model.

    Args:
        source: Folder of the SavedModel that was stripped.
        stripped: Folder of the stripped one, whose zeros are counted.
        report: What `strip_saved_model` returned.
        exported: What `export_model` returned.
        hparams: The pruning hyperparameters' string, if known.
        lineage: What the model was made of and by.

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
        stripping=Stripping(report.variables_removed, report.variables_kept, report.signatures_checked),
        lineage=dict(lineage or {}),
    )


def _weights(source: str | os.PathLike[str], stripped: str | os.PathLike[str]) -> tuple[WeightSparsity, ...]:
    saved_model = read_saved_model(os.fspath(source))
    if has_objects(saved_model):
        return saved_weights(SavedVariables(stripped), masked_identities(SavedVariables(source)))
    return weight_sparsities(source, saved_model, stripped)


def _sizes(file: ExportedFile) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("", file.bytes), (" gzipped", file.gzipped_bytes)
