"""Test how two sides of results are joined and paired, and what differs between them."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from bench import compare
from bench.records.schema import Measurement, Outcome, Results, Run
from bench.render.compare import invalid_texts, note_text
from bench.render.messages import basis_text, reason_line
from bench.stats.comparison import Pairing, Verdict
from bench.stats.trust import NOT_STEADY
from bench.verdicts import pairs, sections
from bench.verdicts.sections import NothingToReportError, build
from lstm_impl.workload import Workload
from tests.bench import made_environments
from tests.bench.made_environments import FAR
from tests.bench.made_nodes import WILD, a_case, fleet, on, results
from tests.bench.made_reasons import recorded
from tests.bench.made_results import (
    ENVIRONMENT,
    LAPTOP,
    SERVER,
    disturbed,
    gather,
    measured,
    replicates,
    run,
    save,
    unmeasured,
)
from tests.bench.made_streams import streams


def test_compare_backends_times_equal_those_of_the_report() -> None:
    times = {"keras": (1.0, 1.1, 1.2, 1.3, 4.0, 9.0), "scan": (2.0, 2.1, 2.2, 2.6, 2.7, 2.8)}
    found = gather(
        *(
            measured(a_case(name), seconds, run(f"p{index}"))
            for name, of_processes in times.items()
            for index, seconds in enumerate(of_processes)
        )
    )
    (row,) = pairs.compare_backends(found).rows
    in_report = {
        each.case.backend: each.result.time for each in sections.build(found).sections[0].rows
    }
    assert in_report == {"keras": pytest.approx(1.25), "scan": pytest.approx(2.4)}
    assert (row.base.time, row.new.time) == (in_report["keras"], in_report["scan"])


def test_compare_runs_case_of_one_side_has_its_reason() -> None:
    base = gather(
        measured(a_case(batch=1), 1.0, run("b")), measured(a_case(batch=2), 1.0, run("b"))
    )
    crash = unmeasured(a_case(batch=2), run("n"), "crashed", "out of memory")
    new = gather(measured(a_case(batch=1), 1.0, run("n")), crash)
    report = pairs.compare_runs(base, new)
    (only,) = report.one_sided
    assert (only.label, only.case) == ("BASE", a_case(batch=2))
    assert (only.lacking, only.outcome) == ("NEW", "crashed")
    assert reason_line(only.reason) == "out of memory"
    (outcome,) = report.unmeasured
    assert (outcome.outcome, outcome.case) == ("crashed", a_case(batch=2))


def test_compare_runs_mean_is_over_shared_cases() -> None:
    one, two, gone = a_case(batch=1), a_case(batch=2), a_case(batch=3)
    base = replicates("b", {one: 1.0, two: 1.0, gone: 1.0})
    report = pairs.compare_runs(base, replicates("n", {one: 2.0, two: 8.0}))
    (mean,) = report.means
    assert (mean.base_label, mean.new_label, mean.cases) == ("BASE", "NEW", 2)
    assert mean.comparison.ratio.mid == pytest.approx(4.0)


@pytest.mark.parametrize(("number", "invalid"), [(1, False), (2, True)])
def test_compare_runs_two_disturbed_processes_of_six_are_invalid(
    number: int, invalid: bool
) -> None:
    base = replicates("b", {a_case(): 1.0})
    (row,) = pairs.compare_runs(base, disturbed(replicates("n", {a_case(): 1.5}), number)).rows
    reason = f"NEW: the cores were busy (close what runs) [in {number} of 6 runs]"
    assert invalid_texts(row) == ([reason] if invalid else [])


def test_compare_runs_one_failed_process_is_invalid() -> None:
    failed = Outcome(
        a_case(), run("n9"), "failed", recorded("", "the outputs differ", ""), Path("a.json")
    )
    new = gather(*replicates("n", {a_case(): 1.5}).measurements, failed)
    (row,) = pairs.compare_runs(replicates("b", {a_case(): 1.0}), new).rows
    assert invalid_texts(row) == ["NEW: failed: the outputs differ [in 1 of 7 runs]"]


def test_compare_runs_finds_a_change_within_differing_nodes() -> None:
    base = results(*fleet(WILD, {a_case(): 1.0}, session="before", seed=1))
    new = results(*fleet(WILD, {a_case(): 1.2}, session="after", seed=2))
    (row,) = pairs.compare_runs(base, new).rows
    found = row.comparison
    assert (found.verdict, found.nodes, found.pairing) == (Verdict.SLOWER, 6, Pairing.UNPAIRED)
    assert found.ratio.mid == pytest.approx(1.2, rel=0.02)
    assert (row.new.time / row.base.time) == pytest.approx(1.2, rel=0.03)
    assert "6 nodes" in basis_text(found.basis)


def test_join_sides_adjacent_pairs_processes_by_start() -> None:
    """The machine becomes slower: only adjacent processes of the two sides are equal."""
    sides = []
    for name, first, order in (("base", 0, 1), ("new", 9, -1)):
        items = []
        for turn in range(8):
            began = run("").started + timedelta(hours=turn)
            during = replace(run(f"{name}{first + order * turn}"), started=began)
            items.append(measured(a_case(), 1.0 + turn, during))
        sides.append(pairs.ComparisonSide(name, {"x": items}))
    ((row,), _) = pairs.join_sides(sides[0], sides[1], adjacent=True)
    assert row.comparison.ratio.mid == pytest.approx(1.0)
    assert row.comparison.ratio.high < 1.02
    assert row.comparison.pairing is Pairing.ADJACENT


def test_compare_backends_drifting_rounds_are_invalid() -> None:
    during, moved = run("a"), [recorded(NOT_STEADY, "it became slower", "wait")]
    report = pairs.compare_backends(
        gather(
            measured(a_case("keras"), 1.0, during),
            drifting(measured(a_case("scan"), 1.0, during, moved)),
        )
    )
    (row,) = report.rows
    assert len(row.reasons) == 1
    assert row.reasons[0][0] == ""


def drifting(item: Measurement) -> Measurement:
    return replace(item, samples=item.samples * np.linspace(0.5, 2.0, item.samples.size))


def test_compare_runs_rows_are_sorted_by_size_of_change() -> None:
    small, large, gone = a_case(batch=1), a_case(batch=2), a_case(batch=3)
    base = replicates("b", {small: 1.0, large: 1.0, gone: 1.0})
    new = replicates("n", {small: 0.9, large: 2.0})
    report = pairs.compare_runs(base, new)
    assert [row.case for row in report.rows] == [large, small]
    assert [row.comparison.verdict for row in report.rows] == [Verdict.SLOWER, Verdict.FASTER]
    assert report.rows[0].comparison.ratio.mid == pytest.approx(2.0)
    assert report.rows[0].base.time == pytest.approx(1.0, rel=1e-5)
    assert report.rows[0].new.time == pytest.approx(2.0, rel=1e-5)


def test_environment_differences_skip_passing_states() -> None:
    other = {
        "cpu": {"name": "Other CPU", "cores": 2, "clock_hz": 2.9e9, "clock_max_hz": 3.5e9},
        "memory": {"total_bytes": 2**34 + 4096, "available_bytes": 2**32},
        "gpus": [{"name": "Test GPU", "driver": "560.10", "temperature_c": 70}],
        "libraries": {"tensorflow": "2.20.0", "onnxruntime": "1.21"},
        "threads": {"intra": 2},
        "load": [5.0, 5.0],
        "governor": "performance",
    }
    found = pairs.environment_differences([run("a")], [run("b", environment=other)])
    assert {name: (base, new) for name, base, new in found} == {
        "cpu.name": ("Test CPU", "Other CPU"),
        "cpu.clock_max_hz": ("3 GHz", "3.5 GHz"),
        "gpus[0].driver": ("550.54", "560.10"),
        "libraries.tensorflow": ("2.21.0", "2.20.0"),
        "libraries.onnxruntime": ("1.20", "1.21"),
        "governor": ("not recorded", "performance"),
    }


def test_environment_differences_of_mixed_runs_name_each_value() -> None:
    other = {"libraries": {"tensorflow": "2.20.0"}}
    same = {"libraries": {"tensorflow": "2.21.0"}}
    mixed = [run("a", environment=other), run("b", environment=same)]
    (found,) = pairs.environment_differences([run("c", environment=same)], mixed)
    assert found == ("libraries.tensorflow", "2.21.0", "2.20.0 or 2.21.0")


def test_environment_differences_name_each_installed_package() -> None:
    def having(name: str, **installed: str) -> Run:
        libraries = {"tensorflow": "2.21.0"}
        everything = {"tensorflow": "2.21.0", **installed}
        state = {"libraries": libraries, "installed": everything, "installed_hash": name}
        return run(name, environment=state)

    base, new = having("a", rich="15.0", gast="0.6"), having("b", rich="14.0")
    assert pairs.environment_differences([base], [new]) == [
        ("libraries.rich", "15.0", "14.0"),
        ("libraries.gast", "0.6", "not recorded"),
    ]
    # A file of before they were recorded lacks none of them.
    older = run("c", environment={"libraries": {"tensorflow": "2.21.0"}})
    assert pairs.environment_differences([older], [new]) == []


def test_environment_differences_of_any_shape_are_bounded() -> None:
    deep: dict[str, object] = {}
    level = deep
    for _ in range(500):
        level["a"] = {}
        level = level["a"]  # type: ignore[assignment]
    wide: dict[str, object] = {"x": list(range(100_000)), "gpus": "none", "cpu": 3, "deep": deep}
    found = pairs.environment_differences([run("a", environment=wide)], [run("b")])
    assert len(found) <= 5000


def verdicts(percentile: float, processes: int = 6) -> list[Verdict]:
    found, _ = pairs.select_percentile(streams({"keras": 5.0, "torch": 8.0}, processes), percentile)
    return [row.comparison.verdict for row in pairs.compare_backends(found, "keras").rows]


def test_at_percentile_distinguishes_tails() -> None:
    assert verdicts(99.0) == [Verdict.SLOWER]
    assert verdicts(99.9) == [Verdict.SLOWER]
    assert verdicts(50.0) == [Verdict.SAME]


def test_at_percentile_of_few_processes_gives_a_note_only() -> None:
    found, notes = pairs.select_percentile(streams({"keras": 5.0, "torch": 8.0}, 5), 99.0)
    assert not pairs.compare_backends(found, None).rows
    assert note_text(notes[0]).startswith("2 of 2 streams are left out")


def test_at_percentile_leaves_other_cases_out() -> None:
    stream = streams({"keras": 5.0})
    during = stream.measurements[0].run
    failed = [
        unmeasured(of, during, "failed", "it broke")
        for of in (a_case(), replace(stream.measurements[0].case, backend="torch"))
    ]
    results_and_notes = gather(*stream.measurements, measured(a_case(), 1.0, during), *failed)
    found, notes = pairs.select_percentile(
        replace(results_and_notes, notes=("one file was cut off",)), 99.0
    )
    assert {item.case.backend for item in found.measurements} == {"keras"}
    assert [item.case.workload.mode for item in found.measurements] == ["streaming"] * 6
    assert [item.case.backend for item in found.outcomes] == ["torch"]
    assert found.notes == ("one file was cut off",)
    assert notes == ()


def test_compare_devices_of_one_machine_uses_its_cpu() -> None:
    during = run("a")
    report = pairs.compare_devices(
        gather(measured(a_case(device="gpu:0"), 0.01, during), measured(a_case(), 1.0, during))
    )
    (row,) = report.rows
    assert (row.base_label, row.new_label) == ("cpu", "gpu:0")
    assert row.heading == "gpu:0 (Test GPU) against cpu (Test CPU)"
    assert row.comparison.verdict is Verdict.FASTER


def test_compare_devices_of_two_machines_pairs_equal_devices() -> None:
    report = pairs.compare_devices(
        gather(
            measured(a_case(), 1.0, run("a")),
            measured(a_case(device="gpu:0"), 1.0, run("a")),
            measured(a_case(), 1.0, run("b", host="server")),
            measured(a_case(device="gpu:0"), 1.0, run("b", host="server")),
        )
    )
    assert [(row.base_label, row.new_label) for row in report.rows] == [
        (f"cpu on {LAPTOP}", f"gpu:0 on {LAPTOP}"),
        (f"cpu on {LAPTOP}", f"cpu on {SERVER}"),
        (f"cpu on {SERVER}", f"gpu:0 on {SERVER}"),
        (f"gpu:0 on {LAPTOP}", f"gpu:0 on {SERVER}"),
    ]


def test_compare_devices_with_a_baseline_uses_it() -> None:
    during = run("a")
    items = [measured(a_case(device=name), 1.0, during) for name in ("cpu", "gpu:0", "gpu:1")]
    report = pairs.compare_devices(gather(*items), baseline="gpu:1")
    assert [(row.base_label, row.new_label) for row in report.rows] == [
        ("gpu:1", "cpu"),
        ("gpu:1", "gpu:0"),
    ]
    with pytest.raises(NothingToReportError) as unknown:
        pairs.compare_devices(gather(*items), baseline="tpu")
    assert unknown.value.reason.values["known"] == ["cpu", "gpu:0", "gpu:1"]


def test_compare_devices_without_shared_shapes_has_a_finding() -> None:
    during = run("a")
    cpu = measured(a_case(batch=1), 1.0, during)
    separate = pairs.compare_devices(
        gather(cpu, measured(a_case(batch=2, device="gpu:0"), 1.0, during))
    )
    assert note_text(separate.finding).startswith("The devices (cpu, gpu:0) share no case")
    # The same shape with other backends gives a map of the best ones, but no shared case.
    other = measured(a_case("cudnn", batch=1, device="gpu:0"), 1.0, during)
    text = note_text(pairs.compare_devices(gather(cpu, other)).finding)
    assert text.endswith(
        f"Both measured {a_case(batch=1).group[:-4]}, but with different backends."
    )
    one = [cpu, measured(a_case(batch=1, device="gpu:0"), 1.0, during)]
    assert pairs.compare_devices(gather(*one)).no_map
    two = [replace(each, case=replace(each.case, workload=Workload(2, 10))) for each in one]
    assert not pairs.compare_devices(gather(*one, *two)).no_map
    assert not pairs.compare_devices(gather(cpu)).no_map


def test_compare_devices_without_shared_shapes_names_the_nearest_on_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shape of the same mode is nearer than one of equal sizes in another mode."""
    during = run("a")
    cases = [a_case(batch=each) for each in (1, 32)]
    cases += [a_case(batch=each, device="gpu:0") for each in (50, 1024)]
    small = replace(cases[0], device="gpu:0")
    cases.append(replace(small, workload=replace(small.workload, mode="training")))
    save(tmp_path, gather(*(measured(each, 1.0, during) for each in cases)))
    assert compare.main(["devices", str(tmp_path), "--format", "markdown"]) == 0
    title, line = capsys.readouterr().out.replace("\\", "").strip().split("\n\n")
    assert title == "## Devices: cpu, gpu:0"
    near, far = cases[1].group.rpartition("/")[0], cases[2].group.rpartition("/")[0]
    assert f"The two nearest shapes are {near} on cpu and {far} on gpu:0; measure one" in line


