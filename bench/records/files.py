"""Find and read result files.

A result file is pytest-benchmark's JSON with ours next to it; while a run goes on it is a journal,
one line a finished case, from which the JSON is made at the end. What is read comes from anywhere,
so nothing in it is believed before it is checked, and whatever is wrong with it is reported in one
line that names the file and the field. ``records.schema`` knows what is in the files. What a URL
leads to is copied first (``machine.remote``), and reported under its URL.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from bench.machine import remote
from bench.machine.fields import Field, ResultError, error_at, printable
from bench.machine.reading import (
    DEFAULT_FOLDER,
    REFERENCE,
    holds_no_cases,
    is_url,
    journal_lines,
    parse_json,
    regular_bytes,
)
from bench.machine.writing import JOURNAL_SUFFIX, living, write, writer_of
from bench.records.digest import CHANGED, MARK, changed, is_as_written, with_digest
from bench.records.naming import run_of
from bench.records.schema import (
    SCHEMA,
    Measurement,
    Outcome,
    ResultFile,
    Results,
    Run,
    check_schema,
    parse_benchmark,
    parse_finish,
    parse_outcome,
    parse_run,
)

AnyPath = str | os.PathLike[str]


def read(path: AnyPath) -> ResultFile:
    """The run in a result file or, if the name ends in ``.jsonl``, in a journal.

    Raises ResultError, whatever the bytes are.
    """
    path = Path(path)
    try:
        return _read_journal(path) if _is_journal(path) else _read_json(path)
    except RecursionError:
        raise error_at(path, "is nested too deeply to be a result file") from None


def collect(
    paths: Iterable[AnyPath],
    watch: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Results:
    """Every run in these files and folders, here or elsewhere by their URLs, each once.

    A folder stands for the result files directly in it, or in its ``reference`` folder if there
    are none. A journal is read only where its JSON is not there or cannot be read.

    watch: gets the files and gives them back one by one, as they are read.
    """
    errors: list[ResultError] = []
    notes: list[str] = []
    files: dict[str, ResultFile] = {}
    seen: set[Path] = set()
    ordered: list[Path] = []
    for each in map(Path, local_paths(paths, errors)):
        # Unlike a Path's own method, false for a name too long, or with a NUL in it.
        folder = os.path.isdir(each)  # noqa: PTH112
        found = in_folder(each) if folder else [each]
        if not found:
            errors.append(error_at(each, "holds no result files"))
        ordered += found
    # JSON first: a journal named next to its JSON then turns out to hold a run that is there.
    ordered.sort(key=_is_journal)
    # Reading makes no cycles; with a hundred thousand cases, searching for them takes a third of
    # the time.
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
                notes.append(f"{place} holds the same run as {other}; it is counted once")
    finally:
        if collects:
            gc.enable()
    notes += [each for file in files.values() for each in file.notes]
    warnings = [each for file in files.values() for each in file.warnings]
    return Results(
        tuple(files.values()),
        tuple(ResultError(remote.named(str(error))) for error in errors),
        tuple(map(remote.named, notes)),
        tuple(map(remote.named, warnings)),
    )


def local_paths(paths: Iterable[AnyPath], errors: list[ResultError]) -> list[AnyPath]:
    """Return the paths, with copies in place of URLs.

    errors: gets one for each file that there is no copy of.
    """
    found: list[AnyPath] = []
    for path in paths:
        if not is_url(path):
            found.append(path)
            continue
        try:
            copy = remote.fetched(str(path), result_names)
            if not copy.errors and not _holds_results(copy):
                with contextlib.suppress(remote.PlaceError):
                    instead = remote.fetched(f"{str(path).rstrip('/')}/{REFERENCE}", result_names)
                    if instead.errors or _holds_results(instead):
                        copy = instead
        except remote.PlaceError as error:
            errors.append(error)
            continue
        errors += copy.errors
        # Of one all of whose files are missing the errors have said so.
        if _holds_results(copy) or not copy.errors:
            found.append(copy.path)
    return found


def _holds_results(copy: remote.Fetched) -> bool:
    return copy.path.is_file() or any(result_names(each.name for each in copy.path.iterdir()))


def latest(folder: AnyPath = DEFAULT_FOLDER) -> list[Path]:
    """The files of the newest run directly in a folder, by when its processes started.

    Of a fleet that is all of its sessions (``naming``). Files that cannot be read come with them,
    since one of them may have been the newest: the reader's error should be seen. If the folder
    holds nothing, the same of its ``reference`` folder; empty if that holds nothing either.
    """
    found: list[tuple[Path, Run | None]] = []
    for path in in_folder(Path(folder)):
        run = _run_or_none(path)
        if run is None and (spare := _spare(path)):
            run = _run_or_none(spare)
        found.append((path, run))
    runs = [run for _, run in found if run is not None]
    newest = {run_of(max(runs, key=lambda run: run.started).session)} if runs else set()
    return [path for path, run in found if run is None or run_of(run.session) in newest]


def by_default(folder: str) -> list[Path] | list[str]:
    """What is read where nothing is named: ``latest`` of a folder, here or elsewhere by its URL.

    The URL itself where not all of it can be had: reading it then reports the errors.
    """
    errors: list[ResultError] = []
    here = local_paths([folder], errors)
    return [folder] if errors else latest(here[0])


def journal_path(path: AnyPath) -> Path:
    """The journal that belongs to a JSON result file."""
    path = Path(path)
    return path.with_name(path.name.removesuffix(".json") + JOURNAL_SUFFIX)


def json_path(journal: AnyPath) -> Path:
    """The JSON result file that is made from a journal."""
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
    """Make the JSON result file from a journal, finished or not, and return its path.

    machine_info, commit_info: pytest-benchmark's own. The journal stays where it is.

    Raises ResultError if the journal cannot be read, ResultWriteError if the file cannot be
    written.
    """
    journal = Path(journal)
    run = read(journal).run
    lines, _ = _journal_lines(journal)
    writer = writer_of(journal)
    version = ""
    with contextlib.suppress(metadata.PackageNotFoundError):
        version = metadata.version("pytest-benchmark")
    document = {
        # In the order of the canonical form, so that the digest is that of the bytes.
        "benchmarks": [line["benchmark"].value for line in lines if line["benchmark"].given],
        "commit_info": commit_info or {},
        "datetime": (run.finished or run.started).isoformat(),
        "lstm": {
            "schema": SCHEMA,
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
    """The journal to read where a JSON file cannot be."""
    journal = journal_path(path)
    return journal if not _is_journal(path) and os.path.isfile(journal) else None  # noqa: PTH113


def in_folder(
    folder: Path, wanted: Callable[[Path], bool] = lambda path: not holds_no_cases(path)
) -> list[Path]:
    """The files of results directly in a folder, or in its ``reference`` folder if there are none.

    wanted: of which kind; by default those of cases (``maps`` and ``study`` read the others).
    """
    for place in (folder, folder / REFERENCE):
        try:
            names = result_names(path.name for path in place.iterdir())
        except (OSError, ValueError):
            continue
        if found := [place / name for name in names if wanted(place / name)]:
            return found
    return []


def result_names(there: Iterable[str]) -> list[str]:
    """Those of a folder's names that are of results, journals only where their file is not."""
    names = set(there)
    # A name that starts with a dot is a file still being written, or none of ours.
    return [
        name
        for name in sorted(names)
        if not name.startswith(".")
        and (
            name.endswith(".json")
            or (name.endswith(JOURNAL_SUFFIX) and json_path(name).name not in names)
        )
    ]


