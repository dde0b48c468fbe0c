"""The Pareto plot of a sweep: metric against size, candidates labelled as far as there is room at their points."""

import itertools
import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from matplotlib.transforms import Bbox

from ..engine import hparams_string
from ..sweep import LOWER, Sweep, SweepCandidate
from .figures import ReportFigure, Table, byte_count, percent, shortened
from .plot import FIRST, MARK, SECOND, Plot

# Inches: higher than other plots, as labels stand between the points.
_HEIGHT = 3.3
_HEIGHT_OF_CANDIDATE = 0.07
_HEIGHT_OF_ENTRY = 0.17  # in the legend
_ENTRY_OF_COLUMN = 20  # letters that fit into one of the legend's two columns
_MARKERS = "osD^vPX"
# Where a label may stand, in points from the middle of its mark: at the mark, so that nobody takes it for another's.
_PLACES = [
    (distance * x, distance * y)
    for distance in (9, 13)
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8))
]
_TOUCHED = 0.06  # share of a label that may cover something
_LOGARITHMIC_FROM = 4.0  # largest size over the smallest one


def pareto(sweep: Sweep) -> ReportFigure:
    """Metric against gzipped size: each candidate, the front, the worst value allowed, and the dense model."""
    goal, dense = sweep.goal, sweep.baseline
    shown = [each for each in sweep.candidates if not math.isnan(each.metric)]
    options = {name: shortened(option, 40) for name, option in _options(sweep.candidates).items()}
    columns = 2 if max(map(len, options.values())) <= _ENTRY_OF_COLUMN else 1
    entries = 4 + len(set(options.values()))
    height = _HEIGHT + _HEIGHT_OF_CANDIDATE * len(shown) + _HEIGHT_OF_ENTRY * math.ceil(entries / columns)
    with Plot("pareto", height) as plot:
        axes = plot.axes
        axes.axhline(sweep.limit, color=SECOND, linestyle="--", linewidth=1.2, label="worst allowed")
        axes.axhline(dense.metric, color=MARK, linestyle=":", linewidth=1.2, label="dense")
        axes.step(*_places(sweep.front), where="post", color=FIRST, linewidth=1.2, alpha=0.6, label="front")
        for option, marker in zip(dict.fromkeys(options.values()), itertools.cycle(_MARKERS), strict=False):
            if option:
                axes.plot([], [], marker, color=FIRST, markersize=5, label=option)
            for each in (each for each in shown if options[each.name] == option):
                colour = FIRST if sweep.passes(each) else SECOND
                axes.plot(each.gzipped_bytes, each.metric, marker, color=colour, markersize=5)
        if sweep.chosen:
            axes.plot(*_places([sweep.chosen]), "o", color=FIRST, markersize=12, fillstyle="none", label="chosen")
        front = sweep.front
        # Where not all can be labelled, those of the front come first, after the chosen one and the dense model.
        ranked = sorted(shown, key=lambda each: (each != sweep.chosen, each not in front))
        labels = [(each.gzipped_bytes, each.metric, short_percent(each.sparsity)) for each in ranked]
        if dense.gzipped_bytes is not None:
            axes.plot(dense.gzipped_bytes, dense.metric, "*", color=MARK, markersize=9)
            labels.insert(bool(sweep.chosen), (dense.gzipped_bytes, dense.metric, "dense"))
        axes.set(xlabel="bytes, stripped and gzipped", ylabel=goal.metric)
        axes.margins(0.14, 0.12)
        _sizes(axes, [size for size, _, _ in labels])
        plot.legend(columns)
        unlabelled = _label(axes, labels, bool(sweep.chosen) + (dense.gzipped_bytes is not None))
    better = "lower" if goal.direction == LOWER else "higher"
    bound = "" if goal.bound is None else f", and never worse than {goal.bound:g}"
    crowded = f"; {unlabelled} that lie too close to others are in the table only" if unlabelled else ""
    caption = (
        f"{goal.metric}, of which {better} is better, against size. Labels are sparsities{crowded}. Allowed is "
        f"{metric_text(sweep.limit)} or {better}: tolerance {goal.tolerance:g} from the dense model's "
        f"{metric_text(dense.metric)}{bound}. "
        f"{f'Chosen is {sweep.chosen.name}.' if sweep.chosen else 'No candidate is good enough.'}"
    )
    return ReportFigure(caption, plot.svg(caption), sweep_table(sweep))


def short_percent(fraction: float) -> str:
    """A sparsity as a short text: '95 %', '99.53 %'."""
    return f"{100 * fraction:.4g}\N{NO-BREAK SPACE}%"


