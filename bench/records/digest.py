"""Detect changes of a result file by its digest, which is not a signature.

The digest is the SHA-256 of the rest of the file as JSON with sorted keys, without blanks, in
ASCII, with numbers as Python's ``json`` writes them. Only the order and the layout of the fields
may therefore change.
"""

import hashlib
import json
from collections.abc import Mapping

import msgspec

from bench.machine.fields import mapping
from bench.machine.writing import plain

KEY = "digest"
"""The field at the top of a file that holds the digest."""

MARK = "digested"
"""The field that says that the version which wrote the file also writes digests."""

CHANGED = (
    "was changed after it was written: its digest is missing or does not fit its contents; "
    "use the original, or measure again"
)
"""The message about a changed file. It follows the name of the file."""


def digest(document: Mapping[str, object]) -> str:
    """Return ``sha256:`` and 64 digits for a document of plain data. A digest in it is ignored."""
    return _digest_text(_canonical(document))


def with_digest(document: Mapping[str, object]) -> dict[str, object]:
    """Return the document as plain data with sorted keys and its digest at the end.

    Raises ResultError.
    """
    text = _canonical(plain(document))
    contents = json.loads(text)
    return {
        **{key: contents[key] for key in map(str, document) if key != KEY},
        KEY: _digest_text(text),
    }


def is_changed(document: Mapping[str, object]) -> bool:
    """Return whether a file was changed after it was written.

    Its digest is then wrong, or missing although the file is not old.
    """
    if document.get(KEY) is not None:
        return document[KEY] != digest(document)
    sections = map(mapping, (document.get("lstm"), document.get("learning")))
    return any(MARK in section or "submitted" in section for section in sections)


def is_as_written(data: bytes) -> bool:
    """Return whether the parts of a file are in canonical form and the digest is right.

    The parts may be in any order. This quick check halves the time of reading. A file that fails it
    may still be unchanged.
    """
    try:
        parts = _parts.decode(data)
        stated = msgspec.json.decode(parts.pop(KEY, b"null"), type=str)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    pieces = [(f"{json.dumps(key)}:".encode(), parts[key]) for key in sorted(parts)]
    # The length counts the braces, the commas, and the digest with its key. It differs if one part
    # has replaced another part with the same key.
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
    # RFC 8785 does not allow integers beyond 2^53, and seeds are larger.
    return json.dumps(contents, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _digest_text(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode('ascii')).hexdigest()}"
