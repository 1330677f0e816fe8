"""Test decisions: the backend picked, the requests they hold for, and their files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_impl import LSTMSpec, Workload
from lstm_impl.tuning import (
    Decision,
    DecisionError,
    Raced,
    TunedMachine,
    TuningRequest,
    folder,
    load,
    machine,
    save,
)
from lstm_impl.tuning.decision import NEAR, decide, find, nearest
from lstm_impl.tuning.machine import describe_cpu, model_name
from lstm_impl.tuning.race import EntrantResult

HERE = TunedMachine("AMD EPYC, 2 usable", {"tensorflow": "2.21.0", "torch": "2.9"})
ASKED = TuningRequest(LSTMSpec(128, 128), Workload(32, 100, "training"), "keras", HERE)


def decided(question: TuningRequest = ASKED, rule: str = "keras", **blocks: float) -> Decision:
    ran = {name: EntrantResult((seconds,) * 20, 1.0) for name, seconds in blocks.items()}
    return decide(question, ran, {"cudnn": "no GPU"}, rule, "2026-11-26T07:00:00+00:00", "a test")


def test_decide_picks_the_fastest_and_orders_the_others() -> None:
    found = decided(keras=0.03, fused_cpu=0.01, scan=0.02)
    assert found.backend == "fused_cpu"
    assert [each.backend for each in found.raced] == ["fused_cpu", "scan", "keras", "cudnn"]
    assert found.raced[1].ratio == pytest.approx(2.0)
    assert found.raced[3] == Raced("cudnn", problem="no GPU")
    assert "the rule would have picked keras" in str(found)
    assert "fused_cpu: 10 ms, the fastest (20 rounds)" in str(found)
    assert "scan: 20 ms; the fastest is 2.00 times as fast (2.00 to 2.00, 20 rounds)" in str(found)


def test_decide_equal_times_keep_the_rule() -> None:
    assert decided(keras=0.01, scan=0.02).backend == "keras"
    assert decided(keras=0.0101, scan=0.01).backend == "keras"
    assert decided(keras=0.0103, scan=0.01).backend == "scan"


def test_best_takes_the_fastest_allowed_or_none() -> None:
    found = decided(a=0.01, keras=0.0202, b=0.02)
    assert found.best(lambda name: name != "a") == "keras"
    assert found.best(lambda name: False) == ""


@pytest.mark.parametrize(
    ("other", "lent"),
    [
        (ASKED, True),
        (replace(ASKED, workload=Workload(45, 100, "training")), True),
        (replace(ASKED, workload=Workload(46, 100, "training")), False),
        (replace(ASKED, workload=Workload(32, 70, "training")), False),
        (replace(ASKED, workload=Workload(32, 100, "training", optimizer="adam")), False),
        (replace(ASKED, workload=Workload(32, 100)), False),
        (replace(ASKED, workload=Workload(32, 100, "training", min_length=50)), False),
        (replace(ASKED, workload=Workload(32, 100, "training", dropout=0.5)), False),
        (replace(ASKED, spec=LSTMSpec(129, 128)), False),
        (replace(ASKED, through="model"), False),
        (replace(ASKED, machine=TunedMachine("AMD EPYC, 4 usable", HERE.versions)), False),
        (replace(ASKED, machine=TunedMachine(HERE.device, {"tensorflow": "2.22.0"})), False),
        (replace(ASKED, machine=TunedMachine(HERE.device, {"tensorflow": "2.21.0"})), True),
    ],
)
def test_far_only_near_sizes_of_the_same_work_share_a_decision(
    other: TuningRequest, lent: bool
) -> None:
    for one, another in ((ASKED, other), (other, ASKED)):
        far = one.distance(another)
        assert (far is not None and far <= NEAR) == lent


# -- files


def test_digest_of_earlier_versions_is_kept() -> None:
    assert ASKED.digest == "9b716d08bf5fbdd2"


def test_decision_round_trip_through_json_is_equal() -> None:
    found = decided(keras=0.03, fused_cpu=0.01)
    assert Decision.from_json(found.to_json()) == found
    assert Decision.from_json(found.to_json()).to_json() == found.to_json()


def _changed(path: tuple[Any, ...], value: object) -> str:
    record = json.loads(decided(keras=1.0).to_json())
    at = record
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return json.dumps(record)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), 2, "this version reads 1"),
        (("rule",), 7, "rule is not a text"),
        (("raced",), {}, "raced is not a list"),
        (("raced", 0, "seconds"), float("nan"), "seconds is nan"),
        (("raced", 0, "first"), float("inf"), "first is inf"),
        (("raced", 0, "ratio"), -1, "ratio is -1"),
        (("raced", 0, "ratio"), 0, "ratio is 0; expected more"),
        (("raced", 0, "rounds"), "12", "rounds is not a number"),
        (("raced", 0, "rounds"), 10**400, "too large"),
        (("raced", 0, "backend"), "x" * 2_000, "backend is not a text"),
        (("raced", 0, "more"), 1, "a line of raced is not an object with"),
        (("question", "spec", "hidden_size"), 0, "LSTMSpec.hidden_size is 0"),
        (("question", "workload", "mode"), "dreaming", "Workload.mode is 'dreaming'"),
        (("question", "machine", "versions"), {"tensorflow": 2}, "versions is not a text"),
        (("question", "machine", "versions"), 3, "not iterable"),
        (("question", "machine", "device"), None, "device is not a text"),
    ],
)
def test_from_json_wrong_field_is_named(path: tuple[Any, ...], value: object, message: str) -> None:
    with pytest.raises(DecisionError, match=message):
        Decision.from_json(_changed(path, value))


def test_from_json_with_a_repeated_key_raises() -> None:
    text = decided(keras=1.0).to_json().replace('"rule": ', '"rule": "scan", "rule": ', 1)
    with pytest.raises(DecisionError, match="an object has a key twice"):
        Decision.from_json(text)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=20))
def test_from_json_any_json_is_a_decision_or_an_error(value: object) -> None:
    with pytest.raises(DecisionError):
        Decision.from_json(json.dumps(value))


STORED = TuningRequest(LSTMSpec(128, 128), Workload(32, 100), "keras", TunedMachine("here", {}))


def stored(name: str, question: TuningRequest = STORED, made: str = "2026-11-26") -> Decision:
    return Decision(question, (Raced(name, 1.0, 1.0, 1.0, 1.0, 20),), "", made, "a test")


def sized(batch: int) -> TuningRequest:
    return replace(STORED, workload=Workload(batch, 100))


# -- the nearest


def test_nearest_is_the_nearest_then_the_newest() -> None:
    found = [stored("a", sized(30)), stored("b", sized(24)), stored("c", sized(30))]
    for order in (found, [found[1], found[0], found[2]], [found[0], found[2], found[1]]):
        taken = nearest(STORED, order)
        assert taken is not None
        assert taken.backend == "c"


# -- files


def test_load_returns_the_saved_decision(tmp_path: Path) -> None:
    found = stored("scan")
    path = save(found, tmp_path / "new")
    assert load(tmp_path / "new") == [found]
    assert find(STORED, tmp_path / "new") == found
    assert find(replace(STORED, through="model"), tmp_path / "new") is None
    newer = stored("keras", made="2026-11-27")
    assert save(newer, tmp_path / "new") == path
    assert load(tmp_path / "new") == [newer]
    assert not list((tmp_path / "new").glob("*.partial"))


def test_save_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(stored("scan"), tmp_path)

    def full(self: Path, target: Path) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        save(stored("keras"), tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [f"{STORED.digest}.json"]
    assert load(tmp_path) == [stored("scan")]


def test_folder_default_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "named"))
    assert folder() == tmp_path / "named"
    save(stored("scan"))
    assert find(STORED) == stored("scan")
    assert load() == load(tmp_path / "named") == [stored("scan")]
    monkeypatch.setenv("LSTM_DECISIONS", "")
    assert folder().name == "decisions"
    assert tmp_path not in folder().parents


def test_load_wrong_file_is_skipped_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(stored("keras"), tmp_path)
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    (tmp_path / "c.json").mkdir()
    (tmp_path / "d.json").write_text(stored("scan").to_json() + " " * 1_000_000)
    assert len(load(tmp_path)) == 1
    assert len(caplog.records) == 4
    assert all(name in caplog.text for name in ("a.json", "b.json", "c.json", "d.json"))


def test_load_of_a_file_with_escape_codes_in_its_name_logs_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a\x1b[2Jb\n.json").write_text("{")
    assert load(tmp_path) == []
    (record,) = caplog.records
    assert record.getMessage().isprintable()
    assert "a?[2Jb?.json is skipped" in record.getMessage()


# -- owners


@pytest.mark.parametrize("which", ["folder", "file"])
def test_load_file_writable_by_others_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, which: str
) -> None:
    place = tmp_path / "shared"
    path = save(stored("scan"), place)
    (place if which == "folder" else path).chmod(0o777)
    assert load(place) == []
    assert "can be written by others" in caplog.text
    if which == "folder":
        with pytest.raises(PermissionError, match="can be written by others"):
            save(stored("scan"), place)


def test_processor_name_is_that_of_linux() -> None:
    assert model_name("processor\t: 0\nmodel name\t: AMD  EPYC\n") == "AMD EPYC"
    assert model_name("")
    assert describe_cpu("AMD EPYC", 2) == "AMD EPYC, 2 usable"


def test_machine_name_is_the_processor_or_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cpuinfo", lambda: "model name : A\n")
    monkeypatch.setattr(machine, "usable_cpus", lambda: 3)
    assert machine.this_machine("cpu").device == "A, 3 usable"
    assert machine.this_machine("gpu:0", "An accelerator").device == "An accelerator"
    assert machine.this_machine("gpu:1").device == "gpu:1"  # of unknown name
    assert machine.this_machine("cpu").versions == machine.versions()
