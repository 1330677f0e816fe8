"""Prove and measure the backends on a GPU, and collect everything in one archive.

This is ``python -m bench.gpu_proof``. It runs the following commands, each in its share of the
time:

1. ``bench.doctor``;
2. ``bench.run`` with the suite ``matrix``: small cases that together use every feature of an LSTM,
   pass the equivalence gate and record which kernels ran;
3. the tests that need a GPU;
4. ``bench.run`` with the suite ``quick``;
5. ``bench.report``.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench import case as suites
from bench import records
from bench.case.loading import SuiteChoice
from bench.cli import arguments, command_line
from bench.cli.command_line import INTERRUPTED, UsageError
from bench.machine import devices
from bench.machine.lock import HeldError, LockError, MachineLock
from bench.machine.processes import kill_group, last_line
from bench.machine.writing import ResultWriteError, write_bytes
from bench.records.seeds import newest_seed
from bench.render.escape import clean
from bench.render.messages import reason_line, reason_texts
from bench.render.quantities import count
from bench.session.exit_codes import INCOMPLETE as BUDGET_SPENT
from lstm_impl import UnsupportedError
from lstm_impl.names import canonical

SECONDS = 480.0

RESERVE = 30.0
"""The time that is reserved for the report and the archive, in seconds."""

DOCTOR_SHARE, MATRIX_SHARE, TESTS_SHARE = 0.2, 0.45, 0.25
"""The share of the remaining time that each stage gets. The suite gets all the rest."""

COMPARED = ("keras", "torch", "jax_cudnn", "jax_scan")
"""These backends are measured next to those of the suite: what users have today, and what compiles
within seconds.
"""

MOST_PROCESSES = 8
CASE_LIMIT = 150.0
"""The time limit for one small case, in seconds, including the start of its framework and
compilation. The slowest case took 45 s, on two processors that five processes shared. Kernels that
nvcc compiles may take longer.
"""

GRACE = 20.0
"""After its time is up, a process gets this many seconds to write what it has found."""

TESTS = Path(__file__).resolve().parents[1] / "tests"
"""The folder of the tests. It exists only in a clone."""

GPU_TEST = "on_a_gpu_"
"""A part of the name of every test that needs a GPU."""

TESTS_FAILED = 1  # pytest's exit code

MATRIX = "matrix"
"""The suite with a case that each backend can compute."""

ENVIRON = {
    # Several processes share the GPU, but by default each framework takes most of its memory.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}

PROVEN, FAILED, BAD_INPUT, NO_DEVICE, NO_BACKEND, INCOMPLETE = range(6)
VERDICTS = {
    PROVEN: "PROVEN: every backend that is available here is right and was measured",
    FAILED: "FAILED: something here is wrong or crashed",
    NO_BACKEND: "NO BACKEND: no installed backend can use this device",
    INCOMPLETE: "INCOMPLETE: nothing failed, but the time was up before everything was done",
    INTERRUPTED: "INTERRUPTED: stopped from the keyboard",
}

EPILOG = """\
exit codes:
  0    every backend that is available here passed, and the suite was measured
  1    something failed: a backend computes wrong results, `cudnn` ran without a cuDNN kernel, or
       a process crashed; the lines and the archive say what
  2    bad input, or another run measures on this machine
  3    no GPU: this machine has none that CUDA programs may use
  4    there is a GPU, but no installed backend can use it; the output says what to install
  5    nothing failed, but the time was up before everything was checked and measured
  130  stopped from the keyboard; the archive holds what was found until then

