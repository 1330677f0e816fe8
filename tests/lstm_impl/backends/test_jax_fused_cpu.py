"""Test the kernels of fused_cpu under JAX's transformations against the scan."""

import functools
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="this is JAX's: pip install jax")

import jax.numpy as jnp  # noqa: E402

import lstm_impl.jax  # noqa: E402
from lstm_impl import LSTMSpec, UnsupportedError  # noqa: E402
from lstm_impl.backends.jax.fused_layer import (  # noqa: E402
    BACKWARD,
    FORWARD,
    GRU_BACKWARD,
    GRU_FORWARD,
    GRU_INPUT_GRADIENT,
    INPUT_GRADIENT,
    lanes,
)
from lstm_impl.backends.jax.scan import scan_cell  # noqa: E402
from lstm_impl.cell import DEFAULT, GRU, Cell  # noqa: E402
from lstm_impl.jax import fused_gru_layer, fused_layer  # noqa: E402
from tests.lstm_impl.backends.built import IN_PEERS, built, needs  # noqa: E402

pytestmark = [needs("jax_fused_cpu"), *IN_PEERS]

T, B, IN, H = 6, 3, 4, 18  # more units than a register has lanes, and no multiple of them
EXAMPLES = 5

Layer = Callable[..., Any]


def arrays(seed: int, *shapes: tuple[int, ...], dtype: str = "float32") -> list[Any]:
    draw = np.random.default_rng(seed)
    return [jnp.asarray(draw.standard_normal(shape) * 0.5, dtype) for shape in shapes]


SHAPES = (T, B, IN), (B, H), (B, H), (IN, 4 * H), (H, 4 * H), (4 * H,)
GIVEN = arrays(0, *SHAPES)
GRUS = (GRU(), GRU(reset_after=False))
MASK = jnp.asarray(np.random.default_rng(1).random((T, B)) > 0.4)


def make_arguments(cell: Cell) -> list[Any]:
    """Return an input, initial states and weights, in the order of the layer's arguments."""
    if cell == DEFAULT:
        return GIVEN
    return arrays(0, (T, B, IN), (B, H), *cell.parameter_shapes(IN, H).values())


def layers(mask: Any, reverse: bool, cell: Cell = DEFAULT) -> tuple[Layer, Layer]:
    """Return the layer computed by the kernels and by the scan."""
    steps, first = None if mask is None else mask[:, :, None], 1 + len(cell.states)

    def by_scan(*given: Any) -> Any:
        x, states, weights = given[0], given[1:first], given[first:]
        return tuple(scan_cell(cell, x, states, weights, steps, reverse=reverse).flat)

    own = fused_layer if cell == DEFAULT else fused_gru_layer
    return functools.partial(own, valid=mask, reverse=reverse), by_scan


def loss(layer: Layer) -> Layer:
    def total(*given: Any) -> Any:
        return sum((jnp.sin(each) * k).sum() for k, each in enumerate(layer(*given), 1))

    return total


def assert_close(found: Any, expected: Any, scale: float = 1.0) -> None:
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        largest = float(jnp.abs(theirs).max()) + 1.0
        np.testing.assert_allclose(ours, theirs, atol=2e-6 * largest * scale, rtol=0)


@pytest.mark.parametrize(
    ("mask", "reverse", "cell"),
    [
        pytest.param(MASK, True, DEFAULT, id="masked in reverse"),
        # XLA compiles three derivatives for each, which takes eight seconds.
        pytest.param(None, False, DEFAULT, id="whole", marks=pytest.mark.slow),
        pytest.param(None, True, DEFAULT, id="whole in reverse", marks=pytest.mark.slow),
        pytest.param(MASK, False, DEFAULT, id="masked", marks=pytest.mark.slow),
        pytest.param(MASK, True, GRUS[0], id="gru", marks=pytest.mark.slow),
        pytest.param(None, False, GRUS[1], id="gru_reset_before", marks=pytest.mark.slow),
    ],
)
def test_fused_layer_outputs_and_gradients_equal_the_scan(
    mask: Any, reverse: bool, cell: Cell
) -> None:
    (ours, theirs), given = layers(mask, reverse, cell), make_arguments(cell)
    places = range(len(given))
    assert_close(*(jax.jit(each)(*given) for each in (ours, theirs)))
    first = [jax.grad(loss(each), places) for each in (ours, theirs)]
    assert_close(*(jax.jit(each)(*given) for each in first))
    second = [
        jax.grad(lambda *given, f=f: sum((g**2).sum() for g in f(*given)), places) for f in first
    ]
    assert_close(*(jax.jit(each)(*given) for each in second))


