"""How long functions are: what is longer than a screen is not seen as a whole."""

from __future__ import annotations

import ast

LONGEST_FUNCTION = 60
"""Lines."""


def long_functions(source: str) -> list[str]:
    """The names of the functions of a program that have more lines."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= LONGEST_FUNCTION
    ]
