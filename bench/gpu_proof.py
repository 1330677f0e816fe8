"""``python -m bench.gpu_proof``: are the backends right on this GPU, and how fast; one archive.

It runs what a user would, each within its part of the time: the diagnosis of ``bench.doctor``,
``bench.run`` of the suite ``matrix`` (small cases that between them use the whole of an LSTM, each
past the equivalence gate and with the kernels that ran), the tests that need a GPU, ``bench.run``
of the suite ``quick`` and ``bench.report``. Whatever was found is in the archive.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench import case as suites
from bench import records
from bench.case.cases import Case
from bench.case.loading import SuiteChoice
from bench.cli import arguments, command_line
from bench.cli.command_line import INTERRUPTED, UsageError
from bench.machine import devices, processes, survey
from bench.machine.fresh import last_words
from bench.machine.lock import HeldError, MachineLock
from bench.machine.processes import Ended
from bench.machine.writing import unfinished_name
from bench.records.schema import Results
from bench.render.escape import clean
from bench.render.quantities import count, listed
from bench.session.progress import INCOMPLETE as BUDGET_SPENT
from lstm_impl import UnsupportedError, get_backend

SECONDS = 480.0

FEWEST_SECONDS = 10.0
"""Under this no stage could even start Python."""

RESERVE = 0.06
"""Part of the time that is kept for the report and the archive: about half a minute of eight."""

PARTS = {"survey": 0.2, "matrix": 0.45, "tests": 0.25, "suite": 1.0}
"""The part of what is left that each stage may take when its turn comes."""

COMPARED = ("keras", "torch", "jax_cudnn", "jax_scan")
"""Measured next to what the suite names, where they are here: what users have today. Backends that
compile for minutes are not: the whole must end in time."""

MOST_PROCESSES = 8
CASE_LIMIT = 150.0
"""Seconds for one small case, its framework's start and its compiling included: the slowest seen,
on two processors that five processes shared, took 45, and kernels that nvcc compiles may take
longer; what takes more than this hangs."""

TESTS = Path(__file__).resolve().parents[1] / "tests"
"""A clone has them, an installed copy has not."""

GPU_TEST = "test_on_a_gpu_"
"""How the names of tests begin that need a GPU."""

TESTS_FAILED = 1  # pytest's exit code
NO_CHOICE = 1  # that of bench.doctor where no backend but the reference can run

ENVIRON = {
    # Several frameworks, and several processes of one, share the GPU here; each would else take
    # most of its memory at the first touch.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}

PROVEN, FAILED, BAD_INPUT, NO_DEVICE, NO_BACKEND, INCOMPLETE = range(6)

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
    """What was found so far, and where the stages work.

    device: what is proven. suite: what is measured at the end. folder: becomes the archive.
    available: the backends that can run on the device; missing: why others cannot. results: what
    each suite has found; wanted: how many cases it has here.
    """

    device: str
    suite: str
    seconds: float
    folder: Path
    begun: float = field(default_factory=time.monotonic)
    available: Sequence[str] = ()
    missing: Mapping[str, list[str]] = field(default_factory=dict)
    results: dict[str, Results] = field(default_factory=dict)
    wanted: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.begun

    def share(self, stage: str) -> float:
        """Seconds that a stage may take of what is left next to the reserve."""
        return max(0.0, PARTS[stage] * ((1 - RESERVE) * self.seconds - self.spent))

    def say(self, text: str) -> None:
        """Print a line with the time."""
        print(f"[{self.spent:3.0f} s] {clean(text, 1000)}", flush=True)

    def write(self, name: str, text: str) -> None:
        """Write a file of the archive."""
        (self.folder / name).write_text(text, encoding="utf-8")

    def run(
        self, command: Sequence[str], seconds: float, log: str, stop: threading.Event | None = None
    ) -> Ended:
        """Run a command of this Python for at most so many seconds."""
        environ = {**ENVIRON, **os.environ}
        command = [sys.executable, "-m", *command]
        return processes.run(command, seconds, self.folder / log, environ, stop=stop)

    def last_words(self, log: str) -> str:
        """The last line of a log."""
        path = self.folder / log
        text = path.read_text(errors="replace") if path.exists() else ""
        return clean(last_words(text).strip("= ")) or "it said nothing"

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

    def conclusion(self) -> list[str]:
        """The verdict and what it rests on, in words."""
        verdicts = {
            PROVEN: "PROVEN: every backend that is available here is right, and was measured",
            FAILED: "FAILED: not everything here is right",
            NO_BACKEND: f"NO BACKEND can use {self.device}",
            INCOMPLETE: "INCOMPLETE: nothing failed, but not all could be done",
            INTERRUPTED: "INTERRUPTED: stopped from the keyboard",
        }
        lines = [verdicts[self.code]]
        for kind, found in (("failed", self.failures), ("not done", self.unfinished)):
            lines += [f"  {kind}: {clean(line, 400)}" for line in found[:20]]
            if len(found) > 20:
                lines.append(f"  {kind}: {len(found) - 20} more; see summary.json in the archive")
        if self.code == NO_BACKEND:
            lines += [f"  {listed(names)}: {clean(why)}" for why, names in self.missing.items()]
        measured = [each for found in self.results.values() for each in found.measurements]
        cudnn = [each.evidence for each in measured if each.case.backend == "cudnn"]
        if kernels := [*dict.fromkeys(kernel for each in cudnn for kernel in _kernels(each))]:
            lines.append(f"  cuDNN's kernels were seen: {clean(', '.join(kernels[:5]), 200)}")
        if self.device == "cpu":
            lines.append("  on the CPU: this proves nothing about a GPU")
        return lines


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _prove, words, UnsupportedError)


def _prove(options: argparse.Namespace) -> int:
    device = devices.parse(options.device)
    names = None
    if options.backends is not None:
        names = [get_backend(name).name for name in options.backends]
    suites.load(options.suite, SuiteChoice(None, (device,), None))
    if missing := devices.explain_missing(device):
        print(f"no {device}: {missing}")
        return NO_DEVICE
    title = f"gpu-proof-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        with MachineLock() as lock, tempfile.TemporaryDirectory() as scratch:
            lock.acquire(f"gpu_proof {options.suite}")
            proof = Proof(device, options.suite, options.seconds, Path(scratch) / title)
            proof.folder.mkdir()
            try:
                diagnose(proof, names)
                if proof.available:
                    check_matrix(proof)
                    run_tests(proof, TESTS)
                    measure(proof, options.output)
            except KeyboardInterrupt:
                proof.interrupted = True
            lines = _summary(proof)
            archive = pack(proof.folder, options.output / f"{title}.tar.gz")
    except HeldError as error:
        raise UsageError(f"{error}; run this again when it has ended") from None
    except OSError as error:
        raise UsageError(f"{error.filename or options.output}: {error.strerror}") from None
    print("", *lines, f"archive: {archive}", sep="\n")
    return proof.code


def diagnose(proof: Proof, names: Sequence[str] | None) -> None:
    """The machine, its driver, and which backends can use the device."""
    proof.say(f"looking at {proof.device}, its driver and the frameworks that are installed")
    command = ["bench.doctor", "--device", proof.device, "--format", "json"]
    command += ["--output", str(proof.folder / "doctor.json")]
    if names is not None:
        command += ["--backends", ",".join(names)]
    ended = proof.run(command, proof.share("survey"), "doctor.log")
    proof.write("nvidia-smi.txt", _output_of("nvidia-smi", "-q"))
    pip = _output_of(sys.executable, "-m", "pip", "list", "--format=freeze")
    proof.write("packages.txt", pip)
    if not ended.in_time or ended.code not in (0, NO_CHOICE):
        why = proof.last_words("doctor.log") if ended.in_time else "the time was up"
        proof.failures.append(f"bench.doctor did not come to its end: {why}; see doctor.log")
        return
    found = json.loads((proof.folder / "doctor.json").read_bytes())
    available, proof.missing = [], {}
    for entry in found["backends"]:
        on = entry["devices"][proof.device]
        if on["available"]:
            available.append(entry["name"])
        elif entry["name"] != survey.REFERENCE:
            why = ": ".join(filter(None, (on["reason"], on["install"])))
            proof.missing.setdefault(why, []).append(entry["name"])
    proof.available = available
    for gpu in found["environment"]["gpus"]:
        proof.say(f"{gpu['name']}, driver {gpu['driver']}")
    for framework, version in found["frameworks"].items():
        proof.say(f"{framework} {version or ''}".rstrip())
    for why, absent in proof.missing.items():
        proof.say(f"cannot run here: {listed(absent)}: {why}")
    for finding in found["findings"]:
        proof.say(f"note: {finding['text']}; {finding['advice']}")


def _output_of(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, errors="replace", check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}\n"
    return done.stdout + done.stderr


def check_matrix(proof: Proof) -> None:
    """Every available backend against the reference, several processes at the same time.

    Each process has one framework, and no more backends than its part.
    """
    seconds = proof.share("matrix")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    most = -(-len(proof.available) // min(MOST_PROCESSES, max(1, cores // 2)))
    parts = []
    by_framework = sorted(proof.available, key=lambda name: get_backend(name).framework)
    for _, names in itertools.groupby(by_framework, lambda name: get_backend(name).framework):
        found = list(names)
        number = -(-len(found) // most)
        # Every n-th: neighbours in the list are options of one strategy, and cost alike.
        parts += [found[part::number] for part in range(number)]
    wanted = _cases(proof, "matrix", proof.available)
    proof.say(
        f"the equivalence matrix: {count(len(proof.available), 'backend')}, "
        f"{count(len(wanted), 'case')} in {count(len(parts), 'process')}, at most {seconds:.0f} s"
    )
    stop = threading.Event()
    with ThreadPoolExecutor(len(parts)) as pool:
        try:
            run = functools.partial(_run, proof, "matrix", seconds=seconds, stop=stop)
            places = [f"matrix-{number}" for number in range(len(parts))]
            ended = list(pool.map(run, parts, places))
        except BaseException:
            stop.set()  # or the pool would wait for the processes
            raise
    _judge(proof, "matrix", wanted, ended)


def measure(proof: Proof, place: Path) -> None:
    """The suite, by the backends that it names and those that they are to be compared with."""
    named = [case.backend for case in _cases(proof, proof.suite, None)]
    wanted = dict.fromkeys([*named, *COMPARED])
    names = [name for name in wanted if name in proof.available] or list(proof.available)
    cases = _cases(proof, proof.suite, names)
    proof.say(f"the suite {proof.suite}: {', '.join(names)}; {count(len(cases), 'case')}")
    ended = _run(proof, proof.suite, names, "measured", proof.share("suite"))
    _judge(proof, "measured", cases, [ended])
    for path in (proof.folder / "measured").glob("*.json"):
        # The user's own folder gets them too: that is where the report looks.
        shutil.copy2(path, place / path.name)
    report = ["-m", "bench.report", "--format", "markdown", str(proof.folder / "measured")]
    proof.write("report.md", _output_of(sys.executable, *report))


def _cases(proof: Proof, suite: str, names: Sequence[str] | None) -> list[Case]:
    choice = SuiteChoice(None if names is None else tuple(names), (proof.device,), None)
    return [case for case in suites.load(suite, choice).cases if case.device == proof.device]


def _run(
    proof: Proof,
    suite: str,
    names: Sequence[str],
    name: str,
    seconds: float,
    stop: threading.Event | None = None,
) -> tuple[str, Ended]:
    """Run a suite once into a folder of the archive; the folder's name, and how that ended."""
    command = ["bench.run", suite, "--device", proof.device, "--backends", ",".join(names)]
    command += ["--processes", "1", "--budget", f"{max(1.0, seconds):.1f}s", "--memory", "off"]
    command += ["--results", str(proof.folder / name), "--case-limit", f"{CASE_LIMIT:g}s"]
    if suite == "matrix":
        command += ["--seconds", "0.02s"]  # its times mean nothing
    # This process holds the machine's lock. The command ends by itself when its budget is spent.
    return name, proof.run([*command, "--force"], seconds + 10.0, f"{name}.log", stop)


