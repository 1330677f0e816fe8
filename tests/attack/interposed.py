"""Put before a command's own code as ``sitecustomize``: it sends a signal at the n-th file change.

A change is a call that makes, writes, syncs, cuts, renames or removes a file in the results folder.
Changes are counted over all processes of one role: the manager, or the workers. Beside that it
writes down what was promised: the cases whose line in a journal was on the disk (``fsync`` had
returned), before anything else happens. It imports little and knows nothing of the suite.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

FOLDER = os.environ["ATTACK_FOLDER"]
NOTES = os.environ["ATTACK_NOTES"]
ROLE = "worker" if "pytest" in sys.orig_argv else "manager"
PLAN = json.loads(os.environ.get("ATTACK_PLAN", "null"))

_write, _open, _close, _fstat = os.write, os.open, os.close, os.fstat


def note(name: str, text: str) -> int:
    """Append a line to a file of notes; its size is returned."""
    file = _open(f"{NOTES}/{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        _write(file, text.encode())
        return _fstat(file).st_size
    finally:
        _close(file)


NAMES: dict[str, str] = {}
"""Of files that were linked to: the path then, and the one that was asked for."""


def place(what: Any) -> str:
    """The path of a file or of an open one, or "" where it cannot be told."""
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
    """Write down every case of which the journal holds a whole line."""
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
        # One byte a change: the size counts them over processes.
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
