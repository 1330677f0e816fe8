"""The address of a cluster: what is none, and where nobody answers. Without Ray."""

from __future__ import annotations

import socket

import pytest

from bench.cli.command_line import UsageError
from bench.session import cluster
from bench.session.cluster import _check


@pytest.mark.parametrize(
    "address", ["smoke", "host", "host:", ":6379", "host:0", "host:99999", "host:x", "ray://x", " "]
)
def test_what_is_no_address_is_told_in_a_line(address: str) -> None:
    with pytest.raises(UsageError, match="is no address of a cluster: expected HOST:PORT"):
        _check(address)


def test_where_nobody_listens_it_does_not_wait() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UsageError, match=r"no Ray cluster answers at 127\.0\.0\.1:"):
        _check(f"127.0.0.1:{port}")
    with pytest.raises(UsageError, match=r"no Ray cluster answers at ray://127\.0\.0\.1:"):
        _check(f"ray://127.0.0.1:{port}")


def test_where_a_firewall_swallows_all_the_wait_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def swallowed(place: object, seconds: float) -> None:
        assert seconds == cluster.ANSWER_WITHIN
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", swallowed)
    with pytest.raises(UsageError, match=r"answers at 10\.0\.0\.1:6379: timed out"):
        _check("10.0.0.1:6379")
