"""Test ``lstm_impl.keras.LSTM`` and ``GRU`` for Keras on JAX or PyTorch, in a process of its own.

``test_elsewhere.py`` runs this file in a process for each of the two, since Keras has one backend a
process. The results of Keras on that backend are the specification: outputs, gradients and kept
state, over a covering array of behaviours.
"""

import functools
import itertools
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

import lstm_impl.keras
from lstm_impl import UnsupportedError
from lstm_impl.availability import AVAILABLE, Availability
from lstm_impl.backends.fused_cpu import library
from lstm_impl.cell import get_cell
from lstm_impl.keras import base, elsewhere
from lstm_impl.keras.choice import Arguments, LayerCall
from lstm_impl.registry import get_backend
from tests.lstm_impl.keras.axes import ARGUMENTS
from tests.lstm_impl.keras.wrong_inputs import INPUTS, outcomes
from tests.pairs import pairwise, row_id

# Keras's own way of reading a variable
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

THEIRS = keras.config.backend()
NAMES: tuple[str, ...] = elsewhere._computing.NAMES
PICKED = NAMES[-1] if get_backend(NAMES[-1]).availability("cpu") else "keras"
"""The choice of auto in training."""
BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
Array = npt.NDArray[Any]

# Sequences of a batch are independent: several masks are rows of one.
MASKS: dict[str, Any] = {
    "no mask": None,
    "right padded": ["111111", "111000", "100000", "111110"],
    "left padded and gaps": ["000111", "000001", "101001", "011010"],
    "an empty row": ["111100", "000000", "010010", "111111"],
}

AXES: dict[str, list[Any]] = {
    "backend": ["auto", *NAMES],
    "mask": list(MASKS),
    **ARGUMENTS,
    "dtype": ["float32", "float64"] if THEIRS == "torch" else ["float32"],
    "cell": ["lstm", "gru", "gru_reset_before"],
}


def refusal(row: dict[str, Any]) -> str:
    """Return why the named backend of a row cannot compute it, or an empty string."""
    if row.get("backend", "auto") == "auto" or "cell" not in row:
        return ""
    return elsewhere.obstacle(row["backend"], Arguments(UNITS, cell=get_cell(row["cell"])))


def can_be_computed(row: dict[str, Any]) -> bool:
    """Return whether the backend computes the cell of a row, and Keras itself the type of it."""
    # Keras computes this one in float32.
    wide = row.get("cell") == "gru_reset_before" and row.get("dtype") == "float64"
    return not refusal(row) and not wide


ROWS = [
    {**row, "dtype": "float32"} if "fused" in row["backend"] else row
    for row in pairwise(AXES, can_be_computed)
]


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pair(backend: str, cell: str = "lstm", **arguments: Any) -> tuple[Any, Any]:
    """Return our layer and Keras's with the same weights."""
    kinds: tuple[Any, Any] = keras.layers.LSTM, lstm_impl.keras.LSTM
    if cell != "lstm":
        kinds = keras.layers.GRU, lstm_impl.keras.GRU
        arguments["reset_after"] = cell == "gru"
    theirs, ours = kinds[0](**arguments), kinds[1](**arguments, backend=backend)
    for layer in (theirs, ours):
        layer.build((BATCH, TIMESTEPS, FEATURES))
    ours.set_weights(theirs.get_weights())
    return ours, theirs


def flat(found: Any) -> list[Array]:
    return [keras.ops.convert_to_numpy(each) for each in keras.tree.flatten(found)]


def results(layer: Any, row: dict[str, Any]) -> list[Array]:
    """Return outputs, gradients and kept state of two calls, of which the second uses the state."""
    mask = MASKS[row["mask"]]
    keywords = {
        "training": True,
        "mask": None if mask is None else np.array([list(each) for each in mask]) == "1",
    }
    state = None
    if row["initial_state"]:
        count = len(keras.tree.flatten(layer.cell.state_size))
        state = [random(BATCH, UNITS, seed=seed) for seed in range(1, 1 + count)]
    call = by_torch if THEIRS == "torch" else by_jax
    return [each for _ in range(2) for each in call(layer, state, keywords)]