@pytest.mark.parametrize("cell", GRUS, ids=[each.name for each in GRUS])
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
def test_gru_layer_gives_the_numbers_and_gradients_of_the_scan(mask: Any, cell: Cell) -> None:
    (ours, theirs), given = layers(mask, mask is not None, cell), make_arguments(cell)
    assert_close(tuple(ours(*given)), theirs(*given))
    gradients = [jax.grad(loss(each), range(len(given)))(*given) for each in (ours, theirs)]
    assert_close(*gradients)


@pytest.mark.parametrize("cell", GRUS, ids=[each.name for each in GRUS])
def test_vmap_of_a_gru_is_one_call_and_equals_the_scan(cell: Cell) -> None:
    xs, rest = arrays(2, (EXAMPLES, *SHAPES[0]))[0], make_arguments(cell)[1:]
    ours, theirs = (
        jax.jit(jax.vmap(lambda x, f=f: tuple(f(x, *rest)))) for f in layers(MASK, False, cell)
    )
    assert_close(ours(xs), theirs(xs))
    assert ours.lower(xs).as_text().count("@lstm_impl_gru_forward") == 1


def test_weights_of_another_cell_are_refused_with_both_cells() -> None:
    lstm, gru = make_arguments(DEFAULT), make_arguments(GRUS[0])
    own: tuple[Layer, Layer] = (fused_layer, fused_gru_layer)
    with pytest.raises(ValueError, match=r"that of an LSTM of 18 units with 4 gates; a GRU has 3"):
        own[1](*gru[:2], *lstm[3:])
    with pytest.raises(ValueError, match=r"that of a GRU of 18 units with 3 gates; an LSTM has 4"):
        own[0](*lstm[:3], *gru[2:5])


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
def test_vmap_over_examples_is_one_call_and_equals_the_scan(mask: Any) -> None:
    xs, hs = arrays(2, (EXAMPLES, *SHAPES[0]), (EXAMPLES, *SHAPES[1]))
    both = [
        jax.jit(jax.vmap(lambda x, h, f=f: tuple(f(x, h, *GIVEN[2:])))) for f in layers(mask, False)
    ]
    assert_close(both[0](xs, hs), both[1](xs, hs))
    assert both[0].lower(xs, hs).as_text().count("@lstm_impl_forward") == 1
    assert "while" not in both[0].lower(xs, hs).as_text()


def test_vmap_of_gradients_or_weights_equals_the_scan() -> None:
    xs, kernels = arrays(3, (EXAMPLES, *SHAPES[0]), (EXAMPLES, *SHAPES[3]))
    each_example, each_kernel = [], []
    for layer in layers(None, False):
        of_weights = jax.grad(loss(layer), (0, 3))
        examples = jax.vmap(lambda x, f=of_weights: f(x, *GIVEN[1:]))
        each_example.append(jax.jit(examples)(xs))
        each = jax.vmap(lambda w, f=layer: tuple(f(*GIVEN[:3], w, *GIVEN[4:])))
        each_kernel.append(jax.jit(each)(kernels))
    assert_close(*each_example)
    assert_close(*each_kernel)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", [DEFAULT, GRUS[0]], ids=["lstm", "gru"])
def test_vmap_of_gradients_over_masks_equals_the_scan(cell: Cell, reverse: bool) -> None:
    """Compute all examples at once, which shrinks the batch, and their gradients one by one."""
    draw, steps = np.random.default_rng(4), 24
    xs = arrays(5, (EXAMPLES, steps, B, IN))[0]
    masks = draw.random((EXAMPLES, steps, B)) > 0.5
    masks[0] = True  # Of this example alone, no step is left out.
    masks[1, :, 0] = False
    masks[1, :, 1] = np.arange(steps) >= 9  # padding on the left
    given = make_arguments(cell)[1:]

    def gradients(of_kernels: bool) -> Any:
        def total(x: Any, mask: Any, *rest: Any) -> Any:
            return loss(layers(mask, reverse, cell)[0 if of_kernels else 1])(x, *rest)

        each = jax.grad(total, [0, *range(2, 2 + len(given))])
        return jax.jit(jax.vmap(lambda x, mask: each(x, mask, *given)))(xs, jnp.asarray(masks))

    assert_close(gradients(True), gradients(False))


