"""What the page tells of a machine beyond its name, whatever a file holds in its place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from bench.case.cases import Case
from bench.records.schema import Run
from bench.render.labels import details
from bench.render.page import page
from bench.stats.rows import Report, Section, build
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench.made_results import gather, measured

STARTED = datetime(2025, 1, 31, tzinfo=UTC)
BEFORE: dict[str, object] = {
    "kernel": "Linux-6.1",
    "container": "docker",
    "cpu": {
        "name": "A CPU",
        "architecture": "x86_64",
        "governor": "powersave",
        "turbo": False,
        "clock_hz": 2.596e9,
        "clock_max_hz": 3.7e9,
        "virtual": True,
        "quota": 1.5,
    },
    "memory": {"total_bytes": 2**34, "available_bytes": 2**33, "swap_used_bytes": 0},
    "gpus": [
        {
            "name": "A GPU",
            "cuda_version": "12.4",
            "compute_capability": "9.0",
            "memory_total_bytes": 80 * 2**30,
            "clock_sm_max_hz": 1.98e9,
            "power_limit_w": 700.0,
            "mig": False,
        }
    ],
    "threads": {"requested": None},
    "tensorflow": None,
    "variables": {"OMP_NUM_THREADS": "2"},
}
AFTER: dict[str, object] = {
    "threads": {"requested": None, "tensorflow_intra": 2, "tensorflow_inter": 0},
    "tensorflow": {
        "version": "2.21.0",
        "build": {"cuda_version": "12.5", "is_cuda_build": True},
        "tf32": True,
    },
}


def section(environment: dict[str, object]) -> Section:
    run = Run("r", "s", "quick", 1, STARTED, STARTED, True, "host", "m", {}, environment)
    case = Case("keras", LSTMSpec(3, 4), Workload(2, 10))
    return build(gather(measured(case, 0.01, run))).sections[0]


def test_clocks_memory_threads_and_settings_are_told() -> None:
    assert dict(details(section({"before": BEFORE, "after": AFTER}))) == {
        "kernel": "Linux-6.1",
        "container": "docker",
        "cpu": "name A CPU, architecture x86_64, governor powersave, turbo False, clock 2.6 GHz, "
        "clock_max 3.7 GHz, virtual True, quota 1.5",
        "memory": "total 16 GiB, available 8 GiB, swap_used 0 GiB",
        "gpus": "name A GPU, cuda_version 12.4, compute_capability 9.0, memory_total 80 GiB, "
        "clock_sm_max 1.98 GHz, power_limit_w 700.0, mig False",
        "threads": "tensorflow_intra 2, tensorflow_inter 0",
        "tensorflow": "version 2.21.0, cuda_version 12.5, is_cuda_build True, tf32 True",
        "variables": "OMP_NUM_THREADS 2",
    }


def test_values_of_any_kind_are_survived() -> None:
    odds: tuple[object, ...] = (None, [], {"a": {}}, "x", -1, 10**400, float("nan"), True)
    for odd in odds:
        parts = {"cpu": odd, "memory": odd, "gpus": [odd], "threads": odd, "variables": odd}
        inner = {
            "cpu": dict.fromkeys(("clock_hz", "governor", "quota", "turbo"), odd),
            "memory": {"total_bytes": odd},
            "gpus": [{"cuda_version": odd, "power_limit_w": odd}],
            "threads": {"requested": odd},
            "variables": {"A": odd},
        }
        for before in (parts, inner):
            details(section({"before": before, "after": {"tensorflow": odd}}))


def test_the_page_has_the_machine_in_detail_and_as_text() -> None:
    hostile = {**BEFORE, "kernel": "<script>alert(1)</script>"}
    found = section({"before": hostile, "after": AFTER})
    text = page(Report((replace(found),)))
    assert "<dt>threads</dt><dd>tensorflow_intra 2, tensorflow_inter 0" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>alert" not in text
