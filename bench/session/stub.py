"""Check on a node whether its copy of the suite equals the manager's copy.

This code is sent to the node together with the request, so that a node without the suite, or with
another version, can say so. It imports only the standard library until the copies are known to be
equal. Then it passes calls on to ``cluster.NodeAgent``.
"""

import hashlib
import importlib.util
import pickle
from pathlib import Path
from typing import Any

PACKAGES = ("bench", "lstm_impl")
CODE = (".py", ".toml", ".cc", ".h")
"""The suffixes of the files that are compared."""


def fingerprint() -> dict[str, str]:
    """Return a digest of each package's files, or an empty string if a package is not installed."""
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
    """The actor on a node that Ray calls."""

    def __init__(self) -> None:
        self._agent: Any = None

    def ready(self, code: dict[str, str], requested: bytes) -> tuple[str, Any]:
        """Return why the node cannot measure, and the answer of ``NodeAgent.ready``.

        The reason is empty if the node can measure.

        code: the ``fingerprint`` of the manager. requested: the class of the agent and the request.
        They are pickled, because their types belong to the suite.
        """
        here = fingerprint()
        if missing := [name for name, digest in here.items() if not digest]:
            return f"the suite is not installed there: the package {missing[0]} is missing", None
        if here != code:
            message = ", ".join(f"{name} {here[name]}, not {code[name]}" for name in PACKAGES)
            return f"another version of the suite is installed there ({message})", None
        agent, request = pickle.loads(requested)
        self._agent = agent()
        return self._agent.ready(request)  # type: ignore[no-any-return]

    def call(self, method: str, *words: Any) -> Any:
        """Call a method of the ``NodeAgent``."""
        return getattr(self._agent, method)(*words)