def test_scan_over_windows_with_donated_state_equals_one_call() -> None:
    windows = GIVEN[0].reshape(2, T // 2, B, IN)

    def step(state: Any, x: Any) -> Any:
        y, h, c = fused_layer(x, *state, *GIVEN[3:])
        return (h, c), y

    run = jax.jit(lambda h, c: jax.lax.scan(step, (h, c), windows), donate_argnums=(0, 1))
    (h, c), y = run(jnp.array(GIVEN[1]), jnp.array(GIVEN[2]))
    assert_close((y.reshape(T, B, H), h, c), tuple(fused_layer(*GIVEN)))


def test_bfloat16_layer_equals_the_scan_in_float32() -> None:
    given = [each.astype(jnp.bfloat16) for each in GIVEN]
    found = fused_layer(*given)
    assert {str(each.dtype) for each in found} == {"bfloat16"}
    wide = [each.astype(jnp.float32) for each in given]
    theirs = layers(None, False)[1](*wide)
    assert_close([each.astype(jnp.float32) for each in found], tuple(theirs), scale=4000)


def test_input_gradient_without_use_is_not_computed() -> None:
    def compiled(of: Any) -> str:
        text: str = jax.jit(jax.grad(loss(fused_layer), of)).lower(*GIVEN).compile().as_text()
        return text

    assert "lstm_impl_input_gradient" not in compiled((3, 4, 5))
    assert "lstm_impl_input_gradient" in compiled((0, 3))


def test_calls_outside_of_jit_are_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax.ffi, "ffi_call", call := Mock(wraps=jax.ffi.ffi_call))
    given = jnp.ones((21, B, IN)), *GIVEN[1:]  # a length that no other test has
    for _ in range(2):
        fused_layer(*given)
        jax.grad(loss(fused_layer))(*given)
        assert call.call_count == 4  # forward without and with what is kept, and two backward


SHARDS = """
    import jax, jax.numpy as jnp, numpy as np
    from jax.sharding import NamedSharding, PartitionSpec as P
    from lstm_impl.jax import fused_gru_layer, fused_layer
    from tests.lstm_impl.backends.test_jax_fused_cpu import arrays, IN, H, T

    mesh = jax.sharding.Mesh(np.array(jax.devices()), "b")
    parts = P(None, "b"), P("b"), P("b"), P(), P(), P()
    given = arrays(0, (T, 4, IN), (4, H), (4, H), (IN, 4 * H), (H, 4 * H), (4 * H,))
    valid = jnp.asarray(np.random.default_rng(1).random((T, 4)) > 0.4)

    def outputs(*given):
        return tuple(fused_layer(*given, valid=valid, reverse=True))

    def gradients(*given):
        return jax.grad(lambda *each: (outputs(*each)[0] ** 2).sum(), range(6))(*given)

    def place(mesh):
        return [jax.device_put(e, NamedSharding(mesh, p)) for e, p in zip(given, parts)]

    def assert_close(found, expected):
        for ours, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, right, atol=1e-5)

    def assert_divided(function, mesh):
        placed, compiled = place(mesh), jax.jit(function)
        text = compiled.lower(*placed).compile().as_text()
        assert "lstm_impl_forward" in text
        for moved in ("all-gather", "all-to-all", "collective-permute"):
            assert moved not in text, moved
        found = compiled(*placed)
        for each, part in zip(found, parts):
            assert each.sharding.is_equivalent_to(NamedSharding(mesh, part), each.ndim)
        assert_close(found, function(*given))
        return text
"""


