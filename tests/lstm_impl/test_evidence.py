"""Test evidence as a mapping, times of a profile, and how compiled modules are read."""

from collections import Counter
from dataclasses import replace

import pytest

from lstm_impl.backends.hlo import describe_hlo, instruction_kind, launches
from lstm_impl.evidence import Event, Evidence, covered, own_seconds


def test_evidence_has_only_what_was_recorded() -> None:
    found = Evidence("a profiler", Counter(dot=2, add=5), details={"device": "cpu"})
    recorded: dict[str, object] = {"source": "a profiler", "device": "cpu"}
    recorded |= {"ops": {"add": 5, "dot": 2}, "ops_total": 7}
    assert dict(found) == recorded
    assert found["ops_total"] == 7
    assert found.get("kernels") is None
    with pytest.raises(KeyError):
        found["kernels"]
    found = replace(found, launches=7, launched_by="xla", operations=12.0)
    assert dict(found) == recorded | {"launches": 7, "launched_by": "xla", "operations": 12.0}


LOOP = Event("loop", 0.0, 10.0, "a")
INNER = [Event("product", 1.0, 3.0, "a"), Event("product", 5.0, 4.0, "a")]
DEEP = Event("pack", 5.5, 1.0, "a")


def test_by_name_excludes_the_time_of_nested_operators() -> None:
    own = {(event.name, event.start): seconds for event, seconds in own_seconds([*INNER, LOOP])}
    assert own == {("loop", 0.0): 3.0, ("product", 1.0): 3.0, ("product", 5.0): 4.0}
    own = {(event.name, event.start): s for event, s in own_seconds([LOOP, DEEP, *INNER])}
    assert own["product", 5.0] == 3.0
    assert own["loop", 0.0] == 3.0


def test_covered_counts_overlapping_time_once() -> None:
    events = [Event("x", 0.0, 2.0, "a"), Event("y", 1.0, 2.0, "b"), Event("z", 5.0, 1.0, "a")]
    assert covered(events) == 4.0
    assert covered([LOOP, *INNER]) == 10.0
    assert covered([]) == 0.0


# -- the text of a module that XLA compiled

MODULE = """
HloModule jit_f, entry_computation_layout={(f32[2]{0})->f32[2]{0}}

%fused (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %t = f32[2]{0} tanh(%p)
}

%body.1 (arg.1: (s32[], f32[2])) -> (s32[], f32[2]) {
  %arg.1 = (s32[], f32[2]{0}) parameter(0)
  %x = f32[2]{0} get-tuple-element(%arg.1), index=1
  %d = f32[2]{0} dot(%x, %x), lhs_contracting_dims={}
  %f = f32[2]{0} fusion(%d), kind=kLoop, calls=%fused
  %n = s32[] fusion(%x), kind=kLoop, calls=%next
  ROOT %r = (s32[], f32[2]{0}) tuple(%n, %f)
}

%cond.1 (arg.2: (s32[], f32[2])) -> pred[] {
  %arg.2 = (s32[], f32[2]{0}) parameter(0)
  %i = s32[] get-tuple-element(%arg.2), index=0
  %limit = s32[] constant(15)
  ROOT %less = pred[] compare(%i, %limit), direction=LT
}

%outlined (q: f32[2]) -> f32[2] {
  %q = f32[2]{0} parameter(0)
  ROOT %b = f32[2]{0} fusion(%q), kind=kLoop, calls=%fused
}

ENTRY %main.9 (x.1: f32[2]) -> f32[2] {
  %x.1 = f32[2]{0} parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], f32[2]{0}) tuple(%zero, %x.1)
  %w = (s32[], f32[2]{0}) while(%start), condition=%cond.1, body=%body.1TRIPS
  %y = f32[2]{0} get-tuple-element(%w), index=1
  %c = f32[2]{0} call(%y), to_apply=%outlined
  ROOT %done = f32[2]{0} copy(%c)
}
"""


@pytest.mark.parametrize(
    ("said", "turns"), [(', backend_config={"known_trip_count":{"n":"7"}}', 7), ("", 15)]
)
def test_launches_of_a_loop_count_each_iteration(said: str, turns: int) -> None:
    # Three in the body and the comparison; then the outlined fusion, and the copy.
    assert launches(MODULE.replace("TRIPS", said)) == 4 * turns + 2
    text = MODULE.replace("while(%start), condition=%cond.1, body=%body.1TRIPS", "copy(%start)")
    assert launches(text) == 3  # without a loop


def test_launches_of_a_loop_with_unknown_iterations_are_unknown() -> None:
    data = MODULE.replace("TRIPS", "").replace("constant(15)", "parameter(1)")
    assert launches(data) is None
    two = MODULE.replace("TRIPS", "").replace(
        "  %limit =", "  %other = s32[] constant(3)\n  %limit ="
    )
    assert launches(two) is None
    assert launches("no module") is None


def test_describe_hlo_counts_instructions_of_any_type() -> None:
    text = """
HloModule jit_f, entry_computation_layout={(f32[2]{0})->f32[2]{0}}
body {
  p = (s32[], f32[2]{0}) parameter(0)
  ROOT t = (s32[], f32[2]{0}) tuple(p)
}
ENTRY main {
  %a.1 = f32[2]{0} parameter(0), metadata={op_name="x = y(z)"}
  %w = (s32[], f32[], f32[], f32[], f32[], /*index=5*/f32[2]{0}) while(%a.1), body=body
  %c = f32[2]{0} custom-call(%a.1), custom_call_target="__cudnn$rnn", api_version=1
  %d = f32[] dot(%a.1, %c), lhs_contracting_dims={0}
  ROOT %f = f32[2]{0} fusion(%a.1), kind=kLoop, calls=fused
}
"""
    found = describe_hlo(text)
    assert found["loops"] == 1
    assert found["fusions"] == 1
    assert found["matrix_products"] == 1
    assert found["custom_calls"] == {"__cudnn$rnn": 1}
    assert found["instructions"]["parameter"] == 2


def test_kind_of_ignores_the_number_of_an_instruction() -> None:
    assert {instruction_kind(name) for name in ("dot", "dot.12", "dot.3", "dot.1.2")} == {"dot"}
    assert instruction_kind("12") == "12"  # there is no other name
