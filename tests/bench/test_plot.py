"""Test ``bench.plot``: the file it writes, and what it refuses."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import plot
from bench.case.cases import Case
from bench.render import plot as drawing
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import a_run, gather, measured, save
from tests.places import ROOT

EXAMPLE = str(ROOT / "docs/examples/quick.json")


pytestmark = pytest.mark.usefixtures("in_a_folder_of_its_own")


@pytest.mark.parametrize(
    ("name", "magic"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_plot_file_name_decides_the_format(
    name: str, magic: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plot.main([EXAMPLE, "--output", name, "--case", "*/b5-*"]) == 0
    assert Path(name).read_bytes().startswith(magic)
    assert capsys.readouterr().err == f"written: {name}\n"


def test_plot_same_results_give_same_bytes() -> None:
    for name in ("a.svg", "b.svg"):
        assert plot.main([EXAMPLE, "--output", name, "--case", "*/b5-*"]) == 0
    assert Path("a.svg").read_bytes() == Path("b.svg").read_bytes()


def test_plot_several_sessions_draws_the_newest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case("keras", LSTMSpec(4, 8), Workload(2, 10))
    for number, suite in enumerate(("older", "newest")):
        at = datetime(2025, 1, 1 + number, tzinfo=UTC)
        run = a_run(number, suite=suite, session=suite, started=at, finished=at)
        save(tmp_path / "results", gather(measured(case, 0.01, run)))
    paths = [str(tmp_path / "results" / f"r{number}.json") for number in (0, 1)]
    assert plot.main([*paths, "--output", "a.svg"]) == 0
    message = "written: a.svg (it shows the newest session; 1 other left out)\n"
    assert capsys.readouterr().err == message
    text = Path("a.svg").read_text(encoding="utf-8")
    assert "newest on laptop" in text
    assert "older on laptop" not in text
    # A bad file is reported, and the good ones are drawn.
    assert plot.main([*paths, "none.json", "--output", "b.svg"]) == 2
    assert "none.json" in capsys.readouterr().err
    assert Path("b.svg").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([EXAMPLE, "--output", "a.gif"], "a.gif: expected a name in .png, .svg, .pdf"),
        ([EXAMPLE, "--output", "a.png", "--width", "nan"], "--width nan: expected a width from 3"),
        ([EXAMPLE, "--output", "a.png", "--device", "tpu"], "--device tpu: no case matches"),
        ([EXAMPLE, "--output", "a.png", "--case", "x"], "no measured case matches the filters"),
        (["--output", "a.png"], "there are no results in results/; measure some with"),
        (["none.json", "--output", "a.png"], "none.json"),
    ],
)
def test_plot_bad_input_is_one_line_and_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plot.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not Path("a.png").exists()


def test_plot_without_matplotlib_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drawing, "is_available", lambda: False)
    assert plot.main([EXAMPLE, "--output", "a.png"]) == 2
    assert "pip install 'lstm-benchmark-suite[plots]'" in capsys.readouterr().err
