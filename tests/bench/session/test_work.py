"""Backends that need different environments: which cases share a process."""

from __future__ import annotations

from bench.session.session import Environment, Lot, Need, environments, lots, needs_of
from tests.bench.session.made_sessions import EAST, WEST, case, needs


def names(found: Lot) -> tuple[Environment, list[str], list[str]]:
    backends = [case.backend for case in found.cases]
    return found.environment, backends, [case.backend for case in found.bridges]


def test_who_needs_nothing_goes_where_its_framework_is_and_the_first_bridges_the_rest() -> None:
    cases = [case(name) for name in ("moonlight", "plain", "east", "west")]
    west, east = lots(cases, needs)
    assert names(west) == (WEST, ["moonlight", "west"], [])
    assert names(east) == (EAST, ["plain", "east"], ["moonlight", "plain"])


def test_without_environments_there_is_one_lot_a_group_and_no_bridge() -> None:
    cases = [case(name, steps) for steps in (5, 6) for name in ("moonlight", "plain")]
    assert [names(lot) for lot in lots(cases, needs)] == [((), ["moonlight", "plain"], [])] * 2


def test_where_a_variable_changes_how_a_framework_computes_its_others_stay_out() -> None:
    """Neither at home there nor as a bridge: they would be measured under a name not their own."""
    cases = [case(name) for name in ("moonlight", "eclipse", "plain")]
    others, apart = lots(cases, needs)
    assert names(others) == ((), ["moonlight", "plain"], [])
    assert names(apart) == ((("SIDE", "dark"),), ["eclipse"], ["plain"])
    alone = lots([case("moonlight"), case("eclipse")], needs)
    assert [names(lot)[1:] for lot in alone] == [(["moonlight"], []), (["eclipse"], [])]


def test_where_nobody_is_free_there_is_no_bridge() -> None:
    found = lots([case("east"), case("west")], needs)
    assert [names(lot) for lot in found] == [(EAST, ["east"], []), (WEST, ["west"], [])]


def test_keras_shares_tensorflows_processes_and_its_other_backends_their_frameworks() -> None:
    found = environments(["torch", "keras", "while_loop", "keras_torch", "numpy", "keras_jax"])
    backend = {name: dict(environment)["KERAS_BACKEND"] for name, environment in found.items()}
    assert backend == {
        **dict.fromkeys(("keras", "while_loop", "numpy"), "tensorflow"),
        **dict.fromkeys(("torch", "keras_torch"), "torch"),
        "keras_jax": "jax",
    }
    assert needs_of("no_such_backend") == Need()
