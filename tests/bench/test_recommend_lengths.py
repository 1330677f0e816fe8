"""``bench.recommend --lengths``: how to batch one's own lengths, from recorded times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import recommend
from bench.case.cases import Case
from bench.cli.command_line import BAD_INPUT
from bench.records.schema import Results
from lstm_impl import LSTMSpec, Workload
from tests.bench.harmless import assert_markdown, assert_plain
from tests.bench.made_results import a_run, gather, measured

ASKED = ("--batch", "8", "--hidden", "64", "--mode", "training")


def results(
    timesteps: Sequence[int] = (10, 50, 100), names: tuple[str, str] = ("torch", "while_loop")
) -> Results:
    return gather(
        *(
            measured(
                Case(backend, LSTMSpec(16, 64), Workload(8, each, "training")),
                (fixed + 1e-3 * each) * (1 + 0.01 * number),
                a_run(number),
            )
            for number in range(6)
            for backend, fixed in zip(names, (1e-3, 3e-3), strict=True)
            for each in timesteps
        )
    )


@pytest.fixture
def lengths(tmp_path: Path) -> str:
    path = tmp_path / "lengths.txt"
    path.write_text("\n".join(map(str, [5, 9, 12, 30, 33, 40, 80, 95, 100] * 20)))
    return str(path)


def available(monkeypatch: pytest.MonkeyPatch, found: Results) -> None:
    monkeypatch.setattr(
        recommend, "available", lambda paths: recommend.Available(found, [], None, [])
    )


def test_the_answer_names_backend_buckets_and_what_it_can_lose(
    lengths: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    available(monkeypatch, results())
    assert recommend.main(["--lengths", lengths, *ASKED, "--format", "markdown"]) == 0
    first, second, *_ = capsys.readouterr().out.split("\n\n")
    assert first.startswith("torch, ")
    assert "buckets, optimal edges, up to " in first
    assert "180 sequences" in first
    assert "at most" in second


def test_the_answer_is_data_too_and_only_of_the_backends_that_are_named(
    lengths: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    available(monkeypatch, results())
    options = ["--lengths", lengths, *ASKED, "--backend", "while_loop", "--format", "json"]
    assert recommend.main(options) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["backend"] for each in found["backends"]] == ["while_loop"]
    assert found["command"].startswith("python -m bench.run lengths ")


def test_without_results_near_it_is_told_what_measures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    available(monkeypatch, results((10, 50)))
    assert recommend.main(["--lengths", "uniform:5-90", *ASKED]) == recommend.NO_RESULTS
    out = " ".join(capsys.readouterr().out.split())
    assert "three lengths or more" in out
    assert (
        "python -m bench.run lengths uniform:5-90 --batch 8 --hidden 64 --input 64 --mode training"
        in out
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--lengths", "uniform:5-90", "--steps", "9"], "a question of its own"),
        (["--lengths", "uniform:5-90", "--dependency", "9"], "a question of its own"),
        (["--lengths", "nowhere.txt"], "does not exist"),
        (["--lengths", "uniform:5"], "is no distribution"),
    ],
)
def test_bad_input_is_told(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recommend.main([*options, *ASKED]) == BAD_INPUT
    assert words in capsys.readouterr().err


def test_names_of_result_files_are_text_in_the_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = "\x1b]0;title\x07[red]\x9b2J\nours"
    available(monkeypatch, results(names=(ours, f"{ours}2")))
    for form in ("terminal", "markdown", "json"):
        words = ["--lengths", "uniform:5-90", *ASKED, "--format", form]
        assert recommend.main(words) == recommend.ANSWERED
        out, err = capsys.readouterr()
        assert_plain(err)
        (assert_markdown if form == "markdown" else assert_plain)(out)
        if form == "json":
            assert ours in [each["backend"] for each in json.loads(out)["backends"]]
        else:
            assert "red" in out
