"""Plot: a matplotlib figure as SVG to be put into a page, in the page's colours."""

import io
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Placeholders for colours while matplotlib draws, and the CSS variables that replace them: one plot serves light and
# dark pages.
TEXT = "#010101"
GRID = "#010102"
FIRST = "#010103"
SECOND = "#010104"
MARK = "#010105"
_VARIABLES = {TEXT: "text-2", GRID: "grid", FIRST: "first", SECOND: "second", MARK: "mark"}

# Inches. On a phone of 360 pixels' width a text of 11 points is 11 pixels high.
WIDTH = 4.5
HEIGHT = 2.6

_SVG = "{http://www.w3.org/2000/svg}"
_STYLE = {
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": TEXT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "font.size": 11,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": TEXT,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "text.color": TEXT,
    "xtick.color": GRID,
    "xtick.labelcolor": TEXT,
    "ytick.color": GRID,
    "ytick.labelcolor": TEXT,
}


class Plot:
    """One plot. Draw on `axes` inside `with plot:`, then take `svg`.

    Attributes:
        axes: What to draw on.
    """

    axes: Axes

    def __init__(self, key: str, height: float = HEIGHT) -> None:
        """Begins empty.

        Args:
            key: Letters and digits that no other plot of the page has: its ids begin with them.
            height: In inches.
        """
        self._key = key
        self._height = height
        self._style = matplotlib.rc_context({**_STYLE, "svg.hashsalt": key})

    def __enter__(self) -> "Plot":
        self._style.__enter__()
        self._figure = Figure(figsize=(WIDTH, self._height), layout="constrained")
        FigureCanvasSVG(self._figure)
        self.axes = self._figure.add_subplot()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                stream = io.StringIO()
                self._figure.savefig(stream, format="svg")
                self._drawn = stream.getvalue()
        finally:
            self._style.__exit__(*error)

    def legend(self, columns: int = 3) -> None:
        """Puts the legend above the axes, where it hides nothing.

        Args:
            columns: How many; long names need few.
        """
        self.axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=columns,
            borderaxespad=0.1,
            borderpad=0.1,
            columnspacing=0.9,
            fontsize=10,
            handlelength=1.3,
            handletextpad=0.4,
        )

    def svg(self, title: str) -> str:
        """The `<svg>` element.

        Args:
            title: What a screen reader says it is; plain text.
        """
        root = ET.fromstring(self._drawn)
        _drop(root, f"{_SVG}metadata", f"{_SVG}style")
        referenced = {value for element in root.iter() for value in _references(element)}
        for element in root.iter():
            _adapt(element, self._key, referenced)
        for attribute in ("width", "height", "version"):
            root.attrib.pop(attribute, None)
        name = ET.Element("title", id=f"{self._key}-title")
        name.text = title
        root.insert(0, name)
        root.set("role", "img")
        root.set("aria-labelledby", f"{self._key}-title")
        text = ET.tostring(root, encoding="unicode")
        for colour, variable in _VARIABLES.items():
            text = text.replace(colour, f"var(--{variable})")
        return text


def _drop(root: ET.Element, *tags: str) -> None:
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in tags]:
            parent.remove(child)


def _references(element: ET.Element) -> Iterator[str]:
    """Ids that an element's attributes refer to, as '#id' or 'url(#id)'."""
    for value in element.attrib.values():
        if value.startswith(("#", "url(#")):
            yield value.removeprefix("url(").removesuffix(")")[1:]


def _adapt(element: ET.Element, key: str, referenced: set[str]) -> None:
    """Takes the namespaces out, which HTML does not need, and makes the ids the page's own."""
    element.tag = element.tag.rpartition("}")[2]
    for name, value in list(element.attrib.items()):
        del element.attrib[name]
        plain = name.rpartition("}")[2]
        if plain == "id":
            if value in referenced:
                element.set("id", f"{key}-{value}")
        elif value.startswith(("#", "url(#")) and value not in _VARIABLES:
            element.set(plain, value.replace("#", f"#{key}-"))
        else:
            element.set(plain, value)