def metric_text(value: float, sign: str = "-") -> str:
    """A metric as text: '0.9420', '1.3e-05'.

    Args:
        value: The metric; NaN is 'none'.
        sign: '+' for a sign before positive numbers too.
    """
    if math.isnan(value):
        return "none"
    return f"{value:{sign}.{'4f' if value == 0 or 0.0001 <= abs(value) < 10_000 else '5g'}}"


def sweep_table(sweep: Sweep) -> Table:
    """The dense model and all candidates, the least sparse first."""
    dense = sweep.baseline
    headings = ("model", "sparsity", sweep.goal.metric, "against dense", "stripped bytes", "gzipped bytes", "verdict")
    sizes = ["" if size is None else f"{size:,}" for size in (dense.stripped_bytes, dense.gzipped_bytes)]
    rows = [("dense", "", metric_text(dense.metric), "", *sizes, "")]
    for each in sorted(sweep.candidates, key=lambda each: each.sparsity):
        rows.append(
            (
                each.name,
                percent(each.sparsity),
                metric_text(each.metric),
                "" if math.isnan(each.metric) else metric_text(each.metric - dense.metric, sign="+"),
                f"{each.stripped_bytes:,}",
                f"{each.gzipped_bytes:,}",
                _verdict(sweep, each),
            )
        )
    return headings, tuple(rows)


def _verdict(sweep: Sweep, candidate: SweepCandidate) -> str:
    if candidate == sweep.chosen:
        return "chosen"
    if candidate.check is not None and candidate.check.failures:
        return "over the budget" if sweep.within(candidate) else "over both"
    return "within" if sweep.within(candidate) else "over"


def _options(candidates: Sequence[SweepCandidate]) -> dict[str, str]:
    """For each candidate, the values of the hyperparameters that differ between candidates, without the target."""
    of_each = {each.name: dict(hparams_string.split(each.hparams)) if each.hparams else {} for each in candidates}
    names = dict.fromkeys(name for hparams in of_each.values() for name in hparams if name != "target_sparsity")
    differing = [name for name in names if len({hparams.get(name) for hparams in of_each.values()}) > 1]
    return {
        candidate: ", ".join(hparams[name] for name in differing if name in hparams)
        for candidate, hparams in of_each.items()
    }


def _places(candidates: Sequence[SweepCandidate]) -> tuple[list[int], list[float]]:
    return [each.gzipped_bytes for each in candidates], [each.metric for each in candidates]


def _sizes(axes: Axes, sizes: Sequence[int]) -> None:
    """Ticks of the axis of sizes."""
    if sizes and max(sizes) >= _LOGARITHMIC_FROM * max(min(sizes), 1):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: byte_count(value)))


def _label(axes: Axes, labels: Sequence[tuple[float, float, str]], needed: int) -> int:
    """Writes labels at their marks, where they cover no other label and no mark; returns how many found no place.

    The first `needed` ones are written in any case.
    """
    axes.figure.draw_without_rendering()  # gives the axes their place
    marks = [axes.transData.transform((x, y)) for x, y, _ in labels]
    taken = [Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in marks]
    pixels = axes.figure.dpi / 72
    left_out = 0
    for index, (x, y, text) in enumerate(labels):
        label = axes.annotate(
            text, (x, y), (0, 0), textcoords="offset points", ha="center", va="center", fontsize=10, parse_math=False
        )
        label.set_in_layout(False)
        middle = label.get_window_extent().padded(1.5)
        boxes = {}
        for right, up in _PLACES:
            # From the mark to the edge of the text, not to its middle.
            place = (right + math.copysign(middle.width / pixels / 2, right) if right else 0.0, up)
            boxes[place] = middle.translated(place[0] * pixels, place[1] * pixels)
        covered = {place: _covered(box, taken, axes.bbox) for place, box in boxes.items()}
        best = min(covered, key=covered.__getitem__)
        if covered[best] > _TOUCHED * _area(middle) and index >= needed:
            label.remove()
            left_out += 1
            continue
        label.set_position(best)
        taken.append(boxes[best])
    return left_out


def _covered(box: Bbox, taken: Sequence[Bbox], inside: Bbox) -> float:
    """Square pixels of a box that other boxes cover, plus twice those outside the axes."""
    within = Bbox.intersection(box, inside)
    outside = _area(box) - (_area(within) if within else 0.0)
    return 2 * outside + sum(_area(each) for other in taken if (each := Bbox.intersection(box, other)))


def _area(box: Bbox) -> float:
    return box.width * box.height