def run_on_two_devices(code: str) -> None:
    """Run ``SHARDS`` and then the code in a process that has two devices."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", textwrap.dedent(SHARDS) + textwrap.dedent(code)]
    done = subprocess.run(command, env=os.environ | flags, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_jit_leaves_a_batch_divided_among_devices() -> None:
    run_on_two_devices("""
        assert_divided(outputs, mesh)
        assert "all-reduce" in assert_divided(gradients, mesh)
        def moved(*each):
            return jax.jvp(outputs, each, each)[1]
        found = jax.jit(moved)(*place(mesh))
        assert_close(found, moved(*given))
        assert found[0].sharding.spec == P(None, "b")
        # The weights may be divided, too; the call gathers them, and not the batch.
        weights = jax.device_put(given[4], NamedSharding(mesh, P(None, "b")))
        found = jax.jit(outputs)(*place(mesh)[:4], weights, given[5])
        assert_close(found, outputs(*given))
        # A part that no number of devices divides is computed on each of them.
        def odd(x, h, c, *weights):
            return fused_layer(x[:, :3], h[:3], c[:3], *weights)
        assert_close(jax.jit(odd)(*place(mesh)), odd(*given))
    """)


def test_gru_and_mesh_with_explicit_axes_stay_divided() -> None:
    run_on_two_devices("""
        gru = arrays(0, (T, 4, IN), (4, H), (IN, 3 * H), (H, 3 * H), (3 * H,), (3 * H,))
        parts = P(None, "b"), P("b"), P(), P(), P(), P()
        def gradients_of_gru(*given):
            return jax.grad(lambda *each: (fused_gru_layer(*each)[0] ** 2).sum(), range(6))(*given)
        placed = [jax.device_put(e, NamedSharding(mesh, p)) for e, p in zip(gru, parts)]
        found = jax.jit(gradients_of_gru)(*placed)
        assert found[0].sharding.spec == P(None, "b")
        assert_close(found, gradients_of_gru(*gru))
        whole, right = fused_layer(*given), gradients(*given)
        explicit = jax.make_mesh((2,), ("b",), axis_types=(jax.sharding.AxisType.Explicit,))
        with jax.set_mesh(explicit):
            placed = place(explicit)
            y = fused_layer(*placed)[0]
            assert jax.typeof(y).sharding.spec == P(None, "b", None)
            np.testing.assert_allclose(y, whole[0], atol=1e-5)
            valid = jax.device_put(valid, NamedSharding(explicit, P(None, "b")))
            assert_close(jax.jit(gradients)(*placed), right)
    """)


def test_shard_map_gives_the_same_gradients() -> None:
    run_on_two_devices("""
        def outputs(*given):
            return tuple(fused_layer(*given))
        def gradients(*given):
            return jax.grad(lambda *each: (outputs(*each)[0] ** 2).sum(), range(6))(*given)
        def summed(*given):
            dx, dh, dc, *shared = gradients(*given)
            return dx, dh, dc, *(jax.lax.psum(each, "b") for each in shared)
        # JAX sums the gradients itself where it checks over which axes arrays vary.
        for function, is_checked in ((gradients, True), (summed, False)):
            how = {"mesh": mesh, "in_specs": parts, "check_vma": is_checked}
            sharded = jax.jit(jax.shard_map(function, out_specs=parts, **how))
            assert_close(sharded(*place(mesh)), gradients(*given))
            forward = jax.shard_map(outputs, out_specs=parts[:3], **how)
            moved = [jax.jvp(each, tuple(given), tuple(given))[1] for each in (forward, outputs)]
            assert_close(*moved)
            found = jax.grad(lambda *each: (forward(*each)[0] ** 2).sum(), range(6))
            assert_close(jax.jit(found)(*place(mesh)), gradients(*given))
    """)


def test_export_of_the_layer_names_the_custom_call() -> None:
    shapes = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in GIVEN]
    with pytest.raises(ValueError, match="lstm_impl_forward"):
        jax.export.export(jax.jit(lambda *given: tuple(fused_layer(*given))))(*shapes)


def test_other_type_or_shape_is_refused() -> None:
    plain: Layer = fused_layer
    with pytest.raises(UnsupportedError, match=r"x is float16; expected float32 or bfloat16"):
        plain(*(each.astype(jnp.float16) for each in GIVEN))
    with pytest.raises(Exception, match=r"bias is float32 \[71\]; expected float32 \[72\]"):
        jax.block_until_ready(plain(*GIVEN[:5], GIVEN[5][:-1]))
    with pytest.raises(ValueError, match=r"x has shape \(3, 2\); expected \[T, B, in\]"):
        plain(jnp.zeros((3, 2)), *GIVEN[1:])
    with pytest.raises(UnsupportedError, match="not float64"):
        built("jax_fused_cpu", LSTMSpec(2, 3, dtype="float64"))


# -- the custom calls, which a program may call with any arrays


def attributes(cell: Cell, **others: bool) -> dict[str, bool]:
    """Return the attributes of a call for a cell, with others."""
    return others | ({"reset_after": cell.reset_after} if isinstance(cell, GRU) else {})


def complete(cell: Cell) -> list[Any]:
    """Return what a call takes: an array without numbers for a bias that the cell does not have."""
    return make_arguments(cell) + ([jnp.zeros([0])] if cell == GRUS[1] else [])


def kept_arrays(mask: Any, cell: Cell = DEFAULT) -> tuple[list[Any], list[Any]]:
    """Return the arrays that the backward call reads, and what it writes."""
    blocks, count = -(-H // lanes()), len(cell.states)
    gates, cells = (T, B, 4 * lanes()), (T, B, lanes())
    x, *others = complete(cell)
    states, (_, recurrent_kernel, *_) = others[:count], others[count:]
    read = [x, *states, recurrent_kernel, jnp.zeros([0, 0], bool) if mask is None else mask]
    kept = [(blocks, *gates), *(count - 1) * [(blocks, *cells)]]
    read += arrays(2, (T, B, H), *kept, (T, B, H), *count * [(B, H)])
    results = [jax.ShapeDtypeStruct((blocks, *gates), jnp.float32)]
    results += [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in others]
    return read, results


def other_arrays(array: Any) -> list[Any]:
    """Return arrays of another size or rank on each axis, and one of another type."""
    dtype, shape = array.dtype, array.shape
    shapes = [shape[1:], (1, *shape)]
    for axis, size in enumerate(shape):
        shapes += [(*shape[:axis], other, *shape[axis + 1 :]) for other in (size + 1, size - 1)]
    other = jnp.float16 if dtype != jnp.bool_ else jnp.int8
    # A mask of no steps and no sequences may be left out.
    made = [jnp.zeros(each, dtype) for each in shapes if min(each, default=0) >= 0]
    return [*made, array.astype(other)]


def call(name: str, read: list[Any], results: Any, **attributes: Any) -> None:
    jax.block_until_ready(jax.ffi.ffi_call(name, results)(*read, **attributes))


of_each_cell = pytest.mark.parametrize(
    "cell", [DEFAULT, *GRUS], ids=[each.name for each in (DEFAULT, *GRUS)]
)


@of_each_cell
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
def test_backward_call_of_other_shapes_or_types_is_refused(mask: Any, cell: Cell) -> None:
    read, results = kept_arrays(mask, cell)
    name, how = BACKWARD if cell == DEFAULT else GRU_BACKWARD, attributes(cell, reverse=False)
    call(name, read, results, **how)
    for place, array in enumerate(read):
        for other in other_arrays(array):
            changed = [*read[:place], other, *read[place + 1 :]]
            with pytest.raises(Exception, match=f"{name}: .* expected"):
                call(name, changed, results, **how)
    for place, result in enumerate(results):
        for other in other_arrays(jnp.zeros(result.shape, result.dtype)):
            wrong = jax.ShapeDtypeStruct(other.shape, other.dtype)
            changed = [*results[:place], wrong, *results[place + 1 :]]
            with pytest.raises(Exception, match=f"{name}: .* expected"):
                call(name, read, changed, **how)


@of_each_cell
def test_input_gradient_call_of_other_shapes_or_types_is_refused(cell: Cell) -> None:
    name, how = INPUT_GRADIENT if cell == DEFAULT else GRU_INPUT_GRADIENT, attributes(cell)
    kernel, dz = (
        make_arguments(cell)[1 + len(cell.states)],
        jnp.zeros((-(-H // lanes()), T, B, 4 * lanes())),
    )
    dx = jax.ShapeDtypeStruct((T, B, IN), jnp.float32)
    given = [kernel, MASK, dz]
    call(name, given, dx, **how)
    call(name, [kernel, jnp.zeros([0, 0], bool), dz], dx, **how)
    for array in given:
        for other in other_arrays(array):
            read = [other if each is array else each for each in given]
            with pytest.raises(Exception, match=f"{name}: "):
                call(name, read, dx, **how)
    for shape in ((T + 1, B, IN), (T, B + 1, IN), (T, B, IN + 1), (T, B)):
        with pytest.raises(Exception, match=f"{name}: "):
            call(name, given, jax.ShapeDtypeStruct(shape, jnp.float32), **how)


@of_each_cell
@pytest.mark.parametrize("keep", [False, True])
def test_forward_call_of_other_shapes_or_types_is_refused(keep: bool, cell: Cell) -> None:
    name = FORWARD if cell == DEFAULT else GRU_FORWARD
    how = attributes(cell, reverse=False, keep=keep)
    blocks, count = -(-H // lanes()) if keep else 0, len(cell.states)
    hidden = (T, B, H) if keep else (0, 0, 0)
    cells = (count - 1) * [(blocks, T, B, lanes())]
    shapes = [(T, B, H), *count * [(B, H)], (blocks, T, B, 4 * lanes()), *cells, hidden]
    results = [jax.ShapeDtypeStruct(each, jnp.float32) for each in shapes]
    read = [*complete(cell), MASK]
    call(name, read, results, **how)
    for place, array in enumerate(read):
        for other in other_arrays(array):
            changed = [*read[:place], other, *read[place + 1 :]]
            with pytest.raises(Exception, match=f"{name}: "):
                call(name, changed, results, **how)
    for place in range(len(results)):
        wrong = jax.ShapeDtypeStruct((T, B, H + 1, 1), jnp.float32)
        changed = [*results[:place], wrong, *results[place + 1 :]]
        with pytest.raises(Exception, match=f"{name}: "):
            call(name, read, changed, **how)


# -- forward mode and second derivatives, which are those of the scan


def combined(layer: Layer, place: int, cell: Cell) -> dict[str, Callable[[], Any]]:
    """Return derivatives of several kinds with respect to one argument of the layer."""
    given = make_arguments(cell)
    tangents = arrays(8, *(each.shape for each in given))
    xs = jnp.stack([given[0], 2 * given[0]])

    def by_one(each: Any) -> Any:
        return tuple(layer(*given[:place], each, *given[place + 1 :]))

    def total(*given: Any) -> Any:
        return loss(layer)(*given)

    def of_one(each: Any) -> Any:
        return total(*given[:place], each, *given[place + 1 :])

    one, tangent = given[place], tangents[place]
    return {
        "jvp": lambda: jax.jvp(by_one, (one,), (tangent,)),
        "jvp of all": lambda: jax.jvp(total, tuple(given), tuple(tangents)),
        "jvp of jit": lambda: jax.jit(lambda t: jax.jvp(by_one, (one,), (t,)))(tangent),
        "linearize": lambda: jax.linearize(by_one, one)[1](tangent),
        "jvp of grad": lambda: jax.jvp(jax.grad(of_one), (one,), (tangent,)),
        "grad of jvp": lambda: jax.grad(lambda e: jax.jvp(of_one, (e,), (tangent,))[1])(one),
        "jvp of jvp": lambda: jax.jvp(
            lambda e: jax.jvp(of_one, (e,), (tangent,))[1], (one,), (tangent,)
        ),
        "grad of vmap": lambda: jax.grad(
            lambda xs: jax.vmap(lambda x: total(x, *given[1:]))(xs).sum()
        )(xs),
        "grad of checkpoint": lambda: jax.grad(jax.checkpoint(of_one))(one),
    }


DERIVATIVES = (*combined(fused_layer, 0, DEFAULT),)


@pytest.mark.parametrize("kind", ["jvp", "linearize", "jvp of grad"])
def test_derivatives_in_forward_mode_equal_the_scan(kind: str) -> None:
    ours, theirs = (combined(each, 1, DEFAULT)[kind] for each in layers(MASK, True))
    assert_close(ours(), theirs(), scale=4)


@pytest.mark.slow  # compiles many programs
@pytest.mark.parametrize("cell", [DEFAULT, *GRUS], ids=["lstm", "gru", "gru_reset_before"])
@pytest.mark.parametrize("place", range(5))
def test_derivatives_of_every_mode_and_cell_equal_the_scan(place: int, cell: Cell) -> None:
    ours, theirs = (combined(each, place, cell) for each in layers(None, False, cell))
    for kind in DERIVATIVES:
        assert_close(ours[kind](), theirs[kind](), scale=4)


def test_jacobian_and_hessian_equal_the_scan() -> None:
    draw = arrays(5, (2, 1, 2), (1, 3), (1, 3), (2, 12), (3, 12), (12,))

    def derivatives(layer: Layer) -> Any:
        def y(x: Any) -> Any:
            return jnp.stack([jnp.sum(jnp.sin(e)) for e in layer(x, *draw[1:])])

        return jax.jit(lambda x: (jax.jacfwd(y)(x), jax.hessian(y)(x)))(draw[0])

    assert_close(*map(derivatives, layers(None, False)))


def test_forward_mode_of_the_custom_calls_is_refused() -> None:
    read, results = kept_arrays(None)

    def backward(x: Any) -> Any:
        return jax.ffi.ffi_call(BACKWARD, results)(x, *read[1:], reverse=False)

    with pytest.raises(ValueError, match="cannot be differentiated"):
        jax.jvp(backward, (read[0],), (read[0],))


# -- Flax's module


def flax_pair(kind: str, **how: Any) -> tuple[Any, Any]:
    """Return our module of a cell and Flax's, of other weights."""
    nnx = pytest.importorskip("flax.nnx", reason="this is Flax's: pip install flax")
    made = nnx.OptimizedLSTMCell if kind == "LSTM" else nnx.GRUCell
    seeds = enumerate((getattr(lstm_impl.jax, kind), nnx.RNN))
    ours, theirs = (each(made(IN, H, rngs=nnx.Rngs(seed)), **how) for seed, each in seeds)
    return ours, theirs


