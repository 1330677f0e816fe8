"""In what the machines and settings of two sides differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from bench.machine.fields import mapping
from bench.records.schema import Run

# Words in the names of an environment's values that change from minute to minute and explain no
# lasting difference; a measurement that they spoilt is marked INVALID instead. The reasons why a
# value could not be read say less than that it is not there.
_PASSING = re.compile(
    r"(?<![a-z])(load|time|date|uptime|temperature|utilization|used|available|power|energy|clock"
    r"|throttle|processes|pid|unread)(?![a-z])"
)

# These parts of an environment last as long as their process, and so do highest values and sizes.
_LASTING = re.compile(
    r"^(libraries|variables|threads|options)\b|(?<![a-z])(max|limit|total)(?![a-z])"
)

# What names the run itself, or the machine's last start: it differs between any two sessions.
_OWN = frozenset({"options.session", "options.cases", "options.results", "options.judged", "boot"})

_KNOWN_LATE = ("threads", "tensorflow")

# An environment is free-form data of a file: what is longer than any real one is cut.
_MOST_LEAVES = 2000


def hardware(run: Run, device: str) -> str:
    """What a device of a run's machine is, empty if its environment does not say."""
    before = mapping(run.environment.get("before"))
    kind, _, index = device.partition(":")
    found = before.get("cpu") if kind == "cpu" else None
    gpus = before.get("gpus")
    if kind == "gpu" and isinstance(gpus, list) and index.isdecimal() and int(index) < len(gpus):
        found = gpus[int(index)]
    name = mapping(found).get("name")
    return name if isinstance(name, str) else ""


def environment_differences(base: Sequence[Run], new: Sequence[Run]) -> list[tuple[str, str, str]]:
    """What the environments and options of two sets of runs do not share: name, base, new.

    What changes from minute to minute (load, temperatures, clocks) is left out. Where the runs of
    one side differ among themselves, each of their values is named.
    """
    # Known only once the framework is there, so at the end: its threads, its build, its precision.
    # A run that never came to its end does not differ in them, it does not say.
    late = [
        name
        for name in _KNOWN_LATE
        if all(
            any(name in mapping(run.environment.get("after")) for run in runs)
            for runs in (base, new)
        )
    ]
    columns = []
    for runs in (base, new):
        values: dict[str, dict[str, None]] = {}
        for run in {run.id: run for run in runs}.values():
            state: dict[str, object] = {"host": run.host, "options": run.options}
            state |= mapping(run.environment.get("before"))
            after = mapping(run.environment.get("after"))
            state |= {name: after[name] for name in late if name in after}
            for name, text in _leaves(state):
                values.setdefault(name, {})[text] = None
        columns.append(values)
    names = dict.fromkeys([*columns[0], *columns[1]])
    found = []
    for name in names:
        there, here = (values.get(name, {}) for values in columns)
        if set(there) != set(here):
            found.append((name, _either(there), _either(here)))
    return found


def _leaves(state: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    """The environment's plain values under dotted names; at most some thousands of them."""
    stack: list[tuple[str, object]] = [(str(key), value) for key, value in state.items()][::-1]
    for _ in range(_MOST_LEAVES):
        if not stack:
            return
        name, value = stack.pop()
        if name in _OWN:
            continue
        if _PASSING.search(name.lower()) and not _LASTING.search(name.lower()):
            continue
        if isinstance(value, Mapping):
            stack.extend([(f"{name}.{key}", each) for key, each in value.items()][::-1])
        elif isinstance(value, list):
            stack.extend([(f"{name}[{i}]", each) for i, each in enumerate(value)][::-1])
        elif value is not None:
            yield name, _in_words(name, value)


def _in_words(name: str, value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if name.endswith("_hz"):
            return f"{value / 1e9:.3g} GHz"
        if name.endswith("_bytes"):
            return f"{value / 2**30:.3g} GiB"
    return str(value)


def _either(texts: Mapping[str, None]) -> str:
    return " or ".join(texts) if texts else "not recorded"
