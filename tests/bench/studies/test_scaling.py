"""``bench.run scaling``: what is refused, and what of a measurement is in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import run
from bench.studies import scaling
from bench.studies.data_parallel import sides


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--shape", "b3-t1-i1-h1"], "2 replicas cannot share a batch of 3 equally; take 2 or 4"),
        (["--shape", "b1-t1-i1-h1"], "cannot share a batch of 1 equally; take 2"),
        (["--shape", "wide"], "'wide' is no shape"),
        (["--replicas", "1"], "--replicas 1: one shares nothing; ask for 2 or more"),
        (["--replicas", "9999"], "--replicas 9999: each needs a processor of its own"),
        (["--backends", "torch"], "torch is no layer of TensorFlow's ops"),
        (["--backends", "kers"], "there is no backend 'kers'; did you mean keras"),
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
        words = [*words, "--shape", "b9999-t1-i1-h1"]
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
    asked: list[scaling.ReplicaPlan] = []

    def measured(plan: scaling.ReplicaPlan, tell: Any) -> list[dict[str, Any]]:
        asked.append(plan)
        tell("keras")
        return [
            {
                "backend": "keras",
                "replicas": 2,
                "side": side.name,
                "batch": side.batch,
                "failed": "",
                "samples": [0.1] * 15,
                "rounds": list(range(15)),
            }
            for side in sides(plan.question, cores=True)
        ]

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
    assert found["question"]["replicas"] == 2
    out = capsys.readouterr()
    assert "set 2 of 2, 2 replicas: keras" in out.err
    assert "strong-cores" in out.out
