"""The page that can be explored: the static page with filters, plots and the data behind them.

Plots are Plotly's, whose script comes into the page from the installed package, so that the page
needs no network. Without that package the page is the static one, and says what to install. This
room puts the page's parts together; what they show is the script's (``report_page.js``).
"""

from __future__ import annotations

from html import escape
from importlib.util import find_spec
from pathlib import Path

from bench.judging.rows import Report
from bench.reporting.page import data, static

WITHOUT_PLOTLY = (
    "There are no plots on this page, since plotly was not installed where it was written: "
    "pip install 'plotly>=6', then write it again."
)


def page(report: Report) -> str:
    """The whole page: to explore where plotly is installed, else the static one, which says so."""
    plotly = _plotly()
    if plotly is None:
        return static.page(report, static.Extra(f"<p>{escape(WITHOUT_PLOTLY)}</p>"))
    return static.page(
        report,
        static.Extra(
            html=_part("html"),
            style=_part("css"),
            data=data.block(report),
            script=_part("js"),
            later={"plotly": plotly},
        ),
    )


def _part(kind: str) -> str:
    return Path(__file__).with_name(f"report_page.{kind}").read_text(encoding="utf-8")


def _plotly() -> str | None:
    """The script that the installed plotly has, None if there is no plotly."""
    if find_spec("plotly") is None:
        return None
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script
