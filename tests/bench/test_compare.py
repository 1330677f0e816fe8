"""What the comparison says: of which cases, between what, and how it leaves the process."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench import compare
from bench.comparing import (
    backends,
    comparison,
    data,
    devices,
    environments,
    output,
    runs,
    words,
)
from bench.judging import ranking
from bench.judging.basis import Pairing
from bench.judging.verdict import Verdict
from bench.results.schema import Measurement, Outcome, Results
from bench.suites.cases import Case
from bench.telling.command_line import UsageError
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench.made_results import (
    BUSY,
    ENVIRONMENT,
    gather,
    measured,
    replicates,
    run,
    save,
    unmeasured,
)


def case(backend: str = "keras", *, batch: int = 8, device: str = "cpu") -> Case:
    return Case(backend, LSTMSpec(4, 8), Workload(batch, 10), device)


# Runs


def test_runs_are_joined_by_case_and_sorted_by_the_size_of_the_change() -> None:
    small, large, gone = case(batch=1), case(batch=2), case(batch=3)
    base = replicates("b", {small: 1.0, large: 1.0, gone: 1.0})
    new = replicates("n", {small: 1.1, large: 0.5})
    report = runs.compare_runs(base, new)
    assert [row.case for row in report.rows] == [large, small]
    assert [row.comparison.verdict for row in report.rows] == [Verdict.FASTER, Verdict.SLOWER]
    assert report.rows[0].comparison.ratio.mid == pytest.approx(0.5)
    assert report.rows[0].base_s == pytest.approx(1.0, rel=1e-5)
    assert report.rows[0].new_s == pytest.approx(0.5, rel=1e-5)


def test_a_time_is_that_of_the_report_the_median_of_the_processes_medians() -> None:
    times = {"keras": (1.0, 1.1, 1.2, 1.3, 4.0, 9.0), "scan": (2.0, 2.1, 2.2, 2.6, 2.7, 2.8)}
    found = gather(
        *(
            measured(case(name), seconds, run(f"p{index}"))
            for name, of_processes in times.items()
            for index, seconds in enumerate(of_processes)
        )
    )
    (row,) = backends.compare_backends(found).rows
    in_report = {each.case.backend: each.time for each in ranking.build(found).sections[0].rows}
    assert in_report == {"keras": pytest.approx(1.25), "scan": pytest.approx(2.4)}
    assert (row.base_s, row.new_s) == (in_report["keras"], in_report["scan"])


def test_runs_of_different_processes_are_unpaired_whatever_their_round_numbers() -> None:
    report = runs.compare_runs(replicates("b", {case(): 1.0}), replicates("n", {case(): 1.0}))
    assert report.rows[0].comparison.pairing is Pairing.UNPAIRED
    assert report.rows[0].comparison.processes == 6


def test_a_case_that_only_one_side_has_is_named_with_what_became_of_it() -> None:
    base = gather(measured(case(batch=1), 1.0, run("b")), measured(case(batch=2), 1.0, run("b")))
    crash = unmeasured(case(batch=2), run("n"), "crashed", "out of memory")
    new = gather(measured(case(batch=1), 1.0, run("n")), crash)
    report = runs.compare_runs(base, new)
    (only,) = report.one_sided
    assert (only.label, only.case) == ("BASE", case(batch=2))
    assert only.why == "NEW: crashed: out of memory"
    (group,) = report.unmeasured
    assert (group.outcome, group.cases) == ("crashed", (case(batch=2),))


def test_one_run_on_both_sides_is_refused() -> None:
    side = gather(measured(case(), 1.0, run("same")))
    with pytest.raises(UsageError, match=r"same\.json holds the same run as same\.json"):
        runs.compare_runs(side, side)


def test_runs_without_a_shared_case_say_so() -> None:
    base = gather(measured(case(batch=1), 1.0, run("b")))
    report = runs.compare_runs(base, gather(measured(case(batch=2), 1.0, run("n"))))
    assert report.finding == "BASE and NEW share no case: there is nothing to compare."
    assert len(report.one_sided) == 2


def test_runs_that_differ_in_what_is_differentiated_are_not_compared_and_it_is_said() -> None:
    old = replace(case(), workload=replace(case().workload, mode="training", gradients="all"))
    new = replace(old, workload=replace(old.workload, gradients="weights"))
    base = gather(measured(old, 1.0, run("b")))
    report = runs.compare_runs(base, gather(measured(new, 0.5, run("n"))))
    assert not report.rows
    assert report.notes == (
        "1 training case(s) of NEW differ from those of BASE in nothing but what is differentiated "
        "(weights; all): that is other work and is not compared. Results from before suites had "
        'the key have "all"',
    )
    assert not runs.compare_runs(base, gather(measured(old, 0.5, run("n")))).notes


def test_a_side_of_several_machines_is_noted() -> None:
    base = gather(measured(case(), 1.0, run("b")))
    new = gather(measured(case(), 1.0, run("n1")), measured(case(), 1.0, run("n2", host="server")))
    report = runs.compare_runs(base, new)
    assert report.notes == ("NEW holds runs of 2 machines (laptop, server)",)


def test_the_geometric_mean_is_over_shared_cases_only() -> None:
    one, two, gone = case(batch=1), case(batch=2), case(batch=3)
    base = replicates("b", {one: 1.0, two: 1.0, gone: 1.0})
    report = runs.compare_runs(base, replicates("n", {one: 2.0, two: 8.0}))
    (mean,) = report.means
    assert (mean.base_label, mean.new_label, mean.cases) == ("BASE", "NEW", 2)
    assert mean.comparison.ratio.mid == pytest.approx(4.0)


def test_a_geometric_mean_of_one_case_is_not_said_twice() -> None:
    report = runs.compare_runs(replicates("b", {case(): 1.0}), replicates("n", {case(): 1.0}))
    assert report.means == ()


def test_of_few_processes_one_that_is_invalid_marks_the_row_and_the_mean() -> None:
    base = replicates("b", {case(batch=1): 1.0, case(batch=2): 1.0})
    spoilt = measured(case(batch=1), 3.0, run("n0"), [BUSY])
    fine = [measured(case(batch=n), 3.0, run(r)) for n, r in ((2, "n0"), (1, "n1"), (2, "n1"))]
    report = runs.compare_runs(base, gather(spoilt, *fine))
    reasons = {row.case: row.reasons for row in report.rows}
    told = "NEW: the cores were busy (close what runs) [in 1 of 2 runs]"
    assert reasons[case(batch=1)] == (told,)
    assert reasons[case(batch=2)] == ()
    assert report.means[0].invalid == 1


def disturbed(results: Results, number: int) -> Results:
    """The same, but the machine was busy in so many of the processes."""
    spoilt = {
        run: replace(item, valid=False, reasons=(BUSY,))
        for run, item in enumerate(results.measurements)
        if run < number
    }
    return gather(*(spoilt.get(n, item) for n, item in enumerate(results.measurements)))


@pytest.mark.parametrize(("number", "invalid"), [(1, False), (2, True)])
def test_of_six_processes_one_that_was_disturbed_spoils_nothing_and_two_do(
    number: int, invalid: bool
) -> None:
    base = replicates("b", {case(): 1.0})
    (row,) = runs.compare_runs(base, disturbed(replicates("n", {case(): 1.5}), number)).rows
    told = f"NEW: the cores were busy (close what runs) [in {number} of 6 runs]"
    assert row.reasons == ((told,) if invalid else ())


def test_a_process_in_which_the_case_failed_spoils_it_however_many_have_a_time() -> None:
    failed = Outcome(case(), run("n9"), "failed", "the outputs differ", "", Path("a.json"))
    new = gather(*replicates("n", {case(): 1.5}).measurements, failed)
    (row,) = runs.compare_runs(replicates("b", {case(): 1.0}), new).rows
    assert row.reasons == ("NEW: failed: the outputs differ [in 1 of 7 runs]",)


def test_medians_that_are_far_apart_are_told_by_the_ratio_s_interval_and_leave_it_valid() -> None:
    wide = gather(*(measured(case(), 1.0 + 0.2 * n, run(f"n{n}")) for n in range(6)))
    (row,) = runs.compare_runs(replicates("b", {case(): 1.0}), wide).rows
    assert row.reasons == ()
    assert row.comparison.ratio.high > 1.5 * row.comparison.ratio.low
    assert row.comparison.spread == pytest.approx(0.26, abs=0.02)


# What differs


def test_versions_hardware_and_threads_that_differ_are_named_and_passing_states_are_not() -> None:
    other = {
        "cpu": {"name": "Other CPU", "cores": 2, "clock_hz": 2.9e9, "clock_max_hz": 3.5e9},
        "memory": {"total_bytes": 2**34 + 4096, "available_bytes": 2**32},
        "gpus": [{"name": "Test GPU", "driver": "560.10", "temperature_c": 70}],
        "libraries": {"tensorflow": "2.20.0", "onnxruntime": "1.21"},
        "threads": {"intra": 2},
        "load": [5.0, 5.0],
        "governor": "performance",
    }
    found = environments.environment_differences([run("a")], [run("b", environment=other)])
    assert {name: (base, new) for name, base, new in found} == {
        "cpu.name": ("Test CPU", "Other CPU"),
        "cpu.clock_max_hz": ("3 GHz", "3.5 GHz"),
        "gpus[0].driver": ("550.54", "560.10"),
        "libraries.tensorflow": ("2.21.0", "2.20.0"),
        "libraries.onnxruntime": ("1.20", "1.21"),
        "governor": ("not recorded", "performance"),
    }


def test_what_names_a_session_is_no_difference() -> None:
    sides = [
        replace(run(name), options={"session": name, "cases": f"{name}.json", "threads": number})
        for number, name in enumerate("ab")
    ]
    found = environments.environment_differences(sides[:1], sides[1:])
    assert [name for name, _, _ in found] == ["options.threads"]


def test_runs_of_a_side_that_differ_among_themselves_are_each_named() -> None:
    other = {"libraries": {"tensorflow": "2.20.0"}}
    same = {"libraries": {"tensorflow": "2.21.0"}}
    mixed = [run("a", environment=other), run("b", environment=same)]
    (found,) = environments.environment_differences([run("c", environment=same)], mixed)
    assert found == ("libraries.tensorflow", "2.21.0", "2.20.0 or 2.21.0")


def test_an_environment_of_any_shape_is_read_without_an_error() -> None:
    deep: dict[str, object] = {}
    level = deep
    for _ in range(500):
        level["a"] = {}
        level = level["a"]  # type: ignore[assignment]
    wide: dict[str, object] = {"x": list(range(100_000)), "gpus": "none", "cpu": 3, "deep": deep}
    found = environments.environment_differences([run("a", environment=wide)], [run("b")])
    assert len(found) <= 5000


# Devices


def test_the_devices_of_a_machine_are_compared_with_its_cpu() -> None:
    during = run("a")
    report = devices.compare_devices(
        gather(
            measured(case(device="gpu:0"), 0.01, during),
            measured(case(), 1.0, during),
        )
    )
    (row,) = report.rows
    assert (row.base_label, row.new_label) == ("cpu", "gpu:0")
    assert row.heading == "gpu:0 (Test GPU) against cpu (Test CPU)"
    assert row.comparison.verdict is Verdict.FASTER


def test_devices_of_one_run_are_paired_by_process_but_not_by_round() -> None:
    during = run("a")
    items = [measured(case(device=device), 1.0, during) for device in ("cpu", "gpu:0")]
    assert devices.compare_devices(gather(*items)).rows[0].comparison.pairing is Pairing.SEQUENTIAL


def test_the_same_device_of_two_machines_is_compared_across_them() -> None:
    report = devices.compare_devices(
        gather(
            measured(case(), 1.0, run("a")),
            measured(case(device="gpu:0"), 1.0, run("a")),
            measured(case(), 1.0, run("b", host="server")),
            measured(case(device="gpu:0"), 1.0, run("b", host="server")),
        )
    )
    assert [(row.base_label, row.new_label) for row in report.rows] == [
        ("cpu on laptop", "gpu:0 on laptop"),
        ("cpu on laptop", "cpu on server"),
        ("cpu on server", "gpu:0 on server"),
        ("gpu:0 on laptop", "gpu:0 on server"),
    ]


def test_a_cpu_here_and_a_gpu_elsewhere_are_compared_too() -> None:
    report = devices.compare_devices(
        gather(
            measured(case(), 1.0, run("a")),
            measured(case(device="gpu:0"), 0.01, run("b", host="server")),
        )
    )
    (row,) = report.rows
    assert (row.base_label, row.new_label) == ("cpu on laptop", "gpu:0 on server")
    assert row.comparison.pairing is Pairing.UNPAIRED


def test_machines_with_one_host_name_are_told_apart() -> None:
    first = run("a")
    second = replace(run("b"), machine_id="other")
    report = devices.compare_devices(
        gather(measured(case(), 1.0, first), measured(case(), 1.0, second))
    )
    (row,) = report.rows
    assert (row.base_label, row.new_label) == ("cpu on laptop#id-of-laptop", "cpu on laptop#other")


def test_a_baseline_device_is_compared_with_all_others() -> None:
    during = run("a")
    items = [measured(case(device=name), 1.0, during) for name in ("cpu", "gpu:0", "gpu:1")]
    report = devices.compare_devices(gather(*items), baseline="gpu:1")
    assert [(row.base_label, row.new_label) for row in report.rows] == [
        ("gpu:1", "cpu"),
        ("gpu:1", "gpu:0"),
    ]
    with pytest.raises(UsageError, match="there are: cpu, gpu:0, gpu:1"):
        devices.compare_devices(gather(*items), baseline="tpu")


def test_a_single_device_says_so_and_how_to_add_another() -> None:
    no_gpu = unmeasured(case(device="gpu:0"), run("a"), "not_measured", "no GPU was seen")
    report = devices.compare_devices(gather(measured(case(), 1.0, run("a")), no_gpu))
    assert report.finding.startswith("Only one device has results (cpu)")
    assert "pytest --benchmark-only --lstm-device gpu:0" in report.finding
    assert report.rows == ()
    assert report.unmeasured[0].reason == "no GPU was seen"


# Backends


def test_backends_are_compared_with_the_baseline_in_their_rounds() -> None:
    during = run("a")
    report = backends.compare_backends(
        gather(
            measured(case("while_loop"), 2.0, during),
            measured(case("static_unroll"), 0.5, during),
            measured(case("keras"), 1.0, during),
        )
    )
    assert [(row.base_label, row.new_label) for row in report.rows] == [
        ("keras", "static_unroll"),
        ("keras", "while_loop"),
    ]
    assert [row.comparison.ratio.mid for row in report.rows] == pytest.approx([0.5, 2.0])
    assert {row.comparison.pairing for row in report.rows} == {Pairing.ALTERNATING}
    assert {row.heading for row in report.rows} == {case().group}


def test_the_baseline_can_be_chosen_and_an_unknown_one_lists_the_known() -> None:
    during = run("a")
    items = [measured(case(name), 1.0, during) for name in ("keras", "scan")]
    assert backends.compare_backends(gather(*items), baseline="scan").rows[0].new_label == "keras"
    with pytest.raises(UsageError, match=r"no backend of that name has results.*keras, scan"):
        backends.compare_backends(gather(*items), baseline="keras2")


def test_without_the_usual_baselines_the_commonest_backend_is_taken() -> None:
    during = run("a")
    report = backends.compare_backends(
        gather(
            measured(case("rare"), 1.0, during),
            measured(case("common"), 1.0, during),
            measured(case("common", batch=2), 1.0, during),
        )
    )
    assert [(row.base_label, row.new_label) for row in report.rows] == [("common", "rare")]


def test_a_group_without_the_baseline_is_named_with_the_reason() -> None:
    during = run("a")
    report = backends.compare_backends(
        gather(
            measured(case("keras"), 1.0, during),
            measured(case("scan"), 1.0, during),
            measured(case("scan", batch=2), 1.0, during),
            unmeasured(case("keras", batch=2), during, "failed", "wrong gradients"),
        )
    )
    (only,) = report.one_sided
    assert only.case == case("scan", batch=2)
    assert only.why == "keras: failed: wrong gradients"


def test_backends_of_two_machines_or_devices_are_not_averaged_together() -> None:
    other = {**ENVIRONMENT, "cpu": {"name": "Another CPU", "cores": 2}}
    here, there = run("a"), run("b", host="server", environment=other)
    items = [
        measured(case(name, device=device, batch=batch), 1.0, during)
        for name in ("keras", "scan")
        for batch in (1, 2)
        for device, during in (("cpu", here), ("gpu:0", here), ("cpu", there))
    ]
    report = backends.compare_backends(gather(*items))
    assert [(mean.new_label, mean.cases) for mean in report.means] == [
        ("scan on cpu on laptop", 2),
        ("scan on gpu:0 on laptop", 2),
        ("scan on cpu on server", 2),
    ]


def test_a_single_backend_says_that_there_is_nothing_to_compare() -> None:
    report = backends.compare_backends(gather(measured(case(), 1.0, run("a"))))
    assert report.finding.startswith("Only keras has results")
    assert backends.compare_backends(gather()).finding.startswith("No backend has results")


# The gate


def gate_of(rule: str, times: Mapping[Case, float], **options: float) -> comparison.Gate:
    base = replicates("b", dict.fromkeys(times, 1.0), **options)  # type: ignore[arg-type]
    new = replicates("n", times, **options)  # type: ignore[arg-type]
    return comparison.judge(comparison.parse_rule(rule), runs.compare_runs(base, new).rows)


def test_the_gate_fails_for_a_slower_case_and_names_it() -> None:
    found = gate_of("slower", {case(batch=1): 1.3, case(batch=2): 1.0})
    assert [row.case for row in found.failed] == [case(batch=1)]
    assert found.judged == 2


def test_the_gate_says_how_many_cases_pass_only_because_they_are_unclear() -> None:
    found = gate_of("slower", {case(batch=1): 1.3, case(batch=2): 1.0}, count=2)
    assert (found.unclear, found.failed) == (2, ())


def test_a_gate_with_a_threshold_needs_the_whole_interval_beyond_it() -> None:
    assert gate_of("slower:5%", {case(): 1.2}).failed
    assert not gate_of("slower:5%", {case(): 1.06}).failed  # slower, but not surely by 5%
    assert gate_of("slower", {case(): 1.06}).failed
    assert not gate_of("slower", {case(): 0.7}).failed


def test_the_gate_is_the_stricter_the_more_cases_it_judges() -> None:
    slower = {case(batch=1000): 1.03}
    assert gate_of("slower", slower).failed
    many = {case(batch=n): 1.0 for n in range(1, 400)}
    assert not gate_of("slower", slower | many).failed


def test_what_is_slower_by_less_than_two_percent_for_certain_does_not_fail_the_plain_rule() -> None:
    assert not gate_of("slower", {case(): 1.01}, jitter=0.001).failed
    assert gate_of("slower:0.5%", {case(): 1.01}, jitter=0.001).failed


@pytest.mark.parametrize("rule", ["", "faster", "slower:", "slower:5", "slower:-5%", "slower:x%"])
def test_a_rule_of_another_form_is_refused(rule: str) -> None:
    with pytest.raises(UsageError, match="expected slower, or slower:5%"):
        comparison.parse_rule(rule)


# The command, with files


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.delenv("LSTM_RESULTS", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def slower(tmp_path: Path) -> list[str]:
    """The arguments that compare six runs with six that are slower in one of two cases."""
    old, slow = {case("keras"): 1.0, case("scan"): 1.0}, {case("keras"): 1.3, case("scan"): 1.0}
    base = save(tmp_path / "old", replicates("b", old, jitter=0.005))
    new = save(tmp_path / "new", replicates("n", slow, jitter=0.005))
    return ["runs", str(base), str(new)]


def test_exit_codes_of_the_gate(slower: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(slower) == 0
    assert compare.main([*slower, "--fail-on", "slower"]) == 1
    assert "--fail-on slower: FAILED, 1 slower: keras/b8" in capsys.readouterr().out
    assert compare.main([*slower, "--fail-on", "slower:50%"]) == 0
    out = capsys.readouterr().out
    assert "--fail-on slower:50%: passed, none is SLOWER by more than 50%" in out
    assert compare.main([*slower, "--fail-on", "faster"]) == 2
    assert compare.main([*slower[::2], slower[1], "--fail-on", "slower"]) == 0  # the other way


def test_the_gate_counts_an_invalid_case_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = save(tmp_path / "old", replicates("b", {case(): 1.0}))
    new = save(tmp_path / "new", disturbed(replicates("n", {case(): 2.0}), 2))
    assert compare.main(["runs", str(base), str(new), "--fail-on", "slower"]) == 1
    out = capsys.readouterr().out
    assert "SLOWER (INVALID)" in out
    assert "FAILED, 1 slower (1 of them INVALID)" in out
    told = "NEW: the cores were busy (close what runs) [in 2 of 6 runs]"
    assert told in " ".join(out.split())


def test_a_gate_without_a_shared_case_is_an_error_not_a_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = save(tmp_path / "old", gather(measured(case(batch=1), 1.0, run("b"))))
    new = save(tmp_path / "new", gather(measured(case(batch=2), 1.0, run("n"))))
    assert compare.main(["runs", str(base), str(new)]) == 0
    assert compare.main(["runs", str(base), str(new), "--fail-on", "slower"]) == 2
    assert "there is no shared case to judge" in capsys.readouterr().err


def test_a_bad_file_gives_one_line_and_code_2_and_the_good_ones_are_shown(
    slower: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(slower[2], "z.json").write_text("{")
    assert compare.main([*slower, "--fail-on", "slower"]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert err.startswith(f"error: {slower[2]}/z.json")
    assert "SLOWER" in out


def test_missing_files_are_errors_and_nothing_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (["devices", "none.json"], ["runs", "a.json", "b.json"]):
        assert compare.main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert "does not exist" in err


def test_without_results_the_command_says_how_to_make_some(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compare.main(["backends"]) == 2
    assert "pytest --benchmark-only" in capsys.readouterr().err


def test_the_latest_results_are_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [measured(case(name), 1.0, run("a")) for name in ("keras", "scan")]
    save(tmp_path / "results", gather(*items))
    assert compare.main(["backends"]) == 0
    assert "scan" in capsys.readouterr().out
    assert compare.main(["devices"]) == 0
    assert "Only one device has results (cpu)" in capsys.readouterr().out


def test_the_measuring_side_s_variable_says_where_results_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [measured(case(name), 1.0, run("a")) for name in ("keras", "scan")]
    save(tmp_path / "elsewhere", gather(*items))
    monkeypatch.setenv("LSTM_RESULTS", "elsewhere")
    assert compare.main(["backends"]) == 0
    assert "scan" in capsys.readouterr().out


def test_one_process_says_that_the_allowance_was_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [measured(case(name), 1.0, run("a")) for name in ("keras", "scan")]
    save(tmp_path / "results", gather(*items))
    compare.main(["backends"])
    out = capsys.readouterr().out
    assert "1*" in out
    assert (
        "1 process, alternating blocks: allowance of 7% for what one process can be off by" in out
    )
    assert "* Fewer than 6 processes" in out
    save(tmp_path / "six", replicates("r", {case("keras"): 1.0, case("scan"): 1.0}))
    compare.main(["backends", "six"])
    assert "*" not in capsys.readouterr().out


def test_the_table_fits_100_columns_and_shows_every_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("keras", "while_loop+hoisted+xla+with+more+options")
    items = [
        measured(case(name, batch=batch), 1.0, run(side), [BUSY])
        for name in names
        for batch in (1, 4096)
        for side in ("b", "n")
    ]
    base = save(tmp_path / "old", gather(*(item for item in items if item.run.id == "b")))
    new = save(tmp_path / "new", gather(*(item for item in items if item.run.id == "n")))
    compare.main(["runs", str(base), str(new)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    heading = next(line for line in lines if line.startswith("case"))
    assert heading.split() == [
        *("case", "base", "new", "speed", "99.5%", "interval", "verdict", "runs")
    ]
    row = next(line for line in lines if line.startswith("keras"))
    assert row.split()[-3:] == ["UNCLEAR", "(INVALID)", "1*"]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_keeps_the_case_the_interval_and_the_verdict(
    width: int,
    slower: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    compare.main(slower)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    heading = next(line for line in lines if line.startswith("case"))
    assert {"case", "speed", "interval", "verdict"} <= set(heading.split())
    assert next(line for line in lines if "SLOWER" in line).split().count("SLOWER") == 1
    assert not [line for line in lines if "…" in line]


def test_environment_differences_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ENVIRONMENT | {"libraries": {"tensorflow": "2.20.0"}}
    base = save(tmp_path / "old", gather(measured(case(), 1.0, run("b"))))
    new = save(tmp_path / "new", gather(measured(case(), 1.0, run("n", environment=other))))
    compare.main(["runs", str(base), str(new)])
    assert "libraries.tensorflow: 2.21.0 → 2.20.0" in capsys.readouterr().out
    again = save(tmp_path / "again", gather(measured(case(), 1.0, run("m"))))
    compare.main(["runs", str(base), str(again)])
    assert "Nothing else that was recorded differs from BASE to NEW" in capsys.readouterr().out


def test_csv_has_a_row_for_every_case_compared_or_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = {case("keras"): 1.0, case("scan"): 1.0, case("gone"): 1.0}
    base = save(tmp_path / "old", replicates("b", times))
    crash = unmeasured(case("gone"), run("n0"), "crashed", "out of memory", "use less")
    items = replicates("n", {case("keras"): 2.0, case("scan"): 1.0}).measurements
    new = save(tmp_path / "new", gather(*items, crash))
    compare.main(["runs", str(base), str(new), "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
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


def test_json_has_the_whole_report(slower: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main([*slower, "--format", "json", "--fail-on", "slower"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [each["verdict"] for each in found["cases"]] == ["SLOWER", "SAME", "SLOWER"]
    assert found["cases"][2]["kind"] == "geometric mean"
    assert found["fail_on"] == {
        "rule": "slower",
        "judged": 2,
        "failed": ["keras/b8-t10-i4-h8/float32/inference/cpu"],
    }


def test_a_bound_beyond_every_number_is_null_in_json_and_shown_in_a_terminal() -> None:
    wild = [measured(case(), 1e-300 ** (-1) ** n, run(f"n{n}")) for n in range(2)]
    report = runs.compare_runs(gather(measured(case(), 1.0, run("b"))), gather(*wild))
    text = data.as_json(report)
    found = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert found["cases"][0]["ratio_high"] is None
    assert "0–∞" in output.markdown(report)


def test_output_goes_to_a_file_and_one_that_cannot_be_written_is_an_error(
    slower: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main([*slower, "--output", "out.txt"]) == 0
    assert capsys.readouterr().out == ""
    told = Path("out.txt").read_text()
    assert "SLOWER" in told
    assert "\x1b" not in told
    assert compare.main([*slower, "--output", "a/new/folder.txt"]) == 0  # as of every command
    assert Path("a/new/folder.txt").read_text() == told
    assert compare.main([*slower, "--output", "out.txt/folder.txt"]) == 2
    assert "out.txt/folder.txt cannot be written" in capsys.readouterr().err


HOSTILE = "a|b`c\n<script>@you [x](y) \x1b[31m::error::##[add-path] \u202e " + "z" * 300


@pytest.mark.parametrize("kind", ["terminal", "markdown", "csv", "json"])
def test_text_from_a_file_stays_text_in_every_format(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    environment = {"libraries": {HOSTILE: HOSTILE}, "cpu": {"name": HOSTILE}}
    items: list[Measurement | Outcome] = [
        measured(case("keras"), 1.0, run("a", host=HOSTILE, environment=environment)),
        measured(case(HOSTILE), 9.0, run("a", host=HOSTILE), [replace(BUSY, text=HOSTILE)]),
        measured(case("keras"), 1.0, run("b", host="[/bold]")),
        unmeasured(case("gone"), run("a", host=HOSTILE), "crashed", HOSTILE, HOSTILE),
    ]
    save(tmp_path / "r", gather(*items))
    for command in ("backends", "devices"):
        assert compare.main([command, "r", "--format", kind]) == 0
        out, err = capsys.readouterr()
        for text in (out, err, summary.read_text()):
            assert "\x1b" not in text
            assert "\u202e" not in text
            if kind in ("terminal", "markdown"):
                assert "##[" not in text
                for line in text.splitlines():
                    assert line.count("::") == (2 if line.startswith("::warning title=") else 0)
            if kind == "markdown" and text is out:
                assert "<script>" not in _outside_code(text)
                assert "@you" not in _outside_code(text)
                assert len({line.count("|") - line.count("\\|") for line in _table(text)}) == 1


def _outside_code(text: str) -> str:
    return "".join(part for line in text.splitlines() for part in line.split("`")[::2])


def _table(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_a_formula_in_a_name_does_not_reach_a_spreadsheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [measured(case(name), 1.0, run("a")) for name in ("keras", '=HYPERLINK("x")')]
    save(tmp_path / "r", gather(*items))
    compare.main(["backends", "r", "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[0]["backend"] == '\'=HYPERLINK("x")'


# GitHub Actions


def test_in_github_actions_the_summary_is_appended_and_slower_cases_are_annotated(
    slower: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    compare.main(slower)
    text = summary.read_text()
    assert text.startswith("before\n## NEW")
    assert "| `keras/b8-t10-i4-h8/float32/inference/cpu` |" in text
    assert "**SLOWER**" in text
    (line,) = annotated(capsys)
    assert line.startswith("::warning title=SLOWER%3A keras::keras/b8-t10-i4-h8/float32")


def annotated(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What GitHub Actions would take for itself of what was printed."""
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("::")]


