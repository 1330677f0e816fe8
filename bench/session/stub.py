"""Check on a node whether its copy of the suite is the manager's.

This code is sent to the node with the request, so that a node without the suite, or with another
version, can say so. It imports only the standard library until the two copies are known to be the
same; then it passes calls on to ``cluster.NodeAgent``.
"""

import hashlib
import importlib.util
import pickle
from pathlib import Path
from typing import Any

PACKAGES = ("bench", "lstm_impl")
CODE = (".py", ".toml", ".cc", ".h")
"""Suffixes of the files that are compared."""


def fingerprint() -> dict[str, str]:
    """Return a digest of each package's files, empty for one that is not installed."""
    found = {}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or ()) if spec else []
        digest = hashlib.sha256()
        for root in map(Path, places[:1]):
            files = (path for path in root.rglob("*") if path.suffix in CODE and path.is_file())
            for path in sorted(files):
                digest.update(path.relative_to(root).as_posix().encode() + b"\0")
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        found[name] = digest.hexdigest()[:12] if places else ""
    return found


class Stub:
    """Ray's actor on a node."""

    def __init__(self) -> None:
        self._agent: Any = None

    def ready(self, code: dict[str, str], requested: bytes) -> tuple[str, Any]:
        """Return why the node cannot measure or an empty string, and ``NodeAgent.ready``'s answer.

        code: the manager's ``fingerprint``. requested: what measures here, and the request,
        pickled, as they are of types of the suite's own.
        """
        here = fingerprint()
        if missing := [name for name, digest in here.items() if not digest]:
            return f"the suite is not installed there: no package {missing[0]}", None
        if here != code:
            message = ", ".join(f"{name} {here[name]}, not {code[name]}" for name in PACKAGES)
            return f"another version of the suite is installed there ({message})", None
        agent, request = pickle.loads(requested)
        self._agent = agent()
        return self._agent.ready(request)  # type: ignore[no-any-return]

    def call(self, method: str, *words: Any) -> Any:
        """Call a method of the ``NodeAgent``."""
        return getattr(self._agent, method)(*words)