def _judge(
    proof: Proof, stage: str, wanted: Sequence[Case], runs: Sequence[tuple[str, Ended]]
) -> None:
    """What of a suite's results is a failure, and what only unfinished."""
    found = records.collect([path for name, _ in runs if (path := proof.folder / name).is_dir()])
    proof.results[stage], proof.wanted[stage] = found, len(wanted)
    outcomes = [each for each in found.outcomes if each.outcome != "interrupted"]
    # What cannot run here after all is a failure: the survey said that it can.
    failed = [each for each in outcomes if each.outcome != "refused"]
    failures = [*map(str, found.errors), *(f"{each.case.id}: {each.reason}" for each in failed)]
    failures += [
        f"{each.case.id}: equal to the reference, but no kernel was seen on {proof.device}: it may "
        "have computed on the CPU, or the profiler was not allowed to look"
        for each in found.measurements
        if devices.kind(proof.device) == "gpu" and not _kernels(each.evidence)
    ]
    right = [each.case for each in found.measurements]
    done = {case.id for case in (*right, *(each.case for each in outcomes))}
    missing = [case for case in wanted if case.id not in done]
    known = {case.backend for case in (*right, *missing, *(each.case for each in failed))}
    if stage == "matrix":
        refusing = dict.fromkeys(case.backend for case in wanted if case.backend not in known)
        failures += [f"{name} computed no case of it" for name in refusing]
    for name, ended in runs:
        if ended.in_time and ended.code not in (0, BUDGET_SPENT) and not failures:
            said = proof.last_words(f"{name}.log")
            failures.append(f"bench.run ended with exit code {ended.code}: {said}; see {name}.log")
    if missing:
        line = f"{stage}: {len(missing)} of {len(wanted)} cases were not reached"
        proof.unfinished.append(line)
    proof.failures += [f"{stage}: {failure}" for failure in failures]
    proof.say(
        f"  {len(found.measurements)} of {count(len(wanted), 'case')} right and measured, "
        f"{len(outcomes) - len(failed)} refused by their backend, {len(missing)} not reached, "
        f"{len(failures)} FAILED"
    )


