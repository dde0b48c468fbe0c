"""What a page of HTML says, read without a browser."""

import html.parser


class PageText(html.parser.HTMLParser):
    """Texts of a page.

    Attributes:
        tables: Rows of cells, by the id of the section that they are in; several tables one after the other.
        tiles: The values at the top, by their names; with their notes.
        elements: Tags and their attributes.
        ids: All ids, in order.
    """

    def __init__(self, text):
        super().__init__()
        self.tables, self.tiles, self.elements, self.ids = {}, {}, [], []
        self._section, self._cell, self._name = None, None, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "section":
            self._section = attributes["id"]
        elif tag == "tr":
            self.tables.setdefault(self._section, []).append([])
        elif tag in ("td", "th", "dt", "dd"):
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[self._section][-1].append(self._cell)
        elif tag == "dt":
            self._name = self._cell
        elif tag == "dd":
            self.tiles[self._name] = self._cell.strip()
        if tag in ("td", "th", "dt", "dd"):
            self._cell = None
