"""Find and read result files.

A result file is pytest-benchmark's JSON with a part of our own. During a run it is a journal with
one line for each finished case, from which the JSON file is made at the end. Files may come from
anywhere. Each value is therefore checked (``records.schema``), and an error names the file and the
field in one line. Files of a URL are copied first (``machine.remote``) and reported under their
URL.

A session is what one command measured on one machine, or on machines of one kind. If a run uses
machines of several kinds, the names of its sessions begin with the name of the run.
"""

import contextlib
import gc
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import bench.records.schema as schema
from bench.machine import reading, remote
from bench.machine.fields import Field, ResultError, file_error, printable
from bench.machine.writing import JOURNAL_SUFFIX, read_writer, running_writer, write
from bench.records.digest import CHANGED, KEY, MARK, is_as_written, is_changed, with_digest

# It lists the digest and the tier of each attested file; bench.submit --check writes it.
TIER_LIST = "tiers.csv"

TIER_REGISTRY = reading.SHARED / "results" / "community" / TIER_LIST
"""The project's own list.

A list that comes with downloaded files may claim anything, so no other list is read.
"""

AnyPath = str | os.PathLike[str]


def read(path: AnyPath) -> schema.ResultFile:
    """Read the run in a result file or a ``.jsonl`` journal.

    Raises a ResultError that names the file and the field for invalid contents.
    """
    path = Path(path)
    try:
        return _read_journal(path) if _is_journal(path) else _read_json(path)
    except RecursionError:
        raise file_error(path, "is nested too deeply to be a result file") from None


def collect(
    paths: Iterable[AnyPath], watch: Callable[[Sequence[Path]], Iterable[Path]] = iter
) -> schema.Results:
    """Read the runs in these files, folders and URLs. A run that is found twice counts once.

    A folder stands for the result files directly in it, or for those in its ``reference`` folder if
    it has none. A journal is read only if its JSON file is missing or cannot be read.

    watch: yields the same files again, in order to show progress.
    """
    errors: list[ResultError] = []
    notes: list[str] = []
    files: dict[str, schema.ResultFile] = {}
    seen: set[Path] = set()
    ordered: list[Path] = []
    for each in map(Path, local_paths(paths, errors)):
        # Unlike a method of Path, this is False for a name that is too long or contains a NUL.
        folder = os.path.isdir(each)  # noqa: PTH112
        found = result_files(each) if folder else [each]
        if not found:
            errors.append(file_error(each, "holds no result files"))
        ordered += found
    # JSON files come first, so that a journal that is named together with its JSON file is
    # recognized as the same run.
    ordered.sort(key=_is_journal)
    # Reading creates no cycles, and searching for them would take a third of the time for 100,000
    # cases.
    collects = gc.isenabled()
    gc.disable()
    try:
        for given in watch(ordered):
            file = None
            for path in (given, _spare(given)):
                if path is None or path.absolute() in seen:
                    break
                seen.add(path.absolute())
                try:
                    file = read(path)
                    break
                except ResultError as error:
                    errors.append(error)
            if file is None:
                continue
            first = files.setdefault(file.run.id, file)
            # A copy of a run is not a second process.
            if first is not file and json_path(first.path) != json_path(file.path):
                place, other = printable(str(file.path)), printable(str(first.path))
                notes.append(f"{place} holds the same run as {other}; the run counts once")
    finally:
        if collects:
            gc.enable()
    notes += [each for file in files.values() for each in file.notes]
    warnings = [each for file in files.values() for each in file.warnings]
    return schema.Results(
        tuple(files.values()),
        tuple(ResultError(remote.replace_paths(str(error))) for error in errors),
        tuple(map(remote.replace_paths, notes)),
        tuple(map(remote.replace_paths, warnings)),
    )


def local_paths(paths: Iterable[AnyPath], errors: list[ResultError]) -> list[AnyPath]:
    """Return the paths, with local copies in place of URLs, and append the errors to ``errors``.

    If the usual folder of the reference results does not exist here, the path of the installed
    package replaces it.
    """
    found: list[AnyPath] = []
    for path in paths:
        if not reading.is_url(path):
            usual = Path(path) == Path(reading.DEFAULT_FOLDER, reading.REFERENCE)
            found.append(reading.SHARED / path if usual and not Path(path).exists() else path)
            continue
        try:
            copy = remote.fetch_copy(str(path), result_names)
            if not copy.errors and not _holds_results(copy):
                with contextlib.suppress(remote.PlaceError):
                    instead = remote.fetch_copy(
                        f"{str(path).rstrip('/')}/{reading.REFERENCE}", result_names
                    )
                    if instead.errors or _holds_results(instead):
                        copy = instead
        except remote.PlaceError as error:
            errors.append(error)
            continue
        errors += copy.errors
        # If all files are missing, the errors say enough.
        if _holds_results(copy) or not copy.errors:
            found.append(copy.path)
    return found


