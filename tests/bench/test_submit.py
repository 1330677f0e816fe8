"""The command that hands results in: what it says of them, and its exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from bench import submit
from bench.sharing import submission
from bench.sharing.anonymous import texts
from tests.bench.mutations import signed
from tests.places import REFERENCE

SESSION = sorted(REFERENCE.glob("fused-*.json"))[:2]


@pytest.fixture(autouse=True)
def _of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "user_cache_path", lambda name: tmp_path / "home" / name)
    monkeypatch.chdir(tmp_path)


def main(*words: object) -> int:
    return submit.main([str(each) for each in words])


def test_submit_names_what_was_written_and_what_existed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(*SESSION) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    paths, told = lines[: len(SESSION)], lines[len(SESSION) :]
    assert len(told) <= 12
    assert [Path(path).name for path in paths] == [path.name for path in SESSION]
    assert told[0].startswith("What leaves this machine: 2 files with the times of ")
    assert any(line.startswith("What was left out: names of users and hosts") for line in told)
    assert all(Path(path).is_relative_to("results/community") for path in paths)
    assert last.startswith("To share them, commit the files")
    assert main(SESSION[0], "--to", "results/community") == 0
    assert capsys.readouterr().out == f"exists already: {paths[0]}\n"


def test_submit_to_a_url_shows_what_leaves_and_sends_just_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fsspec")
    there = tmp_path / "there"
    there.mkdir()
    url = f"file://{there}"
    assert main(SESSION[0], "--to", url, "--texts") == 2
    out, err = capsys.readouterr()
    assert "nothing was sent" in err
    assert not [*there.iterdir()]
    written = Path(out.splitlines()[0])
    assert "  lstm.run.suite: fused\n" in out
    assert main(SESSION[0], "--to", url, "--yes", "--texts") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == f"{url}/{SESSION[0].name}"
    assert (there / SESSION[0].name).read_bytes() == written.read_bytes()
    for each in texts(json.loads(written.read_text())).values():
        assert all(text in out for text in each)


def test_submit_lists_each_text_of_others_in_full(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(SESSION[0].read_text())
    ours = document["benchmarks"][-1]["extra_info"]["lstm"]
    remarks = [f"remark number {word} of Anna" for word in ("one", "two", "three", "four", "five")]
    ours["remarks"] = [*remarks, "long " * 300 + "end"]
    kernel = "void kernel<" + "a, " * 400 + "Annas_type>"
    ours["evidence"]["kernels"] = {kernel: 1, "Annas_kernel": 2}
    assert main(signed(tmp_path / "a.json", document)) == 0
    out = capsys.readouterr().out
    for text in (*remarks, "long " * 300 + "end", kernel, "Annas_kernel"):
        assert text in out


@pytest.mark.parametrize(("answer", "sent"), [("y\n", True), ("\n", False), ("", False)])
def test_submit_to_a_url_asks_at_a_terminal(
    answer: str, sent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    there = tmp_path / "there"
    there.mkdir()
    assert main(SESSION[0], "--to", f"file://{there}") == (0 if sent else 2)
    assert bool([*there.iterdir()]) == sent


def test_submit_impossible_file_is_refused_with_its_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(SESSION[0].read_text())
    document["benchmarks"][0]["stats"]["median"] *= 0.9
    path = signed(tmp_path / "a.json", document)
    assert main(SESSION[1], path) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"refused: {path}: benchmarks[0].stats.median is ")
    assert not Path("results").exists()


def test_submit_file_without_results_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.journal.jsonl").write_text("{}\n")
    (tmp_path / "empty").mkdir()
    (learning,) = REFERENCE.glob("learning-*.json")
    for place in (tmp_path / "a.journal.jsonl", learning, "nowhere.json", tmp_path / "empty"):
        assert main(place) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
