"""Machines of one kind: what must be equal, what must not count, and what any file may hold."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.machine.facts import MachineKind, kind_of

ENVIRONMENT: dict[str, Any] = {
    "time": "2026-01-01T00:00:00+00:00",
    "host": "node-1",
    "python": "CPython 3.11.2",
    "cpu": {
        "name": "EPYC 9B14",
        "architecture": "x86_64",
        "logical": 8,
        "usable": 4,
        "quota": None,
        "clock_hz": 2.1e9,
        "temperature_c": 40.0,
        "governor": "performance",
    },
    "load": [0.1, 0.2, 0.3],
    "memory": {"total_bytes": 2**34, "available_bytes": 2**33},
    "gpus": [{"name": "H100", "driver": "550.54", "temperature_c": 33.0, "clock_sm_hz": 1e9}] * 2,
    "libraries": {"tensorflow": "2.21.0", "numpy": "2.2.0"},
    "variables": {"OMP_NUM_THREADS": "4"},
}


def changed(*path: str | int, to: object) -> dict[str, Any]:
    environment = copy.deepcopy(ENVIRONMENT)
    place: Any = environment
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return environment


def kind(environment: object) -> MachineKind:
    found = kind_of(environment)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("host",), "node-2"),
        (("time",), "2026-02-01T00:00:00+00:00"),
        (("load",), [9.0, 9.0, 9.0]),
        (("cpu", "clock_hz"), 3e9),
        (("cpu", "temperature_c"), 90.0),
        (("memory", "available_bytes"), 1),
        (("gpus", 0, "temperature_c"), 80.0),
        (("cpu", "governor"), "powersave"),
    ],
)
def test_the_name_and_the_state_of_a_machine_are_in_no_kind(path: Any, value: object) -> None:
    assert kind(changed(*path, to=value)) == kind(ENVIRONMENT)
    assert kind(changed(*path, to=value)).id == kind(ENVIRONMENT).id


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("cpu", "name"), "Xeon"),
        (("cpu", "usable"), 8),
        (("cpu", "quota"), 2.5),
        (("gpus",), []),
        (("gpus", 1), {"name": "H100", "driver": "560.1"}),
        (("python",), "CPython 3.12.1"),
        (("libraries", "numpy"), "2.3.0"),
        (("libraries", "torch"), "2.9.0"),
    ],
)
def test_what_can_change_a_time_makes_another_kind(path: Any, value: object) -> None:
    other = kind(changed(*path, to=value))
    assert other != kind(ENVIRONMENT)
    assert other.id != kind(ENVIRONMENT).id


def test_a_kind_says_what_it_is_and_survives_a_file() -> None:
    assert str(kind(ENVIRONMENT)) == "EPYC 9B14, 4 processors, 2 × H100"
    assert kind(json.loads(json.dumps(ENVIRONMENT))) == kind(ENVIRONMENT)
    assert len({kind(ENVIRONMENT), kind(copy.deepcopy(ENVIRONMENT))}) == 1
    shared = kind(changed("cpu", "quota", to=1.5))
    assert str(shared) == "EPYC 9B14, 4 processors, the time of 1.5, 2 × H100"


@pytest.mark.parametrize("environment", [None, 3, [], {}, {"cpu": None}, {"cpu": {"name": None}}])
def test_a_machine_that_does_not_say_what_it_is_is_of_no_kind(environment: object) -> None:
    assert kind_of(environment) is None


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(ENVIRONMENT)), PLAIN)
def test_any_plain_data_in_a_field_is_taken_or_passed_over(key: str, value: object) -> None:
    for environment in (ENVIRONMENT | {key: value}, {"cpu": {"name": "x", key: value}, key: value}):
        found = kind_of(environment)
        assert found is None or (hash(found) == hash(kind_of(environment)) and len(found.id) == 8)


@given(PLAIN, PLAIN, PLAIN)
def test_any_plain_data_inside_the_parts_is_too(name: object, usable: object, gpu: object) -> None:
    cpu = {"name": name, "usable": usable, "quota": usable, "architecture": "x"}
    found = kind(
        {"cpu": cpu, "gpus": [gpu, {"name": gpu}], "libraries": {"numpy": name}, "python": usable}
    )
    assert str(found)
    assert found == kind_of(
        {"cpu": cpu, "gpus": [gpu, {"name": gpu}], "libraries": {"numpy": name}, "python": usable}
    )


def test_numbers_that_count_nothing_are_not_told() -> None:
    assert str(kind({"cpu": {"name": "x"}})) == "x, processors not counted"
    for nothing in (0, -2, True, 1.0):
        found = kind({"cpu": {"name": "x", "usable": nothing, "logical": 3}})
        assert found.processors == 3
    assert kind(changed("cpu", "usable", to=1)).processors == 1
    for quota in (-1.0, True, float("inf"), "2", None):
        assert kind(changed("cpu", "quota", to=quota)).quota == 0.0
    assert kind(changed("cpu", "quota", to=0.5)).quota == 0.5
    assert len(kind(changed("gpus", to=[{}] * 300)).gpus) == 200
