"""What ``bench.recommend`` is asked of windows: options to a question, and its answer told.

Reads the results at hand, those of every session and the reference ones, asks ``answer``, and tells
what it says with its interval, or why there is nothing to say and the command that measures it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.disk.fields import printable
from bench.judging.ranking import build
from bench.judging.rows import NothingToReportError, Section
from bench.telling import deliver, filters
from bench.telling.command_line import UsageError
from bench.windows import suite_text
from bench.windows.answer import NoAnswer, Question, answer, places
from bench.windows.answer_data import as_json
from bench.windows.answer_words import told
from bench.windows.at_hand import AtHand, at_hand

FILTERS = ("backend", "shape")
"""Of the results; the other filters are the question itself."""


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
    deliver.as_asked(options, answered.terminal, texts)
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
