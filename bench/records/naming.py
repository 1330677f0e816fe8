"""The names of sessions, and which sessions are of one run.

A session is what one command measured on a machine, or on machines of one kind. On a fleet with
machines of several kinds one command makes a session for each kind. Their names begin with that of
the run, and by nothing else can result files tell, wherever they were brought, that they belong
together. This module knows names.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

_OF_A_KIND = re.compile(r"(\d{8}T\d{6}Z-[0-9a-f]{6})-.+", re.DOTALL)


def new(now: datetime | None = None) -> str:
    """A name that sorts by time and is nobody else's."""
    return f"{now or datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def of_kind(run: str, kind: str) -> str:
    """The session of a run, which ``new`` has named, on machines of a kind."""
    return f"{run}-{kind}"


def run_of(session: str) -> str:
    """The run that a session is of: its own name, but where it is that of a kind of machine."""
    found = _OF_A_KIND.fullmatch(session)
    return found[1] if found else session
