"""Comparisons in a terminal, as Markdown, CSV and JSON, and the verdict of a rule."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench.case.cases import Case
from bench.cli.command_line import UsageError
from bench.cli.fail_on import parse_rule
from bench.cli.output import WIDTH, Target, plain_text
from bench.machine.fields import InputError
from bench.render import compare as output
from bench.render.compare import (
    CSV_COLUMNS,
    as_json,
    clean_name,
    constant_parts,
    details,
    method_lines,
    of_outcomes,
    row_name,
    summary_lines,
    unmeasured_details,
    warning_lines,
)
from bench.render.compare import as_csv as comma_separated
from bench.stats.pairs import (
    ComparisonReport,
    Gate,
    compare_backends,
    compare_devices,
    compare_runs,
    judge,
)
from tests.bench import made_bridges
from tests.bench.compare.shown import show
from tests.bench.made_grids import STEPS, Times, grid
from tests.bench.made_nodes import WILD, a_case, fleet, results
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


def shown(report: ComparisonReport, width: int = WIDTH) -> list[str]:
    return plain_text(lambda console: output.terminal(report, console), width).splitlines()


def slower() -> ComparisonReport:
    """Six runs and six that are slower in one of two cases."""
    times = {a_case("keras"): 1.3, a_case("scan"): 1.0}
    base = replicates("b", dict.fromkeys(times, 1.0), jitter=0.005)
    return compare_runs(base, replicates("n", times, jitter=0.005))


def test_the_table_fits_100_columns_and_shows_every_column() -> None:
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
    lines = shown(compare_runs(base, new))
    assert max(map(len, lines)) <= 100
    heading = next(line for line in lines if line.startswith("case"))
    assert heading.split() == [*("case", "base", "new", "speed", "99.5%", "CI", "verdict", "runs")]
    row = next(line for line in lines if line.startswith("keras"))
    assert row.split()[-3:] == ["UNCLEAR", "(INVALID)", "1*"]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_keeps_the_case_the_interval_and_the_verdict(width: int) -> None:
    lines = shown(slower(), width)
    assert max(map(len, lines)) <= width
    heading = next(line for line in lines if line.startswith("case"))
    assert {"case", "speed", "CI", "verdict"} <= set(heading.split())
    assert next(line for line in lines if "SLOWER" in line).split().count("SLOWER") == 1
    assert not [line for line in lines if "…" in line]


def test_the_tables_of_a_report_have_columns_of_one_width() -> None:
    during = run("a")
    names = ("keras", "scan", "a_backend_of_a_longer_name")
    items = [measured(a_case(name), 1.0, during) for name in names[:2]]
    items += [measured(a_case(name, batch=1), 10.0, during) for name in (names[0], names[2])]
    headings = [line for line in shown(compare_backends(gather(*items))) if "verdict" in line[:99]]
    assert headings[0] == headings[1]
    assert headings[0].index("base") > len(names[2])


def test_a_row_stands_under_its_heading_and_what_all_share_is_said_once() -> None:
    during = run("a")
    items = [
        measured(a_case(name, batch=batch), 1.0, during)
        for name in ("keras", "scan")
        for batch in (1, 2)
    ]
    report = replace(compare_backends(gather(*items)), opening=("What was known before.",))
    lines = shown(report)
    assert lines[1] == "What was known before."
    assert lines[2] == "All of them: float32, inference, cpu."
    assert sum(line.startswith("scan ") and "1.00 s" in line for line in lines) == 2
    text = output.markdown(report)
    assert text.count("| `scan/") == 2
    assert "- What was known before." in text


def test_a_picture_of_what_has_no_map_is_refused_with_the_reason(tmp_path: Path) -> None:
    report = compare_devices(gather(*grid({(1, 32): (1.0, 3.0)})))
    with pytest.raises(InputError, match="No map of batch × hidden size"):
        show(report, "png", Target(tmp_path / "a.png"))
    assert not (tmp_path / "a.png").exists()


def test_github_actions_gets_the_tables_and_a_line_for_each_slower_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    show(slower(), "terminal", Target(None, {"GITHUB_STEP_SUMMARY": str(summary)}))
    text = summary.read_text()
    assert text.startswith("before\n## NEW")
    assert "| `keras/b8-t10-i4-h8/float32/inference/cpu` |" in text
    assert "**SLOWER**" in text
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("::"))
    assert line.startswith("::warning title=SLOWER%3A keras::keras/b8-t10-i4-h8/float32")
    show(slower(), "terminal", Target(None))
    assert "::warning" not in capsys.readouterr().out


def test_annotations_keep_out_of_output_that_another_program_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = str(tmp_path / "summary.md")
    show(slower(), "json", Target(None, {"GITHUB_STEP_SUMMARY": summary}))
    out, err = capsys.readouterr()
    json.loads(out)
    assert err.startswith("::warning ")


HOSTILE = "a|b`c\n<script>@you [x](y) \x1b[31m::error::##[add-path] \u202e " + "z" * 300


SLOWER = compare_runs(
    replicates("b", {a_case("keras"): 1.0, a_case("scan"): 1.0}, jitter=0.005),
    replicates("n", {a_case("keras"): 1.3, a_case("scan"): 1.0}, jitter=0.005),
)
"""Six runs and six that are slower in one of two cases."""


def judged(report: ComparisonReport, rule: str) -> ComparisonReport:
    return replace(report, gate=judge(parse_rule(rule), report.rows))


def test_how_many_cases_have_which_verdict_and_their_mean() -> None:
    verdicts, mean = summary_lines(SLOWER)
    assert verdicts == "2 shared cases: 1 SLOWER, 1 SAME."
    assert mean.startswith("NEW is 0.877 times as fast as BASE (")
    assert mean.endswith(", SLOWER), geometric mean over 2 shared cases.")


def test_a_rule_counts_an_invalid_case_and_says_so() -> None:
    report = compare_runs(
        replicates("b", {a_case(): 1.0}), disturbed(replicates("n", {a_case(): 2.0}), 2)
    )
    *_, invalid, gate = summary_lines(judged(report, "slower"))
    assert invalid.startswith("INVALID: 1 case, marked in the table")
    assert "FAILED, 1 slower (1 of them INVALID): keras/" in gate
    told = "NEW: the cores were busy (close what runs) [in 2 of 6 runs]"
    assert ("INVALID, and where", [f"{told}: {a_case().id}"]) in details(report)


def test_one_process_says_that_the_allowance_was_added_and_six_do_not() -> None:
    items = [measured(a_case(name), 1.0, run("a")) for name in ("keras", "scan")]
    lines = method_lines(compare_backends(gather(*items)))
    assert "1 process, alternating blocks: allowance of 7% for what one process can be off by" in (
        " ".join(lines)
    )
    assert lines[-1].startswith("* Fewer than 6 processes")
    six = replicates("r", {a_case("keras"): 1.0, a_case("scan"): 1.0})
    assert not any("*" in line for line in method_lines(compare_backends(six)))


def test_an_unclear_ratio_says_what_would_decide() -> None:
    nodes = {"a": 0.0, "b": 0.0, "c": 0.0}
    times = {a_case("keras"): 1.0, a_case("while_loop"): 1.0}
    items = fleet(nodes, times, own=0.08, processes=6)
    lines = method_lines(compare_backends(results(*items)))
    (told,) = [line for line in lines if "UNCLEAR" in line]
    assert "within a node their processes spread by" in told
    assert "a difference of 5% takes about" in told
    assert any("Fewer than 6 nodes cannot show" in line for line in lines)


def test_what_else_differs_is_told_or_that_nothing_does() -> None:
    other = ENVIRONMENT | {"libraries": {"tensorflow": "2.20.0"}}
    base = gather(measured(a_case(), 1.0, run("b")))
    new = gather(measured(a_case(), 1.0, run("n", environment=other)))
    (heading, lines), *_ = details(compare_runs(base, new))
    assert heading == "What else differs from BASE to NEW (it may be the cause)"
    assert "libraries.tensorflow: 2.21.0 → 2.20.0" in lines
    (found,) = details(compare_runs(base, gather(measured(a_case(), 1.0, run("m")))))
    assert found == ("Nothing else that was recorded differs from BASE to NEW", [])


def test_of_a_long_list_the_first_are_told_and_how_many_more_there_are() -> None:
    during = run("b")
    base = gather(*(measured(a_case(batch=n), 1.0, during) for n in range(1, 26)))
    report = compare_runs(base, gather(measured(a_case(batch=1), 1.0, run("n"))))
    lines = next(lines for heading, lines in details(report) if heading.startswith("24 cases"))
    assert lines[-1] == "and 4 more (all of them with --format json)"
    assert len(lines) == 21


def test_what_a_case_that_one_side_lacks_became_is_told_beside_it() -> None:
    crash = unmeasured(a_case(batch=2), run("n"), "crashed", "out of memory")
    base = gather(*(measured(a_case(batch=n), 1.0, run("b")) for n in (1, 2)))
    report = compare_runs(base, gather(measured(a_case(batch=1), 1.0, run("n")), crash))
    found = dict(details(report))["1 case only BASE has, so not compared"]
    assert found == [f"{a_case(batch=2).id} (NEW: crashed: out of memory)"]


def test_a_mean_says_how_many_of_its_cases_are_invalid() -> None:
    base = replicates("b", {a_case(batch=n): 1.0 for n in (1, 2)}, count=1)
    spoilt = measured(a_case(batch=1), 3.0, run("n"), [BUSY])
    report = compare_runs(base, gather(spoilt, measured(a_case(batch=2), 2.0, run("n"))))
    (mean,) = (line for line in summary_lines(report) if "geometric mean" in line)
    assert mean.endswith("geometric mean over 2 shared cases, 1 of them INVALID.")


def test_a_row_s_name_leaves_out_what_is_said_above_it() -> None:
    during = run("a")
    (row,) = compare_backends(
        gather(*(measured(a_case(name), 1.0, during) for name in ("keras", "scan")))
    ).rows
    assert row_name(row, ()) == "scan"  # the shape is the table's heading
    one, two = SLOWER.rows
    assert constant_parts([one, two]) == ("dtype", "mode", "device")
    assert row_name(one, ("dtype", "mode", "device")) == "keras b8-t10-i4-h8"
    assert constant_parts([one]) == ()
    (apart,) = compare_devices(
        gather(*(measured(a_case(device=each), 1.0, during) for each in ("cpu", "gpu:0")))
    ).rows
    assert row_name(apart, ()) == "keras b8-t10-i4-h8 float32 inference"


def test_what_has_no_time_is_one_line_but_for_what_went_wrong_or_if_asked_for() -> None:
    quiet = unmeasured(a_case("cudnn"), run("a"), "not_measured", "no GPU", "get one")
    loud = unmeasured(a_case("scan"), run("a"), "crashed", "out of memory")
    report = compare_backends(gather(measured(a_case(), 1.0, run("a")), quiet, loud))
    groups = of_outcomes(report.unmeasured)
    (crashed, ids), (one, none) = unmeasured_details(groups, all_of_them=False)
    assert "out of memory" in crashed
    assert ids == [loud.case.id]
    assert one.startswith("1 case has no time, not measured: no GPU. get one")
    assert none == []
    listed = unmeasured_details(groups, all_of_them=True)
    assert [ids for _, ids in listed] == [[quiet.case.id], [loud.case.id]]


def test_an_allowance_for_nodes_is_told_where_there_was_one() -> None:
    times = {a_case("keras"): 1.0, a_case("while_loop"): 1.0}
    few, enough = (
        "\n".join(method_lines(compare_backends(results(*fleet(dict.fromkeys(names, 0.0), times)))))
        for names in ("abc", "abcdef")
    )
    told = "Fewer than 6 nodes cannot show"
    assert told in few
    assert told not in enough


# GitHub Actions


@pytest.mark.parametrize(("rule", "level"), [("slower", "error"), ("slower:50%", "warning")])
def test_a_case_that_broke_the_rule_is_an_error_not_a_warning(rule: str, level: str) -> None:
    assert [line.split()[0] for line in warning_lines(judged(SLOWER, rule))] == [f"::{level}"]


def test_a_backend_that_is_slower_is_no_alarm_unless_a_rule_asks() -> None:
    report = compare_backends(replicates("r", {a_case("keras"): 1.0, a_case("scan"): 2.0}))
    assert warning_lines(report) == []
    assert len(warning_lines(judged(report, "slower"))) == 1


def test_annotations_escape_what_ends_a_workflow_command() -> None:
    during = run("a")
    odd = a_case("50%,a:b")
    report = compare_backends(
        gather(measured(a_case("keras"), 1.0, during), measured(odd, 9.0, during))
    )
    (line,) = warning_lines(replace(report, over_time=True))
    assert line.startswith("::warning title=SLOWER%3A 50%25%2Ca%3Ab::50%25,a:b/b8")


def test_an_annotation_says_whether_its_case_is_to_be_trusted_and_why() -> None:
    base = replicates("b", {a_case(): 1.0})
    report = compare_runs(base, disturbed(replicates("n", {a_case(): 2.0}), 2))
    (line,) = warning_lines(report)
    assert line.startswith("::warning title=SLOWER (INVALID)%3A keras::")
    assert line.endswith("; INVALID: NEW: the cores were busy (close what runs) [in 2 of 6 runs]")


@pytest.mark.parametrize("text", ["::error::x", "##[add-path]x", "a\n::stop"])
def test_no_name_is_a_command_to_a_ci_runner(text: str) -> None:
    told = clean_name(text)
    assert "::" not in told
    assert "##[" not in told
    assert "\n" not in told


def rows_of(report: ComparisonReport) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(comma_separated(report)))))


def test_csv_has_a_row_for_every_case_compared_or_not() -> None:
    times = {a_case("keras"): 1.0, a_case("scan"): 1.0, a_case("gone"): 1.0}
    crash = unmeasured(a_case("gone"), run("n0"), "crashed", "out of memory", "use less")
    items = replicates("n", {a_case("keras"): 2.0, a_case("scan"): 1.0}).measurements
    rows = rows_of(compare_runs(replicates("b", times), gather(*items, crash)))
    assert tuple(rows[0]) == CSV_COLUMNS
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


def test_a_speed_is_the_ratio_the_other_way_round_its_bounds_too() -> None:
    report = compare_runs(replicates("b", {a_case(): 1.0}), replicates("n", {a_case(): 2.0}))
    (row,) = rows_of(report)
    for speed, ratio in (("speedup", "ratio"), ("speedup_low", "ratio_high")):
        assert float(row[speed]) == pytest.approx(1 / float(row[ratio]))
    assert float(row["speedup_low"]) < float(row["speedup"]) < float(row["speedup_high"])


def test_what_is_invalid_says_why_in_its_row_and_how_many_are_in_the_mean_s() -> None:
    base = replicates("b", {a_case(batch=1): 1.0, a_case(batch=2): 1.0}, count=1)
    spoilt = measured(a_case(batch=1), 3.0, run("n"), [BUSY])
    report = compare_runs(base, gather(spoilt, measured(a_case(batch=2), 2.0, run("n"))))
    assert [(row["valid"], row["reason"]) for row in rows_of(report)] == [
        ("false", "NEW: the cores were busy (close what runs)"),
        ("true", ""),
        ("false", "1 of 2 cases INVALID"),
    ]


def test_nodes_and_how_much_they_differ_are_data() -> None:
    nodes = results(*fleet(WILD, {a_case("keras"): 1.0, a_case("while_loop"): 2.0}))
    (row,) = rows_of(compare_backends(nodes))
    assert row["nodes"] == "6"
    assert float(row["spread_between_nodes"]) < 0.02


def test_json_has_the_whole_report() -> None:
    times = {a_case("keras"): 1.3, a_case("scan"): 1.0}
    base = replicates("b", dict.fromkeys(times, 1.0), jitter=0.005)
    report = compare_runs(base, replicates("n", times, jitter=0.005))
    report = replace(report, gate=judge(parse_rule("slower"), report.rows))
    found = json.loads(as_json(report))
    assert [each["verdict"] for each in found["cases"]] == ["SLOWER", "SAME", "SLOWER"]
    assert found["cases"][2]["kind"] == "geometric mean"
    assert found["fail_on"] == {
        "rule": "slower",
        "judged": 2,
        "failed": ["keras/b8-t10-i4-h8/float32/inference/cpu"],
    }


def test_a_bound_beyond_every_number_is_null_in_json() -> None:
    wild = [measured(a_case(), 1e-300 ** (-1) ** n, run(f"n{n}")) for n in range(2)]
    report = compare_runs(gather(measured(a_case(), 1.0, run("b"))), gather(*wild))
    text = as_json(report)
    found = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert found["cases"][0]["ratio_high"] is None


def test_json_has_every_cell_of_a_map() -> None:
    (found,) = json.loads(as_json(compare_devices(gather(*grid(STEPS)))))["crossover"]
    assert len(found["cells"]) == len(STEPS)
    assert found["wins_from"]["8"] == "128 (32: SLOWER)"
    assert found["cells"][0]["ratio"] == pytest.approx(3.0)


def test_csv_has_the_cells_of_a_map_that_are_no_cases_of_their_own() -> None:
    """Of the fastest backend of each device; of one backend the cases say it all."""
    times: Times = {(1, 32): (1.0, 3.0), (1, 64): (1.0, 3.0)}
    alone, both = grid(times), [*grid(times), *grid(times, backend="slow")]
    kinds = [
        [row["kind"] for row in rows_of(compare_devices(gather(*items)))] for items in (alone, both)
    ]
    assert [each.count("fastest of each") for each in kinds] == [0, 2]


def test_a_map_s_cells_say_whether_they_are_to_be_trusted() -> None:
    times: Times = {(1, 32): (1.0, 3.0), (1, 64): (1.0, 3.0)}
    items = [*grid(times, processes=1), *grid(times, processes=1, backend="other")]
    items = [replace(item, valid=False, reasons=(BUSY,)) for item in items[:2]] + items[2:]
    report = compare_devices(gather(*items[:4]))
    (found,) = json.loads(as_json(report))["crossover"]
    assert [cell["valid"] for cell in found["cells"]] == [False, True]
    both = [replace(item, valid=False, reasons=(BUSY,)) for item in items]
    (cell, *_) = (
        row for row in rows_of(compare_devices(gather(*both))) if "fastest" in row["kind"]
    )
    assert (cell["valid"], cell["base_device"], cell["device"]) == ("false", "cpu", "gpu:0")


def test_a_case_of_two_devices_names_both() -> None:
    (row,) = rows_of(compare_devices(gather(*grid({(1, 32): (1.0, 3.0)}))))
    assert (row["base_device"], row["device"], row["nodes"]) == ("cpu", "gpu:0", "")


def test_the_bridge_of_a_ratio_and_of_a_mean_stands_beside_it() -> None:
    found = json.loads(as_json(compare_backends(made_bridges.results(math.log(1.3), 1.1), "b")))
    cases = [each for each in found["cases"] if each.get("backend") == "a"]
    assert len(cases) == 10
    for case in cases:
        assert case["bridge"] == "bridge"
        assert case["bridge_ratio_low"] > 1.01
        assert "over which a and b are compared, took itself 1." in case["note"]
        assert "by which the third case differs from itself" in case["how"]
    (mean,) = (
        each for each in found["cases"] if each["kind"] == "geometric mean" and each["new"] == "a"
    )
    assert mean["verdict"] == "UNCLEAR"
    assert mean["bridge"] == "bridge"


def gate_of(rule: str, times: Mapping[Case, float], **options: float) -> Gate:
    base = replicates("b", dict.fromkeys(times, 1.0), **options)  # type: ignore[arg-type]
    new = replicates("n", times, **options)  # type: ignore[arg-type]
    return judge(parse_rule(rule), compare_runs(base, new).rows)


def test_the_gate_fails_for_a_slower_case_and_names_it() -> None:
    found = gate_of("slower", {a_case(batch=1): 1.3, a_case(batch=2): 1.0})
    assert [row.case for row in found.failed] == [a_case(batch=1)]
    assert found.judged == 2


def test_the_gate_says_how_many_cases_pass_only_because_they_are_unclear() -> None:
    found = gate_of("slower", {a_case(batch=1): 1.3, a_case(batch=2): 1.0}, count=2)
    assert (found.unclear, found.failed) == (2, ())


def test_a_gate_with_a_threshold_needs_the_whole_interval_beyond_it() -> None:
    assert gate_of("slower:5%", {a_case(): 1.2}).failed
    assert not gate_of("slower:5%", {a_case(): 1.06}).failed  # slower, but not surely by 5%
    assert gate_of("slower", {a_case(): 1.06}).failed
    assert not gate_of("slower", {a_case(): 0.7}).failed


def test_the_gate_is_the_stricter_the_more_cases_it_judges() -> None:
    slower = {a_case(batch=1000): 1.03}
    assert gate_of("slower", slower).failed
    many = {a_case(batch=n): 1.0 for n in range(1, 400)}
    assert not gate_of("slower", slower | many).failed


def test_what_is_slower_by_less_than_two_percent_for_certain_does_not_fail_the_plain_rule() -> None:
    assert not gate_of("slower", {a_case(): 1.01}, jitter=0.001).failed
    assert gate_of("slower:0.5%", {a_case(): 1.01}, jitter=0.001).failed


@pytest.mark.parametrize("rule", ["", "faster", "slower:", "slower:5", "slower:-5%", "slower:x%"])
def test_a_rule_of_another_form_is_refused(rule: str) -> None:
    with pytest.raises(UsageError, match="expected slower, or slower:5%"):
        parse_rule(rule)
