"""Make wrong files, for tests that a reader survives any bytes.

All randomness is from a ``random.Random``: of a seed, or of Hypothesis.
"""

import copy
import json
import random
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.machine.fields import ResultError
from bench.records.digest import with_digest

_FIXED: list[Any] = [
    *(None, True, False, -1, 0, 1, 2**31, 2**63, 2**64, 10**18, 10**400),
    *(0.0, -0.0, 5e-324, 1e-308, 1.7e308, float("inf"), float("-inf"), float("nan")),
    *("", " ", "cpu", "gpu:0", "copy", "\ud800", "<script>", "[/]", "\x1b[31m", "\0", "../x", "~"),
    *([], {}, [[]], [None], {"": None}, "x" * 5000, "9" * 500),
]


DELETE = object()


def put(document: Any, way: str, value: object) -> None:
    """Set a field such as ``benchmarks[0].stats.data``; the value DELETE removes it."""
    *parents, last = re.findall(r"\w+", way)
    for key in parents:
        document = document[int(key) if key.isdigit() else key]
    if value is DELETE:
        del document[last]
    else:
        document[int(last) if last.isdigit() else last] = value


def odd_value(draw: random.Random) -> Any:
    """Return a value that no writer writes."""
    kind = draw.randrange(6)
    if kind == 0:
        return draw.randint(-(2**70), 2**70)
    if kind == 1:
        return struct.unpack("d", draw.randbytes(8))[0]
    if kind == 2:
        return "".join(chr(draw.randrange(0x11000)) for _ in range(draw.randrange(20)))
    return copy.deepcopy(draw.choice(_FIXED))


def _places(document: object) -> Iterator[tuple[Any, Any]]:
    """Yield each place of a document: its container and the key in it."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield document, key
            yield from _places(value)
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield document, index
            yield from _places(value)


def mutate(document: object, draw: random.Random, count: int) -> None:
    """Replace, delete, double, rename or exchange values in ``count`` places of a document."""
    for _ in range(count):
        places = list(_places(document))
        if not places:
            break
        container, key = draw.choice(places)
        action = draw.choice(["replace", "replace", "delete", "double", "rename", "exchange"])
        if action == "delete":
            del container[key]
        elif action == "double" and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif action == "rename" and isinstance(container, dict):
            container[str(odd_value(draw))] = container.pop(key)
        elif action == "exchange":
            other, place = draw.choice(places)
            container[key] = copy.deepcopy(other[place])
        else:
            container[key] = odd_value(draw)


def patched(source: Path, folder: Path, where: float, length: int, patch: bytes) -> Path:
    """Write a copy with ``length`` bytes replaced at the part ``where`` of the file."""
    data = source.read_bytes()
    start = int(where * len(data))
    path = folder / source.name
    path.write_bytes(data[:start] + patch + data[start + length :])
    return path


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _flip(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 10])):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _strewn(data: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(data) + 1)
    kept = start + draw.choice([0, 0, 1, 30, len(data)])
    return data[:start] + draw.randbytes(draw.randrange(30)) + data[kept:]


def _splice(data: bytes, draw: random.Random) -> bytes:
    one, other = draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)
    return data[:one] + data[other:]


def _enlarge_a_number(data: bytes, draw: random.Random) -> bytes:
    """Replace one digit by a number that is too large for any field."""
    digits = [place for place, byte in enumerate(data) if 48 <= byte <= 57]
    if not digits:
        return data
    place = draw.choice(digits)
    huge = [
        b"1e999",
        b"-1e308",
        b"9" * 400,
        b"9" * 5000,
        b"1e-999",
        b"0x10",
        b"00",
        b"1" + b"0" * 18,
    ]
    return data[:place] + draw.choice(huge) + data[place + 1 :]


def _nest(data: bytes, draw: random.Random) -> bytes:
    """Insert more levels than Python's stack has."""
    depth = draw.choice([10, 900, 1100, 100_000])
    opening, closing = draw.choice([(b"[", b"]"), (b'{"a":', b"}")])
    place = draw.randrange(len(data) + 1)
    inner = b"1" if draw.random() < 0.7 else data
    after = data[place:] if draw.random() < 0.5 else b""
    return data[:place] + opening * depth + inner + closing * depth + after


_BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": _cut,
    "flipped": _flip,
    "strewn": _strewn,
    "spliced": _splice,
    "with a huge number": _enlarge_a_number,
    "nested": _nest,
    "with a byte order mark": lambda data, draw: b"\xef\xbb\xbf" * draw.choice([1, 2]) + data,
    "with CRLF": lambda data, draw: data.replace(b"\n", b"\r\n"),
    "in UTF-16": lambda data, draw: data.decode("utf-8", "replace").encode("utf-16"),
    "twice": lambda data, draw: data + draw.choice([b"", b"\n"]) + data,
    "with a null": lambda data, draw: _strewn_with(data, b"\0", draw),
    "empty": lambda data, draw: draw.choice([b"", b" ", b"\n", b"null", b"0", b"[]", b"{}", b'""']),
}
BYTES = tuple(_BYTES)
"""Ways to change bytes."""


def _strewn_with(data: bytes, what: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data) + 1)
    return data[:place] + what + data[place:]


def change_bytes(data: bytes, how: str, draw: random.Random) -> bytes:
    """Change data in one of the ways of ``BYTES``."""
    return _BYTES[how](data, draw)


def change_json(data: bytes, draw: random.Random) -> bytes:
    """Change one to three places of a JSON document, or of one of a document a line."""
    lines = data.splitlines() if data.count(b"\n{") else [data]
    # The last line of a journal may be cut off.
    place = draw.randrange(max(1, len(lines) - 1))
    document = json.loads(lines[place])
    mutate(document, draw, draw.randint(1, 3))
    lines[place] = json.dumps(document).encode()
    return b"\n".join(lines) + b"\n"


def read_refusal(read: Callable[[Path], object], path: Path) -> str:
    """Return the error of a file that cannot be used: one line that begins with its name."""
    with pytest.raises(ResultError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    return message.removeprefix(str(path)).removeprefix(": ").strip()


def signed(path: Path, document: dict[str, Any]) -> Path:
    """Write the document with a digest of its contents; return the path."""
    return saved(path, with_digest(document))


def saved(path: Path, document: object) -> Path:
    """Write the document as JSON; return the path."""
    path.write_text(json.dumps(document))
    return path
