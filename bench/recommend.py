"""``python -m bench.recommend``: this window, this backend, for a dependency, from results.

Reads the results at hand, those of every session and the reference ones, asks ``windows.answer``,
and tells the answer with its interval, or why there is none and the command that measures it. This
room knows the command and its words. No framework, and nothing slow to import.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.disk.fields import ResultError, printable
from bench.disk.folder import DEFAULT_FOLDER, RESULTS_VARIABLE, default_folder, holds_learning
from bench.disk.writing import ResultWriteError, write_bytes
from bench.judging.process_means import ENOUGH_PROCESSES
from bench.judging.ranking import build
from bench.judging.rows import NothingToReportError
from bench.machine import devices
from bench.results.files import REFERENCE, collect
from bench.results.maps import TASKS, LearningMap
from bench.results.schema import Results
from bench.suites.values import SuiteError
from bench.telling import arguments, command_line
from bench.telling.command_line import UsageError
from bench.telling.quantities import count
from bench.windows import suite_text
from bench.windows.answer import NEAR, Answer, NoAnswer, Question, answer, places
from bench.windows.answer_data import answer_data, no_answer_data
from bench.windows.answer_words import full_answer, in_one_line, no_answer
from bench.windows.learned import newest, parted, words
from lstm_impl.spec import PRECISIONS
from lstm_impl.workload import MODES

ANSWERED, NO_RESULTS, BAD_INPUT = range(3)

CLONE = Path(__file__).resolve().parent.parent
"""Where the reference results are, if this is a clone and not an installed copy."""

_USUAL_WIDTH = 100
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
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    options = _parser().parse_args(arguments)
    command_line.write_any_letter()
    try:
        return _recommend(options)
    except (SuiteError, ResultWriteError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT


def _recommend(options: argparse.Namespace) -> int:
    question = _question(options)
    results, reference, learned, errors = _at_hand(options.paths)
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if options.paths and errors and not results.files and learned is None:
        return BAD_INPUT
    try:
        sections = build(results).sections
    except NothingToReportError:
        sections = ()
    found = answer(question, places(sections, reference), learned)
    suite = None
    if options.write_suite is not None:
        suite = options.write_suite
        _write_suite(suite, question, found, options.backends or ())
    document = (no_answer_data(found) if isinstance(found, NoAnswer) else answer_data(found)) | {
        "question": asdict(question),
        "answer": in_one_line(question, found),
        "learned_from": None if learned is None else words(learned, TASKS),
        "measure": _measure(question, options, suite),
    }
    if options.format == "json":
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        _show(question, found, learned, _measure(question, options, suite))
    sys.stdout.flush()
    if errors:
        return BAD_INPUT
    return NO_RESULTS if isinstance(found, NoAnswer) else ANSWERED


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


def _at_hand(
    paths: Sequence[str],
) -> tuple[Results, list[str], LearningMap | None, list[ResultError]]:
    """All results, the ids of the reference's runs, the newest map, and what cannot be read."""
    if paths:
        times, maps = parted(paths)
        results = collect(times)
        learned, bad = newest(maps, TASKS)
        return results, [], learned, [*results.errors, *bad]
    own = Path(default_folder())
    references = list(dict.fromkeys((own / REFERENCE, CLONE / DEFAULT_FOLDER / REFERENCE)))
    # A folder without files of its own stands for its reference folder, and one without any is an
    # error of who named it: here nobody has.
    there = [each for each in (own, *references) if _holds_results(each)]
    results = collect(there)
    reference = [
        file.run.id for file in results.files if file.path.resolve().parent.name == REFERENCE
    ]
    learned, bad = None, ()
    for place in filter(Path.is_dir, (own, *references)):
        learned, bad = newest([place], TASKS)
        if learned is not None or bad:
            break
    return results, reference, learned, [*results.errors, *bad]


def _holds_results(folder: Path) -> bool:
    return any(
        each.name.endswith((".json", ".jsonl"))
        and not each.name.startswith(".")
        and not holds_learning(each)
        for each in (folder.iterdir() if folder.is_dir() else ())
    )


def _write_suite(
    path: Path, question: Question, found: Answer | NoAnswer, backends: Sequence[str]
) -> None:
    # Those that are tied are what is left to decide; else the suite asks the question anew.
    if not backends and isinstance(found, Answer) and found.rivals:
        backends = [row.case.backend for row in (found.best, *(each.row for each in found.rivals))]
    if path.suffix != ".toml":
        raise SuiteError(f"--write-suite {printable(str(path))}: expected a name ending in .toml")
    if path.exists():
        raise SuiteError(f"--write-suite {printable(str(path))}: there is such a file already")
    told = suite_text.text(question, found.need, backends)
    suite_text.checked(told, printable(str(path)))
    write_bytes(path, told.encode())
    print(f"written: {printable(str(path))}", file=sys.stderr)


def _measure(question: Question, options: argparse.Namespace, suite: Path | None) -> list[str]:
    """The commands that measure precisely what was asked."""
    name = str(suite or f"{suite_text.name(question)}.toml")
    found = []
    if suite is None:
        words = ["python", "-m", "bench.recommend"]
        if question.training:
            words += ["--dependency", str(question.dependency)]
        words += ["--batch", str(question.batch), "--hidden", str(question.hidden_size)]
        words += ["--device", question.device]
        for option, value, usual in (
            ("--steps", question.steps, None),
            ("--mode", question.mode, "training"),
            ("--input", question.input_size, None),
            ("--layers", question.num_layers, 1),
            ("--dtype", question.dtype, "float32"),
        ):
            if value != usual:
                words += [option, str(value)]
        found.append(shlex.join([*words, *options.paths, "--write-suite", name]))
    path = name if "/" in name else f"./{name}"
    found.append(f"python -m bench.run {shlex.quote(path)} --processes {ENOUGH_PROCESSES}")
    return found


# In words


def _show(
    question: Question,
    found: Answer | NoAnswer,
    learned: LearningMap | None,
    commands: Sequence[str],
) -> None:
    print(textwrap.fill(in_one_line(question, found), _width()))
    layers = f", {question.num_layers} layers" if question.num_layers > 1 else ""
    inputs = f", {question.input_size} in" if question.input_size else ""
    steps = "" if question.steps is None else f" of {count(question.steps, 'timestep')}"
    if question.training:
        what = f"a dependency of {count(question.dependency, 'timestep')}"
        what += f" in sequences{steps}" if steps else ""
    else:
        what = f"sequences{steps}"
    print(
        f"\nFor {what}, batch {question.batch}{inputs}, {question.hidden_size} hidden{layers}, "
        f"{question.dtype}, {question.mode} on {question.device}:"
    )
    lines = (
        no_answer(question, found) if isinstance(found, NoAnswer) else full_answer(question, found)
    )
    if learned is not None and question.training:
        lines.append(("learned from", words(learned, TASKS)))
    room = max(len(label) for label, _ in lines)
    for label, told in lines:
        start = f"  {label:<{room}}  "
        print(
            textwrap.fill(told, _width(), initial_indent=start, subsequent_indent=" " * len(start))
        )
    print("To measure precisely this:")
    for command in commands:
        print(f"  {command_line.told(command)}")


def _width() -> int:
    """Letters in a line: of a terminal what it holds, and where that is not known a usual one's."""
    known = command_line.width_is_known()
    return max(50, shutil.get_terminal_size().columns if known else _USUAL_WIDTH)


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
        choices=MODES,
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
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="(default: %(default)s)"
    )
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


if __name__ == "__main__":
    command_line.end(main)
