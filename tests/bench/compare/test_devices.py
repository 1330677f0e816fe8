"""Devices side by side: which is compared with which, in a machine and across machines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.records.schema import RecordedReason
from bench.render.compare import note_text
from bench.stats.comparison import Verdict
from bench.stats.pairs import compare_devices
from bench.stats.rows import NothingToReportError
from bench.stats.trust import NOT_STEADY
from lstm_impl.workload import Workload
from tests.bench.made_nodes import a_case
from tests.bench.made_results import LAPTOP, SERVER, gather, measured, run


def test_the_devices_of_a_machine_are_compared_with_its_cpu() -> None:
    during = run("a")
    report = compare_devices(
        gather(
            measured(a_case(device="gpu:0"), 0.01, during),
            measured(a_case(), 1.0, during),
        )
    )
    (row,) = report.rows
    assert (row.base_label, row.new_label) == ("cpu", "gpu:0")
    assert row.heading == "gpu:0 (Test GPU) against cpu (Test CPU)"
    assert row.comparison.verdict is Verdict.FASTER


def test_the_same_device_of_two_machines_is_compared_across_them() -> None:
    report = compare_devices(
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


def test_a_baseline_device_is_compared_with_all_others() -> None:
    during = run("a")
    items = [measured(a_case(device=name), 1.0, during) for name in ("cpu", "gpu:0", "gpu:1")]
    report = compare_devices(gather(*items), baseline="gpu:1")
    assert [(row.base_label, row.new_label) for row in report.rows] == [
        ("gpu:1", "cpu"),
        ("gpu:1", "gpu:0"),
    ]
    with pytest.raises(NothingToReportError) as unknown:
        compare_devices(gather(*items), baseline="tpu")
    assert unknown.value.reason.values["known"] == ["cpu", "gpu:0", "gpu:1"]


def test_devices_that_share_no_case_or_no_two_shapes_say_so() -> None:
    during = run("a")
    cpu = measured(a_case(batch=1), 1.0, during)
    apart = compare_devices(gather(cpu, measured(a_case(batch=2, device="gpu:0"), 1.0, during)))
    assert note_text(apart.finding).startswith("The devices (cpu, gpu:0) share no case")
    one = [cpu, measured(a_case(batch=1, device="gpu:0"), 1.0, during)]
    assert compare_devices(gather(*one)).no_map
    two = [replace(each, case=replace(each.case, workload=Workload(2, 10))) for each in one]
    assert not compare_devices(gather(*one, *two)).no_map
    assert not compare_devices(gather(cpu)).no_map


def test_where_a_time_moved_its_cell_of_the_map_is_invalid() -> None:
    """Devices are measured one after the other, and not in rounds that both would have moved in."""
    during, moved = run("a"), [RecordedReason(NOT_STEADY, "it became slower", "wait")]
    items = [
        measured(a_case(batch=batch, device=device), 1.0, during, moved * (device == "gpu:0"))
        for batch in (1, 2)
        for device in ("cpu", "gpu:0")
    ]
    report = compare_devices(gather(*items))
    assert {cell.state for found in report.maps for cell in found.cells.values()} == {"INVALID"}
