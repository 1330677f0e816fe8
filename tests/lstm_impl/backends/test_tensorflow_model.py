"""A model of TensorFlow's over its windows, and what is told of what it ran."""

from __future__ import annotations

import pytest

from lstm_impl import LSTMSpec, LSTMState, Workload, reference
from lstm_impl.proof.comparison import error, named
from tests.lstm_impl.backends.built import built

pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")


def test_evidence_names_the_ops_that_ran_and_how_often() -> None:
    found = built("while_loop", LSTMSpec(8, 16)).evidence(Workload(4, 6))
    products = sum(count for op, count in found["ops"].items() if "MatMul" in op)
    assert products == 12  # two matrix products a step
    assert found["devices"] == ["/host:CPU"]
    assert not found["cudnn"]


def test_a_step_through_windows_ends_in_the_state_of_the_whole() -> None:
    spec = LSTMSpec(3, 4)
    model = built("while_loop", spec)
    workload = Workload(2, 11, "training", window=4)
    step = model.prepare(workload)
    step.trace()
    traces = model.trace_count()
    raw = step.run()
    step.synchronize()
    assert model.trace_count() == traces
    inputs = workload.inputs(spec)
    y, state = reference.forward(spec, model.get_weights(), inputs.x, inputs.state)
    found = named(raw.y.numpy(), LSTMState(raw.h.numpy(), raw.c.numpy()), None)
    assert error(found["y"], y[8:]) < 1e-6
    assert error(found["h"], state.h) < 1e-6


@pytest.mark.parametrize("name", ["while_loop", "while_loop+xla"])
def test_evidence_counts_what_a_step_starts_however_often_it_was_called(name: str) -> None:
    model = built(name)

    def started(workload: Workload) -> int:
        found = model.evidence(workload)
        assert found["launched_by"] == ("tensorflow" if name == "while_loop" else "xla")
        if name != "while_loop":
            assert found["hlo"]["loops"] == 1
            assert found["hlo"]["matrix_products"] == 2  # of the input and of the state
        return int(found["launches"])

    step = model.prepare(Workload(2, 6))
    for _ in range(50):  # after which TensorFlow has found most ops to be cheap
        step.run()
    step.synchronize()
    short, long = started(Workload(2, 6)), started(Workload(2, 12))
    each = (long - short) / 6
    assert each == round(each)  # as many at each timestep
    assert each >= (10 if name == "while_loop" else 2)
    # So many that TensorFlow would leave ops out of its profile are counted from fewer.
    if name == "while_loop":
        assert started(Workload(2, 200)) == short + each * 194
    # Two windows of six are twice one.
    assert started(Workload(2, 12, window=6)) == 2 * short


def test_a_profile_has_each_operator_on_its_thread() -> None:
    found = built("while_loop").profile(Workload(2, 6))
    products = [each for each in found.events if "MatMul" in each.name]
    assert len(products) == 12
    assert all(each.seconds > 0 and each.track for each in products)
    assert len({each.start for each in products}) > 6
