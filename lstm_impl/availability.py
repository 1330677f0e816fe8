"""Describe whether a backend can run on a device of this machine, and what a user can do if not."""

import importlib.util
from dataclasses import dataclass

from lstm_impl.spec import Refusal, UnsupportedError


class UnavailableError(UnsupportedError):
    """Report that a backend or a device is not available here. The message says what to do.

    Attributes
    ----------
    refusal
        The reason as a code.
    reason
        The reason in words, without the name of the backend with which the message begins.
    """

    def __init__(
        self, message: str, refusal: Refusal = Refusal.UNAVAILABLE, reason: str = ""
    ) -> None:
        super().__init__(message, refusal)
        self.reason = reason or message


@dataclass(frozen=True)
class Availability:
    """Describe whether a backend can run on a device of this machine.

    Attributes
    ----------
    ok
        Whether it can run.
    reason
        The reason why it cannot run, worded so that a user can act on it. If it can run, this is a
        remark or empty.
    install
        The command that would make it available, or an empty string.
    refusal
        The reason as a code. It means nothing if the backend can run.
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
"""The availability of a backend that can run, without a remark."""


@dataclass(frozen=True)
class Package:
    """Describe a package that a backend needs.

    Attributes
    ----------
    module
        The name by which the package is imported.
    title
        The name of the package in sentences.
    install, install_gpu
        The commands that install it for a CPU and for a GPU. If the second is empty, the first
        serves both.
    """

    module: str
    title: str
    install: str
    install_gpu: str = ""

    def availability(self, device: str) -> Availability:
        """Return whether the package is installed. This does not import it."""
        if importlib.util.find_spec(self.module) is not None:
            return AVAILABLE
        install = self.install if device == "cpu" else self.install_gpu or self.install
        return Availability(False, f"{self.title} is not installed", install, Refusal.NOT_INSTALLED)
