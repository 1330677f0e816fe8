"""``python -m bench.recommend``: this window, this backend, for a dependency, from results.

Reads the results at hand, those of every session and the reference ones, asks ``windows.answer``,
and tells the answer with its interval, or why there is none and the command that measures it. This
room knows the command and its words. No framework, and nothing slow to import.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.batching import advice, words
from bench.batching.lengths import SPELLING, LengthsError, source
from bench.disk.fields import printable
from bench.disk.folder import DEFAULT_FOLDER, RESULTS_VARIABLE
from bench.disk.writing import ResultWriteError
from bench.judging.ranking import build
from bench.judging.rows import NothingToReportError
from bench.machine import devices
from bench.results.only import NothingThereError
from bench.suites.values import SuiteError
from bench.telling import arguments, command_line, deliver, filters
from bench.telling.command_line import UsageError
from bench.windows import suite_text
from bench.windows.answer import NEAR, NoAnswer, Question, answer, places
from bench.windows.answer_data import as_json
from bench.windows.answer_words import told
from bench.windows.at_hand import at_hand
from lstm_impl.spec import PRECISIONS
from lstm_impl.workload import SEQUENCE_MODES

ANSWERED, NO_RESULTS, BAD_INPUT = range(3)

FORMATS = ("terminal", "markdown", "json")
FILTERS = ("backend", "shape")
"""Of the results; the other filters are the question itself."""

DRAWN = 10_000
"""Sequences that are drawn where a distribution is named: shares of them are known to a percent."""

EPILOG = f"""\
exit codes:
  0  answered
  1  there are no results near the question; how to get them is told
  2  bad input: an option, a file that cannot be read, a suite that cannot be written

