"""Send a signal at the n-th change of files, loaded before a command as ``sitecustomize``.

A change is a call that creates, writes, syncs, cuts, renames or removes a file of the results.
Changes are counted over all processes of one role: the manager, or the workers. It also records the
finished cases, whose line of a journal is on disk (``fsync`` has returned), before anything else
happens. It imports little and nothing of the suite.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

FOLDER = os.environ["ATTACK_FOLDER"]
NOTES = os.environ["ATTACK_NOTES"]
ROLE = "worker" if "bench.worker" in sys.orig_argv else "manager"
PLAN = json.loads(os.environ.get("ATTACK_PLAN", "null"))

_write, _open, _close, _fstat = os.write, os.open, os.close, os.fstat


def note(name: str, text: str) -> int:
    """Append a line to a file of notes and return its size."""
    file = _open(f"{NOTES}/{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        _write(file, text.encode())
        return _fstat(file).st_size
    finally:
        _close(file)


NAMES: dict[str, str] = {}
"""The path and the requested path of files that were linked."""


def place(what: Any) -> str:
    """Return the path of a file or of an open one, or "" if unknown."""
    try:
        if isinstance(what, int):
            opened = os.readlink(f"/proc/self/fd/{what}").removesuffix(" (deleted)")
            return NAMES.get(opened, opened)
        return os.path.abspath(os.fsdecode(what))
    except (OSError, TypeError, ValueError):
        return ""


def strike(count: int, when: str) -> None:
    if PLAN is None or (ROLE, count, when) != (PLAN["role"], PLAN["at"], PLAN["when"]):
        return
    note("struck", f"{ROLE} {count} {when}\n")
    if PLAN["group"]:
        os.killpg(os.getpgid(0), PLAN["signal"])
    else:
        os.kill(os.getpid(), PLAN["signal"])


def promise(path: str) -> None:
    """Record every case with a complete line in the journal."""
    if not path.endswith(".journal.jsonl"):
        return
    with open(path, "rb") as file:
        whole = file.read().rpartition(b"\n")[0].splitlines()
    found = []
    for line in whole:
        entry = json.loads(line)
        if "benchmark" in entry:
            found.append(entry["benchmark"]["extra_info"]["lstm"]["case_id"])
    if found:
        note("promised", json.dumps([os.path.basename(path), found]) + "\n")


def always(arguments: Sequence[Any], named: Mapping[str, Any]) -> bool:
    return True


def makes(arguments: Sequence[Any], named: Mapping[str, Any]) -> bool:
    flags = arguments[1] if len(arguments) > 1 else named.get("flags", 0)
    return bool(flags & os.O_CREAT)


def wrap(name: str, changes: Callable[[Sequence[Any], Mapping[str, Any]], bool] = always) -> None:
    plain = getattr(os, name)

    def counted(*arguments: Any, **named: Any) -> Any:
        path = place(arguments[0]) if arguments else ""
        if not path.startswith(FOLDER) or not changes(arguments, named):
            return plain(*arguments, **named)
        # One byte for each change: the size counts them over processes.
        count = note(f"changes-{ROLE}", ".")
        note("told", f"{ROLE} {count} {name} {os.path.basename(path)}\n")
        strike(count, "before")
        result = plain(*arguments, **named)
        if name == "link":
            NAMES[path] = place(arguments[1])
        if name == "fsync":
            promise(path)
        strike(count, "after")
        return result

    setattr(os, name, counted)


CHANGES = ("write", "fsync", "ftruncate", "link", "replace", "rename", "unlink", "remove", "mkdir")
if "bench.run" in sys.orig_argv or ROLE == "worker":
    for each in CHANGES:
        wrap(each)
    wrap("open", makes)
