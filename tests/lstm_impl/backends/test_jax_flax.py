"""Test the modules for Flax's linen, and weights that go from one kind of cell to another."""

from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="this is JAX's: pip install jax")
pytest.importorskip("flax", reason="this is Flax's: pip install flax")

import jax.numpy as jnp  # noqa: E402
from flax import linen, nnx  # noqa: E402

import lstm_impl.jax as layers  # noqa: E402
from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError  # noqa: E402
from lstm_impl.cell import CELLS  # noqa: E402
from tests.lstm_impl.backends.built import needs  # noqa: E402

pytestmark = needs("jax_fused_cpu")

T, B, IN, H = 5, 3, 4, 7
KINDS = ("LSTM", "GRU")


def draw(seed: int, *shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


X = draw(0, B, T, IN)
LENGTHS = jnp.array([T, 2, 4])


def linen_pair(kind: str, cell: str = "", **how: Any) -> tuple[Any, Any, Any]:
    """Return our module, Flax's, and variables with biases that are not zero."""
    made = getattr(linen, cell or {"LSTM": "OptimizedLSTMCell", "GRU": "GRUCell"}[kind])
    ours = getattr(layers, f"Linen{kind}")(made(H), **how)
    theirs = linen.RNN(made(H), **how)
    variables = theirs.init(jax.random.key(0), X)
    leaves, tree = jax.tree.flatten(variables)
    moved = [each + draw(i, *each.shape) / 10 for i, each in enumerate(leaves)]
    return ours, theirs, tree.unflatten(moved)


def assert_close(found: Any, expected: Any, atol: float = 1e-5) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), found, expected)


