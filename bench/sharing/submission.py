"""Result files handed in: examined together, made anonymous, put where a pull request has them.

A file without whose it is has no name of a machine, a person or a folder. The machine is called by
its kind, and by digits of its id under a secret that never leaves this computer: what it measures
tomorrow is known as of the same machine, and nobody who guesses its name can see that the guess is
right. What is measured stays as it is.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import hmac
import json
import os
import re
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from bench.machine.fields import Field, ResultError, error_at, mapping, printable
from bench.machine.reading import parse_json, regular_bytes
from bench.machine.writing import unfinished_name, write
from bench.records import digest
from bench.records.files import collect, read
from bench.records.schema import ResultFile
from bench.sharing.checks import copies, problems

FOLDER = "results/community"
"""Where the project has what others measured: a folder for each kind of machine."""


@dataclass(frozen=True)
class Submission:
    """What became of it. problems: of the files, in words; then nothing was written.

    written: the new files. there: those that had been handed in before.
    """

    problems: tuple[str, ...] = ()
    written: tuple[Path, ...] = ()
    there: tuple[Path, ...] = ()


SECRET_NAME = "results-cache.secret"
"""The file in the user's cache folder that holds the secret; its name is older than this module."""
_SECRET_SIZE = 32


def users_secret() -> bytes | None:
    """Return the user's secret, made at its first use; None where there is no place to keep one."""
    try:
        path = user_cache_path("lstm-benchmark-suite") / SECRET_NAME
        if not path.is_absolute():
            return None  # without a home "~" stays as it is
        if not path.exists():
            _make_secret(path)
        # Read again: if two processes make one at once, both go by the later one's.
        found = regular_bytes(path, _SECRET_SIZE)
    except (OSError, RuntimeError, ResultError):
        return None
    return found if len(found) == _SECRET_SIZE else None


def _make_secret(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(unfinished_name(SECRET_NAME))
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_SECRET_SIZE))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def submit(paths: Iterable[Path], folder: Path, now: datetime) -> Submission:
    """Examine result files and, if all are good, write them into the folder of their machine.

    Raises ResultError for a file that cannot be read, ResultWriteError.
    """
    given = [(path, _document(path), read(path)) for path in paths]
    found = [
        f"{printable(str(path))}: {told}"
        for path, document, file in given
        for told in problems(document, file, now)
    ]
    files = [file for _, _, file in given]
    found += copies([*_others(files, folder), *files])
    if found:
        return Submission(tuple(found))
    secret = users_secret() or secrets.token_bytes(32)
    made: list[tuple[Path, dict[str, object]]] = []
    there: list[Path] = []
    for path, document, file in given:
        target = folder / kind(file) / path.name
        if target.exists():
            if read(target).run.id != file.run.id:
                raise error_at(target, "is another run's; rename the one that is handed in")
            there.append(target)
        else:
            whole: dict[str, Any] = document.mapping()
            made.append((target, anonymous(whole, file, secret)))
    for target, data in made:
        write(target, data)
        read(target)  # as whoever gets it will
    return Submission((), tuple(target for target, _ in made), tuple(there))


def _document(path: Path) -> Field:
    if path.name.endswith(".jsonl"):
        raise error_at(path, "is a journal; hand in the file that is made of it at the run's end")
    try:
        return Field(path, "", parse_json(path, regular_bytes(path)))
    except RecursionError:
        raise error_at(path, "is nested too deeply to be a result file") from None


def _others(files: Sequence[ResultFile], folder: Path) -> list[ResultFile]:
    """What was handed in of the same kinds of machines, but for these very runs."""
    places = {folder / kind(file) for file in files}
    there = collect(place for place in sorted(places) if place.is_dir())
    mine = {file.run.id for file in files}
    return [file for file in there.files if file.run.id not in mine]


# Anonymous

PLACE = "(a folder)"
"""What stands in place of a path."""

SOMEBODY = "(a name)"
"""What stands in place of a person's or a machine's name in a sentence."""

_NOBODY = frozenset(("root", "user", "runner", "ubuntu", "debian", "admin", "jovyan", "localhost"))
"""Names that so many have that they are nobody's."""

_SHORTEST_NAME = 3
"""Letters. A shorter one is a part of many words."""

# Of this system, and so of everybody's: what could not be read there is told with its path.
_COMMON = ("/sys/", "/proc/", "/dev/")
_PATHS = re.compile(
    r"(?<![\w/.:])~?(?:/[\w.@+~-]+){2,}/?"  # /home/me/model
    r"|(?<!\w)[A-Za-z]:[\\/](?:[\w.@+~ -]+[\\/]?)+"  # C:\Users\me
)

# What says which case it is, or is numbers.
_AS_IT_IS = ("case", "case_id", "stats", "params", "param", "group", "name")


