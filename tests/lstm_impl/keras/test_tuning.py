"""``lstm_impl.keras.tune``: a model's layers are raced, and ``auto`` does what the race found."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstm_impl
from lstm_impl import LSTMSpec, Workload
from lstm_impl.tuning import Decision, Machine, Question, Raced, load, save

pytest.importorskip("keras", reason="the layer is Keras's: pip install '.[cpu]'")
tf = pytest.importorskip("tensorflow", reason="the layer is TensorFlow's: pip install '.[cpu]'")

import keras  # noqa: E402

import lstm_impl.keras  # noqa: E402
from lstm_impl.keras import decided, tuning  # noqa: E402
from lstm_impl.keras.choice import Arguments, Choice, LayerCall  # noqa: E402

BATCH, STEPS, WIDTH, UNITS = 2, 5, 3, 4
X = np.random.default_rng(0).standard_normal((BATCH, STEPS, WIDTH)).astype(np.float32)
TARGET = np.ones((BATCH, UNITS), np.float32)
QUICK = ("keras", "block_lstm", "cudnn")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "decisions"))
    return tmp_path / "decisions"


def model(layer: Any = None) -> Any:
    made = keras.Sequential(
        [keras.Input((None, WIDTH)), layer or lstm_impl.keras.LSTM(UNITS, name="mine")]
    )
    made.compile("sgd", "mse", jit_compile=False)
    return made


def layer_of(model: Any) -> Any:
    return model.layers[0]


def tuned(backend: str, training: bool = True, batch: int = BATCH) -> Decision:
    """A decision for ``backend`` as a race would have made it."""
    layer = lstm_impl.keras.LSTM(UNITS)
    layer.build((None, None, WIDTH))
    question, rule, _ = tuning.asked(layer, training, decided.Sizes(batch, STEPS))
    raced = (Raced(backend, 1e-3, 1.0, 1.0, 1.0, 20), Raced(rule, 2e-3, 2.0, 1.9, 2.1, 20))
    return Decision(question, raced, rule, "2026-11-26T07:00:00+00:00", "a test")


def picked(layer: Any, training: bool = True) -> str:
    return next(  # type: ignore[no-any-return]
        choice.backend for call, choice in layer.explain().choices if call.training == training
    )


def test_a_model_is_raced_once_and_its_layers_take_the_fastest(folder: Path) -> None:
    made = model()
    found = lstm_impl.keras.tune(made, BATCH, STEPS, candidates=QUICK, seconds=0.3)
    assert [each.question.workload.mode for each in found] == ["training", "inference"]
    assert load() == sorted(found, key=lambda each: each.made)
    for each in found:
        cudnn = each.result_of("cudnn")
        assert cudnn is not None
        assert cudnn.problem
        by_rule = each.result_of(each.rule)
        assert by_rule is not None
        # What is compared and computes the same may come too late to race.
        assert not by_rule.problem or "no time was left" in by_rule.problem
        assert each.backend in {*QUICK, each.rule}
    # Compiled by XLA, without a mask and dropout.
    assert found[1].rule == "while_loop+xla"
    made.fit(X, TARGET, batch_size=BATCH, verbose=0)  # whose batch is not known when it is traced
    assert picked(layer_of(made)) == found[0].backend
    assert lstm_impl.keras.tune(made, BATCH, STEPS, candidates=QUICK) == found


def test_one_that_computes_something_else_does_not_race() -> None:
    made = model()
    (found,) = lstm_impl.keras.tune(
        made, BATCH, STEPS, modes=["training"], candidates=["block_lstm+registered"], seconds=0.2
    )
    wrong = found.result_of("block_lstm+registered")
    assert wrong is not None
    assert "wrong, on purpose" in wrong.problem


def test_results_that_differ_from_keras_s_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from lstm_impl.keras import alike, entrants

    layer = lstm_impl.keras.LSTM(UNITS, return_sequences=True)
    layer.build((None, None, WIDTH))
    x = entrants.sample(BATCH, STEPS, WIDTH, "float32")
    truth = entrants.results(entrants.clone(layer, "keras"), x)
    spec = LSTMSpec(WIDTH, UNITS)
    ours = entrants.results(entrants.clone(layer, "block_lstm"), x)
    assert alike.difference(ours, truth, spec, BATCH, STEPS) == ""
    for name in ours:
        off = ours | {name: ours[name] + 1e-2}
        assert name in alike.difference(off, truth, spec, BATCH, STEPS)
        broken = ours | {name: ours[name] * np.nan}
        assert name in alike.difference(broken, truth, spec, BATCH, STEPS)


def test_a_layer_made_later_knows_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    save(tuned("scan"))
    layer = lstm_impl.keras.LSTM(UNITS)
    with caplog.at_level(logging.INFO, "lstm_impl.keras"):
        layer(X, training=True)
    assert picked(layer) == "scan"
    assert "raced" in caplog.text
    explained = str(layer.explain())
    assert "it was the fastest of 2 raced at 2 x 5 (2026-11-26T07:00:00+00:00, a test)" in explained
    assert "2.00 times as fast as the rule's fused_cpu (1.90 to 2.10)" in explained.replace(
        "block_lstm",
        "fused_cpu",  # the rule's pick where there is no compiler
    )
    # other sizes, and another mode, were not raced
    layer(np.zeros((64, STEPS, WIDTH), np.float32), training=True)
    layer(X, training=False)
    assert picked(layer, training=False) != "scan"


def test_a_decision_of_the_suite_is_taken_where_no_layer_was_raced() -> None:
    found = tuned("scan")
    work = Workload(BATCH, STEPS, "training", gradients="all", optimizer="adam")
    taught = replace(found, question=replace(found.question, workload=work, through="model"))
    save(taught)
    layer = lstm_impl.keras.LSTM(UNITS)
    layer(X, training=True)
    assert picked(layer) == "scan"
    save(tuned("while_loop"))
    layer = lstm_impl.keras.LSTM(UNITS)
    layer(X, training=True)
    assert picked(layer) == "while_loop"


def test_a_layer_at_work_does_not_change_when_another_process_tunes() -> None:
    layer = lstm_impl.keras.LSTM(UNITS)
    layer(X, training=True)
    before = picked(layer)
    save(tuned("scan"))
    layer(X, training=True)
    assert picked(layer) == before != "scan"


def test_a_folder_that_cannot_be_read_is_no_decision(folder: Path) -> None:
    folder.mkdir()
    (folder / "0123456789abcdef.json").write_text("no decision")
    layer = lstm_impl.keras.LSTM(UNITS)
    assert layer(X).shape == (BATCH, UNITS)


def test_what_the_layer_s_arguments_rule_out_is_passed_over() -> None:
    save(tuned("scan"))
    for arguments in ({"activation": "relu"}, {"unroll": True}, {"recurrent_dropout": 0.5}):
        layer = lstm_impl.keras.LSTM(UNITS, **arguments)
        layer(X, training=True)
        assert picked(layer) != "scan"


def _choice(found: Decision, call: LayerCall, rule: str = "keras") -> Choice | None:
    return decided.choice(found, Arguments(UNITS), call, Choice(rule, "a rule"))


def test_xla_is_taken_only_where_all_sizes_are_known_in_a_graph() -> None:
    found = tuned("while_loop+hoisted+xla")
    static = LayerCall("cpu", True, True, False, BATCH, STEPS, WIDTH)
    assert _choice(found, static) is not None
    for call in (replace(static, batch=None), replace(static, traced=False)):
        choice = _choice(found, call)
        assert choice is not None
        assert choice.backend != "while_loop+hoisted+xla"
        assert choice.passed_over[0].startswith("while_loop+hoisted+xla: ")


def test_in_a_graph_that_xla_compiles_only_what_it_can_compile_is_taken() -> None:
    found = replace(tuned("block_lstm"), raced=(Raced("block_lstm", 1.0, 1.0, 1.0, 1.0, 20),))
    assert _choice(found, LayerCall("cpu", True, True, True, BATCH, STEPS, WIDTH)) is None


def test_a_backend_that_is_not_known_here_is_passed_over() -> None:
    found = replace(tuned("scan"), raced=(Raced("theirs", 1.0, 1.0, 1.0, 1.0, 20),))
    assert _choice(found, LayerCall("cpu", True, True, False, BATCH, STEPS, WIDTH)) is None


def test_layers_in_wrappers_and_models_are_found_each_once() -> None:
    shared = lstm_impl.keras.LSTM(UNITS, return_sequences=True, name="shared")
    inner = keras.Sequential([keras.Input((None, WIDTH)), shared])
    made = keras.Sequential(
        [
            keras.Input((None, WIDTH)),
            inner,
            keras.layers.Bidirectional(lstm_impl.keras.LSTM(UNITS, name="both")),
            keras.layers.Dense(1),
        ]
    )
    names = [layer.name for layer in tuning._lstms(made)]
    assert names[0] == "shared"
    assert len(names) == 3


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: model(keras.layers.LSTM(UNITS)), "nothing to choose"),
        (lambda: model(lstm_impl.keras.LSTM(UNITS, backend="scan")), "nothing to choose"),
        (lambda: lstm_impl.keras.LSTM(UNITS, name="mine"), "layer 'mine' is not built yet"),
        (lambda: 3, "nothing to choose"),
    ],
)
def test_what_cannot_be_tuned_is_told(made: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lstm_impl.keras.tune(made(), BATCH, STEPS)


def test_sizes_and_seconds_must_be_positive() -> None:
    with pytest.raises(ValueError, match="seconds is 0"):
        lstm_impl.keras.tune(model(), BATCH, STEPS, seconds=0)
    with pytest.raises(ValueError, match="batch_size is -1"):
        lstm_impl.keras.tune(model(), -1, STEPS)
    with pytest.raises(ValueError, match="steps is 0"):
        lstm_impl.keras.tune(model(), BATCH, 0)
    with pytest.raises(ValueError, match="min_length is 0"):
        lstm_impl.keras.tune(model(), BATCH, STEPS, min_length=0)
    with pytest.raises(ValueError, match="min_length is 6; expected at most the 5 steps"):
        lstm_impl.keras.tune(model(), BATCH, STEPS, min_length=6)
    with pytest.raises(lstm_impl.UnsupportedError, match="did you mean scan"):
        lstm_impl.keras.tune(model(), BATCH, STEPS, candidates=["scann"])


def test_sizes_that_are_not_known_are_those_that_tune_was_told() -> None:
    arguments = Arguments(UNITS)
    call = LayerCall("cpu", True, True, False, None, None, WIDTH)
    machine = tuned("scan").question.machine
    assert decided.question(arguments, call, machine, None) is None
    found = decided.question(arguments, call, machine, decided.Sizes(BATCH, STEPS))
    assert isinstance(found, Question)
    assert (found.workload.batch, found.workload.timesteps) == (BATCH, STEPS)
    known = replace(call, batch=7, timesteps=9)
    found = decided.question(arguments, known, machine, decided.Sizes(BATCH, STEPS))
    assert found is not None
    assert (found.workload.batch, found.workload.timesteps) == (7, 9)


# -- masks and dropout


MASK = np.arange(STEPS)[None] < np.array([STEPS, 2])[:, None]
RATE = 0.5
WORKS = [(masked, rate) for masked in (False, True) for rate in (0.0, RATE)]


def asked_for(masked: bool, rate: float, training: bool = True) -> Question:
    call = LayerCall("cpu", training, True, False, BATCH, STEPS, WIDTH, masked)
    found = decided.question(Arguments(UNITS, dropout=rate), call, Machine("here", {}), None)
    assert found is not None
    return found


@pytest.mark.parametrize(("masked", "rate"), WORKS)
@pytest.mark.parametrize("through", ["keras", "model"])
def test_a_decision_is_for_calls_with_such_a_mask_and_dropout_only(
    masked: bool, rate: float, through: str
) -> None:
    question = replace(asked_for(masked, rate), through=through)
    found = Decision(question, (Raced("scan", 1.0, 1.0, 1.0, 1.0, 20),), "", "then", "a test")
    for other in WORKS:
        taken = decided.decision(asked_for(*other), [found])
        # the dropout of a model is another one, between layers
        wanted = other == (masked, rate) and not (rate and through == "model")
        assert (taken is not None) == wanted, other
        missed = decided.other_work(asked_for(*other), [found])
        if other[0] != masked:
            words = "with a mask" if other[0] else "without a mask"
            assert f"this call is {words}" in missed
        if bool(other[1]) != bool(rate):
            assert ("with dropout" if other[1] else "without dropout") in missed


def test_a_dropout_that_does_not_act_asks_the_same_as_none() -> None:
    assert asked_for(False, RATE, training=False) == asked_for(False, 0.0, training=False)
    assert asked_for(False, 1.0) == asked_for(False, 0.0)


def test_what_was_raced_for_other_work_or_other_sizes_is_told_apart() -> None:
    found = Decision(
        asked_for(True, 0.0), (Raced("scan", 1.0, 1.0, 1.0, 1.0, 20),), "", "then", "a test"
    )
    far = replace(asked_for(False, 0.0), workload=Workload(9 * BATCH, STEPS, "training"))
    assert decided.other_work(far, [found]) == ""
    assert decided.other_work(asked_for(False, 0.0, training=False), [found]) == ""


def test_a_model_with_masks_is_raced_with_them_and_says_so() -> None:
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


def test_a_layer_whose_calls_were_not_raced_says_what_was() -> None:
    save(tuned("scan"))
    layer = lstm_impl.keras.LSTM(UNITS)
    layer(X, mask=MASK, training=True)
    assert picked(layer) != "scan"
    explained = str(layer.explain())
    assert "outside a graph, batch x time 2x5, with a mask" in explained
    assert "not what was raced at 2 x 5 (scan was the fastest; " in explained
    assert "this call is with a mask, which was not raced" in explained
    # both ways of calling are explained, though one backend computes them
    layer = lstm_impl.keras.LSTM(UNITS, backend="keras")
    layer(X, training=True)
    layer(X, mask=MASK, training=True)
    assert [call.masked for call, _ in layer.explain().choices] == [False, True]


def entered(
    rate: float, min_length: int | None, *names: str, last: bool = False
) -> tuning.Entrants:
    layer = lstm_impl.keras.LSTM(UNITS, return_sequences=not last, dropout=rate)
    layer.build((None, None, WIDTH))
    sizes = decided.Sizes(BATCH, STEPS, min_length)
    question, rule, _ = tuning.asked(layer, True, sizes)
    return tuning.enter(layer, question, rule, names)


@pytest.mark.parametrize(("masked", "rate"), WORKS)
def test_under_masks_and_dropout_candidates_compute_what_keras_does(
    masked: bool, rate: float
) -> None:
    # What takes long to make meets masks with dropout, and neither: a loop here, and one that XLA
    # compiles, without either, in the first of the races above.
    loops = {(False, 0.0): ("scan",), (True, RATE): ("scan", "while_loop+hoisted+xla")}
    field = entered(rate, 2 if masked else None, "block_lstm", *loops.get((masked, rate), ()))
    assert field.problems == {}
    for each in field.steps.values():
        each.run()


def test_one_that_ignores_the_mask_does_not_race_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from lstm_impl.keras import core

    by_loop = core.by_loop
    monkeypatch.setattr(
        core, "by_loop", lambda backend, x, _, reverse: by_loop(backend, x, None, reverse)
    )
    assert entered(0.0, None, "scan", last=True).problems == {}
    # The last output; those of each step are the layer's own, where a step is padding.
    assert "differs from Keras's" in entered(0.0, 2, "scan", last=True).problems["scan"]


@pytest.mark.parametrize("other", [{"dropout": 0.0}, {"seed": 7}])
def test_one_that_drops_nothing_or_something_else_does_not_race_with_dropout(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    from lstm_impl.keras import entrants

    kept = entrants.clone

    def otherwise(layer: Any, backend: str, **changed: Any) -> Any:
        if backend == "block_lstm" and "seed" in changed:
            changed |= other
        return kept(layer, backend, **changed)

    monkeypatch.setattr(entrants, "clone", otherwise)
    assert "differs from Keras's" in entered(RATE, None, "block_lstm").problems["block_lstm"]
    # where nothing is dropped neither makes a difference
    assert entered(0.0, None, "block_lstm").problems == {}


def test_the_mask_is_that_of_sequences_padded_on_the_right_or_on_both_sides() -> None:
    from lstm_impl.keras import entrants

    assert entrants.padding(Workload(BATCH, STEPS)) is None
    assert entrants.padding(Workload(BATCH, STEPS), around=True) is None
    work = Workload(BATCH, STEPS, min_length=2)
    np.testing.assert_array_equal(entrants.padding(work), MASK)
    around = [[True] * STEPS, [False, False, True, True, False]]
    np.testing.assert_array_equal(entrants.padding(work, around=True), around)