The first line says it: this window, this backend, at what cost. The window is the shortest measured
one of at least what the dependency needs. That is what a map of what windows learn says (python -m
bench.learning): the next distance that a task learned, from the dependency on, and of several tasks
the one that needs the longest window. Beyond what any task learned it is a multiple of the
dependency, twice at the least, which is named as an assumption. A longer dependency never gets a
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(arguments)
    command_line.write_any_letter()
    try:
        return _recommend(options) if options.lengths is None else _batches(options)
    except (LengthsError, SuiteError, NothingThereError, ResultWriteError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT


def _recommend(options: argparse.Namespace) -> int:
    question, target = _question(options), deliver.Target(options.output)
    there = at_hand(options.paths)
    for error in there.errors:
        print(f"error: {error}", file=sys.stderr)
    if options.paths and there.errors and not there.results.files and there.learned is None:
        return BAD_INPUT
    try:
        sections = build(filters.chosen(there.results, options, FILTERS)).sections
    except NothingToReportError:
        sections = ()
    found = answer(question, places(sections, there.reference), there.learned)
    suite = options.write_suite
    if suite is not None:
        suite_text.write(suite, question, found, options.backends or ())
        print(f"written: {printable(str(suite))}", file=sys.stderr)
    said = question, found, there.learned, suite_text.commands(question, options.paths, suite)
    deliver.deliver(
        options.format or deliver.kind_of(options.output),
        target,
        lambda console: told(*said).terminal(console),
        {"markdown": lambda: told(*said).markdown(), "json": lambda: as_json(*said)},
    )
    if there.errors:
        return BAD_INPUT
    return NO_RESULTS if isinstance(found, NoAnswer) else ANSWERED


def _batches(options: argparse.Namespace) -> int:
    """How to batch sequences of one's own lengths."""
    given, target = source(options.lengths), deliver.Target(options.output)
    if options.dependency is not None or options.steps is not None or options.write_suite:
        raise UsageError(
            "--lengths is a question of its own: without --dependency, --steps, --write-suite"
        )
    every = given.all()
    question = advice.Question(
        given.draw(DRAWN, 0) if every is None else every,
        options.batch,
        options.hidden,
        options.input,
        options.device,
        options.mode,
        options.dtype,
        options.layers,
        options.passes,
    )
    there = at_hand(options.paths)
    for error in there.errors:
        print(f"error: {error}", file=sys.stderr)
    try:
        sections = build(filters.chosen(there.results, options, FILTERS)).sections
    except NothingToReportError:
        sections = ()
    found = advice.advise(question, sections)
    size = question.input_size or question.hidden_size
    measures = ["python", "-m", "bench.lengths", options.lengths, "--batch", str(question.batch)]
    measures += ["--hidden", str(question.hidden_size), "--input", str(size)]
    said = found, shlex.join([*measures, "--mode", question.mode])
    deliver.deliver(
        options.format or deliver.kind_of(options.output),
        target,
        lambda console: words.told(*said).terminal(console),
        {
            "markdown": lambda: words.told(*said).markdown(),
            "json": lambda: json.dumps(words.as_data(*said), indent=2) + "\n",
        },
    )
    if there.errors:
        return BAD_INPUT
    return NO_RESULTS if isinstance(found, advice.NoAdvice) else ANSWERED


def _question(options: argparse.Namespace) -> Question:
    """What the options ask. Raises UsageError where they ask nothing."""
    training, steps, dependency = options.mode == "training", options.steps, options.dependency
    if training and dependency is None:
        raise UsageError("--dependency N is missing: how many timesteps back what matters lies")
    if not training and steps is None:
        raise UsageError("--mode inference needs --steps N: how long the sequences are")
    if training and steps is not None and dependency >= steps:
        raise UsageError(
            f"--dependency {dependency}: nothing lies so far back in sequences of {steps} "
            f"timesteps; expected at most {steps - 1}"
        )
    return Question(
        dependency=dependency or 0,
        batch=options.batch,
        hidden_size=options.hidden,
        device=options.device,
        input_size=options.input,
        num_layers=options.layers,
        dtype=options.dtype,
        steps=steps,
        mode=options.mode,
    )


# The options


def _device(text: str) -> str:
    try:
        return devices.parse(text)
    except devices.DeviceError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(
        prog="python -m bench.recommend",
        description="This truncation window, this backend, at this cost: from the results.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="result files or folders, those of bench.learning too (default: every session in "
        f"${RESULTS_VARIABLE} or {DEFAULT_FOLDER}/, and the reference results)",
    )
    for names, text, required in (
        (["--dependency"], "how many timesteps back what matters lies (of training)", False),
        (["--batch"], "sequences in a step", True),
        (["--hidden", "--units"], "units of a layer", True),
        (["--input"], "features of a timestep (default: whatever was measured)", False),
        (["--steps"], "timesteps of a whole sequence (default: a stream without end)", False),
    ):
        parser.add_argument(
            *names, metavar="N", type=arguments.whole(1, 999_999_999), required=required, help=text
        )
    parser.add_argument(
        "--mode",
        choices=SEQUENCE_MODES,
        default="training",
        help="inference has no window, and needs --steps (default: %(default)s)",
    )
    parser.add_argument(
        "--layers",
        metavar="N",
        type=arguments.whole(1, 999_999_999),
        default=1,
        help="stacked (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype", choices=tuple(PRECISIONS), default="float32", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--device", type=_device, default="cpu", help="cpu, gpu:0, ... (default: %(default)s)"
    )
    arguments.add_output(parser, FORMATS, by_name=True)
    filters.add(parser, FILTERS)
    _add_lengths(parser)
    parser.add_argument(
        "--write-suite",
        metavar="FILE",
        type=Path,
        help="write the suite that measures precisely this to a new TOML file",
    )
    parser.add_argument(
        "--backends",
        metavar="NAMES",
        type=arguments.names,
        help="of that suite, separated by commas (default: those that are tied, or the usual)",
    )
    return parser


def _add_lengths(parser: argparse.ArgumentParser) -> None:
    """The other question."""
    parser.add_argument(
        "--lengths",
        metavar="LENGTHS",
        help=f"how to batch sequences of these lengths instead: {SPELLING}",
    )
    parser.add_argument(
        "--passes",
        metavar="N",
        type=arguments.whole(1, 999_999_999),
        default=1,
        help="with --lengths: over all sequences, new shapes traced once (default: %(default)s)",
    )


if __name__ == "__main__":
    command_line.end(main)