def test_compare_devices_unsteady_time_makes_its_cell_invalid() -> None:
    """Devices are measured one after the other, so rounds cannot cancel the change."""
    during, moved = run("a"), [recorded(NOT_STEADY, "it became slower", "wait")]
    items = [
        measured(a_case(batch=batch, device=device), 1.0, during, moved * (device == "gpu:0"))
        for batch in (1, 2)
        for device in ("cpu", "gpu:0")
    ]
    report = pairs.compare_devices(gather(*items))
    assert {cell.state for found in report.maps for cell in found.cells.values()} == {"INVALID"}


def test_compare_backends_pairs_rounds_with_the_baseline() -> None:
    during = run("a")
    report = pairs.compare_backends(
        gather(
            measured(a_case("while_loop"), 2.0, during),
            measured(a_case("static_unroll"), 0.5, during),
            measured(a_case("keras"), 1.0, during),
        )
    )
    assert [(row.base_label, row.new_label) for row in report.rows] == [
        ("keras", "static_unroll"),
        ("keras", "while_loop"),
    ]
    assert [row.comparison.ratio.mid for row in report.rows] == pytest.approx([0.5, 2.0])
    assert {row.comparison.pairing for row in report.rows} == {Pairing.ALTERNATING}
    assert {row.heading for row in report.rows} == {a_case().group}


