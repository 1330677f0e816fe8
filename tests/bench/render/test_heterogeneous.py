"""Test that a heterogeneous reference is noted wherever its ratios are shown."""

import csv
import io
import json
import math
from pathlib import Path
from types import ModuleType

import pytest

from bench import ask, compare, load_frame, report
from tests.bench.harmless import assert_csv, assert_markdown, assert_page, assert_plain, assert_svg
from tests.bench.made_environments import HOMES, a_case, results
from tests.bench.made_results import save

FAR = math.log(1.3)
NOTE = "through which a and b are compared, took 1."

SHOWN: dict[str, tuple[ModuleType, tuple[str, ...]]] = {
    "report": (report, ()),
    "report as Markdown": (report, ("--format", "markdown")),
    "report as a page": (report, ("--format", "html")),
    "report as CSV": (report, ("--format", "csv")),
    "report as JSON": (report, ("--format", "json")),
    "report as a picture": (report, ("--format", "svg")),
    "brief report": (report, ("--brief",)),
    "brief report as Markdown": (report, ("--brief", "--format", "markdown")),
    "comparison": (compare, ("backends",)),
    "comparison as Markdown": (compare, ("backends", "--format", "markdown")),
    "comparison as CSV": (compare, ("backends", "--format", "csv")),
    "comparison as JSON": (compare, ("backends", "--format", "json")),
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="module")
def heterogeneous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of results with a heterogeneous reference."""
    return save(tmp_path_factory.mktemp("heterogeneous"), results(FAR, 0.97))


@pytest.fixture(scope="module")
def homogeneous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of results with a homogeneous reference."""
    return save(tmp_path_factory.mktemp("homogeneous"), results(0.0, 1 / 1.5, cases=3))


def print_report(
    how: str, folder: Path, capsys: pytest.CaptureFixture[str], baseline: str = "b"
) -> str:
    """Return what a command prints for a folder of results."""
    module, words = SHOWN[how]
    assert module.main([*words, str(folder), "--baseline", baseline]) == 0
    out, err = capsys.readouterr()
    assert not err
    return out


def plain_text(text: str) -> str:
    """Return text without line breaks and escapes."""
    return " ".join(text.replace("\\", "").replace("&nbsp;", " ").replace("\xa0", " ").split())


@pytest.mark.parametrize("how", [each for each in SHOWN if "picture" not in each])
def test_heterogeneous_reference_is_noted_in_every_format(
    how: str, heterogeneous: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = plain_text(print_report(how, heterogeneous, capsys))
    assert NOTE in text
    assert "each way" in text
    assert "--processes" in text
    assert "UNCLEAR" in text


@pytest.mark.parametrize("how", ["report", "comparison as JSON"])
def test_homogeneous_reference_has_no_note(
    how: str, homogeneous: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = plain_text(print_report(how, homogeneous, capsys))
    assert NOTE not in text
    assert "Heterogeneous" not in text
    assert "FASTER" in text


def test_heterogeneous_reference_columns_have_ratio_and_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = print_report("report as CSV", save(tmp_path / "results", results(FAR, 1.1)), capsys)
    rows = list(csv.DictReader(io.StringIO(text)))
    for row in rows:
        if row["backend"] == "a":
            assert row["ratio_bridge"] == "bridge"
            assert float(row["bridge_ratio_low"]) > 1.01
            assert float(row["bridge_ratio"]) == pytest.approx(1.3, rel=0.05)
            assert float(row["bridge_ratio_high"]) > float(row["bridge_ratio"])
            assert NOTE in row["ratio_note"]
        else:
            names = ("ratio_bridge", "bridge_ratio", "bridge_ratio_low", "ratio_note")
            assert not any(row[name] for name in names)
    frame = load_frame([tmp_path / "results"], baseline="b")
    assert frame["ratio_note"].notna().sum() == 10


def test_ask_heterogeneous_reference_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = a_case("a").workload
    sizes = ["--batch", str(work.batch), "--steps", str(work.timesteps), "--input", "1"]
    options = [*sizes, "--hidden", "4", "--mode", work.mode, "--baseline", "b"]
    for difference in (FAR, 0.0):
        folder = save(tmp_path / f"{difference}", results(difference, 1 / 1.1))
        assert ask.main([*options, str(folder)]) == 0
        assert (NOTE in plain_text(capsys.readouterr().out)) == (difference == FAR)


HOSTILE = "\x1b]0;title\x07[red]|<script>alert(1)</script>\x9b31m\nbridge"


NAMES = {place: f"{HOSTILE}{name}" for place, name in HOMES.items()}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return results with a heterogeneous reference and hostile names."""
    found = results(FAR, 1.1, names=NAMES, reference=f"={HOSTILE}", cases=3)
    return save(tmp_path_factory.mktemp("hostile"), found)


@pytest.mark.parametrize("how", SHOWN)
def test_heterogeneous_reference_hostile_names_are_text(
    how: str, hostile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = print_report(how, hostile, capsys, NAMES["west"])
    if "page" in how:
        plain = print_report(how, save(tmp_path / "plain", results(FAR, 1.1, cases=3)), capsys)
        assert_page(text, plain)
    elif "JSON" in how:
        assert_plain(text)
        json.loads(text)
    elif "picture" in how:
        assert_svg(text)
    elif "CSV" in how:
        assert_csv(text)
    else:
        (assert_markdown if "Markdown" in how else assert_plain)(text)
    assert "took 1." in plain_text(text) or "picture" in how
