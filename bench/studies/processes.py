"""What the commands of studies have in common: fresh processes are asked, and what they said shown.

A process that is asked is the same command with ``--answer``. Of some commands the answers become a
file, which is then shown, and which ``bench.report`` shows again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from bench.cli import arguments, command_line
from bench.cli.command_line import UsageError
from bench.cli.output import CommandOutput
from bench.machine import fresh
from bench.machine.fields import printable
from bench.machine.reading import default_folder
from bench.machine.writing import ResultWriteError
from bench.records import study
from bench.records.study import Study
from bench.render.escape import clean
from lstm_impl.spec import UnsupportedError

_T = TypeVar("_T")

Answers: TypeAlias = tuple[Mapping[str, object], Sequence[Sequence[Mapping[str, Any]]]]
"""A question as the file has it, and the records of each process that answered."""


def add_processes(
    parser: argparse.ArgumentParser, seconds: float, of: str, processes: str = "fresh ones"
) -> None:
    """How many processes are asked, how long each measures, and where the table goes.

    seconds: usually, of what ``of`` says. processes: what they are.
    """
    arguments.add_usual(
        parser,
        ("processes", "N", arguments.whole(1), 6, processes),
        ("seconds", "TIME", arguments.seconds, seconds, f"of {of}"),
        ("seed", "N", int, 0, ""),
    )
    arguments.add_output(parser, ("terminal", "markdown"))
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)


def add_study(parser: argparse.ArgumentParser) -> None:
    """The option ``--folder``."""
    parser.add_argument("--folder", type=Path, help="where the file is written (default: results/)")


def run(
    parser: argparse.ArgumentParser,
    question: Callable[..., _T],
    answer: Callable[[_T], object],
    work: Callable[[argparse.Namespace], int],
    words: Sequence[str] | None,
) -> int:
    """``command_line.run`` of a command that asks processes; in one of these, what it answers.

    question: made of the fields of what is requested.
    """
    options = parser.parse_args(words)
    if options.answer is not None:
        command_line.write_any_letter()
        fresh.answer(options.answer, lambda requested: answer(fresh.question(question, requested)))
        return 0
    return command_line.run(parser, work, words, ResultWriteError, UnsupportedError)


def asked_in_turn(
    module: str, questions: Sequence[object], *, quiet: bool = False
) -> list[Any] | None:
    """What ``python -m MODULE --answer`` makes of each question, each in a process of its own.

    None if one died, which is reported. quiet: what the processes print goes nowhere.
    """
    answers = []
    for number, question in enumerate(questions, start=1):
        print(f"process {number} of {len(questions)}", file=sys.stderr)
        found = fresh.ask(["-m", module, "--answer"], question, quiet=quiet)
        if isinstance(found, fresh.Died):
            ended = "took too long" if found.code is None else fresh.ending(found.code)
            said = found.said or "it said nothing"
            print(f"error: a measuring process {ended}: {said}", file=sys.stderr)
            return None
        answers.append(found)
    return answers


def asked_anew(
    module: str, question: Any, options: argparse.Namespace, *, quiet: bool = False
) -> list[Any] | None:
    """``asked_in_turn`` as many processes as the options say, each with a seed of its own."""
    seeds = range(options.seed, options.seed + options.processes)
    return asked_in_turn(
        module, [{**asdict(question), "seed": seed} for seed in seeds], quiet=quiet
    )


def ended(
    kind: str,
    ask: Callable[[argparse.Namespace], Answers | None],
    messages: Callable[[Study], tuple[CommandOutput, Sequence[str]]],
    options: argparse.Namespace,
) -> int:
    """Ask, write the answers and show them; the exit code.

    ask: gives None if a process died, which it has told. told: of a study what is shown, and what
    is not in it and why.
    """
    started = datetime.now(UTC)
    requested = ask(options)
    if requested is None:
        return 1
    path = study.save(
        study.document(kind, started, *requested), options.folder or Path(default_folder())
    )
    print(f"written: {printable(str(path))}", file=sys.stderr)
    return missing(shown(messages(study.read(path, kind)), options))


def check(table: Sequence[object], problems: Sequence[str]) -> None:
    """Raise UsageError where a study holds no line of a table, and why it does not."""
    if not table:
        raise UsageError(f"nothing was measured: {problems[0] if problems else 'no records'}")


def shown(said: tuple[CommandOutput, Sequence[str]], options: argparse.Namespace) -> Sequence[str]:
    """Deliver what a study says, with a note on each that is not in it; these."""
    described, problems = said
    notes = (f"Not measured: {clean(each)}." for each in problems)
    replace(described, last=(*described.last, *notes)).deliver(options)
    return problems


def missing(problems: Iterable[str]) -> int:
    """Tell what was not measured and why, a line each; the exit code: 0 if all was."""
    code = 0
    for problem in problems:
        print(f"not measured: {clean(problem, 1000)}", file=sys.stderr)
        code = 1
    return code