def test_compare_backends_unknown_baseline_lists_the_known() -> None:
    during = run("a")
    items = [measured(a_case(name), 1.0, during) for name in ("keras", "scan")]
    assert pairs.compare_backends(gather(*items), baseline="scan").rows[0].new_label == "keras"
    with pytest.raises(NothingToReportError) as unknown:
        pairs.compare_backends(gather(*items), baseline="keras2")
    assert unknown.value.reason.values["known"] == ["keras", "scan"]


def test_compare_backends_group_without_baseline_has_its_reason() -> None:
    during = run("a")
    report = pairs.compare_backends(
        gather(
            measured(a_case("keras"), 1.0, during),
            measured(a_case("scan"), 1.0, during),
            measured(a_case("scan", batch=2), 1.0, during),
            unmeasured(a_case("keras", batch=2), during, "failed", "wrong gradients"),
        )
    )
    (only,) = report.one_sided
    assert only.case == a_case("scan", batch=2)
    assert (only.lacking, only.outcome) == ("keras", "failed")
    assert reason_line(only.reason) == "wrong gradients"


def test_compare_backends_means_are_for_each_machine_and_device() -> None:
    other = {**ENVIRONMENT, "cpu": {"name": "Another CPU", "cores": 2}}
    here, there = run("a"), run("b", host="server", environment=other)
    items = [
        measured(a_case(name, device=device, batch=batch), 1.0, during)
        for name in ("keras", "scan")
        for batch in (1, 2)
        for device, during in (("cpu", here), ("gpu:0", here), ("cpu", there))
    ]
    report = pairs.compare_backends(gather(*items))
    assert [(mean.new_label, mean.cases) for mean in report.means] == [
        (f"scan on cpu on {LAPTOP}", 2),
        (f"scan on gpu:0 on {LAPTOP}", 2),
        (f"scan on cpu on {there.machine}", 2),
    ]


