"""What is said of a comparison, in sentences and to GitHub Actions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.cli.fail_on import parse_rule
from bench.render.compare import (
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
from bench.stats.pairs import Report, compare_backends, compare_devices, compare_runs, judge
from tests.bench.made_nodes import a_case, fleet, results
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

SLOWER = compare_runs(
    replicates("b", {a_case("keras"): 1.0, a_case("scan"): 1.0}, jitter=0.005),
    replicates("n", {a_case("keras"): 1.3, a_case("scan"): 1.0}, jitter=0.005),
)
"""Six runs and six that are slower in one of two cases."""


def judged(report: Report, rule: str) -> Report:
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
