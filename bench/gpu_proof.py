"""``python -m bench.gpu_proof``: are the backends right on this GPU, and how fast; one archive.

The stages share a time budget: the machine and its frameworks, the equivalence matrix with the
evidence of what ran, the tests that need a GPU, the suite ``quick`` and its report. Each that
starts a framework is a process that is ended when its time is up, and whatever was found until then
is in the archive. This room knows the order, the time, the verdict and the archive; what a stage
does is other rooms' work.
"""

from __future__ import annotations

import argparse
import io
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
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench import command_line, devices, doctor, matrix, results, stages, suites, survey
from bench.doctor import Diagnosis
from bench.lock import HeldError, MachineLock
from bench.matrix import Checked
from bench.report_text import clean, count, listed
from bench.result_writer import unfinished_name
from bench.results import Measurement, Outcome, ResultError
from bench.stages import Budget, Ended
from bench.suites import Choice
from bench.survey import Survey
from bench.terminal import text_console
from lstm_impl import UnsupportedError, get_backend

SECONDS = 480.0
RESERVE = 0.06
"""Part of the time that is kept for the report and the archive: about half a minute of eight."""

FEWEST_SECONDS = 10.0
"""Under this no stage could even start Python."""

PARTS = {"survey": 0.2, "matrix": 0.45, "tests": 0.25, "measure": 1.0}
"""The part of what is left that each stage may take when its turn comes."""

MEASURING = 0.4
"""Part of the measuring stage that goes into samples; the rest builds, compiles and checks."""

COMPARED = ("keras", "torch", "jax_cudnn", "jax_scan")
"""Measured beside what the suite names, where they are here: what users have today. Backends that
compile for minutes are not: the whole must end in time."""

MOST_PROCESSES = 8

BENCH = Path(__file__).resolve().parent
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

TESTS_FAILED = 1  # pytest's exit code

PROVEN, FAILED, BAD_INPUT, NO_DEVICE, NO_BACKEND, INCOMPLETE = range(6)
INTERRUPTED = 130

EPILOG = """\
exit codes:
  0    every backend that is available here passed, and the suite was measured
  1    something failed: a backend computes something else, `cudnn` ran without a cuDNN
       kernel, or a process crashed; the lines and the archive say what
  2    bad input, or another run measures on this machine; it is said who
  3    no GPU: this machine has none that CUDA programs may use
  4    there is a GPU, but no backend that is installed can use it; what to install is said
  5    nothing failed, but the time was up before everything was checked and measured
  130  stopped from the keyboard; the archive holds what was found

The archive is written in every case but 2 and 3.
"""


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


@dataclass(frozen=True)
class Workplace:
    """Where the stages work: the folder that becomes the archive, the user's own, and a voice."""

    folder: Path
    output: Path
    environ: Mapping[str, str]
    say: Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(arguments)
    command_line.write_any_letter()
    try:
        device = devices.parse(options.device)
        names = None
        if options.backends is not None:
            names = [get_backend(name).name for name in options.backends]
        suites.load(options.suite, Choice(None, (device,), None))
        if missing := devices.explain_missing(device):
            print(f"no {device}: {missing}")
            return NO_DEVICE
        options.output.mkdir(parents=True, exist_ok=True)
        budget = Budget(options.seconds, RESERVE * options.seconds)
        proof = Proof(device, options.suite, datetime.now(UTC))
        with MachineLock() as lock:
            lock.acquire(f"gpu_proof {options.suite}")
            return prove(proof, names, options.output, budget)
    except HeldError as error:
        print(f"error: {error}; run this again when it has ended", file=sys.stderr)
    except (devices.DeviceError, UnsupportedError, suites.SuiteError) as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or options.output}: {error.strerror}", file=sys.stderr)
    return BAD_INPUT


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
        _write_summary(proof, lines, budget, place.folder)
        archive = pack(place.folder, output / f"{title}.tar.gz")
    print()
    for line in lines:
        print(line)
    print(f"archive: {archive}")
    return proof.code


# -- the stages