def test_compare_backends_single_backend_has_a_finding() -> None:
    one, none = (
        pairs.compare_backends(gather(measured(a_case(), 1.0, run("a")))),
        pairs.compare_backends(gather()),
    )
    assert "two backends with results (keras)" in note_text(one.finding)
    assert "two backends with results (none)" in note_text(none.finding)


def test_compare_backends_on_two_kinds_of_machine_compares_each() -> None:
    items = fleet({"a": 0.0, "b": 0.1}, {a_case(): 1.0, a_case("while_loop"): 2.0})
    other = on("z", 0, cpu="Another CPU")
    items += [measured(a_case(), 1.0, other), measured(a_case("while_loop"), 3.0, other)]
    report = pairs.compare_backends(results(*items))
    assert {row.new_label for row in report.rows} == {
        "while_loop on 2 nodes (a, b)",
        f"while_loop on {other.machine}",
    }
    assert {row.comparison.nodes for row in report.rows} == {0, 2}


# Over a reference backend


def over_bridges(found: Results) -> list[pairs.ComparisonRow]:
    return [row for row in pairs.compare_backends(found, "b").rows if row.case.backend == "a"]


def test_compare_backends_over_a_bridge_equals_the_report() -> None:
    found = made_environments.results(FAR, 1.1, cases=4)
    (section,) = build(found, baseline="b").sections
    reported = {row.case.id: row.to_baseline for row in section.rows}
    rows = over_bridges(found)
    assert len(rows) == 4
    for row in rows:
        ratio = reported[row.case.id]
        assert ratio is not None
        assert row.comparison.heterogeneous
        assert row.comparison.pairing is Pairing.BRIDGED
        assert row.comparison.verdict is ratio.verdict is Verdict.UNCLEAR
        assert row.comparison.ratio.high == pytest.approx(ratio.ratio.high)
    even = pairs.compare_backends(made_environments.results(0.0, 1.5, cases=4), "b").rows
    assert not any(row.comparison.heterogeneous for row in even)
    by_backend = {row.case.backend: row.comparison for row in even}
    assert by_backend["a"].ratio.mid == pytest.approx(1.5, rel=0.01)
    assert by_backend["a"].heterogeneity
    assert by_backend["bridge"].paired
