"""The one place that makes a Rich console: text is shown as it is, wherever it comes from.

Rich reads ``[link=...]`` and ``:smile:`` in plain strings, in a table's headings too. Names and
reasons come from files that may come from anywhere, so that is off for whatever is printed through
a console of this room, also where somebody forgets ``Text``. This room knows Rich, and nothing of
what is printed.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console


def text_console(**options: Any) -> Console:
    """A console that reads no markup, no emoji codes, and colours no numbers on its own.

    options: those of Rich's own ``Console``.
    """
    return Console(markup=False, emoji=False, highlight=False, **options)
