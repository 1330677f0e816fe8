"""What the report says of results, in every format, and that nothing in a file can act on it."""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench import report
from bench.disk.fields import ResultError
from bench.judging import table as table_module
from bench.judging.columns import COLUMNS
from bench.judging.ranking import build
from bench.judging.rows import NothingToReportError, Report
from bench.judging.table import load_frame
from bench.judging.verdict import Verdict
from bench.reporting.data import as_json, comma_separated
from bench.reporting.markdown import markdown
from bench.reporting.page.explorer import page as explorable
from bench.reporting.page.static import page
from bench.reporting.terminal import as_picture, draw_whole
from bench.results.files import collect
from bench.results.journal import Journal
from bench.results.schema import Measurement, Outcome, Results
from bench.suites.cases import Case
from lstm_impl.workload import Workload
from tests.bench.made_reports import (
    BUSY,
    INFERENCE,
    REPLICATES,
    SPEC,
    TRAINING,
    a_run,
    endless,
    measured,
    replicated,
    results_of,
    sentences,
    the_row,
    without_time,
)
from tests.bench.made_results import as_text
from tests.places import GOLDEN, ROOT

FORMATS: dict[str, Callable[[Report], str]] = {
    "terminal": as_text,
    "markdown": markdown,
    "csv": lambda report: "".join(comma_separated(report)),
    "json": as_json,
    "html": page,
    "svg": as_picture,
}


# Rows


def test_replicates_are_pooled_into_one_row_a_case() -> None:
    found = build(collect(REPLICATES))
    (section,) = found.sections
    assert [run.id for run in section.runs] == ["run-1", "run-2"]
    row = next(r for r in section.rows if r.case.id == "keras/b2-t10-i3-h4/float32/inference/cpu")
    # The medians of the two processes are 0.011 and 0.01122.
    assert row.time == pytest.approx(0.01111)
    assert row.samples == 10
    assert row.interval is not None
    assert row.interval.processes == 2
    assert row.sequences_per_s == pytest.approx(2 / 0.01111)
    assert row.timesteps_per_s == pytest.approx(20 / 0.01111)
    assert row.time_per_timestep == pytest.approx(0.001111)
    assert row.first_result == pytest.approx(1.75)
    other = next(
        r for r in section.rows if r.case.id == "while_loop/b2-t10-i3-h4/float32/inference/cpu"
    )
    assert (row.rank, other.rank) == (1, 2)
    assert other.to_baseline is not None
    assert other.to_baseline.ratio.mid == pytest.approx(0.021 / 0.011)
    assert other.to_baseline.verdict is Verdict.SLOWER
    assert other.to_baseline.processes == 2


def test_padding_is_not_counted_among_the_timesteps() -> None:
    found = build(results_of(measured("a", 0.5, work=Workload(2, 10, min_length=4))))
    assert the_row(found, "a").timesteps_per_s == pytest.approx((10 + 4) / 0.5)


def test_a_batch_of_any_size_is_counted_at_once() -> None:
    found = build(results_of(measured("a", 0.5, work=Workload((2**31 - 1), 10, min_length=4))))
    assert the_row(found, "a").timesteps_per_s == pytest.approx((2**31 - 1) * 7 / 0.5)


def test_sessions_and_kinds_of_machines_stand_apart_the_newest_first() -> None:
    old = measured("keras", 0.01, a_run(1, "old"))
    new = measured("keras", 0.01, a_run(9, "new"))
    before = {"cpu": {"name": "Another CPU", "cores": 2}}
    other = measured("keras", 0.01, a_run(5, "new", host="other", environment={"before": before}))
    found = build(results_of(old, new, other))
    assert [(s.run.session, s.run.host) for s in found.sections] == [
        ("new", "host"),
        ("new", "other"),
        ("old", "host"),
    ]


@pytest.mark.parametrize(
    ("backends", "expected"),
    [
        (["torch", "while_loop", "keras"], "keras"),
        (["torch", "while_loop"], "while_loop"),
        (["torch", "static_unroll"], "torch"),
    ],
)
def test_ratios_refer_to_the_usual_baseline_that_was_measured(
    backends: list[str], expected: str
) -> None:
    items: list[Measurement] = [measured(backend, 0.01) for backend in backends]
    items.append(measured(expected, 0.02, work=TRAINING))
    found = build(results_of(*items))
    assert found.sections[0].baseline == expected
    for row in found.sections[0].rows:
        if row.case.workload == INFERENCE:
            assert (row.to_baseline is None) == (row.case.backend == expected)


def test_the_baseline_can_be_chosen() -> None:
    found = build(results_of(measured("keras", 0.01), measured("torch", 0.02)), baseline="torch")
    ratio = the_row(found, "keras").to_baseline
    assert ratio is not None
    assert ratio.ratio.mid == pytest.approx(0.5)
    assert the_row(found, "torch").to_baseline is None


