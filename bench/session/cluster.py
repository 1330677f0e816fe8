"""Measure on the nodes of a Ray cluster: find them, give each a worker, and follow all workers.

A ``NodeAgent`` runs the workers of a node in a scratch folder. It knows nothing about Ray. Its
requests and answers are plain data and types of this suite, since both ends run the same code.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from bench import case as suites
from bench.case.loading import Suite, SuiteChoice, SuiteError
from bench.cli.command_line import UsageError
from bench.machine import devices, environment
from bench.machine.environment import MachineKind, machine_kind
from bench.machine.lock import HeldError, LockError, MachineLock
from bench.machine.writing import JOURNAL_SUFFIX, Closing, write_bytes
from bench.records.journal import LineFile
from bench.records.schema import ResultFile
from bench.render.escape import clean
from bench.session import stub
from bench.session.manager import LOOK_EVERY, Manager, WorkerError
from bench.session.session import Session, Work
from bench.session.workers import Executor, LocalExecutor, LocalWorker, LostError, settle
from bench.worker.order import CANNOT_WRITE, reported_error

GRACE = 60.0
"""After a machine is lost, the run waits this many seconds for another one if work is left. A
preempted machine is often replaced.
"""


@dataclass(frozen=True)
class ClusterMember:
    """A machine that measures. The run has reserved all of it.

    name: the unique name of the node. kind: the kind of machine. label: what the cluster calls its
    accelerator. suite: the cases to measure there. absent: the devices of these cases that the
    machine does not have.
    """

    name: str
    kind: MachineKind
    label: str
    suite: Suite
    absent: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Return the key that distinguishes the sessions of different kinds of machines."""
        letters = "".join(each if each.isalnum() else "-" for each in self.label.lower())
        return f"{self.kind.id}-{letters[:24]}" if letters else self.kind.id

    def __str__(self) -> str:
        called = f" ({self.label})" if self.label and self.label not in str(self.kind) else ""
        return f"{self.kind}{called}"


class Machines(Protocol):
    """A source of machines."""

    @property
    def waiting(self) -> bool:
        """Whether more machines are about to arrive."""

    def arrived(self) -> Sequence[ClusterMember]:
        """Return the machines that have arrived since the last call."""

    def retire(self, member: ClusterMember, *, for_good: bool) -> None:
        """Give up a machine.

        for_good: if False, the machine may be used again if it is still there.
        """


@dataclass
class Kind:
    """The machines of one kind, which share one session.

    members: how many machines arrived. error: the last error of a machine's processes. idle:
    whether no process could be started at the last look.
    """

    manager: Manager
    description: str
    members: int = 0
    error: WorkerError | None = None
    idle: bool = False


@dataclass
class _Assignment:
    """A machine with the session of its kind, and the process that runs there, if any."""

    member: ClusterMember
    kind: Kind
    executor: Executor
    process: Generator[None, None, None] | None = None


