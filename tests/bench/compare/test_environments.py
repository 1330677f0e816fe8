"""In what the machines and settings of two sides differ, and in what no two sessions are alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.records.schema import Run
from bench.stats.pairs import environment_differences, hardware
from tests.bench.made_results import run


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
    found = environment_differences([run("a")], [run("b", environment=other)])
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
    found = environment_differences(sides[:1], sides[1:])
    assert [name for name, _, _ in found] == ["options.threads"]


def test_runs_of_a_side_that_differ_among_themselves_are_each_named() -> None:
    other = {"libraries": {"tensorflow": "2.20.0"}}
    same = {"libraries": {"tensorflow": "2.21.0"}}
    mixed = [run("a", environment=other), run("b", environment=same)]
    (found,) = environment_differences([run("c", environment=same)], mixed)
    assert found == ("libraries.tensorflow", "2.21.0", "2.20.0 or 2.21.0")


def test_an_environment_of_any_shape_is_read_without_an_error() -> None:
    deep: dict[str, object] = {}
    level = deep
    for _ in range(500):
        level["a"] = {}
        level = level["a"]  # type: ignore[assignment]
    wide: dict[str, object] = {"x": list(range(100_000)), "gpus": "none", "cpu": 3, "deep": deep}
    found = environment_differences([run("a", environment=wide)], [run("b")])
    assert len(found) <= 5000


def test_thread_counts_that_only_the_framework_knows_are_named() -> None:
    def with_threads(name: str, threads: int | None) -> Run:
        during = run(name)
        after = {} if threads is None else {"threads": {"tensorflow_intra": threads}}
        return replace(during, environment={**during.environment, "after": after})

    base = [with_threads("a", 2)]
    (found,) = environment_differences(base, [with_threads("b", 8)])
    assert found == ("threads.tensorflow_intra", "2", "8")
    # A run that was cut off does not say: that is no difference.
    assert environment_differences(base, [with_threads("c", None)]) == []


@pytest.mark.parametrize(
    ("device", "name"),
    [("cpu", "Test CPU"), ("gpu:0", "Test GPU"), ("gpu:1", ""), ("gpu:x", ""), ("tpu:0", "")],
)
def test_a_device_is_called_what_its_environment_says(device: str, name: str) -> None:
    assert hardware(run("a"), device) == name


def test_hosts_and_sizes_are_named_and_what_was_not_read_is_nothing() -> None:
    other = {"memory": {"total_bytes": 2**35}, "driver": None}
    here = {"memory": {"total_bytes": 2**34}}
    found = environment_differences(
        [run("a", environment=here)], [run("b", host="server", environment=other)]
    )
    assert found == [
        ("host", "laptop", "server"),
        ("memory.total_bytes", "16 GiB", "32 GiB"),
    ]
