"""Processes that take orders: whoever dies, fails or hangs ends them all, and is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.machine.process_pool import FailedError, Launch, PoolError, ProcessPool

SERVE = """
import os, sys, time
from bench.machine.process_pool import serve

def handle(order):
    if order["do"] == "echo":
        print("what a framework prints")
        return {"said": order["word"]}
    if order["do"] == "fail":
        raise ValueError("the other one is gone")
    if order["do"] == "die":
        print("my last words\\nno memory", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 9)
    time.sleep(3600)

serve(handle)
"""

PATIENT = 120.0
"""Seconds that no machine needs."""


@pytest.fixture
def pair() -> Iterator[ProcessPool]:
    launch = Launch(("-c", SERVE), dict(os.environ))
    with ProcessPool({"first": launch, "second": launch}) as pool:
        yield pool


def left(pool: ProcessPool) -> list[int]:
    """The processes that are still there, and do anything."""
    found = []
    for pid in pool.pids.values():
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            pass
    return found


def echo(word: str) -> dict[str, object]:
    return {"do": "echo", "word": word}


def test_each_answers_its_own_order_and_who_has_none_stays_idle(pair: ProcessPool) -> None:
    assert pair.ask({"first": echo("a"), "second": echo("b")}, PATIENT, "in a test") == {
        "first": {"said": "a"},
        "second": {"said": "b"},
    }
    assert pair.ask({"second": echo("c")}, PATIENT, "in a test") == {"second": {"said": "c"}}


def test_one_that_dies_is_named_with_its_last_line_though_another_is_waited_for(
    pair: ProcessPool,
) -> None:
    pair.ask({"first": echo("a"), "second": echo("b")}, PATIENT, "in a test")
    with pytest.raises(PoolError) as raised:
        pair.ask({"first": {"do": "hang"}, "second": {"do": "die"}}, PATIENT, "while it was timed")
    assert str(raised.value) == (
        "second was ended by SIGKILL (as a rule: no memory was left) while it was timed; its last "
        "line: no memory"
    )
    pair.close()
    assert not left(pair)


def test_one_that_complains_of_another_is_not_named_in_its_place(pair: ProcessPool) -> None:
    pair.ask({"first": echo("a"), "second": echo("b")}, PATIENT, "in a test")
    with pytest.raises(PoolError, match="second was ended by SIGKILL"):
        pair.ask({"first": {"do": "fail"}, "second": {"do": "die"}}, PATIENT, "in a test")


def test_an_error_is_an_answer(pair: ProcessPool) -> None:
    with pytest.raises(FailedError) as raised:
        pair.ask({"first": {"do": "hang"}, "second": {"do": "fail"}}, PATIENT, "in a test")
    assert raised.value.said == "ValueError: the other one is gone"
    assert str(raised.value).startswith("second failed in a test: ")


def test_one_that_hangs_is_ended_and_named(pair: ProcessPool) -> None:
    pair.ask({"first": echo("a"), "second": echo("b")}, PATIENT, "in a test")
    os.kill(pair.pids["second"], signal.SIGSTOP)
    with pytest.raises(PoolError) as raised:
        pair.ask({"second": echo("c")}, 0.3, "while it was timed")
    assert "not done within 0.3 s while it was timed: second, said last" in str(raised.value)
    pair.close()
    assert not left(pair)


def test_orders_that_any_may_have_go_to_whoever_is_idle(pair: ProcessPool) -> None:
    words = [f"word {number}" for number in range(20)]
    todo = list(words)
    found = pair.share(lambda: echo(todo.pop()) if todo else None, lambda: True, "in a test")
    assert sorted(each["said"] for each in found) == sorted(words)


def test_shared_orders_end_when_they_are_not_wanted_any_more(pair: ProcessPool) -> None:
    orders: Iterator[dict[str, object]] = iter([{"do": "hang"}, echo("a")])
    found: list[object] = []
    for each in pair.share(lambda: next(orders, None), lambda: not found, "in a test"):
        found.append(each["said"])
    assert found == ["a"]
    pair.close()
    assert not left(pair)


def test_they_end_when_whoever_told_them_is_killed(tmp_path: Path) -> None:
    code = f"""
import os, sys
from bench.machine.process_pool import ProcessPool, Launch
with ProcessPool({{"one": Launch(("-c", {SERVE!r}), dict(os.environ))}}) as pool:
    pool.ask({{"one": {{"do": "echo", "word": "a"}}}}, {PATIENT}, "in a test")
    print(pool.pids["one"], flush=True)
    pool.ask({{"one": {{"do": "hang"}}}}, {PATIENT}, "in a test")
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + PATIENT
    while psutil.pid_exists(child) and time.monotonic() < end:
        if psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            break  # whoever reaps it is not ours
        time.sleep(0.05)
    assert time.monotonic() < end, "it outlived whoever told it what to do"