@pytest.mark.parametrize(
    ("kind", "how", "lengths"),
    [
        ("LSTM", {}, None),
        ("LSTM", {"time_major": True, "reverse": True}, jnp.array([T, 2, 4])),
        ("LSTM", {"reverse": True, "keep_order": True}, jnp.array([T, 2, 4])),
        ("GRU", {}, None),
        ("GRU", {"time_major": True, "reverse": True}, jnp.array([T, 2, 4])),
    ],
)
def test_flax_module_gives_the_numbers_and_gradients_of_flax(
    kind: str, how: Any, lengths: Any
) -> None:
    ours, theirs = flax_pair(kind, return_carry=True, **how)
    from flax import nnx

    nnx.update(ours, nnx.state(theirs))
    nnx.update(theirs, nnx.state(ours))
    x, shown = GIVEN[0], jnp.ones((T, B, 1), bool)
    if lengths is not None:  # behind them our outputs are zero
        shown = (jnp.arange(T)[:, None] < lengths)[:, :, None]
    if "time_major" not in how:
        x, shown = (jnp.swapaxes(each, 0, 1) for each in (x, shown))

    def total(module: Any) -> Any:
        carry, y = module(x, seq_lengths=lengths)
        states = carry if isinstance(carry, tuple) else (carry,)
        return loss(lambda: (jnp.where(shown, y, 0), *states))()

    found = [nnx.jit(nnx.value_and_grad(total))(each) for each in (ours, theirs)]
    assert_close(found[0], found[1], scale=10)