def _holds_results(copy: remote.LocalCopy) -> bool:
    return copy.path.is_file() or any(result_names(each.name for each in copy.path.iterdir()))


def latest(folder: AnyPath = reading.DEFAULT_FOLDER) -> list[Path]:
    """Return the files of the newest run in a folder, or else in its ``reference`` folder.

    Files that cannot be read are included, because the newest run may be one of them. Its error is
    then shown.
    """
    found = list(map(_summary, result_files(Path(folder))))
    runs = [each.run for each in found if each.run is not None]
    newest = {run_name(max(runs, key=lambda run: run.started).session)} if runs else set()
    return [each.path for each in found if each.run is None or run_name(each.run.session) in newest]


@dataclass(frozen=True)
class DefaultResults:
    """The files that a command reads by default, and newer files that it leaves out.

    empty: the files of the newest run, if it has no measured case. foreign: the files of the newest
    run of another machine, if ``paths`` holds results of this machine.
    """

    paths: tuple[AnyPath, ...]
    empty: tuple[Path, ...] = ()
    foreign: tuple[Path, ...] = ()


def newest_measured(folder: AnyPath, machine: str) -> DefaultResults:
    """Return the files of the newest run in a folder that has a measured case.

    Runs of this machine come before runs of other machines. The runs of the folder's ``reference``
    come last. If no run has a measured case, the newest run is returned. Files that cannot be read
    are included, because the newest run may be one of them. Its error is then shown.

    machine: the id of this machine. A run on machines of several kinds counts as this machine's,
    because the user started it from here.
    """
    empty: tuple[Path, ...] = ()
    unread: tuple[Path, ...] = ()
    for place in (Path(folder), Path(folder, reading.REFERENCE)):
        found = list(map(_summary, _files_inside(place)))
        unread += tuple(each.path for each in found if each.run is None)
        runs: dict[str, list[_Summary]] = {}
        for each in found:
            if each.run is not None:
                runs.setdefault(run_name(each.run.session), []).append(each)
        newest = sorted(runs.values(), key=_last_start, reverse=True)
        if newest and not _is_measured(newest[0]):
            empty = empty or _paths(newest[0])
        if measured := [each for each in newest if _is_measured(each)]:
            own = [each for each in measured if _is_own(each, machine)]
            chosen = (own or measured)[0]
            foreign = () if chosen is measured[0] else _paths(measured[0])
            return DefaultResults((*unread, *_paths(chosen)), empty, foreign)
    return DefaultResults((*unread, *empty), empty)


@dataclass(frozen=True)
class _Summary:
    """A result file without its cases.

    run: None if the file cannot be read.
    """

    path: Path
    run: schema.Run | None = None
    measured: bool = False


def _last_start(files: Sequence[_Summary]) -> datetime:
    return max(each.run.started for each in files if each.run is not None)


def _is_measured(files: Sequence[_Summary]) -> bool:
    return any(each.measured for each in files)


def _is_own(files: Sequence[_Summary], machine: str) -> bool:
    runs = [each.run for each in files if each.run is not None]
    return any(run.machine_id == machine or run_name(run.session) != run.session for run in runs)


def _paths(files: Sequence[_Summary]) -> tuple[Path, ...]:
    return tuple(each.path for each in files)


def new_session_name(now: datetime | None = None) -> str:
    """Return a unique name for a session. Names sort by time."""
    return f"{now or datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def session_of_kind(run: str, kind: str) -> str:
    """Return the name of a run's session on one kind of machine."""
    return f"{run}-{kind}"


def run_name(session: str) -> str:
    """Return the name of a session's run. With one kind of machine, the two names are equal."""
    found = re.fullmatch(r"(\d{8}T\d{6}Z-[0-9a-f]{6})-.+", session, re.DOTALL)
    return found[1] if found else session


def default_results(folder: str, machine: str) -> DefaultResults:
    """Return ``newest_measured`` for the folder or URL that a command reads by default.

    If some file of a URL cannot be copied, return the URL, because reading it reports the errors.
    """
    errors: list[ResultError] = []
    here = local_paths([folder], errors)
    return DefaultResults((folder,)) if errors else newest_measured(here[0], machine)


def journal_path(path: AnyPath) -> Path:
    """Return the journal of a JSON result file."""
    path = Path(path)
    return path.with_name(path.name.removesuffix(".json") + JOURNAL_SUFFIX)


