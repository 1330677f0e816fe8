"""``python -m bench.gpu_proof``: are the backends right on this GPU, and how fast; one archive.

The stages share a time budget: the machine and its frameworks, the equivalence matrix with the
evidence of what ran, the tests that need a GPU, the suite ``quick`` and its report. Each that
starts a framework is a process that is ended when its time is up, and whatever was found until then
is in the archive. This module knows the order, the time, the verdict and the archive; what a stage
does is the work of other modules.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import case as suites
from bench.case.loading import SuiteChoice
from bench.cli import arguments, command_line
from bench.cli.command_line import UsageError
from bench.machine import devices
from bench.machine.lock import HeldError, MachineLock
from bench.session.proof import NO_DEVICE, RESERVE, Budget, Proof, prove
from lstm_impl import UnsupportedError, get_backend

SECONDS = 480.0

FEWEST_SECONDS = 10.0
"""Under this no stage could even start Python."""

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
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        budget = Budget(options.seconds, RESERVE * options.seconds)
        proof = Proof(device, options.suite, datetime.now(UTC))
        with MachineLock() as lock:
            lock.acquire(f"gpu_proof {options.suite}")
            return prove(proof, names, options.output, budget)
    except HeldError as error:
        raise UsageError(f"{error}; run this again when it has ended") from None
    except OSError as error:
        raise UsageError(f"{error.filename or options.output}: {error.strerror}") from None


# -- the command line


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
    parser = arguments.parser(
        "gpu_proof",
        "On a machine with a GPU: check driver and libraries, prove every backend that is "
        "installed equal to the reference there, see which kernels ran, measure the suite quick, "
        "and leave one archive of it all.",
        EPILOG,
    )
    add = functools.partial(arguments.add_values, parser)
    whole = "for everything together (default: %(default).0f)"
    add(("seconds", "SECONDS", _seconds, whole), default=SECONDS)
    place = "where the archive and the result file go (default: %(default)s)"
    add(("output", "DIR", Path, place), default=Path("results"))
    add(("backends", "NAMES", arguments.names, "only these, separated by commas"))
    add(("suite", "NAME|FILE", str, "what to measure (default: quick)"), default="quick")
    # Not for users: lets the tests run all of it where there is no GPU.
    parser.add_argument("--device", default="gpu:0", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    command_line.end(main)