def _run_or_none(path: Path) -> Run | None:
    """The run alone, its cases unchecked, or None if that much cannot be read."""
    try:
        if _is_journal(path):
            return parse_run(_journal_lines(path)[0][0]["run"])
        return parse_run(_document(path, _bytes(path))["lstm"]["run"])
    except (ResultError, RecursionError):
        return None


def _read_json(path: Path) -> ResultFile:
    data = _bytes(path)
    document = _document(path, data)
    ours = document["lstm"]
    run = parse_run(ours["run"])
    is_whole = is_as_written(data) or not changed(document.mapping())
    warnings = [] if is_whole else [f"{printable(str(path))} {CHANGED}"]
    notes = list(warnings)
    found = _result_file(path, run, document["benchmarks"].items(), ours["outcomes"].items(), notes)
    # pytest-benchmark's own part: in a form that it does not have now, it is no error.
    info, commit = document["commit_info"].value, ""
    if isinstance(info, dict) and isinstance(info.get("id"), str):
        commit = f"{info['id']}{' with changes' if info.get('dirty') is True else ''}"
    return replace(found, commit=commit, warnings=tuple(warnings))


def _document(path: Path, data: bytes) -> Field:
    """The whole of a JSON file that is one of ours."""
    document = Field(path, "", parse_json(path, data))
    if not isinstance(document.value, dict) or "lstm" not in document.value:
        made = "they are made by pytest --benchmark-only"
        raise error_at(path, f"holds no results of this suite ({made})")
    check_schema(document["lstm"]["schema"])
    return document


