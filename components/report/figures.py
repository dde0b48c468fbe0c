"""Figures: the plots of a report, each with a table of the same numbers."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

from ..engine.history.histogram import Histogram
from ..engine.history.training_history import MetricsPoint, TrainingHistory, WeightHistory
from .document import ReportDocument
from .plot import FIRST, MARK, SECOND, Plot

# Mask updates are drawn one by one up to this number, as one band above it.
_LINES = 60
_BARS = 40
_ROWS = 60
_METRICS = 8
_VALIDATION = "val_"  # as Keras names the metrics of the validation data
WEIGHTS = 12

Table = tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]


@dataclasses.dataclass(frozen=True)
class ReportFigure:
    """A plot of the report.

    Attributes:
        caption: A sentence on what it shows.
        svg: The `<svg>` element.
        table: Headings and rows of the same numbers, as text.
    """

    caption: str
    svg: str
    table: Table


def layers(document: ReportDocument) -> ReportFigure | None:
    """Sparsity of the pruned weights, or of all if none was pruned; None without weights. All are in the table."""
    weights = document.pruned_weights or document.weights
    shown = weights[:_BARS]
    if not shown:
        return None
    with Plot("layers", 0.5 + 0.42 * len(shown)) as plot:
        axes = plot.axes
        positions = np.arange(len(shown))
        axes.barh(positions, [weight.sparsity for weight in shown], height=0.4, color=FIRST)
        for position, weight in zip(positions, shown, strict=True):
            label = f"{shortened(weight.path)}  {percent(weight.sparsity)}"
            # Above its bar: beside it, a long name would leave no room for the bars on a phone.
            axes.text(0.0, position - 0.3, label, va="bottom", fontsize=10, parse_math=False)
        axes.set(xlim=(0, 1), ylim=(len(shown) - 0.6, -0.95), yticks=[])
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(False, axis="y")
    caption = "Zeros in each pruned weight." if document.pruned_weights else "Zeros in each weight."
    if len(weights) > len(shown):
        caption += f" {len(weights) - len(shown)} more are in the table only."
    headings: tuple[str, ...] = ("weight", "shape", "parameters", "not zero", "sparsity")
    rows = tuple(
        (
            weight.path,
            " \N{MULTIPLICATION SIGN} ".join(map(str, weight.shape)) or "scalar",
            f"{weight.size:,}",
            f"{weight.nonzero:,}",
            percent(weight.sparsity),
        )
        for weight in document.weights
    )
    if len(document.pruned_weights) not in (0, len(document.weights)):
        headings = (*headings, "pruned")
        flags = ["yes" if weight.pruned else "no" for weight in document.weights]
        rows = tuple((*row, flag) for row, flag in zip(rows, flags, strict=True))
    return ReportFigure(caption, plot.svg(caption), (headings, rows))


def schedule(history: TrainingHistory) -> ReportFigure | None:
    """Sparsity asked for against sparsity reached; None if no step was recorded."""
    points = history.sparsity
    if not points:
        return None
    steps = [point.step for point in points]
    with Plot("schedule") as plot:
        axes = plot.axes
        _mark_updates(axes, history)
        axes.step(
            [history.first_step, *steps],
            [math.nan if history.first_step else 0.0, *(point.reached for point in points)],
            where="post",
            color=FIRST,
            label="reached",
        )
        axes.plot(steps, [point.asked for point in points], "--", color=SECOND, label="asked for")
        axes.plot(steps[-1:], [points[-1].reached], "o", color=FIRST, markersize=4)
        axes.set(xlabel="optimizer steps", ylim=(0, 1))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        _whole_steps(axes)
        plot.legend()
    caption = f"Sparsity that the schedule asks for, and sparsity reached. {_updates(history)}"
    rows = tuple((f"{p.step:,}", percent(p.asked), percent(p.reached)) for p in _thinned(points))
    return ReportFigure(caption, plot.svg(caption), (("step", "asked for", "reached"), rows))


def metrics(history: TrainingHistory) -> Iterator[ReportFigure]:
    """Loss and metrics over the steps, one figure each, the loss first."""
    trained = _names(history.metrics)
    of_epochs = _names(history.epochs)
    alone = [name for name in of_epochs if name.removeprefix(_VALIDATION) not in {*trained, *of_epochs} - {name}]
    names = sorted(dict.fromkeys([*trained, *alone]), key=lambda name: name != "loss")
    for index, name in enumerate(names[:_METRICS]):
        training = _series(history.metrics, name) or _series(history.epochs, name)
        validation = _series(history.epochs, f"{_VALIDATION}{name}")
        with Plot(f"metric{index}") as plot:
            axes = plot.axes
            _mark_updates(axes, history)
            axes.plot(*zip(*training, strict=True), color=FIRST, label="training")
            if validation:
                axes.plot(*zip(*validation, strict=True), "o", color=SECOND, markersize=5, label="validation")
            axes.set_xlabel("optimizer steps")
            _whole_steps(axes)
            plot.legend()
        caption = f"{name} in training, the mean since its epoch began"
        caption += ", and in validation, after each epoch." if validation else "."
        steps = sorted({step for series in (training, validation) for step, _ in _thinned(series)})
        columns = [{step: f"{value:.5g}" for step, value in series} for series in (training, validation)]
        rows = tuple((f"{step:,}", *(column.get(step, "") for column in columns)) for step in steps)
        yield ReportFigure(caption, plot.svg(caption), (("step", "training", "validation"), rows))


def sizes(document: ReportDocument) -> ReportFigure | None:
    """Bytes of the model in each form; None if none are known."""
    if not document.sizes:
        return None
    names, values = list(document.sizes), list(document.sizes.values())
    with Plot("sizes", 0.5 + 0.5 * len(names)) as plot:
        axes = plot.axes
        axes.barh(range(len(names)), values, height=0.4, color=FIRST)
        for position, (name, value) in enumerate(document.sizes.items()):
            axes.text(0.0, position - 0.3, f"{name}  {byte_count(value)}", va="bottom", fontsize=10, parse_math=False)
        axes.set(ylim=(len(names) - 0.6, -0.95), yticks=[])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: byte_count(value)))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(False, axis="y")
    caption = "Bytes on disk, all files. Shares are of the first of the same kind, gzipped or not."
    firsts = {name.endswith("gzipped"): name for name in reversed(names)}
    rows = []
    for name, value in document.sizes.items():
        first = firsts[name.endswith("gzipped")]
        alone = len([each for each in names if each.endswith("gzipped") == name.endswith("gzipped")]) == 1
        share = "" if alone and name != names[0] else f"{value / max(document.sizes[first], 1):.1%}"
        rows.append((name, f"{value:,}", share))
    return ReportFigure(caption, plot.svg(caption), (("form", "bytes", "share"), tuple(rows)))


def weights(history: TrainingHistory) -> Iterator[tuple[WeightHistory, list[ReportFigure]]]:
    """Histograms of the largest weights and of their scores, in the order of the model."""
    largest = sorted(history.weights, key=lambda weight: -weight.before.total)[:WEIGHTS]
    for index, weight in enumerate(each for each in history.weights if each in largest):
        found = [_weight(index, weight, history.first_step)]
        if weight.scores is not None and weight.scores.counts:
            found.append(_scores(index, weight, weight.scores))
        yield weight, found


def percent(fraction: float) -> str:
    """A sparsity as text: '90.00 %'."""
    return f"{fraction:.2%}".replace("%", "\N{NO-BREAK SPACE}%")


def byte_count(value: float) -> str:
    """Bytes as text for people: '1.2 MB'."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    number = f"{value:.0f}" if unit == "bytes" else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
    return f"{number}\N{NO-BREAK SPACE}{unit}"


