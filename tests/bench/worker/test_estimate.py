"""What a case needs, compared with figures computed by hand."""

from pathlib import Path

import pytest

from bench import case as suites
from bench.case.cases import Case
from bench.case.loading import SuiteChoice
from bench.render.messages import reason_texts
from bench.worker import estimate
from bench.worker.estimate import Free
from lstm_impl import LSTMSpec, Workload

GIB = 2**30
ROOMY = Free(2**50, 2**50, 2)


def case(device: str = "cpu", mode: str = "training", dtype: str = "float32") -> Case:
    # 512 x 1000 x 512: 2^9 * 1000 steps, 4 * 512 * (512 + 512 + 1) parameters
    return Case("numpy", LSTMSpec(512, 512, dtype=dtype), Workload(512, 1000, mode), device)


def test_estimate_training_counts_six_operations_a_weight() -> None:
    found = estimate.estimate(LSTMSpec(3, 4), Workload(2, 5, "training"))
    parameters = 4 * 4 * (3 + 4 + 1)
    # biases are in no product
    assert found.operations == 6 * (parameters - 4 * 4) * 10
    assert found.weights == 4 * 2 * parameters
    # x, y, dx and dy; four gates and the cell
    assert found.activations == 4 * 10 * (2 * (3 + 4) + 5 * 4)
    assert found.judge == 2 * found.activations


def test_estimate_inference_holds_input_and_output() -> None:
    found = estimate.estimate(LSTMSpec(3, 4), Workload(2, 5))
    assert found.operations == 2 * 4 * 4 * 7 * 10
    assert found.weights == 4 * 4 * 4 * 8
    assert found.activations == 4 * 10 * (3 + 4)


def test_estimate_fewer_gradients_counts_less() -> None:
    spec = LSTMSpec(5, 4, num_layers=2)
    everything, no_state, no_input = (
        Workload(3, 8, "training", window=3, gradients=gradients)
        for gradients in ("all", "weights+input", "weights")
    )
    works = (everything, no_state, no_input)
    counted = [estimate.operations(spec, work) for work in works]
    recurrent = 3 * 3 * 2 * (4 * 4 * 4)  # in the first step of 3 windows of 3 sequences, 2 layers
    assert counted[0] - counted[1] == 2 * recurrent
    assert counted[1] - counted[2] == 2 * 3 * 8 * (4 * 4 * 5)
    moved = [estimate.least_bytes(spec, work) for work in works]
    assert moved[0] - moved[1] == 4 * 3 * 2 * 4 * 4  # h and c, read and written, of 2 layers
    assert moved[1] - moved[2] == 4 * 3 * 8 * 5
    kept = [estimate.estimate(spec, work).activations for work in works]
    assert kept[0] - kept[2] == 4 * 3 * 8 * 5


def test_operations_several_layers_and_directions_count_all_products() -> None:
    spec = LSTMSpec(3, 4, num_layers=2, bidirectional=True)
    forward = 2 * 4 * 4 * (2 * (3 + 4) + 2 * (8 + 4)) * 10
    assert estimate.operations(spec, Workload(2, 5)) == forward
    assert estimate.operations(spec, Workload(2, 5, "training", window=2)) == 3 * forward


def test_least_bytes_counts_each_input_and_output_once() -> None:
    spec = LSTMSpec(3, 4)
    weights, x, y, states = 4 * 4 * 8, 3 * 10, 4 * 10, 2 * 2 * 4
    forward = weights + x + y + 2 * states
    assert estimate.least_bytes(spec, Workload(2, 5)) == 4 * forward
    # and as much for the gradients
    assert estimate.least_bytes(spec, Workload(2, 5, "training")) == 8 * forward
    half = LSTMSpec(3, 4, dtype="mixed_bfloat16")
    assert estimate.least_bytes(half, Workload(2, 5)) == 4 * weights + 2 * (forward - weights)


def test_least_bytes_adam_adds_four_arrays() -> None:
    spec = LSTMSpec(3, 4)
    plain, sgd, adam = (
        estimate.least_bytes(spec, Workload(2, 5, "training", optimizer=optimizer))
        for optimizer in (None, "sgd", "adam")
    )
    assert sgd == plain
    assert adam == plain + 4 * 4 * spec.parameter_count


def test_least_bytes_counts_masks_and_no_padding() -> None:
    spec = LSTMSpec(3, 4, num_layers=3)
    plain, dropped = (
        estimate.least_bytes(spec, Workload(2, 5, "training", dropout=rate)) for rate in (0.0, 0.5)
    )
    assert dropped == plain + 4 * 2 * 4 * 10
    padded = estimate.least_bytes(spec, Workload(2, 10, min_length=2))
    complete = estimate.least_bytes(spec, Workload(2, 10))
    assert complete - padded == 4 * (3 + 4) * (20 - 12)


# 512,000 steps of (4 + 5) * 512 numbers of 8 bytes
JUDGE = "needs about 18 GiB to check its results in float64; 17 GiB are free"
LONG = (
    "needs about 6.4e+12 operations a step, about 3 minutes here; the suite starts no step that "
    "takes more than 2 minutes"
)


@pytest.mark.parametrize(
    ("device", "free", "message"),
    [
        ("cpu", Free(17 * GIB, None, 64), JUDGE),
        ("gpu:0", Free(17 * GIB, 80 * GIB, 64), JUDGE),
        ("cpu", Free(18 * GIB, None, 64), ""),
        ("gpu:1", Free(64 * GIB, 8 * GIB, 2), "needs about 8.8 GiB on the GPU; gpu:1 has 8.0 GiB"),
        ("cpu", ROOMY, LONG),
        ("cpu", Free(2**50, None, 4), ""),
        ("gpu:0", ROOMY, ""),
    ],
)
def test_too_large_little_memory_says_what_is_needed_and_free(
    device: str, free: Free, message: str
) -> None:
    found = estimate.too_large(case(device), free)
    assert (reason_texts(found)[0] if found else "") == message


def test_too_large_quick_suite_on_a_small_machine_is_empty() -> None:
    small = Free(2 * GIB, 4 * GIB, 2)
    cases = suites.load("quick", SuiteChoice(devices=["cpu", "gpu:0"])).cases
    assert [case.id for case in cases if estimate.too_large(case, small)] == []


def test_cgroup_bytes_limited_container_gives_what_is_left(tmp_path: Path) -> None:
    assert estimate.cgroup_bytes(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 200\n")
    assert estimate.cgroup_bytes(tmp_path) == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert estimate.cgroup_bytes(tmp_path) is None
