"""Files of studies as tables: of today's and of earlier versions, whatever their texts are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.records import study
from tests.bench.harmless import assert_markdown, assert_plain, assert_styled
from tests.bench.made_texts import PAYLOADS
from tests.places import ROOT

Say = Callable[[str], str]
"""What stands in a file in the place of a text."""

WIDTHS = (40, 120)


def _record(seconds: float, failed: str = "", **fields: Any) -> dict[str, Any]:
    spread = [seconds * (1 + 0.001 * number) for number in range(-5, 6)]
    return {"failed": failed, "samples": spread, "rounds": list(range(11)), **fields}


def of_lengths(say: Say) -> tuple[dict[str, Any], list[Any]]:
    """What was asked, and what each process answered: of one way with a policy it failed."""
    ways, policies = (say("numpy/own"), say("torch/own")), (say("longest"), say("buckets:2"))
    question = {"ways": list(ways), "batches": {policy: [] for policy in policies}}
    answer = [
        _record(
            0.5,
            say("it broke") if (way, policy) == (ways[1], policies[1]) else "",
            stream=f"{way} {policy}",
        )
        for way in ways
        for policy in policies
    ]
    return {**question, "policies": list(policies)}, [answer] * 2


def of_denormals(say: Say) -> tuple[dict[str, Any], list[Any]]:
    answer = [
        _record(
            1e-3 * (1 + (numbers == "denormal")),
            say("it broke") if backend == "torch" else "",
            way=say(way),
            backend=say(backend),
            numbers=numbers,
        )
        for way in ("as it is", "flushing")
        for backend in ("numpy", "torch")
        for numbers in ("ordinary", "denormal", say("others"))
    ]
    return {}, [answer] * 2


def of_scaling(say: Say) -> tuple[dict[str, Any], list[Any]]:
    answer = [
        _record(
            seconds,
            say("it broke") if backend == "cudnn" else "",
            backend=say(backend),
            replicas=2,
            side=say(side) if side != "one" else side,
            batch=batch,
        )
        for backend in ("keras", "cudnn")
        for side, batch, seconds in (("one", 8, 1.0), ("weak", 16, 1.2), ("strong", 8, 0.8))
    ]
    return {}, [answer] * 6


STUDIES: dict[str, Callable[[Say], tuple[dict[str, Any], list[Any]]]] = {
    "lengths": of_lengths,
    "denormals": of_denormals,
    "scaling": of_scaling,
}


def written(folder: Path, kind: str, say: Say) -> Path:
    """A file of this kind; ``say`` also names the machine that it was measured on."""
    when = datetime(2025, 1, 1, tzinfo=UTC)
    document = study.document(kind, when, *STUDIES[kind](say))
    del document["digest"]  # as of a file that somebody wrote by hand
    run = document["run"]
    assert isinstance(run, dict)
    document["run"] = run | {name: say(name) for name in ("host", "machine_id", "session", "suite")}
    path = folder / f"{kind}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def shown(
    kind: str, path: Path, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    code = report.main([str(path), *words])
    out, err = capsys.readouterr()
    return code, out, err


def texts_of(kind: str) -> list[str]:
    """The texts of such a file that any other may stand for."""
    found: dict[str, None] = {}

    def say(text: str) -> str:
        found[text] = None
        return text

    STUDIES[kind](say)
    return [*found, "host", "machine_id", "session", "suite"]


def before_each(payloads: Mapping[str, str]) -> Say:
    return lambda text: f"{payloads[text]}{text}"


FEW = 4
"""Of so many turns one is usual: each text has had ten payloads, and each payload was in a text."""


@pytest.mark.parametrize("every", [FEW, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", STUDIES)
def test_every_payload_in_a_text_of_a_study_is_text_where_it_is_shown(
    kind: str,
    every: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names, had = texts_of(kind), set()
    for number, turn in enumerate(range(0, len(PAYLOADS), every)):
        # Another payload in each text, so that over all turns each text has had all of them.
        of = {name: PAYLOADS[(turn + at) % len(PAYLOADS)] for at, name in enumerate(names)}
        had |= set(of.values())
        path = written(tmp_path, kind, before_each(of))
        width = WIDTHS[number % len(WIDTHS)]
        monkeypatch.setenv("COLUMNS", str(width))
        code, out, err = shown(kind, path, capsys)
        assert code == 0, err
        assert_plain(out + err)
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert_styled(shown(kind, path, capsys)[1])
        monkeypatch.delenv("FORCE_COLOR")
        code, out, err = shown(kind, path, capsys, "--format", "markdown")
        assert code == 0, err
        assert_markdown(out)
        assert_plain(err)
    assert had == set(PAYLOADS)


@pytest.mark.parametrize("kind", STUDIES)
def test_markup_of_a_study_s_text_is_there_to_be_seen(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = written(tmp_path, kind, lambda text: f"[red]{text}")
    out = shown(kind, path, capsys)[1]
    assert "[red]" in out


@pytest.mark.parametrize("kind", STUDIES)
def test_what_was_not_measured_is_text_on_standard_error_too(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where all of it failed, the first reason stands in the error."""
    hostile = "\x1b]0;title\x07\x9b31m\x1b[2J\none\r\n[red]two"
    path = written(tmp_path, kind, str)
    document = json.loads(path.read_text(encoding="utf-8"))
    for answer in document["answers"]:
        for record in answer:
            record["failed"] = hostile
    path.write_text(json.dumps(document), encoding="utf-8")
    code, out, err = shown(kind, path, capsys)
    assert code == 2
    assert_plain(out + err)
    assert err.count("\n") == 1
    assert "[red]two" in err


