"""What a backend promises: its name, the registry, entry points, and errors that say what to do."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstm_impl
from lstm_impl import (
    Availability,
    LSTMSpec,
    LSTMState,
    LSTMWeights,
    UnavailableError,
    UnsupportedError,
    Workload,
    dropout_masks,
    get_backend,
    list_backends,
    reference,
)
from lstm_impl.backends.numpy_loop import NumPyLoop
from tests.loaded import FRAMEWORKS, SLOW, loaded_by

SPEC = LSTMSpec(3, 4)
DEEP = LSTMSpec(3, 4, num_layers=2, bidirectional=True)


def build(spec: LSTMSpec = SPEC, **options: Any) -> lstm_impl.Model:
    return get_backend("numpy").build(spec, LSTMWeights.random(spec), **options)


# -- names


def test_every_listed_backend_is_found_by_its_name_and_spells_it_so() -> None:
    names = list_backends()
    assert len(names) == len(set(names))
    assert {"numpy", "while_loop", "static_unroll", "cudnn"} <= set(names)
    for name in names:
        backend = get_backend(name)
        assert backend.name == name
        assert backend.strategy == name.partition("+")[0].partition("@")[0]
        assert backend.summary
        assert "\n" not in backend.summary
        assert set(backend.devices) <= {"cpu", "gpu"}


def test_options_are_spelled_in_one_order_and_once() -> None:
    assert get_backend("while_loop+xla+hoisted+xla").name == "while_loop+hoisted+xla"
    assert repr(get_backend("cudnn+training+lengths")) == "<backend cudnn+lengths+training>"


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("while_lop", "while_loop"),
        ("whileloop", "while_loop"),
        ("Numpy", "numpy"),
        ("static-unroll", "static_unroll"),
        ("cudnnn+repack", "cudnn\\+repack"),
        ("while_loop + xla", "while_loop\\+xla"),
    ],
)
def test_an_unknown_name_is_answered_with_close_ones(name: str, close: str) -> None:
    with pytest.raises(UnsupportedError, match=f"there is no backend .*did you mean .*{close}"):
        get_backend(name)


@pytest.mark.parametrize("name", ["", "§§§", "+xla", "@3"])
def test_a_name_like_no_other_is_answered_with_where_to_look(name: str) -> None:
    with pytest.raises(UnsupportedError, match="there is no backend") as caught:
        get_backend(name)
    assert "list_backends()" in str(caught.value) or "did you mean" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("while_loop+fast", r"while_loop has no option \+fast; its options are: \+preproject"),
        ("numpy+xla", r"numpy has no option \+xla; its options are: none"),
        ("while_loop@3", r"while_loop takes no number \(@3\)"),
        ("while_loop+preproject+hoisted", r"hoisted computes the input product.*drop \+preproject"),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str, says: str) -> None:
    with pytest.raises(UnsupportedError, match=says):
        get_backend(name)


class Numbered(NumPyLoop):
    """A strategy with a number, as ``partial_unroll`` has one."""

    strategy = "numbered"
    flags = ("b", "a")
    takes_number = True

    @classmethod
    def variants(cls) -> tuple[str, ...]:
        return ("numbered@2",)


def test_a_number_is_part_of_the_name() -> None:
    assert Numbered(["a", "b"], 7).name == "numbered@7+b+a"
    with pytest.raises(UnsupportedError, match="numbered needs a number, as in numbered@10"):
        Numbered()
    with pytest.raises(UnsupportedError, match="the number must be at least 1"):
        Numbered([], 0)


# -- entry points: backends from other packages

PLUGIN = """
from lstm_impl.backends.numpy_loop import NumPyLoop
from tests.loaded import FRAMEWORKS, SLOW, loaded_by

class Abacus(NumPyLoop):
    strategy = "abacus"
    summary = "beads"
    flags = ("ivory",)

class Leaving(NumPyLoop):
    strategy = "leaving"

    def __init__(self, *given):
        raise SystemExit(3)

    @classmethod
    def variants(cls):
        raise GeneratorExit