class Fleet:
    """Runs sessions on machines until no work, no machine or no time is left.

    open_manager: makes the manager for a kind of machine, given its first machine. The manager has
    already begun. executor: makes the executor of a machine for the session of its kind. message:
    receives a line about each event.
    """

    def __init__(
        self,
        machines: Machines,
        open_manager: Callable[[ClusterMember], Manager],
        executor: Callable[[ClusterMember, Manager], Executor],
        message: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.kinds: dict[str, Kind] = {}
        self._machines, self._open, self._executor = machines, open_manager, executor
        self._message, self._now, self._sleep = message, now, sleep
        self._assigned: list[_Assignment] = []
        self._lost_until = now()

    def run(self) -> None:
        """Measure until the end.

        Raises KeyboardInterrupt on an interruption, and ResultWriteError if results cannot be
        written. Finished cases are kept in both cases.
        """
        try:
            while self._turn():
                self._sleep(LOOK_EVERY)
        finally:
            busy = [assigned.process for assigned in self._assigned if assigned.process is not None]
            # Each process takes a moment to end, so all end at the same time.
            with ThreadPoolExecutor(len(busy) or 1) as pool:
                for ended in [pool.submit(process.close) for process in busy]:
                    with contextlib.suppress(LostError):
                        ended.result()

    def _turn(self) -> bool:
        """Look at all machines once. Return False if nothing is left to wait for."""
        for member in self._machines.arrived():
            if member.key not in self.kinds:
                self.kinds[member.key] = Kind(self._open(member), str(member))
            kind = self.kinds[member.key]
            self._assigned.append(_Assignment(member, kind, self._executor(member, kind.manager)))
            kind.members += 1
            kind.idle = False
            self._message(f"{member.name} measures: {member}")
        machines = Counter(assigned.member.key for assigned in self._assigned)
        for assigned in list(self._assigned):
            self._advance(assigned, machines[assigned.member.key])
        if any(
            assigned.process is not None or not assigned.kind.idle for assigned in self._assigned
        ):
            return True
        managers = [kind.manager for kind in self.kinds.values()]
        unfinished = any(each.left > 0 and not each.schedule.finished for each in managers)
        return self._machines.waiting or (unfinished and self._now() < self._lost_until)

    def _advance(self, assigned: _Assignment, machines: int) -> None:
        """Start a process on an idle machine, or look once at the running one."""
        kind = assigned.kind
        if assigned.process is None:
            if not kind.idle:
                assigned.process = kind.manager.process(
                    assigned.executor, machines, assigned.member.name
                )
            if assigned.process is None:
                # No machine of this kind gets any work until something changes.
                kind.idle = True
                return
        try:
            next(assigned.process)
            return
        except StopIteration:
            pass
        except LostError as error:
            self._leave(assigned, f"is lost: {error}", for_good=False)
            self._lost_until = self._now() + GRACE
        except WorkerError as error:
            kind.error = error
            self._leave(assigned, f"is no longer used: {error}", for_good=True)
        assigned.process = None
        kind.idle = False

    def _leave(self, assigned: _Assignment, why: str, *, for_good: bool) -> None:
        self._message(f"{assigned.member.name} {why}")
        self._assigned.remove(assigned)
        self._machines.retire(assigned.member, for_good=for_good)


ASK_EVERY = 1.0
"""The interval between two looks at a worker on a node, in seconds. Each look costs the node a
message and some tenths of a millisecond of processor time.
"""

SILENCE = 120.0
"""A node that has not answered for this many seconds is given up. Ray notices a missing node
sooner; this limit is for a node that is there but answers nothing.
"""

END_WITHIN = 30.0
"""A node may take this many seconds to end a worker."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")


class NodeAnswer(Protocol):
    """The answer of a node to a request."""

    def ready(self) -> bool:
        """Return whether the node has answered, or never will."""

    def get(self, seconds: float) -> Any:
        """Return the answer. Raise LostError if none arrives within this many seconds."""


class AgentHandle(Protocol):
    """A ``NodeAgent`` on a node. It serves one request after the other."""

    def ask(self, method: str, *words: Any) -> NodeAnswer:
        """Call a method of the agent without waiting for the answer."""


@dataclass(frozen=True)
class RemoteExecutor:
    """Starts the worker processes of one session on one node.

    folder: the folder of the results on this machine.
    """

    agent: AgentHandle
    session: Session
    folder: Path
    now: Callable[[], float] = time.monotonic

    def start(self, work: Work) -> RemoteWorker:
        """Start a worker for ``work``."""
        return RemoteWorker(self.agent, self.session, work, self.folder, self.now)


class RemoteWorker:
    """A worker on a node. Its journal is written on this machine as the lines arrive."""

    def __init__(
        self,
        agent: AgentHandle,
        session: Session,
        work: Work,
        folder: Path,
        now: Callable[[], float],
    ) -> None:
        self._agent, self._suite, self._folder, self._now = agent, session.suite_name, folder, now
        self._answer: NodeAnswer | None = agent.ask("start", session, work)
        self._requested = now()
        self._journal: LineFile | None = None
        self._early: list[Mapping[str, object]] = []
        self._new: list[Mapping[str, object]] = []
        self._end: WorkerNews | None = None

    def poll(self) -> int | None:
        """Return the exit code of the worker, or None while it runs. Raises LostError."""
        silent = self._now() - self._requested
        if self._end is None and self._answer is None:
            if silent >= ASK_EVERY:
                self._answer, self._requested = self._agent.ask("look"), self._now()
        elif self._answer is not None and self._answer.ready():
            self._take(0.0)
        elif self._end is None and silent > SILENCE:
            raise LostError(f"the node has not answered for {SILENCE:.0f} s", blame=False)
        return None if self._end is None else self._end.code

    def _take(self, seconds: float) -> None:
        """Wait up to ``seconds`` for the node's answer and process it."""
        assert self._answer is not None
        answer, self._answer = self._answer, None
        seen: WorkerNews = answer.get(seconds)
        self._new += seen.lines
        self._early += seen.lines
        # The first line names the run, so no other line may be written before it.
        if self._journal is None and seen.journal and any("run" in line for line in self._early):
            self._journal = LineFile(self._folder / self._checked(seen.journal, JOURNAL_SUFFIX))
        if self._journal is not None:
            for line in self._early:
                self._journal.append(line)
            self._early = []
        if seen.code is not None:
            error = reported_error(seen.output)
            if error is not None and error[0] == CANNOT_WRITE:
                raise LostError(f"on that machine {clean(error[1])}", blame=False)
            if seen.data is not None:
                self._checked(seen.name, ".json")
            self._end = seen

    def _checked(self, name: str, suffix: str) -> str:
        """Return the name of a file from a node.

        Raise LostError for a name that no run of this session can have.
        """
        stem = name.removesuffix(suffix)
        known = name.endswith(suffix) and stem.startswith(f"{self._suite}-")
        if not known or not _NAME.fullmatch(stem):
            raise LostError(
                f"the node names a file {clean(name, 60)} that no run makes", blame=False
            )
        return name

    def lines(self) -> Sequence[Mapping[str, object]]:
        """Return the lines of the journal that have arrived since the last call."""
        found, self._new = self._new, []
        return found

    def kill(self) -> None:
        """End the worker and wait until it has ended. Raises LostError."""
        if self._answer is not None:
            self._take(END_WITHIN)
        if self._end is None:
            self._answer = self._agent.ask("kill")
            self._take(END_WITHIN)

    def settle(self, outcomes: Sequence[Mapping[str, object]]) -> ResultFile | None:
        """Return the result file of the node, or one made from the lines that arrived."""
        if self._journal is not None:
            self._journal.close()
        if self._end is not None and self._end.data is not None:
            path = self._folder / self._end.name
            write_bytes(path, self._end.data)
            return settle(path, outcomes)
        return None if self._journal is None else settle(self._journal.path, outcomes)

    def last_output(self) -> str:
        """Return the end of what the worker printed."""
        return "" if self._end is None else self._end.output


# -- on a node


@dataclass(frozen=True)
class NodeRequest:
    """What a node must prepare for.

    suite: the name of a suite of the package, or of a file whose content is ``text``. choice: what
    the user selected from the suite. wait, force: if another run measures on the node, wait for it
    or measure next to it.
    """

    suite: str
    text: bytes | None
    choice: SuiteChoice
    wait: bool = False
    force: bool = False


@dataclass(frozen=True)
class WorkerNews:
    """What has happened to a worker since the last look.

    lines: the new lines of the journal. journal: the name of the journal, empty until it exists.
    code: the exit code, None while the worker runs. output: the end of what the worker printed.
    name, data: the result file, if there is one. The last three are set when the worker has ended.
    """

    lines: tuple[Mapping[str, object], ...] = ()
    journal: str = ""
    code: int | None = None
    output: str = ""
    name: str = ""
    data: bytes | None = None


class NodeAgent(Closing):
    """Measures on the machine that it runs on, with one process at a time."""

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="lstm-node-")
        self._folder = Path(self._scratch.name)
        self._lock = MachineLock()
        self._suite: Path | None = None
        self._seconds: Mapping[str, float] = {}
        self._worker: LocalWorker | None = None

    def ready(self, requested: NodeRequest) -> tuple[str, ClusterMember | None]:
        """Take the machine's lock and describe this machine, or say why it cannot measure.

        Returns the reason, empty if the machine can measure, and the machine.
        """
        name = requested.suite
        if requested.text is not None:
            self._suite = self._folder / "suite" / name
            self._suite.parent.mkdir(exist_ok=True)
            self._suite.write_bytes(requested.text)
            name = str(self._suite)
        try:
            suite = suites.load(name, requested.choice)
            self._seconds = suite.seconds
            if requested.wait:
                self._lock.wait(suite.name, lambda text: None)
            else:
                self._lock.acquire(suite.name)
        except HeldError as error:
            if not requested.force:
                return str(error), None
        except (SuiteError, LockError) as error:
            return str(error), None
        kind = machine_kind(environment.read().to_dict())
        if kind is None:
            return "the system does not name its processor, so the kind of machine is unknown", None
        absent = tuple(devices.list_missing(case.device for case in suite.cases))
        return "", ClusterMember("", kind, "", suite, absent)

    def start(self, session: Session, work: Work) -> WorkerNews:
        """Start a worker process. ``look`` reports on it."""
        self.kill()
        _forget_what_ray_set()
        if self._suite is not None:
            session = session.with_options(suite=str(self._suite))
        folder, judged = self._folder / session.id, self._folder / "judged"
        for each in (folder, judged):
            each.mkdir(exist_ok=True)
        executor = LocalExecutor(session, folder, self._seconds, self._lock.fd, judged)
        self._worker = executor.start(work)
        return WorkerNews()

    def look(self) -> WorkerNews:
        """Return what has happened to the worker since the last look."""
        if self._worker is None:
            return WorkerNews()
        code = self._worker.poll()  # The code is read before the lines, so that no line is missed.
        lines = tuple(self._worker.lines())
        if code is None:
            return WorkerNews(lines, self._worker.journal)
        worker, self._worker = self._worker, None
        file = worker.settle(())
        seen = WorkerNews(lines, worker.journal, code, worker.last_output())
        if file is None:
            return seen
        seen = replace(seen, name=file.path.name, data=file.path.read_bytes())
        with contextlib.suppress(OSError):  # The manager has the file now.
            file.path.unlink()
        return seen

    def kill(self) -> WorkerNews:
        """End the worker and return what has happened to it."""
        if self._worker is not None:
            self._worker.kill()
        return self.look()

    def close(self) -> None:
        """End the worker, release the lock and delete the scratch folder."""
        self.kill()
        self._lock.close()
        self._scratch.cleanup()


