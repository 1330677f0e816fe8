"""How far right trainings may drift apart by rounding alone, and whether all backends train so.

How far rounding can move a loss curve is measured, by float64 trainings that are disturbed by a
known amount in every place where a backend rounds. A backend may differ from float64 NumPy by that
and nothing else: what leaves the bound is another function. Where the bound ends, rounding has
grown past what first-order reasoning can follow, and curves may part for no other reason. This room
knows the echo task and the library's face.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from rich.console import Console
from rich.text import Text

import lstm_impl
from bench.cli import output
from bench.cli.progress import Progress
from bench.echo.parameters import Parameters
from bench.echo.settings import EchoSettings
from bench.echo.task import Float64
from bench.echo.training import DivergedError, Training, model_of
from bench.render.escape import clean
from bench.render.table import Column, Sheet, numbers
from lstm_impl import LSTMGradients, LSTMState, LSTMWeights, Model, get_backend, list_backends
from lstm_impl.spec import FloatArray

LINEAR_LIMIT = 0.1
"""Nats past which a deviation is too large for first-order reasoning to say anything about it."""

_PROBE = 1e-11
"""Relative size of the probing perturbations: far above float64's rounding, far below effect."""

_ELEMENTWISE = 16.0
"""Roundings, in units of roundoff, of a step's gates and states: frameworks' sigmoid and tanh are
within about 4 units in the last place (8 roundoffs), and half as much again for the products."""

_SAFETY = 4.0
"""The samples' root mean square is an estimate of a standard deviation; four of them hold it."""


def reference_curve(settings: EchoSettings, windows: int) -> Float64:
    """The first ``windows`` losses in float64 NumPy, against which every backend is held."""
    return _curve(replace(settings, dtype="float64"), windows, None)


def curve_bound(
    settings: EchoSettings,
    windows: int,
    *,
    reference: Float64 | None = None,
    samples: int = 4,
    seed: int = 0,
) -> Float64:
    """How far a backend's losses may be from ``reference_curve``, ``[windows]``, in nats.

    Infinite from the window on where no bound can be given: past ``LINEAR_LIMIT``, chaos rules.

    To first order the deviation after n windows is the sum over m of J(n)...J(m+1) r(m), where
    r(m) is what rounding adds in window m and J are the Jacobians of the training step (weights,
    accumulators, state). Each r(m) is, by backward error analysis, a relative perturbation of
    weights, states, outputs and gradients by at most ``rho`` roundoffs of the dtype:

        rho = sqrt(inputs + H + 1) + sqrt(window * batch) + elementwise roundings

    with the square roots of Higham & Mary (2019) for sums, of a gate's products and of a gradient's
    terms. No norm of J is known in advance (Adagrad's steps are large, and the product of norms
    would say nothing), so its effect is measured: ``samples`` trainings in float64, each with
    random perturbations of a known small size in all those places at every window, show by how
    much this training, on these bits, amplifies them. The bound is

        4 * rho * roundoff * A(n),   A(n) = max over m <= n of rms over samples of deviation / size

    It never falls: what a training forgets again is not counted on.

    reference: what ``reference_curve`` gave, if it is at hand already.
    """
    exact = replace(settings, dtype="float64")
    base = reference_curve(settings, windows) if reference is None else reference
    rng = np.random.default_rng(seed)
    deviations = [(_curve(exact, windows, child) - base) / _PROBE for child in rng.spawn(samples)]
    amplification = np.maximum.accumulate(np.sqrt(np.mean(np.square(deviations), axis=0)))
    inputs = max(exact.spec.layer_input_size(layer) for layer in range(exact.layers))
    rho = np.sqrt(inputs + exact.units + 1) + np.sqrt(exact.window * exact.batch) + _ELEMENTWISE
    bound = _SAFETY * rho * settings.spec.precision.roundoff * amplification
    # The loss itself is rounded too, even where nothing is amplified.
    bound += 4.0 * np.finfo(np.float64).eps
    return np.where(bound <= LINEAR_LIMIT, bound, np.inf)


def _curve(settings: EchoSettings, windows: int, noise: np.random.Generator | None) -> Float64:
    model = model_of(settings)
    training = Training(settings, model if noise is None else _Perturbed(model, noise))
    return training.until(windows)


