"""Run ``python -m tools.packages``: print a diagram of the suite's packages from their imports.

The diagram (Mermaid, which GitHub draws) and a table of the packages are for
``docs/architecture.md``. An arrow means that a package imports another one. An arrow that follows
from others is omitted. The source is parsed, and nothing is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.cli import arguments, command_line
from bench.render.table import markdown_table

FLOORS: tuple[tuple[str, ...], ...] = (
    ("machine",),
    ("schema",),
    ("case",),
    ("records",),
    ("stats",),
    ("verdicts",),
    ("render",),
    ("cli",),
    ("worker",),
    ("echo",),
    ("session", "sharing"),
)
"""The layers of packages from the ground up. A module imports from its own package and from lower
layers."""

COMMANDS, LIBRARY = "commands", "lstm_impl"
"""The names for modules outside of packages, and for the library, in diagrams."""
BENCH = Path(__file__).resolve().parent.parent / "bench"


def list_modules(folder: Path = BENCH) -> dict[str, Path]:
    """Return all modules below a folder by name, including its packages."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def list_imports(path: Path, known: dict[str, Path], packages: bool = False) -> Iterator[str]:
    """Yield the modules of this project that a file imports, anywhere in it.

    With ``packages``, also yield the packages from which it imports names, because Python imports
    them first.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{each.name}" for each in node.names]
            names = [each if each in known else node.module for each in names]
            names += [node.module] if packages else []
        else:
            continue
        yield from (each for each in names if each in known or each.split(".")[0] == LIBRARY)


def find_package(module: str) -> str:
    """Return the package of a module, or ``commands`` for a module outside of packages."""
    first, _, rest = module.partition(".")
    if first == LIBRARY:
        return LIBRARY
    name = rest.partition(".")[0]
    return name if (BENCH / name).is_dir() and name else COMMANDS


def find_arrows() -> set[tuple[str, str]]:
    """Return the pairs of packages of which the first imports the second, except implied ones."""
    known = list_modules()
    direct: dict[str, set[str]] = {}
    for module, path in known.items():
        for other in list_imports(path, known):
            if find_package(other) not in (find_package(module), COMMANDS):
                direct.setdefault(find_package(module), set()).add(find_package(other))

    def reached(start: str) -> set[str]:
        below = direct.get(start, set())
        return below.union(*(reached(each) for each in below))

    return {
        (upper, lower)
        for upper, below in direct.items()
        for lower in below
        if not any(lower in reached(other) for other in below - {lower})
    }


def compose_markdown() -> str:
    """Return the diagram and a table of the packages with their subjects, in Markdown."""
    known = list_modules()
    lines = ["```mermaid", "flowchart TD"]
    lines += [f"    {upper} --> {lower}" for upper, lower in sorted(find_arrows())]
    rows = []
    for name in (each for floor in reversed(FLOORS) for each in floor):
        described = ast.get_docstring(ast.parse(known[f"bench.{name}"].read_text(encoding="utf-8")))
        rows.append((f"`{name}`", (described or "").partition("\n")[0]))
    table = markdown_table(("package", "what it is about"), (False, False), rows)
    return "\n".join([*lines, "```", "", table])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = arguments.make_parser(
        "tools.packages", "The packages of the suite: a diagram and a table, in Markdown."
    )
    arguments.add_choice(parser, "format", ("markdown",), default="markdown")
    parser.parse_args(argv)
    command_line.write_non_ascii()
    print(compose_markdown())
    return 0


if __name__ == "__main__":
    command_line.run_and_exit(main)
