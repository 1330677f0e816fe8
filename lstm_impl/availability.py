"""Describe whether a backend can run on a device here, and if not, what a user can do."""

import importlib.util
from dataclasses import dataclass

from lstm_impl.spec import Refusal, UnsupportedError


class UnavailableError(UnsupportedError):
    """A backend or device is not available on this machine; the message says what to do."""

    def __init__(self, message: str, refusal: Refusal = Refusal.UNAVAILABLE) -> None:
        super().__init__(message, refusal)


@dataclass(frozen=True)
class Availability:
    """Whether a backend can run on a device here.

    reason: why not, as a user can act on it; if it can, a remark or empty. install: the command
    that would make it available, or empty. refusal: the reason as a code, which says nothing if it
    can run.
    """

    ok: bool
    reason: str = ""
    install: str = ""
    refusal: Refusal = Refusal.UNAVAILABLE

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        if self.ok:
            return "available"
        return f"{self.reason}: {self.install}" if self.install else self.reason


AVAILABLE = Availability(True)


@dataclass(frozen=True)
class Package:
    """A package that a backend needs.

    module: its name for ``import``. title: its name in a sentence. install, install_gpu: the
    commands that install it for a CPU and for a GPU; the first serves both if the other is empty.
    """

    module: str
    title: str
    install: str
    install_gpu: str = ""

    def availability(self, device: str) -> Availability:
        """Return whether it is installed, without importing it."""
        if importlib.util.find_spec(self.module) is not None:
            return AVAILABLE
        install = self.install if device == "cpu" else self.install_gpu or self.install
        return Availability(False, f"{self.title} is not installed", install, Refusal.NOT_INSTALLED)
