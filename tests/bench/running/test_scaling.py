"""``bench.run scaling``: what is refused, what is shown of a file, and a hostile one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import run
from bench.measuring.scaling import SCALINGS, Question, sides
from bench.results import study
from bench.running import replicas, scaling

QUESTION = Question(
    *(8, 3, 2, 4), ("keras",), 2, "workers", "cpu", SCALINGS, threads=1, seconds=0.1, seed=0
)

SECONDS = {"one": 1.0, "team": 1.2, "cores": 1.6}


def records(seed: int, **more: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "backend": "keras",
            "replicas": 2,
            "side": side.name,
            "batch": side.batch,
            "failed": "",
            "samples": list(SECONDS[side.world] * side.batch / 8 * rng.uniform(0.99, 1.01, 15)),
            "rounds": list(range(15)),
            "calls": 1,
            "shares": [0.1, 0.2] if side.world == "team" and side.reduced else [],
            "errors": {},
            "bounds": {},
            **more,
        }
        for side in sides(QUESTION, cores=True)
    ]


def written(tmp_path: Path, answers: Sequence[Any], **question: Any) -> Path:
    asked = {**asdict(QUESTION), "replicas": [2], "threads": [1], "machines": 1, **question}
    return study.save(study.document("scaling", datetime.now(UTC), asked, answers), tmp_path)


def shown(path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = run.main(["scaling", "--show", str(path), *words])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_file_is_shown_with_what_replicas_gain_and_where_time_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, [records(seed) for seed in range(6)])
    code, out, _ = shown(path, capsys, "--format", "markdown")
    assert code == 0
    weak, beside, _ = [line for line in out.splitlines() if "| `keras` | 2 | weak |" in line]
    assert weak.startswith("| `keras` | 2 | weak | 16 | 2.40 s (")
    # 16 sequences in 2.4 s, and 8 in 1 s: 0.83 times as many a second, an efficiency of 42%.
    assert "| 0.83 (" in weak
    assert "SLOWER" in weak
    assert "| 42% (" in weak
    assert "| 1.33 (" in beside  # one on all processors takes 3.2 s
    assert "6 sets of fresh processes" in out
    assert "MultiWorkerMirroredStrategy" in out
    assert "b8-t3-i2-h4" in out
    code, terminal, _ = shown(path, capsys)
    assert code == 0
    assert "efficiency" in terminal


@pytest.mark.parametrize("columns", ["80", "100", "160"])
def test_no_column_stands_beyond_the_edge_of_a_terminal(
    columns: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    path = written(tmp_path, [records(seed) for seed in range(6)])
    _, terminal, _ = shown(path, capsys)
    assert "42%" in terminal  # the last column of the first table
    assert "profiler" in terminal  # and of the last


def test_what_was_not_measured_is_told_and_its_backend_has_no_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = records(9, backend="cudnn", failed="cuDNN runs on NVIDIA GPUs only", samples=[])
    path = written(tmp_path, [[*records(seed), *failed] for seed in range(2)])
    code, out, _ = shown(path, capsys, "--format", "markdown")
    assert code == 0
    assert "Not measured: cudnn, 2 replicas: cuDNN runs on NVIDIA GPUs only." in out
    assert "`cudnn`" not in out


def test_text_of_a_file_stays_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x1b[31m|</td><script>x</script>[a](http://b)"
    path = written(tmp_path, [records(0, backend=name), records(1, backend="x", failed=name)])
    for words in ((), ("--format", "markdown")):
        code, out, _ = shown(path, capsys, *words)
        assert code == 0
        assert "\x1b" not in out
        assert not words or "<script>" not in re.sub(r"`[^`]*`", "", out)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"replicas": 1}, "replicas is 1; expected"),
        ({"replicas": 10**9}, "replicas is 1000000000"),
        ({"samples": []}, "rounds does not fit; expected a round of its own for each sample"),
        ({"samples": [0.0] * 15}, "samples[0] is 0.0; expected a time in seconds"),
        ({"rounds": [1] * 15}, "rounds does not fit"),
        ({"batch": 0}, "batch is 0; expected a positive integer"),
        ({"shares": [2.0]}, "shares[0] is 2.0; expected a number from 0 to 1"),
        ({"side": "one"}, "lacks one; expected a record of the side 'weak'"),
        ({"failed": None}, "failed is null; expected text"),
    ],
)
def test_a_file_that_holds_something_else_is_told_in_a_line(
    change: dict[str, Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, [records(0, **change)])
    code, out, err = shown(path, capsys)
    assert code == 2
    assert told in err
    assert err.count("\n") == 1
    assert not out


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ({"scalings": ["sideways"]}, "expected one of weak, strong"),
        ({"strategy": "hope"}, "expected one of workers, mirrored"),
        ({"machines": 0}, "machines is 0"),
        ({"threads": ["many"]}, 'threads[0] is "many"'),
        ({"hidden": None}, "hidden is null"),
    ],
)
def test_a_question_that_is_none_is_told_too(
    question: dict[str, Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = shown(written(tmp_path, [records(0)], **question), capsys)
    assert code == 2
    assert told in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--shape", "b3-t1-i1-h1"], "2 replicas cannot share a batch of 3 equally; take 2 or 4"),
        (["--shape", "b1-t1-i1-h1"], "cannot share a batch of 1 equally; take 2, or --weak alone"),
        (["--shape", "wide"], "'wide' is no shape"),
        (["--replicas", "1"], "--replicas 1: one shares nothing; ask for 2 or more"),
        (["--replicas", "0,2"], "--replicas 0: expected whole numbers from 1 on"),
        (["--replicas", "9999"], "--replicas 9999: each needs a processor of its own"),
        (["--backends", "torch"], "torch is no layer of TensorFlow's ops"),
        (["--backends", "kers"], "there is no backend 'kers'; did you mean keras"),
        (["--show", "/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_a_process_starts(
    words: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(scaling, "measured", None)
    if words[0] == "--replicas":
        words = [*words, "--weak"]
    assert run.main(["scaling", *words]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.machine.devices import GpuFacts, gpu_facts

    none = GpuFacts(**{**gpu_facts().__dict__, "visible": 0, "installed": 0, "hidden_by": None})
    monkeypatch.setattr("bench.machine.devices.gpu_facts", lambda: none)
    assert run.main(["scaling", "--device", "gpu"]) == 2
    assert "--device gpu: " in capsys.readouterr().err
    one = GpuFacts(**{**none.__dict__, "visible": 1, "installed": 1})
    monkeypatch.setattr("bench.machine.devices.gpu_facts", lambda: one)
    assert run.main(["scaling", "--device", "gpu"]) == 2
    assert "this machine has one GPU" in capsys.readouterr().err
    assert run.main(["scaling", "--device", "gpu", "--replicas", "2"]) == 2
    assert "--replicas 2: each needs a GPU of its own, and this machine has" in (
        capsys.readouterr().err
    )


def test_a_cluster_says_how_many_replicas_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"cluster": {"worker": ["a:1", "b:2", "c:3"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(told))
    monkeypatch.setattr(scaling, "measured", None)
    assert run.main(["scaling", "--replicas", "2"]) == 2
    assert "--replicas does not go with TF_CONFIG" in capsys.readouterr().err
    assert run.main(["scaling", "--strategy", "mirrored"]) == 2
    assert "TF_CONFIG names several workers" in capsys.readouterr().err
    assert run.main(["scaling", "--shape", "b4-t1-i1-h1"]) == 2
    assert "3 replicas cannot share a batch of 4" in capsys.readouterr().err
    monkeypatch.setenv("TF_CONFIG", "{")
    assert run.main(["scaling"]) == 2
    assert "error: TF_CONFIG is cut off or not JSON" in capsys.readouterr().err


def test_every_repetition_has_inputs_of_its_own_and_all_are_in_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setenv("LSTM_LOCK", str(tmp_path / "lock"))
    asked: list[replicas.Plan] = []

    def measured(plan: replicas.Plan, tell: Any) -> list[dict[str, Any]]:
        asked.append(plan)
        tell("keras")
        return records(len(asked))

    monkeypatch.setattr(scaling, "measured", measured)
    words = ["--processes", "2", "--shape", "b8-t3-i2-h4", "--backends", "keras"]
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert run.main(["scaling", *words, "--results", str(tmp_path)]) == 0
    assert [plan.question.seed for plan in asked] == [0, 1]
    assert {plan.processors for plan in asked} == {(0, 1)}
    (path,) = tmp_path.glob("scaling-*.json")
    found = json.loads(path.read_text())
    assert next(iter(found)) == "study"
    assert len(found["answers"]) == 2
    assert found["question"]["replicas"] == [2]
    out = capsys.readouterr()
    assert "set 2 of 2, 2 replicas: keras" in out.err
    assert "efficiency" in out.out
