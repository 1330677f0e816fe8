"""``python -m bench.scaling``: another name of ``python -m bench.run scaling``, beside the others.

What it does is ``running.scaling``'s.
"""

from __future__ import annotations

from bench.cli import command_line
from bench.session.scaling import main

__all__ = ["main"]

if __name__ == "__main__":
    command_line.end(main)
