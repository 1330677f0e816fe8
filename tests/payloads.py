"""Put texts that attack terminals, pages and spreadsheets into the files that are read.

Names, reasons and versions in result files are free texts of unknown writers. Free texts are not
listed here but found: those that the reader accepts replaced.
"""

import contextlib
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.case.cases import Case
from tests.bench import made_texts

MARK = "pwned"
"""The variable that a script would set, or the host of a link; nothing else has this name."""

LIVE = re.compile(rf"{MARK}|javascript:|alert\(|evil\.example")
"""Matches an active place of a page only if a payload is in it."""

_ADDRESS = f"https://{MARK}.example/x"

TERMINAL = (
    *("\x1b[2J\x1b[H", "\x1b]52;c;cHduZWQ=\x07", f"\x1b]8;;{_ADDRESS}\x1b\\x\x1b]8;;\x1b\\"),
    *("\x90q#0\x9c", "\x9d52;c;cHduZWQ=\x9c", "a\rb", "a\r\nb", "a\tb", "a\x08\x08b", "a\x0b\x0cb"),
    *("a\x85b", "a\u2028b\u2029c", "\u202eabc\u202c", "\u2066abc\u2069", "a\u200b\u200d\ufeffb"),
    *("\ud800", "a\udc9bb", "z" + "\u0301" * 60, "漢字" * 20, "👩\u200d👩\u200d👧", "\U000e0041"),
    *("x" * 3000, "word " * 300, "a" + " " * 300 + "b", " ", "..."),
)
RICH = (
    f"[link={_ADDRESS}]x[/link]",
    *("[/x]", "[/]", "[red]x", "[bold", "[[", "\\[red]x", ":smile:", "[@click=app.quit]x[/]"),
)
MARKDOWN = (
    f"[x]({_ADDRESS})",
    f"![x]({_ADDRESS})",
    f"<{_ADDRESS}>",
    f"[x]\n\n[x]: {_ADDRESS}",
    f"[x](javascript:{MARK})",
    *("a|b|c", "`a`", "```", "# a", "\n\n# a", "- a", "1. a", "*a* _a_ ~~a~~", "$a$", "&lt;a"),
    *("a  \nb", "    a", "> a", "@a #1", "<details><summary>", "|-|-|", "\\", "\\|"),
)
HTML = (
    f"<script>window.{MARK}=1</script>",
    f"</script><script>window.{MARK}=1</script>",
    f"</style><style>@import '{_ADDRESS}'</style>",
    f"<img src={_ADDRESS} onerror=window.{MARK}=1>",
    f'"><svg onload=window.{MARK}=1>',
    f"' onmouseover='window.{MARK}=1",
    f"<a href=javascript:window.{MARK}=1>x</a>",
    f'<iframe srcdoc="<script>parent.{MARK}=1</script>">',
    f"<a xlink:href='{_ADDRESS}'>x</a>",
    *("<!--", "-->", "<![CDATA[", "]]>", "<?xml?>", "&#x41;&amp;&bogus;", "</svg>", "</text>"),
    *("{{7*7}}", "${7*7}", "%s %n %{x} {0} {x}", "__proto__", "constructor", "\\u003cb\\u003e"),
)
SPREADSHEET = (
    f'=HYPERLINK("{_ADDRESS}")',
    *("=1+1", "+1+1", "-1+1", "@SUM(1)", " =1+1", "\t=1+1", "\u00a0=1+1", "\u200b=1+1", "\n=1+1"),
    *("＝1+1", "＋1+1", "－1+1", "＠SUM(1)", ";=1+1", '"', '""', 'a","=1+1', "a,b", "'=1+1"),
)
ELSEWHERE = (
    *("../../" + MARK, "/etc/passwd", "~nosuchuser/x", "$(id)", "; id", "%TEMP%", "con", "-rf"),
    *("$x$", "$\\frac{1$", "$$", "x_1^2", "\\text{a}", "\\n", "%(a)s", "null", "nan", "1e999"),
)
_OWN = (*TERMINAL, *RICH, *MARKDOWN, *HTML, *SPREADSHEET, *ELSEWHERE)
PAYLOADS = tuple(dict.fromkeys((*made_texts.PAYLOADS, *_OWN)))
"""The payloads of the quick tests, and more."""

Documents = dict[str, Any]
"""Result files and maps as JSON, by name."""


@dataclass(frozen=True)
class Texts:
    """Hold texts of documents or their replacements: values and keys, each by the original."""

    values: Mapping[str, str]
    keys: Mapping[str, str] = field(default_factory=dict)


def replaced(document: Any, texts: Texts) -> Any:
    """Return a copy in which some texts, and the ids of cases with them, are replaced."""
    if isinstance(document, str):
        return texts.values.get(document, document)
    if isinstance(document, list):
        return [replaced(each, texts) for each in document]
    if not isinstance(document, dict):
        return document
    made = {texts.keys.get(key, key): replaced(each, texts) for key, each in document.items()}
    if "case" in made and "case_id" in made:
        # The reader reports a case that is no longer one.
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            made["case_id"] = Case.from_dict(made["case"]).id
    return made


def _texts(document: Any) -> Iterator[tuple[str, bool]]:
    """Yield each text, and whether it is a key."""
    if isinstance(document, str):
        yield document, False
    elif isinstance(document, list):
        for each in document:
            yield from _texts(each)
    elif isinstance(document, dict):
        for key, value in document.items():
            yield key, True
            yield from _texts(value)


def free_texts(documents: Documents, accepts: Callable[[str, Any], bool]) -> Texts:
    """Return the texts that may be replaced by any. accepts: takes a name and a document."""
    free: dict[tuple[str, bool], bool] = {}
    for name, document in documents.items():
        for text, is_key in dict.fromkeys(_texts(document)):
            if free.get((text, is_key), True):
                other = {text: "<\x1b[1m>"}
                texts = Texts({}, other) if is_key else Texts(other)
                free[text, is_key] = accepts(name, replaced(document, texts))
    return Texts(
        {text: text for (text, is_key), may in free.items() if may and not is_key},
        {text: text for (text, is_key), may in free.items() if may and is_key},
    )


VALUES, KEYS = 0.8, 0.1
"""Parts of free texts that are replaced; a file without the keys of its figures shows little."""


def poisoned(
    documents: Documents, free: Texts, draw: random.Random, payloads: Sequence[str] = PAYLOADS
) -> Documents:
    """Return the documents with free texts replaced by payloads, equal texts by equal ones.

    Different texts stay different: a payload used before is followed by the text.
    """
    used: set[str] = set()

    def drawn(texts: Mapping[str, str], part: float) -> dict[str, str]:
        made = {}
        for text in texts:
            if draw.random() < part:
                payload = draw.choice(payloads)
                made[text] = payload if payload.strip() and payload not in used else payload + text
                used.add(payload)
        return made

    others = Texts(drawn(free.values, VALUES), drawn(free.keys, KEYS))
    return {name: replaced(document, others) for name, document in documents.items()}
