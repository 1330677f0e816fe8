"""The folder of decisions: written whole, read whatever is in it, and the nearest one found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lstm_impl import LSTMSpec, Workload
from lstm_impl.tuning import Decision, Raced, TunedMachine, TuningRequest, folder, load, save
from lstm_impl.tuning.store import find, nearest

ASKED = TuningRequest(LSTMSpec(128, 128), Workload(32, 100), "keras", TunedMachine("here", {}))


def decided(name: str, question: TuningRequest = ASKED, made: str = "2026-11-26") -> Decision:
    return Decision(question, (Raced(name, 1.0, 1.0, 1.0, 1.0, 20),), "", made, "a test")


def sized(batch: int) -> TuningRequest:
    return replace(ASKED, workload=Workload(batch, 100))


# -- the nearest


def test_the_nearest_is_lent_and_of_the_same_the_newer() -> None:
    found = [decided("a", sized(30)), decided("b", sized(24)), decided("c", sized(30))]
    for order in (found, [found[1], found[0], found[2]], [found[0], found[2], found[1]]):
        taken = nearest(ASKED, order)
        assert taken is not None
        assert taken.backend == "c"


# -- files


def test_a_decision_comes_back_from_its_file(tmp_path: Path) -> None:
    found = decided("scan")
    path = save(found, tmp_path / "new")
    assert load(tmp_path / "new") == [found]
    assert find(ASKED, tmp_path / "new") == found
    assert find(replace(ASKED, through="model"), tmp_path / "new") is None
    newer = decided("keras", made="2026-11-27")
    assert save(newer, tmp_path / "new") == path
    assert load(tmp_path / "new") == [newer]
    assert not list((tmp_path / "new").glob("*.partial"))


def test_the_oldest_is_read_first_whatever_its_file_is_called(tmp_path: Path) -> None:
    made = ["2026-11-28", "2026-11-26", "2026-11-27"]
    for batch, when in enumerate(made, start=1):
        save(decided("scan", sized(batch), when), tmp_path)
    assert [each.made for each in load(tmp_path)] == sorted(made)


def test_a_decision_that_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(decided("scan"), tmp_path)

    def full(self: Path, target: Path) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        save(decided("keras"), tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [f"{ASKED.digest}.json"]
    assert load(tmp_path) == [decided("scan")]


def test_the_folder_is_the_user_s_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "named"))
    assert folder() == tmp_path / "named"
    save(decided("scan"))
    assert find(ASKED) == decided("scan")
    assert load() == load(tmp_path / "named") == [decided("scan")]
    monkeypatch.setenv("LSTM_DECISIONS", "")
    assert folder().name == "decisions"
    assert tmp_path not in folder().parents


def test_a_file_that_is_none_is_passed_over_with_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(decided("keras"), tmp_path)
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    (tmp_path / "c.json").mkdir()
    (tmp_path / "d.json").write_text(decided("scan").to_json() + " " * 1_000_000)
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
    assert "a?[2Jb?.json is passed over" in record.getMessage()


# -- whose they are


@pytest.mark.parametrize("which", ["folder", "file"])
def test_decisions_that_others_can_write_are_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, which: str
) -> None:
    place = tmp_path / "shared"
    path = save(decided("scan"), place)
    (place if which == "folder" else path).chmod(0o777)
    assert load(place) == []
    assert "can be written by others" in caplog.text
    if which == "folder":
        with pytest.raises(PermissionError, match="can be written by others"):
            save(decided("scan"), place)
