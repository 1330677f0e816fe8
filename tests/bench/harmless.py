"""What is harmless in a text of each kind that commands write, whatever the files held."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser

from markdown_it import MarkdownIt


def assert_plain(text: str) -> None:
    """Nothing in it is acted upon by a terminal, or turns the order of its letters around."""
    odd = {letter for letter in text if not letter.isprintable()} - {"\n"}
    assert not odd, text[:2000]


def assert_styled(text: str) -> None:
    """As ``assert_plain``, but for colours: no link, above all."""
    assert_plain(re.sub(r"\x1b\[[0-9;]*m", "", text))


def assert_markdown(text: str) -> None:
    # Behind an @ it keeps a name from being one that is notified.
    assert_plain(text.replace("\u200b", ""))
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for token in parser.parse(text):
        for each in (token, *(token.children or ())):
            assert each.type not in ("html_block", "html_inline", "image"), each
            assert "evil" not in str(each.attrs), each
    # A backtick that is escaped begins no code.
    outside = re.sub(r"`[^`\n]*`", "", re.sub(r"\\.", "", text))
    assert not re.search(r"https?://evil|(?<!\w)www\.evil", outside)
    columns = 0
    for line in text.splitlines():
        bars = re.sub(r"\\.", "", line).count("|") if line.startswith("|") else 0
        assert columns in (0, bars) or not bars, line
        columns = bars


def assert_sheet(text: str) -> None:
    assert_plain(text.replace("\r\n", "\n"))
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert {len(row) for row in rows} == {len(rows[0])}
    for cell in (each for row in rows for each in row):
        if re.match(r"\s*[-=+@＝＋－＠]", cell):
            float(cell)


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.acting: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.acting += [name for name, value in attrs if name.startswith("on")]
        self.acting += [value for _, value in attrs if value and "javascript:" in value]


def assert_page(text: str, plain: str) -> None:
    """plain: the same page of files that hold no such text."""
    found, usual = _Page(text), _Page(plain)
    assert found.acting == usual.acting
    for tag in ("script", "img", "svg", "style", "a", "iframe"):
        assert found.tags[tag] == usual.tags[tag], tag
    text.encode("utf-8")


def assert_svg(text: str) -> None:
    assert_plain(text.replace("\t", " "))
    for element in ET.fromstring(text).iter():
        assert element.tag.rpartition("}")[2] not in ("script", "a", "foreignObject"), element.tag
        for name, value in element.attrib.items():
            assert not name.rpartition("}")[2].startswith("on"), name
            if name.endswith("href"):
                assert value.startswith(("#", "data:image/png;base64,")), value
