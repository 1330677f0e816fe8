"""Run ``python -m tools.address https://github.com/OWNER/NAME``: fill in the project's address.

Run this once, when the project is published. It writes the address into the notebook for a GPU, and
adds badges that open the notebook on Colab and on Kaggle. A second run changes the address.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.cli import arguments, command_line
from bench.machine.fields import InputError
from bench.machine.writing import write_bytes

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "gpu.ipynb"

EPILOG = """\
exit codes:
  0  the notebook has the address
  2  bad input
"""


def make_badges(address: str) -> str:
    """Return the line of badges in Markdown. Raise InputError if this is no address on GitHub."""
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", address)
    if found is None:
        raise InputError(
            f"{address} is not the address of a project; expected https://github.com/OWNER/NAME, "
            "from which Colab and Kaggle can open a notebook"
        )
    page = f"{found[1]}/blob/main/docs/gpu.ipynb"
    colab = "https://colab.research.google.com"
    kaggle = "https://kaggle.com"
    return (
        f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({colab}/github/{page}) "
        f"[![Open in Kaggle]({kaggle}/static/images/open-in-kaggle.svg)]"
        f"({kaggle}/kernels/welcome?src=https://github.com/{page})\n"
    )


def fill_in(notebook: str, address: str) -> str:
    """Return the notebook with an address and badges. Raise InputError if the address is wrong."""
    badges = make_badges(address)
    book = json.loads(notebook)
    first, code = book["cells"][0], book["cells"][1]
    title, *rest = [line for line in first["source"] if not line.startswith("[![Open in")]
    text = "".join(rest).lstrip("\n")
    first["source"] = [title, "\n", badges, "\n", *text.splitlines(keepends=True)]
    code["source"] = [
        f'PROJECT = "git+{address}"\n' if line.startswith("PROJECT = ") else line
        for line in code["source"]
    ]
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    parser = arguments.Parser(prog="python -m tools.address", description=__doc__, epilog=EPILOG)
    parser.add_argument("address", metavar="ADDRESS", help="https://github.com/OWNER/NAME")

    def run(options: object) -> int:
        text = fill_in(NOTEBOOK.read_text("utf-8"), str(vars(options)["address"]).rstrip("/"))
        write_bytes(NOTEBOOK, text.encode())
        return 0

    return command_line.run(parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
