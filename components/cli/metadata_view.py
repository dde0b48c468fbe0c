"""How runs, artifacts and lineage are printed for people."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from .. import properties
from ..engine import hparams_string
from ..engine.hparams import PruningHParams
from ..engine.shown import escaped
from .console import table

if TYPE_CHECKING:
    import datetime

    from ..metadata.artifacts import ArtifactRecord
    from ..metadata.lineage import Lineage, LineageNode
    from ..metadata.runs import Run

_KEYS = [value for name, value in vars(properties).items() if name.isupper() and isinstance(value, str)]
_ORDER = {key: index for index, key in enumerate(_KEYS)}
_BLESSED = "blessed"
_PUSHED = "pushed"
_PUSHED_DESTINATION = "pushed_destination"
_INPUTS = 6  # how many others are named beside the one that an artifact stands under
# States that are not shown: the artifact is there, or the store keeps no states.
_USUAL_STATES = ("live", "unknown")


def show_runs(console: Console, runs: Sequence["Run"]) -> None:
    """Prints a row for each run. A column that no run has a value in is left out."""
    if not runs:
        _print(console, "No pipeline runs are recorded.")
        return
    names = (
        "run",
        "pipeline ",
        "started ",
        "state ",
        "metric ",
        "value",
        "dense",
        "sparsity",
        "bytes",
        "ms",
        "dense ms",
    )
    rows = [(*_run_cells(run), Text(run.figures.verdict or "")) for run in runs]
    columns = [
        (name, cells)
        for name, cells in zip((*names, "verdict "), zip(*rows, strict=True), strict=True)
        if any(cell.plain for cell in cells)
    ]
    shown = table(*(name for name, _ in columns))
    for row in zip(*(cells for _, cells in columns), strict=True):
        shown.add_row(*map(_plain, row))
    console.print(shown)


def _run_cells(run: "Run") -> Iterator[Text]:
    found = run.figures
    yield Text(run.id)
    yield Text(run.pipeline or "no pipeline")
    yield Text(_time(run.started))
    yield _state(run.state)
    yield Text(found.metric or "")
    for value, form in (
        (found.metric_value, ".4f"),
        (found.baseline_metric_value, ".4f"),
        (found.sparsity, ".2%"),
        (found.stripped_bytes, ","),
        (found.milliseconds, ".3g"),
        (found.dense_milliseconds, ".3g"),
    ):
        yield Text("" if value is None else format(value, form))


def show_nodes(console: Console, runs: Sequence["Run"]) -> None:
    """Prints each run with a line for each execution."""
    if not runs:
        _print(console, "No pipeline runs are recorded.")
    for index, run in enumerate(runs):
        if index:
            console.print()
        states = ", ".join(f"{count} {state}" for state, count in run.states().items()) or "nothing has run"
        took = "" if run.seconds is None else f", {run.seconds:.1f} s"
        _print(console, Text(f"{run.pipeline or 'no pipeline'}  {run.id}", "bold"))
        _print(console, f"started {_time(run.started)}{took}, {states}")
        rows = table("node", "execution", "state ", "seconds")
        for each in run.executions:
            seconds = "" if each.seconds is None else f"{each.seconds:,.1f}"
            rows.add_row(each.node, str(each.id), _state(each.state), seconds)
        if run.executions:
            console.print(rows)


def show_artifacts(
    console: Console, artifacts: Sequence["ArtifactRecord"], type_name: str, other_types: Sequence[str]
) -> None:
    """Prints each artifact with a line for each property.

    Args:
        console: Where to print.
        artifacts: What to print.
        type_name: The type that was asked for.
        other_types: Types of which the store has artifacts, if it has none of `type_name`.
    """
    if not artifacts:
        there = f"; there are such of {', '.join(other_types)}" if other_types else ""
        _print(console, f"No artifacts of type {type_name} are recorded{there}.")
    for index, artifact in enumerate(artifacts):
        if index:
            console.print()
        node = artifact.made_by.node if artifact.made_by else "made outside of a pipeline"
        stage = f", {artifact.stage}" if artifact.stage else ""
        _print(console, Text.assemble((f"{artifact.type} {artifact.id}", "bold"), f"  {node}{stage}"))
        lines = list(_lines(artifact))
        width = max(len(name) for name, _ in lines)
        for name, value in lines:
            style = _state_style(value) if name == "state" else ""
            _print(console, Text.assemble(f"  {name:<{width}}  ", (value, style)))


def show_lineage(console: Console, lineage: "Lineage") -> None:
    """Prints a tree for each source that has no sources itself.

    Artifacts under one that came from another run, if followed, stand in a tree of their own further down: where
    trainings start from one another, a single tree would be too deep.
    """
    (asked,) = [node for node in lineage.nodes if node.relation == "self"]
    run = asked.artifact.made_by and asked.artifact.made_by.run
    roots = list(lineage.children(None))
    for root in roots:  # grows meanwhile
        tree = Tree(_line(root, run))
        stack = [(root, tree)]
        while stack:
            parent, branch = stack.pop()
            for child in lineage.children(parent.artifact.id):
                line = _line(child, run)
                if child.followed and _from_other_run(child):
                    roots.append(child)
                    branch.add(line.append("  (goes on below)", style="dim"))
                else:
                    stack.append((child, branch.add(line)))
        console.print(tree)


def readable(name: str, value: Any) -> str:
    """A property as people read it: percentages, separators of thousands, hyperparameters that differ from defaults.

    Args:
        name: The property's key.
        value: Its value. Kubeflow passes every number on as a float.
    """
    if name in properties.FRACTIONS and isinstance(value, (int, float)):
        return f"{value:.2%}"
    if name == properties.HPARAMS and isinstance(value, str):
        return _chosen(value)
    if (name in _ORDER or name.endswith("_bytes")) and isinstance(value, (int, float)) and float(value).is_integer():
        return f"{int(value):,}"
    return str(value)


def _chosen(string: str) -> str:
    """The hyperparameters that are not at their defaults."""
    defaults = dict(hparams_string.split(PruningHParams().to_string()))
    try:
        chosen = [f"{name}={text}" for name, text in hparams_string.split(string) if defaults.get(name) != text]
    except ValueError:
        # Of another version, or not this package's.
        return string
    return ", ".join(chosen) or "all at their defaults"


def _lines(artifact: "ArtifactRecord") -> Iterator[tuple[str, str]]:
    yield "state", artifact.state
    if artifact.made_by is not None:
        yield "pipeline", artifact.made_by.pipeline or "none recorded"
        yield "run", artifact.made_by.run or "none recorded"
        if cached := [run for run in artifact.runs if run != artifact.made_by.run]:
            yield "cached in", ", ".join(cached)
    yield "created", _time(artifact.created)
    yield "uri", artifact.uri
    for name in sorted(artifact.properties, key=lambda name: (_ORDER.get(name, len(_ORDER)), name)):
        if name not in properties.BOOKKEEPING:
            yield name, readable(name, artifact.properties[name])


def _from_other_run(node: "LineageNode") -> bool:
    """Whether it stands under an input that came from another run."""
    return any(each.other_run for each in node.inputs if each.artifact_id == node.parent_id)


def _line(node: "LineageNode", run: str | None) -> Text:
    """The line of an artifact in a tree; `run` is the run of the artifact asked for."""
    artifact, made_by = node.artifact, node.artifact.made_by
    title = f"{artifact.type} {artifact.id}"
    line = Text(title, style="reverse bold" if node.relation == "self" else "bold")
    line = Text.assemble(line, f"  {made_by.node if made_by else 'made outside of a pipeline'}")
    for fact in _facts(artifact):
        line.append(f"  {fact}", style="green")
    if artifact.state not in _USUAL_STATES:
        line.append(f"  {artifact.state}", style=_state_style(artifact.state))
    others = [each for each in node.inputs if each.artifact_id != node.parent_id]
    if others:
        names = ", ".join(f"{each.key or 'input'} {each.artifact_id}" for each in others[:_INPUTS])
        if len(others) > _INPUTS:
            names += f" and {len(others) - _INPUTS} more"
        line.append(f"  with {names}", style="dim")
    if made_by is not None and made_by.run is not None and run not in artifact.runs:
        line.append(f"  run {made_by.run}", style="dim")
    if not node.followed:
        line.append(f"  (goes on: lineage {artifact.id})", style="dim")
    if node.relation == "self":
        line.append("  <- asked for")
    return _plain(line)


def _facts(artifact: "ArtifactRecord") -> Iterator[str]:
    found = artifact.properties
    if artifact.stage:
        yield artifact.stage
    if properties.SPARSITY in found:
        yield f"{readable(properties.SPARSITY, found[properties.SPARSITY])} sparse"
    for size in (properties.STRIPPED_BYTES, properties.TRAINED_BYTES):
        if size in found:
            yield f"{readable(size, found[size])} bytes"
            break
    if properties.METRIC_VALUE in found:
        yield f"{found.get(properties.METRIC, 'metric')} {float(found[properties.METRIC_VALUE]):.4f}"
    if _BLESSED in found:
        yield "blessed" if found[_BLESSED] else "not blessed"
    if _PUSHED in found:
        yield f"pushed to {found.get(_PUSHED_DESTINATION, '')}".rstrip() if found[_PUSHED] else "not pushed"


def _print(console: Console, line: Text | str) -> None:
    """Prints a line without markup. It is wrapped by the terminal only, so that it is copied whole."""
    console.print(_plain(line) if isinstance(line, Text) else Text(escaped(line)), soft_wrap=True)


def _plain(line: Text) -> Text:
    """A line with control characters escaped; if there are any, its style is lost."""
    return line if line.plain == escaped(line.plain) else Text(escaped(line.plain))


def _state(state: str) -> Text:
    return Text(state, style=_state_style(state))


def _state_style(state: str) -> str:
    if state in ("failed", "canceled", "deleted", "marked_for_deletion", "abandoned"):
        return "red"
    return "yellow" if state in ("running", "new", "pending") else ""


def _time(time: "datetime.datetime") -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
