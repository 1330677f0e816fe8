"""The digest of a result file, by which changes of its contents are detected.

SHA-256 over a canonical form of all that the file holds but the digest itself: JSON with its keys
sorted, no blanks, ASCII only, numbers as Python's ``json`` writes them. So the order of fields,
indentation and line ends may change, and no value. It is no signature.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from bench.machine.fields import mapping
from bench.machine.writing import plain

KEY = "digest"
"""The field of the digest, at the top of the file."""

MARK = "digested"
"""The field of a file's own part that says that its version of the suite writes a digest."""

CHANGED = (
    "was changed after it was written: its digest is missing or is not that of its contents; "
    "take the original, or measure again"
)
"""Says of such a file what is wrong, after its name."""


def digest(document: Mapping[str, object]) -> str:
    """Return ``sha256:`` and 64 digits for a document of plain data, ignoring a digest in it."""
    return _digest_of(_canonical(document))


def with_digest(document: Mapping[str, object]) -> dict[str, object]:
    """Return the document as plain data with its digest at its end and the keys inside sorted.

    Raises ResultError for what JSON cannot hold.
    """
    text = _canonical(plain(document, ""))
    contents = json.loads(text)
    return {
        **{key: contents[key] for key in map(str, document) if key != KEY},
        KEY: _digest_of(text),
    }


def changed(document: Mapping[str, object]) -> bool:
    """Return whether a file was changed: its digest is wrong, or its version wrote one and it has
    none. Older files have none."""
    if document.get(KEY) is not None:
        return document[KEY] != digest(document)
    sections = map(mapping, (document.get("lstm"), document.get("learning")))
    return any(MARK in section or "submitted" in section for section in sections)


def is_as_written(data: bytes) -> bool:
    """Return whether a file is byte for byte the canonical form with its digest at the end.

    It saves half of the time of reading such a file; others may be unchanged, too.
    """
    pattern = re.compile(rb',"digest":"(sha256:[0-9a-f]{64})"\}\s*\Z')
    found = pattern.search(data, max(0, len(data) - 200))
    if found is None:
        return False
    contents = hashlib.sha256(memoryview(data)[: found.start()])
    contents.update(b"}")
    return found[1].decode() == f"sha256:{contents.hexdigest()}"


def _canonical(document: Mapping[str, object]) -> str:
    contents = {key: value for key, value in document.items() if key != KEY}
    # Not the RFC 8785 form: that has no integers beyond 2^53, and seeds are.
    return json.dumps(contents, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _digest_of(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode('ascii')).hexdigest()}"
