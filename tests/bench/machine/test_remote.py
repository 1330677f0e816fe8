"""Places elsewhere: what is told of them, and for how long they are waited for."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import pytest

from bench.machine import remote
from bench.machine.remote import (
    LIMIT_VARIABLE,
    PlaceError,
    RemotePath,
    answer_within_limit,
    each,
    opened,
    reason,
    shown,
    size_of,
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


def test_an_answer_is_handed_on_and_so_is_an_error() -> None:
    assert answer_within_limit(lambda a, b: (a, b), 1, b=2) == (1, 2)
    error = SystemExit(3)

    def refuse() -> None:
        raise error

    with pytest.raises(SystemExit) as told:
        answer_within_limit(refuse)
    assert told.value is error


def test_several_are_asked_at_once_and_answer_in_their_order() -> None:
    together = threading.Barrier(remote.AT_ONCE)

    def work(item: int) -> int:
        together.wait(300)
        return item

    assert list(each(work, range(remote.AT_ONCE))) == list(range(remote.AT_ONCE))


@pytest.mark.parametrize(
    ("size", "told"), [(0, 0), (7, 7), (-1, None), (None, None), (1.0, None), (True, None)]
)
def test_a_size_is_a_whole_number_or_not_said(size: object, told: int | None) -> None:
    assert size_of({"size": size}) == told
    assert size_of({}) is None


def test_a_place_is_told_by_its_name_and_knows_its_kinds() -> None:
    place = RemotePath("s3://key:secret@team/lstm/", SimpleNamespace(protocol="s3"), "team/lstm/")
    assert place.name == "s3://team/lstm"
    assert place.protocols == {"s3"}
    assert place.inside("a.json") == "team/lstm/a.json"
    assert str(place.error("is slow")) == "s3://team/lstm is slow"
    assert str(place.error("is slow", "a\n.json")) == "s3://team/lstm/a?.json is slow"
    web = RemotePath("https://a.b", SimpleNamespace(protocol=("http", "https")), "https://a.b")
    assert web.protocols == {"http", "https"}


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


def test_what_a_kind_of_place_needs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    core = pytest.importorskip("fsspec.core")

    def missing(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(core, "url_to_fs", missing)
    with pytest.raises(PlaceError, match="s3://team cannot be reached: Install s3fs"):
        opened("s3://team")
