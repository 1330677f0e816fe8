"""Check outputs by their format: no control byte, no active link, and well-formed.

The readers are foreign: the parsers of the standard library, one of Markdown, PyArrow.
"""

import csv
import html.parser
import io
import json
import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NoReturn

from markdown_it import MarkdownIt

from tests.payloads import LIVE, MARK

_ACTIVE = ("script", "a", "iframe", "object", "embed", "foreignObject", "form", "base", "link")


def wrong_text(data: bytes, also: str = "\n") -> Iterator[str]:
    """Find bytes on which a terminal acts. also: further allowed letters."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        yield f"it is no UTF-8: {error}"
        return
    if found := {letter for letter in text if not letter.isprintable()} - set(also):
        place = next(at for at, letter in enumerate(text) if letter in found)
        yield f"it holds {sorted(found)}: {text[max(0, place - 40) : place + 40]!r}"


def wrong_markdown(data: bytes) -> Iterator[str]:
    """Find links, pictures and HTML that no document of ours has, and broken tables."""
    # A zero-width blank is put before a mention or an address.
    yield from wrong_text(data, "\n\u200b")
    text = data.decode(errors="replace")
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    for token in [each for outer in tokens for each in (outer, *(outer.children or []))]:
        target = str(token.attrGet("href") or token.attrGet("src") or "")
        if LIVE.search(target):
            yield f"a link to {target!r}"
        if token.type == "image" or (token.type.startswith("html") and LIVE.search(token.content)):
            yield f"a live {token.type}: {token.content[:80]!r}"
    before = 0
    for line in text.split("\n"):
        cells = len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) if line.startswith("|") else 0
        if before and cells and cells != before:
            yield f"a table's row of {cells} bars after one of {before}: {line[:200]!r}"
        before = cells


def wrong_csv(data: bytes) -> Iterator[str]:
    """Find rows of unequal length, and cells that a spreadsheet computes."""
    yield from wrong_text(data, "\r\n")
    text = data.decode(errors="replace")
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    if len({len(row) for row in rows}) > 1:
        yield f"rows of {sorted({len(row) for row in rows})} cells"
    for cell in (cell for row in rows for cell in row):
        first = unicodedata.normalize("NFKC", cell.lstrip()[:1])
        if first in ("=", "+", "-", "@") and not _is_number(cell):
            yield f"a formula: {cell[:80]!r}"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell == cell.strip()


def wrong_json(data: bytes) -> Iterator[str]:
    """Find what is no JSON to a strict reader."""
    yield from wrong_text(data)
    try:
        json.loads(data, parse_constant=lambda name: _raise(ValueError(f"it holds {name}")))
    except ValueError as error:
        yield f"no JSON: {error}"


def _raise(error: Exception) -> NoReturn:
    raise error


def wrong_svg(data: bytes) -> Iterator[str]:
    """Find what is not well-formed, or can run or send a request."""
    yield from wrong_text(data, "\n\t")
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        yield f"no XML: {error}"
        return
    for element in root.iter():
        name = str(element.tag).rpartition("}")[2]
        if name in _ACTIVE:
            yield f"a live <{name}>"
        for key, value in element.attrib.items():
            key = key.rpartition("}")[2]
            outside = key == "href" and not value.startswith(("#", "data:image/"))
            if key.startswith("on") or outside:
                yield f"a live {key}={value[:80]!r}"
            if LIVE.search(value) or "url(http" in value:
                yield f"a payload in {key}={value[:80]!r}"
        if name == "style" and re.search(r"url\(\s*['\"]?\w+:|@import", element.text or ""):
            yield "a style that asks for an address"


class Tags(html.parser.HTMLParser):
    """Return errors of a page, and how many of its elements can act."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []
        self.acting: Counter[str] = Counter()
        self._raw = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._raw = tag if tag in ("script", "style") else ""
        self.acting.update({tag} & {"script", "img", "svg", "style", "a", "iframe"})
        for key, value in attrs:
            if key.startswith("on") or (
                LIVE.search(value or "") and key in ("href", "src", "style")
            ):
                self.wrong.append(f"a live {key}={value!r} in <{tag}>"[:200])
        if tag in ("iframe", "object", "embed", "base"):
            self.wrong.append(f"a live <{tag}>")

    def handle_endtag(self, tag: str) -> None:
        self._raw = ""

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.wrong.extend(wrong_text(data.encode("utf-8", "surrogatepass"), "\n\t"))
        # For a browser, a comment or an end tag inside a script's text ends the script.
        if self._raw and re.search(r"<!--|</|<script", data, re.IGNORECASE) and MARK in data:
            self.wrong.append(f"an end in a <{self._raw}>")


def wrong_html(data: bytes) -> Iterator[str]:
    """Find elements and attributes that run or send requests; browser tests decide."""
    yield from Tags(data.decode(errors="replace")).wrong


def wrong_pdf(data: bytes) -> Iterator[str]:
    """Find links and actions."""
    if not data.startswith(b"%PDF-") or not data.rstrip().endswith(b"%%EOF"):
        yield "no whole PDF"
    for word in (b"/URI", b"/JavaScript", b"/Launch", b"/OpenAction"):
        if word in data:
            yield f"a live {word.decode()}"


def wrong_png(data: bytes) -> Iterator[str]:
    """Find a picture that is cut off."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or not data.endswith(b"IEND\xaeB`\x82"):
        yield "no whole PNG"


def wrong_parquet(data: bytes) -> Iterator[str]:
    """Find what PyArrow cannot read."""
    import pyarrow.parquet

    try:
        pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        yield f"no Parquet: {error}"


JUDGES: dict[str, Callable[[bytes], Iterator[str]]] = {
    "terminal": wrong_text,
    "text": wrong_text,
    "markdown": wrong_markdown,
    "csv": wrong_csv,
    "json": wrong_json,
    "svg": wrong_svg,
    "html": wrong_html,
    "pdf": wrong_pdf,
    "png": wrong_png,
    "parquet": wrong_parquet,
}
"""The checks by the name of the format."""
