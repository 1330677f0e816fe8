"""Attack with mutated files of every kind: each is read, or refused in one line.

There may be no other exception, no warning and no hang; the line names the file. Read files are
then reported, since accepted values must not fail later.
"""

import contextlib
import json
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import case as suites
from bench import records
from bench.cli.options import MeasurementOptions
from bench.machine.fields import ResultError
from bench.records import maps
from bench.records.journal import Journal
from bench.render.data import as_json
from bench.session import session
from bench.session.session import Goal
from bench.verdicts.sections import NothingToReportError, build
from tests.attack.trials import Attack, Hang, limited
from tests.bench.made_results import as_text
from tests.bench.mutations import BYTES, change_bytes, change_json

KIND = "mutations"
TRIALS = 5_000
GOLDEN = Path(__file__).resolve().parents[1] / "bench" / "golden"


@dataclass(frozen=True)
class Source:
    """what: for the counts. name: of the file, below the folder. data: its contents. read: reads
    the changed file, given the folder and its path; returns the errors."""

    what: str
    name: str
    data: bytes
    read: Callable[[Path, Path], list[str]]


def _refused(read: Callable[[], object], *errors: type[Exception]) -> list[str]:
    try:
        read()
    except errors as error:
        return [str(error)]
    return []


def read_results(folder: Path, path: Path) -> list[str]:
    with contextlib.suppress(ResultError):
        records.read(path)
    found = records.collect([path])
    records.latest(folder)
    records.unfinished(folder)
    if found.files:
        with contextlib.suppress(NothingToReportError):
            report = build(found)
            as_text(report)
            json.loads(as_json(report))
    return list(map(str, found.errors))


def read_map(folder: Path, path: Path) -> list[str]:
    maps.collect([path])
    return _refused(lambda: maps.read(path), ResultError)


def read_session(folder: Path, path: Path) -> list[str]:
    def read() -> None:
        list(session.load(folder).files(folder))

    return _refused(read, session.SessionError)


def read_suite(folder: Path, path: Path) -> list[str]:
    return _refused(lambda: suites.load(str(path)), suites.SuiteError)


def read_cases(folder: Path, path: Path) -> list[str]:
    smoke = suites.load("smoke")
    return _refused(lambda: suites.load_cases(path, smoke), suites.SuiteError)


def sources(folder: Path) -> list[Source]:
    """Return a file of every kind, in today's and in older forms."""
    smoke = suites.load("smoke")
    of_session = session.Session(
        id="s-1",
        suite_name="smoke",
        cases=smoke.cases,
        goal=Goal(0.02, None),
        budget=900.0,
        started="2025-01-31T12:00:00+00:00",
        options=MeasurementOptions(suite="smoke", seed=0, case_limit=120.0),
    )
    of_session.save(folder)
    written = (folder / session.FOLDER / "s-1.session.json").read_bytes()
    with Journal(folder / "j.journal.jsonl") as journal:
        journal.start(records.read(GOLDEN / "replicate-1.json").run)
    lines = (GOLDEN / "cut.journal.jsonl").read_bytes()
    made = [Source("sessions", f"{session.FOLDER}/s-1.session.json", written, read_session)]
    for path in sorted(GOLDEN.iterdir()):
        learned = path.name.startswith("learning")
        journal_file = path.name.endswith(".jsonl")
        what = "maps" if learned else "journals" if journal_file else "results"
        made.append(
            Source(what, path.name, path.read_bytes(), read_map if learned else read_results)
        )
    made.append(
        Source(
            "journals", "a.journal.jsonl", (folder / "j.journal.jsonl").read_bytes(), read_results
        )
    )
    made.append(Source("journals", "cut.journal.jsonl", lines, read_results))
    for path in suites.available().values():
        made.append(Source("suites", path.name, path.read_bytes(), read_suite))
    listed = json.dumps([case.to_dict() for case in smoke.cases]).encode()
    ids = json.dumps([case.id for case in smoke.cases]).encode()
    made += [Source("lists of cases", "c.cases.json", each, read_cases) for each in (listed, ids)]
    return made


_WORDS = [
    "0",
    "-1",
    "1e400",
    "nan",
    "true",
    '""',
    "[]",
    "[[]]",
    "{ }",
    '"x"',
    '"[link=x]y"',
    "10" * 9,
]


def change_toml(data: bytes, draw: random.Random) -> bytes:
    """Replace a value after an equals sign, or move or double a line."""
    lines = data.split(b"\n")
    at = draw.randrange(len(lines))
    key, equals, _ = lines[at].partition(b"=")
    if equals and draw.random() < 0.7:
        lines[at] = key + b"= " + draw.choice(_WORDS).encode()
    elif draw.random() < 0.5:
        lines.insert(draw.randrange(len(lines) + 1), lines[at])
    else:
        del lines[at]
    return b"\n".join(lines)


def changed(source: Source, draw: random.Random) -> tuple[str, bytes]:
    if draw.random() < 0.5:
        how = draw.choice(BYTES)
        return how, change_bytes(source.data, how, draw)
    if source.name.endswith(".toml"):
        return "other values", change_toml(source.data, draw)
    return "other values", change_json(source.data, draw)


def wrong_with(source: Source, folder: Path, data: bytes) -> Iterator[str]:
    path = folder / source.name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    try:
        with limited(), warnings.catch_warnings():
            warnings.simplefilter("error")
            message = source.read(folder, path)
    except (Exception, Hang) as error:
        yield f"{type(error).__name__}: {str(error)[:200]!r}"
        return
    finally:
        path.unlink(missing_ok=True)
    for line in message:
        if not line.isprintable():
            yield f"its refusal is no plain line: {line[:200]!r}"
        if path.name not in line:
            yield f"its refusal does not name the file: {line[:200]!r}"


def test_commands_mutated_file_is_read_or_refused_in_one_line(
    attack: Attack, tmp_path: Path
) -> None:
    found = sources(tmp_path / "made")
    kinds = sorted({each.what for each in found})
    folder, draw = tmp_path / "changed", attack.random(KIND)
    folder.mkdir()

    def attempt(number: int) -> Iterator[str]:
        kind = draw.choice(kinds)
        source = draw.choice([each for each in found if each.what == kind])
        how, data = changed(source, draw)
        attack.count(KIND, source.what)
        for line in wrong_with(source, folder, data):
            kept = tmp_path / f"kept-{number}-{Path(source.name).name}"
            kept.write_bytes(data)
            yield f"{source.name}, {how}, kept as {kept}: {line}"

    attack.run(KIND, range(attack.times(TRIALS)), attempt, side_by_side=1)
