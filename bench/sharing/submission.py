"""Check result files, make them anonymous and write them into the folder of their machine.

The machine is named by its kind and by a keyed hash of its id. The secret of the hash never leaves
this computer. Later results of the machine can thus be recognised, but nobody can test a guess of
its name.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path

from platformdirs import user_cache_path

from bench.machine.fields import Field, ResultError, file_error, printable
from bench.machine.reading import open_flags, parse_json, regular_bytes
from bench.machine.writing import write, write_bytes
from bench.records.digest import KEY
from bench.records.files import TIER_LIST, collect, read
from bench.records.schema import FILE, ResultFile
from bench.sharing.acceptance import ProjectBranch
from bench.sharing.anonymous import host_name, make_anonymous, name_kind
from bench.sharing.checks import find_copies, find_problems
from bench.sharing.proofs import prove_tier, read_seeds, seed_error, seeds_path

FOLDER = "results/community"
"""The project's folder of shared results, with a folder for each kind of machine."""


@dataclass(frozen=True)
class Submission:
    """List the files that were written (``written``) or had been written before (``there``).

    If there are ``problems``, nothing was written. ``notes`` say what was not checked, and why.
    """

    problems: tuple[str, ...] = ()
    written: tuple[Path, ...] = ()
    there: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


SECRET_NAME = "results-cache.secret"
"""The file of the secret in the user's cache folder."""
_SECRET_SIZE = 32


def read_secret() -> bytes | None:
    """Return the user's secret, created at its first use, or None if it cannot be stored."""
    try:
        path = user_cache_path("lstm-benchmark-suite") / SECRET_NAME
        if not path.is_absolute():
            return None  # The "~" of a user without a home.
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | open_flags(), 0o600)
                with os.fdopen(file, "wb") as opened:
                    opened.write(secrets.token_bytes(_SECRET_SIZE))
        found = regular_bytes(path, _SECRET_SIZE)
    except (OSError, RuntimeError, ResultError):
        return None
    return found if len(found) == _SECRET_SIZE else None


def submit(paths: Iterable[Path], folder: Path, now: datetime) -> Submission:
    """Check result files and, if all are correct, write them into the folder of their machine.

    Raises
    ------
    ResultError
        If a file cannot be read.
    ResultWriteError
        If a file cannot be written.
    """
    given = [(_document(path), read(path)) for path in paths]
    files = [file for _, file in given]
    found = find_copies([*_others(files, folder), *files])
    seeds = read_seeds(folder)
    for document, file in given:
        found += _problems(document, file, seeds, now)
    if found:
        return Submission(tuple(found))
    secret = read_secret() or secrets.token_bytes(32)
    made: dict[Path, dict[str, object]] = {}
    there: list[Path] = []
    for document, file in given:
        target = folder / name_kind(file) / file.path.name
        if target.exists():
            if read(target).run.id != file.run.id:
                raise file_error(target, "belongs to another run; rename the submitted file")
            there.append(target)
        else:
            made[target] = make_anonymous(document.mapping(), file, secret)
    for target, data in made.items():
        write(target, data)
        read(target)
    return Submission((), tuple(made), tuple(there))


def check(folder: Path, now: datetime, branch: str | None = None) -> Submission:
    """Check all files in a folder of shared results.

    If the files are correct, write the list of their tiers into the folder.

    A file must be in the folder of the kind of machine that it names, and nowhere else. Its seed
    must have been fresh when the project received the file: today, or when the branch first held
    these contents.

    Parameters
    ----------
    folder
        The folder of shared results.
    now
        The current time.
    branch
        The project's own branch, such as ``origin/main``, with the accepted files and the list of
        seeds.

    Raises
    ------
    ResultError
        If a file cannot be read.
    InputError
        If the branch cannot be read.
    ResultWriteError
        If the list of tiers cannot be written.
    """
    paths, misplaced = _shared_files(folder)
    given = [(_document(path), read(path)) for path in paths]
    if not given and not misplaced:
        raise file_error(folder, "contains no shared results (FOLDER/MACHINE/FILE.json)")
    project = None if branch is None else ProjectBranch(folder, branch)
    accepted = _never if project is None else project.acceptance(now)
    seeds = read_seeds(folder, project)
    found = [*misplaced, *find_copies([file for _, file in given])]
    listed = ["digest,tier"]
    for document, file in given:
        received = accepted(regular_bytes(file.path)) or now
        found += _problems(document, file, seeds, received)
        found += _foreign_names(file)
        try:
            tier = prove_tier(document["lstm"]["submitted"]["workflow"])
        except ResultError as error:
            found.append(str(error))
        else:
            listed += [] if tier == FILE else [f"{document[KEY].value},{tier}"]
    if not found:
        write_bytes(folder / TIER_LIST, "\n".join([*listed, ""]).encode())
    notes = () if seeds is not None else (_without_seeds(folder, branch),)
    return Submission(tuple(found), there=tuple(file.path for _, file in given), notes=notes)


def _shared_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the files in the folders of machines.

    Also return why other files and links do not belong there.

    Commands that read results would also find these other files, although nothing has checked them.
    """
    files, problems = [], []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            problems.append(f"{printable(str(path))} is a link; replace it by a file or a folder")
        elif path.suffix.lower() not in (".json", ".jsonl") or path.is_dir():
            continue
        elif path.suffix == ".json" and path.parent.parent == folder:
            files.append(path)
        else:
            problems.append(f"{printable(str(path))} is not FOLDER/MACHINE/FILE.json; remove it")
    return files, problems


def _foreign_names(file: ResultFile) -> Iterator[str]:
    """Yield which names of the machine do not match the folder of the file."""
    where, machine = printable(str(file.path)), name_kind(file)
    if file.path.parent.name != machine:
        yield f"{where} was measured on {machine}; move it to the folder of that name"
    named = host_name(machine, file.run.machine_id)
    if file.run.host != named:
        yield (
            f"{where}: lstm.run.host is {printable(file.run.host)}; for its machine it must be "
            f"{named}"
        )


def _never(contents: bytes) -> None:
    """Return that these contents were never accepted, where no branch says otherwise."""


def _without_seeds(folder: Path, branch: str | None) -> str:
    where = str(seeds_path(folder)) if branch is None else f"{seeds_path(folder)} of {branch}"
    return f"the age of the files was not checked, because there is no list of seeds ({where})"


def _problems(
    document: Field, file: ResultFile, seeds: Mapping[int, datetime] | None, received: datetime
) -> Iterator[str]:
    of_seed = () if seeds is None else seed_error(file.run, seeds, received)
    for each in chain(find_problems(document, file, received), of_seed):
        yield f"{printable(str(file.path))}: {each}"


def _document(path: Path) -> Field:
    if path.name.endswith(".jsonl"):
        raise file_error(path, "is a journal; submit the JSON file that is made from it")
    try:
        return Field(path, "", parse_json(path, regular_bytes(path)))
    except RecursionError:
        raise file_error(path, "is nested too deeply to be a result file") from None


def _others(files: Sequence[ResultFile], folder: Path) -> list[ResultFile]:
    """Read the other runs of the same kinds of machines in the folder."""
    places = {folder / name_kind(file) for file in files}
    there = collect(place for place in sorted(places) if place.is_dir())
    mine = {file.run.id for file in files}
    return [file for file in there.files if file.run.id not in mine]