The archive is written except with the exit codes 2 and 3.
"""


@dataclass
class Proof:
    """Hold what was found so far.

    folder: its content becomes the archive. end: when the time is up, on the monotonic clock.
    available: the framework of each backend that can run on the device. failures, unfinished: one
    line each.
    """

    device: str
    folder: Path
    end: float
    available: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)

    def share(self, part: float) -> float:
        """Return the seconds for a stage that may take this part of the remaining time."""
        return max(1.0, part * (self.end - RESERVE - time.monotonic()))

    def run(self, commands: Mapping[str, Sequence[str]], seconds: float) -> dict[str, int | None]:
        """Run modules side by side for at most ``seconds``, and return their exit codes.

        The exit code is None for a module that was stopped.
        """
        end, environ = time.monotonic() + seconds, {**ENVIRON, **os.environ}
        codes: dict[str, int | None] = dict.fromkeys(commands)
        with contextlib.ExitStack() as stack:
            started = {}
            for name, command in commands.items():
                log = stack.enter_context((self.folder / f"{name}.log").open("ab"))
                started[name] = subprocess.Popen(
                    [sys.executable, "-m", *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environ,
                    # In a session of its own, the children of a process can be ended together with
                    # it.
                    start_new_session=True,
                )
                stack.callback(_end_process, started[name])
            for name, process in started.items():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    codes[name] = process.wait(max(0.0, end - time.monotonic()))
        return codes

    def last_output(self, name: str) -> str:
        """Return the last line of a log, or say that the process printed nothing."""
        text = (self.folder / f"{name}.log").read_text(errors="replace")
        return clean(last_line(text).strip("= ")) or "it printed nothing"

    def measure(
        self, suite: str, parts: Mapping[str, Sequence[str]], part: float, *more: str
    ) -> None:
        """Run a suite once for each part, with the part's own backends and folder.

        The folder has the name of the part.
        """
        seconds = self.share(part)
        backends = [name for part in parts.values() for name in part]
        print(f"the suite {suite}, {count(len(backends), 'backend')}, at most {seconds:.0f} s")
        options = ["--device", self.device, "--processes", "1", "--memory", "off", *more]
        options += ["--budget", f"{seconds:.1f}s", "--case-limit", f"{CASE_LIMIT:g}s"]
        options.append("--force")  # This process holds the machine's lock.
        commands = {
            name: [
                *("bench.run", suite, "--results", str(self.folder / name), *options),
                *("--backends", ",".join(part)),
            ]
            for name, part in parts.items()
        }
        self.judge(suite, backends, self.run(commands, seconds + GRACE))

    def judge(self, suite: str, backends: Sequence[str], codes: Mapping[str, int | None]) -> None:
        """Collect the failures in the results of a suite, and what is unfinished."""
        found = records.collect([path for name in codes if (path := self.folder / name).is_dir()])
        # bench.doctor found that the case can run here, so it is a failure if it cannot.
        failed = [each for each in found.outcomes if each.outcome not in ("refused", "interrupted")]
        failures = [
            *map(str, found.errors),
            *(f"{each.case.id}: {reason_texts(each.reason)[0]}" for each in failed),
        ]
        failures += [
            f"{each.case.id}: equal to the reference, but no kernel was seen on {self.device}: the "
            "backend may have computed on the CPU, or the profiler had no permission"
            for each in found.measurements
            if devices.kind(self.device) == "gpu" and not each.evidence.get("kernels")
        ]
        for name, code in codes.items():
            if code in (None, BUDGET_SPENT):
                self.unfinished.append(f"{suite}: the time was up; see {name}.log")
            elif code != 0 and not failures:
                line = self.last_output(name)
                failures.append(f"bench.run ended with exit code {code}: {line}; see {name}.log")
        if suite == MATRIX and not any(code in (None, BUDGET_SPENT) for code in codes.values()):
            known = {each.case.backend for each in found.measurements}
            refusing = [name for name in backends if name not in known and not failures]
            failures += [f"{name} computed none of its cases" for name in refusing]
        self.failures += [f"{suite}: {failure}" for failure in failures]
        print(
            f"  {count(len(found.measurements), 'case')} right and measured, "
            f"{len(failures)} FAILED",
            flush=True,
        )

    def run_tests(self, folder: Path) -> None:
        """Run the project's tests that need a GPU, if there are any."""
        files = [
            str(path)
            for path in sorted(folder.rglob("test_*.py"))
            if re.search(rf"def test_\w*{GPU_TEST}", path.read_text("utf-8", "replace"))
        ]
        if not files:
            return
        seconds = self.share(TESTS_SHARE)
        print(f"the tests that need a GPU, at most {seconds:.0f} s", flush=True)
        command = ["pytest", "--color=no", "-p", "no:cacheprovider", "-k", GPU_TEST, *files]
        code = self.run({"tests": command}, seconds)["tests"]
        note = f"tests: {self.last_output('tests')}; see tests.log"
        if code == TESTS_FAILED:
            self.failures.append(note)
        elif code is None:
            self.unfinished.append("tests: the time was up; see tests.log")
        elif code != 0:
            self.unfinished.append(f"{note}; pip install -e '.[test]' installs what tests need")


