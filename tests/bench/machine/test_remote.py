"""Places elsewhere: what is told of them, and for how long they are waited for."""

from __future__ import annotations

import sys
import threading

import pytest

from bench.machine import remote
from bench.machine.remote import (
    LIMIT_VARIABLE,
    PlaceError,
    answer_within_limit,
    opened,
    reason,
    shown,
)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://me:secret@a.b/c.json?X-Amz-Signature=secret", "https://a.b/c.json"),
        ("s3://key:secret@team/lstm", "s3://team/lstm"),
        ("s3://team/l\x1b[31m", "s3://team/l"),
        ("https://[secret?secret", "https://[secret"),
    ],
)
def test_what_is_told_of_a_url_has_no_secret_and_no_escape(url: str, told: str) -> None:
    assert shown(url) == told


def test_what_signs_a_link_is_not_in_a_reason() -> None:
    told = reason(OSError("503 for 'https://a.b/c?X-Amz-Signature=secret'"))
    assert told == "OSError: 503 for 'https://a.b/c'"


def test_a_denial_that_is_told_as_a_loss_is_one() -> None:
    class RefusedError(Exception):
        status = 403

    error = FileNotFoundError("a.json")
    error.__cause__ = RefusedError()
    assert reason(error).startswith("access is denied")
    assert not remote.is_gone(error)
    assert remote.is_gone(FileNotFoundError("a.json"))
    assert not remote.is_gone(OSError("a.json"))
    assert reason(FileNotFoundError("a.json")) == "it is not there"
    for status, denied in ((401, True), (403, True), (404, False), (500, False)):
        RefusedError.status = status
        assert reason(RefusedError()).startswith("access is denied") is denied
    circle = OSError("a")
    circle.__cause__ = OSError("b")
    circle.__cause__.__cause__ = circle
    assert reason(circle) == "OSError: a"


def test_nobody_waits_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "0.05")
    ended = threading.Event()
    with pytest.raises(TimeoutError):  # nor for the answer, which would come in the end
        answer_within_limit(ended.wait, 300)
    ended.set()
    for odd in ("", "nan", "-1", "inf", "soon"):
        monkeypatch.setenv(LIMIT_VARIABLE, odd)
        assert remote.limit() == remote.LIMIT


def test_without_fsspec_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(PlaceError, match=r"pip install 'lstm-benchmark-suite\[remote\]'"):
        opened("s3://team/lstm")


def test_a_kind_of_place_that_nobody_knows_is_refused() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(PlaceError, match="nothing://there cannot be reached"):
        opened("nothing://there")