class _Perturbed:
    """A model with relative errors of size ``_PROBE`` wherever a backend rounds."""

    def __init__(self, model: Model, rng: np.random.Generator) -> None:
        self.spec = model.spec
        self._model = model
        self._rng = rng
        self._weights = model.get_weights()

    def _disturb(self, array: FloatArray) -> FloatArray:
        return array * (1.0 + _PROBE * self._rng.choice((-1.0, 1.0), np.shape(array)))

    def set_weights(self, weights: LSTMWeights) -> None:
        self._weights = weights

    def forward(
        self, x: FloatArray, state: LSTMState, *, masks: FloatArray | None
    ) -> tuple[FloatArray, LSTMState]:
        self._model.set_weights(self._weights.map(self._disturb))
        y, following = self._model.forward(x, state, masks=masks)
        # In this order: the bound is that of one series of random errors.
        y = self._disturb(y)
        return y, LSTMState(h=self._disturb(following.h), c=self._disturb(following.c))

    def gradients(
        self, x: FloatArray, dy: FloatArray, state: LSTMState, *, masks: FloatArray | None
    ) -> LSTMGradients:
        self._model.set_weights(self._weights.map(self._disturb))
        found = self._model.gradients(x, self._disturb(dy), state, masks=masks)
        return replace(found, weights=found.weights.map(self._disturb))


# -- whether all backends train the same


SETTINGS = EchoSettings()
"""The tutorial's task."""
WINDOWS = 666
"""An epoch of it: the plateau, the fall, and a network that has learned."""

SHOWN = (1, 3, 10, 30, 100, 300, 1000, 3000)
"""Windows at which the growth of a disturbance is shown."""

_HEADING = 12
"""Letters in a line of a heading: with so many the table fits a hundred columns."""


class Agreement(StrEnum):
    """What a curve is found to be."""

    SAME = "the same training"
    DIFFERENT = "DIFFERENT: more than rounding can do"
    DIVERGED = "DIFFERENT: it diverged"
    CHAOS = "the same until rounding took over"


@dataclass(frozen=True)
class Curve:
    """One backend's loss curve beside the reference's; windows are counted from 1.

    largest: deviation in nats, and largest_at its window. tightest: the largest share of the bound
    that was used up. first_outside: the first window past its bound, or None.
    """

    backend: str
    largest: float
    largest_at: int
    tightest: float
    first_outside: int | None
    agreement: Agreement


def judge(backend: str, losses: Float64, reference: Float64, bound: Float64) -> Curve:
    """What a curve of as many losses as the reference and its bound have is found to be.

    Fewer losses are a training that diverged. Where the bound is infinite a deviation says nothing:
    the verdict is about the windows before.
    """
    done = len(losses)
    deviation = np.abs(losses - reference[:done])
    finite = np.isfinite(bound[:done])
    outside = np.flatnonzero(finite & (deviation > bound[:done]))
    first = None if not len(outside) else int(outside[0]) + 1
    if first is not None:
        agreement = Agreement.DIFFERENT
    elif done < len(reference):
        agreement = Agreement.DIVERGED
    elif not np.all(np.isfinite(bound)):
        agreement = Agreement.CHAOS
    else:
        agreement = Agreement.SAME
    shares = deviation[finite] / bound[:done][finite]
    return Curve(
        backend=backend,
        largest=float(deviation.max(initial=0.0)),
        largest_at=int(np.argmax(deviation)) + 1 if done else 0,
        tightest=float(shares.max(initial=0.0)),
        first_outside=first,
        agreement=agreement,
    )


def growth(settings: EchoSettings, windows: int, reference: Float64) -> Float64:
    """How far one rounding of the initial weights moves each loss, ``[windows]``, in nats.

    A float64 training whose initial weights are off by one unit of roundoff of ``settings.dtype``
    each, up or down at random, and nothing else is; divided by the first window's deviation it is
    what the training makes of a disturbance.
    """
    exact = replace(settings, dtype="float64")
    model = model_of(exact)
    training = Training(exact, model)
    rng = np.random.default_rng(0)
    unit = settings.spec.precision.roundoff
    moved = [
        array * (1.0 + unit * rng.choice((-1.0, 1.0), array.shape))
        for array in training.parameters.arrays()
    ]
    training.parameters = Parameters.from_arrays(exact.spec, moved, exact.classes)
    model.set_weights(training.parameters.lstm)
    return np.abs(training.until(windows) - reference)


def candidates(settings: EchoSettings, device: str = "cpu") -> tuple[list[str], dict[str, str]]:
    """The backends that can train this here, and why the others cannot."""
    able, unable = [], {}
    for name in list_backends():
        backend = get_backend(name)
        available = backend.availability(device)
        reason = (
            str(available) if not available else backend.refusal(settings.spec, settings.workload)
        )
        if reason:
            unable[name] = reason
        else:
            able.append(name)
    return able, unable


