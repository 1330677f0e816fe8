"""Test files of studies of earlier versions, which are shown as tables or refused in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.records import files
from tests.bench.harmless import assert_markdown, assert_plain, assert_styled
from tests.bench.made_texts import PAYLOADS
from tests.places import REFERENCE
from tools import study

Document = dict[str, Any]
Shown = Callable[..., tuple[int, str, str]]

KINDS = ("denormals", "lengths", "scaling")
TEXTS = ("backend", "way", "numbers", "stream", "side", "failed", "machine_id", "host", "session")


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    """Return the exit code, the output and the errors of ``tools.study`` for a file."""

    def run(path: Path, *words: str) -> tuple[int, str, str]:
        code = study.main([str(path), *words])
        return code, *capsys.readouterr()

    return run


def reference(kind: str) -> Path:
    (path,) = REFERENCE.glob(f"{kind}-*.json")
    return path


def written(folder: Path, kind: str, change: Callable[[Document], object]) -> Path:
    """Write the reference's study, changed and without a digest, as if by hand."""
    document = json.loads(reference(kind).read_text(encoding="utf-8"))
    document.pop("digest", None)
    change(document)
    path = folder / f"{kind}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def records(document: Document) -> list[Document]:
    return [record for answer in document["answers"] for record in answer]


@pytest.mark.parametrize("kind", KINDS)
def test_study_of_an_earlier_version_shows_its_table(kind: str, shown: Shown) -> None:
    code, out, err = shown(reference(kind), "--format", "markdown")
    assert (code, err) == (0, "")
    assert out.count("SLOWER") >= 1


def test_report_on_a_study_compares_sides_with_the_baseline_by_sequence(
    tmp_path: Path, shown: Shown
) -> None:
    def change(document: Document) -> None:
        times = {"one": 1.0, "weak": 1.2, "strong": 0.8}
        document["answers"] = [
            [
                {"backend": name, "replicas": 2, "side": side, "batch": 16 if side == "weak" else 8,
                 "failed": "it broke" if name == "cudnn" else "", "rounds": list(range(11)),
                 "samples": [time * (1 + 0.001 * step) for step in range(-5, 6)]}
                for name in ("keras", "cudnn")
                for side, time in times.items()
            ]
        ] * 6  # fmt: skip

    code, out, err = shown(written(tmp_path, "scaling", change), "--format", "markdown")
    assert code == 0, err
    lines = {line.split(" | ")[2]: line for line in out.splitlines() if line.startswith("| `keras")}
    assert lines["`one`"].startswith("| `keras` | 2 | `one` | 8 | 1.00 s (1.00–1.00) | 8")
    assert "| 16 | 1.20 s (1.20–1.20) | 13.3 | 1.67 (1.67–1.67) | FASTER |" in lines["`weak`"]
    assert "| 8 | 800 ms (800–800) | 10.0 | 1.25 (1.25–1.25) | FASTER |" in lines["`strong`"]
    assert "Not measured: cudnn, 2, one: it broke." in out


@pytest.mark.parametrize("kind", KINDS)
def test_report_on_a_study_shows_hostile_texts_as_text(
    kind: str, tmp_path: Path, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn in range(0, len(PAYLOADS), len(TEXTS)):
        by_name = {name: PAYLOADS[(turn + at) % len(PAYLOADS)] for at, name in enumerate(TEXTS)}

        def change(document: Document, by_name: dict[str, str] = by_name) -> None:
            document["answers"] = document["answers"][:2]
            for each in (document["run"], *records(document)):
                for name in by_name.keys() & each.keys():
                    each[name] = f"{by_name[name]}{each[name]}"
            for each in records(document)[1:]:  # the first keeps its hostile failure
                each["failed"] = each["failed"] if not each["samples"] else ""

        path = written(tmp_path, kind, change)
        monkeypatch.setenv("COLUMNS", str((40, 120)[turn % 2]))
        code, out, err = shown(path)
        assert code == 0, err
        assert_plain(out + err)
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert_styled(shown(path)[1])
        monkeypatch.delenv("FORCE_COLOR")
        assert_markdown(shown(path, "--format", "markdown")[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found.update(study="dreams"), 'study is "dreams"; expected one of denormal'),
        (lambda found: found.update(schema=2), "schema"),
        (lambda found: found.update(answers=[[]]), "answers"),
        (lambda found: found.update(run={}), "run"),
        (lambda found: found.update(digest="sha256:" + "0" * 64), "was changed after it was"),
        (lambda found: records(found)[0].update(replicas=0), "replicas is 0; expected"),
        (lambda found: records(found)[0].update(samples=[]), "rounds does not fit; expected a rou"),
        (lambda found: records(found)[0].update(rounds=[0] * 15), "rounds does not fit"),
        (lambda found: records(found)[0].update(batch="many"), 'batch is "many"; expected'),
    ],
)
def test_study_of_a_file_that_is_no_study_is_refused_in_one_line(
    change: Callable[[Document], object], words: str, tmp_path: Path, shown: Shown
) -> None:
    code, out, err = shown(written(tmp_path, "scaling", change))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_report_on_a_study_names_the_tool(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(reference("lengths"))]) == 2
    assert "python -m tools.study" in capsys.readouterr().err


def test_readers_of_results_skip_studies(tmp_path: Path) -> None:
    shutil.copy(reference("lengths"), tmp_path)
    found = files.collect([tmp_path])
    assert [str(error) for error in found.errors] == [f"{tmp_path} holds no result files"]