def _kernels(evidence: Mapping[str, object]) -> list[str]:
    kernels = evidence.get("kernels")
    return list(map(str, kernels)) if isinstance(kernels, Mapping) else []


def run_tests(proof: Proof, folder: Path) -> None:
    """The project's own tests that need a GPU, where they are available."""
    test = re.compile(rf"^def {GPU_TEST}", re.MULTILINE)
    files = [
        str(path)
        for path in sorted(folder.rglob("test_*.py"))
        if test.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    if not files:
        return
    seconds = proof.share("tests")
    proof.say(f"the tests that need a GPU: {count(len(files), 'file')}, at most {seconds:.0f} s")
    command = ["pytest", "-p", "no:cacheprovider", "-k", GPU_TEST, *files]
    ended = proof.run(command, seconds, "tests.log")
    closing = proof.last_words("tests.log")
    proof.say(f"  {closing}")
    if not ended.in_time:
        proof.unfinished.append("tests: the time was up before all were run")
    elif ended.code == TESTS_FAILED:
        proof.failures.append(f"tests: {closing}; see tests.log")
    elif ended.code != 0:
        proof.unfinished.append(
            f"tests: pytest could not run them (exit code {ended.code}); see tests.log, and "
            "install what they need: pip install -e '.[test]'"
        )


def _summary(proof: Proof) -> list[str]:
    """Write what was found as JSON and as text into the folder; the lines of the text."""
    lines = proof.conclusion()
    data = {
        "schema": 1,
        "device": proof.device,
        "seconds": round(proof.spent, 1),
        "budget_seconds": proof.seconds,
        "exit_code": proof.code,
        "verdict": lines[0],
        "failures": proof.failures,
        "unfinished": proof.unfinished,
        "measured": {stage: len(found.measurements) for stage, found in proof.results.items()},
        "wanted": proof.wanted,
    }
    proof.write("summary.json", json.dumps(data, indent=2))
    proof.write("summary.txt", "\n".join(lines) + "\n")
    return lines


def pack(folder: Path, archive: Path) -> Path:
    """Everything in ``folder`` as one archive, complete or not there at all."""
    part = archive.with_name(unfinished_name(archive.name, ".part"))
    try:
        with tarfile.open(part, "w:gz") as tar:
            tar.add(folder, arcname=folder.name)
        part.replace(archive)
    finally:
        part.unlink(missing_ok=True)
    return archive


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if FEWEST_SECONDS <= (value := float(text)) < 1e6:
            return value
    raise argparse.ArgumentTypeError(
        f"{text!r} is no number of seconds of at least {FEWEST_SECONDS:.0f}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "gpu_proof",
        "On a machine with a GPU: check driver and libraries, prove every backend that is "
        "installed equal to the reference there, see which kernels ran, measure the suite quick, "
        "and leave one archive of it all.",
        EPILOG,
    )
    add = functools.partial(arguments.add_values, parser)
    total = "for everything together (default: %(default).0f)"
    add(("seconds", "SECONDS", _seconds, total), default=SECONDS)
    place = "where the archive and the result file go (default: %(default)s)"
    add(("output", "DIR", Path, place), default=Path("results"))
    add(("backends", "NAMES", arguments.names, "only these, separated by commas"))
    add(("suite", "NAME|FILE", str, "what to measure (default: quick)"), default="quick")
    # Not for users: lets the tests run all of it where there is no GPU.
    parser.add_argument("--device", default="gpu:0", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    command_line.end(main)
