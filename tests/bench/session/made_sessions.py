"""Build cases, results, sessions, and workers that follow a script."""

import contextlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from bench.case.cases import Case
from bench.cli.options import MeasurementOptions
from bench.machine.fields import Field
from bench.records.journal import Journal
from bench.records.schema import Figures, ResultFile, Run, parse_outcome
from bench.session.manager import Manager, SessionProgress
from bench.session.session import Environment, Goal, Need, Session, Work
from bench.session.workers import Worker
from bench.worker.order import report_error
from lstm_impl import LSTMSpec, Workload
from tests.bench import made_results


def case(backend: str, steps: int = 5) -> Case:
    return Case(backend, LSTMSpec(1, 4), Workload(2, steps, "training"))


A5, B5, A6, B6 = CASES = (case("a"), case("b"), case("a", 6), case("b", 6))


def make_run(number: int, session: str = "s") -> Run:
    return made_results.a_run(number, id=f"run{number}", session=session)


def make_file(
    number: int,
    measured: Mapping[Case, float],
    outcomes: Mapping[Case, str] | None = None,
    memory: Figures | None = None,
) -> ResultFile:
    run, path = make_run(number), Path("x.json")
    return ResultFile(
        path,
        run,
        tuple(
            replace(made_results.measured(case, seconds, run), memory=memory)
            for case, seconds in measured.items()
        ),
        tuple(
            made_results.unmeasured(case, run, what, "why")
            for case, what in (outcomes or {}).items()
        ),
        (),
    )


def even(costs: Mapping[str, float]) -> dict[str, float]:
    """Return the costs of each case, where a group's two cases take these seconds."""
    return {case.id: costs[case.group] / 2 for case in CASES}


def ids(work: Work | None) -> set[str]:
    return set() if work is None else {case.id for case in work.cases}


MEMORY: Figures = {"peak_bytes": 10, "steady_bytes": 5, "how": "given", "seconds": 7.0}
EAST: Environment = (("SIDE", "east"),)
WEST: Environment = (("SIDE", "west"),)


NEEDS = {
    "east": Need("sun", EAST),
    "west": Need("moon", WEST),
    "moonlight": Need("moon"),
    "plain": Need("stone"),
    "eclipse": Need("moon", (("SIDE", "dark"),), isolated=True),
}


def needs(backend: str) -> Need:
    return NEEDS[backend]


STARTING = 5
"""Steps that a process takes to start, where several start at the same time."""

HANG, DIE, SEGFAULT = "hang", "die", "segfault"


@dataclass
class World:
    """A clock, an executor and a view for a manager, whose workers follow a script.

    behaviour: of a case, what happens while it is prepared, or timed ("timed die"). seconds: of
    measuring for each case, by its group. side_by_side: processes that start at the same time.
    turn: the worker that measures; measuring_at_start: the same when each process started.
    memory_seconds: seconds for a case's memory. step: seconds between two lines of a journal.
    """

    time: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    memory_seconds: float = 7.0
    step: float = 1.0
    behaviour: dict[str, str] = field(default_factory=dict)
    started: list[Work] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    saved: list[Session] = field(default_factory=list)
    shown: list[SessionProgress] = field(default_factory=list)
    files: list[ResultFile] = field(default_factory=list)
    interrupt_at: float = math.inf
    words: str = ""
    mute: bool = False
    side_by_side: int = 1
    turn: Worker | None = None
    measuring_at_start: list[Worker | None] = field(default_factory=list)
    lingers: bool = False

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        if self.time >= self.interrupt_at:
            self.interrupt_at = math.inf
            raise KeyboardInterrupt

    def start(self, work: Work) -> Worker:
        self.started.append(work)
        self.measuring_at_start.append(self.turn)
        return ScriptedWorker(self, work)

    def update(self, progress: SessionProgress) -> None:
        self.shown.append(progress)

    def message(self, text: str) -> None:
        self.messages.append(text)

    def manager(self, session: Session) -> Manager:
        return Manager(
            session,
            self,
            self,
            self.saved.append,
            lambda: self.time,
            self.sleep,
            seconds=self.seconds,
            side_by_side=self.side_by_side,
        )

    @property
    def outcomes(self) -> dict[str, str]:
        found = [each for file in self.files for each in file.outcomes]
        return {each.case.id: each.outcome for each in found}

    @property
    def counts(self) -> dict[str, int]:
        found = [each.case.id for file in self.files for each in file.measurements]
        return {case.id: found.count(case.id) for case in CASES}


