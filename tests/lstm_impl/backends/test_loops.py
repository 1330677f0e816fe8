"""TensorFlow's ways to loop over time: each visits every step once, in either direction."""

from __future__ import annotations

import pytest

from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, Workload, get_backend
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
from lstm_impl.proof import gate
from tests.lstm_impl.backends.built import built
from tests.lstm_impl.backends.layers import both_ways, check_layer, check_scan, copies

tf = pytest.importorskip("tensorflow", reason="they are TensorFlow's: pip install '.[cpu]'")

# Of the six steps of a layer, a turn of four leaves two over.
LAYERS = ("static_unroll", "while_loop", "scan", "partial_unroll@4")

SCANS = [
    *((name, steps) for name in LAYERS[:3] for steps in (1, 2, 5)),
    # Fewer than one turn does, as many, no step left over, one, and two.
    *(("partial_unroll@3", steps) for steps in (1, 3, 6, 7, 8)),
    ("partial_unroll@1", 2),
    ("partial_unroll@7", 2),
]


@both_ways
@pytest.mark.parametrize("name", [*LAYERS, "block_lstm", "dynamic_rnn", "static_rnn"])
def test_layer_by_itself_equals_the_reference(name: str, padded: bool, reverse: bool) -> None:
    check_layer(name, padded, reverse)


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize(("name", "timesteps"), SCANS)
def test_scan_of_any_sequences_visits_every_step_once(
    name: str, timesteps: int, reverse: bool
) -> None:
    check_scan(name, timesteps, reverse)


@pytest.mark.parametrize(
    ("name", "timesteps", "outside", "inside"),
    [
        ("static_unroll", 7, 7, 0),
        *(("while_loop", timesteps, 0, 1) for timesteps in (7, None)),
        ("scan", None, 0, 1),
        # One more is for what a turn leaves over.
        *(("partial_unroll@5", timesteps, 0, 5 + 1) for timesteps in (7, None)),
    ],
)
def test_graph_of_a_loop_has_this_many_copies_of_the_step(
    name: str, timesteps: int | None, outside: int, inside: int
) -> None:
    assert copies(name, timesteps) == (outside, inside)


# XLA takes no stacks of length zero, which the loops of a gradient would have there.
@pytest.mark.parametrize("timesteps", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_partial_unroll_compiled_without_a_full_turn_or_a_rest_passes_the_gate(
    timesteps: int,
) -> None:
    result = gate(built("partial_unroll@4+xla"), Workload(2, timesteps, "training"))
    assert result.passed, result.describe()


def test_static_unroll_of_unknown_timesteps_raises() -> None:
    model = built("static_unroll")
    function = tf.function(
        lambda x: model(x)[0], input_signature=[tf.TensorSpec([None, 2, 3])], autograph=False
    )
    with pytest.raises(UnsupportedError, match="number of timesteps when it is traced"):
        function.get_concrete_function()


def test_static_unroll_bidirectional_float64_is_refused_because_xla_compiles_it_wrongly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = LSTMSpec(3, 5, bidirectional=True, dtype="float64")
    backend = get_backend("static_unroll+xla")
    with pytest.raises(UnsupportedError, match="wrongly"):
        backend.build(spec, LSTMWeights.random(spec))
    monkeypatch.setattr(type(backend), "refusal", TensorFlowBackend.refusal)
    result = gate(built("static_unroll+xla", spec), Workload(4, 7, "inference"))
    assert not result.passed, "XLA compiles this rightly now: take the refusal out"