@pytest.mark.parametrize(
    ("kind", "how", "lengths"),
    [
        ("LSTM", {}, None),
        ("LSTM", {"reverse": True}, LENGTHS),
        ("LSTM", {"reverse": True, "keep_order": True}, LENGTHS),
        ("GRU", {"reverse": True}, LENGTHS),
        ("GRU", {"time_major": True}, None),
    ],
)
def test_linen_module_gives_the_numbers_and_gradients_of_flax(
    kind: str, how: Any, lengths: Any
) -> None:
    ours, theirs, variables = linen_pair(kind, return_carry=True, **how)
    x = jnp.swapaxes(X, 0, 1) if "time_major" in how else X
    shown = (
        jnp.ones((B, T, 1)) if lengths is None else jnp.arange(T)[:, None] < lengths[:, None, None]
    )
    shown = jnp.swapaxes(shown, 0, 1) if "time_major" in how else shown

    def total(module: Any, variables: Any, x: Any) -> Any:
        carry, y = module.apply(variables, x, seq_lengths=lengths)
        return sum(jnp.sin(each).sum() for each in (y * shown, *jax.tree.leaves(carry)))

    found, right = (
        jax.jit(jax.value_and_grad(lambda v, x, m=m: total(m, v, x), (0, 1)))(variables, x)
        for m in (ours, theirs)
    )
    assert_close(found, right, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_linen_module_has_the_parameters_of_flax(kind: str) -> None:
    ours, theirs, _ = linen_pair(kind)
    assert_close(ours.init(jax.random.key(3), X), theirs.init(jax.random.key(3), X))


def test_linen_module_works_inside_a_model_and_on_an_lstm_cell() -> None:
    class Model(linen.Module):  # type: ignore[misc]
        kind: Any

        @linen.compact
        def __call__(self, x: Any) -> Any:
            return linen.Dense(2)(self.kind(linen.LSTMCell(H), name="rnn")(x))

    ours, theirs = Model(layers.LinenLSTM), Model(linen.RNN)
    variables = ours.init(jax.random.key(0), X)
    assert jax.tree.structure(variables) == jax.tree.structure(theirs.init(jax.random.key(0), X))
    assert_close(ours.apply(variables, X), theirs.apply(variables, X))


@pytest.mark.parametrize("kind", KINDS)
def test_linen_module_starts_over_where_resets_say(kind: str) -> None:
    ours, theirs, variables = linen_pair(kind)
    resets = np.zeros((B, T), bool)
    resets[1, 2] = True
    y = ours.apply(variables, X, resets=jnp.asarray(resets))
    assert_close(y[0], theirs.apply(variables, X)[0])
    assert_close(y[1, 2:], theirs.apply(variables, X[1:2, 2:])[0])


def test_linen_module_of_another_type_is_computed_by_flax(caplog: Any) -> None:
    ours, theirs, variables = linen_pair("LSTM")
    half = jax.tree.map(lambda each: each.astype(jnp.float16), variables)
    x = X.astype(jnp.float16)
    y = ours.apply(half, x, seq_lengths=LENGTHS)
    shown = jnp.arange(T) < LENGTHS[:, None]
    right = jnp.where(shown[:, :, None], theirs.apply(half, x), 0)
    np.testing.assert_array_equal(y, right)
    assert "not float16; flax.linen.RNN computes in their place" in caplog.text
    with pytest.raises(UnsupportedError, match=r"LinenLSTM: flax.linen.RNN takes no resets"):
        ours.apply(half, x, resets=jnp.zeros((B, T), bool))


@pytest.mark.parametrize(
    ("kind", "cell", "instead"),
    [
        ("LSTM", linen.GRUCell(H), "use lstm_impl.jax.LinenGRU for GRUCell"),
        ("GRU", linen.LSTMCell(H), "use lstm_impl.jax.LinenLSTM for LSTMCell"),
        ("LSTM", linen.OptimizedLSTMCell(H, gate_fn=linen.relu), "use linen.RNN for Optimized"),
    ],
)
def test_linen_module_of_another_cell_is_refused(kind: str, cell: Any, instead: str) -> None:
    with pytest.raises(UnsupportedError, match=instead):
        getattr(layers, f"Linen{kind}")(cell)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"inputs": X[0, 0]}, r"inputs has shape \(4,\); expected \[.., T, in\]"),
    ({"inputs": X[:, :, :3]}, r"so 3 features; the cell takes 4"),
    ({"initial_carry": draw(1, B, H)}, r"arrays of shapes \[\(3, 7\)\]; expected c and h of"),
    ({"initial_carry": (draw(1, B, H), draw(1, H))}, r"expected c and h of shape \(3, 7\)"),
    ({"seq_lengths": LENGTHS[:2]}, r"seq_lengths has shape \(2,\); expected \(3,\), one length"),
    ({"resets": jnp.zeros((T, B), bool)}, r"resets has shape \(5, 3\); expected \(3, 5\)"),
]


@pytest.mark.parametrize(("given", "said"), WRONG)
@pytest.mark.parametrize("kind", ["LSTM", "LinenLSTM"])
def test_wrong_input_is_refused_with_one_line(kind: str, given: dict[str, Any], said: str) -> None:
    given = {"inputs": X} | given
    x = given.pop("inputs")
    if kind == "LSTM":
        module: Any = layers.LSTM(nnx.OptimizedLSTMCell(IN, H, rngs=nnx.Rngs(0)))
    else:
        ours, _, variables = linen_pair("LSTM")

        def module(x: Any, **given: Any) -> Any:
            return ours.apply(variables, x, **given)

    with pytest.raises(ValueError, match=f"^{kind}: .*{said}"):
        module(x, **given)
    with pytest.raises(TypeError, match=f"{kind} has no argument 'unroll'; expected some of"):
        module(X, unroll=2)


# -- weights


def nnx_cell(name: str, seed: int = 0) -> Any:
    how: dict[str, Any] = {"bias_init": nnx.initializers.normal(), "rngs": nnx.Rngs(seed)}
    return getattr(nnx, name)(IN, H, **how)


