"""Test ``lstm_impl.check`` of layers: instances, classes and factories of three frameworks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights
from lstm_impl.backends.onnx.graph import build_graph
from lstm_impl.checking import TargetError, check
from tests.lstm_impl.checking import written_loops as loops

TINY: dict[str, Any] = {"input_size": 3, "hidden_size": 5, "batch": 3, "timesteps": 4}
SHORT: dict[str, Any] = {"batch": 3, "timesteps": 4}


def own_module(**wrong: bool) -> type[Any]:
    """Return a PyTorch module that a user might write, with its own parameters."""
    torch = pytest.importorskip("torch")

    class Own(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__()
            self.kernel = torch.nn.Parameter(torch.zeros(input_size, 4 * hidden_size))
            self.recurrent = torch.nn.Parameter(torch.zeros(hidden_size, 4 * hidden_size))
            self.bias = torch.nn.Parameter(torch.zeros(4 * hidden_size))

        def forward(self, x: Any, state: Any) -> Any:
            h, c = state[0][0], state[1][0]
            zero = torch.zeros_like(self.bias)
            if wrong:
                h, c = 0 * h, 0 * c
            weights = self.kernel.T, self.recurrent.T, self.bias, zero
            y, (h, c) = loops.torch_loop(x, h, c, *weights)
            return y, (h[None], c[None])

    return Own


def test_class_of_pytorch_is_checked_with_two_layers_and_directions_too() -> None:
    pytest.importorskip("torch")
    sizes: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
    result = check("torch.nn:LSTM", **TINY, **sizes)
    assert result, str(result)
    names = result.networks[0].result.errors
    assert {"dx", "dh", "dlayer1.backward.kernel"} <= names.keys()


def test_instance_of_pytorch_is_checked_with_its_own_sizes() -> None:
    torch = pytest.importorskip("torch")
    result = check(torch.nn.LSTM(4, 6, 2, batch_first=True), **SHORT)
    assert result
    spec = result.networks[0].spec
    assert (spec.input_size, spec.hidden_size, spec.num_layers) == (4, 6, 2)


def test_factory_of_a_gru_is_checked() -> None:
    torch = pytest.importorskip("torch")
    assert check(lambda: torch.nn.GRU(3, 5), cell="gru", **SHORT)


def test_own_module_is_found_by_the_shapes_of_its_parameters() -> None:
    assert check(own_module(), **TINY)
    result = check(own_module(without_state=True), **TINY)
    assert [cause.name for cause in result.causes] == ["state"]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_layer_of_keras_passes(cell: str) -> None:
    keras = pytest.importorskip("keras")
    layer = keras.layers.LSTM if cell == "lstm" else keras.layers.GRU
    made = layer(5, return_sequences=True, return_state=True)
    result = check(made, cell=cell, **SHORT)
    assert result, str(result)
    assert result.networks[0].workload.training


def test_cell_of_flax_passes() -> None:
    pytest.importorskip("flax")
    result = check("flax.nnx:OptimizedLSTMCell", **TINY)
    assert result, str(result)


def test_kept_state_of_a_module_is_found() -> None:
    torch = pytest.importorskip("torch")
    own = own_module()

    class Keeping(own):  # type: ignore[misc,valid-type]
        kept: Any = None

        def forward(self, x: Any, state: Any) -> Any:
            given = state if self.kept is None else self.kept
            y, after = super().forward(x, given)
            self.kept = tuple(each.detach() for each in after)
            return y, after

    result = check(Keeping, **TINY)
    assert not result
    assert "state" in [cause.name for cause in result.causes]
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda torch: torch.nn.Linear(3, 4), "the sizes of .*Linear cannot be read"),
        (
            lambda torch: torch.nn.LSTM(3, 4, bias=False),
            "has no biases; construct it with bias=True",
        ),
        (lambda torch: torch.nn.LSTM(3, 4, proj_size=2), "weight_hr_l0 .*; expected bias_hh_l0"),
    ],
)
def test_layer_that_is_no_lstm_raises_with_its_parameters(make: Any, message: str) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TargetError, match=message) as caught:
        check(make(torch), **SHORT)
    assert "\n" not in str(caught.value)


def test_class_that_cannot_be_constructed_raises_with_the_sizes() -> None:
    torch = pytest.importorskip("torch")

    class Closed(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()

    with pytest.raises(TargetError, match="cannot be constructed with input_size=3"):
        check(Closed, **TINY)


# -- no correct implementation is refused


def random_sizes(number: int) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    most = {"input_size": 20, "hidden_size": 40, "batch": 5, "timesteps": 12}
    return {name: int(rng.integers(1, limit, endpoint=True)) for name, limit in most.items()}


def right_targets() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Return PyTorch's, Keras's and Flax's own layers, and three loops."""
    jax, torch = pytest.importorskip("jax"), pytest.importorskip("torch")
    pytest.importorskip("flax")
    pytest.importorskip("keras")
    pytest.importorskip("onnxruntime")
    return {
        "torch": (torch.nn.LSTM, {}),
        "numpy loop": (loops.numpy_loop, {}),
        "torch loop": (loops.torch_loop, {"layout": "torch", "arrays": "torch"}),
        "jax loop": (jax.jit(loops.jax_loop), {"arrays": "jax"}),
        "keras": ("keras.layers:LSTM", {}),
        "flax": ("flax.nnx:OptimizedLSTMCell", {}),
        "onnxruntime": (None, {}),  # a file for each network
    }


QUICK = {"torch": 12, "numpy loop": 8, "torch loop": 6, "onnxruntime": 4}
"""Random networks of each in the quick test. JAX, Keras and Flax compile each network for seconds:
they have one in the tests above, and many in the slow one."""

MANY = {
    "torch": 250,
    "numpy loop": 250,
    "torch loop": 250,
    "onnxruntime": 130,
    "jax loop": 40,
    "keras": 40,
    "flax": 40,
}
"""The same in the slow one, 1,000 in all."""


def refused(counts: dict[str, int], folder: Path) -> list[str]:
    targets, found, number = right_targets(), [], 0
    for name, count in counts.items():
        target, options = targets[name]
        for _ in range(count):
            number += 1
            sizes = random_sizes(number)
            if name == "onnxruntime":
                spec = LSTMSpec(sizes["input_size"], sizes["hidden_size"])
                target = folder / f"{number}.onnx"
                weights = LSTMWeights.random(spec)
                target.write_bytes(build_graph(spec, weights, False, False, False))
                target = str(target)
                sizes = {each: sizes[each] for each in ("batch", "timesteps")}
            result = check(target, seed=number, **options, **sizes)
            found += [] if result else [f"{name} {sizes}: {result}"]
    return found


def test_random_networks_of_right_implementations_are_never_refused(tmp_path: Path) -> None:
    assert sum(QUICK.values()) == 30
    assert refused(QUICK, tmp_path) == []


@pytest.mark.slow
def test_thousand_random_networks_of_right_implementations_pass(tmp_path: Path) -> None:
    assert sum(MANY.values()) == 1000
    assert refused(MANY, tmp_path) == []