def _end_process(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    kill_group(process)  # Children that outlive the process would go on using the device.
    process.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    errors = (UnsupportedError, ResultWriteError, LockError)
    return command_line.run(_parser(), _prove, argv, *errors)


def _prove(options: argparse.Namespace) -> int:
    device = devices.parse(options.device)
    choice = SuiteChoice(None, (device,), None)
    named = [case.backend for case in suites.load(options.suite, choice).cases]
    for name in options.backends or ():
        canonical(name)
    if missing := devices.explain_missing(device):
        print(reason_line(missing))
        return NO_DEVICE
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{options.output}: {error.strerror}") from None
    title, code = f"gpu-proof-{datetime.now(UTC):%Y%m%dT%H%M%SZ}", PROVEN
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(MachineLock())
        try:
            lock.acquire(f"gpu_proof {options.suite}")
        except HeldError as error:
            raise UsageError(f"{error}; run this again when it has ended") from None
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        proof = Proof(device, scratch / title, time.monotonic() + options.seconds)
        proof.folder.mkdir()
        try:
            prove(proof, options, named)
        except KeyboardInterrupt:
            code = INTERRUPTED
        if code == PROVEN and proof.failures:
            code = FAILED
        elif code == PROVEN and proof.unfinished:
            code = INCOMPLETE
        elif code == PROVEN and not proof.available:
            code = NO_BACKEND
        lines = [VERDICTS[code], *(f"  failed: {clean(line, 400)}" for line in proof.failures)]
        lines += [f"  not done: {clean(line, 400)}" for line in proof.unfinished]
        if device == "cpu":
            lines.append("  this ran on the CPU, so it proves nothing about a GPU")
        (proof.folder / "summary.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for path in (proof.folder / "measured").glob("*.json"):
            # bench.report reads the user's folder, so the results are also copied there.
            write_bytes(options.output / path.name, path.read_bytes())
        made = shutil.make_archive(str(proof.folder), "gztar", scratch, title)
        archive = options.output / f"{title}.tar.gz"
        write_bytes(archive, Path(made).read_bytes())
    print("", *lines, f"archive: {archive}", sep="\n")
    return code


def prove(proof: Proof, options: argparse.Namespace, named: Sequence[str]) -> None:
    """Run all stages. named: the backends of the suite."""
    path = proof.folder / "doctor.json"
    command = ["bench.doctor", "--device", proof.device, "--format", "json", "--output", str(path)]
    command += ["--backends", ",".join(options.backends)] if options.backends else []
    codes = proof.run({"doctor": command}, proof.share(DOCTOR_SHARE))
    if codes["doctor"] is None:
        proof.unfinished.append("bench.doctor: the time was up; see doctor.log")
        return
    if not path.exists():
        proof.failures.append(f"bench.doctor: {proof.last_output('doctor')}; see doctor.log")
        return
    for entry in json.loads(path.read_bytes())["backends"]:
        on = entry["devices"][proof.device]
        if on["available"]:
            proof.available[entry["name"]] = entry["framework"]
        else:
            print(f"{entry['name']}: {clean(on['reason'])}; {clean(on['install'])}", flush=True)
    if not proof.available:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    size = -(-len(proof.available) // min(MOST_PROCESSES, max(1, cores // 2)))
    names = sorted(proof.available, key=proof.available.__getitem__)  # by framework
    parts = {f"matrix-{n}": names[n : n + size] for n in range(0, len(names), size)}
    proof.measure(MATRIX, parts, MATRIX_SHARE, "--seconds", "0.02s")  # its times mean nothing
    proof.run_tests(TESTS)
    compared = [name for name in dict.fromkeys([*named, *COMPARED]) if name in proof.available]
    parts = {"measured": compared or names}
    proof.measure(options.suite, parts, 1.0, "--seed", str(options.seed))
    report = ["bench.report", "--format", "markdown", str(proof.folder / "measured")]
    proof.run({"report": report}, RESERVE)


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
        "gpu_proof",
        "On a machine with a GPU: check the driver and the libraries, prove every installed "
        "backend equal to the reference there, see which kernels ran, measure the suite quick, and "
        "collect everything in one archive.",
        EPILOG,
    )
    add = arguments.add_values
    total = f"time for everything (default: {SECONDS:.0f}s)"
    add(parser, ("seconds", "TIME", arguments.parse_seconds, total), default=SECONDS)
    place = "the folder for the archive and the result file (default: %(default)s)"
    add(parser, ("output", "DIR", Path, place), default=Path("results"))
    add(parser, ("backends", "NAMES", arguments.parse_names, "only these, separated by commas"))
    add(
        parser,
        ("suite", "NAME|FILE", str, "the suite to measure (default: quick)"),
        default="quick",
    )
    add(
        parser,
        ("seed", "N", arguments.make_integer_parser(0, 2**53), "the seed for bench.run"),
        default=newest_seed(),
    )
    # Tests use this option to run everything without a GPU.
    parser.add_argument("--device", default="gpu:0", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
