"""What the profiler's events say of what ran, and when."""

from __future__ import annotations

from lstm_impl.backends.hlo import ProfiledEvent
from lstm_impl.backends.tensorflow.evidence import summarise, timeline

HOST, GPU = "/host:CPU", "/device:GPU:0"


def test_ops_are_told_from_all_else_that_the_host_did() -> None:
    found = summarise(
        [
            (HOST, "pool 1", "model/lstm/MatMul_1:_MklMatMul"),
            (HOST, "pool 2", "model/lstm/MatMul:_MklMatMul"),
            (HOST, "python", "EagerLocalExecute: Tanh"),
            (HOST, "python", "EagerLocalExecute: __inference_step_12"),  # a call of a graph
            (HOST, "python", "EagerLocalExecute: SyncDevice"),  # waiting
            (HOST, "pool 1", "ThreadpoolListener::Region"),
            (HOST, "pool 1", "std::function:Call"),
            (HOST, "pool 1", "Executor: run"),
            (HOST, "pool 1", "MatMul"),
            ("/host:metadata", "", ""),
        ]
    )
    assert found["ops"] == {"_MklMatMul": 2, "Tanh": 1}
    assert found["devices"] == [HOST]
    assert (found["kernels"], found["cudnn"]) == ({}, False)


def test_kernels_are_those_of_a_device_s_streams_and_counted_once() -> None:
    found = summarise(
        [
            (GPU, "Stream #13(Compute)", "sgemm_32x32"),
            (GPU, "Stream #14(Compute)", "sgemm_32x32"),
            (GPU, "Stream #13(Compute)", "void LSTM_elementWise_fp<float>"),
            (GPU, "TensorFlow Ops", "a/MatMul:MatMul"),  # the same, grouped
            (GPU, "XLA Modules", "sgemm_32x32"),
            (HOST, "python", "a/MatMul:MatMul"),
        ]
    )
    assert found["kernels"] == {"sgemm_32x32": 2, "void LSTM_elementWise_fp<float>": 1}
    assert found["ops"] == {"MatMul": 1}
    assert found["devices"] == [GPU, HOST]
    assert found["cudnn"]


def test_a_timeline_has_ops_instructions_and_kernels_each_on_its_line() -> None:
    events = timeline(
        [
            ProfiledEvent(HOST, "pool 1", "a/MatMul:MatMul", 1.0, 0.5),
            ProfiledEvent(HOST, "pool 2", "anything", 1.5, 0.25, "dot.12"),
            ProfiledEvent(HOST, "pool 2", "Executor: run", 0.0, 9.0),
            ProfiledEvent(GPU, "Stream #13", "sgemm", 2.0, 0.125),
            ProfiledEvent(GPU, "XLA Ops", "sgemm", 2.0, 0.125),
        ]
    )
    assert [(each.name, each.start, each.seconds, each.track) for each in events] == [
        ("MatMul", 1.0, 0.5, "pool 1"),
        ("dot", 1.5, 0.25, "pool 2"),
        ("sgemm", 2.0, 0.125, f"{GPU} Stream #13"),
    ]
