"""Remake the parts of documents that commands print or draw.

The numbers and pictures of the README and of docs/ come from the reference results. Commands make
them. Each part follows its command in a comment that readers do not see::

    <!-- made by: python -m bench.report results/reference --format markdown --brief -->
    ... what the command printed ...
    <!-- end -->

    <!-- made by: python -m bench.plot results/reference --output docs/pictures/quick.svg -->
    ![what a reader sees](docs/pictures/quick.svg)
    <!-- end -->

Output that is not Markdown (without ``--format markdown``) becomes a fenced code block. Only
commands of this project are run, in this process and in the project's folder. A ``*`` in a file
name is expanded, as a shell would do.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.cli.progress import Progress
from bench.machine.fields import InputError
from bench.machine.writing import write_bytes

ROOT = Path(__file__).resolve().parents[1]
_MOST_LINES = 20  # A difference is cut after this many lines, which show where it is.

_BLOCK = re.compile(
    r"^<!-- made by: (?P<command>[^\n]*?) -->\n(?P<body>.*?)^<!-- end -->$",
    re.MULTILINE | re.DOTALL,
)
_OPENING = re.compile(r"^<!-- made by:", re.MULTILINE)


class DocumentError(InputError):
    """Report that a comment of a document cannot be followed. The message says what to do."""


@dataclass(frozen=True)
class Block:
    """Hold a part of a document that a command made.

    Attributes
    ----------
    document
        The file, relative to the project's folder.
    command
        The command in the comment.
    body
        The text between the comments.
    """

    document: str
    command: str
    body: str

    @property
    def arguments(self) -> tuple[str, list[str]]:
        """The command's module and arguments. Raise DocumentError for other programs."""
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise DocumentError(f"{self.document}: `{self.command}`: {error}") from error
        if not re.match(r"python -m (bench|research|tools)(\.[a-z_]+)?( |$)", " ".join(words)):
            raise DocumentError(
                f"{self.document}: `{self.command}` is not allowed; expected `python -m bench.NAME "
                "...`, or a command of research or tools"
            )
        return ("bench.__main__" if words[2] == "bench" else words[2]), words[3:]

    @property
    def output(self) -> str | None:
        """The file that the command writes, or None if it prints."""
        _, words = self.arguments
        if "--output" not in words:
            return None
        at = words.index("--output") + 1
        if at == len(words):
            raise DocumentError(
                f"{self.document}: `{self.command}` ends after --output; expected a file"
            )
        return words[at]


def list_documents(root: Path = ROOT) -> list[str]:
    """Return the project's documents, relative to its folder."""
    found = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("results/*.md")]
    return sorted(str(path.relative_to(root)) for path in found)


def find_blocks(document: str, text: str) -> list[Block]:
    """Return the parts that commands made. Raise DocumentError if a part has no end."""
    found = [Block(document, match["command"], match["body"]) for match in _BLOCK.finditer(text)]
    if len(found) != len(_OPENING.findall(text)) or any(
        _OPENING.search(block.body) for block in found
    ):
        raise DocumentError(
            f"{document}: a comment `<!-- made by: ... -->` is without `<!-- end -->`; expected "
            "both, each on a line of its own"
        )
    return found