def by_torch(layer: Any, state: list[Array] | None, keywords: dict[str, Any]) -> list[Array]:
    import torch

    def leaf(array: Array) -> Any:
        return torch.tensor(array, dtype=getattr(torch, layer.compute_dtype), requires_grad=True)

    if keywords["mask"] is not None:
        keywords = {**keywords, "mask": torch.tensor(keywords["mask"])}
    x, h_c = leaf(random(BATCH, TIMESTEPS, FEATURES)), [leaf(each) for each in state or []]
    outputs = keras.tree.flatten(layer(x, initial_state=h_c or None, **keywords))
    loss = sum((part * part).sum() for part in outputs)
    sources = [x, *h_c, *(variable.value for variable in layer.trainable_variables)]
    gradients = torch.autograd.grad(loss, sources)
    kept = layer.states if layer.stateful else []
    return flat([[each.detach() for each in (*outputs, *gradients)], kept])


def by_jax(layer: Any, state: list[Array] | None, keywords: dict[str, Any]) -> list[Array]:
    import jax

    trained = [each.value for each in layer.trainable_variables]
    others = [each.value for each in layer.non_trainable_variables]

    def loss(trained: Any, x: Any, state: Any) -> Any:
        outputs, after = layer.stateless_call(trained, others, x, initial_state=state, **keywords)
        return sum((part * part).sum() for part in jax.tree.leaves(outputs)), (outputs, after)

    # Integers have no gradient; neither has a missing state.
    wanted = (0, 1) if state is None else (0, 1, 2)
    compute = jax.jit(jax.value_and_grad(loss, wanted, has_aux=True))
    (_, (outputs, after)), gradients = compute(trained, random(BATCH, TIMESTEPS, FEATURES), state)
    for variable, value in zip(layer.non_trainable_variables, after, strict=True):
        variable.assign(value)
    return flat([outputs, gradients, after])


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_layer_equals_keras_on_this_backend(row: dict[str, Any]) -> None:
    own = ("mask", "initial_state", "backend", "zero_output_for_mask")
    ours, theirs = pair(
        row["backend"], units=UNITS, seed=3, **{k: v for k, v in row.items() if k not in own}
    )
    for layer in (ours, theirs):
        layer.zero_output_for_mask = row["zero_output_for_mask"]
    for mine, wanted in zip(results(ours, row), results(theirs, row), strict=True):
        assert mine.dtype == wanted.dtype
        np.testing.assert_allclose(mine, wanted, rtol=2e-5, atol=2e-6)
    (picked,) = {choice.backend for _, choice in ours.explain().choices}
    assert picked == (auto_choice(row) if row["backend"] == "auto" else row["backend"])


def auto_choice(row: dict[str, Any]) -> str:
    """Return what ``auto`` takes for the training step of a row."""
    if row["dtype"] == "float64":
        return "torch"
    if PICKED == "keras" or not refusal({**row, "backend": PICKED}):
        return PICKED
    can = THEIRS == "torch" and not refusal({**row, "backend": "torch"})
    return "torch" if can else "keras"


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_fit_and_predict_equal_keras(dropout: float, tmp_path: Path) -> None:
    x, target = random(16, TIMESTEPS, FEATURES), random(16, UNITS, seed=1)
    x[:, 4:] = 0.0
    found = []
    for make in (keras.layers.LSTM, lstm_impl.keras.LSTM):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((TIMESTEPS, FEATURES)),
                keras.layers.Masking(),
                # Without a seed Keras uses PyTorch's generator, which others advance, too.
                keras.layers.Bidirectional(
                    make(UNITS, return_sequences=True, dropout=dropout, seed=1)
                ),
                make(UNITS),
            ]
        )
        model.compile("sgd", "mse")
        history = model.fit(x, target, batch_size=8, epochs=2, shuffle=False, verbose=0)
        found.append((history.history["loss"], model.predict(x, verbose=0), model.get_weights()))
        if make is lstm_impl.keras.LSTM:
            model.save(tmp_path / "model.keras")
            again = keras.models.load_model(tmp_path / "model.keras")
            assert type(again.layers[-1]) is lstm_impl.keras.LSTM
            np.testing.assert_allclose(again.predict(x, verbose=0), found[-1][1], rtol=1e-5)
    for mine, wanted in zip(*(keras.tree.flatten(each) for each in found), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=2e-4, atol=2e-6)


