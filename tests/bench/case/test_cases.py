"""Cases: ids, and conversion to plain data and back."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.case.cases import (
    NO_VARIANT,
    SHAPE_EXAMPLE,
    Case,
    Shape,
    format_period,
    parse_period,
)
from bench.case.loading import SuiteChoice, available, load
from bench.machine.fields import InputError
from lstm_impl import LSTMSpec, Workload
from lstm_impl.names import BUILT_IN, CALLED, CALLS, VARIANTS, BackendName
from lstm_impl.workload import GRADIENTS, MODES, OPTIMIZERS

SPEC = LSTMSpec(3, 4)
SIZES = st.integers(1, 2000)
PERIODS = st.sampled_from([1e-6, 2.5e-4, 0.01, 1.0, 12.5, 3600.0]) | st.floats(1e-6, 3600.0)
DROPOUTS = st.sampled_from([0.1, 0.05, 1e-5]) | st.floats(0.0, 1.0, exclude_max=True)
FULL = Workload(2, 10, "training")


BACKENDS = [
    *("numpy", "partial_unroll@10+xla", "torch:int8", "torch:int8:forward"),
    *("keras_model", "keras_model+predict", "keras_model+predict:forward", "elsewhere+fit"),
]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw cases of every kind."""
    mode = draw(st.sampled_from(MODES))
    streaming = mode == "streaming"
    timesteps = draw(SIZES)
    lengths = [(None, None), (timesteps // 2 + 1, None), (None, timesteps // 3 + 1)]
    window, length = (None, None) if streaming else draw(st.sampled_from(lengths))
    work = Workload(
        draw(SIZES),
        timesteps,
        mode,
        min_length=length,
        window=window,
        dropout=0.0 if streaming else draw(st.just(0.0) | DROPOUTS),
        batch_major=draw(st.booleans()),
        optimizer=draw(st.sampled_from([None, *OPTIMIZERS])) if mode == "training" else None,
        gradients=draw(st.sampled_from(GRADIENTS)) if mode == "training" else "all",
        period=draw(st.none() | PERIODS) if streaming else None,
    )
    spec = LSTMSpec(
        draw(SIZES),
        draw(SIZES),
        num_layers=draw(st.integers(1, 4)),
        bidirectional=draw(st.booleans()) and not streaming,
        dtype=draw(st.sampled_from(["float32", "mixed_bfloat16"])),
    )
    backend = draw(st.sampled_from(BACKENDS))
    return Case(backend, spec, work, draw(st.sampled_from(["cpu", "gpu:1"])))


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
def test_id_has_what_is_not_the_default_in_fixed_order(workload: Workload, shape: str) -> None:
    case = Case("keras", SPEC, workload)
    assert case.shape == shape
    assert case.id == f"keras/{shape}/float32/training/cpu"


@given(cases())
def test_case_is_restored_from_plain_data_and_id(case: Case) -> None:
    assert Case.from_dict(json.loads(json.dumps(case.to_dict()))) == case
    assert Case.from_id(case.id) == case
    assert case.shape.startswith(str(case.sizes))
    assert Shape.parse(str(case.sizes)) == case.sizes


@pytest.mark.parametrize("name", available())
def test_case_of_each_suite_is_restored_from_its_id(name: str) -> None:
    named = ["torch", "keras_model+predict", "partial_unroll@10+xla"]
    # Few backends have the others.
    rare = ("int8", "replicas", "split", "steps")
    variants = [each for each in VARIANTS if each not in rare]
    choice = SuiteChoice(backends=named, variants=[NO_VARIANT, *variants])
    for suite in (load(name), load(name, choice)):
        for case in suite.cases:
            assert Case.from_id(case.id) == case
            assert Case.from_dict(case.to_dict()) == case


@pytest.mark.parametrize(
    ("id_", "period", "dropout"),
    [
        # As older versions wrote them.
        ("numpy/b1-t2-i3-h4-p10ms/float32/streaming/cpu", 0.01, 0.0),
        ("numpy/b1-t2-i3-h4-p0.25ms/float32/streaming/cpu", 2.5e-4, 0.0),
        ("numpy/b1-t2-i3-h4-p3.6e+06ms/float32/streaming/cpu", 3600.0, 0.0),
        ("numpy/b1-t2-i3-h4-drop1e-05/float32/training/cpu", None, 1e-5),
        ("numpy/b1-t2-i3-h4-drop0.5-bm/float32/training/cpu", None, 0.5),
        # More than six digits.
        ("numpy/b1-t2-i3-h4-p12.3456789ms/float32/streaming/cpu", 0.0123456789, 0.0),
        ("numpy/b1-t2-i3-h4-drop0.1234567/float32/training/cpu", None, 0.1234567),
    ],
)
def test_period_and_dropout_of_an_id_are_exact(
    id_: str, period: float | None, dropout: float
) -> None:
    case = Case.from_id(id_)
    assert (case.workload.period, case.workload.dropout) == (period, dropout)
    assert case.id == id_


@given(cases(), cases())
def test_id_different_cases_differs(one: Case, other: Case) -> None:
    assert (one.id == other.id) == (one == other)


def test_variant_is_in_the_name_and_a_field() -> None:
    case = Case("torch:int8", SPEC, Workload(2, 10))
    assert case.id == "torch:int8/b2-t10-i3-h4/float32/inference/cpu"
    assert (case.variant, case.approximate) == ("int8", True)
    data = case.to_dict()
    assert (data["backend"], data["variant"]) == ("torch", "int8")
    plain = Case("torch", SPEC, Workload(2, 10))
    assert plain.group == case.group
    assert not plain.approximate
    ranks = {"torch": True, "torch:buckets": True, "torch:int8": False, "torch:denormal": False}
    assert {name: Case(name, SPEC, Workload(2, 10)).ranked for name in ranks} == ranks
    assert "variant" not in plain.to_dict()
    replicas = Case("keras:replicas", SPEC, Workload(2, 10), "gpu:0")
    assert replicas.several_gpus
    assert not replicas.on("cpu").several_gpus
    assert not plain.on("gpu:0").several_gpus
    for wrong in (3, ["int8"], "a:b"):
        with pytest.raises(
            ValueError, match=r"case\.variant is .*; expected a name without a colon"
        ):
            Case.from_dict({**data, "variant": wrong})


@pytest.mark.parametrize(
    ("id_", "backend", "variants", "call"),
    [
        ("torch", "torch", (), ""),
        ("torch:int8", "torch", ("int8",), ""),
        ("torch:forward", "torch", (), "forward"),
        ("torch:int8:forward", "torch", ("int8",), "forward"),
        ("partial_unroll@10+xla:padded", "partial_unroll@10+xla", ("padded",), ""),
        ("keras_model", "keras_model", (), ""),
        ("keras_model+predict", "keras_model", (), "predict"),
        ("lstm_impl_model+fit", "lstm_impl_model", (), "fit"),
        ("keras_model+predict:forward", "keras_model+predict", (), "forward"),
        # Options of other backends are no calls, whatever their names.
        ("elsewhere+fit", "elsewhere+fit", (), ""),
        ("keras_model+unknown", "keras_model+unknown", (), ""),
    ],
)
def test_backend_variants_and_call_are_parts_of_one_id(
    id_: str, backend: str, variants: tuple[str, ...], call: str
) -> None:
    assert BackendName.parse(id_) == BackendName(backend, variants, call)
    assert str(BackendName.parse(id_)) == id_
    case = Case(id_, SPEC, Workload(2, 10))
    assert case.call == call
    assert case.approximate == ("int8" in variants)
    assert case.ranked == ("int8" not in variants)


@given(st.text(":+@ab", max_size=12) | st.sampled_from(["keras_model+fit:a", "a::forward"]))
def test_any_name_is_written_as_it_was_parsed(text: str) -> None:
    assert str(BackendName.parse(text)) == text


def test_calls_of_keras_models_are_their_options() -> None:
    for strategy in CALLED:
        assert BUILT_IN[strategy].flags == CALLS
    calls = {case.call for case in load("call-paths").cases}
    assert {"train_on_batch", "forward", ""} <= calls


@given(st.text(":ab", min_size=1))
def test_backend_with_colons_is_restored_from_plain_data(name: str) -> None:
    case = Case(name, SPEC, FULL)
    assert Case.from_dict(case.to_dict()) == case


def test_from_dict_without_gradients_has_all_and_the_old_id() -> None:
    case = Case("keras", SPEC, FULL)
    data = case.to_dict()
    del data["workload"]["gradients"], data["workload"]["optimizer"]
    assert Case.from_dict(data) == case
    assert case.id == "keras/b2-t10-i3-h4/float32/training/cpu"


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
def test_from_id_wrong_text_raises(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Case.from_id(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "b1", "b1-t2-i3", "b1-t2-i3-h4-l2", " b1-t2-i3-h4", "b1-i3-t2-h4", "b-t2-i3-h4"),
        *("b0-t2-i3-h4", "b00-t2-i3-h4", "b01-t2-i3-h4", "b1-t2-i3-h-4", "b1-t2-i3-h4.0"),
        *("b1-t2-i3-h٣", f"b1-t2-i3-h{'9' * 5000}"),
    ],
)
def test_shape_wrong_text_raises_with_an_example(text: str) -> None:
    with pytest.raises(
        InputError, match=f"is not a shape; write one like {SHAPE_EXAMPLE}"
    ) as raised:
        Shape.parse(text)
    assert len(str(raised.value)) < 150


def test_to_dict_without_period_has_no_field() -> None:
    plain = Case("numpy", LSTMSpec(3, 4), Workload(1, 2))
    assert "period" not in plain.to_dict()["workload"]
    paced = Case("numpy", LSTMSpec(3, 4), Workload(1, 1, "streaming", period=0.01))
    for case in (plain, paced):
        assert Case.from_dict(case.to_dict()) == case
    assert paced.kind == "streaming"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10ms", 0.01), ("10 ms", 0.01), ("0.5s", 0.5), ("1s", 1.0), ("20us", 2e-5), ("20µs", 2e-5)],
)
def test_parse_period_time_with_unit_gives_seconds(text: str, seconds: float) -> None:
    assert parse_period(text) == seconds
    assert parse_period(format_period(seconds)) == seconds


def test_parse_period_back_to_back_is_none() -> None:
    assert parse_period("back-to-back") is None
    assert format_period(None) == "back-to-back"


@pytest.mark.parametrize("text", ["", "10", "ms", "-1ms", "0s", "1h", "2e3s", "10msx", "7200s"])
def test_parse_period_wrong_text_raises_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match='"10ms"'):
        parse_period(text)
