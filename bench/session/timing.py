"""Measure an implementation that ``bench.check`` accepted, next to the built-in backends.

The worker processes know backends by their names. So the target becomes a backend of another
package for as long as it is measured: a private folder on their path holds a module and its entry
point.
"""

import argparse
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.case.cases import Case, toml
from bench.cli.progress import read_results
from bench.machine import environment
from bench.machine.reading import expand_path
from bench.machine.writing import write_bytes
from bench.records.schema import Results
from bench.records.selection import select_cases
from bench.session.query import FOLDER, SECONDS, run_suite, suite_name, usual_backends
from bench.verdicts.sections import Section, build
from lstm_impl.checking.target import FILES
from lstm_impl.names import BUILT_IN, ENTRY_POINT_GROUP

MODULE = "lstm_benchmark_checked_target"

SOURCE = '''\
"""The implementation that `python -m bench.check --time` measures."""

import json

from lstm_impl.checking.timed import timed_backend

CheckedTarget = timed_backend(**json.loads({arguments!r}))
'''


def backend_name(target: str) -> str:
    """Return the name of a target's backend in results: that of its file and of its function."""
    module, colon, function = target.rpartition(":")
    place = module if colon else function
    path = Path(place)
    stem = path.stem if path.suffix in (".py", *FILES) else path.name
    words = re.findall(r"[A-Za-z0-9]+", f"{stem} {function if colon else ''}")
    name = "_".join(words) or "target"
    return f"target_{name}" if name in BUILT_IN or name[0].isdigit() else name


def absolute_target(target: str) -> str:
    """Return a target whose file's path does not depend on the current folder."""
    module, colon, function = target.rpartition(":")
    if colon and module.endswith(".py"):
        return f"{Path(module).resolve()}:{function}"
    return str(Path(target).resolve()) if Path(target).exists() else target


@contextmanager
def installed_target(name: str, arguments: Mapping[str, object]) -> Iterator[dict[str, str]]:
    """Make the target a backend of other processes, and yield their environment variables.

    Parameters
    ----------
    name
        The backend's name.
    arguments
        Those of ``lstm_impl.checking.timed.timed_backend``, as plain data.
    """
    with tempfile.TemporaryDirectory(prefix="lstm-checked-") as folder:
        info = Path(folder) / f"{MODULE}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(
            f"[{ENTRY_POINT_GROUP}]\n{name} = {MODULE}:CheckedTarget\n"
        )
        source = SOURCE.format(arguments=json.dumps(arguments))
        (Path(folder) / f"{MODULE}.py").write_text(source, encoding="utf-8")
        path = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
        yield {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def write_suite(case: Case, name: str, results: Path) -> Path:
    """Write the suite of a target and of the usual backends next to the results; return its path.

    Raises ResultWriteError.
    """
    path = results / FOLDER / f"{name}-{suite_name(case)}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    more = {"name": "checked", "summary": f"{name}, {suite_name(case)}"}
    text = toml(
        "Written by python -m bench.check --time, which alone knows the name of its backend.",
        case,
        [],
        seconds=SECONDS,
        backends=[name, *usual_backends(case)],
        **more,
    )
    write_bytes(path, text.encode())
    return path


def measure_target(
    case: Case,
    name: str,
    arguments: Mapping[str, object],
    options: argparse.Namespace,
    results: str,
) -> int:
    """Measure a target next to the usual backends, and return the exit code of ``bench.run``."""
    suite = write_suite(case, name, expand_path(results))
    with installed_target(name, arguments) as variables:
        return run_suite(suite, options, options.budget, variables)


def newest_session(case: Case, name: str, results: str) -> Section | None:
    """Return the newest session of this machine that measured the target at the case.

    Returns None if the target has no time in any session.
    """
    folder = expand_path(results)
    files = sorted((*folder.glob("*.json"), *folder.glob("*.jsonl")))
    found = read_results(files, tell=False) if files else Results((), ())
    machine = environment.read().machine_id
    chosen = [
        select_cases(file, lambda each: each.group == case.group)
        for file in found.files
        if file.run.machine_id == machine
    ]
    measured = {each.case.backend for file in chosen for each in file.measurements}
    if name not in measured:
        return None
    for section in build(Results(tuple(chosen), ()), baseline=name).sections:  # newest first
        if any(row.result.measured and row.case.backend == name for row in section.rows):
            return section
    return None