def test_nnx_module_of_an_lstm_cell_gives_the_numbers_and_gradients_of_flax() -> None:
    cell = nnx_cell("LSTMCell")
    found = [
        nnx.value_and_grad(lambda m: jnp.sin(m(X)).sum())(kind(cell))
        for kind in (layers.LSTM, nnx.RNN)
    ]
    assert_close(found[0][0], found[1][0])
    assert_close(*(jax.tree.leaves(each[1]) for each in found))


@pytest.mark.parametrize("source", ["OptimizedLSTMCell", "LSTMCell"])
@pytest.mark.parametrize("target", ["OptimizedLSTMCell", "LSTMCell"])
def test_weights_go_from_one_lstm_cell_to_another(source: str, target: str) -> None:
    theirs, ours = nnx_cell(source), nnx_cell(target, seed=1)
    layers.write_cell(layers.LSTM(ours), layers.read_cell(theirs))
    y = nnx.RNN(ours)(X)
    assert_close(y, nnx.RNN(theirs)(X))
    parameters = layers.make_linen_cell(layers.read_cell(ours))
    for cell in (linen.OptimizedLSTMCell(H), linen.LSTMCell(H)):
        assert_close(linen.RNN(cell).apply({"params": {"cell": parameters}}, X), y)
    for back, right in zip(
        layers.read_linen_cell(parameters), layers.read_cell(theirs), strict=True
    ):
        np.testing.assert_array_equal(back, right)


def test_weights_of_a_gru_go_from_one_cell_to_another() -> None:
    theirs, ours = nnx_cell("GRUCell"), nnx_cell("GRUCell", seed=1)
    layers.write_cell(ours, layers.read_cell(theirs))
    y = nnx.RNN(ours)(X)
    assert_close(y, nnx.RNN(theirs)(X))
    parameters = layers.make_linen_cell(layers.read_cell(ours))
    assert_close(linen.RNN(linen.GRUCell(H)).apply({"params": {"cell": parameters}}, X), y)


def test_weights_of_the_library_go_into_cells_with_both_biases_of_a_gru() -> None:
    weights = LSTMWeights.random(LSTMSpec(IN, H, cell=CELLS["gru"]), seed=1).layers[0][0]
    before = jnp.zeros((B, H))
    given = [jnp.asarray(each) for each in weights if each is not None]
    right = layers.fused_gru_layer(jnp.swapaxes(X, 0, 1), before, *given)[0]
    right = jnp.swapaxes(right, 0, 1)
    parameters = layers.make_linen_cell(given)
    assert_close(linen.RNN(linen.GRUCell(H)).apply({"params": {"cell": parameters}}, X), right)
    cell = nnx_cell("GRUCell")
    with pytest.raises(ValueError, match=r"nnx.GRUCell has none; replace cell.dense_h by an nnx.L"):
        layers.write_cell(cell, given)
    cell.dense_h = nnx.Linear(H, 3 * H, rngs=nnx.Rngs(0))
    layers.write_cell(cell, given)
    assert_close(layers.GRU(cell)(X), right)


def test_weights_of_another_kind_or_size_are_refused() -> None:
    lstm, gru = nnx_cell("OptimizedLSTMCell"), nnx_cell("GRUCell")
    with pytest.raises(ValueError, match=r"OptimizedLSTMCell: the weights have shapes .*\(4, 21\)"):
        layers.write_cell(lstm, layers.read_cell(gru))
    with pytest.raises(UnsupportedError, match=r"the cell is a SimpleCell; expected an nnx.Opt"):
        layers.read_cell(nnx.SimpleCell(IN, H, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"named \['kernel'\]; expected those of an Optimized"):
        layers.read_linen_cell({"kernel": X})
    with pytest.raises(ValueError, match=r"expected \[in, 4H\], \[H, 4H\], \[4H\] of an LSTM, or"):
        layers.make_linen_cell(layers.read_cell(lstm)[:2])
