"""Find the fastest backend for one network and one workload by a race (``lstm_impl.tune``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import lstm_impl.tuning.machine as machine
from lstm_impl.at_rest import IdleWait
from lstm_impl.backend import Backend
from lstm_impl.call import Step, Tensor
from lstm_impl.proof import gate
from lstm_impl.registry import get_backend
from lstm_impl.spec import LSTMSpec, UnsupportedError
from lstm_impl.tuning.decision import Decision, TuningRequest, decide, find, save
from lstm_impl.tuning.race import print_progress, race
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload

_INFERENCE = (
    *("keras", "cudnn", "fused_cpu", "block_lstm", "while_loop+xla"),
    *("partial_unroll@5+preproject", "while_loop+preproject"),
)

CANDIDATES: Mapping[str, tuple[str, ...]] = {
    "inference": _INFERENCE,
    "streaming": _INFERENCE,
    "training": (
        *("keras", "cudnn", "fused_cpu", "block_lstm", "while_loop+hoisted+xla"),
        *("while_loop+hoisted", "partial_unroll@5+hoisted"),
    ),
}
"""The TensorFlow backends that race by default, by mode. Each was the fastest for some shape. Other
backends race only if they are named."""

SECONDS = 20.0
"""The duration of a race in seconds, including first calls. Compiling a loop takes one to three
seconds of it."""


def tune(
    spec: LSTMSpec,
    workload: Workload,
    device: str = "cpu",
    *,
    candidates: Sequence[str] | None = None,
    seconds: float = SECONDS,
    again: bool = False,
    seed: int = 0,
    print_fn: Callable[[str], object] | None = print_progress,
) -> Decision:
    """Find the fastest backend for a network and a workload by a race, and save the result.

    Some candidates do not race: those that cannot run on this machine or cannot compute the
    workload, and those whose results differ from the float64 reference (``lstm_impl.proof``). The
    decision gives the reason for each.

    Parameters
    ----------
    spec
        The network.
    workload
        The sizes of the data and the mode: inference, streaming or training.
    device
        ``cpu`` or ``gpu:N``.
    candidates
        The ids of backends. None means ``CANDIDATES`` for the mode.
    seconds
        The duration of the race, for all candidates together. Building and checking them is not
        included.
    again
        Whether to race even if a saved decision fits this machine and its versions.
    seed
        The seed of the weights, the inputs and the order of the race.
    print_fn
        A function that is called with each line of progress: when a candidate starts to race, or
        why it does not, and then the decision. By default, the lines go to standard error if it is
        a terminal. None prints nothing.

    Returns
    -------
    Decision
        The times of all candidates, and the backend to use.

    Raises
    ------
    UnsupportedError
        If a candidate does not exist, or if none of them can run.
    ValueError
        If ``seconds`` is not positive.
    """
    if not seconds > 0:
        raise ValueError(f"seconds is {seconds}; expected a positive number")
    requested = [get_backend(each) for each in candidates or CANDIDATES[workload.mode]]
    question = TuningRequest(
        spec, workload, "model", machine.describe_machine(device, find_gpu_name(device))
    )
    if not again and (known := find_answer(question, [each.name for each in requested])):
        return known
    weights = LSTMWeights.random(spec, seed)
    tell = start_progress(workload.mode, len(requested), seconds, print_fn)
    found = {
        each.name: _prepare_entrant(each, spec, weights, workload, device, seed)
        for each in requested
    }
    steps = {name: each for name, each in found.items() if isinstance(each, Step)}
    problems = {name: each for name, each in found.items() if isinstance(each, str)}
    return remember(question, steps, problems, "", seconds, seed, "lstm_impl.tune", tell)


def start_progress(
    what: str, count: int, seconds: float, print_fn: Callable[[str], object] | None
) -> Callable[[str], object]:
    """Announce a race, and return a function that prints further lines about it.

    Parameters
    ----------
    what
        The subject of the race, such as the mode. Every line begins with it.
    count
        The number of candidates.
    seconds
        The duration of the race.
    print_fn
        As in ``tune``.
    """

    def tell(line: str) -> None:
        if print_fn is not None:
            print_fn(f"{what}: {line}")

    tell(f"checking {count} candidates before a race of {seconds:g} s")
    return tell


def find_answer(question: TuningRequest, candidates: Sequence[str]) -> Decision | None:
    """Return the saved decision for a request, or None if any candidate has not raced.

    A decision that was made on another machine or with other versions does not count.
    """
    known = find(question)
    if known is None or known.question.machine != question.machine:
        return None
    return known if set(candidates) <= {each.backend for each in known.raced} else None


def remember(
    question: TuningRequest,
    steps: Mapping[str, Step],
    problems: Mapping[str, str],
    rule: str,
    seconds: float,
    seed: int,
    by: str,
    print_fn: Callable[[str], object] | None = None,
) -> Decision:
    """Race the steps of several backends, save the decision that follows, and return it.

    Parameters
    ----------
    question
        The request. It identifies the decision.
    steps
        The step to time of each backend that can run, by the backend's name.
    problems
        The reason of each backend that cannot run, by the backend's name.
    rule, by
        As in ``Decision``.
    seconds, seed
        As in ``race``.
    print_fn
        As in ``tune``.

    Raises
    ------
    UnsupportedError
        If no backend can run.
    """
    tell = print_fn or (lambda line: None)
    for name, problem in problems.items():
        tell(f"{name} does not race: {problem}")
    if not steps:
        reasons = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        raise UnsupportedError(f"none of the candidates can run: {reasons}")
    ran = race(steps, seconds, seed, rest=IdleWait(), print_fn=print_fn)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    decision = decide(question, ran, problems, rule, made, by)
    save(decision)
    tell(f"use {decision.backend or 'nothing: no candidate ended the race'}")
    return decision


def _prepare_entrant(
    backend: Backend,
    spec: LSTMSpec,
    weights: LSTMWeights,
    workload: Workload,
    device: str,
    seed: int,
) -> Step | str:
    """Return a step that is ready to race, or the reason why the backend cannot race."""
    if not (available := backend.availability(device)):
        return str(available)
    if reason := backend.refusal(spec, workload):
        return str(reason)
    try:
        model = backend.build(spec, weights, device, batch_major=workload.batch_major)
        proof = gate(model, workload, seed)
        if not proof.passed:
            return f"its results differ from the reference: {proof.describe()}"
        step = model.prepare(workload, seed)
        if not workload.streaming:
            return step

        def run() -> Tensor:
            # A stream needs the output of each call before the next one, so every call waits for
            # it.
            returned = step.run()
            step.synchronize()
            return returned

        return replace(step, run=run)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def find_gpu_name(device: str) -> str:
    """Return the name of a GPU. The name is empty for a CPU, or if TensorFlow does not know it."""
    if device == "cpu":
        return ""
    try:
        import tensorflow as tf
    except ImportError:
        return ""
    index = int(device.partition(":")[2] or 0)
    gpus = tf.config.list_physical_devices("GPU")
    if index >= len(gpus):
        return ""
    return str(tf.config.experimental.get_device_details(gpus[index]).get("device_name", ""))