def test_a_case_that_broke_the_rule_is_an_error_not_a_warning(
    slower: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    for rule, level in (("slower", "error"), ("slower:50%", "warning")):
        compare.main([*slower, "--fail-on", rule])
        assert [line.split()[0] for line in annotated(capsys)] == [f"::{level}"]


def test_annotations_escape_what_ends_a_workflow_command() -> None:
    during = run("a")
    odd = case("50%,a:b")
    report = backends.compare_backends(
        gather(measured(case("keras"), 1.0, during), measured(odd, 9.0, during))
    )
    (line,) = words.warning_lines(replace(report, over_time=True))
    assert line.startswith("::warning title=SLOWER%3A 50%25%2Ca%3Ab::50%25,a:b/b8")


def test_annotations_keep_out_of_output_that_another_program_reads(
    slower: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    compare.main([*slower, "--format", "json"])
    out, err = capsys.readouterr()
    json.loads(out)
    assert err.startswith("::warning ")


def test_outside_of_github_actions_there_are_no_annotations(
    slower: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    compare.main(slower)
    assert "::warning" not in capsys.readouterr().out


# Starting


def test_a_reader_that_leaves_early_causes_no_traceback(slower: list[str]) -> None:
    root = Path(compare.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.compare", *slower],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    told = process.stderr.read()
    process.stderr.close()
    process.wait()
    assert told == ""