def test_flax_gru_continues_from_its_carry_and_reads_a_recurrent_bias() -> None:
    nnx = pytest.importorskip("flax.nnx", reason="this is Flax's: pip install flax")
    cell = nnx.GRUCell(IN, H, rngs=nnx.Rngs(0))
    cell.dense_h = nnx.Linear(H, 3 * H, bias_init=nnx.initializers.normal(), rngs=nnx.Rngs(1))
    x = jnp.swapaxes(GIVEN[0], 0, 1)
    found = []
    for kind in (lstm_impl.jax.GRU, nnx.RNN):
        module = kind(cell, return_carry=True)
        carry, before = module(x[:, :2])
        found.append((before, *module(x[:, 2:], initial_carry=carry)))
    assert_close(found[0], found[1])
    assert_close(found[0][2], lstm_impl.jax.GRU(cell)(x)[:, 2:])


def test_flax_module_in_bfloat16_reads_float32_weights() -> None:
    nnx = pytest.importorskip("flax.nnx", reason="this is Flax's: pip install flax")
    cell, x = nnx.GRUCell(IN, H, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)), GIVEN[0]
    y = lstm_impl.jax.GRU(cell, time_major=True)(x)
    assert y.dtype == jnp.bfloat16
    cell.dtype = cell.dense_i.dtype = cell.dense_h.dtype = None
    wide = nnx.RNN(cell, time_major=True)(x)
    assert_close(y.astype(jnp.float32), wide, scale=4000)


