"""The page: a report as one file of HTML that needs nothing else."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jinja2
from markupsafe import Markup

from ..engine.hparams import PruningHParams
from ..engine.shown import escaped
from ..sweep import Sweep
from . import figures
from .document import Evaluation, ReportDocument, Shrinking
from .figures import ReportFigure, byte_count, percent
from .pareto import metric_text, pareto

_TEMPLATE = "page.html.j2"


def page(document: ReportDocument) -> str:
    """The report as HTML.

    Everything is in the one file: styles, and plots as SVG, in light or dark as the reader's device is. It runs no
    script and loads nothing. Names from the model are shown as text, whatever is in them; control characters and the
    like as escapes.

    Args:
        document: What the report says.

    Returns:
        The HTML, UTF-8 without a byte order mark when encoded.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    hparams = document.hparams
    document = _escaped(document)
    history = document.training
    return environment.get_template(_TEMPLATE).render(
        document=document,
        tiles=list(_tiles(document)),
        sweep=None if document.sweep is None else pareto(document.sweep),
        layers=figures.layers(document),
        schedule=None if history is None else figures.schedule(history),
        metrics=[] if history is None else list(figures.metrics(history)),
        sizes=figures.sizes(document),
        weights=[] if history is None else list(figures.weights(history)),
        hparams=None if hparams is None else list(_hparams(hparams)),
        svg=_svg,
        percent=percent,
    )


@dataclasses.dataclass(frozen=True)
class _Tile:
    """A figure that stands at the top."""

    name: str
    value: str
    note: str = ""


def _tiles(document: ReportDocument) -> Iterator[_Tile]:
    if document.sweep is not None:
        yield from _sweep_tiles(document.sweep)
    if document.evaluation is not None:
        yield from _evaluation_tiles(document.evaluation)
    if document.budget is not None:
        for what, allowed, _, delivered in document.budget.rows():
            yield _Tile("Budget", delivered, f"{what}, allowed {allowed}")
    shrinking = None if document.stripping is None else document.stripping.shrinking
    shrunk = shrinking is not None and bool(shrinking.shapes)
    if shrunk:
        yield from _shrinking_tiles(shrinking)
    if document.pruned_weights:
        count = len(document.pruned_weights)
        yield _Tile("Sparsity", percent(document.sparsity), f"of {count:,} pruned weight{'s' if count > 1 else ''}")
    if document.hparams is not None:
        yield _asked_tile(document.hparams)
    if not shrunk:
        yield from _parameter_tiles(document)
    if document.training is not None:
        history = document.training
        begin = f"from step {history.first_step:,} on" if history.first_step else ""
        yield _Tile("Optimizer steps", f"{history.last_step - history.first_step:,}", begin)
        updates = history.mask_updates
        ramp = f"from step {updates[0].first:,} to {updates[-1].last:,}" if updates else ""
        yield _Tile("Mask updates", f"{history.mask_update_count:,}", ramp)
    if document.sizes and not shrunk:
        name, size = list(document.sizes.items())[-1]
        yield _Tile("Size", byte_count(size), name)
    if document.stripping is not None:
        yield _Tile("Variables removed", f"{len(document.stripping.variables_removed):,}")


def _evaluation_tiles(evaluation: Evaluation) -> Iterator[_Tile]:
    if evaluation.refusals is not None:
        yield _Tile("Verdict", "refused" if evaluation.refusals else "good enough", "; ".join(evaluation.refusals))
    for name in list(evaluation.pruned)[:1]:
        baseline = evaluation.baseline.get(name)
        note = "" if baseline is None else f"dense {metric_text(baseline)}"
        yield _Tile(name, metric_text(evaluation.pruned[name]), note)


def _parameter_tiles(document: ReportDocument) -> Iterator[_Tile]:
    if document.pruned_weights:
        yield _Tile(
            "Weights not zero", f"{document.nonzero_parameters:,}", f"of {document.prunable_parameters:,} pruned"
        )
    if document.total_parameters is not None:
        total = document.total_sparsity
        note = f"{percent(total)} zero" if total is not None and document.pruned_weights else ""
        yield _Tile("Parameters in all", f"{document.total_parameters:,}", note)
    if document.multiply_adds is not None:
        before, kept = document.multiply_adds
        yield _Tile("Multiply-adds left", f"{kept:,}", f"of {before:,}, {percent(1 - kept / before)} gone")


def _shrinking_tiles(shrinking: Shrinking) -> Iterator[_Tile]:
    for name, pair in (
        ("Parameters served", shrinking.parameters),
        ("Multiply-adds an example", shrinking.multiply_adds),
    ):
        if pair is not None:
            yield _Tile(name, f"{pair[1]:,}", f"of {pair[0]:,}")
    yield _Tile("Served, raw", byte_count(shrinking.bytes[1]), f"{byte_count(shrinking.bytes[0])} before shrinking")
    if shrinking.gzipped_bytes is not None:
        before, after = map(byte_count, shrinking.gzipped_bytes)
        yield _Tile("Served, gzipped", after, f"{before} before shrinking")


def _asked_tile(hparams: str) -> _Tile:
    # Not checked: a criterion of the user's need not be registered here.
    fields = dataclasses.asdict(PruningHParams()) | PruningHParams.fields_of(hparams)
    counted = "multiply-adds" if fields["cost"] == "flops" else "weights"
    return _Tile("Asked for", percent(fields["target_sparsity"]), f"of the {counted}, {fields['allocation']}")


def _sweep_tiles(sweep: Sweep) -> Iterator[_Tile]:
    chosen, dense = sweep.chosen, sweep.baseline
    yield _Tile("Candidates", f"{len(sweep.candidates):,}", f"{sum(map(sweep.passes, sweep.candidates)):,} good enough")
    if chosen is None:
        yield _Tile("Chosen", "none")
        return
    yield _Tile("Chosen sparsity", percent(chosen.sparsity), chosen.name)
    yield _Tile(sweep.goal.metric, metric_text(chosen.metric), f"dense {metric_text(dense.metric)}")
    note = "stripped, gzipped" if dense.gzipped_bytes is None else f"gzipped, dense {byte_count(dense.gzipped_bytes)}"
    yield _Tile("Size", byte_count(chosen.gzipped_bytes), note)


def _hparams(text: str) -> Iterator[tuple[str, str, bool]]:
    """Name, value and whether it is another than the default, of each hyperparameter."""
    defaults = dataclasses.asdict(PruningHParams())
    # Not checked: a criterion of the user's need not be registered here.
    for name, value in (defaults | PruningHParams.fields_of(text)).items():
        shown = ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
        yield name, escaped(shown), value != defaults[name]


def _escaped(value: Any) -> Any:
    """A part of a document, with all its strings escaped."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, Mapping):
        return {_escaped(name): _escaped(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(map(_escaped, value))
    if dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        return dataclasses.replace(value, **{name: _escaped(getattr(value, name)) for name in fields})
    return value


def _svg(figure: ReportFigure) -> Markup:
    return Markup(figure.svg)
