"""The digest of a result file: whether its contents are still those that the suite wrote.

SHA-256 over a canonical form of all that the file holds but the digest itself: JSON with its keys
sorted, no blanks, ASCII only, numbers as Python's ``json`` writes them. So the order of fields,
indentation and line ends may change, and no value. It tells an edit from an accident to nobody who
knows how it is made: it is no signature, and says nothing of who measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from bench.machine.writing import plain

KEY = "digest"
"""Its field, at the top of the file."""

CHANGED = (
    "was changed after it was written: its contents do not have the digest that stands in it; "
    "take the original, or measure again"
)
"""What is said of such a file, after its name."""


def digest(document: Mapping[str, object]) -> str:
    """Of a document of plain data, whatever digest stands in it: ``sha256:`` and 64 digits."""
    contents = {key: value for key, value in document.items() if key != KEY}
    # Not the RFC 8785 form: that has no integers beyond 2^53, and seeds are.
    text = json.dumps(contents, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode('ascii')).hexdigest()}"


def with_digest(document: Mapping[str, object]) -> dict[str, object]:
    """The document as plain data, with its digest.

    Raises ResultError for what JSON cannot hold.
    """
    found = plain(document, "")
    return {**found, KEY: digest(found)}


def changed(document: Mapping[str, object]) -> bool:
    """Whether it has a digest, and another than its contents. Older files have none."""
    return document.get(KEY) is not None and document[KEY] != digest(document)
