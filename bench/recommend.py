"""``python -m bench.recommend``: this window, this backend, for a dependency, from results.

Reads the results at hand, those of every session and the reference ones, asks ``recommend_answer``,
and tells the answer with its interval, or why there is none and the command that measures it. This
room knows the command and its words. No framework, and nothing slow to import.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from bench import command_line, devices, recommend_suite
from bench.folder import DEFAULT_FOLDER, RESULTS_VARIABLE, default_folder, holds_learning
from bench.learning_results import TASKS, LearningMap
from bench.recommend_answer import (
    NEAR,
    Answer,
    NoAnswer,
    Question,
    answer,
    places,
)
from bench.report_rows import NothingToReportError, Row, build
from bench.report_summary import heading, machine
from bench.report_text import (
    GRADIENT_WORDS,
    LONGEST_NAME,
    bounds,
    clean,
    count,
    listed,
    percent,
    seconds,
    seconds_range,
)
from bench.result_fields import printable
from bench.results import REFERENCE, ResultError, Results, ResultWriteError, collect, write_bytes
from bench.stats import ENOUGH_PROCESSES, Interval, Verdict
from bench.suites import SuiteError
from bench.truncation_cost import timestep_interval, window
from bench.truncation_learned import newest, parted, words
from bench.truncation_words import size
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


class UsageError(ValueError):
    """Options that do not go together; the message is one line."""


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
    document = (_no_answer_data(found) if isinstance(found, NoAnswer) else _answer_data(found)) | {
        "question": asdict(question),
        "answer": _in_one_line(question, found),
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
    told = recommend_suite.text(question, found.need, backends)
    recommend_suite.checked(told, printable(str(path)))
    write_bytes(path, told.encode())
    print(f"written: {printable(str(path))}", file=sys.stderr)


def _measure(question: Question, options: argparse.Namespace, suite: Path | None) -> list[str]:
    """The commands that measure precisely what was asked."""
    name = str(suite or f"{recommend_suite.name(question)}.toml")
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
    print(textwrap.fill(_in_one_line(question, found), _width()))
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
    lines = _no_answer(question, found) if isinstance(found, NoAnswer) else _answer(question, found)
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


def _in_one_line(question: Question, found: Answer | NoAnswer) -> str:
    """This window, this backend, and what they cost; or what is not known."""
    if isinstance(found, NoAnswer):
        if question.training:
            start = f"Take windows of {found.need.window}"
            start += "" if found.need.learned else " (assumed)"
            return f"{start}; with which backend was not measured for this: {_in_short(found)}."
        return f"Which backend is the fastest here was not measured: {_in_short(found)}."
    name = clean(found.best.case.backend, LONGEST_NAME)
    if question.training:
        # What was measured may be longer than the sequences are: then it is only what they cost.
        length = min(found.window, question.steps or found.window)
        start = f"Take windows of {length} and {name}"
        start += "" if found.need.learned else " (the window is assumed)"
    else:
        start = f"Take {name}"
    peak = found.best.memory.get("peak_bytes")
    told = f"{start}: {_with_interval(found.step)} a step"
    told += "" if peak is None else f", {size(peak)}"
    if found.best.invalid:
        told += "; the measurement is INVALID"
    elif found.rivals:
        told += "; others may be as fast"
    if not found.exact:
        near = ", ".join(f"{name} {got} for {asked}" for name, got, asked in found.differences)
        told += f"; measured at a near shape ({near})"
    return f"{told}."


def _in_short(found: NoAnswer) -> str:
    """Why there is no answer, in the middle of a sentence."""
    return clean(found.why[0]).partition("; there are")[0]


def _no_answer(question: Question, found: NoAnswer) -> list[tuple[str, str]]:
    first, *rest = found.why
    lines = [
        ("no results", clean(first)),
        *(("", clean(each)) for each in rest),
    ]
    if question.training:
        lines.insert(0, ("window", f"at least {found.need.window}: {found.need.why}"))
    if (near := found.nearest) is not None:
        case = near.best.case
        what = f"windows of {near.window}" if question.training else f"{near.window} timesteps"
        lines.append(
            (
                "the nearest",
                f"batch {case.workload.batch}, {case.spec.hidden_size} hidden, "
                f"{case.spec.input_size} in: there, at {what}, {_backend_words(near)}; "
                f"{_with_interval(near.step)} a step, which says nothing of what it takes here",
            )
        )
    return lines


def _answer(question: Question, found: Answer) -> list[tuple[str, str]]:
    best, place = found.best, found.place
    timestep, step = found.timestep, found.step
    lines = [("window", _window_words(found))] if question.training else []
    lines += [
        ("backend", _backend_words(found)),
        ("per step", _with_interval(step)),
        ("per timestep", f"{_with_interval(timestep)}, of the whole batch"),
    ]
    peak = best.memory.get("peak_bytes")
    lines.append(("memory", "was not measured" if peak is None else f"{size(peak)} at its peak"))
    setup = best.setup or {}
    starts = [
        f"{word} {seconds(value)}"
        for word, key in (("trace", "trace_s"), ("compile", "compile_s"))
        if (value := setup.get(key)) is not None
    ]
    if starts:
        lines.append(("before it", " and ".join(starts)))
    lines.append(("measured", _place_words(found)))
    lines += [("", each) for each in _cautions(found)]
    if found.longer is not None:
        row = found.longer.row
        told = (
            f"windows of {window(row)} take {percent(found.longer.saves)} less time per timestep "
            f"({seconds(_mid(timestep_interval(row)))}, {clean(row.case.backend, LONGEST_NAME)})"
        )
        more = row.memory.get("peak_bytes")
        if more is not None and peak is not None and more > peak:
            told += f" and {size(more - peak)} more memory"
        lines.append(("longer", told))
    if found.others:
        told = count(found.others, "other measurement")
        lines.append(("also", f"{told} at hand could have answered; this one comes first"))
    if not place.own:
        machines = "; ".join(f"{label}: {text}" for label, text in machine(place.section)[:2])
        lines.append(("reference", f"these are reference results of another machine: {machines}"))
    return lines


def _window_words(found: Answer) -> str:
    told = f"{count(found.window, 'timestep')}"
    if found.window != found.need.window:
        told += f", the shortest measured one of at least {found.need.window}"
    return f"{told}: {found.need.why}"


def _backend_words(found: Answer) -> str:
    name = clean(found.best.case.backend, LONGEST_NAME)
    if found.ahead is None:
        return f"{name}, the only one measured"
    if not found.rivals:
        ratio = found.ahead.ratio.ratio
        next_one = clean(found.ahead.row.case.backend, LONGEST_NAME)
        how = "FASTER than each of the others" if found.sure else "the shortest time"
        return (
            f"{name}, {how}: {next_one}, the next, takes {ratio.mid:.2f} times as long "
            f"({bounds(ratio.low, ratio.high)})"
        )
    same = [each for each in found.rivals if each.ratio.verdict is Verdict.SAME]
    told = []
    if same:
        names = listed([clean(each.row.case.backend, LONGEST_NAME) for each in same])
        told.append(f"the same within 2%: {names} (take the one of less memory or compiling)")
    unclear = [each for each in found.rivals if each not in same]
    if unclear:
        names = listed([clean(each.row.case.backend, LONGEST_NAME) for each in unclear])
        told.append(f"not known to be slower: {names} (more processes may decide; see below)")
    return f"{name} has the shortest time; {'; '.join(told)}"


def _place_words(found: Answer) -> str:
    case = found.best.case
    spec, work = case.spec, case.workload
    if found.exact:
        shape = "exactly this shape"
    else:
        shape = "a near shape, not scaled: " + ", ".join(
            f"{name} {measured} for {asked}" for name, measured, asked in found.differences
        )
    told = [shape, f"{spec.input_size} in"]
    if work.training:
        told.append(f"{work.optimizer} updates" if work.optimizer else "without updates")
        told.append(GRADIENT_WORDS[found.place.gradients])
    if work.training and found.place.kind == "throughput":
        told.append("whole sequences of that length, no state carried")
    return f"{', '.join(told)}; {heading(found.place.section)}"


def _cautions(found: Answer) -> list[str]:
    interval = found.best.interval
    told = []
    if interval is not None and interval.processes < ENOUGH_PROCESSES:
        told.append(f"the interval stands on {interval.how}")
    told += [f"INVALID, do not rely on it: {clean(str(doubt))}" for doubt in found.best.invalid]
    told += [f"doubtful as a time: {clean(str(doubt))}" for doubt in found.best.validity.of_time]
    return told


def _with_interval(interval: Interval) -> str:
    low_high = seconds_range(interval.low, interval.high, interval.mid)
    return f"{seconds(interval.mid)} ({low_high})"


def _mid(interval: Interval | None) -> float:
    assert interval is not None, "of a row that was measured"
    return interval.mid


# As data


def _no_answer_data(found: NoAnswer) -> dict[str, object]:
    return {
        "answered": False,
        "why": list(found.why),
        "needed_window": _need_data(found),
        "nearest": None if found.nearest is None else _answer_data(found.nearest),
    }


def _need_data(found: Answer | NoAnswer) -> dict[str, object]:
    return {
        "window": found.need.window,
        "assumed": not found.need.learned,
        "why": found.need.why,
    }


def _answer_data(found: Answer) -> dict[str, object]:
    case, setup = found.best.case, found.best.setup or {}
    return {
        "answered": True,
        "needed_window": _need_data(found),
        "window": found.window,
        "backend": case.backend,
        "sure": found.sure,
        "rivals": [
            {
                "backend": each.row.case.backend,
                "verdict": each.ratio.verdict.value,
                "ratio": _data(each.ratio.ratio),
            }
            for each in found.rivals
        ],
        "next": None
        if found.ahead is None
        else {
            "backend": found.ahead.row.case.backend,
            "verdict": found.ahead.ratio.verdict.value,
            "ratio": _data(found.ahead.ratio.ratio),
        },
        "time_per_step_s": _data(found.step),
        "time_per_timestep_s": _data(found.timestep),
        "peak_memory_bytes": found.best.memory.get("peak_bytes"),
        "trace_s": setup.get("trace_s"),
        "compile_s": setup.get("compile_s"),
        "exact": found.exact,
        "differences": {
            name: {"measured": measured, "asked": asked}
            for name, measured, asked in found.differences
        },
        "kind": found.place.kind,
        "gradients": found.place.gradients if case.workload.training else None,
        "own": found.place.own,
        "case_id": case.id,
        "case": case.to_dict(),
        "session": found.place.section.run.session,
        "host": found.place.section.run.host,
        "machine": dict(machine(found.place.section)),
        "started": found.place.section.started.isoformat(),
        "processes": found.best.interval.processes if found.best.interval else None,
        "allowance": found.best.interval.allowance if found.best.interval else None,
        "valid": not found.best.invalid,
        "invalid_reasons": [str(doubt) for doubt in found.best.invalid],
        "time_valid": not found.best.validity.time,
        "time_reasons": [str(doubt) for doubt in found.best.validity.time],
        "longer": None if found.longer is None else _longer_data(found.longer.row, found),
    }


def _longer_data(row: Row, found: Answer) -> dict[str, object]:
    return {
        "window": window(row),
        "backend": row.case.backend,
        "time_per_timestep_s": _data(timestep_interval(row)),
        "saves": found.longer.saves if found.longer else None,
        "peak_memory_bytes": row.memory.get("peak_bytes"),
    }


def _data(interval: Interval | None) -> dict[str, float | None] | None:
    if interval is None:
        return None
    parts = {"mid": interval.mid, "low": interval.low, "high": interval.high}
    finite = {name: value if abs(value) < float("inf") else None for name, value in parts.items()}
    return {**finite, "confidence": interval.confidence}


# The options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line; the usage is a screenful, and --help has it."""
        self.exit(BAD_INPUT, f"error: {clean(message, 1000)}; see --help\n")


def _positive(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number from 1")
    return int(text)


def _device(text: str) -> str:
    try:
        return devices.parse(text)
    except devices.DeviceError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
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
        parser.add_argument(*names, metavar="N", type=_positive, required=required, help=text)
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="training",
        help="inference has no window, and needs --steps (default: %(default)s)",
    )
    parser.add_argument(
        "--layers", metavar="N", type=_positive, default=1, help="stacked (default: %(default)s)"
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
        type=lambda text: [each for each in text.split(",") if each],
        help="of that suite, separated by commas (default: those that are tied, or the usual)",
    )
    return parser


if __name__ == "__main__":
    command_line.end(main)