# These variables would change a command's output.
_PERSONAL = ("COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "LSTM_RESULTS")


@contextlib.contextmanager
def _change_folder(folder: Path) -> Iterator[None]:
    """Change to a folder and unset the user's variables, until the context ends."""
    before = Path.cwd()
    variables = {name: os.environ.pop(name) for name in _PERSONAL if name in os.environ}
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.update(variables)


def _expand(word: str, root: Path) -> list[str]:
    """Expand an argument, as a shell would do."""
    if "*" not in word or word.startswith("/"):
        return [word]
    return sorted(str(path.relative_to(root)) for path in root.glob(word)) or [word]


def run(block: Block, root: Path, instead: Path | None = None) -> str:
    """Run a block's command and return what it prints. The command writes to ``instead``, if given.

    Raises
    ------
    DocumentError
        If the command fails.
    """
    module, words = block.arguments
    words = [each for word in words for each in _expand(word, root)]
    if instead is not None:
        words[words.index("--output") + 1] = str(instead)
    out, wrong = io.StringIO(), io.StringIO()
    progress = Progress(f"remaking {block.document}")
    with (
        progress,
        _change_folder(root),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(wrong),
    ):
        try:
            command = importlib.import_module(module)
            if hasattr(command, "__path__"):
                command = importlib.import_module(f"{module}.__main__")
            code = command.main(words)
        except SystemExit as error:  # argparse exits like this after a wrong option.
            code = error.code
    if code:
        lines = wrong.getvalue().strip().splitlines() or ["without a message"]
        raise DocumentError(f"{block.document}: `{block.command}` fails: {lines[-1]}")
    return out.getvalue()


def remake(document: str, root: Path = ROOT, *, write: bool) -> list[str]:
    """Return what differs from the output of a document's commands. It is empty if nothing differs.

    With ``write``, the document is corrected too.

    Raises
    ------
    DocumentError
        If a comment cannot be followed, or if a command fails.
    """
    path = root / document
    text = path.read_text(encoding="utf-8")
    changed: list[str] = []
    found = iter(find_blocks(document, text))

    def remake_block(match: re.Match[str]) -> str:
        block = next(found)
        if block.output is not None:
            changed.extend(_remake_files(block, block.output, root, write=write))
            return match[0]
        made = f"\n{_format_output(block, run(block, root))}\n\n"
        if made != block.body:
            changed.append(f"{document}: `{block.command}`\n{_format_difference(block.body, made)}")
        return f"<!-- made by: {block.command} -->\n{made}<!-- end -->"

    new = _BLOCK.sub(remake_block, text)
    if write and new != text:
        write_bytes(path, new.encode())
    return changed


def _format_output(block: Block, printed: str) -> str:
    text = "\n".join(line.rstrip() for line in printed.strip("\n").splitlines())
    if "markdown" in block.arguments[1]:
        return text.strip()
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"


def _remake_files(block: Block, output: str, root: Path, *, write: bool) -> list[str]:
    """Return which of a command's files differ. Some pictures consist of several files."""
    shown = []
    place = (root / output).parent
    with tempfile.TemporaryDirectory() as folder:
        run(block, root, Path(folder) / Path(output).name)
        for new in sorted(Path(folder).iterdir()):
            old, made = place / new.name, new.read_bytes()
            if old.exists() and is_same_file(old.read_bytes(), made, old.suffix):
                continue
            name = old.relative_to(root)
            shown.append(f"{name}, in {block.document}: not as `{block.command}` makes it")
            if write:
                place.mkdir(parents=True, exist_ok=True)
                write_bytes(old, made)
    return shown


_PROGRAM = re.compile(rb"Matplotlib v\d+\.\d+[^<\s,]*")
_WORDS = re.compile(rb"<text[^>]*>(.*?)</text>", re.DOTALL)


def is_same_file(old: bytes, new: bytes, suffix: str) -> bool:
    """Return whether two files show the same.

    An SVG by another version of matplotlib may place lines a little differently, but its text must
    be the same. An SVG that does not name the version of its program, such as Rich's, may come from
    another version too.
    """
    if old == new:
        return True
    programs = _PROGRAM.findall(old), _PROGRAM.findall(new)
    if suffix != ".svg" or programs[0] == programs[1] != []:
        return False
    return _WORDS.findall(old) == _WORDS.findall(new) != []


def _format_difference(old: str, new: str) -> str:
    lines = list(
        difflib.unified_diff(
            old.splitlines(), new.splitlines(), "the document", "the command", lineterm="", n=0
        )
    )
    more = [f"... {len(lines) - _MOST_LINES} lines more"] if len(lines) > _MOST_LINES else []
    return "\n".join(f"    {line}" for line in (*lines[:_MOST_LINES], *more))
