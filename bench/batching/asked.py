"""What ``bench.recommend --lengths`` is asked: options to a question of batches, and its answer."""

from __future__ import annotations

import argparse
import shlex

from bench.batching import advice, words
from bench.batching.lengths import source
from bench.telling.command_line import UsageError
from bench.telling.sheet import json_text
from bench.windows.asked import AtHand, at_hand, sections

DRAWN = 10_000
"""Sequences that are drawn where a distribution is named: shares of them are known to a percent."""


def recommend(options: argparse.Namespace) -> tuple[AtHand, bool]:
    """Advise how to batch sequences of one's own lengths; what was at hand, if it could."""
    given = source(options.lengths)
    if options.dependency is not None or options.steps is not None or options.write_suite:
        raise UsageError(
            "--lengths is a question of its own: without --dependency, --steps, --write-suite"
        )
    question = advice.Question(
        given.draw(DRAWN, 0) if given.known is None else given.known,
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
    found = advice.advise(question, sections(there, options))
    size = question.input_size or question.hidden_size
    measures = ["python", "-m", "bench.lengths", options.lengths, "--batch", str(question.batch)]
    measures += ["--hidden", str(question.hidden_size), "--input", str(size)]
    command = shlex.join([*measures, "--mode", question.mode])
    words.told(found, command).deliver(
        options, json=lambda: json_text(words.as_data(found, command))
    )
    return there, not isinstance(found, advice.NoAdvice)
