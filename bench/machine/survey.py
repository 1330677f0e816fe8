"""Find which backends can run on which devices of this machine.

Each installed framework is imported in a process of its own. It may crash (a build for another
processor), hang, print or conflict with other frameworks.
"""

import importlib
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.machine import processes
from bench.machine.guard import Interrupts
from bench.machine.packages import has_framework
from bench.machine.processes import one_line
from lstm_impl import Availability, Backend, Refusal, UnsupportedError, get_backend
from lstm_impl.frameworks import broken_frameworks, get_framework
from lstm_impl.names import strategies
from lstm_impl.registry import variants

PATIENCE = 180.0
"""The time limit for starting one framework, in seconds.

TensorFlow took 7, and from a cold disk it takes tens.
"""

AT_ONCE = 2
"""The number of frameworks that are started in parallel, because most of the work is reading them
from disk.
"""

REFERENCE = "numpy"
"""The reference backend, which always runs and is not a choice."""


@dataclass(frozen=True)
class Entry:
    """A backend, and whether it can run on each device."""

    name: str
    framework: str
    summary: str
    on: Mapping[str, Availability]


@dataclass(frozen=True)
class Survey:
    """All backends on all devices.

    frameworks: the version of each framework that is installed and works; None if it has no
    version. problems: the strategies and frameworks that are registered but cannot be imported, and
    why.
    """

    devices: tuple[str, ...]
    entries: tuple[Entry, ...]
    frameworks: Mapping[str, str | None]
    problems: tuple[str, ...] = ()

    def choices(self, device: str) -> list[str]:
        """Return the names of the backends that can run on a device, without the reference."""
        return [each.name for each in self.entries if each.on[device] and each.name != REFERENCE]


@dataclass(frozen=True)
class SurveyRequest:
    """The request to the process of a framework.

    environment: its additional variables.
    """

    framework: str
    backends: tuple[str, ...]
    devices: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


SurveyAnswer = Mapping[str, Any]
"""The answer holds ``version``, that of the framework or None.

``error`` says why the framework cannot be used, or is empty. ``available`` says by backend and
device whether a backend can run there and why not, as plain data.
"""

Ask = Callable[[SurveyRequest], SurveyAnswer]


def survey(
    devices: Sequence[str], names: Sequence[str] | None = None, ask: Ask | None = None
) -> Survey:
    """Check all backends, or these, on each device. Raise UnsupportedError for an unknown name."""
    backends, problems = [], []
    if names is not None:
        backends = [get_backend(name) for name in dict.fromkeys(names)]
    for strategy in strategies() if names is None else ():
        try:
            backends += [get_backend(name) for name in variants(strategy)]
        except UnsupportedError as error:
            problems.append(str(error))
    if names is None:
        problems += broken_frameworks()
    # Each framework, with the variables that it needs, gets a process.
    groups: dict[tuple[str, str], list[Backend]] = {}
    for backend in backends:
        if has_framework(backend.framework):
            needed = str(sorted(backend.environment.items()))
            groups.setdefault((backend.framework, needed), []).append(backend)
    requests = []
    for (framework, _), members in groups.items():
        named, environment = tuple(each.name for each in members), dict(members[0].environment)
        requests.append(SurveyRequest(framework, named, tuple(devices), environment))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(ask or ask_process, requests))
    found: dict[str, SurveyAnswer] = {}
    for request, answer in zip(requests, answers, strict=True):
        found |= dict.fromkeys(request.backends, answer)

    def entry(backend: Backend) -> Entry:
        # If its framework is not installed, the backend itself says so.
        answer = found.get(backend.name, {})
        known = answer.get("available", {}).get(backend.name, {})
        on = {}
        for device in devices:
            if answer.get("error"):
                on[device] = Availability(False, answer["error"])
            elif device in known:
                on[device] = _read_availability(known[device])
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


def _read_availability(data: Mapping[str, Any]) -> Availability:
    """Return an availability from the plain data of another process."""
    return Availability(**{**data, "refusal": Refusal(data["refusal"])})


def availability(backend: Backend, device: str) -> Availability:
    """Ask a backend whether it is available. An error of its own counts as not available."""
    interrupts = Interrupts()
    try:
        with interrupts:
            return backend.availability(device)
    except BaseException as error:
        if interrupts.received:
            raise
        return Availability(False, f"the check failed: {type(error).__name__}: {one_line(error)}")


def ask_process(request: SurveyRequest, seconds: float = PATIENCE) -> SurveyAnswer:
    """Answer a request in a new process."""
    name = request.framework
    words = ["-m", "bench.machine.survey"]
    found = processes.ask(words, asdict(request), seconds, request.environment)
    if not isinstance(found, processes.Died):
        answer: SurveyAnswer = found
        return answer
    if found.code is None:
        error = f"{name} did not start within {seconds:.0f} s; try `import {name}` yourself"
    elif found.code == -signal.SIGILL:
        error = (
            f"importing {name} ends the process with an illegal instruction: it was built for a "
            "newer processor than this one; install a build for this processor"
        )
    else:
        last = f", saying: {found.last_line}" if found.last_line else ""
        error = f"importing {name} {processes.describe_ending(found.code)}{last}; reinstall it"
    return {"version": None, "error": error, "available": {}}


def answer_here(request: SurveyRequest) -> SurveyAnswer:
    """Answer a request in this process, which imports the framework."""
    error, available = "", {}
    loaded: object = None
    try:
        framework = get_framework(request.framework)
        framework.before_import()
        loaded = importlib.import_module(framework.module)
    except Exception as raised:  # An extension module may raise anything.
        message = f"{type(raised).__name__}: {one_line(raised)}"
        error = f"{request.framework} is installed but cannot be imported ({message}); reinstall it"
    else:
        for name in request.backends:
            backend = get_backend(name)
            on = {device: availability(backend, device) for device in request.devices}
            available[name] = {device: asdict(each) for device, each in on.items()}
    version = getattr(loaded, "__version__", None)
    version = None if version is None else str(version)
    return {"version": version, "error": error, "available": available}


if __name__ == "__main__":
    processes.answer(lambda given: answer_here(SurveyRequest(**given)))
