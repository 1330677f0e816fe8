"""Recommend a truncation window and a backend from results: ``python -m bench.recommend``."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cli import arguments, command_line, filters, output, suite_text
from bench.cli.command_line import UsageError, print_errors
from bench.cli.progress import read_results
from bench.machine import devices
from bench.machine.fields import ResultError, printable
from bench.machine.reading import (
    DEFAULT_FOLDER,
    REFERENCE,
    RESULTS_VARIABLE,
    SHARED,
    default_folder,
    is_url,
)
from bench.machine.writing import ResultWriteError
from bench.records.files import result_files
from bench.records.maps import TASKS, LearningMap, find_newest, list_unreported, split_paths
from bench.records.schema import Results
from bench.render import recommend as shown
from bench.verdicts import recommend
from bench.verdicts.recommend import NEAR
from bench.verdicts.sections import NothingToReportError, build
from lstm_impl.spec import PRECISIONS
from lstm_impl.workload import SEQUENCE_MODES

ANSWERED, NO_RESULTS = range(2)

FORMATS = ("terminal", "markdown", "json")

EPILOG = f"""\
exit codes:
  0  the command gave a recommendation
  1  there are no results near the requested shape; the answer says how to measure them
  2  bad input: a wrong option, a file that cannot be read, or a suite that cannot be written

The newest map of what windows learn says how long a window the dependency needs; python -m
bench.echo windows measures such a map. Without a map, the command assumes twice the dependency plus
one timestep. It recommends the shortest measured window of at least this length.

Times come from the same shape, or from a similar shape that the answer names. A shape is similar if
its batch, hidden and input sizes each differ by a factor of at most {NEAR:g}. Nothing is scaled or
extrapolated. docs/truncation.md describes the method.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _recommend, argv, ResultWriteError)


def _device(text: str) -> str:
    try:
        return devices.parse(text)
    except devices.DeviceError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
        "recommend",
        "Recommend a truncation window and a backend from results, and state the cost.",
        EPILOG,
    )
    every = f"every session in ${RESULTS_VARIABLE} or {DEFAULT_FOLDER}/, and the reference results"
    text = f"result files or folders, including those of bench.echo windows (default: {every})"
    parser.add_argument("paths", nargs="*", metavar="PATH", help=text)
    size, add = arguments.SIZE, arguments.add_values
    add(parser, ("batch", "N", size, "number of sequences in a batch"), required=True)
    parser.add_argument(
        *("--hidden", "--units"),
        metavar="N",
        type=size,
        required=True,
        help="number of units of a layer",
    )
    write = "write the suite that measures exactly this to a new TOML file"
    those = "backends of that suite, separated by commas (default: the fastest or usual ones)"
    add(
        parser,
        ("dependency", "N", size, "timesteps between an input and its effect (for training)"),
        ("input", "N", size, "number of features of a timestep (default: any measured one)"),
        ("steps", "N", size, "timesteps of a complete sequence (default: an endless stream)"),
        ("write-suite", "FILE", Path, write),
        ("backends", "NAMES", arguments.parse_names, those),
    )
    mode = "inference uses no window and needs --steps"
    arguments.add_choice(parser, "mode", SEQUENCE_MODES, mode, "training")
    arguments.add_choice(parser, "dtype", PRECISIONS, default="float32")
    arguments.add_with_default(
        parser,
        ("device", "NAME", _device, "cpu", "cpu, gpu:0, ..."),
        ("layers", "N", size, 1, "number of stacked layers"),
    )
    arguments.add_output(parser, FORMATS)
    filters.add_filters(parser, FILTERS)
    return parser


FILTERS = ("backend", "shape")
"""The filters of results. The other filters are options of the query instead."""


def _recommend(options: argparse.Namespace) -> int:
    there = read_available(options.paths)
    if options.paths and there.errors and not there.results.files and there.learned is None:
        return command_line.BAD_INPUT
    query = _query(options)
    try:
        sections = build(filters.apply_filters(there.results, options, FILTERS)).sections
    except NothingToReportError:
        sections = ()
    measured = recommend.places(sections, there.reference)
    found = recommend.answer(query, measured, there.learned)
    suite = options.write_suite
    if suite is not None:
        suite_text.write_suite(suite, query, found, options.backends or ())
        print(f"written: {printable(str(suite))}", file=sys.stderr)
    commands = suite_text.list_commands(query, options.paths, suite)
    typed = list(map(command_line.escape_command, commands))
    answer = shown.document(query, found, there.learned, typed)
    texts = {
        "markdown": answer.markdown,
        "json": lambda: shown.as_json(query, found, there.learned, commands),
    }
    output.deliver(options, answer.terminal, texts)
    if there.errors:
        return command_line.BAD_INPUT
    return NO_RESULTS if isinstance(found, recommend.NoRecommendation) else ANSWERED


def _query(options: argparse.Namespace) -> recommend.Query:
    training, steps, dependency = options.mode == "training", options.steps, options.dependency
    if training and dependency is None:
        raise UsageError(
            "--dependency N is missing; give the number of timesteps between an input and its "
            "effect"
        )
    if not training and steps is None:
        raise UsageError("--mode inference needs --steps N, the length of the sequences")
    if training and steps is not None and dependency >= steps:
        raise UsageError(
            f"--dependency {dependency}: sequences of {steps} timesteps cannot hold such a long "
            f"dependency; expected at most {steps - 1}"
        )
    return recommend.Query(
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


@dataclass(frozen=True)
class AvailableResults:
    """Hold the results from which a recommendation can be made.

    reference: the ids of the runs that belong to the reference results. learned: the newest map of
    what windows learn, or None. errors: one for each file that could not be read.
    """

    results: Results
    reference: Sequence[str]
    learned: LearningMap | None
    errors: Sequence[ResultError]


def read_available(paths: Sequence[str]) -> AvailableResults:
    """Read the results of these paths, or of all sessions and the reference results.

    Prints an error for each unreadable file.
    """
    paths = paths or ([default_folder()] if is_url(default_folder()) else [])
    reference: list[str] = []
    if paths:
        times, maps = split_paths(paths)
        results = read_results(times)
        learned, bad = find_newest(maps, TASKS)
    else:
        own = Path(default_folder())
        folders = list(dict.fromkeys((own, own / REFERENCE, SHARED / DEFAULT_FOLDER / REFERENCE)))
        # The user did not name these folders, so an empty one is no error.
        results = read_results([each for each in folders if result_files(each)])
        reference = [
            file.run.id for file in results.files if file.path.resolve().parent.name == REFERENCE
        ]
        found = (find_newest([place], TASKS) for place in folders if place.is_dir())
        learned, bad = next((each for each in found if any(each)), (None, ()))
    also = list_unreported(bad, results.errors)
    print_errors(also)
    return AvailableResults(results, reference, learned, [*results.errors, *also])


if __name__ == "__main__":
    command_line.run_and_exit(main)
