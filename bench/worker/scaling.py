"""Data-parallel training: what is measured of it, and the proof that it is the same training.

One replica alone is held against several that share a batch. Every side of that is a step of SGD on
the same network: what differs is how many sequences a replica has, whether the gradients are added
up over the replicas, and how many processors it may use. This room knows the sides and their proof,
and no framework; ``scaling_worker`` computes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lstm_impl.proof import Judge, final_gradient
from lstm_impl.proof.comparison import Errors, bounds, compare, update_error
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Inputs, Workload

WEAK, STRONG = "weak", "strong"
SCALINGS = (WEAK, STRONG)

WORKERS, MIRRORED = "workers", "mirrored"
STRATEGIES = {WORKERS: "MultiWorkerMirroredStrategy", MIRRORED: "MirroredStrategy"}

ONE, TEAM, CORES = "one", "team", "cores"
"""Who computes: one replica alone; all replicas; one alone, on all that the replicas have."""


@dataclass(frozen=True)
class Side:
    """One of the things that are held against one another.

    world: who computes it. batch: sequences of a step, over all replicas. reduced: whether
    gradients are added up over the replicas.
    """

    name: str
    world: str
    batch: int
    reduced: bool = True


@dataclass(frozen=True)
class Question:
    """What is measured in one set of processes.

    batch, timesteps, inputs, hidden: sizes, the batch being that of one replica alone. replicas:
    how many share the work. strategy: one of ``STRATEGIES``. device: ``cpu`` or ``gpu``. scalings:
    those of ``SCALINGS`` that are asked for. threads: of each replica; 0 leaves them as they are.
    seconds: of timing each side.
    """

    batch: int
    timesteps: int
    inputs: int
    hidden: int
    backends: tuple[str, ...]
    replicas: int
    strategy: str
    device: str
    scalings: tuple[str, ...]
    threads: int
    seconds: float
    seed: int

    @property
    def spec(self) -> LSTMSpec:
        """The network, in float32."""
        return LSTMSpec(self.inputs, self.hidden)

    def workload(self, batch: int) -> Workload:
        """What a step does, apart from being shared."""
        return Workload(batch, self.timesteps, "training", gradients="weights")

    def global_batch(self, scaling: str) -> int:
        """Sequences of a step of all replicas."""
        return self.batch * (self.replicas if scaling == WEAK else 1)


def sides(question: Question, *, cores: bool) -> list[Side]:
    """All that is measured for a question.

    cores: whether one process has all processors of the replicas, as a user would otherwise do.
    """
    found = [Side("one", ONE, question.batch)]
    for scaling in question.scalings:
        batch = question.global_batch(scaling)
        found.append(Side(scaling, TEAM, batch))
        found.append(Side(f"{scaling}-apart", TEAM, batch, reduced=False))
        if scaling == STRONG:
            found.append(Side("strong-part", ONE, batch // question.replicas))
        if cores:
            found.append(Side(f"{scaling}-cores", CORES, batch))
    return found


def compute_side(scaling: str) -> str:
    """The side on which one replica alone has as many sequences as each of several."""
    return "one" if scaling == WEAK else "strong-part"


# -- the proof


@dataclass(frozen=True)
class Proof:
    """Each array's error and its bound, by name: what the gate says of a shared step."""

    errors: Mapping[str, float]
    bounds: Mapping[str, float]

    @property
    def failure(self) -> str:
        """What is not as it should be, the worst first, or an empty string."""
        shares = {name: self.errors[name] / self.bounds[name] for name in self.errors}
        wrong = [name for name, share in shares.items() if not share <= 1.0]
        wrong.sort(key=lambda name: (shares[name] == shares[name], -shares[name]))
        return "; ".join(
            f"{name} of the replicas together differs from the reference's on the whole batch by "
            f"{self.errors[name]:.2e}, {self.bounds[name]:.2e} allowed"
            for name in wrong[:2]
        )


def expected(
    judge: Judge, weights: LSTMWeights, inputs: Inputs, timesteps: int
) -> dict[str, FloatArray]:
    """The weights' gradients on the whole batch, by name, in float64."""
    window = inputs.window(slice(0, timesteps))
    found = judge.run(weights, window, final_gradient(inputs.state))
    return {name: found[name] for name in _names(weights)}


def _names(weights: LSTMWeights) -> list[str]:
    return [f"d{name}" for name in weights.names()]


def prove(
    spec: LSTMSpec,
    workload: Workload,
    theirs: Mapping[str, FloatArray],
    before: LSTMWeights,
    replicas: Sequence[tuple[LSTMWeights, LSTMWeights]],
) -> Proof:
    """Whether one shared step is a step on the whole batch, on every replica.

    theirs: the reference's gradients on the whole batch. before: the weights that all began with.
    replicas: of each, the gradients that its step took, and its weights after it.

    The bounds are those by which one backend's gradients on that batch are judged: a sum over the
    replicas rounds no more often than one over the sequences. A mean where a sum should be, or one
    replica's own gradients, is off by half or more.
    """
    allowed = bounds(spec, workload.batch, workload.timesteps, list(theirs))
    errors: Errors = {}
    for gradients, after in replicas:
        ours = dict(zip(_names(gradients), gradients.arrays(), strict=True))
        found = compare(ours, theirs)
        found["update"], update = update_error(spec, "sgd", before, after, gradients.arrays())
        if not found["update"] / update <= errors.get("update", 0.0) / allowed.get("update", 1.0):
            errors["update"], allowed["update"] = found["update"], update
        for name in theirs:
            if not found[name] <= errors.get(name, 0.0):
                errors[name] = found[name]
    return Proof({name: errors.get(name, 0.0) for name in allowed}, allowed)


def fingerprint(weights: LSTMWeights) -> float:
    """A number that two replicas share only if their weights do, bit by bit."""
    return digest(
        b"".join(np.ascontiguousarray(each, np.float64).tobytes() for each in weights.arrays())
    )


def digest(told: bytes) -> float:
    """48 bits that stand for these bytes: a whole number, which a float64 holds exactly."""
    return float(int.from_bytes(hashlib.sha256(told).digest()[:6], "big"))
