"""A Ray cluster: its nodes asked, reserved as a whole, and given up. Nothing else here knows Ray.

Ray is an extra, imported when a fleet is asked for. Every node that lends processors gets one
actor, pinned to it, that reserves all of its processors and GPUs, so that no other work of the
cluster runs beside what is measured. The actor runs ``stub`` and, if its copy of the suite is ours,
``hand``.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from bench.cli.command_line import UsageError
from bench.machine.closing import Closing
from bench.machine.kinds import kind_of
from bench.render.escape import clean
from bench.session import stub
from bench.session.hand import Asked, Facts
from bench.session.loop import Member
from bench.session.workers import LostError

EXTRA = "lstm-benchmark-suite[ray]"
HERE = "here"
"""In place of an address: Ray is started on this machine, and ended with the run."""

ANSWER_WITHIN = 10.0
"""Seconds that an address has to take a connection: one that nobody listens at is told at once, one
behind a firewall after this."""

LOOK_EVERY = 5.0
"""Seconds between two looks at which nodes there are."""

PATIENCE = 120.0
"""Seconds for which a run waits for a node that does not get ready. Longer and it is in use by
others: it is taken when it is free, if the run still goes on then."""

FIRST = 60.0
"""Seconds for which a run waits for the first node that lends processors: a cluster that has just
been started has its head before the others."""

LIVES = 2
"""Times that a node whose actor dies is tried: what died may have been a backend's doing."""

CLOSE_WITHIN = 10.0

_STORE = 100 * 2**20
"""Bytes of shared memory for Ray on this machine: it would take a third of all, and what a fleet
sends is small."""

Ray: TypeAlias = Any
"""The module ``ray``."""