def command(
    names: Sequence[str] | None = None,
    settings: EchoSettings = SETTINGS,
    windows: int = WINDOWS,
) -> int:
    """Train with every backend (or those named), print what is found; 1 if one differs, else 0.

    Raises UnsupportedError for a backend that is unknown or cannot train this here.
    """
    able, unable = candidates(settings)
    if names is not None:
        chosen = [get_backend(name).name for name in names]
        for name in chosen:
            if name in unable:
                raise lstm_impl.UnsupportedError(f"--backends: {name}: {unable[name]}")
        # A variant such as partial_unroll@10 is none of the list.
        able, unable = chosen, {}
    print(
        f"echo {settings.echo}, window {settings.window}, {settings.units} units, "
        f"{settings.dtype}, seed {settings.seed}: {windows} windows with each backend, "
        "and six times in float64 NumPy",
        flush=True,
    )
    with Progress("training in NumPy"):
        reference = reference_curve(settings, windows)
        bound = curve_bound(settings, windows, reference=reference)
    curves = []
    for name in able:
        with Progress(f"training with {name}"):
            training = Training(settings, model_of(settings, name))
            # One that diverged has fewer losses, which says so.
            with contextlib.suppress(DivergedError):
                training.until(windows)
        curve = judge(name, np.array(training.losses), reference, bound)
        curves.append(curve)
        print(f"  {name}: {curve.agreement}", flush=True)

    def terminal(console: Console) -> None:
        console.print()
        console.print(table(curves, bound).grid(_HEADING))
        for name, reason in unable.items():
            console.print(Text(clean(f"not trained: {name}: {reason}")), style="dim")
        console.print()
        for line in explanation(settings, reference, bound, growth(settings, windows, reference)):
            console.print(Text(line))

    output.show(terminal)
    sys.stdout.flush()
    bad = (Agreement.DIFFERENT, Agreement.DIVERGED)
    return 1 if any(curve.agreement in bad for curve in curves) else 0


def table(curves: Sequence[Curve], bound: Float64) -> Sheet:
    """A line a curve."""
    columns = [
        Column("backend", names=True, whole=True),
        *numbers("furthest off", "at window", "bound there", "of its bound at most"),
        *map(Column, ("leaves the bound", "so it is")),
    ]
    lines = []
    for curve in curves:
        there = bound[curve.largest_at - 1] if curve.largest_at else np.nan
        lines.append(
            [
                curve.backend,
                f"{curve.largest:.1e}",
                str(curve.largest_at),
                f"{there:.1e}" if np.isfinite(there) else "none",
                f"{curve.tightest:.0%}",
                "never" if curve.first_outside is None else f"window {curve.first_outside}",
                str(curve.agreement),
            ]
        )
    return Sheet.of(columns, lines)


def explanation(
    settings: EchoSettings, reference: Float64, bound: Float64, grown: Float64
) -> list[str]:
    """When and why curves part, in words and figures."""
    windows = len(reference)
    shown = [number for number in SHOWN if number < windows] + [windows]
    most = np.maximum.accumulate(grown)
    unit = settings.spec.precision.roundoff
    lines = [
        f"Why curves part: one rounding to {settings.dtype} ({unit:.0e}) of the initial weights, "
        "and nothing else, moves the float64 loss by at most",
        "  "
        + ", ".join(f"{most[number - 1]:.0e} up to window {number}" for number in shown)
        + " (nats).",
        "A backend rounds so in every window. The bound on all of it together is "
        + ", ".join(
            f"{bound[number - 1]:.0e}" if np.isfinite(bound[number - 1]) else "none"
            for number in shown
        )
        + " there.",
    ]
    if np.all(np.isfinite(bound)):
        jumps = np.diff(bound)
        worst = int(np.argmax(jumps)) + 2
        lines.append(
            f"It grows fastest at window {worst}, by a factor of "
            f"{bound[worst - 1] / bound[worst - 2]:.1f}: there a step throws the weights, and how "
            "far depends on where they were. It never ends: rounding does not take over here."
        )
    else:
        first = int(np.argmax(~np.isfinite(bound))) + 1
        lines.append(
            f"From window {first} on there is no bound: rounding has grown to where it decides the "
            "curve (chaos). Curves may part there, and each step is still the same function."
        )
    return lines
