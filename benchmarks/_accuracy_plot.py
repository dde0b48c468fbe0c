"""The plot of accuracy against sparsity."""

import pathlib
from collections.abc import Mapping

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from _methods import DENSE, TFMOT
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

# Rows that are drawn, with colour, marker and line.
_DRAWN = {
    "second order w^2 (dL/dw)^2, global with a floor": ("#1b6ca8", "o", "-"),
    "first order |w| |dL/dw|, global with a floor": ("#2a9d63", "s", "-"),
    "magnitude |w|, global with a floor": ("#8a5fb0", "D", "-"),
    "second order w^2 (dL/dw)^2, uniform": ("#1b6ca8", "o", ":"),
    "magnitude |w|, uniform": ("#8a5fb0", "D", ":"),
    "reference's first order, uniform": ("#d9822b", "^", "--"),
    TFMOT: ("#c0392b", "v", "--"),
}
# Of the errors, which the axis shows: 1 - accuracy.
_TICKS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.4)


def draw(panels: Mapping[str, Mapping[str, Mapping[float, tuple[float, float]]]], path: pathlib.Path) -> None:
    """Draws one panel for each model and writes the image, in the format of the path's ending.

    Args:
        panels: By title of the panel, by row of the table, by sparsity: mean and standard deviation of the accuracy.
        path: The file.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(6.2 * len(panels), 5.2), sharey=True, squeeze=False)
    for axis, (title, rows) in zip(axes[0], panels.items(), strict=True):
        sparsities = sorted({sparsity for method, row in rows.items() if method != DENSE for sparsity in row})
        (dense, deviation) = rows[DENSE][0.0]
        axis.axhspan(max(1 - dense - deviation, 1e-3), 1 - dense + deviation, color="#bbbbbb", alpha=0.35, linewidth=0)
        axis.axhline(1 - dense, color="#555555", linewidth=1.2, label="dense")
        for method, (colour, marker, line) in _DRAWN.items():
            row = rows.get(method, {})
            if not row:
                continue
            # Sparsities are evenly spaced, and rows are shifted so that their bars do not overlap.
            shift = 0.03 * (list(_DRAWN).index(method) - len(_DRAWN) / 2)
            places = [sparsities.index(sparsity) + shift for sparsity in row]
            errors, deviations = [1 - mean for mean, _ in row.values()], [deviation for _, deviation in row.values()]
            axis.errorbar(
                places,
                errors,
                deviations,
                color=colour,
                marker=marker,
                linestyle=line,
                label=method,
                markersize=5,
                linewidth=1.5,
                elinewidth=0.8,
                capsize=2,
            )
        axis.set_yscale("log")
        axis.set_ylim(0.7, 0.008)
        axis.yaxis.set_major_locator(FixedLocator(_TICKS))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{1 - error:.2f}"))
        axis.set_xticks(range(len(sparsities)), [f"{100 * sparsity:g} %" for sparsity in sparsities])
        axis.set_xlabel("sparsity")
        axis.set_title(title, fontsize=10)
        axis.grid(color="#e6e6e6", linewidth=0.7)
        axis.set_axisbelow(True)
    axes[0][0].set_ylabel("test accuracy, mean and standard deviation")
    axes[0][0].legend(loc="lower left", fontsize=8.5, framealpha=0.95)
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