def json_path(journal: AnyPath) -> Path:
    """Return the JSON result file of a journal."""
    journal = Path(journal)
    for suffix in (JOURNAL_SUFFIX, ".jsonl"):
        if journal.name.endswith(suffix):
            return journal.with_name(journal.name.removesuffix(suffix) + ".json")
    return journal


def journal_to_json(
    journal: AnyPath,
    machine_info: Mapping[str, object] | None = None,
    commit_info: Mapping[str, object] | None = None,
) -> Path:
    """Write the JSON result file of a journal, finished or not, and return its path.

    The journal stays.

    machine_info, commit_info: what pytest-benchmark records. Raises ResultError if the journal
    cannot be read, and ResultWriteError if the file cannot be written.
    """
    journal = Path(journal)
    run = read(journal).run
    lines, _ = _journal_lines(journal)
    writer = read_writer(journal)
    version = ""
    with contextlib.suppress(metadata.PackageNotFoundError):
        version = metadata.version("pytest-benchmark")
    document = {
        # The parts are in the order of the canonical form, which ``is_as_written`` needs.
        "benchmarks": [line["benchmark"].value for line in lines if line["benchmark"].given],
        "commit_info": commit_info or {},
        "datetime": (run.finished or run.started).isoformat(),
        "lstm": {
            "schema": schema.SCHEMA,
            MARK: True,
            "run": run.to_dict(),
            "writer": None if writer is None else writer.to_dict(),
            "outcomes": [line["outcome"].value for line in lines if line["outcome"].given],
        },
        "machine_info": machine_info or {},
        "version": version,
    }
    path = json_path(journal)
    write(path, with_digest(document))
    return path


def _is_journal(path: Path) -> bool:
    return path.name.endswith(".jsonl")


def _spare(path: Path) -> Path | None:
    """Return the journal to read if a JSON file cannot be read."""
    journal = journal_path(path)
    return journal if not _is_journal(path) and os.path.isfile(journal) else None  # noqa: PTH113


def result_files(
    folder: Path, wanted: Callable[[Path], bool] = lambda path: not reading.has_no_cases(path)
) -> list[Path]:
    """Return the result files directly in a folder, or those in its ``reference`` if it has none.

    wanted: selects the kind of file. By default these are files of cases; ``maps`` and ``study``
    read the other kinds.
    """
    places = (folder, folder / reading.REFERENCE)
    return next(filter(None, (_files_inside(place, wanted) for place in places)), [])


def _files_inside(
    folder: Path, wanted: Callable[[Path], bool] = lambda path: not reading.has_no_cases(path)
) -> list[Path]:
    """Return the result files directly in a folder, or none if it cannot be listed."""
    try:
        names = result_names(path.name for path in folder.iterdir())
    except (OSError, ValueError):
        return []
    return [folder / name for name in names if wanted(folder / name)]


def result_names(there: Iterable[str]) -> list[str]:
    """Return the names of results in a folder.

    A journal counts only if its JSON file is missing.
    """
    names = set(there)
    # A name that starts with a dot belongs to a file that is being written, or to another program.
    return [
        name
        for name in sorted(names)
        if not name.startswith(".")
        and (
            name.endswith(".json")
            or (name.endswith(JOURNAL_SUFFIX) and json_path(name).name not in names)
        )
    ]


def _summary(path: Path) -> _Summary:
    """Summarize a result file, or else its journal."""
    for each in (path, _spare(path)):
        if each is not None:
            with contextlib.suppress(ResultError, RecursionError):
                return _summarise(each, path)
    return _Summary(path)


def _summarise(path: Path, name: Path) -> _Summary:
    """Read the run of a file, and its cases up to the first measured one."""
    if _is_journal(path):
        lines = _journal_lines(path)[0]
        run = schema.parse_run(lines[0]["run"])
        benchmarks = [line["benchmark"] for line in lines[1:] if line["benchmark"].given]
    else:
        document = _document(path, _bytes(path))
        run = schema.parse_run(document["lstm"]["run"])
        benchmarks = document["benchmarks"].items()
    try:
        found = (schema.parse_benchmark(each, run) for each in benchmarks)
        measured = any(isinstance(each, schema.Measurement) for each in found)
    except ResultError:
        measured = True  # The code that reads the cases reports what is wrong.
    return _Summary(name, run, measured)


def _read_json(path: Path) -> schema.ResultFile:
    data = _bytes(path)
    document = _document(path, data)
    ours = document["lstm"]
    run = schema.parse_run(ours["run"])
    is_whole = is_as_written(data) or not is_changed(document.mapping())
    if ours["submitted"].given:
        run = replace(run, tier=_tier(document[KEY].value) if is_whole else schema.FILE)
    warnings = [] if is_whole else [f"{printable(str(path))} {CHANGED}"]
    notes = list(warnings)
    found = _result_file(path, run, document["benchmarks"].items(), ours["outcomes"].items(), notes)
    # The part of pytest-benchmark may have any form.
    info, commit = document["commit_info"].value, ""
    if isinstance(info, dict) and isinstance(info.get("id"), str):
        commit = f"{info['id']}{' with changes' if info.get('dirty') is True else ''}"
    return replace(found, commit=commit, warnings=tuple(warnings))


