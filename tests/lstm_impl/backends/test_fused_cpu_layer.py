"""Test the ops of fused_cpu: what they keep, and what they and their gradients refuse."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from lstm_impl import LSTMSpec, UnsupportedError
from lstm_impl.backends.fused_cpu.backend import FusedLayer, ops
from lstm_impl.backends.tensorflow.loops import WhileLoop
from lstm_impl.call import Call
from lstm_impl.cell import get_cell
from tests.lstm_impl.backends.built import built, needs, tensors

tf = pytest.importorskip("tensorflow", reason="the ops are TensorFlow's: pip install '.[cpu]'")

pytestmark = needs("fused_cpu")


def test_inference_equals_training_and_keeps_nothing() -> None:
    module = ops()
    x, h, c = tensors(LSTMSpec(3, 4), 2, 5)
    weights = [variable.value() for variable in built("fused_cpu", LSTMSpec(3, 4)).variables]
    inferred = module.lstm_impl_fused_lstm(x, h, c, *weights, [])
    *trained, gates, cells, hidden = module.lstm_impl_fused_lstm_training(x, h, c, *weights, [])
    for one, other in zip(inferred, trained, strict=True):
        np.testing.assert_array_equal(one, other)
    assert gates.shape[0] > 0
    assert cells.shape[0] > 0
    assert hidden.shape[0] == 0  # y is the hidden state


def test_eager_gradient_is_differentiable_only_where_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tf, "custom_gradient", made := Mock(wraps=tf.custom_gradient))
    x, h, c = tensors(LSTMSpec(3, 4), 2, 5)
    weights = [variable.value() for variable in built("fused_cpu", LSTMSpec(3, 4)).variables]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = ops().lstm_impl_fused_lstm_training(x, h, c, *weights, [])[0]
        recorded = tape.gradient(y, x)
    count = made.call_count
    assert count > 0
    np.testing.assert_array_equal(tape.gradient(y, x), recorded)
    assert made.call_count == count
    assert np.abs(tape.gradient(recorded, x)).max() > 0


def test_kept_tensors_in_bfloat16_are_half_as_large() -> None:
    module = ops()
    spec = LSTMSpec(3, 20)
    made = {}
    for dtype in (tf.float32, tf.bfloat16):
        x, h, c = (tf.cast(each, dtype) for each in tensors(spec, 4, 6))
        weights = [tf.cast(variable, dtype) for variable in built("fused_cpu", spec).variables]
        made[dtype] = module.lstm_impl_fused_lstm_training(x, h, c, *weights, [])
        assert all(each.dtype == dtype for each in made[dtype])
    sizes = {dtype: sum(each.numpy().nbytes for each in found) for dtype, found in made.items()}
    assert sizes[tf.float32] == 2 * sizes[tf.bfloat16]


def test_op_with_weights_of_another_type_raises() -> None:
    module = ops()
    x, h, c = tensors(LSTMSpec(3, 4), 2, 5)
    variables = built("fused_cpu", LSTMSpec(3, 4)).variables
    halves = [tf.cast(each, tf.bfloat16) for each in variables]
    with pytest.raises(tf.errors.InvalidArgumentError, match="a weight is bfloat16 and x is float"):
        module.lstm_impl_fused_lstm(x, h, c, *halves, [])
    handles = [tf.Variable(each).handle for each in halves]
    with pytest.raises(tf.errors.InvalidArgumentError, match="a weight is bfloat16 and x is float"):
        module.lstm_impl_fused_lstm(x, h, c, *handles, [])
    several = [variables[0].handle, tf.Variable(halves[1]).handle, variables[2].handle]
    with pytest.raises(tf.errors.InvalidArgumentError, match="types: float, bfloat16 and float"):
        module.lstm_impl_fused_lstm(x, h, c, *several, [])


def test_gradient_op_for_weights_of_another_type_raises() -> None:
    module = ops()
    x, h, c = (tf.cast(each, tf.bfloat16) for each in tensors(LSTMSpec(3, 4), 2, 5))
    weights = [each.value() for each in built("fused_cpu", LSTMSpec(3, 4)).variables]
    y, h_last, c_last, *kept = module.lstm_impl_fused_lstm_training(x, h, c, *weights, [])
    given = x, h, c, weights[1], [], y, *kept, y, h_last, c_last
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"gradients \(G\) bfloat16"):
        module.lstm_impl_fused_lstm_grad(*given, G=tf.bfloat16)


@pytest.mark.parametrize("keep", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("sizes", [(2, 5, 3, 4), (40, 6, 33, 70)])
def test_float_weights_of_bfloat16_op_have_float_gradients(
    sizes: tuple[int, int, int, int], keep: bool
) -> None:
    batch, steps, inputs, units = sizes
    spec = LSTMSpec(inputs, units)
    x, h, c = (tf.cast(each, tf.bfloat16) for each in tensors(spec, batch, steps))
    weights = [each.value() for each in built("fused_cpu", spec).variables]
    cast = [tf.cast(each, tf.bfloat16) for each in weights]
    op = ops().lstm_impl_fused_lstm_training if keep else ops().lstm_impl_fused_lstm

    def results(parameters: list[Any]) -> tuple[list[Any], list[Any]]:
        with tf.GradientTape() as tape:
            tape.watch([x, *parameters])
            outputs = op(x, h, c, *parameters, [])[:3]
        return list(outputs), tape.gradient(outputs, [x, *parameters])

    outputs, gradients = results(weights)
    expected, expected_gradients = results(cast)
    assert [each.dtype for each in gradients] == [tf.bfloat16, *[tf.float32] * 3]
    # The float32 gradients of the weights have digits that bfloat16 cannot hold.
    assert np.any(gradients[1] != tf.cast(tf.cast(gradients[1], tf.bfloat16), tf.float32))
    pairs = zip([*outputs, *gradients], [*expected, *expected_gradients], strict=True)
    for one, other in pairs:
        other = tf.cast(other, tf.float32).numpy()
        scale = np.abs(other).max()
        np.testing.assert_allclose(tf.cast(one, tf.float32), other, atol=0.02 * scale)


def test_op_with_wrong_shapes_raises() -> None:
    module = ops()
    x, h, c = tensors(LSTMSpec(3, 4), 2, 5)
    kernel, recurrent, bias = tf.zeros([3, 16]), tf.zeros([4, 16]), tf.zeros([16])
    good: dict[str, Any] = {"x": x, "h": h, "c": c, "bias": bias, "padding": []}
    good |= {"kernel": kernel, "recurrent_kernel": recurrent}
    module.lstm_impl_fused_lstm(**good)
    wrong: dict[str, tuple[Any, str]] = {
        "kernel": (tf.zeros([4, 16]), "kernel has shape"),
        "bias": (tf.zeros([15]), "bias has shape"),
        "c": (tf.zeros([1, 3, 4]), "c has shape"),
        "padding": (tf.zeros([3], tf.int32), "padding has shape"),
        "row": (1, "h has shape"),
    }
    for name, (value, message) in wrong.items():
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            module.lstm_impl_fused_lstm(**(good | {name: value}))
    with pytest.raises(tf.errors.InvalidArgumentError, match="longer than 2147483647"):
        module.lstm_impl_fused_lstm(
            **(good | {"x": tf.zeros([2**31, 0, 3]), "h": h[:, :0], "c": c[:, :0]})
        )
    y, *_ = module.lstm_impl_fused_lstm(**good)
    kept = (y, *[tf.zeros([0])] * 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not what this layer kept"):
        module.lstm_impl_fused_lstm_grad(x, h, c, recurrent, [], *kept, y, h, c)


def test_op_in_a_graph_for_xla_raises_with_what_to_do() -> None:
    model = built("fused_cpu", LSTMSpec(3, 4))
    run = tf.function(lambda x: model(x)[0], jit_compile=True, autograph=False)
    with pytest.raises(UnsupportedError, match="leave jit_compile=True out"):
        run(tf.ones([4, 2, 3]))


SAVED = """
import sys
import tensorflow as tf
if sys.argv[2] == "loaded":
    from lstm_impl.backends.fused_cpu.backend import ops
    ops()
