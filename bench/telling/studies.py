"""What the commands of studies have in common: fresh processes are asked, and what they said shown.

A process that is asked is the same command with ``--answer``. Of some commands the answers become a
file, which is then shown, and can be shown again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from bench.disk.fields import printable
from bench.disk.folder import default_folder
from bench.disk.writing import ResultWriteError
from bench.machine import fresh
from bench.results import study
from bench.results.study import Study
from bench.telling import arguments, command_line
from bench.telling.inert import clean
from lstm_impl.spec import UnsupportedError

_T = TypeVar("_T")

Asked: TypeAlias = tuple[Mapping[str, object], Sequence[Sequence[Mapping[str, Any]]]]
"""A question as the file has it, and the records of each process that answered."""


def add_processes(
    parser: argparse.ArgumentParser, seconds: float, of: str, processes: str = "fresh ones"
) -> None:
    """How many processes are asked, how long each measures, and where the table goes.

    seconds: usually, of what ``of`` says. processes: what they are.
    """
    parser.add_argument(
        "--processes",
        type=arguments.whole(1),
        default=6,
        help=f"{processes} (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=arguments.seconds,
        default=seconds,
        help=f"of {of} (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments.add_output(parser, ("terminal", "markdown"))
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)


def add_study(parser: argparse.ArgumentParser) -> None:
    """The options ``--folder`` and ``--show``."""
    parser.add_argument("--folder", type=Path, help="where the file is written (default: results/)")
    parser.add_argument(
        "--show", nargs="*", metavar="PATH", help="measure nothing: show a file, or the newest"
    )


def run(
    parser: argparse.ArgumentParser,
    question: Callable[..., _T],
    answer: Callable[[_T], object],
    work: Callable[[argparse.Namespace], int],
    words: Sequence[str] | None,
) -> int:
    """``command_line.run`` of a command that asks processes; in one of these, what it answers.

    question: made of the fields of what is asked.
    """
    options = parser.parse_args(words)
    if options.answer is not None:
        command_line.write_any_letter()
        fresh.answer(options.answer, lambda asked: answer(fresh.question(question, asked)))
        return 0
    return command_line.run(parser, work, words, ResultWriteError, UnsupportedError)


def asked_in_turn(
    module: str, questions: Sequence[object], *, quiet: bool = False
) -> list[Any] | None:
    """What ``python -m MODULE --answer`` makes of each question, each in a process of its own.

    None if one died, which is told. quiet: what the processes print goes nowhere.
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


def ended(
    kind: str,
    options: argparse.Namespace,
    ask: Callable[[], Asked | None],
    show: Callable[[Study], Iterable[str]],
) -> int:
    """Ask, write the answers and show them, or show what was written before; the exit code.

    ask: gives None if a process died, which it has told. show: delivers a study and returns what is
    not in it and why.
    """
    if options.show is not None:
        show(study.newest(options.show, kind))
        return 0
    started = datetime.now(UTC)
    asked = ask()
    if asked is None:
        return 1
    path = study.save(
        study.document(kind, started, *asked), options.folder or Path(default_folder())
    )
    print(f"written: {printable(str(path))}", file=sys.stderr)
    return missing(show(study.read(path, kind)))


def missing(problems: Iterable[str]) -> int:
    """Tell what was not measured and why, a line each; the exit code: 0 if all was."""
    code = 0
    for problem in problems:
        print(f"not measured: {clean(problem, 1000)}", file=sys.stderr)
        code = 1
    return code
