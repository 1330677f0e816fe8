"""Test replicas on two logical CPUs, in a process of their own."""

import json
import subprocess
import sys
from typing import Any

import pytest

from lstm_impl import LSTMSpec, UnsupportedError, Workload, get_backend
from tests.outside import outside

SCRIPT = """
import json
from lstm_impl import LSTMSpec, LSTMWeights, Workload, get_backend
from lstm_impl.backends.tensorflow import replicas
from lstm_impl.proof import gate

SPEC = LSTMSpec(3, 5)
found = {"available": bool(get_backend("keras:replicas").availability("cpu"))}
import tensorflow as tf

def judged(name, *workloads, spec=SPEC):
    model = get_backend(f"{name}:replicas").build(spec, LSTMWeights.random(spec))
    results = [gate(model, each) for each in workloads]
    return model, [each.passed or each.describe() for each in results]

TRAIN = Workload(5, 3, "training", gradients="weights")
for name in ("while_loop+hoisted", "keras", "while_loop+xla"):
    _, found[name] = judged(name, TRAIN)
model, found["block_lstm"] = judged("block_lstm", TRAIN, Workload(4, 4), Workload(4, 3, "training"))
_, found["layers"] = judged("block_lstm", TRAIN, spec=LSTMSpec(3, 5, 2, True))
found["evidence"] = model.evidence(TRAIN)["replicas"]
step = model.prepare(TRAIN)
step.trace()
found["results"] = sorted(step.results(step.run()))
try:
    model.prepare(Workload(1, 4))
except Exception as error:
    found["one"] = str(error)

real = tf.distribute.get_replica_context

class Context:
    def __init__(self, change):
        self.change = change

    def all_reduce(self, how, values):
        return self.change(real(), how, values)

WRONG = {
    "mean": lambda context, how, each: context.all_reduce(tf.distribute.ReduceOp.MEAN, each),
    "unreduced": lambda context, how, each: each,
    "twice": lambda context, how, each: context.all_reduce(how, context.all_reduce(how, each)),
}
for name, change in WRONG.items():
    tf.distribute.get_replica_context = lambda change=change: Context(change)
    try:
        found[name] = judged("block_lstm", TRAIN)[1]
    except ArithmeticError as error:
        found[name] = [str(error)]
tf.distribute.get_replica_context = real
split = replicas.np.array_split
replicas.np.array_split = lambda array, count, axis: split(array, count, axis)[:1] * count
found["same sequences"] = judged("block_lstm", Workload(4, 4))[1]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=outside(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize(
    "name", ["while_loop+hoisted", "keras", "block_lstm", "while_loop+xla", "layers"]
)
def test_replicas_of_a_backend_pass_the_gate(name: str, found: dict[str, Any]) -> None:
    assert set(found[name]) == {True}


def test_replicas_name_their_number_and_results(found: dict[str, Any]) -> None:
    assert found["available"]
    assert found["evidence"] == 2
    assert {"y", "h", "c", "dlayer0.forward.kernel"} <= set(found["results"])
    assert found["one"] == "2 replicas cannot share a batch of 1; expected at least 2 sequences"


@pytest.mark.parametrize("mistake", ["mean", "unreduced", "twice", "same sequences"])
def test_replicas_with_a_wrong_sum_or_batch_are_stopped(
    mistake: str, found: dict[str, Any]
) -> None:
    (problem,) = found[mistake]
    assert problem is not True
    assert "differ" in problem or "error" in problem


@pytest.mark.parametrize(
    "workload",
    [
        Workload(4, 3, batch_major=True),
        Workload(4, 3, min_length=1),
        Workload(4, 3, "training", optimizer="sgd"),
    ],
)
def test_replicas_refuse_what_they_cannot_share(workload: Workload) -> None:
    assert get_backend("while_loop:replicas").refusal(LSTMSpec(3, 5), workload)


@pytest.mark.parametrize("name", ["numpy", "torch", "keras_model"])
def test_replicas_of_another_framework_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"^{name} has no variant replicas"):
        get_backend(f"{name}:replicas")


def test_replicas_on_a_second_gpu_are_unavailable() -> None:
    assert not get_backend("while_loop:replicas").availability("gpu:1")