module = tf.saved_model.load(sys.argv[1])
print(module.run(tf.ones([4, 2, 3])).numpy().sum())
"""


@pytest.mark.slow
def test_saved_model_without_the_ops_names_them_and_with_them_runs(tmp_path: Path) -> None:
    model = built("fused_cpu", LSTMSpec(3, 4))
    module = tf.Module()
    module.model_variables = model.variables
    module.run = tf.function(
        lambda x: model(x)[0], input_signature=[tf.TensorSpec([None, 2, 3])], autograph=False
    )
    tf.saved_model.save(module, str(tmp_path / "saved"))

    def load(how: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", textwrap.dedent(SAVED), str(tmp_path / "saved"), how]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    loaded = load("loaded")
    assert loaded.returncode == 0, loaded.stderr
    expected = module.run(tf.ones([4, 2, 3])).numpy().sum()
    assert float(loaded.stdout) == pytest.approx(float(expected), rel=1e-6)
    alone = load("alone")
    assert alone.returncode != 0
    assert "LstmImplFusedLstm" in alone.stderr


@pytest.mark.parametrize("cell", ["gru", "gru_reset_before"])
def test_second_gradient_of_a_gru_is_that_of_a_plain_loop(cell: str) -> None:
    spec = LSTMSpec(3, 4, cell=get_cell(cell))
    model = built("fused_cpu", spec)
    rng = np.random.default_rng(0)
    x, h = (tf.constant(rng.standard_normal(shape), tf.float32) for shape in ((5, 2, 3), (1, 2, 4)))
    parameters = [variable.value() for variable in model.variables]
    layer = FusedLayer(cell=spec.cell)

    def plain(x: Any, h: Any) -> Any:
        kernel, recurrent_kernel, bias = parameters
        arrays = [kernel, recurrent_kernel, *(bias if bias.shape.rank == 2 else [bias])]
        return WhileLoop().layer(Call(x, (h[0],)), arrays, None, False, spec.cell).y

    def second(compute: Any) -> Any:
        with tf.GradientTape() as outer:
            outer.watch([x, h])
            with tf.GradientTape() as inner:
                inner.watch([x, h])
                y = compute(x, h)
            of_x, of_h = inner.gradient(y, [x, h])
            penalty = tf.reduce_sum(of_x**2) + tf.reduce_sum(of_h**2)
        return outer.gradient(penalty, [x, h])

    found = second(lambda x, h: layer.infer(Call(x, (h,)), parameters).y)
    for one, other in zip(found, second(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_gru_of_a_wrong_bias_or_cell_is_refused() -> None:
    spec = LSTMSpec(3, 4, cell=get_cell("gru"))
    x, h = tf.zeros([5, 2, 3]), tf.zeros([1, 2, 4])
    kernel, recurrent_kernel, bias = built("fused_cpu", spec).variables
    one_bias = kernel.value(), recurrent_kernel.value(), bias.value()[0]
    for cell, says in ((1, r"bias has shape \[12\]; expected \[2,12\]"), (7, "7 is no cell")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=says):
            ops().lstm_impl_fused_lstm(x, h, h, *one_bias, [], cell=cell)
