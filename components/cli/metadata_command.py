"""`tfx-pruning metadata`: runs, artifacts and their lineage."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from . import environment
from . import metadata_view as view
from .console import Output, reporting

if TYPE_CHECKING:
    from rich.console import Console

    from ..metadata.artifacts import ArtifactRecord
    from ..metadata.store_reader import StoreReader

_LIMIT = 10
_LARGEST_ID = 2**63 - 1

_Function = Callable[..., None]


def _database_option(function: _Function) -> _Function:
    return click.option(
        "--db",
        metavar="DATABASE",
        help=f"SQLite file, or mysql://USER@HOST[:PORT]/DATABASE.  [default: the variable {environment.DATABASE}]",
    )(function)


def _list_options(function: _Function) -> _Function:
    for option in (
        click.option("--limit", type=click.IntRange(1), default=_LIMIT, show_default=True, help="How many, at most."),
        click.option("--pipeline", metavar="NAME", help="Of this pipeline only."),
    ):
        function = option(function)
    return function


@click.group(
    "metadata",
    invoke_without_command=True,
    short_help="Show runs, models and lineage in ML Metadata.",
)
@_database_option
@reporting
@click.pass_context
def command(context: click.Context, output: Output, db: str | None) -> None:
    """Shows what ML Metadata records of pipeline runs, models and where they came from; without a command, the latest
    runs and models.

    The database is a SQLite file or, for MySQL, mysql://USER@HOST[:PORT]/DATABASE. To that may be added, after a ? and
    joined by &, socket=PATH and, for TLS, ssl_ca=PATH, ssl_cert=PATH and ssl_key=PATH. The password is taken from the
    variable MYSQL_PWD, or asked for at a terminal. Nothing is written, except that ml_metadata makes its tables in a
    MySQL database without any if the user may; the right to SELECT is enough.

    \b
    Examples:
      tfx-pruning metadata --db demo_output/metadata.sqlite
      tfx-pruning metadata runs --db demo_output/metadata.sqlite --json
      tfx-pruning metadata artifacts --db mysql://reader@db.example.com/mlmd --pipeline taxi
      tfx-pruning metadata lineage 12 --db demo_output/metadata.sqlite

    JSON: {"runs": [...], "artifacts": [...]}, as of these two commands.
    """
    if context.invoked_subcommand is not None:
        # Options before the name of a subcommand are its defaults.
        context.default_map = dict.fromkeys(command.commands, context.params)
        return
    with _reading(output, db) as reader:
        from ..metadata.artifacts import MODEL, list_artifacts
        from ..metadata.runs import list_runs

        runs = list_runs(reader, limit=_LIMIT)
        artifacts = list_artifacts(reader, MODEL, limit=_LIMIT)
        others = _other_types(reader, artifacts)
    found = {"runs": [run.to_json() for run in runs], "artifacts": [artifact.to_json() for artifact in artifacts]}

    def show(console: "Console") -> None:
        view.show_runs(console, runs)
        console.print()
        view.show_artifacts(console, artifacts, MODEL, others)

    output.result(found, show)


@command.command("runs", short_help="List pipeline runs: metric, sparsity, bytes, verdict and state.")
@click.option("--nodes", is_flag=True, help="Show the state and time of each node instead.")
@_database_option
@_list_options
@reporting
def _runs(output: Output, db: str | None, pipeline: str | None, limit: int, nodes: bool) -> None:
    """Lists pipeline runs, the newest first, one line each: when it started, its state, and what the store has of its
    stripped model: the metric that decides and the dense model's, sparsity, bytes, the median time of a call in
    milliseconds where the run measured it, and whether the model was blessed.

    \b
    Examples:
      tfx-pruning metadata runs --db demo_output/metadata.sqlite
      tfx-pruning metadata runs --db mysql://reader@db.example.com/mlmd --pipeline taxi --limit 1 --nodes

    \b
    JSON: {"runs": [{"run", "pipeline", "started", "seconds", "state", "metric", "metric_value",
      "baseline_metric_value", "sparsity", "stripped_bytes", "milliseconds", "dense_milliseconds", "latency_batch",
      "verdict", "executions": [{"id", "node", "state", "started", "seconds"}]}]}
    Times are in UTC; seconds are null while something runs, and figures where the store does not have them.
    """
    with _reading(output, db) as reader:
        from ..metadata.runs import list_runs

        runs = list_runs(reader, pipeline, limit)
    show = view.show_nodes if nodes else view.show_runs
    output.result({"runs": [run.to_json() for run in runs]}, lambda console: show(console, runs))


@command.command("artifacts", short_help="List models, or other artifacts, with their properties.")
@click.option(
    "--type", "type_name", metavar="TYPE", default="Model", show_default=True, help="Type of the artifacts listed."
)
@_database_option
@_list_options
@reporting
def _artifacts(output: Output, db: str | None, type_name: str, pipeline: str | None, limit: int) -> None:
    """Lists artifacts, the newest first: what made each, where it is, its state and its properties, such as sparsity
    and bytes of models.

    \b
    Examples:
      tfx-pruning metadata artifacts --db demo_output/metadata.sqlite
      tfx-pruning metadata artifacts --db demo_output/metadata.sqlite --type ModelBlessing --limit 1

    \b
    JSON: {"artifacts": [{"id", "type", "stage", "state", "uri", "created", "pipeline", "run", "node",
      "execution_id", "runs": [...], "properties": {...}}]}
    stage is "pruned", "stripped" or null; run made it, runs have it among their outputs, from the cache too.
    """
    with _reading(output, db) as reader:
        from ..metadata.artifacts import list_artifacts

        artifacts = list_artifacts(reader, type_name, pipeline, limit)
        others = _other_types(reader, artifacts)
    output.result(
        {"artifacts": [artifact.to_json() for artifact in artifacts]},
        lambda console: view.show_artifacts(console, artifacts, type_name, others),
    )


@command.command("lineage", short_help="Show what an artifact came from and what came of it.")
@click.argument("artifact_id", metavar="ID", type=click.IntRange(1, _LARGEST_ID))
@click.option(
    "--across-runs", is_flag=True, help="Follow models that a training started from into the runs that made them."
)
@_database_option
@reporting
def _lineage(output: Output, db: str | None, artifact_id: int, across_runs: bool) -> None:
    """Shows what an artifact came from and what came of it, as a tree from the data to the pushed model.

    Each artifact stands once, under that one of its inputs that is the farthest from the data; 'with' names the others.

    \b
    Examples:
      tfx-pruning metadata lineage 12 --db demo_output/metadata.sqlite
      tfx-pruning metadata lineage 12 --db demo_output/metadata.sqlite --across-runs --json

    \b
    JSON: {"artifact_id", "nodes": [{the keys of an artifact, "relation", "parent_id", "followed",
      "inputs": [{"artifact_id", "key", "other_run"}]}]}
    relation is "source", "self" or "result"; parent_id, null at a root, makes the tree; followed is false where the
    lineage goes on in another run.
    """
    with _reading(output, db) as reader:
        from ..metadata.lineage import lineage

        found = lineage(reader, artifact_id, across_runs)
    output.result(found.to_json(), lambda console: view.show_lineage(console, found))


@contextlib.contextmanager
def _reading(output: Output, db: str | None) -> Iterator["StoreReader"]:
    """Opens the store and yields a reader, while the terminal shows what is being done."""
    # Here, so that --help needs no ml_metadata.
    from ..metadata.connection import connection_config, open_store
    from ..metadata.store_reader import StoreReader

    db = db or os.environ.get(environment.DATABASE)
    if not db:
        raise click.UsageError(
            f"Missing option '--db': name the database there or in the variable {environment.DATABASE}."
        )
    try:
        config = connection_config(db)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--db'") from error
    if config.HasField("mysql"):
        config.mysql.password = _password(config.mysql.user, config.mysql.host or config.mysql.socket)
    with output.working(f"Reading {db}"):
        yield StoreReader(open_store(config))


def _password(user: str, host: str) -> str:
    given = os.environ.get(environment.DATABASE_PASSWORD)
    if given is None and _at_terminal():
        return click.prompt(f"Password of {user} at {host}", default="", show_default=False, hide_input=True, err=True)
    return given or ""


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def _other_types(reader: "StoreReader", artifacts: tuple["ArtifactRecord", ...]) -> list[str]:
    """Types of which the store has artifacts, if there are none of the type that was asked for."""
    from ..metadata.artifacts import type_names

    return [] if artifacts else type_names(reader)
