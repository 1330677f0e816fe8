"""``python -m bench.report``: which backend wins, by how much, and is that to be trusted?

The command; ``reporting.asked`` reads results and writes the report in one of its formats. It
promises: the good files are shown beside bad ones, which give one line each and exit code 2.
No framework, and nothing slow to import.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence

from bench.cli import arguments, command_line, filters, unmeasured
from bench.reporting.asked import FORMATS, report
from bench.stats.rows import KINDS
from bench.stats.table import load_frame

__all__ = ["load_frame", "main"]

EPILOG = """\
exit codes:
  0  the report was written
  2  bad input: an option, a file that cannot be read (the good files beside it are still
     shown), or nothing to report

`python -m bench.plot` draws pictures for slides and papers.
docs/columns.md has the columns of csv, json and parquet, docs/sql.md asks them in SQL. In Python,
bench.load_frame(paths) gives them as a pandas frame, bench.load_samples(paths) every sample.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    # A report is millions of small objects that all live to its end: looking among them for cycles
    # that could be freed takes a third of the time and finds none.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return command_line.run(_parser(), report, words)
    finally:
        if collecting:
            gc.enable()


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "report", "Which LSTM backend is fastest, by how much, and can that be trusted?", EPILOG
    )
    command_line.add_result_paths(parser)
    arguments.add_output(parser, FORMATS)
    baseline = "the backend that ratios refer to (default: keras or else while_loop, if measured)"
    arguments.add_values(parser, ("baseline", "BACKEND", str, baseline))
    arguments.add_flags(
        parser,
        brief="a screenful: of each shape who is fastest, by how much; with --format markdown one "
        "table, of each shape the fastest backend",
    )
    kind = "only the plain shapes, or only those cut into windows"
    arguments.add_choice(parser, "kind", (*KINDS, "all"), kind, "all")
    arguments.add_flags(
        parser,
        teach="write no report, but for each shape which backend is fastest to where "
        "lstm_impl.keras.LSTM(backend='auto') looks for it (the folder LSTM_DECISIONS)",
        why="of each case one sentence: what it is bound by, and what would help (docs/why.md)",
    )
    unmeasured.add_option(parser)
    filters.add(parser)
    return parser


if __name__ == "__main__":
    command_line.end(main)
