"""What ``auto`` knows from races: the decision for a call, and who of it can serve the call."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lstm_impl import Workload
from lstm_impl.tuning import Decision, Raced, TunedMachine, TuningRequest

pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

from lstm_impl.keras import choice as decided
from lstm_impl.keras.choice import Arguments, Choice, LayerCall

BATCH, STEPS, WIDTH, UNITS = 2, 5, 3, 4
CALL = LayerCall("cpu", True, True, False, BATCH, STEPS, WIDTH)
RATE = 0.5
WORKS = [(masked, rate) for masked in (False, True) for rate in (0.0, RATE)]


def asked_for(masked: bool, rate: float, training: bool = True) -> TuningRequest:
    call = LayerCall("cpu", training, True, False, BATCH, STEPS, WIDTH, masked)
    found = decided.request(Arguments(UNITS, dropout=rate), call, TunedMachine("here", {}), None)
    assert found is not None
    return found


def raced(*names: str, question: TuningRequest | None = None) -> Decision:
    """A decision for the first of these, each of the others twice as slow."""
    times = [Raced(names[0], 1.0, 1.0, 1.0, 1.0, 20)]
    times += [Raced(name, 2.0, 2.0, 1.9, 2.1, 20) for name in names[1:]]
    asked = question or asked_for(False, 0.0)
    return Decision(asked, tuple(times), "", "2026-11-26", "a test")


def _choice(found: Decision, call: LayerCall, rule: str = "keras") -> Choice | None:
    return decided.raced_choice(found, Arguments(UNITS), call, Choice(rule, "a rule"))


def test_xla_is_taken_only_where_all_sizes_are_known_in_a_graph() -> None:
    found = raced("while_loop+hoisted+xla", "keras")
    assert _choice(found, CALL) is not None
    for call in (replace(CALL, batch=None), replace(CALL, traced=False)):
        choice = _choice(found, call)
        assert choice is not None
        assert choice.backend != "while_loop+hoisted+xla"
        assert choice.passed_over[0].startswith("while_loop+hoisted+xla: ")


def test_in_a_graph_that_xla_compiles_only_what_it_can_compile_is_taken() -> None:
    assert _choice(raced("block_lstm"), CALL) is not None
    assert _choice(raced("block_lstm"), replace(CALL, compiled=True)) is None


def test_sizes_that_are_not_known_are_those_that_tune_was_told() -> None:
    arguments, machine = Arguments(UNITS), TunedMachine("here", {})
    call = replace(CALL, batch=None, timesteps=None)
    assert decided.request(arguments, call, machine, None) is None
    found = decided.request(arguments, call, machine, decided.Sizes(BATCH, STEPS))
    assert isinstance(found, TuningRequest)
    assert (found.workload.batch, found.workload.timesteps) == (BATCH, STEPS)
    known = replace(call, batch=7, timesteps=9)
    found = decided.request(arguments, known, machine, decided.Sizes(BATCH, STEPS))
    assert found is not None
    assert (found.workload.batch, found.workload.timesteps) == (7, 9)


@pytest.mark.parametrize(("masked", "rate"), WORKS)
@pytest.mark.parametrize("through", ["keras", "model"])
def test_a_decision_is_for_calls_with_such_a_mask_and_dropout_only(
    masked: bool, rate: float, through: str
) -> None:
    question = replace(asked_for(masked, rate), through=through)
    found = raced("scan", question=question)
    for other in WORKS:
        taken = decided.decision(asked_for(*other), [found])
        # the dropout of a model is another one, between layers
        wanted = other == (masked, rate) and not (rate and through == "model")
        assert (taken is not None) == wanted, other


def test_a_dropout_that_does_not_act_asks_the_same_as_none() -> None:
    assert asked_for(False, RATE, training=False) == asked_for(False, 0.0, training=False)
    assert asked_for(False, 1.0) == asked_for(False, 0.0)


@pytest.mark.parametrize(
    ("names", "rule", "words"),
    [
        (("scan",), "keras", "; the rule would have picked keras"),
        (("scan", "keras"), "keras", ", 2.00 times as fast as the rule's keras (1.90 to 2.10)"),
        (("keras", "scan"), "keras", ", or alike: the rule would have picked it too"),
        # Against one that is not the fastest of all there is no interval.
        (("theirs", "scan", "keras"), "keras", ", 1.00 times as fast as the rule's keras"),
    ],
)
def test_the_choice_says_what_was_raced_and_what_it_gains_over_the_rule(
    names: tuple[str, ...], rule: str, words: str
) -> None:
    found = _choice(raced(*names), CALL, rule)
    assert found is not None
    assert (
        found.why
        == f"it was the fastest of {len(names)} raced at 2 x 5 (2026-11-26, a test){words}"
    )


def test_a_call_asks_for_the_type_and_the_gradients_that_a_layer_computes() -> None:
    found = asked_for(True, 0.0)
    assert (found.through, found.workload.gradients) == ("keras", "weights+input")
    assert found.workload.min_length == 1  # of any lengths
    assert asked_for(False, 0.0, training=False).workload == Workload(BATCH, STEPS)
    machine = TunedMachine("here", {})
    sizes = decided.Sizes(BATCH, STEPS, min_length=9)
    masked = decided.request(Arguments(UNITS), replace(CALL, masked=True), machine, sizes)
    assert masked is not None
    assert masked.workload.min_length == STEPS  # no longer than the call's own sequences
    unknown = Arguments(UNITS, compute_dtype="int8")
    assert decided.request(unknown, CALL, machine, None) is None