def _forget_what_ray_set(start: Path = Path("/proc/self/environ")) -> None:
    """Remove the OMP_NUM_THREADS that Ray sets, so that libraries choose as they do without Ray.

    A value that the node itself had when it started stays.
    """
    with contextlib.suppress(OSError):
        if b"\0OMP_NUM_THREADS=" in b"\0" + start.read_bytes():
            return
    os.environ.pop("OMP_NUM_THREADS", None)


# -- the cluster


EXTRA = "lstm-benchmark-suite[ray]"
HERE = "here"
"""The value in place of an address with which the run starts and stops Ray on this machine."""

ANSWER_WITHIN = 10.0
"""How long to wait for a connection to an address, in seconds. A firewall may swallow it; otherwise
an error comes at once.
"""

NODES_EVERY = 5.0
"""The interval between two looks at which nodes the cluster has, in seconds."""

PATIENCE = 120.0
"""A run waits this many seconds for a node to become ready. After that, other work uses the node:
the run takes it when it becomes free, if the run still continues.
"""

FIRST = 60.0
"""A run waits this many seconds for the first node that lends processors. A cluster that has just
started has its head node first.
"""

LIVES = 2
"""How often a node is tried whose actor dies, because a backend may have killed it."""

CLOSE_WITHIN = 10.0

