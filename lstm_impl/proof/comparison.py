"""How far arrays are apart, and how far they may be: two right backends differ by their rounding.

The error of an array is its largest deviation over the reference's largest magnitude. The bound is
derived from the precision, the number of timesteps and the sizes (see ``bounds``);
``docs/equivalence.md`` has the derivation. This room knows arrays by name, and no backend.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lstm_impl.optimizer import BETA2, LEARNING_RATE
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LSTMGradients, LSTMState, LSTMWeights
from lstm_impl.workload import Workload, differentiated

CONSTANT = 4.0
"""Safety over the random-walk model: a maximum over many elements lies about four standard
deviations out. The largest share of a bound that any backend was seen to use is 0.6, in half
precision over one timestep; 0.1 is usual (``docs/equivalence.md``)."""

CEILING = 0.125
"""No precision is too coarse to be judged: mixing up gates or dropping a bias moves outputs by more
than this, so a bound above it would certify nothing."""

SMALLEST_SCALE = 0.1
"""Outputs and gradients of such a network are about this large or larger. An array whose largest
value is smaller has few elements that happen to cancel; its error is not relative to the rest."""

ELEMENTWISE = 9
"""Operations of a step that each round: the gates i, f, g and o, f*c, i*g, their sum, its tanh and
the product with o. One rounds by u at most and, evenly spread, by u/sqrt(3) in the root mean
square. In one timestep of one unit they are most of the error: without them a right loop in float16
used 1.06 of its bound."""

SMALLEST_CELL = 0.25
"""The same of cells. A cell is the sum of two terms, f*c and i*g, of about this size; where few of
them cancel, the rounding is that of the terms."""

Errors = dict[str, float]


def bounds(spec: LSTMSpec, batch: int, timesteps: int, names: list[str]) -> Errors:
    """The largest allowed relative error of each array.

    Rounding errors are modelled as independent (Higham & Mary 2019): a sum of n products is off by
    about sqrt(n) units of roundoff (one unit if products are accumulated in float32, as all half
    precision units do), the recurrence adds such an error at each of T steps and neither the gates
    nor a network with random weights amplify it, so it grows as sqrt(T); each further layer feeds
    on the one below. After a step's products come its elementwise operations, ``ELEMENTWISE`` of
    them one after the other. The gradient of a weight is also a sum over B*T steps. The result is
    multiplied by ``CONSTANT`` and never above ``CEILING``.
    """
    u = spec.precision.roundoff
    single = 2.0**-24
    fan_in = max(spec.input_size, spec.output_size) + spec.hidden_size + 1
    # Half and TF32 round each factor once (u) and accumulate in float32; but sums over time are
    # kept in the compute type by some backends, so those count with u.
    per_step = u * math.sqrt(fan_in) if u <= single else u + single * math.sqrt(fan_in)
    tf32 = spec.dtype == "tf32"
    # Of the last step alone: what earlier ones add is lost in the products' errors of all steps.
    elementwise = (single if tf32 else u) * math.sqrt(ELEMENTWISE / 3)
    forward = math.hypot(per_step * math.sqrt(timesteps), elementwise) * math.sqrt(spec.num_layers)
    sums = (single if tf32 else u) * math.sqrt(batch * timesteps if u <= single else timesteps)
    by_kind = {"forward": forward, "flow": 2.0 * forward, "weight": 2.0 * forward + sums}
    return {name: min(CEILING, CONSTANT * by_kind[_kind(name)]) for name in names}


def _kind(name: str) -> str:
    if name in ("y", "h", "c"):
        return "forward"
    return "flow" if name in ("dx", "dh", "dc") else "weight"


def keep(
    errors: Errors, bounds: Errors, found: Mapping[str, float], allowed: Mapping[str, float]
) -> None:
    """Add what was found to errors and bounds: of one name, what uses up most of its bound.

    What is no number is worse than any.
    """
    for name, off in found.items():
        known = errors.get(name)
        share = order(off / allowed[name])
        if known is None or share > order(known / bounds[name]):
            errors[name], bounds[name] = off, allowed[name]


def order(share: float) -> float:
    """What is no number is worse than any."""
    return math.inf if math.isnan(share) else share


def compare(ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray]) -> Errors:
    """The error of each array: its largest deviation over the reference's largest magnitude."""
    return {name: error(ours[name], theirs[name], smallest_scale(name)) for name in theirs}


def smallest_scale(name: str) -> float:
    """Under which an array's largest value is taken as this."""
    return SMALLEST_CELL if name == "c" else SMALLEST_SCALE


def error(ours: npt.ArrayLike, theirs: npt.ArrayLike, smallest: float = 0.0) -> float:
    """max|ours - theirs| / max|theirs|, or ``smallest`` if that is larger; infinite for NaN or
    another shape."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape or not np.all(np.isfinite(a)):
        return math.inf
    scale = float(np.max(np.abs(b), initial=smallest))
    deviation = float(np.max(np.abs(a - b), initial=0.0))
    if scale == 0.0:
        return 0.0 if deviation == 0.0 else math.inf
    return deviation / scale


def update_error(
    spec: LSTMSpec, before: LSTMWeights, after: LSTMWeights, changes: Sequence[FloatArray]
) -> tuple[float, float]:
    """How far an update is from the changes that the optimizer's formula makes, and how far it may
    be: of the array of weights where it uses up most of that.

    Relative to the largest change, or to that of a gradient of ``SMALLEST_SCALE``. The bound is the
    rounding of the weights to which the changes are added, and Adam's ``1 - BETA2**step``, which
    loses digits.
    """
    u = 2.0**-53 if spec.precision.variable == "float64" else 2.0**-24
    worst = (0.0, 1.0)
    for old, new, change in zip(before.arrays(), after.arrays(), changes, strict=True):
        smallest = LEARNING_RATE * SMALLEST_SCALE
        moved = np.asarray(new, np.float64) - np.asarray(old, np.float64)
        found = error(moved, change, smallest)
        scale = float(np.max(np.abs(change), initial=smallest))
        share = float(np.max(np.abs(old), initial=0.0)) / scale + 1.0 / (1.0 - BETA2)
        allowed = min(CEILING, CONSTANT * u * share)
        if not found / allowed <= worst[0] / worst[1]:
            worst = (found, allowed)
    return worst


def named(
    y: FloatArray, state: LSTMState, gradients: LSTMGradients | None
) -> dict[str, FloatArray]:
    """All results by the names the gate reports: y, h, c, dx, dh, dc, dlayer0.forward.kernel."""
    arrays: dict[str, FloatArray] = {"y": y, "h": state.h, "c": state.c}
    if gradients is not None:
        if gradients.x is not None:
            arrays["dx"] = gradients.x
        if gradients.state is not None:
            arrays |= {"dh": gradients.state.h, "dc": gradients.state.c}
        arrays |= gradients.weights.named("d")
    return arrays


def asked_for(theirs: Mapping[str, FloatArray], workload: Workload) -> dict[str, FloatArray]:
    """Of all that a judge computes, what the workload's step is asked for."""
    flow = ("dx", "dh", "dc")
    left_out = set(flow) - set(differentiated(workload.gradients, *flow))
    return {name: array for name, array in theirs.items() if name not in left_out}
