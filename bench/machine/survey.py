"""Find which backends can run on which devices of this machine.

Each framework that is installed is imported in a process of its own: one that was built for another
processor dies there, one that hangs is ended, what it prints goes nowhere, and two that conflict
never meet.
"""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.machine import fresh
from bench.machine.fresh import one_line
from bench.machine.guard import Interrupts
from lstm_impl import Availability, Backend, UnsupportedError, get_backend
from lstm_impl.names import strategies
from lstm_impl.registry import variants

PATIENCE = 180.0
"""Seconds that one framework may take to start: TensorFlow takes 7 here, tens on a cold disk."""

AT_ONCE = 2
"""Frameworks started side by side: reading them from disk is most of the work."""

REFERENCE = "numpy"
"""The backend that is always here: it is the judge, not a choice."""

# Where a framework's name and its module's differ.
_MODULES = {"litert": "ai_edge_litert"}


@dataclass(frozen=True)
class Entry:
    """A backend, and for each device whether it can run there."""

    name: str
    framework: str
    summary: str
    on: Mapping[str, Availability]


@dataclass(frozen=True)
class Survey:
    """All backends on all devices.

    frameworks: the version of each that is installed and works, None if it has none.
    problems: strategies that are registered but cannot be imported, and why.
    """

    devices: tuple[str, ...]
    entries: tuple[Entry, ...]
    frameworks: Mapping[str, str | None]
    problems: tuple[str, ...] = ()

    def available(self, device: str) -> list[str]:
        """The names of the backends that can run there."""
        return [entry.name for entry in self.entries if entry.on[device]]

    def choices(self, device: str) -> list[str]:
        """The same without the reference: what a user could choose."""
        return [name for name in self.available(device) if name != REFERENCE]


@dataclass(frozen=True)
class SurveyRequest:
    """The question to a framework's process. environment: variables that it has, next to ours."""

    framework: str
    backends: tuple[str, ...]
    devices: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


SurveyAnswer = Mapping[str, Any]
"""``version`` of the framework, or None; ``error``: why it cannot be used at all, else empty;
``available``: by backend and device, whether it can run there and why not, as plain data."""

Ask = Callable[[SurveyRequest], SurveyAnswer]


def survey(
    devices: Sequence[str],
    names: Sequence[str] | None = None,
    ask: Ask | None = None,
) -> Survey:
    """Every backend (or those with these names) on each of these devices.

    Raises UnsupportedError for a name that is no backend.
    """
    backends, problems = [], []
    if names is not None:
        backends = [get_backend(name) for name in dict.fromkeys(names)]
    for strategy in strategies() if names is None else ():
        try:
            backends += [get_backend(name) for name in variants(strategy)]
        except UnsupportedError as error:
            problems.append(str(error))
    # A process for each framework and the variables that it needs.
    groups: dict[tuple[str, str], list[Backend]] = {}
    for backend in backends:
        needed = str(sorted(backend.environment.items()))
        groups.setdefault((backend.framework, needed), []).append(backend)
    here = {place: members for place, members in groups.items() if installed(place[0])}
    requests = [
        SurveyRequest(
            framework,
            tuple(each.name for each in members),
            tuple(devices),
            dict(members[0].environment),
        )
        for (framework, _), members in here.items()
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(ask or ask_process, requests))
    found: dict[str, SurveyAnswer] = {}
    for request, answer in zip(requests, answers, strict=True):
        found |= dict.fromkeys(request.backends, answer)

    def entry(backend: Backend) -> Entry:
        # Where its framework is not installed, the backend itself says so.
        answer = found.get(backend.name, {})
        known = answer.get("available", {}).get(backend.name, {})
        on = {}
        for device in devices:
            if answer.get("error"):
                on[device] = Availability(False, answer["error"])
            elif device in known:
                on[device] = Availability(**known[device])
            else:
                on[device] = availability(backend, device)
        return Entry(backend.name, backend.framework, backend.summary, on)

    return Survey(
        devices=tuple(devices),
        entries=tuple(map(entry, backends)),
        frameworks={
            request.framework: answer["version"]
            for request, answer in zip(requests, answers, strict=True)
            if not answer["error"]
        },
        problems=tuple(problems),
    )


def module(framework: str) -> str:
    """The module by which a framework is imported."""
    return _MODULES.get(framework, framework.replace("-", "_"))


def installed(framework: str) -> bool:
    """Whether a framework's module is there, without importing it."""
    try:
        return importlib.util.find_spec(module(framework)) is not None
    except (ImportError, ValueError):
        return False


def availability(backend: Backend, device: str) -> Availability:
    """Ask a backend; an error of its own is a reason, too."""
    interrupts = Interrupts()
    try:
        with interrupts:
            return backend.availability(device)
    except BaseException as error:
        if interrupts.received:
            raise
        # A backend may come from anywhere; the others are queried all the same.
        return Availability(False, f"asking failed: {type(error).__name__}: {one_line(error)}")


def ask_process(request: SurveyRequest, seconds: float = PATIENCE) -> SurveyAnswer:
    """Ask about one framework in a process of its own."""
    name = request.framework
    words = ["-m", "bench.machine.survey"]
    found = fresh.ask(words, asdict(request), seconds, request.environment)
    if not isinstance(found, fresh.Died):
        answer: SurveyAnswer = found
        return answer
    if found.code is None:
        error = f"{name} did not start within {seconds:.0f} s; try `import {name}`"
    elif found.code == -signal.SIGILL:
        error = (
            f"importing {name} ends the process with an illegal instruction: it was built for a "
            "newer processor than this one; install a build for this processor"
        )
    else:
        last = f", saying: {found.said}" if found.said else ""
        error = f"importing {name} {fresh.ending(found.code)}{last}; reinstall it"
    return {"version": None, "error": error, "available": {}}


def answer_here(request: SurveyRequest) -> SurveyAnswer:
    """Answer in this process, which imports the framework."""
    error, available = "", {}
    loaded: object = None
    try:
        loaded = importlib.import_module(module(request.framework))
    except Exception as raised:
        # An extension module can raise anything at all when its libraries do not fit.
        said = f"{type(raised).__name__}: {one_line(raised)}"
        error = f"{request.framework} is installed but cannot be imported ({said}); reinstall it"
    else:
        for name in request.backends:
            backend = get_backend(name)
            on = {device: availability(backend, device) for device in request.devices}
            available[name] = {device: asdict(each) for device, each in on.items()}
    version = getattr(loaded, "__version__", None)
    version = None if version is None else str(version)
    return {"version": version, "error": error, "available": available}


if __name__ == "__main__":
    fresh.answer(lambda given: answer_here(fresh.question(SurveyRequest, given)))