# -- what does not fit


@pytest.mark.filterwarnings("ignore:Casting complex values:UserWarning")
@pytest.mark.parametrize("wrong", INPUTS)
def test_accelerated_model_answers_wrong_input_as_keras_does(wrong: str) -> None:
    def accelerate(model: Any) -> Any:
        return lstm_impl.keras.accelerate(model, print_fn=None)

    found = list(outcomes(INPUTS[wrong], accelerate))
    assert found == list(outcomes(INPUTS[wrong], lambda model: model))


# -- forward mode

only_torch = pytest.mark.skipif(THEIRS != "torch", reason="it is a test of Keras on PyTorch")


@only_torch
@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("mask", ["no mask", "left padded and gaps"])
@pytest.mark.parametrize("name", ["auto", *NAMES])
@pytest.mark.parametrize("way", ["jvp", "dual", "dual without grad"])
def test_forward_mode_of_torch_agrees_with_the_gradient(way: str, name: str, mask: str) -> None:
    import torch
    import torch.autograd.forward_ad as forward_ad

    layer, _ = pair(name, units=UNITS, return_sequences=True, go_backwards=True)
    rows = MASKS[mask]
    valid = None if rows is None else torch.tensor([[k == "1" for k in row] for row in rows])
    x, direction = (torch.tensor(random(BATCH, TIMESTEPS, FEATURES, seed=k)) for k in (1, 2))

    def function(x: Any) -> Any:
        return torch.sin(layer(x, mask=valid)).sum()

    source = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(source), source)
    if way == "jvp":
        found = torch.func.jvp(function, (x,), (direction,))[1]
    else:
        with forward_ad.dual_level(), torch.set_grad_enabled(way == "dual"):
            made = function(forward_ad.make_dual(x, direction))
            found = forward_ad.unpack_dual(made).tangent
    torch.testing.assert_close(found.detach(), (gradient * direction).sum(), rtol=1e-4, atol=1e-4)


# -- sequences that start over

RESETS = random(BATCH, TIMESTEPS, seed=5) > 0.3
RESETS[0] = [False, False, False, True, False, False]
TAKERS = [name for name in NAMES if get_backend(name).takes_resets]


def by_parts(layer: Any, x: Any, states: list[Any], mask: Any, reset_to: str) -> tuple[Any, Any]:
    """Return outputs and the last state of h, of each part between two resets by itself."""
    rows, lasts = [], []
    for row in range(BATCH):
        resets = RESETS[row] if mask is None else RESETS[row] & mask[row]
        bounds = sorted({0, TIMESTEPS, *map(int, np.flatnonzero(resets))})
        parts = list(itertools.pairwise(bounds))
        outputs: list[Array] = []
        state = begun = [each[row : row + 1] for each in states]
        for start, stop in reversed(parts) if layer.go_backwards else parts:
            is_first = stop == TIMESTEPS if layer.go_backwards else start == 0 and not resets[0]
            if not is_first:
                state = begun if reset_to == "initial_state" else [each * 0 for each in begun]
            own = None if mask is None else mask[row : row + 1, start:stop]
            y, last, *_ = layer(x[row : row + 1, start:stop], initial_state=state, mask=own)
            outputs.append(flat(y)[0][0])
        rows.append(np.concatenate(outputs))
        lasts.append(flat(last)[0][0])
    return np.stack(rows), np.stack(lasts)


