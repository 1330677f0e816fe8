"""Data-parallel training: what is measured, the proof that it is the same training, a process.

One replica alone is held against several that share a batch. Every side of that is a step of SGD on
the same network: what differs is how many sequences a replica has, and how many processors it may
use.

``python -m bench.studies.data_parallel`` builds, proves and times steps by the orders on its
standard input (``machine.process_pool``). Workers of one team do the same orders at the same time:
each step waits for all of them. Where several machines form a team, a command on each orders its
own worker, and what they decide by must be the same everywhere; so times of a team are those of its
slowest worker, exchanged by the same all-reduce as the gradients are.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.machine import fresh, process_pool
from bench.machine.fresh import one_line
from lstm_impl import UnavailableError, UnsupportedError, get_backend
from lstm_impl.backends.tensorflow.data_parallel import DataParallel
from lstm_impl.optimizer import NumPyOptimizer
from lstm_impl.proof import Judge, final_gradient, gate, numpy_judge
from lstm_impl.proof.comparison import bounds, compare, update_error
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Inputs, Workload

WORKERS, MIRRORED = "workers", "mirrored"
STRATEGIES = {WORKERS: "MultiWorkerMirroredStrategy", MIRRORED: "MirroredStrategy"}

ONE, TEAM, CORES = "one", "team", "cores"
"""Who computes: one replica alone; all replicas; one alone, on all that the replicas have."""


@dataclass(frozen=True)
class DataParallelSide:
    """One of the things that are held against one another.

    world: who computes it. batch: sequences of a step, over all replicas.
    """

    name: str
    world: str
    batch: int


@dataclass(frozen=True)
class DataParallelRequest:
    """What is measured in one set of processes.

    batch, timesteps, inputs, hidden: sizes, the batch being that of one replica alone. replicas:
    how many share the work. strategy: one of ``STRATEGIES``. device: ``cpu`` or ``gpu``. threads:
    of each replica; 0 leaves them as they are. seconds: of timing each side.
    """

    batch: int
    timesteps: int
    inputs: int
    hidden: int
    backends: tuple[str, ...]
    replicas: int
    strategy: str
    device: str
    threads: int
    seconds: float
    seed: int

    @property
    def spec(self) -> LSTMSpec:
        """The network, in float32."""
        return LSTMSpec(self.inputs, self.hidden)

    def workload(self, batch: int) -> Workload:
        """What a step computes."""
        return Workload(batch, self.timesteps, "training", gradients="weights")


def sides(question: DataParallelRequest, *, cores: bool) -> list[DataParallelSide]:
    """All that is measured for a question.

    cores: whether one process has all processors of the replicas, as a user would otherwise do.
    """
    found = [DataParallelSide("one", ONE, question.batch)]
    for scaling, batch in (
        ("weak", question.batch * question.replicas),  # each has the batch of one alone
        ("strong", question.batch),  # all share it
    ):
        found.append(DataParallelSide(scaling, TEAM, batch))
        if cores:
            found.append(DataParallelSide(f"{scaling}-cores", CORES, batch))
    return found


# -- the proof


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
) -> str:
    """Why one shared step is no step on the whole batch on every replica, or an empty string.

    theirs: the reference's gradients on the whole batch. before: the weights that all began with.
    replicas: of each, the gradients that its step took, and its weights after it.

    The bounds are those by which one backend's gradients on that batch are judged: a sum over the
    replicas rounds no more often than one over the sequences. A mean where a sum should be, or one
    replica's own gradients, is off by half or more.
    """
    wrong = []
    for gradients, after in replicas:
        ours = dict(zip(_names(gradients), gradients.arrays(), strict=True))
        found = compare(ours, theirs)
        allowed = bounds(spec, workload.batch, workload.timesteps, list(found))
        found["update"], allowed["update"] = update_error(
            spec, before, after, NumPyOptimizer("sgd").changes(gradients.arrays())
        )
        wrong += [
            f"{name} of the replicas together differs from the reference's on the whole batch by "
            f"{off:.2e}, {allowed[name]:.2e} allowed"
            for name, off in found.items()
            if not off <= allowed[name]
        ]
    return "; ".join(dict.fromkeys(wrong[:2]))


def fingerprint(weights: LSTMWeights) -> float:
    """A number that two replicas share only if their weights do, bit by bit."""
    return digest(
        b"".join(np.ascontiguousarray(each, np.float64).tobytes() for each in weights.arrays())
    )


def digest(reported: bytes) -> float:
    """48 bits that stand for these bytes: a whole number, which a float64 holds exactly."""
    return float(int.from_bytes(hashlib.sha256(reported).digest()[:6], "big"))


class StepWorker:
    """The process: its place in the team, and the steps of the current backend."""

    def __init__(self) -> None:
        self._steps: dict[str, Callable[[], Any]] = {}

    def __call__(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what is ordered, and return the answer."""
        answer: dict[str, Any] = getattr(self, f"_{order['do']}")(order)
        return answer

    # -- what it is

    def _start(self, order: dict[str, Any]) -> dict[str, Any]:
        """Import TensorFlow, on these processors, and join the others."""
        if order["processors"]:
            # Before TensorFlow counts them, so that each replica has its own and no other's.
            os.sched_setaffinity(0, order["processors"])
        self._question = fresh.question(DataParallelRequest, order["question"])
        self._world: str = order["world"]
        self._index, self._workers = order["index"], order["workers"]
        import tensorflow as tf

        self._tf = tf
        if order["threads"]:
            tf.config.threading.set_intra_op_parallelism_threads(order["threads"])
            tf.config.threading.set_inter_op_parallelism_threads(order["threads"])
        for gpu in tf.config.list_physical_devices("GPU"):
            # Several processes share a GPU: the team's first, and one replica alone.
            tf.config.experimental.set_memory_growth(gpu, True)
        self._strategy = self._made_strategy()
        replicas = self._strategy.num_replicas_in_sync
        self._sum = tf.function(self._summed, autograph=False)
        request_digest = self._gathered(
            [digest(json.dumps(order["question"], sort_keys=True).encode())]
        )
        return {"replicas": replicas, "same": len(set(request_digest.ravel().tolist())) == 1}

    def _made_strategy(self) -> Any:
        tf, question, count = self._tf, self._question, self._question.replicas
        if self._world != TEAM:
            return tf.distribute.get_strategy()
        if question.strategy != MIRRORED:
            return tf.distribute.MultiWorkerMirroredStrategy()
        if question.device == "cpu":  # as many logical processors
            (processor,) = tf.config.list_physical_devices("CPU")
            one = tf.config.LogicalDeviceConfiguration()
            tf.config.set_logical_device_configuration(processor, [one] * count)
        return tf.distribute.MirroredStrategy(
            [f"/{question.device}:{number}" for number in range(count)]
        )

    # -- what all of a team must know

    def _gathered(self, values: Sequence[float]) -> npt.NDArray[np.float64]:
        """What each worker says, ``[workers, values]``, the same everywhere; a barrier, too."""
        table = np.zeros((self._workers, len(values)))
        table[self._index] = values
        if self._workers == 1:
            return table
        tf, local = self._tf, len(self._strategy.extended.worker_devices)

        def own(context: Any) -> Any:
            first = context.replica_id_in_sync_group % local == 0
            return tf.constant(table if first else np.zeros_like(table))

        placed = self._strategy.experimental_distribute_values_from_function(own)
        found = self._strategy.experimental_local_results(self._sum(placed))[0]
        return np.asarray(found.numpy())

    def _summed(self, placed: Any) -> Any:
        tf = self._tf

        def replica(value: Any) -> Any:
            context = tf.distribute.get_replica_context()
            # identity: an argument has no device, by which the reduction is placed
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))

        return self._strategy.run(replica, args=(placed,))

    # -- building and proving

    def _build(self, order: dict[str, Any]) -> dict[str, Any]:
        """Steps of a backend, each proven; or why it has none here."""
        self._steps.clear()
        question = self._question
        backend = get_backend(order["backend"])
        device = "cpu" if question.device == "cpu" else "gpu:0"
        spec = question.spec
        refused = "" if (found := backend.availability(device)) else str(found)
        refused = refused or backend.refusal(spec, question.workload(question.batch))
        if (others := self._gathered([float(bool(refused))])[:, 0]).any():
            # Before anything is built: building waits for the others.
            first = int(np.flatnonzero(others)[0])
            return {"refused": refused or f"worker {first} cannot compute it"}
        weights = LSTMWeights.random(spec, question.seed)
        try:
            model = DataParallel(backend, spec, weights, device, self._strategy)
        except (UnsupportedError, UnavailableError) as error:
            return {"refused": one_line(error)}  # the same on all of them: it is about the name
        weights = model.weights()[0]  # as the backend keeps them
        cores = self._world == CORES
        own = [side for side in sides(question, cores=cores) if side.world == self._world]
        proofs = {side.name: self._proven(model, side, weights) for side in own}
        if self._world == ONE:
            found_alone = gate(model.model, question.workload(question.batch), question.seed)
            if not found_alone.passed:
                proofs["one"] = found_alone.describe()
        return {"refused": "", "proofs": proofs}

    def _proven(self, model: DataParallel, side: DataParallelSide, weights: LSTMWeights) -> str:
        """Why one step from these weights is not the reference's on the whole batch; or nothing."""
        question, spec = self._question, self._question.spec
        workload = question.workload(side.batch)
        inputs = workload.inputs(spec, question.seed)
        step = model.step()
        placed = model.place(inputs, final_gradient(inputs.state))
        model.model.set_weights(weights)
        returned = step(*placed)
        gradients, after = model.gradients(returned), model.weights()
        model.model.set_weights(weights)
        self._steps[side.name] = partial(step, *placed)
        theirs = expected(numpy_judge(spec), weights, inputs, workload.timesteps)
        pairs = list(zip(gradients, after, strict=True))
        failure = prove(spec, workload, theirs, weights, pairs)
        checksums = self._gathered([float(bool(failure)), *map(fingerprint, after)])
        if not failure and checksums[:, 0].any():
            failure = f"worker {int(np.flatnonzero(checksums[:, 0])[0])} computes something else"
        if not failure and len(set(checksums[:, 1:].ravel().tolist())) > 1:
            failure = "after a step the replicas' weights are no longer the same"
        return failure

    # -- timing

    def _block(self, order: dict[str, Any]) -> dict[str, Any]:
        """Seconds of so many steps and the wait for the last, of the slowest worker."""
        step, calls = self._steps[order["side"]], range(order["calls"])
        self._gathered([0.0])
        gc.collect()
        gc.disable()  # as in all timing here: a collection would be timed with the step
        try:
            start = time.perf_counter()
            for _ in calls:
                returned = step()
            # Until a step has ended on each device of this process, by a number of its last
            # gradient: ``sync_devices`` would ask other machines' devices, too, and cannot.
            for part in self._strategy.experimental_local_results(returned[-1]):
                self._tf.reshape(part, [-1])[:1].numpy()
            seconds = time.perf_counter() - start
        finally:
            gc.enable()
        return {"seconds": float(self._gathered([seconds]).max())}


if __name__ == "__main__":
    process_pool.serve(StepWorker())
