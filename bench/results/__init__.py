"""Files of results: what one holds, how it is written, found and read.

Others take the names below; ``cache`` makes large folders fast, ``columns`` turns measurements into
a table and back, and ``maps`` are the files of what truncation windows learned.
"""

from bench.disk.fields import ResultError
from bench.disk.writing import JOURNAL_SUFFIX, ResultWriteError, write, write_bytes
from bench.results.files import (
    collect,
    journal_path,
    journal_to_json,
    json_path,
    latest,
    read,
    unfinished,
)
from bench.results.journal import Journal
from bench.results.schema import (
    OUTCOMES,
    SCHEMA,
    Measurement,
    Outcome,
    Reason,
    ResultFile,
    Results,
    Run,
)

__all__ = [
    "JOURNAL_SUFFIX",
    "OUTCOMES",
    "SCHEMA",
    "Journal",
    "Measurement",
    "Outcome",
    "Reason",
    "ResultError",
    "ResultFile",
    "ResultWriteError",
    "Results",
    "Run",
    "collect",
    "journal_path",
    "journal_to_json",
    "json_path",
    "latest",
    "read",
    "unfinished",
    "write",
    "write_bytes",
]
