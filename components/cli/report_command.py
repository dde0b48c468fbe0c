"""`tfx-pruning report`."""

import os
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from . import environment
from .console import Output, reporting

if TYPE_CHECKING:
    from ..report.document import ReportDocument


@click.command("report", short_help="Write the report on a model, a page of HTML.")
@click.argument("model", metavar="MODEL_DIR|ARTIFACT_ID")
@click.option(
    "-o",
    "--output-file",
    default="pruning_report.html",
    show_default=True,
    metavar="FILE",
    help="Where the page goes; a file that is there is replaced.",
)
@click.option(
    "--db",
    envvar=environment.DATABASE,
    metavar="DATABASE",
    help="ML Metadata that has the artifact: SQLite file, or mysql://USER@HOST[:PORT]/DATABASE with the password in "
    f"{environment.DATABASE_PASSWORD}.  [default: the variable {environment.DATABASE}]",
)
@reporting
def command(output: Output, model: str, output_file: str, db: str | None) -> None:
    """Writes a report as one file of HTML, which needs nothing else: sparsity by layer, sizes and all that is known.

    MODEL_DIR is the folder of a PruningReport, which PruningTrainer and Stripper write, or of a SavedModel, which
    tells of its weights and sizes only. ARTIFACT_ID is the id of a PruningReport or Model in ML Metadata.

    \b
    Examples:
      tfx-pruning report stripped/model -o report.html
      tfx-pruning report 17 --db demo_output/metadata.sqlite -o report.html

    \b
    JSON: {"report", "title", "sparsity", "prunable_parameters", "nonzero_parameters", "total_parameters",
    "total_sparsity", "sizes"}
    """
    with output.working(f"Reading {model}"):
        from ..report.page import page
        from ..staging import write_file

        document = _document(_folder(model, db))
        write_file(output_file, page(document).encode())
    found = {
        "report": os.path.abspath(output_file),
        "title": document.title,
        "sparsity": document.sparsity,
        "prunable_parameters": document.prunable_parameters,
        "nonzero_parameters": document.nonzero_parameters,
        "total_parameters": document.total_parameters,
        "total_sparsity": document.total_sparsity,
        "sizes": dict(document.sizes),
    }
    output.result(found, lambda console: _show(console, found))


def _show(console: Console, found: dict[str, Any]) -> None:
    if found["prunable_parameters"]:
        console.print(
            f"{found['nonzero_parameters']:,} of {found['prunable_parameters']:,} prunable parameters are left, "
            f"sparsity {found['sparsity']:.2%}"
        )
    console.print(f"report  {found['report']}", soft_wrap=True)


def _folder(model: str, db: str | None) -> str:
    """The folder that the argument names, itself or by an artifact's id."""
    import tensorflow as tf

    if tf.io.gfile.isdir(model):
        return model
    if not model.isdecimal():
        raise ValueError(
            f"{model} is no folder; give that of a SavedModel or PruningReport, or an artifact's id in ML Metadata."
        )
    if db is None:
        raise ValueError(f"Artifact {model} is looked up in ML Metadata: name the database with --db.")
    return _uri(int(model), db)


def _uri(artifact_id: int, db: str) -> str:
    from ..metadata.connection import connection_config, open_store

    store = open_store(connection_config(db, os.environ.get(environment.DATABASE_PASSWORD, "")))
    artifacts = store.get_artifacts_by_id([artifact_id])
    if not artifacts:
        raise ValueError(f"{db} has no artifact {artifact_id}.")
    if artifacts[0].type not in ("tfx_pruning.PruningReport", "Model"):
        raise ValueError(
            f"Artifact {artifact_id} in {db} is of the type {artifacts[0].type!r}; expected a PruningReport or a Model."
        )
    return artifacts[0].uri


def _document(folder: str) -> "ReportDocument":
    import tensorflow as tf

    from ..report.files import JSON_NAME, read_report
    from ..report.saved_weights import saved_model_report

    if tf.io.gfile.exists(os.path.join(folder, JSON_NAME)):
        return read_report(folder)
    # A Model artifact of TFX holds its SavedModel a folder below.
    serving = os.path.join(folder, "Format-Serving")
    return saved_model_report(serving if tf.io.gfile.isdir(serving) else folder)