def _tier(digest: object) -> str:
    """Return the tier that the project's own list gives these contents."""
    try:
        listed = reading.regular_bytes(TIER_REGISTRY).splitlines()
    except ResultError:
        return schema.FILE
    return next(
        (tier for tier in schema.TIERS if f"{digest},{tier}".encode() in listed), schema.FILE
    )


def _document(path: Path, data: bytes) -> Field:
    """Return the contents of a JSON file of this suite."""
    document = Field(path, "", reading.parse_json(path, data))
    if not isinstance(document.value, dict) or "lstm" not in document.value:
        made = "pytest --benchmark-only and python -m bench.run make such files"
        raise file_error(path, f"holds no results of this suite ({made})")
    schema.check_schema(document["lstm"])
    return document


def _read_journal(path: Path) -> schema.ResultFile:
    lines, notes = _journal_lines(path)
    if lines[0]["schema"].given:
        schema.check_schema(lines[0])
    run = schema.parse_run(lines[0]["run"])
    kinds = ("benchmark", "outcome", "begun", "finished")
    entries: dict[str, list[Field]] = {kind: [] for kind in kinds}
    for line in lines[1:]:
        kind = line.single_key(*entries)
        if kind == "finished":
            run = schema.parse_finish(run, line)
        entries[kind].append(line[kind])
    if run.finished is None:
        text = "holds an unfinished run; its finished cases are read"
        if process := running_writer(path):
            text = f"is still being written by {process}; its finished cases are read"
        else:
            text += _unfinished_cases(entries)
        notes.append(f"{printable(str(path))} {text}")
    return _result_file(path, run, entries["benchmark"], entries["outcome"], notes)


def _unfinished_cases(entries: Mapping[str, list[Field]]) -> str:
    """Name the cases on which a process worked when it died, if its journal tells."""
    begun = entries["begun"][-1].value if entries["begun"] else None
    done = {field["case_id"].value for field in entries["outcome"]}
    done |= {field["extra_info"]["lstm"]["case_id"].value for field in entries["benchmark"]}
    names = [each for each in begun if isinstance(each, str)] if isinstance(begun, list) else []
    names = [printable(each, 120) for each in names if each not in done]
    if not names:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f" (its process ended while it worked on {names[0]}{more})"


def unfinished(folder: str | os.PathLike[str]) -> list[str]:
    """Return a note on each journal in a folder whose process died, the newest first."""
    found: list[tuple[float, list[str]]] = []
    for path in Path(folder).glob(f"*{JOURNAL_SUFFIX}"):
        with contextlib.suppress(ResultError, OSError):
            file = read(path)
            if file.run.finished is None and not running_writer(path):
                found.append((path.stat().st_mtime, list(file.notes)))
    return [note for _, notes in sorted(found, reverse=True) for note in notes]


def _journal_lines(path: Path) -> tuple[list[Field], list[str]]:
    return reading.journal_lines(path, _bytes(path))


def _result_file(
    path: Path, run: schema.Run, benchmarks: list[Field], outcomes: list[Field], notes: list[str]
) -> schema.ResultFile:
    name = printable(str(path))
    seen: dict[str, str] = {}
    measured: list[schema.Measurement] = []
    others: list[schema.Outcome] = []
    for field in benchmarks:
        item = schema.parse_benchmark(field, run)
        if item.case.id in seen:
            text = f"each case once in a run; the case is already at {seen[item.case.id]}"
            raise field["extra_info"]["lstm"]["case_id"].error(text)
        seen[item.case.id] = field.name
        if isinstance(item, schema.Measurement):
            measured.append(item)
        else:
            others.append(item)
            notes.append(f"{name}: {field.name} did not pass its gate, so its time is not used")
    for field in outcomes:
        outcome = schema.parse_outcome(field, run)
        if outcome.case.id in seen:
            text = f"the same case is at {seen[outcome.case.id]}"
            notes.append(f"{name}: {field.name} ({outcome.outcome}) is left out; {text}")
            continue
        seen[outcome.case.id] = field.name
        others.append(outcome)
    return schema.ResultFile(path, run, tuple(measured), tuple(others), tuple(notes))


def _bytes(path: Path) -> bytes:
    data = reading.regular_bytes(path)
    if not data.strip():
        raise file_error(path, "is empty")
    return data
