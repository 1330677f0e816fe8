"""Name the distribution that this package was installed from, for commands that users copy."""

import functools
import importlib.metadata

SMALL, COMPLETE = "lstm-impl", "lstm-benchmark-suite"
"""The distribution that has this library alone, and the one that a clone is installed as."""


@functools.cache
def find_distribution() -> str:
    """Return the name of the installed distribution that has this library."""
    for name in (SMALL, COMPLETE):
        if next(iter(importlib.metadata.distributions(name=name)), None) is not None:
            return name
    return SMALL


def compose_install(extra: str) -> str:
    """Return the command that installs an extra of the distribution."""
    return f"pip install '{find_distribution()}[{extra}]'"