not_a_class = "beads"
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a distribution with these entry points on the path, as pip would."""

    def install(**points: str) -> None:
        (tmp_path / "abacus_lstm.py").write_text(PLUGIN)
        (tmp_path / "broken_lstm.py").write_text("import a_package_that_is_not_there\n")
        (tmp_path / "exiting_lstm.py").write_text("raise SystemExit(4)\n")
        information = tmp_path / "abacus_lstm-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: abacus-lstm\n")
        lines = [f"{name} = {target}" for name, target in points.items()]
        (information / "entry_points.txt").write_text(
            "\n".join(["[lstm_impl.backends]", *lines, ""])
        )
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()

    for module in ("abacus_lstm", "broken_lstm", "exiting_lstm"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return install


def test_a_backend_of_another_package_is_listed_and_computes(install: Callable[..., None]) -> None:
    assert "abacus" not in list_backends()
    install(abacus="abacus_lstm:Abacus")
    assert "abacus" in list_backends()
    backend = get_backend("abacus+ivory")
    assert backend.name == "abacus+ivory"
    weights = LSTMWeights.random(SPEC)
    x = np.ones((2, 1, 3))
    y, _ = backend.build(SPEC, weights).forward(x)
    np.testing.assert_allclose(y, reference.forward(SPEC, weights, x)[0], atol=1e-6)
    with pytest.raises(UnsupportedError, match="did you mean abacus"):
        get_backend("abakus")


def test_for_one_of_ours_no_installed_package_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that is called outside a graph asks in each call, and it would take milliseconds."""

    def asked(**which: str) -> None:
        raise AssertionError(which)

    monkeypatch.setattr(importlib.metadata, "entry_points", asked)
    assert get_backend("while_loop+xla").name == "while_loop+xla"
    with pytest.raises(AssertionError, match=r"lstm_impl\.backends"):
        get_backend("abacus")


def test_a_backend_that_cannot_be_made_says_so_and_hides_no_other(
    install: Callable[..., None],
) -> None:
    before = list_backends()
    install(leaving="abacus_lstm:Leaving", exiting="exiting_lstm:Abacus")
    with pytest.raises(UnavailableError, match="backend 'leaving' cannot be made: SystemExit: 3"):
        get_backend("leaving")
    with pytest.raises(UnavailableError, match="which cannot be imported: SystemExit: 4"):
        get_backend("exiting")
    assert list_backends() == [*before, "leaving", "exiting"]


def test_another_package_cannot_take_the_name_of_a_built_in_backend(
    install: Callable[..., None],
) -> None:
    install(numpy="abacus_lstm:Abacus")
    assert type(get_backend("numpy")) is NumPyLoop


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (
            "broken_lstm:Abacus",
            "cannot be imported: ModuleNotFoundError: No module named 'a_package_that_is",
        ),
        ("abacus_lstm:Missing", "abacus_lstm:Missing, which cannot be imported"),
        ("abacus_lstm:not_a_class", "abacus_lstm:not_a_class, which is no Backend"),
    ],
)
def test_an_entry_point_that_leads_nowhere_says_so_and_hides_no_other_backend(
    install: Callable[..., None], target: str, says: str
) -> None:
    before = list_backends()
    install(abacus=target)
    with pytest.raises(UnsupportedError, match=f"backend 'abacus' is registered as .*{says}"):
        get_backend("abacus")
    assert list_backends() == [*before, "abacus"]  # there to be asked for, and to say why not
    with pytest.raises(UnsupportedError, match="did you mean while_loop"):
        get_backend("while_lop")


# -- what is not installed, and what is not imported


def test_asking_for_every_backend_loads_no_framework() -> None:
    loaded = loaded_by(
        """
import lstm_impl
from lstm_impl import LSTMSpec, LSTMWeights, Workload
for name in lstm_impl.list_backends():
    backend = lstm_impl.get_backend(name)
    backend.refusal(LSTMSpec(2, 3), Workload(1, 1))
    backend.availability("cpu")
    backend.availability("tpu:0")
weights = LSTMWeights.random(LSTMSpec(2, 3))
lstm_impl.get_backend("numpy").build(LSTMSpec(2, 3), weights).forward([[[0.0, 1.0]]])
"""
    )
    assert "lstm_impl.backends.cudnn" in loaded
    assert sorted(loaded & {*FRAMEWORKS, *SLOW, "scipy", "rich", "pytest"}) == []


def test_importing_the_library_imports_no_backend() -> None:
    loaded = loaded_by("import lstm_impl")
    assert not [name for name in loaded if name.startswith("lstm_impl.backends.")]


def test_where_no_framework_is_installed_each_backend_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> Any:
        return None if name.partition(".")[0] in FRAMEWORKS else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    for name in list_backends():
        backend = get_backend(name)
        device = "cpu" if "cpu" in backend.devices else "gpu:0"
        found = backend.availability(device)
        if backend.framework == "numpy":
            assert found, name
            continue
        assert "is not installed" in str(found), name
        assert "pip install" in found.install, name
        with pytest.raises(UnavailableError, match="is not installed"):
            backend.build(SPEC, LSTMWeights.random(SPEC), device=device)


