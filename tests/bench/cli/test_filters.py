"""Test reading and selecting results for a command, with errors and progress."""

import argparse
import io
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.cli import filters
from bench.cli.command_line import ReportedError, UsageError
from bench.cli.progress import Progress, find_result_paths
from bench.records.selection import NothingThereError, select
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import gather, measured, run, unmeasured
from tests.places import GOLDEN

GOOD = GOLDEN / "replicate-1.json"


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    filters.add_filters(parser)
    return parser.parse_args(words)


def test_read_place_without_good_file_reports_all_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("old.json", "new.json"):
        (tmp_path / name).write_text("{")
    with pytest.raises(ReportedError):
        filters.read_selected(options(), [tmp_path / "old.json"], [GOOD], [tmp_path / "new.json"])
    message = capsys.readouterr().err
    assert "old.json" in message
    assert "new.json" in message


PATIENCE = 60.0  # seconds for a thread that waits for a processor


class Terminal(io.StringIO):
    """A terminal; ``written`` is set when the expected text was written."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self.wanted, self.written = wanted, threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.wanted in text:
            self.written.set()
        return written


def line(terminal: Terminal) -> str:
    return terminal.getvalue().rpartition("\x1b[2K")[2]


@pytest.fixture(autouse=True)
def _a_terminal_with_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def test_progress_terminal_shows_and_removes_line() -> None:
    terminal = Terminal("reading results: 2 of 3")
    with Progress("reading results", terminal, after=0) as progress:
        for path in progress.over([Path("a"), Path("b"), Path("c")]):
            if path == Path("b"):
                assert terminal.written.wait(PATIENCE)
                assert "reading results: 2" in line(terminal)
    assert line(terminal) == ""


def test_progress_pipe_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    threads = threading.active_count()
    with Progress("reading results", pipe, after=0):
        assert threading.active_count() == threads
    dumb = Terminal("")
    monkeypatch.setenv("TERM", "dumb")
    with Progress("reading results", dumb, after=0):
        pass
    assert (pipe.getvalue(), dumb.getvalue()) == ("", "")


def test_result_paths_default_is_newest_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path))
    with pytest.raises(
        UsageError, match=r"there are no results in .*; measure some with `this`, or"
    ):
        find_result_paths([], "this")
    assert find_result_paths(["there"]) == ["there"]
    place = tmp_path / "a.json"
    place.write_bytes((GOLDEN / "replicate-1.json").read_bytes())
    assert find_result_paths([]) == [place]


CASES = [
    Case(backend, LSTMSpec(8, 16, dtype=dtype), Workload(batch, 20, mode), device)
    for backend in ("keras", "while_loop")
    for dtype in ("float32", "float64")
    for batch in (4, 5)
    for mode in ("training", "inference")
    for device in ("cpu", "gpu:0")
]
RESULTS = gather(*(measured(case, 1.0, run("a")) for case in CASES))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "device": st.sampled_from([("cpu",), ("gpu:*",), ("cpu", "gpu:0")]),
            "backend": st.sampled_from([("keras",), ("while*",)]),
            "shape": st.sampled_from([("b4-*",), ("b5-t20-i8-h16", "b5-*")]),
            "mode": st.sampled_from([("training",), ("inference",)]),
            "dtype": st.sampled_from([("float64",)]),
        },
    )
)
def test_select_any_filters_keep_only_matches(wanted: dict[str, tuple[str, ...]]) -> None:
    left = select(RESULTS, wanted).measurements
    assert left
    assert set(map(id, left)) <= set(map(id, RESULTS.measurements))
    for name, names in wanted.items():
        alone = {id(each) for each in select(RESULTS, {name: names}).measurements}
        assert {id(each) for each in left} <= alone


def test_select_unknown_name_raises_with_known_ones() -> None:
    with pytest.raises(NothingThereError, match=r"--device tpu: .* the results have: cpu, gpu:0"):
        select(RESULTS, {"device": ("tpu",)})


def test_select_outcomes_are_filtered() -> None:
    found = gather(
        measured(CASES[0], 1.0, run("a")), unmeasured(CASES[1], run("a"), "failed", "it broke")
    )
    left = select(found, {"device": ("gpu:*",)})
    assert (left.measurements, [each.case for each in left.outcomes]) == ([], [CASES[1]])
