"""Proofs of backends on a GPU that is made up."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from bench.case.cases import Case
from bench.machine import environment
from bench.machine.survey import Entry, Survey
from bench.records.schema import Outcome, Run
from bench.session import proof as proven_module
from bench.session.diagnosis import Diagnosis
from bench.session.proof import Proof
from lstm_impl import Availability, LSTMSpec, Workload

YES, NO = Availability(True), Availability(False, "CUDA libraries are not found", "pip install x")


HERE = environment.read()


CASE = Case("cudnn", LSTMSpec(1, 4), Workload(5, 15), "gpu:0")


def survey_of(available: Mapping[str, Availability], device: str = "gpu:0") -> Survey:
    entries = tuple(
        Entry(name, "numpy" if name == "numpy" else "imaginary", "", {device: each})
        for name, each in available.items()
    )
    return Survey((device,), entries, {"imaginary": "1.0"})


def proof_on(
    available: Mapping[str, Availability] | None = None, device: str = "gpu:0", suite: str = "quick"
) -> Proof:
    found = survey_of({"cudnn": YES} if available is None else available, device)
    started = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return Proof(device, suite, started, Diagnosis(found, HERE, ()))


def outcome(kind: str, case: Case = CASE) -> Outcome:
    run = Run(
        *("id", "session", "quick", 0, datetime.now(UTC), None, False, "host", "machine"), {}, {}
    )
    return Outcome(case, run, kind, "for a reason", "", Path("a.json"))


def words(proof: Proof) -> str:
    return "\n".join(proven_module.conclusion(proof))


def members(archive: Path) -> dict[str, str]:
    """The files of an archive, by their path in its one folder."""
    with tarfile.open(archive) as tar:
        found = {}
        for member in tar.getmembers():
            if member.isfile():
                file = tar.extractfile(member)
                assert file is not None
                top, _, rest = member.name.partition("/")
                assert top == archive.name.removesuffix(".tar.gz")
                found[rest] = file.read().decode()
        return found
