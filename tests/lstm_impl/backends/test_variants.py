"""Test the variants of backends: denormal numbers, and sequences in batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, get_backend, list_backends, reference
from lstm_impl.backend import Backend
from lstm_impl.backends import variants
from lstm_impl.backends.others.numpy_loop import NumPyLoop
from lstm_impl.backends.variants import DenormalModel, batches
from lstm_impl.cell import GRU
from lstm_impl.model import Model
from lstm_impl.proof import gate, make_numpy_judge
from lstm_impl.proof.comparison import compare
from lstm_impl.weights import LSTMState
from lstm_impl.workload import InputSets, Workload
from tests.lstm_impl.backends.built import passes

SPEC = LSTMSpec(3, 5)
POLICIES = ("padded", "batches", "buckets")
TRAIN = Workload(37, 9, "training", min_length=2, gradients="weights")


def built(name: str, *, batch_major: bool = False) -> Model:
    return get_backend(name).build(SPEC, LSTMWeights.random(SPEC), batch_major=batch_major)


def test_variant_has_its_own_name_and_is_not_listed() -> None:
    for variant in ("denormal", "forward", *POLICIES):
        assert get_backend(f"numpy:{variant}").name == f"numpy:{variant}"
        assert f"numpy:{variant}" not in list_backends()


def test_threads_of_a_variant_are_those_of_its_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NumPyLoop, "threads", None)
    padded = get_backend("numpy:padded")
    padded.use_threads(3)
    for backend in (padded, get_backend("numpy:padded"), get_backend("numpy")):
        assert backend.threads == 3


def test_variant_describes_itself_as_its_backend_does() -> None:
    for name in ("torch", "keras", "onnxruntime", "keras_jax"):
        plain, variant = get_backend(name), get_backend(f"{name}:forward")
        for field in Backend.__annotations__:
            assert getattr(variant, field) == getattr(plain, field), (name, field)
        assert variant.hides_nan == plain.hides_nan
        assert variant.availability("cpu") == plain.availability("cpu")


@pytest.mark.parametrize(
    ("name", "workload", "message"),
    [
        ("numpy:buckets", Workload(2, 3, "streaming"), "complete sequences"),
        ("numpy:padded", Workload(2, 4, window=2), "complete sequences"),
        ("numpy:batches", Workload(2, 3, "training", optimizer="sgd"), "without an optimizer"),
        ("onnxruntime:buckets", TRAIN, "only infers"),
        ("numpy:forward", TRAIN, "forward only infers"),
    ],
)
def test_refusal_by_a_variant_gives_the_reason(name: str, workload: Workload, message: str) -> None:
    assert message in get_backend(name).refusal(SPEC, workload)


def test_denormal_refuses_other_dtypes_and_several_layers() -> None:
    backend = get_backend("numpy:denormal")
    for spec in (LSTMSpec(2, 3, dtype="float64"), LSTMSpec(2, 3, num_layers=2)):
        assert "one layer in one direction" in backend.refusal(spec)
    model, given = built("numpy:padded"), (np.zeros((2, 1, 3)), np.zeros((2, 1, 5)))
    with pytest.raises(UnsupportedError, match="without an optimizer and without dropout"):
        model.forward_and_gradients(*given, optimizer="sgd")


# -- batches


@given(some.sampled_from(POLICIES), some.lists(some.integers(1, 30), min_size=1, max_size=70))
def test_batches_hold_each_sequence_once_with_enough_timesteps(
    policy: str, lengths: list[int]
) -> None:
    array = np.array(lengths)
    parts = batches(policy, array)
    assert sorted(np.concatenate([part.rows for part in parts])) == list(range(len(lengths)))
    for part in parts:
        assert 1 <= len(part.rows) <= variants.BATCH
        longest = array[part.rows].max()
        assert longest <= part.timesteps <= max(lengths)
        assert policy != "batches" or part.timesteps == longest
        assert policy != "padded" or part.timesteps == max(lengths)
    if policy == "buckets":
        assert len({part.timesteps for part in parts}) <= variants.BUCKETS


@pytest.mark.parametrize("batch_major", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_gate_of_batches_passes(policy: str, batch_major: bool) -> None:
    model = built(f"numpy:{policy}", batch_major=batch_major)
    for workload in (TRAIN, Workload(37, 9, min_length=2)):
        passes(model, workload)


@pytest.mark.parametrize("name", ["torch:int8", "onnxruntime:int8", "torch:denormal"])
def test_variant_of_an_lstm_refuses_a_gru_and_names_both(name: str) -> None:
    spec = LSTMSpec(3, 5, cell=GRU())
    reason = get_backend(name).refusal(spec)
    assert "lstm" in reason
    assert "gru" in reason


def test_gate_of_a_gru_in_batches_passes() -> None:
    spec = LSTMSpec(3, 5, cell=GRU())
    model = get_backend("numpy:buckets").build(spec, LSTMWeights.random(spec))
    passes(model, Workload(5, 4, "training", min_length=1))


def test_gate_of_sequences_in_the_wrong_order_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    merged = variants.merged
    monkeypatch.setattr(variants, "merged", lambda parts, *more: merged(parts[::-1], *more))
    assert not gate(built("numpy:padded"), Workload(32, 9, min_length=2)).passed


@pytest.mark.parametrize("policy", POLICIES)
def test_timed_step_in_batches_equals_the_reference(policy: str) -> None:
    model = built(f"numpy:{policy}")
    step = model.prepare(TRAIN, seed=4)
    assert step.use is not None
    assert step.results is not None
    step.trace()
    for number in (0, 7):
        step.use((number,))
        inputs = InputSets(SPEC, TRAIN, 4)(number)
        theirs = make_numpy_judge(SPEC).run(
            LSTMWeights.random(SPEC), inputs, LSTMState.zeros(SPEC, 37)
        )
        ours = step.results(step.run())
        assert {"y", "h", "c", "dlayer0.forward.kernel"} <= ours.keys()
        assert max(compare(ours, {name: theirs[name] for name in ours}).values()) < 1e-5


def test_result_in_batches_stays_when_the_next_call_has_other_lengths() -> None:
    step = built("numpy:buckets").prepare(TRAIN, seed=4)
    assert step.use is not None
    assert step.results is not None
    raw = step.run()
    before = step.results(raw)
    step.use((7,))
    step.run()
    for name, array in step.results(raw).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.parametrize("policy", POLICIES)
def test_same_lengths_in_another_order_make_batches_of_the_same_lengths(policy: str) -> None:
    lengths = np.arange(3, 40)
    shuffled = np.random.default_rng(1).permutation(lengths)
    for one, other in zip(batches(policy, lengths), batches(policy, shuffled), strict=True):
        assert one.timesteps == other.timesteps
        np.testing.assert_array_equal(lengths[one.rows], shuffled[other.rows])


# -- the call of a user


@pytest.mark.parametrize("batch_major", [False, True])
def test_step_of_forward_returns_what_forward_does(batch_major: bool) -> None:
    model = built("numpy:forward", batch_major=batch_major)
    workload = Workload(3, 4, min_length=2, batch_major=batch_major)
    assert gate(model, workload).passed
    step = model.prepare(workload, seed=4)
    assert step.use is not None
    assert step.results is not None
    step.use((0, 7))
    for number in (0, 7, 0):
        inputs = InputSets(SPEC, workload, 4)(number)
        theirs, state = reference.forward(
            SPEC, model.get_weights(), inputs.x, inputs.state, inputs.lengths
        )
        found = step.results(step.run())
        np.testing.assert_allclose(found["y"], theirs, atol=1e-6)
        np.testing.assert_allclose(found["c"], state.c, atol=1e-6)


# -- denormal numbers


def test_outputs_after_a_hundred_denormal_steps_are_denormal() -> None:
    model = built("numpy:denormal")
    assert isinstance(model, DenormalModel)
    inputs = model.inputs(Workload(4, 100))
    y, state = reference.forward(SPEC, model.get_weights(), inputs.x, inputs.state)
    for array in map(np.abs, (y, state.c, inputs.dy)):
        assert np.all((array > 0) & (array < np.finfo(np.float32).tiny))


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_denormal_step_passes_the_gate_and_records_how_it_treats_them(mode: str) -> None:
    model = built("numpy:denormal")
    workload = Workload(4, 6, mode)
    assert gate(model, workload).passed
    step = model.prepare(workload)
    assert step.results is None  # numbers with so few digits are not compared
    step.run()
    assert model.evidence(workload)["denormals"] == "kept"


def test_evidence_of_wrong_denormal_outputs_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("numpy:denormal")
    assert isinstance(model, DenormalModel)
    plain = type(model.inner)
    infer = plain._infer

    def scaled(by: float) -> None:
        monkeypatch.setattr(
            plain, "_infer", lambda *given: (found := infer(*given))._replace(y=by * found.y)
        )

    scaled(2.0)
    with pytest.raises(ArithmeticError, match="the denormal outputs are wrong"):
        model.evidence(Workload(4, 6))
    scaled(0.0)
    assert model.evidence(Workload(4, 6))["denormals"] == "flushed to zero"
