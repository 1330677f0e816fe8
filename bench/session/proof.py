"""The proof on a GPU: the backends are right there, and how fast; stage by stage, one archive."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from bench import case as suites
from bench import records
from bench.case.loading import SuiteChoice
from bench.cli import output
from bench.cli.command_line import INTERRUPTED
from bench.machine import processes, survey
from bench.machine.fields import ResultError
from bench.machine.processes import Ended
from bench.machine.survey import Survey
from bench.machine.writing import unfinished_name
from bench.records.schema import Measurement, Outcome
from bench.render.escape import clean
from bench.render.quantities import count, listed
from bench.session import diagnosis, matrix
from bench.session.diagnosis import Diagnosis
from bench.session.matrix import Checked
from bench.session.workers import BENCH

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
        """Seconds for a stage that may take this part of what is left next to the reserve."""
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


RESERVE = 0.06
"""Part of the time that is kept for the report and the archive: about half a minute of eight."""

PARTS = {"survey": 0.2, "matrix": 0.45, "tests": 0.25, "measure": 1.0}
"""The part of what is left that each stage may take when its turn comes."""

MEASURING = 0.4
"""Part of the measuring stage that goes into samples; the rest builds, compiles and checks."""

COMPARED = ("keras", "torch", "jax_cudnn", "jax_scan")
"""Measured next to what the suite names, where they are here: what users have today. Backends that
compile for minutes are not: the whole must end in time."""

MOST_PROCESSES = 8
TESTS = BENCH.parent / "tests"

GPU_TEST = "test_on_a_gpu_"
"""How the names of tests begin that need a GPU. A clone has them, an installed copy has not."""

ENVIRON = {
    # Several frameworks, and several processes of one, share the GPU here; each would else take
    # most of its memory at the first touch.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


@dataclass(frozen=True)
class Workplace:
    """Where the stages work: the folder that becomes the archive, the user's own, and a voice."""

    folder: Path
    output: Path
    environ: Mapping[str, str]
    say: Callable[[str], None]

    def write(self, name: str, text: str) -> None:
        """A file of the archive."""
        (self.folder / name).write_text(text, encoding="utf-8")


