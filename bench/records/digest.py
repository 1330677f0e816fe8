"""Detect changes of a result file's contents by its digest, which is not a signature.

The digest is the SHA-256 of the file's other contents as JSON with sorted keys, no blanks, ASCII
only, and numbers as Python's ``json`` writes them: only order and layout of fields may change.
"""

import hashlib
import json
from collections.abc import Mapping

import msgspec

from bench.machine.fields import mapping
from bench.machine.writing import plain

KEY = "digest"
"""The field of the digest at the top of the file."""

MARK = "digested"
"""The field that says that the version which wrote the file also writes a digest."""

CHANGED = (
    "was changed after it was written: its digest is missing or is not that of its contents; "
    "take the original, or measure again"
)
"""The message about a changed file, after its name."""


def digest(document: Mapping[str, object]) -> str:
    """Return ``sha256:`` and 64 digits for a document of plain data, without a digest in it."""
    return _digest_text(_canonical(document))


def with_digest(document: Mapping[str, object]) -> dict[str, object]:
    """Return the document as plain data, its keys sorted, its digest last. Raises ResultError."""
    text = _canonical(plain(document))
    contents = json.loads(text)
    return {
        **{key: contents[key] for key in map(str, document) if key != KEY},
        KEY: _digest_text(text),
    }


def changed(document: Mapping[str, object]) -> bool:
    """Return whether a file was changed: its digest is wrong or, except in old files, missing."""
    if document.get(KEY) is not None:
        return document[KEY] != digest(document)
    sections = map(mapping, (document.get("lstm"), document.get("learning")))
    return any(MARK in section or "submitted" in section for section in sections)


def is_as_written(data: bytes) -> bool:
    """Return whether a file's parts are in the canonical form, and its digest is theirs.

    The parts may be in any order. This check halves the time of reading; other files may be
    unchanged too.
    """
    try:
        parts = _parts.decode(data)
        stated = msgspec.json.decode(parts.pop(KEY, b"null"), type=str)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    pieces = [(f"{json.dumps(key)}:".encode(), parts[key]) for key in sorted(parts)]
    # The braces, the commas, and the digest with its key. A part that another one of the same key
    # has replaced would be missing.
    length = 2 + len(pieces) + len(f'"{KEY}":"{stated}"')
    if length + sum(len(key) + memoryview(part).nbytes for key, part in pieces) != len(
        data.strip()
    ):
        return False
    contents = hashlib.sha256(b"{")
    for index, (key, part) in enumerate(pieces):
        contents.update(b"," * (index > 0) + key)
        contents.update(part)
    contents.update(b"}")
    return stated == f"sha256:{contents.hexdigest()}"


_parts = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _canonical(document: Mapping[str, object]) -> str:
    contents = {key: value for key, value in document.items() if key != KEY}
    # RFC 8785 has no integers beyond 2^53, and seeds are larger.
    return json.dumps(contents, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _digest_text(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode('ascii')).hexdigest()}"
