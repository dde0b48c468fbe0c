"""The page: a report as one file of HTML that needs nothing else."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from ..call_times import CallTimes
from ..engine.hparams import PruningHParams
from ..engine.shown import escaped
from ..sweep import Sweep
from . import figures
from .document import Evaluation, Export, ReportDocument, Shrinking
from .figures import ReportFigure, byte_count, percent
from .latency import Latency
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
        latency=[_latency_row(each) for each in document.latency],
        exports=list(_exports(document.exports)),
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
    of_sweep = document.sweep is not None and document.sweep.chosen is not None
    if document.evaluation is not None and not of_sweep:
        yield from _evaluation_tiles(document.evaluation)
    if document.latency:
        yield _latency_tile(document.latency[-1])
    if document.budget is not None:
        for what, allowed, _, delivered in document.budget.rows():
            yield _Tile("Budget", delivered, f"{what}, allowed {allowed}")
    shrinking = None if document.stripping is None else document.stripping.shrinking
    shrunk = shrinking is not None and bool(shrinking.shapes)
    if shrunk:
        yield from _shrinking_tiles(shrinking, with_sizes=not of_sweep)
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
    if document.sizes and not shrunk and not of_sweep:
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


def _exports(exports: Sequence[Export]) -> Iterator[tuple[str, ...]]:
    """Headings, and a row for each export and, if there is a metric, for the model."""
    metrics = [each.metric for each in exports if each.metric is not None]
    if not exports:
        return
    yield ("format", "bytes", "largest difference", "checked on", *metrics[:1])
    if metrics:
        value = exports[0].model_metric_value
        yield "stripped SavedModel", "", "", "", metric_text(math.nan if value is None else value)
    for each in exports:
        row = each.format, f"{each.bytes:,}", f"{each.largest_difference:.3g}", each.checked_on
        shown = "not measured" if each.metric_value is None else metric_text(each.metric_value)
        yield (*row, *((shown,) if metrics else ()))


def _latency_tile(latency: Latency) -> _Tile:
    value = f"{latency.times_as_fast:.1f}x as fast" if latency.is_clear else "about as fast"
    pruned, dense = (_milliseconds(each.median) for each in (latency.pruned, latency.dense))
    return _Tile("Speed", value, f"batch of {latency.batch}: {pruned}, dense {dense}")


def _latency_row(latency: Latency) -> tuple[str, ...]:
    times = (f"{latency.times_as_fast:.2f}",)
    return (str(latency.batch), *map(_spread, (latency.dense, latency.pruned)), *times, f"{latency.dense.calls:,}")


def _spread(times: CallTimes) -> str:
    return f"{times.median:.3g} ({times.lower:.3g} to {times.upper:.3g})"


def _milliseconds(value: float) -> str:
    return f"{value:.3g}\N{NO-BREAK SPACE}ms"


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


def _shrinking_tiles(shrinking: Shrinking, with_sizes: bool) -> Iterator[_Tile]:
    for name, pair in (
        ("Parameters served", shrinking.parameters),
        ("Multiply-adds an example", shrinking.multiply_adds),
    ):
        if pair is not None:
            yield _Tile(name, f"{pair[1]:,}", f"of {pair[0]:,}")
    if not with_sizes:
        return
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
