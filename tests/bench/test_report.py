"""Test ``bench.report``: formats, options, default paths and bad files."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import report
from bench.cli.command_line import UsageError
from bench.records.files import collect
from bench.records.schema import Measurement, Outcome
from bench.render.data import as_csv, as_json
from bench.render.page import page
from bench.render.report import as_picture, full, markdown
from bench.verdicts.sections import Report, build
from lstm_impl.workload import Workload
from tests.bench.made_reports import (
    REPLICATES,
    a_run,
    endless,
    make_results,
    measured,
    without_time,
)
from tests.bench.made_results import as_text
from tests.places import GOLDEN

FORMATS: dict[str, Callable[[Report], str]] = {
    "terminal": as_text,
    "markdown": markdown,
    "csv": lambda report: "".join(as_csv(report)),
    "json": as_json,
    "html": page,
    "svg": as_picture,
}


def ask(*words: str) -> int:
    return report.write_report(report._parser().parse_args([*map(str, REPLICATES), *words]))


@pytest.mark.parametrize("kind", list(FORMATS))
def test_report_each_format_goes_to_file_or_output(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out"
    assert ask("--format", kind, "--output", str(path)) == 0
    assert capsys.readouterr().out == ""
    written = path.read_bytes().decode()
    assert written == FORMATS[kind](build(collect(REPLICATES)))
    assert ask("--format", kind) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        line.rstrip() for line in written.splitlines()
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--brief --format csv", "--brief can be shown as terminal, markdown, svg"),
        ("--why --brief", "--why needs --format terminal or markdown and no --brief"),
        ("--why --format html", "csv and json have it for every case"),
        ("--unmeasured --format csv", "csv and json have it for every case"),
        ("--format parquet", "name a file to write it to: --output report.parquet"),
    ],
)
def test_report_conflicting_options_are_refused(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ask(*words.split())


def test_report_brief_ends_with_command_for_the_full_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = list(map(str, REPLICATES))
    assert report.main([*paths, "--brief"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("full report: ")
    assert last.endswith(f"-m bench.report {' '.join(paths)}")
    for form in ("terminal", "markdown", "svg"):
        assert ask("--brief", "--format", form, "--output", str(tmp_path / "out")) == 0
        text = (tmp_path / "out").read_text(encoding="utf-8")
        assert "full report: " not in text
        assert "while_loop+xla" in text


def test_report_unmeasured_lists_cases_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items: list[Measurement | Outcome] = [measured("keras", 0.01)]
    items += [without_time(f"b{n}", reason=f"reason {n}") for n in range(3)]
    items.append(without_time("odd", "refused", "too odd"))
    whole = build(make_results(*items))
    assert "reason 1" not in as_text(whole) + markdown(whole)
    for text in (
        as_text(whole, draw=functools.partial(full, listed=True)),
        markdown(whole, functools.partial(full, listed=True)),
    ):
        assert all(f"1 case not measured: reason {n}" in text for n in range(3))
        assert "1 case refused by the backend: too odd" in text
        assert "odd/b2-t10-i3-h4/float32/inference/gpu:0" in text
    one = [str(GOLDEN / "replicate-1.json"), "--unmeasured"]
    assert report.main(one) == 0
    assert "not measured: no GPU is seen by TensorFlow. pip install" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"before": 5},
        {"before": {"cpu": [], "gpus": {"a": 1}, "libraries": "x", "system": {}}},
        {"before": {"cpu": {"name": 5, "cores": "two"}, "gpus": [5, None, {"name": []}]}},
        {"before": {"libraries": {"keras": {"a": "b"}}, "cpu": {"cores": 10**30}}},
    ],
)
def test_report_environment_of_any_type_is_shown(environment: dict[str, object]) -> None:
    found = build(make_results(measured("keras", 0.01, a_run(environment=environment))))
    for make in FORMATS.values():
        assert make(found)


def test_report_infinite_bounds_and_large_batches_are_shown() -> None:
    huge = build(make_results(measured("a", 0.5, work=Workload((2**31 - 1), 10, min_length=4))))
    for found in (endless(), huge):
        for make in FORMATS.values():
            assert make(found)


# The command


def test_report_without_paths_reads_newest_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert report.main([]) == 2
    assert capsys.readouterr() == (
        "",
        "error: there are no results in results/; measure some with `pytest --benchmark-only`, or "
        "name result files or folders\n",
    )
    (tmp_path / "results").mkdir()
    for path in REPLICATES:
        shutil.copy(path, tmp_path / "results")
    assert report.main([]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "keras is the fastest" in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 100


def test_report_bad_files_give_one_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.json").touch()
    (tmp_path / "cut.json").write_bytes(REPLICATES[0].read_bytes()[:5000])
    bad = [str(tmp_path / name) for name in ("empty.json", "cut.json", "missing.json")]
    bad.append(str(GOLDEN / "foreign-pytest-benchmark.json"))
    for good in ([str(REPLICATES[0])], []):
        assert report.main([*bad, *good]) == 2
        out, err = capsys.readouterr()
        lines = err.splitlines()
        assert len(lines) == 4
        reasons = ("is empty", "cut off", "not exist", "no results")
        for path, reason in zip(bad, reasons, strict=True):
            assert any(path in line and reason in line for line in lines)
        assert ("keras is the fastest" in out) == bool(good)
