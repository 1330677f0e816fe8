"""Test the cuDNN backend: on a CPU by an emulation of its op, and on a GPU by the op itself."""

import math
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest

import lstm_impl
from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, Workload, layouts, reference
from lstm_impl.cell import GRU
from lstm_impl.proof import gate
from tests.lstm_impl.backends.built import passes
from tests.lstm_impl.backends.cudnn_emulation import cudnn_on_cpu, params_size

OPTIONS = lstm_impl.get_backend("cudnn").variants()

SMALL = LSTMSpec(3, 4)
DEEP = LSTMSpec(3, 5, num_layers=2, bidirectional=True)
DEEP_GRU = replace(DEEP, cell=GRU())


def build(name: str, spec: LSTMSpec, **options: Any) -> lstm_impl.Model:
    return lstm_impl.get_backend(name).build(spec, LSTMWeights.random(spec, seed=1), **options)


# -- the same function


def training(batch: int, timesteps: int, **fields: Any) -> Workload:
    return Workload(batch, timesteps, "training", **fields)


CASES = {
    "one sequence": (SMALL, training(1, 4)),
    "one timestep": (SMALL, training(2, 1)),
    "the tutorial's shape": (LSTMSpec(1, 4), training(5, 15)),
    "odd sizes": (LSTMSpec(7, 9), training(3, 5)),
    "wide input": (LSTMSpec(33, 5), training(2, 3)),
    "two layers, two directions": (DEEP, training(3, 4)),
    "lengths": (DEEP, training(3, 5, min_length=1)),
    "state carried over windows": (LSTMSpec(3, 5, num_layers=2), training(2, 7, window=3)),
    "float64": (replace(DEEP, dtype="float64"), training(2, 4, min_length=2)),
    "float16": (replace(DEEP, dtype="float16"), training(2, 4, min_length=2)),
    "bfloat16": (replace(DEEP, dtype="bfloat16"), training(2, 4, min_length=2)),
    "inference": (DEEP, Workload(3, 4)),
    "inference with lengths": (SMALL, Workload(3, 4, min_length=1)),
    "batch-major": (SMALL, training(2, 3, batch_major=True)),
    "GRU": (DEEP_GRU, training(3, 4)),
    "GRU with lengths": (DEEP_GRU, training(3, 5, min_length=1)),
    "GRU with an optimizer": (DEEP_GRU, training(2, 3, optimizer="sgd")),
    "GRU in float16": (replace(DEEP_GRU, dtype="float16"), training(2, 4, min_length=2)),
}


# An option changes the op's inputs or parameters, and nothing else.
OF_AN_OPTION = (
    "two layers, two directions",
    "lengths",
    "state carried over windows",
    "float16",
    "inference",
    "inference with lengths",
    "batch-major",
    "GRU",
    "GRU with lengths",
)


QUICK = ("two layers, two directions", "lengths", "GRU with lengths")


@pytest.mark.usefixtures("emulation", "eagerly")
@pytest.mark.parametrize(
    ("name", "case"),
    [
        # Of options, the cases whose inputs or parameters an option changes are quick tests.
        pytest.param(
            name, case, marks=[pytest.mark.slow] if "+" in name and case not in QUICK else []
        )
        for name in OPTIONS
        for case in (OF_AN_OPTION if "+" in name else CASES)
    ],
)
def test_cudnn_emulated_on_a_cpu_equals_the_reference(name: str, case: str) -> None:
    spec, workload = CASES[case]
    passes(build(name, spec, batch_major=workload.batch_major), workload, 2)


# -- the parameter buffer


@pytest.mark.usefixtures("emulation", "eagerly")
@pytest.mark.parametrize("spec", [DEEP, DEEP_GRU], ids=["LSTM", "GRU"])
def test_repack_gives_the_same_buffer_as_packing_once(tf: Any, spec: LSTMSpec) -> None:
    buffers = []
    for name in ("cudnn", "cudnn+repack"):
        with mock.patch.object(tf.raw_ops, "CudnnRNNV2", wraps=tf.raw_ops.CudnnRNNV2) as op:
            build(name, spec).forward(np.zeros((1, 1, 3)))
        buffers.append(op.call_args.kwargs["params"].numpy())
    np.testing.assert_array_equal(*buffers)


