"""TF_CONFIG: every mistake is told with its place, and what is right comes back as it went in."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from bench.machine.fields import ResultError
from bench.studies import tf_config
from bench.studies.tf_config import VARIABLE, ClusterAddress

WORKERS = ["10.0.0.1:2222", "10.0.0.2:2222"]


def config(**changes: Any) -> str:
    return json.dumps(
        {"cluster": {"worker": WORKERS}, "task": {"type": "worker", "index": 0}, **changes}
    )


@pytest.mark.parametrize(
    ("kind", "index", "place"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)]
)
def test_a_chief_is_the_first_of_all_workers(kind: str, index: int, place: int) -> None:
    text = config(
        cluster={"chief": ["a:1"], "worker": WORKERS}, task={"type": kind, "index": index}
    )
    made = tf_config.given({VARIABLE: text})
    assert made == ClusterAddress(("a:1", *WORKERS), place, text)


def test_without_the_variable_there_is_none() -> None:
    assert tf_config.given({}) is None
    assert tf_config.given({VARIABLE: "  "}) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is cut off or not JSON (Expecting property name enclosed in double quotes"),
        ("{}", "cluster is missing; expected an object"),
        (config(cluster={"ps": WORKERS}), "cluster names 'ps'; expected worker and perhaps chief"),
        (config(cluster={"worker": ["a:1"]}), "cluster names 1; expected two or more workers"),
        (config(cluster={"worker": ["a:1", "b"]}), 'cluster.worker[1] is "b"; expected host:port'),
        (
            config(cluster={"worker": ["a:1", "b:70000"]}),
            'cluster.worker[1] is "b:70000"; expected host:port, the port from 1 to 65535',
        ),
        (
            config(cluster={"worker": ["a:1", "a:1"]}),
            'cluster.worker[0] is "a:1"; expected an address of its own',
        ),
        (config(cluster={"chief": WORKERS}), "cluster.chief names 2; expected one chief"),
        (
            config(task={"type": "chief", "index": 0}),
            'task.type is "chief"; expected one of worker',
        ),
        (config(task={"type": "worker", "index": "0"}), 'task.index is "0"; expected an integer'),
        (config(task={"type": "worker", "index": 2}), "task.index is 2; expected less than 2"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_what_is_wrong_is_reported_with_its_place(text: str, told: str) -> None:
    with pytest.raises(ResultError) as raised:
        tf_config.given({VARIABLE: text})
    assert str(raised.value).startswith(f"{VARIABLE}: ") or str(raised.value).startswith(VARIABLE)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=9),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(
            some.sampled_from(["cluster", "task", "worker", "chief", "type", "index", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_the_variable_holds_there_is_a_cluster_or_one_line(found: Any) -> None:
    try:
        made = tf_config.given({VARIABLE: json.dumps(found)})
    except ResultError as error:
        told = str(error)
    else:
        told = ""
        assert made is not None
        assert 0 <= made.index < len(made.workers)
    assert "\n" not in told


def test_a_cluster_of_this_machine_has_free_ports_that_others_cannot_reach() -> None:
    made = tf_config.here(3)
    assert [each.index for each in made] == [0, 1, 2]
    assert len({each.workers for each in made}) == 1
    assert len(set(made[0].workers)) == 3
    for each in made:
        assert tf_config.given({VARIABLE: each.variable}) == each
    for address in made[0].workers:
        host, _, port = address.partition(":")
        assert host == "127.0.0.1"
        with socket.socket() as free:
            free.bind((host, int(port)))