def shortened(path: str, length: int = 44) -> str:
    """The text, or an ellipsis and its end if it is longer than `length`."""
    return path if len(path) <= length else f"…{path[-length + 1 :]}"


def _weight(index: int, weight: WeightHistory, first_step: int) -> ReportFigure:
    before = "before training" if first_step == 0 else f"at step {first_step:,}"
    with Plot(f"weight{index}") as plot:
        axes = plot.axes
        for histogram, colour, label, filled in (
            (weight.before, SECOND, before, False),
            (weight.after, FIRST, "after training", True),
        ):
            if histogram.counts:
                widths = np.diff(histogram.edges)
                density = np.array(histogram.counts) / (histogram.total * widths)
                axes.stairs(density, histogram.edges, color=colour, label=label, linewidth=1.6, fill=False)
                if filled:
                    axes.stairs(density, histogram.edges, color=colour, alpha=0.25, fill=True)
        axes.set(xlabel="weight", ylabel="density", yticks=[])
        axes.set_ylim(bottom=0)
        plot.legend()
    caption = (
        f"Weights that are not zero: {sum(weight.before.counts):,} of {weight.before.total:,} {before}, "
        f"{sum(weight.after.counts):,} after training. The area is the share of those in all."
    )
    rows = (
        *_rows(before, weight.before),
        *_rows("after training", weight.after),
    )
    return ReportFigure(caption, plot.svg(caption), (("when", "from", "to", "weights"), rows))