def prove(proof: Proof, names: Sequence[str] | None, output: Path, budget: Budget) -> int:
    """All stages, the verdict and the archive; returns the exit code.

    Raises OSError if nothing can be written.
    """
    title = f"gpu-proof-{proof.started:%Y%m%dT%H%M%SZ}"

    def say(text: str) -> None:
        print(f"[{budget.spent:3.0f} s] {text}", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        place = Workplace(Path(scratch) / title, output, {**ENVIRON, **os.environ}, say)
        place.folder.mkdir()
        try:
            _survey(proof, names, budget.share(PARTS["survey"]), place)
            if proof.available:
                _matrix(proof, budget.share(PARTS["matrix"]), place)
                _tests(proof, budget.share(PARTS["tests"]), place)
                _measure(proof, budget.share(PARTS["measure"]), place)
        except KeyboardInterrupt:
            proof.interrupted = True
        lines = list(conclusion(proof))
        write_summary(proof, lines, budget, place.folder)
        archive = pack(place.folder, output / f"{title}.tar.gz")
    print()
    for line in lines:
        print(line)
    print(f"archive: {archive}")
    return proof.code


# -- the stages


def _survey(proof: Proof, names: Sequence[str] | None, seconds: float, place: Workplace) -> None:
    """The machine, its driver, and which backends can use the device."""
    say = place.say
    say(f"looking at {proof.device}, its driver and the frameworks that are installed")
    end = time.monotonic() + seconds
    found = diagnosis.diagnose(
        [proof.device],
        names,
        lambda request: survey.ask_process(request, max(1.0, end - time.monotonic())),
    )
    proof.diagnosis = found
    place.write("doctor.json", json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    shown = output.plain_text(lambda console: diagnosis.show(found, console))
    place.write("doctor.txt", shown)
    place.write("nvidia-smi.txt", _output_of("nvidia-smi", "-q"))
    pip = _output_of(sys.executable, "-m", "pip", "list", "--format=freeze")
    place.write("packages.txt", pip)
    for label, text in diagnosis.machine_lines(found):
        if label.startswith(("gpu", "CPU")):
            say(f"{label}: {clean(text)}")
    for framework, version in found.survey.frameworks.items():
        say(f"{framework} {version or ''}".rstrip())
    for why, absent in unavailable(found.survey, proof.device).items():
        say(f"cannot run here: {listed(absent)}: {clean(why)}")
    for reason in found.findings:
        say(f"note: {clean(reason.text)}; {clean(reason.advice)}")


def _output_of(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, errors="replace", check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}\n"
    return done.stdout + done.stderr


def _matrix(proof: Proof, seconds: float, place: Workplace) -> None:
    """The equivalence matrix and the evidence of every available backend."""
    assert proof.diagnosis is not None
    wanted = matrix.cases(proof.device, proof.available)
    cores = proof.diagnosis.environment.cpu.usable or 1
    dealt = matrix.shards(wanted, min(MOST_PROCESSES, max(1, cores // 2)))
    place.say(
        f"the equivalence matrix: {count(len(proof.available), 'backend')}, "
        f"{count(len(wanted), 'case')} in {count(len(dealt), 'process')}, at most {seconds:.0f} s"
    )
    folder = place.folder / "matrix"
    folder.mkdir()
    run = partial(processes.run, environ=place.environ, grace=2.0)
    proof.checked = matrix.check(dealt, seconds, folder, run)
    counts = matrix.counts(proof.checked)
    for outcome, text in (
        (matrix.PASSED, "passed"),
        (matrix.REFUSED, "refused by their backend, with a reason"),
        (matrix.FAILED, "FAILED"),
        (matrix.NOT_MEASURED, "cannot run here"),
        (matrix.NOT_REACHED, "not reached in time"),
    ):
        if counts[outcome]:
            place.say(f"  {counts[outcome]} {text}")
    _judge_matrix(proof)


def _judge_matrix(proof: Proof) -> None:
    """What of the matrix is a failure, and what only unfinished."""
    for checked in proof.checked:
        # What cannot run here after all is a failure: the survey said that it can.
        if checked.outcome in (matrix.FAILED, matrix.NOT_MEASURED):
            proof.failures.append(f"matrix: {checked.case}: {checked.reason}")
    for name in proof.available:
        outcomes = {checked.outcome for checked in proof.checked if checked.backend == name}
        if outcomes <= {matrix.REFUSED}:
            proof.failures.append(f"matrix: {name} computed no case of it")
    if missed := matrix.counts(proof.checked)[matrix.NOT_REACHED]:
        proof.unfinished.append(f"matrix: {missed} of {len(proof.checked)} cases were not reached")


def _tests(proof: Proof, seconds: float, place: Workplace) -> None:
    """The project's own tests that need a GPU, where they are at hand."""
    files = gpu_tests(TESTS)
    if not files:
        return
    place.say(f"the tests that need a GPU: {count(len(files), 'file')}, at most {seconds:.0f} s")
    log = place.folder / "tests.log"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", GPU_TEST]
    ended = processes.run([*command, *map(str, files)], seconds, log, place.environ)
    said = log.read_text(errors="replace").strip().splitlines()
    closing = clean(said[-1].strip("= ")) if said else "they said nothing"
    place.say(f"  {closing}")
    if not ended.in_time:
        proof.unfinished.append("tests: the time was up before all were run")
    elif ended.code == TESTS_FAILED:
        proof.failures.append(f"tests: {closing}; see tests.log")
    elif ended.code != 0:
        proof.unfinished.append(
            f"tests: pytest could not run them (exit code {ended.code}); see tests.log, and "
            "install what they need: pip install -e '.[test]'"
        )


def gpu_tests(folder: Path) -> list[Path]:
    """The files below ``folder`` that hold tests for a GPU."""
    return [
        path
        for path in sorted(folder.rglob("test_*.py"))
        if re.search(
            rf"^def {GPU_TEST}", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE
        )
    ]


def _measure(proof: Proof, seconds: float, place: Workplace) -> None:
    """The suite through pytest, as a user would run it."""
    names = measured_backends(proof.suite, proof.device, proof.available)
    suite = suites.load(proof.suite, SuiteChoice(tuple(names), (proof.device,), None))
    proof.wanted = len(suite.cases)
    planned = sum(suite.seconds[case.group] for case in suite.cases)
    allowed = MEASURING * seconds
    place.say(
        f"the suite {suite.name}: {', '.join(names)}; {count(len(suite.cases), 'case')}, "
        f"{min(planned, allowed):.0f} s of measuring, at most {seconds:.0f} s with the rest"
    )
    folder = place.folder / "measured"
    folder.mkdir()
    files = sorted(str(path) for path in BENCH.glob("bench_*.py"))
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--benchmark-only", *files),
        f"--lstm-suite={proof.suite}",
        f"--lstm-device={proof.device}",
        f"--lstm-backends={','.join(names)}",
        f"--lstm-results={folder.absolute()}",
        "--lstm-busy=force",  # this process holds the machine's lock
    ]
    if planned > allowed:
        command.append(f"--lstm-budget={allowed / len(suite.cases):.3f}")
    ended = processes.run(command, seconds, place.folder / "measure.log", place.environ)
    errors: Sequence[ResultError] = ()
    if written := sorted(folder.iterdir()):
        for path in written:
            # The user's own folder gets them too: that is where the report looks.
            shutil.copy2(path, place.output / path.name)
        found = records.collect([folder])
        proof.measurements, proof.outcomes = found.measurements, found.outcomes
        errors = found.errors
    place.say(f"  {len(proof.measurements)} of {count(proof.wanted, 'case')} measured")
    log = (place.folder / "measure.log").read_text(errors="replace")
    said = next((line for line in log.splitlines() if line.startswith("ERROR")), "")
    _judge_measured(proof, errors, ended, said)
    command = [sys.executable, "-m", "bench.report", "--format", "markdown", str(folder)]
    place.write("report.md", _output_of(*command))


def _judge_measured(
    proof: Proof, errors: Sequence[ResultError], ended: Ended, said: str = ""
) -> None:
    """What of the measuring stage is a failure, and what only unfinished. said: pytest's error."""
    proof.failures += [f"measured: {error}" for error in errors]
    proof.failures += [
        f"measured: {each.case.id}: {each.reason}"
        for each in proof.outcomes
        if each.outcome not in ("refused", "interrupted")
    ]
    finished = [each for each in proof.outcomes if each.outcome != "interrupted"]
    missing = proof.wanted - len(proof.measurements) - len(finished)
    if not ended.in_time:
        # It may have been about to end: what counts is what has a result.
        if missing:
            proof.unfinished.append(f"measured: {missing} of {proof.wanted} cases were not reached")
    elif missing or (ended.code != 0 and not proof.failures):
        message = f": {said}" if said else ""
        proof.failures.append(
            f"measured: pytest ended with exit code {ended.code} and {missing} of {proof.wanted} "
            f"cases have no result{message}; see measure.log"
        )


def measured_backends(suite: str, device: str, available: Sequence[str]) -> list[str]:
    """What is measured: the suite's own backends, and what they are to be compared with.

    Where none of them is here, all that are available.
    """
    own = suites.load(suite, SuiteChoice(None, (device,), None)).cases
    wanted = [*dict.fromkeys(case.backend for case in own), *COMPARED]
    return [name for name in dict.fromkeys(wanted) if name in available] or list(available)