def test_studies_of_two_kinds_or_of_an_unknown_one_or_as_data_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lengths = written(tmp_path, "lengths", str)
    denormals = written(tmp_path, "denormals", str)
    assert report.main([str(lengths), str(denormals)]) == 2
    assert "the files are of several studies, lengths and denormals" in capsys.readouterr().err
    code, _, err = shown("lengths", lengths, capsys, "--format", "csv")
    assert code == 2
    assert "a study of lengths is shown with --format terminal or markdown" in err
    denormals.write_text(denormals.read_text().replace('"denormals"', '"dreams"', 1))
    assert report.main([str(denormals)]) == 2
    assert 'study is "dreams"; expected one of denormals, ' in capsys.readouterr().err


def test_each_side_is_compared_with_the_baseline_by_sequence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "scaling", str)
    code, out, err = shown("scaling", path, capsys, "--format", "markdown")
    assert code == 0, err
    lines = {line.split(" | ")[2]: line for line in out.splitlines() if line.startswith("| `keras")}
    assert lines["`one`"].startswith("| `keras` | 2 | `one` | 8 | 1.00 s (1.00–1.00) | 8")
    assert "| 16 | 1.20 s (1.20–1.20) | 13.3 | 1.67 (1.67–1.67) | FASTER |" in lines["`weak`"]
    assert "| 8 | 800 ms (800–800) | 10.0 | 1.25 (1.25–1.25) | FASTER |" in lines["`strong`"]
    assert "Not measured: cudnn, 2, one: it broke." in out


@pytest.mark.parametrize("kind", STUDIES)
def test_studies_of_earlier_versions_are_shown(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (ROOT / "results" / "reference").glob(f"{kind}-*.json")
    code, out, err = shown(kind, path, capsys, "--format", "markdown")
    assert (code, err) == (0, "")
    assert out.count("SLOWER") >= 1


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("replicas", 0, "replicas is 0; expected"),
        ("samples", [], "rounds does not fit; expected a round of its own for each sample"),
        ("rounds", [0] * 11, "rounds does not fit"),
        ("batch", "many", 'batch is "many"; expected'),
    ],
)
def test_records_that_are_none_are_refused_in_a_line(
    field: str, value: object, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "scaling", str)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["answers"][0][0][field] = value
    path.write_text(json.dumps(document), encoding="utf-8")
    code, out, err = shown("scaling", path, capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
