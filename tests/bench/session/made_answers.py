"""Answers of a node, made up."""

from typing import Any

from bench.cli.options import MeasurementOptions
from bench.session.session import Goal, Session
from bench.session.workers import LostError
from tests.bench.session.made_sessions import A5


class Clock:
    time = 0.0

    def __call__(self) -> float:
        return self.time


class Given:
    """An answer: a value, an error, or None while there is none."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def ready(self) -> bool:
        return self.value is not None

    def get(self, seconds: float) -> Any:
        if self.value is None:
            raise LostError("it did not answer", blame=False)
        if isinstance(self.value, LostError):
            raise self.value
        return self.value


def make_found_session() -> Session:
    options = MeasurementOptions(suite="mine", seed=0, case_limit=60.0)
    return Session("s", "mine", (A5,), Goal(), None, "2026-01-01T00:00:00+00:00", options)
