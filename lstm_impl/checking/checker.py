"""Check any implementation against the float64 reference, with the gate's networks and bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lstm_impl.proof.comparison as comparison
from lstm_impl.cell import get_cell
from lstm_impl.checking.answer import CheckResult
from lstm_impl.checking.causes import name_causes, name_rounding
from lstm_impl.checking.deviation import find_deviations
from lstm_impl.checking.function import TargetModel
from lstm_impl.checking.layout import TargetError
from lstm_impl.checking.result import CheckedNetwork
from lstm_impl.checking.target import Declaration, Target, load_target
from lstm_impl.proof.check import ComparedCall, GateResult, gate
from lstm_impl.proof.kinds import find_kind
from lstm_impl.spec import LSTMSpec, UnsupportedError
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload


@dataclass(frozen=True)
class CheckedSizes:
    """Hold the sizes of one network and of its input.

    ``forward_only`` says that gradients are left out, because the sequence is too long for them.
    """

    input_size: int
    hidden_size: int
    batch: int
    timesteps: int
    num_layers: int = 1
    bidirectional: bool = False
    forward_only: bool = False


SMALL = CheckedSizes(5, 8, 4, 6)
"""A small network. It is small enough that the mistakes can be tried with every number of steps,
rows and units."""

WIDE = CheckedSizes(7, 200, 3, 5)
"""A wide network. Its 200 units exceed a block of 128 threads and a tile, and are no multiple of
16, so that a kernel must handle a remainder."""

LONG = CheckedSizes(3, 6, 2, 520, forward_only=True)
"""A long sequence of more than 512 timesteps. It finds a kernel that computes only the end of a
sequence. Gradients are left out because some frameworks would need a minute for them in a Python
loop."""

DEEP = CheckedSizes(5, 8, 3, 6, num_layers=2, bidirectional=True)
"""A deep network of two layers with two directions each."""


def check(
    target: object,
    *,
    cell: str = "lstm",
    dtype: str = "float32",
    layout: str = "canonical",
    batch_major: bool | None = None,
    gates: str | None = None,
    biases: int | None = None,
    transposed: bool | None = None,
    arguments: Sequence[str] | None = None,
    returned: Sequence[str] | None = None,
    arrays: str | None = None,
    backward: str | Callable[..., Any] | None = None,
    hides_nan: bool = False,
    input_size: int | None = None,
    hidden_size: int | None = None,
    num_layers: int | None = None,
    bidirectional: bool | None = None,
    batch: int | None = None,
    timesteps: int | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> CheckResult:
    """Compare an implementation with the float64 reference, within the bounds of rounding.

    The check runs the implementation on several networks (``docs/equivalence.md``). It compares the
    outputs, the final states and, where they can be computed, all gradients. Where they differ, the
    result names the arrays, the first wrong timestep, sequence and unit, the size of the error in
    bounds, and likely causes.

    Parameters
    ----------
    target
        The implementation: a function that computes one layer from ``x, h, c, weights`` to ``y, h,
        c``, a layer of PyTorch, Keras or Flax, its class, or a function that makes one. A string
        names such an object as ``module:function`` or ``file.py:function``, or names a file: an
        ONNX model, a SavedModel or a shared library.
    cell
        The kind of cell: ``lstm``, ``gru`` or ``gru_reset_before``.
    dtype
        The precision in which the implementation computes, one of ``PRECISIONS``. It decides the
        bounds.
    layout
        The layout of the weights: ``canonical``, ``keras``, ``torch`` or ``onnx``.
    batch_major, gates, biases, transposed
        Exceptions from the layout: whether x is ``[B, T, F]``; the order of the gates, such as
        ``iofg``; the number of biases, 1 or 2; and whether kernels are ``[4H, in]``.
    arguments, returned
        What the function takes and returns, in order. By default, the names of its parameters and
        the shapes of its results decide.
    arrays
        The kind of arrays: ``numpy``, ``torch``, ``jax`` or ``tensorflow``. By default, it is the
        framework that the function's module uses.
    backward
        A function that computes gradients where the framework cannot differentiate the target. It
        takes the same arguments and then the gradient of each result.
    hides_nan
        Whether a NaN in the input may become a number.
    input_size, hidden_size, num_layers, bidirectional, batch, timesteps
        The sizes to check. If any of them is given, only one network is checked. By default,
        several networks are checked.
    device
        The device on which the framework places arrays: ``cpu`` or ``gpu:0``.
    seed
        The seed of the random weights and inputs.

    Returns
    -------
    CheckResult
        The findings. The result is true if the implementation is right. ``str(result)`` is the
        answer in words.

    Raises
    ------
    TargetError
        A ``ValueError``, if the target cannot be called as declared. The message says what was
        expected and what was found.
    """
    declared = Declaration(
        layout=layout,
        batch_major=batch_major,
        gates=gates,
        biases=biases,
        transposed=transposed,
        arguments=arguments,
        returned=returned,
        arrays=arrays,
        backward=backward,
        hides_nan=hides_nan,
        device=device,
        dtype=dtype,
    )
    kind = get_cell(cell)
    found = load_target(target, kind, declared)
    given = {
        "input_size": input_size,
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "bidirectional": bidirectional,
        "batch": batch,
        "timesteps": timesteps,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    networks: list[CheckedNetwork] = []
    notes = list(found.notes)
    for sizes in _choose_sizes(found, chosen):
        spec = found.spec or LSTMSpec(
            sizes.input_size,
            sizes.hidden_size,
            sizes.num_layers,
            sizes.bidirectional,
            dtype,
            kind,
        )
        named = any(network.causes for network in networks)
        network, note = _check_network(found, spec, sizes, declared, seed, not named)
        networks.append(network)
        notes += [note] if note and note not in notes else []
    return CheckResult(found.label, found.how, networks, notes)


def _choose_sizes(target: Target, chosen: dict[str, Any]) -> Iterator[CheckedSizes]:
    """Yield the sizes to check: one network if the user chose any size, several otherwise.

    Raises
    ------
    TargetError
        If the user chose a batch or timesteps that the target does not take.
    """
    if target.shape is not None:
        own = dict(zip(("batch", "timesteps"), target.shape, strict=True))
        for name, size in own.items():
            if chosen.get(name, size) != size:
                raise TargetError(
                    f"{target.label} has {name} {size}; it cannot be checked with {chosen[name]}"
                )
        yield CheckedSizes(**{**vars(SMALL), **own})
        return
    if chosen:
        yield CheckedSizes(**{**vars(SMALL), **chosen})
        return
    yield SMALL
    if target.spec is None:
        yield WIDE
        if target.layers:
            yield DEEP
    yield LONG


def _check_network(
    target: Target,
    spec: LSTMSpec,
    sizes: CheckedSizes,
    declared: Declaration,
    seed: int,
    explain: bool,
) -> tuple[CheckedNetwork, str]:
    """Check one network, and return its findings and a note on what was not checked.

    ``explain`` says whether likely causes are searched. A mistake that an earlier network explained
    is not searched again, because the search takes longer than the check.
    """
    backend = target.backend(spec)
    batch_major = backend.prefers_batch_major()
    least = max(1, sizes.timesteps // 2) if target.padded else None
    workload = Workload(
        sizes.batch, sizes.timesteps, "inference", min_length=least, batch_major=batch_major
    )
    try:
        weights = LSTMWeights.random(spec, seed)
        model = backend.build(spec, weights, declared.device, batch_major=batch_major)
        assert isinstance(model, TargetModel)
        trains = model.probe(workload)
    except (UnsupportedError, NotImplementedError) as error:
        raise TargetError(str(error)) from error
    training = trains and not sizes.forward_only
    if training:
        workload = Workload(
            sizes.batch,
            sizes.timesteps,
            "training",
            min_length=least,
            batch_major=batch_major,
            gradients="weights",
        )
    calls: list[ComparedCall] = []
    try:
        result = gate(model, workload, seed, watch=calls.append)
        if training:
            # So far only the step that computes the gradients of the weights was compared. Some
            # implementations are right only if the gradient of the initial state is computed too,
            # so that step is checked as well.
            every = Workload(
                sizes.batch, sizes.timesteps, "training", min_length=least, batch_major=batch_major
            )
            result = _merge_results(result, gate(model, every, seed, watch=calls.append))
    except TargetError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise TargetError(
            f"{target.label} raised {type(error).__name__} in a call after the first: {first}"
        ) from error
    note = ""
    if not trains:
        note = f"gradients were not checked: {backend.no_gradients}"
    if result.passed:
        return CheckedNetwork(spec, workload, result), note
    wrong_kinds = _find_wrong_kinds(result)
    wrong = [(call, find_deviations(call)) for call in calls if call.kind in wrong_kinds]
    wrong = [(call, deviations) for call, deviations in wrong if deviations]
    causes = name_causes(spec, calls, [call for call, _ in wrong]) if explain else []
    causes = causes or ([name_rounding(spec)] if wrong_kinds <= ROUNDING_KINDS and explain else [])
    deviations = [each for _, found in wrong for each in found]
    unique = {(each.kind, each.array): each for each in reversed(deviations)}
    return CheckedNetwork(spec, workload, result, list(unique.values())[::-1], causes), note


def _merge_results(first: GateResult, second: GateResult) -> GateResult:
    """Merge the results of two gates, keeping the error that uses up most of its bound.

    An error that both gates measured is kept from the gate in which it is the larger part of its
    bound.
    """
    errors, bounds = dict(first.errors), dict(first.bounds)
    for name, found in second.errors.items():
        known = errors.get(name)
        if known is None or not found / second.bounds[name] <= known / bounds[name]:
            errors[name], bounds[name] = found, second.bounds[name]
    return GateResult(first.passed and second.passed, first.judge, errors, bounds)


NOT_FINITE = ("nan", "infinity", "spread")
"""The kinds of errors that belong to the call whose inputs contain NaN and infinity."""


def _find_wrong_kinds(result: GateResult) -> set[str]:
    """Return the kinds of calls in which an error exceeds its bound."""
    kinds: set[str] = set()
    for name, found in result.errors.items():
        if found <= result.bounds[name]:
            continue
        known = find_kind(name)
        kind = "" if known is None else known[0].name
        kinds.add("not finite" if kind in NOT_FINITE else kind)
    # The errors "whole" and "unit" of half precision are measured on the workload's own network.
    return kinds | ({""} if kinds & {"whole", "unit"} else set())


ROUNDING_KINDS = {"sizes", *comparison.COARSE}
"""The kinds of errors that show a coarser type although no single number is out of bounds."""
