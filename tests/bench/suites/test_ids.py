"""A case and its id are the same thing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.suites.cases import Case
from bench.suites.ids import case_of
from lstm_impl import LSTMSpec, Workload
from lstm_impl.workload import GRADIENTS, OPTIMIZERS

SIZES = st.integers(1, 2000)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    spec = LSTMSpec(
        draw(SIZES),
        draw(SIZES),
        num_layers=draw(st.integers(1, 4)),
        bidirectional=draw(st.booleans()),
        dtype=draw(st.sampled_from(["float32", "mixed_bfloat16"])),
    )
    training = draw(st.booleans())
    timesteps = draw(SIZES)
    window, length = draw(
        st.sampled_from([(None, None), (timesteps // 2 + 1, None), (None, timesteps // 3 + 1)])
    )
    work = Workload(
        draw(SIZES),
        timesteps,
        "training" if training else "inference",
        min_length=length,
        window=window,
        dropout=draw(st.sampled_from([0.0, 0.1, 0.05, 1e-5])),
        batch_major=draw(st.booleans()),
        optimizer=draw(st.sampled_from([None, *OPTIMIZERS])) if training else None,
        gradients=draw(st.sampled_from(GRADIENTS)) if training else "all",
    )
    return Case("partial_unroll@10+xla", spec, work, draw(st.sampled_from(["cpu", "gpu:1"])))


@given(cases())
def test_a_case_is_found_again_by_its_id(case: Case) -> None:
    assert case_of(case.id) == case


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "keras",
            "keras/b1-t2-i3-h4/float32/inference",
            "keras/b0-t2-i3-h4/float32/inference/cpu",
        ),
        *("keras/b1-t2-i3/float32/inference/cpu", "keras/b1-t2-i3-h4/float32/inference/cpu/x"),
        *("keras/b1-t2-i3-h4/float31/inference/cpu", "keras/b1-t2-i3-h4/float32/guessing/cpu"),
        *("keras/b1-t2-i3-h4-w9/float32/training/cpu", "keras/b01-t2-i3-h4/float32/inference/cpu"),
        *(
            "keras/b1-t2-i3-h4-l1/float32/inference/cpu",
            "keras/b1-t2-i3-h4-drop/float32/training/cpu",
        ),
    ],
)
def test_what_is_no_id_is_told_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        case_of(text)
