"""Cases: their ids, which are the key of all results, and their way through plain data."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.case.cases import SPELLING, Case, Shape
from bench.machine.fields import InputError
from lstm_impl import LSTMSpec, Workload
from lstm_impl.workload import GRADIENTS, MODES, OPTIMIZERS

SPEC = LSTMSpec(3, 4)
SIZES = st.integers(1, 2000)
FULL = Workload(2, 10, "training")


@st.composite
def cases(draw: st.DrawFn) -> Case:
    mode = draw(st.sampled_from(MODES))
    streaming = mode == "streaming"
    cut = None if streaming else draw(st.sampled_from(["window", "min_length", None]))
    workload = Workload(
        batch=draw(st.integers(1, 64)),
        timesteps=10,
        mode=mode,
        dropout=0.0 if streaming else draw(st.sampled_from([0.0, 0.25])),
        period=draw(st.sampled_from([None, 0.01, 2e-5])) if streaming else None,
        batch_major=draw(st.booleans()),
        optimizer=draw(st.sampled_from([None, *OPTIMIZERS])) if mode == "training" else None,
        **({} if cut is None else {cut: draw(st.integers(1, 10))}),
    )
    spec = LSTMSpec(3, 4, num_layers=draw(st.integers(1, 3)), bidirectional=draw(st.booleans()))
    return Case(
        draw(st.sampled_from(["numpy", "keras+xla", "keras+xla:int8", "torch:int8"])),
        spec,
        workload,
        "gpu:0",
    )


@pytest.mark.parametrize(
    ("workload", "shape"),
    [
        (FULL, "b2-t10-i3-h4"),
        (replace(FULL, window=5), "b2-t10-i3-h4-w5"),
        (replace(FULL, min_length=5, dropout=0.5), "b2-t10-i3-h4-len5-drop0.5"),
        (replace(FULL, batch_major=True), "b2-t10-i3-h4-bm"),
        (replace(FULL, optimizer="sgd"), "b2-t10-i3-h4-sgd"),
        (replace(FULL, window=5, batch_major=True, optimizer="adam"), "b2-t10-i3-h4-w5-bm-adam"),
        (replace(FULL, gradients="weights+input"), "b2-t10-i3-h4-dwx"),
        (replace(FULL, optimizer="sgd", gradients="weights"), "b2-t10-i3-h4-sgd-dw"),
    ],
)
def test_an_id_spells_what_is_not_the_default_in_a_fixed_order(
    workload: Workload, shape: str
) -> None:
    case = Case("keras", SPEC, workload)
    assert case.shape == shape
    assert case.id == f"keras/{shape}/float32/training/cpu"


@given(cases())
def test_a_case_comes_back_from_plain_data(case: Case) -> None:
    assert Case.from_dict(json.loads(json.dumps(case.to_dict()))) == case


@given(cases(), cases())
def test_two_cases_have_two_ids(one: Case, other: Case) -> None:
    assert (one.id == other.id) == (one == other)


@given(cases())
def test_case_id_read_back_is_the_same_case(case: Case) -> None:
    if case.workload.period is None:  # a stream's id is not read
        assert Case.from_id(case.id) == case


def test_variant_is_part_of_the_name_and_a_field_of_plain_data() -> None:
    case = Case("torch:int8", SPEC, Workload(2, 10))
    assert case.id == "torch:int8/b2-t10-i3-h4/float32/inference/cpu"
    assert (case.plain_backend, case.variant, case.approximate) == ("torch", "int8", True)
    data = case.to_dict()
    assert (data["backend"], data["variant"]) == ("torch", "int8")
    plain = Case("torch", SPEC, Workload(2, 10))
    assert plain.group == case.group
    assert not plain.approximate
    assert "variant" not in plain.to_dict()
    for wrong in (3, ["int8"], "a:b"):
        with pytest.raises(
            ValueError, match=r"case\.variant is .*; expected a name without a colon"
        ):
            Case.from_dict({**data, "variant": wrong})


@given(st.text(":ab", min_size=1))
def test_backend_with_any_colons_comes_back_from_plain_data(name: str) -> None:
    case = Case(name, SPEC, FULL)
    assert Case.from_dict(case.to_dict()) == case
    assert name == (case.plain_backend + ":" + case.variant if case.variant else case.plain_backend)


def test_a_case_written_before_there_were_optimizers_is_read_as_one_without() -> None:
    data = Case("keras", SPEC, FULL).to_dict()
    del data["workload"]["optimizer"]
    assert Case.from_dict(data).workload.optimizer is None


def test_a_case_written_before_it_could_be_chosen_has_all_gradients_and_its_old_id() -> None:
    case = Case("keras", SPEC, FULL)
    data = case.to_dict()
    del data["workload"]["gradients"]
    assert Case.from_dict(data) == case
    assert case.id == "keras/b2-t10-i3-h4/float32/training/cpu"


@st.composite
def spelled(draw: st.DrawFn) -> Case:
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


@given(spelled())
def test_a_case_is_found_again_by_its_id(case: Case) -> None:
    assert Case.from_id(case.id) == case


@pytest.mark.parametrize(
    "text",
    [
        *("", "keras", "keras/b1-t2-i3-h4/float32/inference"),
        *("keras/b0-t2-i3-h4/float32/inference/cpu", "keras/b01-t2-i3-h4/float32/inference/cpu"),
        *("keras/b1-t2-i3/float32/inference/cpu", "keras/b1-t2-i3-h4/float32/inference/cpu/x"),
        *("keras/b1-t2-i3-h4/float31/inference/cpu", "keras/b1-t2-i3-h4/float32/guessing/cpu"),
        *(
            "keras/b1-t2-i3-h4-w9/float32/training/cpu",
            "keras/b1-t2-i3-h4-l1/float32/inference/cpu",
        ),
        "keras/b1-t2-i3-h4-drop/float32/training/cpu",
        "keras/b1-t2-i3-h4-drop0/float32/training/cpu",
    ],
)
def test_what_is_no_id_is_told_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Case.from_id(text)


def test_a_shape_is_read_as_it_is_written() -> None:
    assert Shape.parse("b64-t25-i512-h256") == Shape(64, 25, 512, 256)
    assert str(Shape.parse(SPELLING)) == SPELLING


@given(spelled())
def test_the_id_of_a_case_begins_with_its_shape(case: Case) -> None:
    assert case.shape.startswith(str(case.sizes))
    assert Shape.parse(str(case.sizes)) == case.sizes


@pytest.mark.parametrize(
    "text",
    [
        *("", "b1", "b1-t2-i3", "b1-t2-i3-h4-l2", " b1-t2-i3-h4", "b1-i3-t2-h4", "b-t2-i3-h4"),
        *("b0-t2-i3-h4", "b00-t2-i3-h4", "b01-t2-i3-h4", "b1-t2-i3-h-4", "b1-t2-i3-h4.0"),
        *("b1-t2-i3-h٣", f"b1-t2-i3-h{'9' * 5000}"),
    ],
)
def test_what_is_no_shape_is_told_with_one_that_is(text: str) -> None:
    with pytest.raises(InputError, match=f"is no shape; expected one such as {SPELLING}") as told:
        Shape.parse(text)
    assert len(str(told.value)) < 150


def test_a_case_without_a_period_is_written_as_it_always_was() -> None:
    plain = Case("numpy", LSTMSpec(3, 4), Workload(1, 2))
    assert "period" not in plain.to_dict()["workload"]
    paced = Case("numpy", LSTMSpec(3, 4), Workload(1, 1, "streaming", period=0.01))
    for case in (plain, paced):
        assert Case.from_dict(case.to_dict()) == case
    assert paced.kind == "streaming"
