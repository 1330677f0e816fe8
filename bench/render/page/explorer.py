"""The page to explore: the static page with a question, pictures and the data behind them.

The question and its answer need no other package. Plots are Plotly's, whose script comes into the
page from the installed package, so that the page needs no network; without that package the page
says what to install, and has the tables. This room puts the page's parts together; what they show
is the script's (``script/``).
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.util import find_spec

from bench.render.page import data, static
from bench.render.page.static import part
from bench.stats.rows import Report

SCRIPT = (
    *("words", "cases", "tables", "question", "filters", "plots", "where", "closer", "latency"),
    *("every", "start"),
)
"""The files of ``script/`` in their order: each uses what stands before it."""

WITHOUT_PLOTLY = (
    "There are no plots on this page, since plotly was not installed where it was written: "
    "pip install 'plotly>=6', then write it again."
)


def page(report: Report) -> str:
    """The whole page; where plotly is not installed it has no plots and says so."""
    return page_of(report, data.data(report))


def page_of(report: Report, found: Mapping[str, object], about: str = "", above: str = "") -> str:
    """The page with other data behind it than all of the report's.

    about: its title's words. above: HTML before the question.
    """
    plotly = _plotly()
    missing = "" if plotly else f"<p>{escape(WITHOUT_PLOTLY)}</p>"
    return static.page(
        report,
        static.Extra(
            top=above + part("question.html"),
            html=missing + part("pictures.html"),
            style=part("page.css"),
            data=data.as_block(found),
            script=script(),
            later={"plotly": plotly} if plotly else {},
            about=about,
        ),
    )


def script() -> str:
    """The page's own script: its files as the parts of one function, so that nothing is global."""
    parts = "\n".join(part(f"script/{each}.js") for each in SCRIPT)
    return f'"use strict";\n(() => {{\n{parts}}})();'


def _plotly() -> str | None:
    """The script that the installed plotly has, None if there is no plotly."""
    if find_spec("plotly") is None:
        return None
    from plotly.offline import get_plotlyjs

    found: str = get_plotlyjs()
    return found
