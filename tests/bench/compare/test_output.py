"""Test comparisons in a terminal, as Markdown, CSV and JSON, and the verdict of a rule."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench.case.cases import Case
from bench.cli.command_line import UsageError
from bench.cli.filters import parse_rule
from bench.cli.output import WIDTH, render_text
from bench.render import compare
from bench.render import compare as output
from bench.render.compare import as_csv as comma_separated
from bench.render.messages import group_unmeasured
from bench.stats.trust import Problem
from bench.verdicts import pairs
from tests.bench.compare.shown import show
from tests.bench.made_grids import Times, grid
from tests.bench.made_nodes import a_case
from tests.bench.made_reasons import recorded
from tests.bench.made_results import (
    BUSY,
    ENVIRONMENT,
    disturbed,
    gather,
    measured,
    replicates,
    run,
    unmeasured,
)

SLOWER = pairs.compare_runs(
    replicates("b", {a_case("keras"): 1.0, a_case("scan"): 1.0}, jitter=0.005),
    replicates("n", {a_case("keras"): 1.3, a_case("scan"): 1.0}, jitter=0.005),
)
"""Six runs compared with six that are slower in one of two cases."""


def shown(report: pairs.ComparisonReport, width: int = WIDTH) -> list[str]:
    return render_text(output.document(report).terminal, width).splitlines()


def test_terminal_wide_table_fits_100_columns() -> None:
    names = ("keras", "while_loop+hoisted+xla+with+more+options")
    base, new = (
        gather(
            *(
                measured(a_case(name, batch=batch), 1.0, run(side), [BUSY])
                for name in names
                for batch in (1, 4096)
            )
        )
        for side in ("b", "n")
    )
    lines = shown(pairs.compare_runs(base, new))
    assert max(map(len, lines)) <= 100
    heading = next(line for line in lines if line.startswith("case"))
    assert heading.split() == [*("case", "base", "new", "speed", "99.5%", "CI", "verdict", "runs")]
    row = next(line for line in lines if line.startswith("keras"))
    assert row.split()[-3:] == ["UNCLEAR", "(INVALID)", "1*"]


@pytest.mark.parametrize("text", ["::error::x", "##[add-path]x", "a\n::stop"])
def test_terminal_hostile_name_is_no_workflow_command(text: str) -> None:
    report = replace(SLOWER, title=text, opening=(text,))
    text = "\n".join(shown(report))
    assert "::" not in text
    assert "##[" not in text


@pytest.mark.parametrize("width", [40, 60, 80])
def test_terminal_narrow_keeps_case_interval_and_verdict(width: int) -> None:
    lines = shown(SLOWER, width)
    assert max(map(len, lines)) <= width
    heading = next(line for line in lines if line.startswith("case"))
    assert {"case", "speed", "CI", "verdict"} <= set(heading.split())
    assert next(line for line in lines if "SLOWER" in line).split().count("SLOWER") == 1
    assert not [line for line in lines if "…" in line]


def test_deliver_in_github_actions_adds_summary_and_annotations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    show(SLOWER, "terminal", None, str(summary))
    text = summary.read_text()
    assert text.startswith("before\n## NEW")
    assert "| `keras/b8-t10-i4-h8/float32/inference/cpu` |" in text
    assert "**SLOWER**" in text
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("::"))
    assert line.startswith("::warning title=SLOWER%3A keras::keras/b8-t10-i4-h8/float32")
    show(SLOWER, "terminal", None)
    assert "::warning" not in capsys.readouterr().out


def add_gate(report: pairs.ComparisonReport, rule: str) -> pairs.ComparisonReport:
    return replace(report, gate=pairs.judge(parse_rule(rule), report.rows))


def test_summary_lines_count_verdicts_and_give_the_mean() -> None:
    verdicts, mean = compare.summary_lines(SLOWER)
    assert verdicts == "2 shared cases: 1 SLOWER, 1 SAME."
    assert mean.startswith("NEW is 0.877 times as fast as BASE (")
    assert mean.endswith(", SLOWER), geometric mean over 2 shared cases.")


def test_summary_lines_rule_counts_an_invalid_case() -> None:
    report = pairs.compare_runs(
        replicates("b", {a_case(): 1.0}), disturbed(replicates("n", {a_case(): 2.0}), 2)
    )
    *_, invalid, gate = compare.summary_lines(add_gate(report, "slower"))
    assert invalid.startswith("INVALID: 1 case, marked in the table")
    assert "FAILED, 1 SLOWER (1 of them INVALID): keras/" in gate
    reason = "the cores were busy (close what runs) [in 2 of 6 runs]"
    assert (
        "Why ratios are INVALID, and where",
        [f"{reason}: {a_case().id} (NEW)"],
    ) in compare.details(report)


def test_by_reason_different_texts_of_a_code_are_marked_as_one_of_them() -> None:
    first, same, other = (
        Problem("busy", recorded("", f"{n} cores", "wait"), 1, 1) for n in (2, 2, 3)
    )
    assert compare.by_reason([(first, "a"), (same, "b")]) == ["2 cores (wait): a and b"]
    assert compare.by_reason([(first, "a"), (other, "c")]) == [
        "for example, 2 cores (wait): a and c"
    ]


def test_details_name_other_differences_or_none() -> None:
    other = ENVIRONMENT | {"libraries": {"tensorflow": "2.20.0"}}
    base = gather(measured(a_case(), 1.0, run("b")))
    new = gather(measured(a_case(), 1.0, run("n", environment=other)))
    (heading, lines), *_ = compare.details(pairs.compare_runs(base, new))
    assert heading == "What else differs from BASE to NEW (it may be the cause)"
    assert "libraries.tensorflow: 2.21.0 → 2.20.0" in lines
    (found,) = compare.details(pairs.compare_runs(base, gather(measured(a_case(), 1.0, run("m")))))
    assert found == ("Nothing else that was recorded differs from BASE to NEW", [])


def test_unmeasured_details_list_failures_and_count_the_rest() -> None:
    quiet = unmeasured(a_case("cudnn"), run("a"), "not_measured", "no GPU", "get one")
    loud = unmeasured(a_case("scan"), run("a"), "crashed", "out of memory")
    report = pairs.compare_backends(gather(measured(a_case(), 1.0, run("a")), quiet, loud))
    groups = group_unmeasured(report.unmeasured)
    (crashed, ids), (one, none) = compare.unmeasured_details(groups, all_of_them=False)
    assert "out of memory" in crashed
    assert ids == [loud.case.id]
    assert one.startswith("1 case has no time, not measured: no GPU. get one")
    assert none == []
    listed = compare.unmeasured_details(groups, all_of_them=True)
    assert [ids for _, ids in listed] == [[quiet.case.id], [loud.case.id]]


# GitHub Actions


@pytest.mark.parametrize(("rule", "level"), [("slower", "error"), ("slower:50%", "warning")])
def test_warning_lines_broken_rule_gives_an_error(rule: str, level: str) -> None:
    assert [line.split()[0] for line in compare.warning_lines(add_gate(SLOWER, rule))] == [
        f"::{level}"
    ]


def test_warning_lines_escape_workflow_commands() -> None:
    during = run("a")
    odd = a_case("50%,a:b")
    report = pairs.compare_backends(
        gather(measured(a_case("keras"), 1.0, during), measured(odd, 9.0, during))
    )
    (line,) = compare.warning_lines(replace(report, over_time=True))
    assert line.startswith("::warning title=SLOWER%3A 50%25%2Ca%3Ab::50%25,a:b/b8")


def parse_rows(report: pairs.ComparisonReport) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(comma_separated(report)))))


def test_csv_has_a_row_for_each_case() -> None:
    times = {a_case("keras"): 1.0, a_case("scan"): 1.0, a_case("gone"): 1.0}
    crash = unmeasured(a_case("gone"), run("n0"), "crashed", "out of memory", "use less")
    items = replicates("n", {a_case("keras"): 2.0, a_case("scan"): 1.0}).measurements
    rows = parse_rows(pairs.compare_runs(replicates("b", times), gather(*items, crash)))
    assert tuple(rows[0]) == compare.CSV_COLUMNS
    assert [(row["kind"], row["backend"]) for row in rows] == [
        ("case", "keras"),
        ("case", "scan"),
        ("geometric mean", ""),
        ("only BASE", "gone"),
        ("crashed", "gone"),
    ]
    assert float(rows[0]["ratio"]) == pytest.approx(2.0)
    assert (rows[0]["verdict"], rows[0]["valid"], rows[0]["processes"]) == ("SLOWER", "true", "6")
    assert float(rows[0]["base_s"]) == pytest.approx(1.0, rel=1e-5)
    assert rows[4]["reason"] == "out of memory use less"


def test_json_infinite_bound_is_null() -> None:
    wild = [measured(a_case(), 1e-300 ** (-1) ** n, run(f"n{n}")) for n in range(2)]
    report = pairs.compare_runs(gather(measured(a_case(), 1.0, run("b"))), gather(*wild))
    text = compare.as_json(report)
    found = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert found["cases"][0]["ratio_high"] is None


def test_csv_of_devices_has_the_cells_of_the_best() -> None:
    """Only the map of the fastest backends has cells: those of one backend are cases."""
    times: Times = {(1, 32): (1.0, 3.0), (1, 64): (1.0, 3.0)}
    alone, both = grid(times), [*grid(times), *grid(times, backend="slow")]
    kinds = [
        [row["kind"] for row in parse_rows(pairs.compare_devices(gather(*items)))]
        for items in (alone, both)
    ]
    assert [each.count("fastest of each") for each in kinds] == [0, 2]


def judge_times(rule: str, times: Mapping[Case, float], **options: float) -> pairs.Gate:
    base = replicates("b", dict.fromkeys(times, 1.0), **options)  # type: ignore[arg-type]
    new = replicates("n", times, **options)  # type: ignore[arg-type]
    return pairs.judge(parse_rule(rule), pairs.compare_runs(base, new).rows)


def test_judge_threshold_needs_the_complete_interval_beyond_it() -> None:
    assert judge_times("slower:5%", {a_case(): 1.2}).failed
    assert not judge_times(
        "slower:5%", {a_case(): 1.06}
    ).failed  # slower, but not significantly by 5%
    assert judge_times("slower", {a_case(): 1.06}).failed
    assert not judge_times("slower", {a_case(): 0.7}).failed


def test_judge_many_cases_is_stricter() -> None:
    slower = {a_case(batch=1000): 1.03}
    assert judge_times("slower", slower).failed
    many = {a_case(batch=n): 1.0 for n in range(1, 400)}
    assert not judge_times("slower", slower | many).failed


@pytest.mark.parametrize("rule", ["", "faster", "slower:", "slower:5", "slower:-5%", "slower:x%"])
def test_parse_rule_other_form_is_refused(rule: str) -> None:
    with pytest.raises(UsageError, match="expected slower, or slower:5%"):
        parse_rule(rule)