def _read_journal(path: Path) -> ResultFile:
    lines, notes = _journal_lines(path)
    if lines[0]["schema"].given:
        check_schema(lines[0]["schema"])
    run = parse_run(lines[0]["run"])
    # What was begun is for anyone who watches the process; what became of it stands in other lines.
    kinds = ("benchmark", "outcome", "begun", "finished")
    entries: dict[str, list[Field]] = {kind: [] for kind in kinds}
    for line in lines[1:]:
        kind = line.only_of(*entries)
        if kind == "finished":
            run = parse_finish(run, line)
        entries[kind].append(line[kind])
    if run.finished is None:
        if who := living(path):
            text = f"is still being written by {who}; its finished cases are read"
        else:
            text = "holds a run that did not come to its end; its finished cases are read"
            text += _last_words(entries)
        notes.append(f"{printable(str(path))} {text}")
    return _result_file(path, run, entries["benchmark"], entries["outcome"], notes)


def _last_words(entries: Mapping[str, list[Field]]) -> str:
    """What a run that ended without a word was busy with, as far as its journal says so."""
    begun = entries["begun"][-1].value if entries["begun"] else None
    done = {field["case_id"].value for field in entries["outcome"]}
    done |= {field["extra_info"]["lstm"]["case_id"].value for field in entries["benchmark"]}
    names = [each for each in begun if isinstance(each, str)] if isinstance(begun, list) else []
    names = [printable(each, 120) for each in names if each not in done]
    if not names:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f" (its process ended while it was busy with {names[0]}{more})"


def unfinished(folder: str | os.PathLike[str]) -> list[str]:
    """A note on each journal in a folder whose process ended without a word, the newest first."""
    found: list[tuple[float, list[str]]] = []
    for path in Path(folder).glob(f"*{JOURNAL_SUFFIX}"):
        with contextlib.suppress(ResultError, OSError):
            file = read(path)
            if file.run.finished is None and not living(path):
                found.append((path.stat().st_mtime, list(file.notes)))
    return [note for _, notes in sorted(found, reverse=True) for note in notes]


def _journal_lines(path: Path) -> tuple[list[Field], list[str]]:
    return journal_lines(path, _bytes(path), "run", "this suite")


def _result_file(
    path: Path, run: Run, benchmarks: list[Field], outcomes: list[Field], notes: list[str]
) -> ResultFile:
    name = printable(str(path))
    seen: dict[str, str] = {}
    measured: list[Measurement] = []
    others: list[Outcome] = []
    for field in benchmarks:
        item = parse_benchmark(field, run)
        if item.case.id in seen:
            text = f"each case once in a run, and it stands at {seen[item.case.id]} too"
            raise field["extra_info"]["lstm"]["case_id"].error(text)
        seen[item.case.id] = field.name
        if isinstance(item, Measurement):
            measured.append(item)
        else:
            others.append(item)
            notes.append(f"{name}: {field.name} did not pass its gate; its time is not used")
    for field in outcomes:
        outcome = parse_outcome(field, run)
        if outcome.case.id in seen:
            text = f"its case stands at {seen[outcome.case.id]}"
            notes.append(f"{name}: {field.name} ({outcome.outcome}) is left out; {text}")
            continue
        seen[outcome.case.id] = field.name
        others.append(outcome)
    return ResultFile(path, run, tuple(measured), tuple(others), tuple(notes))


def _bytes(path: Path) -> bytes:
    data = regular_bytes(path)
    if not data.strip():
        raise error_at(path, "is empty")
    return data
