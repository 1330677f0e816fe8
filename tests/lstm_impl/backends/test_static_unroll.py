"""The loop over time unrolled into the graph."""

from __future__ import annotations

import pytest

from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, Workload, get_backend
from lstm_impl.backends.tensorflow.backend import TensorFlowBackend
from lstm_impl.proof import gate
from tests.lstm_impl.backends.built import built
from tests.lstm_impl.backends.layers import any_scan, both_ways, check_layer, check_scan, copies

tf = pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")


@both_ways
def test_its_layer_computes_what_the_reference_does(padded: bool, reverse: bool) -> None:
    check_layer("static_unroll", padded, reverse)


@any_scan
@pytest.mark.parametrize("timesteps", [1, 2, 5])
def test_it_loops_over_any_sequences_in_either_direction(timesteps: int, reverse: bool) -> None:
    check_scan("static_unroll", timesteps, reverse)


def test_the_graph_has_every_step_and_no_loop() -> None:
    assert copies("static_unroll", 7) == (7, 0)


def test_static_unroll_refuses_a_number_of_timesteps_known_only_at_run_time() -> None:
    model = built("static_unroll")
    function = tf.function(
        lambda x: model(x)[0], input_signature=[tf.TensorSpec([None, 2, 3])], autograph=False
    )
    with pytest.raises(UnsupportedError, match="number of timesteps when it is traced"):
        function.get_concrete_function()


def test_unrolled_bidirectional_float64_is_refused_because_xla_compiles_it_wrongly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = LSTMSpec(3, 5, bidirectional=True, dtype="float64")
    backend = get_backend("static_unroll+xla")
    with pytest.raises(UnsupportedError, match="wrongly"):
        backend.build(spec, LSTMWeights.random(spec))
    monkeypatch.setattr(type(backend), "refusal", TensorFlowBackend.refusal)
    result = gate(built("static_unroll+xla", spec), Workload(4, 7, "inference"))
    assert not result.passed, "XLA compiles this rightly now: take the refusal out"