def _survey(proof: Proof, names: Sequence[str] | None, seconds: float, place: Workplace) -> None:
    """The machine, its driver, and which backends can use the device."""
    say, folder = place.say, place.folder
    say(f"looking at {proof.device}, its driver and the frameworks that are installed")
    end = time.monotonic() + seconds
    found = doctor.diagnose(
        [proof.device],
        names,
        lambda request: survey.ask_process(request, max(1.0, end - time.monotonic())),
    )
    proof.diagnosis = found
    (folder / "doctor.json").write_text(
        json.dumps(found.to_dict(), indent=2, ensure_ascii=False), encoding="utf-8"
    )
    shown = io.StringIO()
    doctor.show(found, text_console(file=shown, width=doctor.WIDTH))
    (folder / "doctor.txt").write_text(shown.getvalue(), encoding="utf-8")
    (folder / "nvidia-smi.txt").write_text(_output_of("nvidia-smi", "-q"), encoding="utf-8")
    (folder / "packages.txt").write_text(
        _output_of(sys.executable, "-m", "pip", "list", "--format=freeze"), encoding="utf-8"
    )
    for label, text in doctor.machine_lines(found):
        if label.startswith(("gpu", "CPU")):
            say(f"{label}: {clean(text)}")
    for framework, version in found.survey.frameworks.items():
        say(f"{framework} {version or ''}".rstrip())
    for why, absent in unavailable(found.survey, proof.device).items():
        say(f"cannot run here: {listed(absent)}: {clean(why)}")
    for reason in found.findings:
        say(f"note: {clean(reason.text)}; {clean(reason.advice)}")


def unavailable(found: Survey, device: str) -> dict[str, list[str]]:
    """The backends that cannot run on a device, by why not; the reference need not."""
    reasons: dict[str, list[str]] = {}
    for entry in found.entries:
        if not entry.on[device] and entry.name != survey.REFERENCE:
            reasons.setdefault(str(entry.on[device]), []).append(entry.name)
    return reasons


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
    run = partial(stages.run, environ=place.environ, grace=2.0)
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
    ended = stages.run([*command, *map(str, files)], seconds, log, place.environ)
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
    suite = suites.load(proof.suite, Choice(tuple(names), (proof.device,), None))
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
    ended = stages.run(command, seconds, place.folder / "measure.log", place.environ)
    errors: Sequence[ResultError] = ()
    if written := sorted(folder.iterdir()):
        for path in written:
            # The user's own folder gets them too: that is where the report looks.
            shutil.copy2(path, place.output / path.name)
        found = results.collect([folder])
        proof.measurements, proof.outcomes, errors = (
            found.measurements,
            found.outcomes,
            found.errors,
        )
    place.say(f"  {len(proof.measurements)} of {count(proof.wanted, 'case')} measured")
    log = (place.folder / "measure.log").read_text(errors="replace")
    said = next((line for line in log.splitlines() if line.startswith("ERROR")), "")
    _judge_measured(proof, errors, ended, said)
    (place.folder / "report.md").write_text(
        _output_of(sys.executable, "-m", "bench.report", "--format", "markdown", str(folder)),
        encoding="utf-8",
    )


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
        told = f": {said}" if said else ""
        proof.failures.append(
            f"measured: pytest ended with exit code {ended.code} and {missing} of {proof.wanted} "
            f"cases have no result{told}; see measure.log"
        )


def measured_backends(suite: str, device: str, available: Sequence[str]) -> list[str]:
    """What is measured: the suite's own backends, and what they are to be compared with.

    Where none of them is here, all that are available.
    """
    own = suites.load(suite, Choice(None, (device,), None)).cases
    wanted = [*dict.fromkeys(case.backend for case in own), *COMPARED]
    return [name for name in dict.fromkeys(wanted) if name in available] or list(available)


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


def _write_summary(proof: Proof, lines: Sequence[str], budget: Budget, folder: Path) -> None:
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


# -- the command line


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("expected at least one name")
    return names


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not FEWEST_SECONDS <= value < 1e6:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of seconds of at least {FEWEST_SECONDS:.0f}"
        )
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu_proof",
        description="On a machine with a GPU: check driver and libraries, prove every backend that "
        "is installed equal to the reference there, see which kernels ran, measure the suite "
        "quick, and leave one archive of it all.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=SECONDS,
        help="for everything together (default: %(default).0f)",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        default=Path("results"),
        help="where the archive and the result file go (default: %(default)s)",
    )
    parser.add_argument(
        "--backends", metavar="NAMES", type=_names, help="only these, separated by commas"
    )
    parser.add_argument(
        "--suite", metavar="NAME|FILE", default="quick", help="what to measure (default: quick)"
    )
    # Not for users: lets the tests run all of it where there is no GPU.
    parser.add_argument("--device", default="gpu:0", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    command_line.end(main)
