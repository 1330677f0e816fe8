"""``TF_CONFIG``: which processes train together, and which of them this one is.

TensorFlow takes from this variable where its workers listen, and waits without end for one that is
not there, so it is read here first, and every mistake in it reported with its place. A cluster of
processes of this machine is made here, too. This module knows the variable, no framework.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.machine.fields import Field, ResultError, error_at
from bench.machine.reading import parse_json

VARIABLE = "TF_CONFIG"

EXAMPLE = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'

HERE = "127.0.0.1"

_CHIEF, _WORKER = "chief", "worker"
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class ClusterAddress:
    """workers: where each listens, a chief first. index: this one's place among them.

    variable: the value of ``TF_CONFIG`` that says so.
    """

    workers: tuple[str, ...]
    index: int
    variable: str


def given(environment: Mapping[str, str]) -> ClusterAddress | None:
    """What the variable says, None where it is not set or empty.

    Raises ResultError, with the field, for what TensorFlow would not understand, or would take for
    something other than workers that train together.
    """
    text = environment.get(VARIABLE, "").strip()
    if not text:
        return None
    path = Path(VARIABLE)
    try:
        found = parse_json(path, text.encode("utf-8", "surrogateescape"))
    except RecursionError:
        raise error_at(path, "is nested too deeply") from None
    except ResultError as error:
        raise ResultError(f"{error}; expected {EXAMPLE}") from None
    root = Field(path, "", found)
    root.mapping()
    cluster = root["cluster"]
    for name in cluster.mapping():
        if name not in (_CHIEF, _WORKER):
            raise cluster.error(f"{_WORKER} and perhaps {_CHIEF} in it", f"names {name[:40]!r}")
    chiefs, workers = (
        cluster[kind].items() if cluster[kind].given else [] for kind in (_CHIEF, _WORKER)
    )
    if len(chiefs) > 1:
        raise cluster[_CHIEF].error("one chief", f"names {len(chiefs)}")
    addresses = [_address(each) for each in (*chiefs, *workers)]
    if len(addresses) < 2:
        raise cluster.error(
            "two or more workers: one alone is measured without the variable",
            f"names {len(addresses)}",
        )
    for field, address in zip((*chiefs, *workers), addresses, strict=True):
        if addresses.count(address) > 1:
            raise field.error("an address of its own for each worker")
    kind = root["task"]["type"].text()
    if kind not in (_CHIEF, _WORKER) or not cluster[kind].given:
        raise root["task"]["type"].error(f"one of {', '.join(cluster.mapping())}")
    size = len(chiefs) if kind == _CHIEF else len(workers)
    index = root["task"]["index"].integer(0)
    if index >= size:
        raise root["task"]["index"].error(f"less than {size}, the number of {kind}s")
    place = index + (len(chiefs) if kind == _WORKER else 0)
    return ClusterAddress(tuple(addresses), place, text)


def _address(field: Field) -> str:
    match = _ADDRESS.fullmatch(field.text())
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise field.error("host:port, the port from 1 to 65535")
    return field.text()


def here(count: int) -> list[ClusterAddress]:
    """A cluster of processes of this machine, as each of them sees it.

    The ports were free just now; another process may take one, and then TensorFlow says so.
    """
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            for _ in range(count)
        ]
        for each in sockets:
            each.bind((HERE, 0))
        workers = tuple(f"{HERE}:{each.getsockname()[1]}" for each in sockets)
    cluster = {_WORKER: workers}
    return [
        ClusterAddress(
            workers,
            index,
            json.dumps({"cluster": cluster, "task": {"type": _WORKER, "index": index}}),
        )
        for index in range(count)
    ]
