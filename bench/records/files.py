"""Result files: finding and reading them, and the one face of the modules that know their format.

A result file is pytest-benchmark's JSON with ours next to it; while a run goes on it is a journal,
one line a finished case, from which the JSON is made at the end. What is read comes from anywhere,
so nothing in it is believed before it is checked, and whatever is wrong with it is reported in one
line that names the file and the field. This module knows files and folders; ``results.schema``
knows what is in them, ``disk.writing`` how they are written. No framework, no statistics, no
formatting.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

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
from bench.records.elsewhere import as_named, brought
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


def read(path: str | os.PathLike[str]) -> ResultFile:
    """The run in a result file or, if the name ends in ``.jsonl``, in a journal.

    Raises ResultError, whatever the bytes are.
    """
    path = Path(path)
    try:
        return _read_journal(path) if _is_journal(path) else _read_json(path)
    except RecursionError:
        raise error_at(path, "is nested too deeply to be a result file") from None


def collect(
    paths: Iterable[str | os.PathLike[str]],
    watch: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Results:
    """Every run in these files and folders, here or elsewhere by their URLs, each once.

    A folder stands for the result files directly in it, or in its ``reference`` folder if there
    are none. A journal is read only where its JSON is not there or cannot be read.

    watch: gets the files and gives them back one by one, as they are read.
    """
    errors: list[ResultError] = []
    here, notes = brought(paths, result_names, errors)
    files: dict[str, ResultFile] = {}
    seen: set[Path] = set()
    # JSON first: a journal named next to its JSON then turns out to hold a run that is there.
    ordered = sorted(_expand(here, errors), key=_is_journal)
    with _without_garbage_collection():
        for given in watch(ordered):
            if given.absolute() in seen:
                continue
            seen.add(given.absolute())
            try:
                file = read(given)
            except ResultError as error:
                errors.append(error)
                path = _spare(given)
                if path is None or path.absolute() in seen:
                    continue
                seen.add(path.absolute())
                try:
                    file = read(path)
                except ResultError as spare_error:
                    errors.append(spare_error)
                    continue
            first = files.setdefault(file.run.id, file)
            # A copy of a run is not a second process.
            if first is not file and json_path(first.path) != json_path(file.path):
                place, other = printable(str(file.path)), printable(str(first.path))
                notes.append(f"{place} holds the same run as {other}; it is counted once")
    for file in files.values():
        notes.extend(file.notes)
    warnings = tuple(each for file in files.values() for each in file.warnings)
    return as_named(Results(tuple(files.values()), tuple(errors), tuple(notes), warnings))


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Keep Python from searching for cycles, of which reading makes none, among all that was read.

    With a hundred thousand cases the searches take a third of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def files_of(given: Iterable[Path]) -> list[Path]:
    """The files that were named, and of a folder those of its newest run."""
    return [path for each in given for path in (latest(each) if each.is_dir() else [each])]


def latest(folder: str | os.PathLike[str] = DEFAULT_FOLDER) -> list[Path]:
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

    The URL itself where not all of it can be had: whoever reads it gets the errors.
    """
    if not is_url(folder):
        return latest(folder)
    errors: list[ResultError] = []
    here, _ = brought([folder], result_names, errors)
    return [folder] if errors else latest(here[0])


def journal_path(path: str | os.PathLike[str]) -> Path:
    """The journal that belongs to a JSON result file."""
    path = Path(path)
    return path.with_name(path.name.removesuffix(".json") + JOURNAL_SUFFIX)


def json_path(journal: str | os.PathLike[str]) -> Path:
    """The JSON result file that is made from a journal."""
    journal = Path(journal)
    for suffix in (JOURNAL_SUFFIX, ".jsonl"):
        if journal.name.endswith(suffix):
            return journal.with_name(journal.name.removesuffix(suffix) + ".json")
    return journal


def journal_to_json(
    journal: str | os.PathLike[str],
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
    path = json_path(journal)
    writer = writer_of(journal)
    write(
        path,
        with_digest(
            {
                # In the order of the canonical form, so that the digest is that of the bytes.
                "benchmarks": [
                    line["benchmark"].value for line in lines if line["benchmark"].given
                ],
                "commit_info": {} if commit_info is None else commit_info,
                "datetime": (run.finished or run.started).isoformat(),
                "lstm": {
                    "schema": SCHEMA,
                    MARK: True,
                    "run": run.to_dict(),
                    "writer": None if writer is None else writer.to_dict(),
                    "outcomes": [line["outcome"].value for line in lines if line["outcome"].given],
                },
                "machine_info": {} if machine_info is None else machine_info,
                "version": _pytest_benchmark_version(),
            }
        ),
    )
    return path


def _pytest_benchmark_version() -> str:
    try:
        return metadata.version("pytest-benchmark")
    except metadata.PackageNotFoundError:
        return ""


def _is_journal(path: Path) -> bool:
    return path.name.endswith(".jsonl")


def _spare(path: Path) -> Path | None:
    """The journal to read where a JSON file cannot be."""
    journal = journal_path(path)
    return journal if not _is_journal(path) and is_there(journal, Path.is_file) else None


def is_there(path: Path, kind: Callable[[Path], bool]) -> bool:
    """Whether a path is of this kind."""
    try:
        return kind(path)
    except (OSError, ValueError):
        return False  # a name too long, or with a NUL in it


def _expand(paths: Iterable[str | os.PathLike[str]], errors: list[ResultError]) -> Iterator[Path]:
    for path in map(Path, paths):
        if not is_there(path, Path.is_dir):
            yield path
            continue
        found = in_folder(path)
        if not found:
            errors.append(error_at(path, "holds no result files"))
        yield from found


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
    commit = _commit(document["commit_info"].value)
    return replace(found, commit=commit, warnings=tuple(warnings))


def _commit(info: object) -> str:
    """The commit that pytest-benchmark saw, and whether there were changes beyond it.

    That part of the file is pytest-benchmark's own: in a form that it does not have now, it says
    nothing and is no error.
    """
    if not isinstance(info, dict) or not isinstance(info.get("id"), str):
        return ""
    return f"{info['id']}{' with changes' if info.get('dirty') is True else ''}"


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
    found: list[str] = []
    for path in sorted(Path(folder).glob(f"*{JOURNAL_SUFFIX}"), key=_changed, reverse=True):
        with contextlib.suppress(ResultError):
            file = read(path)
            if file.run.finished is None and not living(path):
                found.extend(file.notes)
    return found


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


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