@pytest.mark.usefixtures("emulation")
def test_gradient_step_moves_only_the_recurrent_bias(tf: Any) -> None:
    """A step of plain gradient descent moves the effective bias once, not twice."""
    model: Any = build("cudnn", DEEP)
    (buffer,) = model.variables
    before = model.get_weights()
    x = np.random.default_rng(3).standard_normal((4, 2, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        y, _ = model(x)
        loss = tf.reduce_sum(y)
    buffer.assign_sub(0.1 * tape.gradient(loss, buffer))
    matrices, _ = layouts.cudnn_sizes(DEEP)
    assert not np.any(buffer.numpy()[matrices:].reshape(-1, 2, 20)[:, 0])
    _, _, found = reference.forward_and_gradients(DEEP, before, x, np.ones((4, 2, 10)))
    for now, was, gradient in zip(
        model.get_weights().arrays(), before.arrays(), found.weights.arrays(), strict=True
    ):
        np.testing.assert_allclose(now, was - 0.1 * gradient, atol=1e-5)


@pytest.mark.usefixtures("emulation")
def test_gradient_step_of_a_gru_moves_both_biases(tf: Any) -> None:
    model: Any = build("cudnn", DEEP_GRU)
    (buffer,) = model.variables
    before = model.get_weights()
    x = np.random.default_rng(3).standard_normal((4, 2, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        y, _ = model(x)
        loss = tf.reduce_sum(y)
    buffer.assign_sub(0.1 * tape.gradient(loss, buffer))
    _, _, found = reference.forward_and_gradients(DEEP_GRU, before, x, np.ones((4, 2, 10)))
    for now, was, gradient in zip(
        model.get_weights().arrays(), before.arrays(), found.weights.arrays(), strict=True
    ):
        np.testing.assert_allclose(now, was - 0.1 * gradient, atol=1e-5)


# -- what it refuses, and why it is not available


@pytest.mark.parametrize(
    ("name", "spec", "workload", "says"),
    [
        ("cudnn", replace(SMALL, dtype="mixed_float16"), None, "use cudnn\\+repack"),
        ("cudnn", replace(SMALL, cell=GRU(reset_after=False)), None, "In gru_reset_before it acts"),
        ("cudnn", DEEP, training(2, 3, dropout=0.5), "its own dropout masks"),
    ],
)
def test_cudnn_refusal_gives_the_reason(
    name: str, spec: LSTMSpec, workload: Workload | None, says: str
) -> None:
    assert says.replace("\\", "") in lstm_impl.get_backend(name).refusal(spec, workload)
    if workload is None:
        with cudnn_on_cpu(), pytest.raises(UnsupportedError, match=says):
            build(name, spec)


@pytest.mark.usefixtures("emulation")
def test_masks_in_inference_are_refused(tf: Any) -> None:
    model: Any = build("cudnn", DEEP)
    x = np.zeros((3, 2, 3), np.float32)
    masks = lstm_impl.dropout_masks(DEEP, 3, 2, 0.5, seed=0)
    with pytest.raises(UnsupportedError, match="its own dropout masks"):
        model.forward(x, masks=masks)
    with pytest.raises(UnsupportedError, match="its own dropout masks"):
        model(tf.constant(x), masks=tf.constant(masks))


def test_missing_evidence_without_a_cudnn_kernel_names_what_ran() -> None:
    backend = lstm_impl.get_backend("cudnn")
    assert not backend.missing_evidence({"cudnn": True, "kernels": {"RNN_elemWise": 1}}, "gpu:0")
    missing = backend.missing_evidence({"cudnn": False, "kernels": {"sgemm": 12}}, "gpu:0")
    assert missing == "no cuDNN kernel ran on gpu:0; the profiler saw sgemm"
    assert backend.missing_evidence({}, "gpu:0").endswith("saw no kernel at all")


# -- on a GPU: the op itself


@pytest.fixture
def gpu(tf: Any) -> str:
    available = lstm_impl.get_backend("cudnn").availability("gpu:0")
    if not available:
        pytest.skip(f"needs a GPU that TensorFlow can use: {available}")
    return "gpu:0"


@pytest.mark.parametrize("name", OPTIONS)
def test_cudnn_on_a_gpu_equals_the_reference(gpu: str, name: str) -> None:
    wrong = {}
    for case, (spec, workload) in CASES.items():
        model = build(name, spec, device=gpu, batch_major=workload.batch_major)
        found = gate(model, workload, seed=2)
        if not found.passed:
            wrong[case] = found.describe()
    assert not wrong


def test_lengths_on_a_gpu_full_then_short_equal_the_reference(gpu: str) -> None:
    """TensorFlow caches the op's descriptor; whether it pads is not part of the cache's key."""
    weights = LSTMWeights.random(SMALL, seed=1)
    model = build("cudnn+lengths", SMALL, device=gpu)
    x = np.random.default_rng(0).standard_normal((5, 3, 3))
    for lengths in ([5, 5, 5], [5, 1, 3], [5, 5, 5]):
        y, state = model.forward(x, lengths=lengths)
        expected, last = reference.forward(SMALL, weights, x, lengths=lengths)
        np.testing.assert_allclose(y, expected, atol=1e-5)
        np.testing.assert_allclose(state.c, last.c, atol=1e-5)


# -- the emulation, independently of the code that it tests


def op_arguments(tf: Any, **changes: Any) -> dict[str, Any]:
    """Return the arguments of the op: two sequences of three steps, two features, four units."""
    arguments = {
        "input": tf.ones([3, 2, 2]),
        "input_h": tf.zeros([1, 2, 4]),
        "input_c": tf.zeros([1, 2, 4]),
        "params": tf.fill([params_size(1, 4, 2, 1)], 0.1),
    }
    return {**arguments, **changes}


@pytest.mark.usefixtures("emulation")
@pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning")  # by Keras 3.16
@pytest.mark.parametrize("mask", [None, [[True, True, True], [True, False, False]]])
@pytest.mark.parametrize(("kind", "biases"), [("LSTM", (16,)), ("GRU", (2, 12))])
def test_emulated_op_in_a_keras_layer_equals_its_loop(
    tf: Any, kind: str, biases: tuple[int, ...], mask: list[list[bool]] | None
) -> None:
    """Keras packs its weights itself, batch-major, so that the emulated layout is Keras's too."""
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    if keras.backend.backend() != "tensorflow":
        pytest.skip(f"Keras computes with {keras.backend.backend()} here, which has no cuDNN op")
    x = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32)
    layers = [
        getattr(keras.layers, kind)(
            4, return_sequences=True, return_state=True, use_cudnn=use, seed=0
        )
        for use in (True, False)
    ]
    for layer in layers:
        layer.build(x.shape)
    bias = np.linspace(-1, 1, math.prod(biases)).reshape(biases)
    layers[0].set_weights([*layers[1].get_weights()[:2], bias])
    layers[1].set_weights(layers[0].get_weights())
    # In a build without CUDA Keras leaves a GRU's gates in an order that is not cuDNN's.
    build_info = {**tf.sysconfig.get_build_info(), "is_cuda_build": True}
    with (
        mock.patch.object(tf.config, "list_logical_devices", return_value=["GPU:0"]),
        mock.patch.object(tf.sysconfig, "get_build_info", return_value=build_info),
        mock.patch.object(tf.raw_ops, "CudnnRNNV3", wraps=tf.raw_ops.CudnnRNNV3) as op,
    ):
        fused = layers[0](x, mask=None if mask is None else tf.constant(mask))
        assert op.call_count == 1
    plain = layers[1](x, mask=None if mask is None else tf.constant(mask))
    # on padding cuDNN gives zeros, Keras's loop the output before
    valid = np.ones((2, 3, 1)) if mask is None else np.array(mask)[:, :, None]
    np.testing.assert_allclose(fused[0] * valid, plain[0] * valid, atol=1e-6)
    np.testing.assert_allclose(fused[1:], plain[1:], atol=1e-6)
    assert np.all(np.asarray(fused[0])[valid[:, :, 0] == 0] == 0)


@pytest.mark.usefixtures("emulation")
def test_emulated_op_adds_its_two_biases(tf: Any) -> None:
    params = op_arguments(tf)["params"].numpy()
    biases = params_size(1, 4, 2, 1) - 8 * 4
    in_first, in_second = params.copy(), params.copy()
    in_first[biases : biases + 16] += 0.5
    in_second[biases + 16 :] += 0.5
    y, other = (
        tf.raw_ops.CudnnRNNV2(**op_arguments(tf, params=values)).output
        for values in (in_first, in_second)
    )
    np.testing.assert_allclose(y, other, atol=1e-6)
    assert np.abs(y - tf.raw_ops.CudnnRNNV2(**op_arguments(tf)).output).max() > 0.01
