"""Files of studies whose every text says something that a terminal, or Markdown, acts on.

They come from anywhere, as result files do. Each of the commands that show them makes their texts
harmless.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench import report, run
from bench.case import loading
from bench.records import study
from bench.studies.data_parallel import SCALINGS, DataParallelRequest, sides
from bench.studies.denormals import DENORMAL, ORDINARY
from tests.bench.harmless import assert_markdown, assert_plain, assert_styled
from tests.bench.made_texts import PAYLOADS

Say = Callable[[str], str]
"""What stands in a file in the place of a text."""

WIDTHS = (40, 120)
REPLICAS = DataParallelRequest(
    *(8, 3, 2, 4), ("keras",), 2, "workers", "cpu", SCALINGS, threads=1, seconds=0.1, seed=0
)


def of_lengths(say: Say) -> tuple[dict[str, Any], list[Any]]:
    """What was asked, and what each process answered: of one way with a policy it failed."""
    ways, policies = (say("numpy/own"), say("torch/own")), (say("longest"), say("buckets:2"))
    question = {
        "batch": 2,
        "inputs": 3,
        "hidden": 4,
        "lengths": [2, 5, 3],
        "mode": say("training"),
        "source": say("uniform:2-5"),
        "ways": list(ways),
        "batches": {policy: [[5, [0, 1]], [5, [2]]] for policy in policies},
    }
    answer = [
        {
            "way": way,
            "policy": policy,
            "stream": f"{way} {policy}",
            "failed": say("it broke") if (way, policy) == (ways[1], policies[1]) else "",
            "first": [1.5, 1.5],
            "samples": [0.5] * 10,
            "rounds": list(range(10)),
            "traces": 2,
        }
        for way in ways
        for policy in policies
    ]
    return question, [answer] * 2


def of_denormals(say: Say) -> tuple[dict[str, Any], list[Any]]:
    question = {"batch": 2, "timesteps": 5, "inputs": 3, "hidden": 4, "mode": say("inference")}
    answer = [
        {
            "way": say(way),
            "backend": say(backend),
            "numbers": numbers,
            "failed": say("it broke") if backend == "torch" else "",
            "samples": [1e-3] * 10,
            "rounds": list(range(10)),
            "denormal": float(numbers == DENORMAL),
            "did": say("kept"),
        }
        for way in ("as it is", "flushing")
        for backend in ("numpy", "torch")
        for numbers in (ORDINARY, DENORMAL, say("others"))
    ]
    return question, [answer] * 2


def of_scaling(say: Say) -> tuple[dict[str, Any], list[Any]]:
    asked = {**asdict(REPLICAS), "replicas": [2], "threads": [1], "machines": 2}
    answer = [
        {
            "backend": say(backend),
            "replicas": 2,
            "side": side.name,
            "batch": side.batch,
            "failed": say("it broke") if backend == "cudnn" else "",
            "samples": [0.1 * side.batch] * 15,
            "rounds": list(range(15)),
            "calls": 1,
            # The profiler sees much more than leaving the all-reduce out saves, which is told.
            "shares": [0.9] if side.world == "team" and side.reduced else [],
            "errors": {},
            "bounds": {},
        }
        for backend in ("keras", "cudnn")
        for side in sides(REPLICAS, cores=True)
    ]
    return {**asked, "device": say("cpu")}, [answer] * 2


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


@pytest.mark.parametrize("policy", ["{", "{0.__class__}", "{1}", "buckets:{0}", "equal", "%s"])
def test_a_policy_is_no_format(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "lengths", lambda text: policy if text == "buckets:2" else text)
    code, out, err = shown("lengths", path, capsys, "--format", "markdown")
    assert code == 0, err
    assert "<class" not in out.replace("\\", "")


def test_studies_of_two_kinds_or_of_an_unknown_one_or_as_data_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lengths = written(tmp_path, "lengths", str)
    denormals = written(tmp_path, "denormals", str)
    assert report.main([str(lengths), str(denormals)]) == 2
    assert "the files are of studies: lengths and denormals; expected one of" in (
        capsys.readouterr().err
    )
    code, _, err = shown("lengths", lengths, capsys, "--format", "csv")
    assert code == 2
    assert "a study of lengths is shown with --format terminal or markdown" in err
    denormals.write_text(denormals.read_text().replace('"denormals"', '"dreams"', 1))
    assert report.main([str(denormals)]) == 2
    assert "the files are of studies: dreams; expected one of denormals, " in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("name", ["denormals", "lengths", "scaling"])
def test_run_measures_what_is_no_suite_of_cases_by_its_own_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main([name, "--help"])
    assert ended.value.code == 0
    assert f"python -m bench.run {name}" in capsys.readouterr().out
    assert name in loading.UNTIMED
