"""Assert that a text of each kind that commands write is harmless, whatever the files held."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.attack import outputs


def _assert_none(wrong: Iterable[str]) -> None:
    found = list(wrong)
    assert not found, found[:3]


def assert_plain(text: str) -> None:
    """Nothing in it is acted upon by a terminal, or turns the order of its letters around."""
    _assert_none(outputs.wrong_text(text.encode("utf-8", "surrogatepass")))


def assert_styled(text: str) -> None:
    """As ``assert_plain``, but for colours: no link, above all."""
    assert_plain(re.sub(r"\x1b\[[0-9;]*m", "", text))


def assert_markdown(text: str) -> None:
    _assert_none(outputs.wrong_markdown(text.encode("utf-8", "surrogatepass")))
    # A backtick that is escaped begins no code; elsewhere an address would become a link.
    outside = re.sub(r"`[^`\n]*`", "", re.sub(r"\\.", "", text))
    assert not re.search(r"https?://evil|(?<!\w)www\.evil", outside)


def assert_csv(text: str) -> None:
    _assert_none(outputs.wrong_csv(text.encode("utf-8", "surrogatepass")))


def assert_page(text: str, plain: str) -> None:
    """plain: the same page of files that hold no such text."""
    found, usual = outputs.Tags(text), outputs.Tags(plain)
    assert found.wrong == usual.wrong
    assert found.acting == usual.acting


def assert_svg(text: str) -> None:
    _assert_none(outputs.wrong_svg(text.encode("utf-8", "surrogatepass")))
