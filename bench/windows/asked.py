"""What ``bench.recommend`` is asked of windows: options to a question, and its answer told.

Reads what is at hand, one's own results, the reference's and the newest map, asks ``answer``, and
tells what it says with its interval, or why there is nothing to say and what measures it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cli import filters, output
from bench.cli.command_line import UsageError, tell_errors
from bench.cli.progress import read_results
from bench.machine.fields import ResultError, printable
from bench.machine.folder import DEFAULT_FOLDER, REFERENCE, default_folder, holds_no_cases, is_url
from bench.records.maps import TASKS, LearningMap
from bench.records.schema import Results
from bench.stats.ranking import build
from bench.stats.rows import NothingToReportError, Section
from bench.windows import suite_text
from bench.windows.answer import NoAnswer, Question, answer, places
from bench.windows.answer_told import as_json, told
from bench.windows.learned import newest, parted, untold

FILTERS = ("backend", "shape")
"""Of the results; the other filters are the question itself."""

CLONE = Path(__file__).resolve().parents[2]
"""Where the reference results are, if this is a clone and not an installed copy."""


def recommend(options: argparse.Namespace) -> tuple[AtHand, bool]:
    """Answer which window and backend to take; what was at hand, and whether it had an answer."""
    question = _question(options)
    there = at_hand(options.paths)
    if options.paths and there.errors and not there.results.files and there.learned is None:
        return there, False
    found = answer(question, places(sections(there, options), there.reference), there.learned)
    suite = options.write_suite
    if suite is not None:
        suite_text.write(suite, question, found, options.backends or ())
        print(f"written: {printable(str(suite))}", file=sys.stderr)
    said = question, found, there.learned, suite_text.commands(question, options.paths, suite)
    answered = told(*said)
    texts = {"markdown": answered.markdown, "json": lambda: as_json(*said)}
    output.as_asked(options, answered.terminal, texts)
    return there, not isinstance(found, NoAnswer)


def sections(there: AtHand, options: argparse.Namespace) -> Sequence[Section]:
    """Those of what the options choose of the results at hand; none where there is nothing."""
    try:
        return build(filters.chosen(there.results, options, FILTERS)).sections
    except NothingToReportError:
        return ()


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


@dataclass(frozen=True)
class AtHand:
    """reference: the ids of the reference's runs. learned: the newest map. errors: of files."""

    results: Results
    reference: Sequence[str]
    learned: LearningMap | None
    errors: Sequence[ResultError]


def at_hand(paths: Sequence[str]) -> AtHand:
    """All results: of these files and folders, or of every session here and the reference.

    What cannot be read is told on standard error, too.
    """
    paths = paths or ([default_folder()] if is_url(default_folder()) else [])
    reference: list[str] = []
    if paths:
        times, maps = parted(paths)
        results = read_results(times)
        learned, bad = newest(maps, TASKS)
    else:
        own = Path(default_folder())
        folders = list(dict.fromkeys((own, own / REFERENCE, CLONE / DEFAULT_FOLDER / REFERENCE)))
        # A folder without files of its own stands for its reference folder, and one without any is
        # an error of who named it: here nobody has.
        results = read_results([each for each in folders if _holds_results(each)])
        reference = [
            file.run.id for file in results.files if file.path.resolve().parent.name == REFERENCE
        ]
        learned, bad = None, ()
        for place in filter(Path.is_dir, folders):
            learned, bad = newest([place], TASKS)
            if learned is not None or bad:
                break
    also = untold(bad, results.errors)
    tell_errors(also)
    return AtHand(results, reference, learned, [*results.errors, *also])


def _holds_results(folder: Path) -> bool:
    return any(
        each.name.endswith((".json", ".jsonl"))
        and not each.name.startswith(".")
        and not holds_no_cases(each)
        for each in (folder.iterdir() if folder.is_dir() else ())
    )