@pytest.mark.parametrize(
    ("name", "cell", "mask", "go_backwards", "reset_to"),
    [
        ("auto", "lstm", "no mask", False, "zeros"),
        ("auto", "gru", "left padded and gaps", True, "initial_state"),
        *((name, "lstm", "right padded", True, "zeros") for name in TAKERS),
        *((name, "gru", "no mask", False, "initial_state") for name in TAKERS),
        *((name, "gru_reset_before", "left padded and gaps", True, "zeros") for name in TAKERS),
    ],
)
def test_layer_starts_over_where_resets_say(
    name: str, cell: str, mask: str, go_backwards: bool, reset_to: str
) -> None:
    how = {"return_sequences": True, "return_state": True, "go_backwards": go_backwards}
    layer, _ = pair(name, cell, units=UNITS, **how)
    layer.zero_output_for_mask = True
    rows = MASKS[mask]
    valid = None if rows is None else np.array([list(each) for each in rows]) == "1"
    x, states = random(BATCH, TIMESTEPS, FEATURES), [random(BATCH, UNITS, seed=k) for k in (1, 2)]
    states = states[: 2 if cell == "lstm" else 1]
    given: Any = {"initial_state": states, "mask": valid, "reset_to": reset_to}
    y, last, *_ = layer(x, resets=RESETS, **given)
    wanted = by_parts(layer, x, states, valid, reset_to)
    for mine, right in zip((y, last), wanted, strict=True):
        np.testing.assert_allclose(flat(mine)[0], right, atol=2e-6)


def test_loop_and_kernels_agree_on_resets_and_no_gradient_flows_past_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, resets = random(BATCH, TIMESTEPS, FEATURES), keras.ops.convert_to_tensor(RESETS)

    def gradients() -> Array:
        layer, _ = pair("auto", units=UNITS, return_sequences=True)
        layer.set_weights([random(*each.shape, seed=1) for each in layer.get_weights()])

        def late(x: Any) -> Any:
            return keras.ops.sum(layer(x, resets=resets, training=True)[:, 3:])

        if THEIRS == "jax":
            import jax

            return np.asarray(jax.grad(late)(x))
        import torch

        source = torch.tensor(x, requires_grad=True)
        return flat(torch.autograd.grad(late(source), source)[0].detach())[0]

    found = gradients()
    assert not found[0, :3].any()  # it starts over at step 3
    assert found[0, 3:].all()
    monkeypatch.setattr(base, "not_fused", lambda *given: "it is a test of the other code")
    np.testing.assert_allclose(gradients(), found, atol=1e-5)


def test_model_of_keras_takes_resets_as_an_input() -> None:
    inputs = keras.Input((TIMESTEPS, FEATURES)), keras.Input((TIMESTEPS,), dtype="bool")
    layer = lstm_impl.keras.LSTM(UNITS, return_sequences=True)
    model = keras.Model(inputs, layer(inputs[0], resets=inputs[1]))
    x = random(BATCH, TIMESTEPS, FEATURES)
    found = model.predict([x, RESETS], verbose=0)
    np.testing.assert_allclose(found, flat(layer(x, resets=RESETS))[0], atol=1e-6)


def test_resets_that_nothing_can_compute_are_refused_with_one_line() -> None:
    x = random(BATCH, TIMESTEPS, FEATURES)
    for name in ("keras", *(each for each in NAMES if each not in TAKERS)):
        with pytest.raises(UnsupportedError, match=f"backend={name!r} .* takes no resets"):
            lstm_impl.keras.LSTM(UNITS, backend=name)(x, resets=RESETS)
    with pytest.raises(UnsupportedError, match=r"has activation='relu',.* takes no resets"):
        lstm_impl.keras.LSTM(UNITS, activation="relu")(x, resets=RESETS)
    layer = lstm_impl.keras.GRU(UNITS)
    with pytest.raises(ValueError, match=r"resets is float32 \(4, 6\); expected bool \(4, 6\)"):
        layer(x, resets=RESETS.astype("float32"))
    with pytest.raises(ValueError, match=r"resets is bool \(6, 4\); expected bool \(4, 6\)"):
        layer(x, resets=RESETS.T)
    with pytest.raises(ValueError, match=r"reset_to is 'ones'; expected one of"):
        layer(x, resets=RESETS, reset_to="ones")
    with pytest.raises(TypeError, match="resets"):
        keras.layers.LSTM(UNITS)(x, resets=RESETS)


