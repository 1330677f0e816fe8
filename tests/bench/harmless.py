"""Assert that the texts that commands write are harmless, whatever the files held."""

import re
from collections.abc import Iterable

from tests.attack import outputs


def _assert_none(wrong: Iterable[str]) -> None:
    found = list(wrong)
    assert not found, found[:3]


def assert_plain(text: str) -> None:
    """Assert that no terminal acts on the text, and that no character reverses its order."""
    _assert_none(outputs.wrong_text(text.encode("utf-8", "surrogatepass")))


def assert_styled(text: str) -> None:
    """Assert ``assert_plain`` but for colours: above all there is no link."""
    assert_plain(re.sub(r"\x1b\[[0-9;]*m", "", text))


def assert_markdown(text: str) -> None:
    _assert_none(outputs.wrong_markdown(text.encode("utf-8", "surrogatepass")))
    # An escaped backtick begins no code; outside code an address would become a link.
    outside = re.sub(r"`[^`\n]*`", "", re.sub(r"\\.", "", text))
    assert not re.search(r"https?://evil|(?<!\w)www\.evil", outside)


def assert_csv(text: str) -> None:
    _assert_none(outputs.wrong_csv(text.encode("utf-8", "surrogatepass")))


def assert_page(text: str, plain: str) -> None:
    """Assert that a page acts as ``plain`` does: the page of files without hostile texts."""
    found, usual = outputs.Tags(text), outputs.Tags(plain)
    assert found.wrong == usual.wrong
    assert found.acting == usual.acting


def assert_svg(text: str) -> None:
    _assert_none(outputs.wrong_svg(text.encode("utf-8", "surrogatepass")))
