"""List the commands by the question they answer, or run one: ``python -m bench``, ``lstm-bench``.

``lstm-bench ask ...`` does the same as ``python -m bench.ask ...``.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from typing import NoReturn

from rich.table import Table
from rich.text import Text

from bench.cli import arguments, command_line, output
from bench.machine.fields import did_you_mean, printable

COMMANDS = {
    "Which backend?": {
        "ask": "which backend is fastest for my shape here? Takes two minutes",
        "run": "measure a suite in fresh processes until the intervals are narrow",
        "report": "which backend won in a run, and can I trust it? --along: the fixed cost",
        "plot": "draw results for a slide or a paper",
    },
    "Where does the time go?": {
        "profile": "where does the time of one case go? By operator, and as a timeline",
    },
    "Is it faster than before, or than elsewhere?": {
        "compare": "compare devices, runs, backends, environments; --fail-on slower for CI",
        "history": "when did it slow down, and which backend? --fail-on for nightly runs",
    },
    "Which truncation window?": {
        "recommend": "which window and backend suit my dependency, and at what cost?",
        "echo": "train the 2016 tutorial's task with any backend, and map its windows",
    },
    "Is this number true?": {
        "check": "does my function, layer or file compute the right LSTM? If not, why?",
        "doctor": "what can run here, what is missing, and what would spoil a measurement?",
        "gpu_proof": "on a GPU: are all backends right, and how fast? Makes one archive",
    },
    "How do I share results?": {
        "submit": "check results and make them anonymous, for a pull request or a URL",
    },
}
"""The commands by the question that they answer, each with a line of description."""


NAMES = tuple(name for answers in COMMANDS.values() for name in answers)


def console() -> NoReturn:
    """Run the command ``lstm-bench``."""
    command_line.run_and_exit(lambda: main(prog="lstm-bench"))


def main(argv: Sequence[str] | None = None, prog: str = "python -m bench") -> int:
    """Run the command that the first argument names, or list the commands. Return the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in NAMES:
        return _run(argv[0], argv[1:])
    if argv and not argv[0].startswith("-"):
        near = did_you_mean(argv[0], NAMES)
        return command_line.report_failure(
            f"there is no command {printable(argv[0], 60)!r}{near}; {prog} lists the commands"
        )
    parser = arguments.Parser(
        prog=prog,
        usage=f"{prog} COMMAND ...",
        description="The commands of the LSTM benchmark suite, by question.",
    )
    parser.add_argument("command", metavar="COMMAND", nargs="?", choices=NAMES)
    parser.parse_args(argv)
    begin = f"{prog} " if prog == "lstm-bench" else f"{prog}."
    command_line.write_non_ascii()
    console = output.make_console()
    wide = max(len(name) for answers in COMMANDS.values() for name in answers)
    for question, answers in COMMANDS.items():
        console.print(Text(question, style="bold"))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(width=len(f"  {begin}") + wide, no_wrap=True)
        grid.add_column()
        for name, answer in answers.items():
            grid.add_row(Text(f"  {begin}{name}"), Text(answer))
        console.print(grid)
        console.print()
    console.print(Text("pytest --benchmark-only measures a suite in one process."))
    return 0


def _run(command: str, argv: Sequence[str]) -> int:
    name = f"bench.{command}"
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        name += ".__main__"  # A package is run through its __main__ module.
    code = importlib.import_module(name).main(argv)
    return int(code)


if __name__ == "__main__":
    command_line.run_and_exit(main)