# -- float32 weights in a layer that computes in bfloat16


@pytest.mark.skipif(PICKED == "keras", reason="the kernels are unavailable here")
@pytest.mark.parametrize(
    ("units", "expected"), [(UNITS, "bfloat16"), (220, "float32")], ids=["small", "large"]
)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_mixed_layer_inside_a_mixed_model_reads_large_weights_as_they_are(
    units: int, expected: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    compute_layer = elsewhere._computing.compute_layer

    def remembering(*given: Any, **how: Any) -> Any:
        weights = given[2] if THEIRS == "torch" else given[3]
        read.extend(keras.backend.standardize_dtype(each.dtype) for each in weights)
        return compute_layer(*given, **how)

    monkeypatch.setattr(elsewhere._computing, "compute_layer", remembering)
    ours = getattr(lstm_impl.keras, kind)
    layer = ours(units, backend=NAMES[-1], dtype="mixed_bfloat16")
    # A model in mixed precision has an autocast scope of its own around the layer.
    model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), layer])
    model.dtype_policy = "mixed_bfloat16"
    x = random(BATCH, TIMESTEPS, FEATURES)
    y = model(x)
    count = len(read)
    assert read == count * [expected]
    assert count == (3 if kind == "LSTM" else 4)
    wide = getattr(keras.layers, kind)(units)
    wide.build(x.shape)
    wide.set_weights(layer.get_weights())
    found, wanted = (
        keras.ops.convert_to_numpy(keras.ops.cast(each, "float32")) for each in (y, wide(x))
    )
    np.testing.assert_allclose(found, wanted, atol=0.02)
    # JAX traces the step of training, so that small weights are read as they are, too.
    read.clear()
    model.compile("sgd", "mse")
    before = layer.get_weights()
    model.train_on_batch(x, random(BATCH, units, seed=1))
    assert read[:count] == count * ["float32" if THEIRS == "jax" else expected]
    for old, new in zip(before, layer.get_weights(), strict=True):
        assert new.dtype == np.float32
        assert np.abs(new - old).max() > 0


# -- the choice, and its message


@pytest.mark.parametrize(
    ("backend", "arguments", "message"),
    [
        ("while_loop", {}, f"Keras runs on {THEIRS} in this process, where backend is 'auto'"),
        ("jax_scan" if THEIRS == "torch" else "torch", {}, f"Keras runs on {THEIRS}"),
        (NAMES[0], {"activation": "relu"}, "activation='relu'"),
        (NAMES[0], {"recurrent_dropout": 0.1}, "recurrent_dropout=0.1"),
        (NAMES[0], {"unroll": True}, "unroll=True; leave it out, or use backend='keras'"),
        (NAMES[0], {"use_cudnn": True}, "use_cudnn=True"),
        ("tork", {}, "tork"),
    ],
)
def test_named_backend_that_cannot_compute_raises(
    backend: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        lstm_impl.keras.LSTM(UNITS, backend=backend, **arguments)


@pytest.mark.parametrize(
    ("arguments", "fallback"),
    [
        ({"activation": "relu"}, True),
        ({"recurrent_dropout": 0.2}, True),
        ({"unroll": True}, False),
        ({"use_cudnn": True}, False),
    ],
)
def test_auto_takes_keras_for_what_only_keras_computes(
    arguments: dict[str, Any], fallback: bool
) -> None:
    call = LayerCall("gpu", True, False, False, 1, 2, 3)
    made = {"units": UNITS, **arguments}
    choice = elsewhere.choose(Arguments(**made), call)
    assert (choice.backend, choice.fallback) == ("keras", fallback)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("use_cudnn", "on_torch"), [("auto", "torch"), (False, "keras")])