def test_availability_reads_as_a_sentence() -> None:
    assert str(Availability(True)) == "available"
    assert str(Availability(False, "no bread")) == "no bread"
    assert str(Availability(False, "no bread", "bake some")) == "no bread: bake some"
    assert Availability(True)
    assert not Availability(False, "no bread")


@pytest.mark.parametrize("name", ["numpy", "while_loop", "static_unroll"])
@pytest.mark.parametrize("device", ["tpu:0", "gpu:nine", "gpu:-1", ""])
def test_a_device_that_is_not_there_is_refused_with_backend_and_device(
    name: str, device: str
) -> None:
    backend = get_backend(name)
    with pytest.raises(UnavailableError, match=f"^{name} on {device}: ..."):
        backend.build(SPEC, LSTMWeights.random(SPEC), device=device)


def test_an_unavailable_backend_is_an_unsupported_one_to_who_catches_that() -> None:
    with pytest.raises(UnsupportedError, match="NumPy computes on the CPU only"):
        build(device="gpu:0")


def test_a_spec_that_a_backend_refuses_is_not_built() -> None:
    class Picky(NumPyLoop):
        def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
            return "only on Sundays" if workload is None or workload.training else ""

    with pytest.raises(UnsupportedError, match=r"^numpy: only on Sundays$"):
        Picky().build(SPEC, LSTMWeights.random(SPEC))


def test_a_workload_that_a_backend_refuses_is_not_computed() -> None:
    class Lazy(NumPyLoop):
        def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
            return "no training" if workload is not None and workload.training else ""

    model = Lazy().build(SPEC, LSTMWeights.random(SPEC))
    model.forward(np.zeros((1, 1, 3)))
    with pytest.raises(UnsupportedError, match=r"^numpy: no training$"):
        model.gradients(np.zeros((1, 1, 3)), np.zeros((1, 1, 4)))
    with pytest.raises(UnsupportedError, match=r"^numpy: no training$"):
        model.prepare(Workload(1, 1, "training"))
    model.prepare(Workload(1, 1))


# -- weights


def test_weights_that_do_not_fit_are_refused_at_building_and_at_setting() -> None:
    other = LSTMWeights.random(LSTMSpec(3, 5))
    with pytest.raises(ValueError, match=r"kernel has shape \(3, 20\); expected \(3, 16\)"):
        get_backend("numpy").build(SPEC, other)
    with pytest.raises(ValueError, match=r"kernel has shape \(3, 20\); expected \(3, 16\)"):
        build().set_weights(other)


def test_weights_are_rounded_to_what_the_precision_can_hold() -> None:
    spec = LSTMSpec(3, 4, dtype="float16")
    fine = LSTMWeights.random(LSTMSpec(3, 4, dtype="float64"), seed=3)
    model = get_backend("numpy").build(spec, fine)
    for _ in range(2):
        for array, given_array in zip(model.get_weights().arrays(), fine.arrays(), strict=True):
            np.testing.assert_array_equal(array, given_array.astype(np.float16))
        fine = LSTMWeights.random(LSTMSpec(3, 4, dtype="float64"), seed=4)
        model.set_weights(fine)


# -- what goes in


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.zeros((2, 3)), r"x has shape \(2, 3\); expected three axes, \[time, batch, feature\]"),
        (np.zeros(()), r"x has shape \(\); expected three axes"),
        (np.zeros((0, 2, 3)), "so no timesteps; expected at least one"),
        (np.zeros((2, 0, 3)), "so no sequences; expected at least one"),
        (np.zeros((2, 2, 4)), r"x has shape \(2, 2, 4\); expected \(2, 2, 3\)"),
        (np.full((2, 2, 3), np.nan), r"x\[0, 0, 0\] is nan; expected finite numbers"),
        (np.array([[[1, 2, 3]], [[1, np.inf, 3]]]), r"x\[1, 0, 1\] is inf"),
    ],
)
def test_an_input_that_makes_no_sense_is_refused(x: Any, says: str) -> None:
    model = build()
    with pytest.raises(ValueError, match=says):
        model.forward(x)
    with pytest.raises(ValueError, match=says):
        model.gradients(x, np.zeros((2, 2, 4)))


def test_nan_is_refused_on_padding_too() -> None:
    """Some backends multiply padding by zero, which NaN survives."""
    x = np.zeros((3, 2, 3))
    x[2, 1, 0] = np.nan
    with pytest.raises(ValueError, match=r"x\[2, 1, 0\] is nan"):
        build().forward(x, lengths=[3, 2])


