"""``python -m bench`` and ``lstm-bench``: list the commands by question, or run one.

``lstm-bench ask ...`` does what ``python -m bench.ask ...`` does.
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
        "ask": "which backend for my shape, on this machine? Two minutes, two lines",
        "run": "measure a suite in fresh processes until the intervals are narrow",
        "report": "what a run found: which is fastest, and can it be trusted? --along: fixed cost",
        "plot": "a picture of results for a slide or a paper",
    },
    "Where does the time go?": {
        "profile": "where does a case's time go? By operator, and as a timeline",
    },
    "Is it faster than before, or than there?": {
        "compare": "devices, runs, backends, Python environments; --fail-on slower for CI",
        "history": "when did it slow down, and which backend? --fail-on slower for a nightly",
    },
    "Which truncation window?": {
        "recommend": "which window and backend for my dependency, and at what cost?",
        "echo": "the 2016 tutorial's task with any backend, and what a window learns",
    },
    "Is this number true?": {
        "check": "does any function, layer or file compute the right LSTM? And if not, why?",
        "doctor": "what can run here, why not the rest, what would spoil a measurement?",
        "gpu_proof": "on a GPU: are all backends right there, and how fast? One archive",
    },
    "How do I share results?": {
        "submit": "check result files, make them anonymous, for a pull request or to a URL",
    },
}
"""By question, the names of commands and what they answer."""


NAMES = tuple(name for answers in COMMANDS.values() for name in answers)


def console() -> NoReturn:
    """Run ``lstm-bench``."""
    command_line.end(lambda: main(prog="lstm-bench"))


def main(words: Sequence[str] | None = None, prog: str = "python -m bench") -> int:
    """Run the command that the first word names, or print the list; return the exit code."""
    words = sys.argv[1:] if words is None else words
    if words and words[0] in NAMES:
        return _run(words[0], words[1:])
    if words and not words[0].startswith("-"):
        near = did_you_mean(words[0], NAMES)
        return command_line.failed(
            f"there is no command {printable(words[0], 60)!r}{near}; {prog} lists the commands"
        )
    parser = arguments.Parser(
        prog=prog,
        usage=f"{prog} COMMAND ...",
        description="The commands of the LSTM benchmark suite, by question.",
    )
    parser.add_argument("command", metavar="COMMAND", nargs="?", choices=NAMES)
    parser.parse_args(words)
    begin = f"{prog} " if prog == "lstm-bench" else f"{prog}."
    command_line.write_any_letter()
    console = output.console()
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


def _run(command: str, words: Sequence[str]) -> int:
    name = f"bench.{command}"
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        name += ".__main__"  # a package
    code = importlib.import_module(name).main(words)
    return int(code)


if __name__ == "__main__":
    command_line.end(main)