class ScriptedWorker:
    """Prepares a case in one step, and times a group in one or in the world's seconds."""

    def __init__(self, world: World, work: Work) -> None:
        self.world, self.work = world, work
        self.code: int | None = None
        self.measured: list[Case] = []
        self.events = iter(self.script())
        self.due = world.time + world.step
        self.killed = False

    def script(self) -> Iterator[dict[str, object] | int]:
        if self.world.mute:
            yield 4
        if self.world.side_by_side > 1:
            for _ in range(STARTING):
                yield {}
            yield {"begun": [], "phase": "waiting"}
            while self.world.turn is not None:
                yield {}
            self.world.turn = self
        groups: dict[str, list[Case]] = {}
        for each in self.work.cases:
            groups.setdefault(each.group, []).append(each)
        for cases in groups.values():
            for each in cases:
                yield {"begun": [each.id]}
                yield from self.happen(self.world.behaviour.get(each.id, ""))
            yield {"begun": [each.id for each in cases]}
            measuring = self.world.seconds.get(cases[0].group, 0.0) * len(cases)
            self.due += self.work.share * measuring
            for each in cases:
                behaviour = self.world.behaviour.get(each.id, "")
                yield from self.happen(behaviour.removeprefix("timed "), "timed" in behaviour)
            for each in cases if self.work.memory else ():
                yield {"begun": [each.id]}
                self.due += self.world.memory_seconds - self.world.step
            for each in cases:
                self.measured.append(each)
                ours = {"case_id": each.id, "memory": self.figures()}
                yield {"benchmark": {"extra_info": {"lstm": ours}}}
        yield {"finished": "now"}
        while self.world.lingers:
            yield {}
        yield 0

    def figures(self) -> Figures | None:
        return {**MEMORY, "seconds": self.world.memory_seconds} if self.work.memory else None

    def happen(self, what: str, now: bool = True) -> Iterator[dict[str, object] | int]:
        while now and what == HANG:
            yield {}
        if now and what == DIE:
            yield -9
        if now and what == SEGFAULT:
            yield -11

    def poll(self) -> int | None:
        return self.code

    def lines(self) -> Sequence[Mapping[str, object]]:
        found: list[Mapping[str, object]] = []
        while self.code is None and not self.killed and self.world.time >= self.due:
            self.due += self.world.step
            event = next(self.events)
            if isinstance(event, int):
                self.code = event
                self._end()
            else:
                found.append(event)
        return found

    def kill(self) -> None:
        self.killed = True
        self._end()

    def _end(self) -> None:
        if self.world.turn is self:
            self.world.turn = None

    def settle(self, outcomes: Sequence[Mapping[str, object]]) -> ResultFile | None:
        if self.world.mute:
            return None
        number = len(self.world.files) + 1
        file = make_file(number, dict.fromkeys(self.measured, 1.0), memory=self.figures())
        more = tuple(
            parse_outcome(Field(Path("a.json"), "outcome", data), file.run) for data in outcomes
        )
        self.world.files.append(replace(file, outcomes=more))
        return self.world.files[-1]

    def last_output(self) -> str:
        return self.world.words


def session(**changes: object) -> Session:
    """Return a session. changes: of its fields, or of the fields of its options."""
    found = Session(
        id="s",
        suite_name="mine",
        cases=CASES,
        goal=Goal(processes=2),
        budget=None,
        started=datetime.now(UTC).isoformat(),
        options=MeasurementOptions(suite="mine", seed=0, load=0, memory=False, case_limit=10.0),
    )
    names = {each.name for each in fields(Session)}
    own = {name: value for name, value in changes.items() if name in names}
    chosen = {name: value for name, value in changes.items() if name not in names}
    return replace(found, **own).with_options(**chosen)  # type: ignore[arg-type]


def reported(kind: str, message: str) -> str:
    """Return what a worker prints that ends with an error."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        report_error(kind, message)
    return output.getvalue()


HOURS = dict.fromkeys((case.group for case in CASES), 100.0)


def write_journal(folder: Path, measured: Sequence[Case], name: str = "1") -> Path:
    path = folder / f"mine-{name}.journal.jsonl"
    with Journal(path) as journal:
        journal.start(replace(make_run(1), id=name, finished=None, complete=False))
        for each in measured:
            journal.begin([each.id])
            journal.benchmark(make_entry(each))
    return path


def make_entry(case: Case) -> dict[str, object]:
    return {
        "name": case.id,
        "stats": {"data": [0.1] * 6},
        "extra_info": {
            "lstm": {
                "schema": 1,
                "case": case.to_dict(),
                "case_id": case.id,
                "gate": {"passed": True},
                "evidence": {},
                "setup": {},
                "blocks": {"calls": 1, "round": list(range(6)), "warmup": []},
                "steady": True,
                "validity": {"valid": True, "reasons": []},
            }
        },
    }