def _scores(index: int, weight: WeightHistory, scores: Histogram) -> ReportFigure:
    with Plot(f"scores{index}") as plot:
        axes = plot.axes
        axes.stairs(scores.counts, scores.edges, color=FIRST, alpha=0.45, fill=True, label="units")
        if weight.threshold is not None and weight.threshold > 0:
            axes.axvline(weight.threshold, color=SECOND, linestyle="--", label="threshold")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-")))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
        axes.set(xlabel="score", ylabel="units")
        plot.legend()
    threshold = "none" if weight.threshold is None else f"{weight.threshold:.4g}"
    caption = (
        f"Scores of the units at the end of the training: {sum(scores.counts):,} above zero, {scores.zeros:,} pruned "
        f"before or without a score. The last mask update kept scores from {threshold} on."
    )
    return ReportFigure(caption, plot.svg(caption), (("when", "from", "to", "units"), tuple(_rows("end", scores))))


def _rows(when: str, histogram: Histogram) -> Iterator[tuple[str, ...]]:
    """Rows of a histogram's table, zeros first, five bins to a row."""
    yield when, "0", "0", f"{histogram.zeros:,}"
    edges = histogram.edges
    for start in range(0, len(histogram.counts), 5):
        counts = histogram.counts[start : start + 5]
        yield when, f"{edges[start]:.4g}", f"{edges[start + len(counts)]:.4g}", f"{sum(counts):,}"


def _mark_updates(axes: Axes, history: TrainingHistory) -> None:
    if not history.mask_updates:
        return
    if history.mask_update_count <= _LINES:
        steps = [step for each in history.mask_updates for step in each.steps()]
        axes.vlines(steps, 0, 0.05, transform=axes.get_xaxis_transform(), color=MARK, linewidth=1.2)
    else:
        for each in history.mask_updates:
            axes.axvspan(each.first, each.last, 0, 0.05, color=MARK, alpha=0.6, linewidth=0)
    axes.plot([], [], "|", color=MARK, markersize=8, markeredgewidth=1.4, label="mask update")


def _updates(history: TrainingHistory) -> str:
    count = history.mask_update_count
    if not count:
        return "No mask was updated."
    first, last = history.mask_updates[0].first, history.mask_updates[-1].last
    return f"{count:,} mask updates, from step {first:,} to step {last:,}."


def _whole_steps(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _names(points: Sequence[MetricsPoint]) -> list[str]:
    return list(dict.fromkeys(name for point in points for name in point.values))


def _series(points: Sequence[MetricsPoint], name: str) -> list[tuple[int, float]]:
    return [(point.step, point.values[name]) for point in points if name in point.values]


def _thinned(points: Sequence[Any]) -> list[Any]:
    """At most `_ROWS` of the points, evenly spread, the last among them."""
    if len(points) <= _ROWS:
        return list(points)
    return [points[round(index)] for index in np.linspace(0, len(points) - 1, _ROWS)]
