"""What pytest says of a session that measures: before it, and when it is done.

This room knows what was measured and what became of it, and no pytest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.case.loading import Suite
from bench.machine import devices
from bench.machine.fields import printable
from bench.machine.folder import DEFAULT_FOLDER
from bench.stats.trust import OF_TIME
from bench.worker.memory import unweighed
from bench.worker.outcomes import Measured, Unmeasured, counted_reasons
from bench.worker.recorder import Recorder, Settings

_MOST_REMARKS = 8
_LONGEST_LINE = 10_000  # letters: all of a long reason, and not a gigabyte


def header(suite: Suite, settings: Settings) -> list[str]:
    """What is to be measured, where, and for how long at most."""
    missing = {
        name: reason
        for name in dict.fromkeys(case.device for case in suite.cases)
        if (reason := devices.explain_missing(name))
    }
    counts = Counter(case.device for case in suite.cases)
    where = " and ".join(f"{_cases(count)} on {name}" for name, count in counts.items())
    backends = ", ".join(dict.fromkeys(case.backend for case in suite.cases))
    lines = [f"lstm: suite {suite.name}: {where} ({backends})"]
    lines += [f"lstm: no {name}: {reason}" for name, reason in missing.items()]
    seconds = sum(
        settings.seconds or suite.seconds[case.group]
        for case in suite.cases
        if case.device not in missing
    )
    most = f"{math.ceil(seconds)} s" if seconds < 90 else f"{seconds / 60:.1f} minutes"
    lines.append(
        f"lstm: at most {most} of measuring, and what building and checking takes; "
        f"results go to {from_here(settings.folder)}"
    )
    return lines


def untrusted(recorder: Recorder) -> list[str]:
    """The cases that were measured and are INVALID: not for a doubtful time alone."""
    return [
        case
        for case, result in recorder.done.items()
        if isinstance(result, Measured) and any(each.code not in OF_TIME for each in result.reasons)
    ]


def summary(recorder: Recorder) -> Iterator[str]:
    """What came of the cases, and why it is not to be trusted."""
    measured = [result for result in recorder.done.values() if isinstance(result, Measured)]
    invalid = [result for result in measured if result.reasons]
    spoilt = len(untrusted(recorder))
    parts = [f"{spoilt} of them INVALID"] * bool(spoilt)
    parts += [f"{len(invalid) - spoilt} with a doubtful time"] * (len(invalid) > spoilt)
    tail = f", {' and '.join(parts)}:" if parts else ""
    yield f"{_cases(len(measured))} measured{tail}"
    for reason, count in counted_reasons(invalid).items():
        more = f" (and {count - 1} more like it)" if count > 1 else ""
        yield f"  {reason.text}{more}; {reason.advice}"
    remarks = Counter(text for result in measured for text in result.remarks)
    for text, count in remarks.most_common(_MOST_REMARKS):
        yield f"said by the code of {_cases(count)}: {text}"
    for why, count in unweighed(result.memory for result in measured).items():
        yield f"memory of {_cases(count)} {why}"
    others = [result for result in recorder.done.values() if isinstance(result, Unmeasured)]
    words = {"not_measured": "not measured", "refused": "refused by their backend"}
    for (outcome, why, advice), count in Counter(
        (each.outcome, each.reason, each.advice) for each in others
    ).items():
        told = f"{why}; {advice}" if advice else why
        yield f"{_cases(count)} {words.get(outcome, outcome)}: {told}"


def plain(text: str) -> str:
    """Text for a terminal: a backend's reasons and a suite's names may hold what one acts on."""
    return "\n".join(printable(line, _LONGEST_LINE) for line in text.split("\n"))


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"


def from_here(path: Path) -> str:
    """A path as one would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def report_argument(recorder: Recorder) -> str:
    """What is to stand behind bench.report so that it reads these results."""
    if recorder.settings.folder == Path.cwd() / DEFAULT_FOLDER:
        return ""
    assert recorder.path is not None
    return f" {from_here(recorder.path)}"
