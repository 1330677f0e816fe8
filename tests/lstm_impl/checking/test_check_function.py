"""Test ``lstm_impl.check`` of functions: right loops pass, wrong ones are located and explained."""

import json
import sys
from typing import Any

import numpy as np
import pytest

import lstm_impl
from lstm_impl.checking import CheckResult, TargetError, check
from lstm_impl.checking.answer import compose_markdown, compose_text
from tests.lstm_impl.backends.built import IN_PEERS
from tests.lstm_impl.checking import written_loops as loops

TINY: dict[str, Any] = {"input_size": 3, "hidden_size": 5, "batch": 4, "timesteps": 6}


def causes(result: CheckResult) -> list[str]:
    return [cause.name for cause in result.causes]


def swapped_gates(x: Any, h: Any, c: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
    def exchange(array: Any) -> Any:
        i, f, g, o = np.split(array, 4, axis=-1)
        return np.concatenate([f, i, g, o], axis=-1)

    return loops.numpy_loop(x, h, c, *map(exchange, (kernel, recurrent_kernel, bias)))


def late_output(x: Any, h: Any, c: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
    y, h, c = loops.numpy_loop(x, h, c, kernel, recurrent_kernel, bias)
    y[3:, 1, 2:] += 0.125
    return y, h, c


# -- what is right


def test_numpy_loop_passes_with_a_note_on_its_gradients() -> None:
    result = check(loops.numpy_loop, **TINY)
    assert result
    assert "outputs and states" in str(result)
    assert "gradients were not checked" in str(result)


@pytest.mark.parametrize(
    ("module", "function", "options"),
    [
        ("torch", "torch_loop", {"layout": "torch", "arrays": "torch"}),
        pytest.param("jax", "jax_loop", {"arrays": "jax"}, marks=IN_PEERS),
        ("tensorflow", "tensorflow_loop", {"layout": "keras", "arrays": "tensorflow"}),
    ],
)
def test_check_of_a_framework_loop_judges_its_gradients(
    module: str, function: str, options: dict[str, Any]
) -> None:
    framework = pytest.importorskip(module)
    loop = getattr(loops, function)
    # Without jit, JAX compiles a scan again in every call.
    result = check(framework.jit(loop) if module == "jax" else loop, **options, **TINY)
    assert result, str(result)
    assert result.networks[0].workload.training
    assert {"dx", "dh", "dc"} <= result.networks[0].result.errors.keys()


def test_check_of_a_gru_passes_and_finds_its_exchanged_biases() -> None:
    names = ("x", "h", "kernel", "recurrent_kernel", "bias", "recurrent_bias")
    assert check(loops.numpy_gru, cell="gru", arguments=names, **TINY)
    turned = (*names[:4], names[5], names[4])
    result = check(loops.numpy_gru, cell="gru", arguments=turned, **TINY)
    assert not result
    assert any("the two biases are exchanged" in cause.details for cause in result.causes)


def test_check_without_sizes_judges_a_small_a_wide_and_a_long_network() -> None:
    result = check(loops.numpy_loop)
    sizes = [(each.spec.hidden_size, each.workload.timesteps) for each in result.networks]
    assert sizes == [(8, 6), (200, 5), (6, 520)]


def test_check_of_a_function_without_states_begins_with_zeros() -> None:
    def from_zeros(x: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
        zero = np.zeros((x.shape[1], len(recurrent_kernel)), x.dtype)
        return loops.numpy_loop(x, zero, zero, kernel, recurrent_kernel, bias)[0]

    assert check(from_zeros, **TINY)


def test_check_of_the_last_hidden_state_alone_still_finds_a_wrong_gate() -> None:
    def last(function: Any) -> Any:
        return lambda x, h, c, kernel, recurrent_kernel, bias: function(
            x, h, c, kernel, recurrent_kernel, bias
        )[1]

    assert check(last(loops.numpy_loop), arrays="numpy", **TINY)
    result = check(last(swapped_gates), arrays="numpy", **TINY)
    assert causes(result) == ["exchanged gates"]


def test_check_of_padded_sequences_finds_steps_taken_from_padding() -> None:
    def padded(x: Any, h: Any, c: Any, kernel: Any, recurrent_kernel: Any, bias: Any,
               lengths: Any) -> Any:  # fmt: skip
        outputs = []
        for t, x_t in enumerate(x):
            _, h_new, c_new = loops.numpy_loop(x_t[None], h, c, kernel, recurrent_kernel, bias)
            valid = (t < lengths)[:, None]
            h, c = np.where(valid, h_new, h), np.where(valid, c_new, c)
            outputs.append(np.where(valid, h, 0))
        return np.stack(outputs), h, c

    def unpadded(x: Any, h: Any, c: Any, kernel: Any, recurrent_kernel: Any, bias: Any,
                 lengths: Any) -> Any:  # fmt: skip
        return padded(x, h, c, kernel, recurrent_kernel, bias, np.full_like(lengths, len(x)))

    assert check(padded, **TINY)
    assert causes(check(unpadded, **TINY)) == ["padding"]


# -- what is wrong


def test_answer_names_array_timestep_sequence_and_unit_of_the_first_error() -> None:
    result = check(late_output, **TINY)
    (network,) = result.networks
    first = network.deviations[0]
    assert (first.array, first.first, first.wrong) == ("y", (3, 1, 2), 9)
    assert first.ranges == ((3, 5), (1, 1), (2, 4))
    text = compose_text(result)
    assert "timesteps from 3 on, sequence 1, units from 2 on: 9 of 120 numbers" in text
    assert "first at timestep 3, sequence 1, unit 2" in text
    assert "h differs" not in text
    assert "No known mistake explains these results." in text


def test_exchanged_gates_are_named_with_their_order() -> None:
    (cause,) = check(swapped_gates, **TINY).causes
    assert cause.name == "exchanged gates"
    assert cause.sentence == (
        "It takes the gates in another order: it reads i, f, g, o as f, i, g, o."
    )


def test_plain_data_and_markdown_have_the_verdict_and_the_cause() -> None:
    result = check(swapped_gates, **TINY)
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data["passed"] is False
    (network,) = data["networks"]
    assert network["causes"][0]["name"] == "exchanged gates"
    assert network["deviations"][0]["array"] == "y"
    markdown = compose_markdown(result)
    assert markdown.startswith("### ❌")
    assert "**Likely cause**" in markdown
    assert compose_markdown(check(loops.numpy_loop, **TINY)).startswith("### ✅")


# -- four public reports


def test_scan_that_is_right_forward_and_wrong_backward_is_found() -> None:
    pytest.importorskip("torch")
    options: dict[str, Any] = {"arrays": "torch", "layout": "torch"}
    result = check(loops.scan_without_carried_gradient, **options, **TINY)
    assert causes(result) == ["cut gradient"]
    assert {each.array for each in result.networks[0].deviations} == {
        "dlayer0.forward.kernel",
        "dlayer0.forward.recurrent_kernel",
        "dlayer0.forward.bias",
    }


def test_cell_that_ignores_units_above_128_is_found_by_the_usual_networks() -> None:
    result = check(loops.cell_of_one_block)
    assert [network.result.passed for network in result.networks] == [True, False, True]
    assert "ignored units" in causes(result)
    y = result.networks[1].deviations[0]
    assert (y.array, y.first) == ("y", (0, 0, 128))


def test_training_on_the_last_step_only_is_found() -> None:
    jax = pytest.importorskip("jax")
    loop = jax.jit(loops.loop_that_trains_on_its_last_step)
    result = check(loop, arrays="jax", **TINY)
    assert causes(result) == ["gradient of few steps"]
    assert "the last timestep" in result.causes[0].sentence


def test_kernel_that_computes_only_the_end_of_512_steps_is_found() -> None:
    options: dict[str, Any] = {"input_size": 3, "hidden_size": 4, "batch": 2, "timesteps": 512}
    result = check(loops.end_of_the_sequence, arguments=TAKEN, **options)
    (cause,) = result.causes
    assert (cause.name, cause.details) == ("steps left out", ("only the last 48 steps",))


TAKEN = ("x", "h", "c", "kernel", "recurrent_kernel", "bias")


# -- wrong use


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("nowhere:f", {}, "nowhere cannot be imported: ModuleNotFoundError"),
        ("numbers", {}, "'numbers' names no target; expected module:callable"),
        ("nowhere.py:f", {}, "the file nowhere.py does not exist"),
        ("json:nothing", {}, "json has no 'nothing'; it has"),
        (loops.numpy_loop, {"gates": "ifgx"}, "expected the letters of 'ifgo'"),
        (loops.numpy_loop, {"biases": 3}, "biases is 3; expected 1 or 2"),
        (loops.numpy_loop, {"layout": "caffe"}, "expected one of canonical, keras"),
        (loops.numpy_loop, {"biases": 2}, "the function takes (x, h, c, kernel,"),
        (loops.numpy_loop, {"arrays": "cupy"}, "expected one of numpy, torch"),
        (loops.numpy_loop, {"returned": ("h", "y")}, "a call returned (6, 4, 5), (4, 5), (4, 5)"),
        (loops.numpy_loop, {"transposed": True}, "raised ValueError"),
        (
            loops.numpy_loop,
            {"arguments": ("x", "hidden")},
            "the arguments include 'hidden'; expected",
        ),
    ],
)
def test_wrong_use_raises_one_line_with_what_was_expected_and_found(
    target: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TargetError) as caught:
        check(target, **{**TINY, **options})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_batch_major_results_of_a_time_major_layout_show_both_shapes() -> None:
    def turned(x: Any, h: Any, c: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> Any:
        y, h, c = loops.numpy_loop(x, h, c, kernel, recurrent_kernel, bias)
        return np.swapaxes(y, 0, 1), h, c

    with pytest.raises(TargetError, match=r"\(4, 6, 5\).*expected y \(6, 4, 5\).*batch-major"):
        check(turned, **TINY)


def test_backward_function_with_too_few_gradients_raises_with_the_names() -> None:
    def backward(*given: Any) -> Any:
        return given[:2]

    with pytest.raises(TargetError, match="expected 6, the gradients of x, h, c, kernel"):
        check(loops.numpy_loop, backward=backward, **TINY)


def test_numpy_function_in_bfloat16_without_ml_dtypes_raises_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)  # an import of it raises ImportError
    with pytest.raises(TargetError) as caught:
        check(loops.numpy_loop, dtype="bfloat16", **TINY)
    message = str(caught.value)
    assert message.startswith(
        "NumPy arrays in bfloat16 need the package ml_dtypes; run pip install ml_dtypes ("
    )
    assert "\n" not in message


def test_check_is_public_and_imports_no_bench() -> None:
    assert lstm_impl.check is check
