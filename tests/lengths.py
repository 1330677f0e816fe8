"""Find functions that are longer than a screen."""

import ast

LONGEST_FUNCTION = 60
"""Lines."""


def long_functions(source: str) -> list[str]:
    """Return the names of functions of ``LONGEST_FUNCTION`` lines or more."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= LONGEST_FUNCTION
    ]