def test_auto_on_a_gpu_takes_what_has_cudnn(
    use_cudnn: bool | str, on_torch: str, masked: bool
) -> None:
    traced = THEIRS == "jax"
    call = LayerCall("gpu", True, traced, traced, 1, 2, 3, masked)
    picked = elsewhere.choose(Arguments(UNITS, use_cudnn=use_cudnn), call).backend
    assert picked == (on_torch if THEIRS == "torch" else "keras")


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_recorded_program_has_no_fixed_lengths(masked: bool, traced: bool) -> None:
    """PyTorch's packing by a mask would be recorded with the lengths of this call."""
    call = LayerCall("cpu", False, traced, False, 1, 20, 3, masked)
    choice = elsewhere.choose(Arguments(UNITS), call)
    in_a_program = "torch" if THEIRS == "torch" and not masked else "keras"
    assert choice.backend == (in_a_program if traced else PICKED)
    assert not choice.fallback


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("timesteps", [1, 2, 3])
def test_auto_leaves_few_steps_to_the_loop_of_keras(timesteps: int, training: bool) -> None:
    for traced in (False, True) if THEIRS == "jax" else (False,):
        step = LayerCall("cpu", training, traced, traced, 1, timesteps, 3, keras_step=traced)
        most = 2 if THEIRS == "torch" else int(traced and training)
        picked = elsewhere.choose(Arguments(UNITS), step).backend
        assert picked == ("keras" if timesteps <= most else PICKED)


def test_calls_ask_for_the_library_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def available_to(binding: library.Binding) -> Availability:
        asked.append(binding)
        return AVAILABLE

    monkeypatch.setattr(library, "available_to", available_to)
    monkeypatch.setattr(base, "_offered", functools.cache(base._offered.__wrapped__))
    layer = lstm_impl.keras.LSTM(UNITS)
    for _ in range(3):
        layer(random(BATCH, TIMESTEPS, FEATURES))
    assert len(asked) == 1


def test_auto_predicts_with_the_fused_kernels_and_exports_without() -> None:
    inputs = keras.Input((TIMESTEPS, FEATURES))
    layer = lstm_impl.keras.LSTM(UNITS)
    model = keras.Model(inputs, layer(inputs))
    layer._memory.choices.clear()
    model.predict(random(BATCH, TIMESTEPS, FEATURES), verbose=0)
    assert {choice.backend for _, choice in layer._memory.choices.values()} == {PICKED}
    if THEIRS == "jax":
        import jax

        variables = model.trainable_variables, model.non_trainable_variables
        values = [[each.value for each in some] for some in variables]
        program = jax.jit(lambda x: model.stateless_call(*values, x)[0])
        exported = jax.export.export(program)(random(BATCH, TIMESTEPS, FEATURES))
        assert exported.serialize()


def test_fallback_is_logged_once_and_explained(caplog: pytest.LogCaptureFixture) -> None:
    layer = lstm_impl.keras.LSTM(UNITS, activation="relu")
    assert "not called yet" in str(layer.explain())
    with caplog.at_level(logging.INFO, logger="lstm_impl"):
        for _ in range(3):
            layer(random(BATCH, TIMESTEPS, FEATURES))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    said = str(layer.explain())
    assert "activation='relu'" in said
    assert f"Keras runs on {THEIRS} in this process" in said


def test_tune_raises() -> None:
    with pytest.raises(UnsupportedError, match=f"Keras runs on {THEIRS} here"):
        lstm_impl.keras.tune(None, 1, 1)


@pytest.mark.skipif(THEIRS != "jax", reason="this is JAX's forward mode")
@pytest.mark.parametrize("backend", ["auto", *NAMES])
def test_forward_mode_of_jax_equals_keras(backend: str) -> None:
    import jax

    x = random(BATCH, TIMESTEPS, FEATURES)
    ours, theirs = pair(backend, units=UNITS)

    def jvp(layer: Any) -> Array:
        trained = [each.value for each in layer.trainable_variables]
        others = [each.value for each in layer.non_trainable_variables]

        def outputs(x: Any) -> Any:
            return layer.stateless_call(trained, others, x)[0]

        return np.asarray(jax.jvp(outputs, (x,), (np.ones_like(x),))[1])

    expected = jvp(theirs)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(jvp(ours), expected, atol=1e-5)
