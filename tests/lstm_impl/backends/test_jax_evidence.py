"""What JAX's profiler saw."""

from __future__ import annotations

import pytest

from lstm_impl.backends.hlo import ProfiledEvent
from lstm_impl.backends.jax import evidence as jax_evidence
from lstm_impl.profile import Event


def test_kernels_are_those_of_a_gpu_s_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [
        ProfiledEvent("/device:GPU:0", "Stream #7", "gemm", 1.0, 0.5),
        ProfiledEvent("/device:GPU:0", "Stream #8", "gemm", 1.0, 0.5),
        ProfiledEvent("/device:GPU:0", "XLA Ops", "gemm", 1.0, 0.5),
        ProfiledEvent("/host:CPU", "Stream #7", "gemm", 1.0, 0.5),
    ]
    monkeypatch.setattr(jax_evidence, "record", lambda run, synchronize: seen)
    assert jax_evidence.profile(lambda: None, lambda: None) == {"gemm": 2}


def test_a_timeline_has_kernels_by_stream_and_instructions_by_thread() -> None:
    events = jax_evidence.timeline(
        [
            ProfiledEvent("/device:GPU:0", "Stream #7", "gemm", 1.0, 0.5, "custom-call.3"),
            ProfiledEvent("/device:GPU:0", "XLA Ops", "gemm", 1.0, 0.5, "custom-call.3"),
            ProfiledEvent("/host:CPU", "pool 1", "anything", 2.0, 0.25, "dot.12"),
            ProfiledEvent("/host:CPU", "python", "PjitFunction(f)", 0.0, 9.0),
        ]
    )
    assert events == [
        Event("gemm", 1.0, 0.5, "/device:GPU:0 Stream #7", "custom-call.3"),
        Event("dot", 2.0, 0.25, "pool 1", "dot.12"),
    ]
