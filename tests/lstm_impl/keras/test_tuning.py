"""Test ``lstm_impl.keras.tune``: races for a model's layers, and ``auto`` after them."""

import sys
from typing import Any

import numpy as np
import pytest

import lstm_impl
from lstm_impl.tuning import load

pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import keras

import lstm_impl.keras
from lstm_impl.keras import choice, tuning

BATCH, STEPS, WIDTH, UNITS = 2, 5, 3, 4
X = np.random.default_rng(0).standard_normal((BATCH, STEPS, WIDTH)).astype(np.float32)
TARGET = np.ones((BATCH, UNITS), np.float32)
QUICK = ("keras", "block_lstm", "cudnn")


def model(layer: Any = None) -> Any:
    made = keras.Sequential(
        [keras.Input((None, WIDTH)), layer or lstm_impl.keras.LSTM(UNITS, name="mine")]
    )
    made.compile("sgd", "mse", jit_compile=False)
    return made


def picked(layer: Any, training: bool = True) -> str:
    return next(  # type: ignore[no-any-return]
        choice.backend for call, choice in layer.explain().choices if call.training == training
    )


def test_tune_races_once_and_layers_take_the_fastest() -> None:
    made = model()
    made.train_function = made.test_function = made.predict_function = "traced"
    found = lstm_impl.keras.tune(made, BATCH, STEPS, candidates=QUICK, seconds=0.3)
    # Traced functions contain the old choice.
    assert made.train_function is made.test_function is made.predict_function is None
    assert [each.question.workload.mode for each in found] == ["training", "inference"]
    assert load() == sorted(found, key=lambda each: each.made)
    for each in found:
        cudnn = each.find_result("cudnn")
        assert cudnn is not None
        assert cudnn.problem
        by_rule = each.find_result(each.rule)
        assert by_rule is not None
        # One that computes the same may come too late to race.
        assert not by_rule.problem or "no time was left" in by_rule.problem
        assert each.backend in {*QUICK, each.rule}
    assert found[1].rule in ("fused_cpu", "keras")
    made.fit(X, TARGET, batch_size=BATCH, verbose=0)  # with a batch that is unknown in tracing
    assert picked(made.layers[0]) == found[0].backend
    assert lstm_impl.keras.tune(made, BATCH, STEPS, candidates=QUICK) == found


def test_tune_tells_of_each_backend_only_where_someone_reads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tuned(**given: Any) -> str:
        lstm_impl.keras.tune(
            *(model(), BATCH, STEPS),
            modes=["inference"],
            candidates=QUICK,
            seconds=0.2,
            again=True,
            **given,
        )
        out, err = capsys.readouterr()
        assert out == ""
        return str(err)

    assert tuned() == ""  # what pytest captures is no terminal
    lines: list[str] = []
    assert tuned(print_fn=lines.append) == ""
    assert all(line.startswith("mine, inference: ") for line in lines)
    told = [line.removeprefix("mine, inference: ") for line in lines]
    assert told[0] == f"checking {len(told) - 2} candidates before a race of 0.2 s"
    for name in QUICK[:2]:
        (line,) = (each for each in told if each.startswith(f"{name} "))
        # On a slow machine the second may come too late.
        assert "races; its first call took " in line or "no time was left" in line
    assert [each for each in told if each.startswith("cudnn does not race: ")]
    assert told[-1] == f"use {load()[-1].backend}"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert "mine, inference: keras races; its first call took " in tuned()
    assert tuned(print_fn=None) == ""


def test_tune_finds_layers_in_wrappers_and_models_once() -> None:
    shared = lstm_impl.keras.LSTM(UNITS, return_sequences=True, name="shared")
    inner = keras.Sequential([keras.Input((None, WIDTH)), shared])
    made = keras.Sequential(
        [
            keras.Input((None, WIDTH)),
            inner,
            keras.layers.Dense(WIDTH),
            shared,
            keras.layers.TimeDistributed(keras.layers.Dense(1)),
            keras.layers.Bidirectional(lstm_impl.keras.LSTM(UNITS, name="both")),
            keras.layers.Dense(1),
        ]
    )
    names = [layer.name for layer in tuning._to_choose(made)]
    assert sorted(names) == ["backward_both", "forward_both", "shared"]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: model(keras.layers.LSTM(UNITS)), "nothing to choose"),
        (lambda: model(lstm_impl.keras.LSTM(UNITS, backend="scan")), "nothing to choose"),
        (lambda: lstm_impl.keras.LSTM(UNITS, name="mine"), "layer 'mine' is not built yet"),
        (lambda: 3, "nothing to choose"),
    ],
)
def test_tune_untunable_model_is_refused(made: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lstm_impl.keras.tune(made(), BATCH, STEPS)


# -- masks and dropout


RATE = 0.5
WORKS = [(masked, rate) for masked in (False, True) for rate in (0.0, RATE)]


@pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning")  # Keras 3.16
def test_tune_model_with_masks_races_with_masks() -> None:
    made = keras.Sequential(
        [
            keras.Input((None, WIDTH)),
            keras.layers.Masking(),
            lstm_impl.keras.LSTM(UNITS, name="mine"),
        ]
    )
    made.compile("sgd", "mse", jit_compile=False)
    (found,) = lstm_impl.keras.tune(
        made,
        BATCH,
        STEPS,
        min_length=2,
        modes=["training"],
        candidates=("block_lstm",),
        seconds=0.2,
    )
    layer = made.layers[1]
    assert found.question.workload.lengths() is not None
    assert not any("differs" in each.problem for each in found.raced)
    assert ", with a mask: " + found.backend in str(layer.explain()), "before it is called"
    made.fit(X, TARGET, batch_size=BATCH, verbose=0)
    assert picked(layer) == found.backend
    assert "raced at 2 x 5 with lengths of 2 to 5" in str(layer.explain())


def entered(
    rate: float, min_length: int | None, *names: str, last: bool = False
) -> tuple[dict[str, Any], dict[str, str]]:
    layer = lstm_impl.keras.LSTM(UNITS, return_sequences=not last, dropout=rate)
    layer.build((None, None, WIDTH))
    sizes = choice.Sizes(BATCH, STEPS, min_length)
    question, _, _ = tuning.request(layer, True, sizes)
    return tuning.enter(layer, question, names)


@pytest.mark.parametrize(("masked", "rate"), WORKS)
def test_candidates_under_masks_and_dropout_equal_keras(masked: bool, rate: float) -> None:
    # What takes long to make meets masks with dropout, and neither: a loop here, and one that XLA
    # compiles, without either, in the first of the races above.
    loops = {(False, 0.0): ("scan",), (True, RATE): ("scan",)}
    steps, problems = entered(
        rate, 2 if masked else None, "block_lstm", *loops.get((masked, rate), ())
    )
    assert problems == {}
    for each in steps.values():
        each.run()


@pytest.mark.parametrize("other", [{"dropout": 0.0}, {"seed": 7}])
def test_tune_with_dropout_excludes_backends_without_it(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:

    kept = tuning.clone

    def otherwise(layer: Any, backend: str, **changed: Any) -> Any:
        if backend == "block_lstm" and "seed" in changed:
            changed |= other
        return kept(layer, backend, **changed)

    monkeypatch.setattr(tuning, "clone", otherwise)
    assert "differs from Keras's" in entered(RATE, None, "block_lstm")[1]["block_lstm"]
    # without dropout neither makes a difference
    assert entered(0.0, None, "block_lstm")[1] == {}
