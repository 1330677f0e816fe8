"""What came of a proof: its stages and their time, its conclusion in words, and the archive."""

from __future__ import annotations

import json
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from bench.cli.command_line import INTERRUPTED
from bench.machine import survey
from bench.machine.survey import Survey
from bench.machine.writing import unfinished_name
from bench.records.schema import Measurement, Outcome
from bench.render.escape import clean
from bench.render.quantities import listed
from bench.session import matrix
from bench.session.diagnosis import Diagnosis
from bench.session.matrix import Checked

TESTS_FAILED = 1  # pytest's exit code
PROVEN, FAILED, BAD_INPUT, NO_DEVICE, NO_BACKEND, INCOMPLETE = range(6)


@dataclass
class Proof:
    """What was found so far; each stage fills in its own.

    suite: the name or path of what is measured. wanted: how many cases it has here.
    """

    device: str
    suite: str
    started: datetime
    diagnosis: Diagnosis | None = None
    checked: list[Checked] = field(default_factory=list)
    measurements: Sequence[Measurement] = ()
    outcomes: Sequence[Outcome] = ()
    wanted: int = 0
    failures: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def available(self) -> list[str]:
        """The backends that can run on the device, as far as is known."""
        return [] if self.diagnosis is None else self.diagnosis.survey.available(self.device)

    @property
    def code(self) -> int:
        """The exit code (see ``EPILOG``)."""
        if self.interrupted:
            return INTERRUPTED
        if self.failures:
            return FAILED
        if not self.available:
            return NO_BACKEND
        return INCOMPLETE if self.unfinished else PROVEN

    @property
    def verdict(self) -> str:
        """The exit code in words."""
        return {
            PROVEN: "PROVEN: every backend that is available here is right, and was measured",
            FAILED: "FAILED: not everything here is right",
            NO_BACKEND: f"NO BACKEND can use {self.device}",
            INCOMPLETE: "INCOMPLETE: nothing failed, but not all could be done",
            INTERRUPTED: "INTERRUPTED: stopped from the keyboard",
        }[self.code]


class Budget:
    """A number of seconds that stages share; each may take a part of what is left when it begins.

    reserve: seconds that are never shared out, for what must happen at the end.
    """

    def __init__(
        self, seconds: float, reserve: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._start = now()
        self.seconds = seconds
        self.reserve = reserve

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return self._now() - self._start

    @property
    def left(self) -> float:
        """Seconds until the end, the reserve included; 0 after it."""
        return max(0.0, self.seconds - self.spent)

    def share(self, part: float) -> float:
        """Seconds for a stage that may take this part of what is left beside the reserve."""
        return max(0.0, part * (self.left - self.reserve))


def unavailable(found: Survey, device: str) -> dict[str, list[str]]:
    """The backends that cannot run on a device, by why not; the reference need not."""
    reasons: dict[str, list[str]] = {}
    for entry in found.entries:
        if not entry.on[device] and entry.name != survey.REFERENCE:
            reasons.setdefault(str(entry.on[device]), []).append(entry.name)
    return reasons


# -- the conclusion


def conclusion(proof: Proof) -> Iterator[str]:
    """The verdict and what it rests on, in words."""
    yield proof.verdict
    for kind, lines in (("failed", proof.failures), ("not done", proof.unfinished)):
        for line in lines[:20]:
            yield f"  {kind}: {clean(line, 400)}"
        if len(lines) > 20:
            yield f"  {kind}: {len(lines) - 20} more; see summary.json in the archive"
    if proof.code == NO_BACKEND and proof.diagnosis is not None:
        for why, absent in unavailable(proof.diagnosis.survey, proof.device).items():
            yield f"  {listed(absent)}: {clean(why)}"
    if kernels := cudnn_kernels(proof.checked):
        yield f"  cuDNN's kernels were seen: {clean(', '.join(kernels), 200)}"
    if proof.device == "cpu":
        yield "  on the CPU: this proves nothing about a GPU"


def cudnn_kernels(checked: Sequence[Checked]) -> list[str]:
    """Names of the kernels in the evidence of ``cudnn``."""
    found: dict[str, None] = {}
    for each in checked:
        kernels = each.evidence.get("kernels")
        if each.outcome == matrix.PASSED and each.backend == "cudnn" and isinstance(kernels, dict):
            found |= dict.fromkeys(map(str, kernels))
    return list(found)[:5]


def write_summary(proof: Proof, lines: Sequence[str], budget: Budget, folder: Path) -> None:
    """The proof as JSON and as text, in its folder."""
    counts = matrix.counts(proof.checked)
    data = {
        "schema": 1,
        "device": proof.device,
        "started": proof.started.isoformat(),
        "seconds": round(budget.spent, 1),
        "budget_seconds": budget.seconds,
        "exit_code": proof.code,
        "verdict": proof.verdict,
        "failures": proof.failures,
        "unfinished": proof.unfinished,
        "matrix": dict(counts),
        "measured": len(proof.measurements),
        "wanted": proof.wanted,
    }
    (folder / "summary.json").write_text(json.dumps(data, indent=2), encoding="utf-8")
    (folder / "summary.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def pack(folder: Path, archive: Path) -> Path:
    """Everything in ``folder`` as one archive, whole or not there at all."""
    part = archive.with_name(unfinished_name(archive.name, ".part"))
    try:
        with tarfile.open(part, "w:gz") as tar:
            tar.add(folder, arcname=folder.name)
        part.replace(archive)
    finally:
        part.unlink(missing_ok=True)
    return archive
