"""``python -m bench.recommend``: this window, this backend, for a dependency, from results.

The command: ``windows.asked`` answers which window and backend to take, ``batching.asked`` how to
batch sequences of one's own lengths. No framework, and nothing slow to import.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.batching import asked as batching
from bench.batching.lengths import SPELLING
from bench.cli import arguments, command_line, filters
from bench.machine import devices
from bench.machine.folder import DEFAULT_FOLDER, RESULTS_VARIABLE
from bench.machine.writing import ResultWriteError
from bench.windows import asked as windows
from bench.windows.answer import NEAR
from lstm_impl.spec import PRECISIONS
from lstm_impl.workload import SEQUENCE_MODES

ANSWERED, NO_RESULTS = range(2)

FORMATS = ("terminal", "markdown", "json")

EPILOG = f"""\
exit codes:
  0  answered
  1  there are no results near the question; how to get them is told
  2  bad input: an option, a file that cannot be read, a suite that cannot be written

The first line says it: this window, this backend, at what cost. The window is the shortest measured
one of at least what the dependency needs. A map of what windows learn (python -m bench.echo
windows) says what that is: the next distance that a task learned, from the dependency on, and of
several tasks the one that needs the longest window. Beyond what any task learned, the answer says
so first and assumes a multiple of the dependency, at least twice. A longer dependency never gets a
shorter window. Longer windows that take less time per timestep are named. Sequences that end
(--steps) are never cut into windows longer than they are, and inference has no window.

Times are of the same shape, or of one that is near and named as such: batch, hidden and input size
each within a factor of {NEAR:g}. Nothing is scaled and nothing extrapolated. One's own results come
before the reference's, and steps that ask for the weights' gradients alone before those that ask
for more; streams cut into windows come before training on whole sequences of a window's length,
which is the same work but for the carried state. Where nothing near was measured, the nearest is
named, as what it is.

With --lengths the answer is a policy of batching: padding, or buckets with their edges, for
sequences of these lengths in this order, and the backend that makes it cheapest, over --passes
passes of a fresh process. The time of a batch is a line over its timesteps, from cases measured at
three lengths or more of a near shape; a bound says how much the policy can lose if that line is
anywhere in its intervals.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _recommend, words, ResultWriteError)


def _recommend(options: argparse.Namespace) -> int:
    recommend = windows.recommend if options.lengths is None else batching.recommend
    there, answered = recommend(options)
    if there.errors:
        return command_line.BAD_INPUT
    return ANSWERED if answered else NO_RESULTS


def _device(text: str) -> str:
    try:
        return devices.parse(text)
    except devices.DeviceError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "recommend",
        "This truncation window, this backend, at this cost: from the results.",
        EPILOG,
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="result files or folders, those of bench.echo windows too (default: every session in "
        f"${RESULTS_VARIABLE} or {DEFAULT_FOLDER}/, and the reference results)",
    )
    size, add = arguments.SIZE, arguments.add_values
    add(
        parser, ("dependency", "N", size, "how many timesteps back what matters lies (of training)")
    )
    add(parser, ("batch", "N", size, "sequences in a step"), required=True)
    parser.add_argument(
        "--hidden", "--units", metavar="N", type=size, required=True, help="units of a layer"
    )
    add(
        parser,
        ("input", "N", size, "features of a timestep (default: whatever was measured)"),
        ("steps", "N", size, "timesteps of a whole sequence (default: a stream without end)"),
    )
    mode = "inference has no window, and needs --steps"
    arguments.add_choice(parser, "mode", SEQUENCE_MODES, mode, "training")
    arguments.add_choice(parser, "dtype", PRECISIONS, usual="float32")
    arguments.add_usual(
        parser,
        ("device", "NAME", _device, "cpu", "cpu, gpu:0, ..."),
        ("layers", "N", size, 1, "stacked"),
    )
    arguments.add_output(parser, FORMATS, by_name=True)
    filters.add(parser, windows.FILTERS)
    # The other question.
    add(
        parser,
        ("lengths", "LENGTHS", str, f"how to batch sequences of these lengths instead: {SPELLING}"),
    )
    passes = "with --lengths: over all sequences, new shapes traced once"
    arguments.add_usual(parser, ("passes", "N", size, 1, passes))
    add(
        parser,
        (
            *("write-suite", "FILE", Path),
            "write the suite that measures precisely this to a new TOML file",
        ),
        (
            *("backends", "NAMES", arguments.names),
            "of that suite, separated by commas (default: those that are tied, or the usual)",
        ),
    )
    return parser


if __name__ == "__main__":
    command_line.end(main)
