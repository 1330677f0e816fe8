"""Whether a backend can run on a device here, or why not, in words a user can act on."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from lstm_impl.spec import UnsupportedError


class UnavailableError(UnsupportedError):
    """A backend or device is not there on this machine; the message says what to do about it."""


@dataclass(frozen=True)
class Availability:
    """Whether a backend can run on a device here.

    reason: why not, in words a user can act on; if it can, what is to be known of that, or empty.
    install: the command that would make it available, or empty.
    """

    ok: bool
    reason: str = ""
    install: str = ""

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        if self.ok:
            return "available"
        return f"{self.reason}: {self.install}" if self.install else self.reason


AVAILABLE = Availability(True)


@dataclass(frozen=True)
class Package:
    """A package that a backend cannot be without.

    module: its name for ``import``. title: its name in a sentence. install, install_gpu: the
    commands that bring it for a CPU and for a GPU; one serves both if there is no other.
    """

    module: str
    title: str
    install: str
    install_gpu: str = ""

    def availability(self, device: str) -> Availability:
        """Whether it is installed; it is not imported for that."""
        if importlib.util.find_spec(self.module) is not None:
            return AVAILABLE
        install = self.install if device == "cpu" else self.install_gpu or self.install
        return Availability(False, f"{self.title} is not installed", install)