@pytest.mark.parametrize(
    ("kind", "cell", "instead"),
    [
        ("LSTM", "GRUCell", r"lstm_impl\.jax\.GRU"),
        ("GRU", "OptimizedLSTMCell", r"lstm_impl\.jax\.LSTM"),
        ("GRU", "SimpleCell", r"nnx\.RNN"),
    ],
)
def test_flax_module_of_another_cell_is_refused(kind: str, cell: str, instead: str) -> None:
    nnx = pytest.importorskip("flax.nnx", reason="this is Flax's: pip install flax")
    given = getattr(nnx, cell)(IN, H, rngs=nnx.Rngs(0))
    with pytest.raises(UnsupportedError, match=rf"sigmoid and tanh; use {instead} for {cell}$"):
        getattr(lstm_impl.jax, kind)(given)


@pytest.mark.parametrize(("kind", "cell"), [("LSTM", "OptimizedLSTMCell"), ("GRU", "GRUCell")])
def test_flax_module_of_another_activation_is_refused(kind: str, cell: str) -> None:
    nnx = pytest.importorskip("flax.nnx", reason="this is Flax's: pip install flax")
    given = getattr(nnx, cell)(IN, H, gate_fn=nnx.relu, rngs=nnx.Rngs(0))
    with pytest.raises(UnsupportedError, match=r"sigmoid and tanh; use nnx\.RNN for"):
        getattr(lstm_impl.jax, kind)(given)