def test_what_was_asked_for_and_is_not_there_is_told_with_what_is() -> None:
    results = results_of(measured("keras", 0.01), without_time("cudnn"))
    with pytest.raises(NothingToReportError, match=r"--baseline torch: .* there are of: keras$"):
        build(results, baseline="torch")
    with pytest.raises(NothingToReportError, match=r"--device gpu:1: .* of: cpu, gpu:0$"):
        build(results, device="gpu:1")
    with pytest.raises(NothingToReportError, match="no case is of the kind truncation"):
        build(results, kind="truncation")
    with pytest.raises(NothingToReportError, match="hold no case"):
        build(Results((), ()))


def test_device_and_kind_choose_cases() -> None:
    window = replace(TRAINING, window=5)
    results = results_of(
        measured("keras", 0.01),
        measured("keras", 0.02, work=window),
        measured("keras", 0.03, device="gpu:0"),
    )
    assert [row.time for row in build(results, device="gpu:0").sections[0].rows] == [
        pytest.approx(0.03)
    ]
    assert [row.case.kind for row in build(results, kind="truncation").sections[0].rows] == [
        "truncation"
    ]
    assert len(build(results).sections[0].rows) == 3


def test_the_first_is_sure_only_if_the_next_is_surely_slower() -> None:
    near = build(results_of(*replicated(6, ("keras", 0.0100), ("torch", 0.0101))))
    assert the_row(near, "keras").rank == 1
    assert not the_row(near, "keras").fastest
    far = build(results_of(*replicated(6, ("keras", 0.010), ("torch", 0.012))))
    assert the_row(far, "keras").fastest
    assert not the_row(far, "torch").fastest
    alone = build(results_of(*replicated(6, ("keras", 0.010))))
    assert not the_row(alone, "keras").fastest


def test_an_invalid_measurement_is_never_surely_the_first() -> None:
    items = replicated(6, ("keras", 0.010), ("torch", 0.012))
    for index in (0, 2):  # keras in two of the six
        items[index] = replace(items[index], valid=False, reasons=(BUSY,))
    row = the_row(build(results_of(*items)), "keras")
    assert row.rank == 1
    assert not row.fastest
    assert str(row.invalid[0]) == "the machine was busy (close other programs) [in 2 of 6 runs]"


def test_a_case_that_failed_its_gate_in_one_of_its_runs_is_invalid() -> None:
    items: list[Measurement | Outcome] = [
        measured("keras", 0.01, a_run(1)),
        without_time("keras", "failed", "y is wrong by 0.3", a_run(2), device="cpu"),
    ]
    row = the_row(build(results_of(*items)), "keras")
    assert row.measured
    assert str(row.invalid[0]) == "failed: y is wrong by 0.3 [in 1 of 2 runs]"


def test_of_several_outcomes_the_gravest_is_told() -> None:
    items = [
        without_time("a", "not_measured", "no GPU", a_run(1)),
        without_time("a", "failed", "wrong", a_run(2)),
        without_time("a", "timed_out", "slow", a_run(3)),
    ]
    row = the_row(build(results_of(*items)), "a")
    assert (row.outcome, row.reason) == ("failed", "wrong")


# Every format


def test_what_was_not_measured_is_one_line_and_a_list_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items: list[Measurement | Outcome] = [measured("keras", 0.01)]
    items += [without_time(f"b{n}", reason=f"reason {n}") for n in range(3)]
    items.append(without_time("odd", "refused", "too odd"))
    whole = build(results_of(*items))
    line = (
        "4 cases have no time: 3 not measured, 1 refused by the backend "
        "(python -m bench.report --unmeasured lists them)."
    )
    assert sentences(whole)[1:] == [line]
    assert "reason 1" not in as_text(whole) + markdown(whole)
    for text in (
        as_text(whole, draw=functools.partial(draw_whole, unmeasured=True)),
        markdown(whole, unmeasured=True),
    ):
        assert all(f"1 case not measured: reason {n}" in text for n in range(3))
        assert "1 case refused by the backend: too odd" in text
        assert "odd/b2-t10-i3-h4/float32/inference/gpu:0" in text
    one = [str(GOLDEN / "replicate-1.json"), "--unmeasured"]
    assert report.main(one) == 0
    assert "not measured: no GPU is seen by TensorFlow. pip install" in " ".join(
        capsys.readouterr().out.split()
    )
    for wrong in ("--brief", "--format=csv"):
        assert report.main([*one, wrong]) == 2
        assert "--unmeasured goes with --format terminal, markdown" in capsys.readouterr().err


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
def test_an_environment_of_any_form_is_survived(environment: dict[str, object]) -> None:
    found = build(results_of(measured("keras", 0.01, a_run(environment=environment))))
    for make in FORMATS.values():
        assert make(found)


