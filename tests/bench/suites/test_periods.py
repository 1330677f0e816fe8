"""Streams in suites: how their periods are spelled, and what cases come of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import suites
from bench.suites import Choice, SuiteError, periods
from bench.suites.cases import Case
from lstm_impl import LSTMSpec, Workload


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10ms", 0.01), ("10 ms", 0.01), ("0.5s", 0.5), ("1s", 1.0), ("20us", 2e-5), ("20µs", 2e-5)],
)
def test_a_period_is_a_time_with_its_unit(text: str, seconds: float) -> None:
    assert periods.parse(text) == seconds
    assert periods.parse(periods.words(seconds)) == seconds


def test_back_to_back_is_no_period() -> None:
    assert periods.parse("back-to-back") is None
    assert periods.words(None) == "back-to-back"


@pytest.mark.parametrize("text", ["", "10", "ms", "-1ms", "0s", "1h", "2e3s", "10msx", "7200s"])
def test_what_is_no_period_says_what_is_one(text: str) -> None:
    with pytest.raises(ValueError, match='"10ms"'):
        periods.parse(text)


SUITE = """
schema = 1
name = "mine"
backends = ["numpy"]
devices = ["cpu"]
"""


def cases(tmp_path: Path, text: str, choice: Choice | None = None) -> list[str]:
    path = tmp_path / "mine.toml"
    path.write_text(SUITE + text)
    return [case.id for case in suites.load(str(path), choice).cases]


STREAM = """
[[groups]]
modes = ["streaming"]
periods = ["back-to-back", "10ms"]
shapes = [{ batch = 1, input_size = 3, hidden_size = 4 }]
"""


def test_a_stream_s_chunk_is_one_timestep_unless_the_shape_says_more(tmp_path: Path) -> None:
    assert cases(tmp_path, STREAM) == [
        "numpy/b1-t1-i3-h4/float32/streaming/cpu",
        "numpy/b1-t1-i3-h4-p10ms/float32/streaming/cpu",
    ]
    longer = STREAM.replace("batch = 1", "batch = 1, timesteps = 5")
    assert cases(tmp_path, longer)[0] == "numpy/b1-t5-i3-h4/float32/streaming/cpu"


def test_periods_may_be_chosen_instead(tmp_path: Path) -> None:
    chosen = cases(tmp_path, STREAM, Choice(periods=[0.002]))
    assert chosen == ["numpy/b1-t1-i3-h4-p2ms/float32/streaming/cpu"]


def test_a_suite_that_names_no_mode_measures_whole_sequences(tmp_path: Path) -> None:
    text = "[[groups]]\nshapes = [{ batch = 1, timesteps = 2, input_size = 3, hidden_size = 4 }]"
    found = cases(tmp_path, text, Choice(periods=[0.01]))
    assert [name.split("/")[3] for name in found] == ["inference", "training"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"10ms"]', '"10"]', 'groups[0].periods[1] is "10"; expected "back-to-back" or a time'),
        ('"10ms"]', "10]", "groups[0].periods[1] is 10"),
        ('["streaming"]', '["inference"]', "groups[0].shapes[0].timesteps is missing"),
        ("batch = 1", "batch = 1, dropout = 0.1", "dropout is 0.1; expected none here"),
        ("batch = 1", "batch = 1, min_length = 1", "min_length is 1; expected none here"),
        ("batch = 1", 'batch = 1, optimizer = "sgd"', 'optimizer is "sgd"; expected none here'),
        ("batch = 1", "batch = 1, bidirectional = true", "bidirectional is true; expected false"),
        ("modes", "windows = [1]\nmodes", "windows[0] is 1; expected no windows here"),
    ],
)
def test_what_no_stream_has_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    with pytest.raises(SuiteError) as raised:
        cases(tmp_path, STREAM.replace(old, new))
    assert told in str(raised.value)


def test_a_case_without_a_period_is_written_as_it_always_was() -> None:
    plain = Case("numpy", LSTMSpec(3, 4), Workload(1, 2))
    assert "period" not in plain.to_dict()["workload"]
    paced = Case("numpy", LSTMSpec(3, 4), Workload(1, 1, "streaming", period=0.01))
    for case in (plain, paced):
        assert Case.from_dict(case.to_dict()) == case
    assert paced.kind == "streaming"


def test_the_suite_streaming_is_of_streams_alone() -> None:
    found = suites.load("streaming")
    assert {case.kind for case in found.cases} == {"streaming"}
    assert {case.workload.period for case in found.cases} == {None, 0.01}