_STORE = 100 * 2**20
"""The shared memory of Ray on this machine, in bytes. Ray's default is a third of all memory, but
the messages are small.
"""

Ray: TypeAlias = Any
"""The module ``ray``."""


class ClusterMachines(Closing):
    """The nodes of a Ray cluster as a source of machines.

    address: an address as Ray takes it, or ``HERE``. requested: what each node must prepare for.
    message: receives a line about each node that is left out, with the reason.

    Raises UsageError if Ray is not installed, or if there is no cluster at the address.
    """

    def __init__(
        self,
        address: str,
        requested: NodeRequest,
        message: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if address == HERE or address.startswith("127.0.0.1:"):
            # Without this variable, Ray replaces the address by another address of this machine
            # that does not answer.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        self._ray = _ray()
        self._requested, self._message, self._now = requested, message, now
        self._code = stub.fingerprint()
        self._pending: dict[str, Node] = {}
        self._nodes: dict[str, Node] = {}
        self._lives: Counter[str] = Counter()
        self._looked = -NODES_EVERY
        _connect(self._ray, address)
        self._began = now()

    def handle(self, member: ClusterMember) -> Node:
        """Return the node of a machine."""
        return self._nodes[member.name]

    @property
    def waiting(self) -> bool:
        """Whether more nodes are about to be ready."""
        now = self._now()
        if not self._lives:
            return now - self._began < FIRST
        since = [node.requested_at for node in self._pending.values()]
        return any(self._requested.wait or now - each < PATIENCE for each in since)

    def arrived(self) -> Sequence[ClusterMember]:
        """Return the nodes that have become ready since the last call."""
        now = self._now()
        if now - self._looked >= NODES_EVERY:
            self._looked = now
            for facts in self._ray.nodes():
                name = f"{facts['NodeManagerHostname']}#{facts['NodeID'][:6]}"
                lends = facts["Alive"] and (facts.get("Resources") or {}).get("CPU")
                known = name in self._pending or name in self._nodes
                if lends and not known and self._lives[name] < LIVES:
                    self._lives[name] += 1
                    self._pending[name] = self._reserve(name, facts, facts["Resources"])
        found = []
        for name, node in list(self._pending.items()):
            if node.answer.ready():
                del self._pending[name]
                if (member := self._member(node)) is not None:
                    self._nodes[name] = node
                    found.append(member)
            elif now - node.requested_at > PATIENCE and not node.note:
                node.note = True
                self._message(
                    f"{name} is not free yet: other work of the cluster or another run uses it"
                )
        return found

    def _reserve(self, name: str, facts: Mapping[str, Any], resources: Mapping[str, float]) -> Node:
        affinity = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        options = self._ray.remote(stub.Stub).options(
            num_cpus=resources["CPU"],
            num_gpus=resources.get("GPU", 0),
            max_restarts=0,
            # Ray lowers the priority of its processes, which would change the measured times.
            runtime_env={"env_vars": {"RAY_worker_niceness": "0"}},
            scheduling_strategy=affinity(facts["NodeID"], soft=False),
        )
        actor = options.remote()
        # Older clusters store the label as a resource such as accelerator_type:H100.
        older = [each[17:] for each in sorted(resources) if each.startswith("accelerator_type:")]
        label = (facts.get("Labels") or {}).get("ray.io/accelerator-type") or "".join(older[:1])
        request = pickle.dumps((NodeAgent, self._requested))
        answer = _ActorAnswer(self._ray, actor.ready.remote(self._code, request))
        return Node(self._ray, name, actor, label, answer, self._now())

    def _member(self, node: Node) -> ClusterMember | None:
        """Return the machine of a node that has answered.

        If the machine is left out, print a message and return None.
        """
        try:
            problem, found = node.answer.get(0.0)
            if isinstance(found, ClusterMember):
                return replace(found, name=node.name, label=node.label)
            self._lives[node.name] = LIVES  # The node would give the same answer again.
        except LostError as error:
            problem = str(error)
        self._end(node)
        self._message(f"{node.name} is left out: {problem}")
        return None

    def retire(self, member: ClusterMember, *, for_good: bool) -> None:
        """Give up a node.

        for_good: if False, the node is tried once more if it is still there.
        """
        if member.name in self._nodes:
            self._end(self._nodes.pop(member.name))
        if for_good:
            self._lives[member.name] = LIVES

    def _end(self, node: Node) -> None:
        with contextlib.suppress(Exception):  # The node may be gone already.
            self._ray.kill(node.actor)

    def close(self) -> None:
        """Release all nodes and leave the cluster, or stop a cluster that was started here."""
        answers = []
        for node in self._nodes.values():
            with contextlib.suppress(LostError):
                answers.append(node.ask("close"))
        end = self._now() + CLOSE_WITHIN
        for answer in answers:
            with contextlib.suppress(LostError):
                answer.get(end - self._now())
        for node in (*self._nodes.values(), *self._pending.values()):
            self._end(node)
        self._nodes, self._pending = {}, {}
        self._ray.shutdown()


@dataclass(frozen=True)
class _ActorAnswer:
    """The answer of an actor."""

    ray: Ray
    reference: Any

    def ready(self) -> bool:
        """Return whether there is an answer, or an error instead of one."""
        return bool(self.ray.wait([self.reference], timeout=0)[0])

    def get(self, seconds: float) -> Any:
        """Return the answer. Raises LostError."""
        errors = self.ray.exceptions
        try:
            return self.ray.get(self.reference, timeout=max(seconds, 0.1))
        except errors.GetTimeoutError:
            raise LostError(
                f"the node did not answer within {seconds:.0f} s", blame=False
            ) from None
        except errors.ActorUnavailableError:
            raise LostError("the node cannot be reached any more") from None
        except errors.RayActorError as error:
            preempted = bool(getattr(error, "preempted", False))
            # The last line of the error says why the actor died.
            why = "the node was preempted" if preempted else _line(error, -1)
            raise LostError(why, blame=not preempted) from None
        except errors.RayTaskError as error:
            raise LostError(f"on the node, {_line(error.cause or error)}", blame=False) from None
        except errors.RayError as error:
            raise LostError(_line(error), blame=False) from None


@dataclass
class Node:
    """A node and its actor, as an ``AgentHandle``.

    label: what the cluster calls its accelerator. answer: the answer to whether the node is ready.
    requested_at: when that was asked. note: whether a message has said that this takes long.
    """

    ray: Ray
    name: str
    actor: Any
    label: str
    answer: _ActorAnswer
    requested_at: float
    note: bool = False

    def ask(self, method: str, *words: Any) -> _ActorAnswer:
        """Call a method of the actor. Raise LostError if the actor is known to be gone."""
        try:
            return _ActorAnswer(self.ray, self.actor.call.remote(method, *words))
        except self.ray.exceptions.RayError as error:
            raise LostError(_line(error)) from None


def _ray() -> Ray:
    # Unless this is set before the import, Ray reports its use to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError:
        raise UsageError(
            f"--ray needs Ray, which is not installed; install it: pip install '{EXTRA}'"
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
    # Ray would print the death of a node between our lines, with a hundred lines of its log. No
    # option turns that off.
    ray._private.worker.print_to_stdstream = lambda *words, **named: None
    # The code of the stub is sent along: the node may have no copy, or another version.
    ray.cloudpickle.register_pickle_by_value(stub)
    # Ray replaces our signal handlers, which keep the finished measurements.
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        where = "on this machine" if address == HERE else f"at {clean(address, 100)}"
        if "token" in str(error).lower():
            raise UsageError(
                f"the Ray cluster {where} requires a token: set RAY_AUTH_MODE=token and "
                f"RAY_AUTH_TOKEN, or write the token to ~/.ray/auth_token ({_line(error)})"
            ) from None
        raise UsageError(f"there is no Ray cluster {where}: {_line(error)}") from None
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)


def _check(address: str) -> None:
    """Raise UsageError for an address that is malformed or does not answer."""
    if address == "auto":
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port[:6]) < 65536):
        raise UsageError(
            f"--ray {clean(address, 100)} is not the address of a cluster; write HOST:PORT, "
            "ray://HOST:PORT or auto; to use Ray on this machine, write no address, and put the "
            "suite's name before --ray"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_WITHIN).close()
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        raise UsageError(f"no Ray cluster answers at {clean(address, 100)}: {clean(why)}") from None


def _line(error: BaseException, which: int = 0) -> str:
    """Return a line of an error's text, by default the first, or else the error's type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return clean(lines[which] if lines else type(error).__name__, 300)