@pytest.mark.parametrize("form", ["csv", "json", "html"])
def test_in_brief_is_for_people_only(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([*map(str, REPLICATES), "--brief", "--format", form]) == 2
    told = capsys.readouterr().err
    assert "--brief goes with --format terminal, markdown, svg" in told


def test_bounds_beyond_every_number_and_batches_of_any_size_are_survived() -> None:
    huge = build(results_of(measured("a", 0.5, work=Workload((2**31 - 1), 10, min_length=4))))
    for found in (endless(), huge):
        for make in FORMATS.values():
            assert make(found)


def test_a_frame_is_one_call_away() -> None:
    frame = load_frame(REPLICATES)
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 9
    assert frame.attrs["units"]["time_s"] == "s"
    first = frame.set_index("case_id").loc["while_loop/b2-t10-i3-h4/float32/inference/cpu"]
    assert first["time_s"] == pytest.approx(0.02121)
    assert first["ratio"] == pytest.approx(0.021 / 0.011)
    assert table_module.load_frame is load_frame
    with pytest.raises(ResultError, match="foreign-pytest-benchmark"):
        load_frame([*REPLICATES, GOLDEN / "foreign-pytest-benchmark.json"])


def test_the_columns_are_documented_with_unit_and_meaning() -> None:
    documented = re.findall(
        r"^\| `(\w+)` \| (.*) \| (.+) \|$", (ROOT / "docs" / "columns.md").read_text(), re.M
    )
    assert documented == [(name, each.unit, each.meaning) for name, each in COLUMNS.items()]


# The command


def run_report(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    environment.pop("COLUMNS", None)
    return subprocess.run(
        [sys.executable, "-m", "bench.report", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env=environment,
        check=False,
    )


def test_the_command_shows_the_latest_results(tmp_path: Path) -> None:
    done = run_report(cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: there are no results in results/; make some with `pytest --benchmark-only`, or "
        "name result files or folders\n"
    )
    (tmp_path / "results").mkdir()
    for path in REPLICATES:
        (tmp_path / "results" / path.name).write_bytes(path.read_bytes())
    done = run_report(cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "keras is the fastest" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_bad_files_give_a_line_each_and_the_good_ones_are_shown(tmp_path: Path) -> None:
    (tmp_path / "empty.json").touch()
    (tmp_path / "cut.json").write_bytes(REPLICATES[0].read_bytes()[:5000])
    (tmp_path / "missing.json").unlink(missing_ok=True)
    bad = [tmp_path / name for name in ("empty.json", "cut.json", "missing.json")]
    bad.append(GOLDEN / "foreign-pytest-benchmark.json")
    done = run_report(*bad, REPLICATES[0])
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    for path, told in zip(bad, ("is empty", "cut off", "not exist", "no results"), strict=True):
        assert any(str(path) in line and told in line for line in lines)
    assert "keras is the fastest" in done.stdout
    alone = run_report(*bad)
    assert alone.returncode == 2
    assert alone.stdout == ""
    assert len(alone.stderr.splitlines()) == 4


@pytest.mark.parametrize("kind", list(FORMATS))
def test_every_format_goes_to_a_file_or_to_the_output(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out"
    arguments = [*map(str, REPLICATES), "--format", kind]
    assert report.main([*arguments, "--output", str(path)]) == 0
    assert capsys.readouterr().out == ""
    written = path.read_bytes().decode()
    assert written == {**FORMATS, "html": explorable}[kind](build(collect(REPLICATES)))
    assert report.main(arguments) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        line.rstrip() for line in written.splitlines()
    ]


def test_a_file_that_cannot_be_written_gives_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "out.html"
    assert report.main([*map(str, REPLICATES), "--output", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path} cannot be written: ")


def test_options_that_name_what_is_not_there_give_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for option in (["--baseline", "nix"], ["--device", "gpu:7"]):
        assert report.main([*map(str, REPLICATES), *option]) == 2
        assert re.fullmatch(rf"error: {option[0]} .*there are of: .*\n", capsys.readouterr().err)


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.journal.jsonl") as journal:
        journal.start(a_run())
        for number in range(100):
            case = Case(f"b{number}", SPEC, INFERENCE)
            journal.outcome(
                {
                    "case": case.to_dict(),
                    "case_id": case.id,
                    "outcome": "failed",
                    "reason": "more than a pipe holds " * 100,
                }
            )
    command = f"{sys.executable} -m bench.report --format csv {tmp_path} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.startswith("session,")
    assert done.stderr == ""