class Cluster(Closing):
    """The nodes of a cluster, as a ``loop.Machines``.

    address: as Ray takes it, or ``HERE``. asked: what each node is to be ready for. tell: is told
    of nodes that are left out, and why.

    Raises UsageError where there is no Ray, or no cluster at the address.
    """

    def __init__(
        self,
        address: str,
        asked: Asked,
        tell: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if address == HERE or address.startswith("127.0.0.1:"):
            # Ray would put another address of this machine in its place, where nobody listens, but
            # for this variable, whose name is of the systems on which that is so by default.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        self._ray = _ray()
        self._asked, self._tell, self._now = asked, tell, now
        self._code = stub.fingerprint()
        self._asking: dict[str, Node] = {}
        self._nodes: dict[str, Node] = {}
        self._lives: Counter[str] = Counter()
        self._looked: float | None = None
        _connect(self._ray, address)
        self._began = now()

    def far(self, member: Member) -> Node:
        """The node of a member."""
        return self._nodes[member.name]

    @property
    def waiting(self) -> bool:
        """Whether nodes are about to be ready."""
        now = self._now()
        if not self._lives:
            return now - self._began < FIRST
        return any(
            self._asked.wait or now - each.asked < PATIENCE for each in self._asking.values()
        )

    def arrived(self) -> Sequence[Member]:
        """The nodes that have become ready since the last look."""
        if self._looked is None or self._now() - self._looked >= LOOK_EVERY:
            self._looked = self._now()
            self._look()
        found = []
        for name, node in list(self._asking.items()):
            if node.answer.ready():
                del self._asking[name]
                member = self._member(node)
                if member is not None:
                    self._nodes[name] = node
                    found.append(member)
            elif self._now() - node.asked > PATIENCE and not node.told:
                node.told = True
                self._tell(
                    f"{name} is not free yet: other work of the cluster or another run has it"
                )
        return found

    def _look(self) -> None:
        """Ask the nodes that are new."""
        for facts in self._ray.nodes():
            name = f"{facts['NodeManagerHostname']}#{facts['NodeID'][:6]}"
            resources = facts.get("Resources") or {}
            known = name in self._asking or name in self._nodes
            if not facts["Alive"] or known or self._lives[name] >= LIVES:
                continue
            if not resources.get("CPU"):
                continue  # a head that lends nothing
            self._lives[name] += 1
            self._asking[name] = self._reserve(name, facts, resources)

    def _reserve(self, name: str, facts: Mapping[str, Any], resources: Mapping[str, float]) -> Node:
        affinity = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        actor = (
            self._ray.remote(stub.Stub)
            .options(
                num_cpus=resources["CPU"],
                num_gpus=resources.get("GPU", 0),
                max_restarts=0,
                # Ray has its processes stand back behind all others: not what is measured.
                runtime_env={"env_vars": {"RAY_worker_niceness": "0"}},
                scheduling_strategy=affinity(facts["NodeID"], soft=False),
            )
            .remote()
        )
        labels = facts.get("Labels") or {}
        label = labels.get("ray.io/accelerator-type") or _accelerator(resources)
        answer = _Answer(self._ray, actor.ready.remote(self._code, pickle.dumps(self._asked)))
        return Node(self._ray, name, actor, label, answer, self._now())

    def _member(self, node: Node) -> Member | None:
        """A node that has answered; None of one that is left out, which is told."""
        lost = False
        try:
            problem, facts = node.answer.get(0.0)
        except LostError as error:
            problem, facts, lost = str(error), None, True
        kind = kind_of(facts.environment) if isinstance(facts, Facts) else None
        if kind is not None:
            return Member(node.name, kind, node.label, facts.suite, facts.absent)
        self._end(node)
        if not lost:  # it would answer the same again
            self._lives[node.name] = LIVES
        why = problem or "it does not say what processor it has"
        self._tell(f"{node.name} is left out: {why}")
        return None

    def retire(self, member: Member, *, for_good: bool) -> None:
        """A node is given up; one that is still there afterwards is tried once more."""
        node = self._nodes.pop(member.name, None)
        if node is not None:
            self._end(node)
        if for_good:
            self._lives[member.name] = LIVES

    def _end(self, node: Node) -> None:
        with contextlib.suppress(Exception):  # it is gone, as it should be
            self._ray.kill(node.actor)

    def close(self) -> None:
        """Give all nodes back, and leave the cluster; one that was started here is ended."""
        answers = []
        for node in self._nodes.values():
            with contextlib.suppress(LostError):
                answers.append(node.ask("close"))
        end = self._now() + CLOSE_WITHIN
        for answer in answers:
            with contextlib.suppress(LostError):
                answer.get(max(0.1, end - self._now()))
        for node in (*self._nodes.values(), *self._asking.values()):
            self._end(node)
        self._nodes, self._asking = {}, {}
        self._ray.shutdown()


class _Answer:
    """What an actor was asked."""

    def __init__(self, ray: Ray, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def ready(self) -> bool:
        """Whether there is an answer, or an error in place of one."""
        return bool(self._ray.wait([self._reference], timeout=0)[0])

    def get(self, seconds: float) -> Any:
        """The answer. Raises LostError."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(self._reference, timeout=max(seconds, 0.1))
        except errors.GetTimeoutError:
            raise LostError(f"it did not answer within {seconds:.0f} s", blame=False) from None
        except errors.ActorUnavailableError:
            raise LostError("it cannot be reached any more") from None
        except errors.RayActorError as error:
            preempted = bool(getattr(error, "preempted", False))
            # Of an actor's death the last line says the reason; before it stand names and numbers.
            why = "it was pre-empted" if preempted else _line(error, -1)
            raise LostError(why, blame=not preempted) from None
        except errors.RayTaskError as error:
            raise LostError(f"there {_line(error.cause or error)}", blame=False) from None
        except errors.RayError as error:
            raise LostError(_line(error), blame=False) from None


@dataclass
class Node:
    """A node and its actor, as ``remote.Far``.

    label: what the cluster calls its accelerator. answer: whether it is ready; asked: when it was
    asked that. told: whether it was said that this takes long.
    """

    ray: Ray
    name: str
    actor: Any
    label: str
    answer: _Answer
    asked: float
    told: bool = False

    def ask(self, method: str, *words: Any) -> _Answer:
        """Ask the actor to do something. Raises LostError if it is known to be gone."""
        try:
            return _Answer(self.ray, self.actor.call.remote(method, *words))
        except self.ray.exceptions.RayError as error:
            raise LostError(_line(error)) from None


def _ray() -> Ray:
    # Before it is imported: Ray would otherwise tell its makers that it is used.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError:
        raise UsageError(
            f"--ray needs Ray, which is not installed: pip install '{EXTRA}'"
        ) from None
    return ray


def _connect(ray: Ray, address: str) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == HERE:
        options |= {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": _STORE,
            "_node_ip_address": "127.0.0.1",
        }
    else:
        _check(address)
        options["address"] = address
    # That a node died it would print between our lines, with the last hundred of its own log. No
    # option turns that off; where this version has another name for it, nothing is changed.
    ray._private.worker.print_to_stdstream = _to_nobody
    # The stub's code travels: the node may have none, or another.
    ray.cloudpickle.register_pickle_by_value(stub)
    with _own_signals():
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
            where = "on this machine" if address == HERE else f"at {clean(address, 100)}"
            raise UsageError(f"no Ray cluster {where}: {_line(error)}") from None


def _to_nobody(*words: object, **named: object) -> None:
    """In place of what prints."""


def _check(address: str) -> None:
    """Raise UsageError for what is no address, or one where nobody answers."""
    if address == "auto":
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port[:6]) < 65536):
        raise UsageError(
            f"--ray {clean(address, 100)} is no address of a cluster: expected HOST:PORT, "
            "ray://HOST:PORT or auto, or nothing for Ray on this machine (the suite's name then "
            "stands before --ray)"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_WITHIN).close()
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        raise UsageError(f"no Ray cluster answers at {clean(address, 100)}: {clean(why)}") from None


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray puts handlers of its own in place of ours, which keep what was measured."""
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)


def _accelerator(resources: Mapping[str, float]) -> str:
    """The type that older clusters tell as a resource: ``accelerator_type:H100``."""
    names = (name.partition(":") for name in sorted(resources))
    return next((kind for key, _, kind in names if key == "accelerator_type"), "")


def _line(error: BaseException, which: int = 0) -> str:
    """One of the lines that it says, the first if not another, or else what it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return clean(lines[which] if lines else type(error).__name__, 300)