def kind(file: ResultFile) -> str:
    """What kind of machine a file is of, as the name of a folder: ``amd-epyc-2-cores``.

    The GPU where it measured one, else the processor.
    """
    before = file.run.environment.get("before")
    state: Mapping[str, Any] = before if isinstance(before, Mapping) else {}
    words: list[str] = []
    gpus = state.get("gpus")
    if any(item.case.device.startswith("gpu") for item in file.measurements):
        words = [_text(gpu, "name") for gpu in gpus] if isinstance(gpus, list) else []
        words = list(dict.fromkeys(words))
    if not any(words):
        cpu = state.get("cpu")
        cores = cpu.get("cores") if isinstance(cpu, Mapping) else None
        words = [_text(cpu, "name"), f"{cores} cores" if type(cores) is int else ""]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")[:60] or "some-machine"


def anonymous(document: Mapping[str, Any], file: ResultFile, secret: bytes) -> dict[str, object]:
    """The document of a file, anonymous, with a digest of its own and that of the original.

    Raises ResultError if a name is still in it: then nothing of it is to be shown.
    """
    names = _names(document, file)
    run = file.run
    machine = _hidden(run.machine_id, secret)
    host = f"{kind(file)}-{machine[:6]}"
    made: dict[str, Any] = _cleaned(document, names)
    made["machine_info"] = {**mapping(made.get("machine_info")), "node": host}
    made["commit_info"] = {}  # of the project that it was run in, which may be any
    ours = made["lstm"]
    ours["run"] |= {"host": host, "machine_id": machine}
    for state in ours["run"]["environment"].values():
        if isinstance(state, dict) and "host" in state:
            state["host"] = host
        if isinstance(state, dict) and isinstance(boot := state.get("boot"), str):
            state["boot"] = _hidden(boot, secret)
    ours["writer"] = None
    ours["submitted"] = {"digest": document.get(digest.KEY)}
    for entry in made["benchmarks"]:
        if "fullname" in entry:
            entry["fullname"] = entry.get("name")
        for reason in entry["extra_info"]["lstm"]["validity"]["reasons"]:
            if reason["code"] == "busy":  # the programs that kept the machine busy
                reason["text"] = re.sub(r" \(.*\)$", "", reason["text"])
    found = digest.with_digest(made)
    _check(file.path, found, names)
    return found


def _hidden(name: str, secret: bytes) -> str:
    """The same digits for the same name, from which nobody without the secret finds it."""
    return hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()[:12]


def _names(document: Mapping[str, Any], file: ResultFile) -> list[str]:
    """The names of machines and people that a file may hold, the longest first."""
    ours = document["lstm"]
    found = {file.run.host, socket.gethostname(), _text(document.get("machine_info"), "node")}
    found |= {_text(ours.get("writer"), key) for key in ("host", "machine")}
    found |= {_text(state, "host") for state in file.run.environment.values()}
    found |= {host.partition(".")[0] for host in found}
    found.add(file.run.machine_id)
    with contextlib.suppress(KeyError, OSError, RuntimeError):  # who has no name here left none
        found |= {getpass.getuser(), Path.home().name}
    told = re.findall(r"(?:/home|/Users|\\Users)[/\\]+([\w.-]+)", json.dumps(document))
    found.update(told)
    # A machine called "cpu", a person called "max": a word that every file has tells nobody.
    nobody = _NOBODY | _words(document) | _words(file.run.suite, told=True)
    kept = {each for each in found if len(each) >= _SHORTEST_NAME and each.lower() not in nobody}
    return sorted(kept, key=len, reverse=True)


def _words(value: object, told: bool = False) -> set[str]:
    """The words of all keys, and of the texts that stay as they are (told)."""
    if isinstance(value, Mapping):
        found = {word for key in value for word in _words(str(key), told=True)}
        for key, item in value.items():
            found |= _words(item, told or key in _AS_IT_IS)
        return found
    if isinstance(value, list):
        return {word for item in value for word in _words(item, told)}
    if told and isinstance(value, str):
        return {value.lower(), *re.split(r"\W+", value.lower())}
    return set()


def _cleaned(value: Any, names: Iterable[str]) -> Any:
    if isinstance(value, Mapping):
        return {
            _without(str(key), names): item if key in _AS_IT_IS else _cleaned(item, names)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_cleaned(item, names) for item in value]
    return _without(value, names) if isinstance(value, str) else value


def _without(text: str, names: Iterable[str]) -> str:
    text = _PATHS.sub(lambda found: found[0] if found[0].startswith(_COMMON) else PLACE, text)
    for name in names:
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", SOMEBODY, text, flags=re.IGNORECASE)
    return text


def _check(path: Path, document: Mapping[str, object], names: Iterable[str]) -> None:
    """By another way than they were taken out: whatever its place, a name is one."""
    text = json.dumps(document, ensure_ascii=False).lower()
    for name in names:
        if re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", text):
            raise error_at(path, f"still holds the name {name} where it is made anonymous")


def _text(value: object, key: str) -> str:
    found = mapping(value).get(key)
    return found if isinstance(found, str) else ""
