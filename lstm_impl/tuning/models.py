"""``lstm_impl.tune``: which backend is fastest for one LSTM on one workload, found by a race."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import lstm_impl.tuning.machine as machine
from lstm_impl.at_rest import Rest
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
"""TensorFlow's backends that were fastest for some shape, by mode; others race only by name."""

SECONDS = 20.0
"""Seconds of a race with its first calls: compiling a loop takes one to three."""


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
    """Find the fastest backend for ``spec`` on ``workload`` by a race, and remember it.

    Candidates that cannot run, cannot compute it, or do not compute what the float64 reference
    computes (``lstm_impl.proof``) do not race; the decision says why.

    Parameters
    ----------
    spec, workload, device
        The network, the data it is given and the device, ``cpu`` or ``gpu:N``.
    candidates
        Backends' ids; None for ``CANDIDATES``.
    seconds
        For all together; building and proving are not counted.
    again
        Race even if there is a decision of this machine with these versions.
    seed
        Of the weights, the inputs and the order of the race.
    print_fn
        Gets one line for each candidate: when it starts to race, or why it does not; then one line
        for the decision. By default, the lines go to standard error if that is a terminal. None
        prints nothing.

    Raises
    ------
    UnsupportedError
        If there is no such backend or none of them could run.
    ValueError
        If ``seconds`` is not positive.
    """
    if not seconds > 0:
        raise ValueError(f"seconds is {seconds}; expected a positive number")
    requested = [get_backend(each) for each in candidates or CANDIDATES[workload.mode]]
    question = TuningRequest(
        spec, workload, "model", machine.this_machine(device, gpu_name(device))
    )
    if not again and (known := answered(question, [each.name for each in requested])):
        return known
    weights = LSTMWeights.random(spec, seed)
    tell = start_progress(workload.mode, len(requested), seconds, print_fn)
    found = {each.name: _entrant(each, spec, weights, workload, device, seed) for each in requested}
    steps = {name: each for name, each in found.items() if isinstance(each, Step)}
    problems = {name: each for name, each in found.items() if isinstance(each, str)}
    return remember(question, steps, problems, "", seconds, seed, "lstm_impl.tune", tell)


def start_progress(
    what: str, count: int, seconds: float, print_fn: Callable[[str], object] | None
) -> Callable[[str], object]:
    """Print that a race is being prepared; return a function that prints further lines about it.

    what: is raced, such as the mode. count: the number of candidates. seconds: how long the race
    lasts. print_fn: as in ``tune``.
    """

    def tell(line: str) -> None:
        if print_fn is not None:
            print_fn(f"{what}: {line}")

    tell(f"checking {count} candidates before a race of {seconds:g} s")
    return tell


def answered(question: TuningRequest, candidates: Sequence[str]) -> Decision | None:
    """Return the remembered decision if all of ``candidates`` raced with what is installed now."""
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
    """Race backends, save the decision that follows, and return it.

    question: what is raced, which identifies the decision. steps: the step to time of each backend
    that can run. problems: by backend, why the others cannot. rule, by: as in ``Decision``.
    seconds, seed: as in ``race``. print_fn: as in ``tune``.

    Raises UnsupportedError if no backend can run.
    """
    tell = print_fn or (lambda line: None)
    for name, problem in problems.items():
        tell(f"{name} does not race: {problem}")
    if not steps:
        reasons = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        raise UnsupportedError(f"none of the candidates can run: {reasons}")
    ran = race(steps, seconds, seed, rest=Rest(), print_fn=print_fn)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    decision = decide(question, ran, problems, rule, made, by)
    save(decision)
    tell(f"use {decision.backend or 'nothing: no candidate ended the race'}")
    return decision


def _entrant(
    backend: Backend,
    spec: LSTMSpec,
    weights: LSTMWeights,
    workload: Workload,
    device: str,
    seed: int,
) -> Step | str:
    """Return a step ready to race, or why there is none."""
    if not (available := backend.availability(device)):
        return str(available)
    if reason := backend.refusal(spec, workload):
        return reason
    try:
        model = backend.build(spec, weights, device, batch_major=workload.batch_major)
        proof = gate(model, workload, seed)
        if not proof.passed:
            return f"it computes something else: {proof.describe()}"
        step = model.prepare(workload, seed)
        if not workload.streaming:
            return step

        def run() -> Tensor:  # and wait, since a stream needs the output of each call
            returned = step.run()
            step.synchronize()
            return returned

        return replace(step, run=run)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def gpu_name(device: str) -> str:
    """Return the name of the GPU ``device``; empty for a CPU, or if it is not known."""
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