@pytest.mark.parametrize(
    "how", [{}, {"time_major": True, "reverse": True}], ids=["plain", "reverse"]
)
@pytest.mark.parametrize(
    ("kind", "reason"), [("LSTM", "type"), ("LSTM", "device"), ("GRU", "type")]
)
def test_flax_module_of_another_type_or_device_is_computed_by_flax(
    kind: str,
    reason: str,
    how: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    nnx = pytest.importorskip("flax.nnx", reason="this is Flax's: pip install flax")
    from lstm_impl.backends.jax import flax_sequence

    flax_sequence._warn.cache_clear()
    dtype = jnp.float16 if reason == "type" else jnp.float32
    message = "not float16" if reason == "type" else "and this call is on tpu"
    if reason == "device":
        monkeypatch.setattr(flax_sequence, "_platform", lambda x: "tpu")
    made = nnx.OptimizedLSTMCell if kind == "LSTM" else nnx.GRUCell
    cell = made(IN, H, dtype=dtype, rngs=nnx.Rngs(0))
    ours, theirs = (each(cell, **how) for each in (getattr(lstm_impl.jax, kind), nnx.RNN))
    x = GIVEN[0] if how else jnp.swapaxes(GIVEN[0], 0, 1)
    lengths, shown = jnp.array([T, 2, 4]), jnp.arange(T)[:, None] < jnp.array([T, 2, 4])
    shown = (shown if how else shown.T)[:, :, None]
    for _ in range(2):
        np.testing.assert_array_equal(ours(x), theirs(x))
        expected = jnp.where(shown, theirs(x, seq_lengths=lengths), 0)
        np.testing.assert_array_equal(ours(x, seq_lengths=lengths), expected)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"lstm_impl.jax.{kind}: ")
    assert f"{message}; flax.nnx.RNN computes in their place" in record.getMessage()


WITHOUT = """
import logging, sys
import jax.numpy as jnp, numpy as np
from flax import nnx
import lstm_impl.jax
from lstm_impl import LSTMSpec, LSTMWeights, UnavailableError, get_backend
logging.basicConfig(stream=sys.stdout)
cell, x = nnx.OptimizedLSTMCell(2, 3, rngs=nnx.Rngs(0)), jnp.ones((1, 4, 2))
for _ in range(2):
    np.testing.assert_array_equal(lstm_impl.jax.LSTM(cell)(x), nnx.RNN(cell)(x))
try:
    spec = LSTMSpec(2, 3)
    get_backend("jax_fused_cpu").build(spec, LSTMWeights.random(spec))
except UnavailableError:
    print("the named backend raises")
"""


def test_flax_module_without_a_compiler_is_computed_by_flax_after_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("flax.nnx", reason="this is Flax's: pip install flax")
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("LSTM_NATIVE_CACHE", str(tmp_path))
    monkeypatch.delenv("LSTM_NATIVE_PREBUILT", raising=False)
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("WARNING:lstm_impl") == 1
    assert (
        "the compiler no-such-compiler is not installed: apt-get install g++; flax.nnx.RNN computes"
        in done.stdout
    )
    assert "the named backend raises" in done.stdout