def test_a_batch_major_model_speaks_of_its_own_axes() -> None:
    model = build(batch_major=True)
    with pytest.raises(ValueError, match=r"no timesteps; .*\(\[batch, time, feature\]\)"):
        model.forward(np.zeros((2, 0, 3)))
    with pytest.raises(ValueError, match=r"lengths has shape \(5,\) .*expected 2 integers"):
        model.forward(np.zeros((2, 5, 3)), lengths=[1, 1, 1, 1, 1])


def test_a_number_that_the_precision_cannot_hold_is_named() -> None:
    model = build(LSTMSpec(3, 4, dtype="float16"))
    with pytest.raises(ValueError, match=r"x\[0, 0, 2\] is 1000000.0; .* that float16 can hold"):
        model.forward([[[1.0, 2.0, 1e6]]])


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        ([1], r"lengths has shape \(1,\) .*; expected 2 integers, one for each sequence"),
        ([[1, 2]], r"lengths has shape \(1, 2\)"),
        ([1.0, 2.0], "type float64; expected 2 integers"),
        ([True, True], "type bool"),
        ([0, 3], "lengths holds 0 to 3; expected 1 to the 3 timesteps of x"),
        ([1, 4], "lengths holds 1 to 4; expected 1 to the 3"),
    ],
)
def test_lengths_that_make_no_sense_are_refused(lengths: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build().forward(np.zeros((3, 2, 3)), lengths=lengths)


@pytest.mark.parametrize("name", ["h", "c"])
@pytest.mark.parametrize("which", ["state", "dstate"])
def test_a_state_that_does_not_fit_is_named(which: str, name: str) -> None:
    model = build(DEEP)
    x, dy = np.zeros((2, 5, 3)), np.zeros((2, 5, 8))
    good = np.zeros((4, 5, 4))
    for bad, says in (
        (np.zeros((1, 5, 4)), rf"{which}.{name} has shape \(1, 5, 4\); expected \(4, 5, 4\)"),
        (np.full((4, 5, 4), np.nan), rf"{which}.{name}\[0, 0, 0\] is nan"),
    ):
        state = LSTMState(**{"h": good, "c": good, name: bad})
        with pytest.raises(ValueError, match=says):
            model.gradients(x, dy, *((state,) if which == "state" else (None, state)))


def test_a_gradient_that_does_not_fit_the_output_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dy has shape \(2, 5, 4\); expected \(2, 5, 8\)"):
        build(DEEP).gradients(np.zeros((2, 5, 3)), np.zeros((2, 5, 4)))


def test_masks_need_two_layers_and_their_shape() -> None:
    x = np.zeros((2, 5, 3))
    with pytest.raises(ValueError, match="dropout acts between layers and there is one"):
        build().forward(x, masks=np.ones((0, 2, 5, 4)))
    with pytest.raises(ValueError, match=r"masks has shape \(2, 5, 8\); expected \(1, 2, 5, 8\)"):
        build(DEEP).forward(x, masks=np.ones((2, 5, 8)))


# -- what comes out, and the step for the clock


def test_results_come_in_the_storage_type_and_go_in_again() -> None:
    for dtype in ("float16", "float32", "float64", "bfloat16"):
        spec = LSTMSpec(3, 4, num_layers=2, dtype=dtype)
        model = build(spec)
        y, state = model.forward(np.ones((2, 1, 3)))
        gradients = model.gradients(np.ones((2, 1, 3)), y, state, dstate=state)
        arrays = [y, state.h, state.c, gradients.x, gradients.state.h]
        for array in [*arrays, *gradients.weights.arrays()]:
            assert array.dtype == spec.precision.storage
        model.forward(np.ones((2, 1, 3)), state)


def test_a_batch_major_model_computes_the_same_with_its_axes_exchanged() -> None:
    inputs = Workload(2, 5, "training", min_length=2).inputs(DEEP)
    y, state = build(DEEP).forward(inputs.x, inputs.state, inputs.lengths)
    gradients = build(DEEP).gradients(inputs.x, inputs.dy, inputs.state, None, inputs.lengths)
    model = build(DEEP, batch_major=True)
    x, dy = (np.swapaxes(array, 0, 1) for array in (inputs.x, inputs.dy))
    y_other, state_other = model.forward(x, inputs.state, inputs.lengths)
    other = model.gradients(x, dy, inputs.state, None, inputs.lengths)
    np.testing.assert_array_equal(np.swapaxes(y_other, 0, 1), y)
    np.testing.assert_array_equal(state_other.c, state.c)
    np.testing.assert_array_equal(np.swapaxes(other.x, 0, 1), gradients.x)
    np.testing.assert_array_equal(other.weights.arrays()[0], gradients.weights.arrays()[0])


def test_a_step_works_through_the_windows_with_the_state_carried() -> None:
    workload = Workload(2, 8, window=3)
    inputs = workload.inputs(SPEC, seed=4)
    model = build()
    step = model.prepare(workload, seed=4)
    step.trace()
    last = step.run()
    step.synchronize()
    whole, final = model.forward(inputs.x, inputs.state)
    np.testing.assert_allclose(last.y, whole[6:], atol=1e-6)
    np.testing.assert_allclose(last.c, final.c, atol=1e-6)
    np.testing.assert_array_equal(step.run().y, last.y)  # and begins again at the next call


def test_a_training_step_stops_the_gradient_between_windows() -> None:
    workload = Workload(2, 4, "training", window=2)
    inputs = workload.inputs(SPEC, seed=4)
    model = build()
    raw = model.prepare(workload, seed=4).run()
    _, state = model.forward(inputs.x[:2], inputs.state)
    alone = model.gradients(inputs.x[2:], inputs.dy[2:], state)
    np.testing.assert_allclose(raw.dx, alone.x, atol=1e-6)
    np.testing.assert_allclose(raw.dh, alone.state.h, atol=1e-6)
    np.testing.assert_allclose(raw.weights.arrays()[0], alone.weights.arrays()[0], atol=1e-5)


@pytest.mark.parametrize("optimizer", [None, "adam"])
def test_a_step_computes_the_gradients_that_its_workload_names(optimizer: str | None) -> None:
    everything = build(DEEP).prepare(Workload(2, 4, "training", optimizer=optimizer)).run()
    for gradients, asked in (("weights", ()), ("weights+input", ("dx",))):
        workload = Workload(2, 4, "training", optimizer=optimizer, gradients=gradients)
        raw = build(DEEP).prepare(workload).run()
        for ours, theirs in zip(raw.weights.arrays(), everything.weights.arrays(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        for name in ("dx", "dh", "dc"):
            if name in asked:
                np.testing.assert_array_equal(getattr(raw, name), getattr(everything, name))
            else:
                assert getattr(raw, name) is None


def test_a_user_may_ask_for_fewer_gradients() -> None:
    inputs = Workload(2, 4, "training").inputs(DEEP)
    everything = build(DEEP).gradients(inputs.x, inputs.dy, inputs.state)
    weights = build(DEEP).gradients(inputs.x, inputs.dy, inputs.state, of="weights")
    assert weights.x is weights.state is None
    np.testing.assert_array_equal(weights.weights.arrays()[0], everything.weights.arrays()[0])
    both = build(DEEP).gradients(inputs.x, inputs.dy, inputs.state, of="weights+input")
    assert both.state is None
    np.testing.assert_array_equal(both.x, everything.x)
    with pytest.raises(ValueError, match=r"gradients is 'input'; expected one of weights, "):
        build(DEEP).gradients(inputs.x, inputs.dy, of="input")


def test_a_step_gives_the_model_its_lengths_and_masks() -> None:
    workload = Workload(3, 5, "training", min_length=2, dropout=0.5)
    inputs = workload.inputs(DEEP, seed=1)
    assert inputs.masks is not None
    model = build(DEEP)
    raw = model.prepare(workload, seed=1).run()
    expected = model.gradients(
        inputs.x, inputs.dy, inputs.state, lengths=inputs.lengths, masks=inputs.masks
    )
    np.testing.assert_allclose(raw.dx, expected.x, atol=1e-6)
    without = model.gradients(inputs.x, inputs.dy, inputs.state)
    assert np.abs(raw.dx - without.x).max() > 1e-3


def test_a_workload_of_the_other_layout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"workload\.batch_major is True; the model was"):
        build().prepare(Workload(2, 3, batch_major=True))


def test_masks_act_in_inference_too_where_they_are_given() -> None:
    masks = dropout_masks(DEEP, 2, 5, 0.5, seed=0)
    x = np.random.default_rng(0).standard_normal((2, 5, 3))
    masked, _ = build(DEEP).forward(x, masks=masks)
    expected, _ = reference.forward(DEEP, LSTMWeights.random(DEEP), x.astype("f4"), masks=masks)
    np.testing.assert_allclose(masked, expected, atol=1e-6)
    assert np.abs(masked - build(DEEP).forward(x)[0]).max() > 1e-3


def test_the_first_example_in_the_documentation_works() -> None:
    import doctest

    failed, tried = doctest.testmod(lstm_impl)
    assert tried > 0
    assert failed == 0
