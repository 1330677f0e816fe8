"""Test the command that times a call of a ``tf.function`` without an LSTM in it."""

import itertools

import pytest

from tests.lstm_impl.backends.built import needs
from tools import empty_call


def test_shortest_round_of_each_function_counts() -> None:
    # Two functions in three rounds: the clock is read before and after each block of calls.
    blocks = [6.0, 20.0, 4.0, 10.0, 8.0, 30.0]
    readings = itertools.chain.from_iterable((0.0, seconds) for seconds in blocks)
    called: list[str] = []
    calls = {"a": lambda: called.append("a"), "b": lambda: called.append("b")}
    found = empty_call.measure_cpu_times(calls, rounds=3, count=2, clock=lambda: next(readings))
    assert found == {"a": 2.0, "b": 5.0}
    assert "".join(called[6:]) == "aabb" * 3


@needs("fused_cpu")
def test_table_has_a_row_for_each_layer_and_mode(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorflow", reason="the calls are TensorFlow's: pip install '.[cpu]'")
    monkeypatch.setattr(empty_call, "SHAPES", [(2, 3, 1, 4)])
    assert empty_call.main(["--rounds", "1", "--calls", "1"]) == 0
    heading, _, *rows = capsys.readouterr().out.splitlines()
    assert heading.split(" | ")[2:] == ["empty", "reads", "layer", "kernel |"]
    assert [row.split(" | ")[:2] for row in rows] == [
        ["| 2×3×1→4", "inference"],
        ["| 2×3×1→4", "training"],
    ]
    assert all(row.count("µs") == 4 for row in rows)
