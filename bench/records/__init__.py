"""Files of results: what one holds, how it is written, found and read.

Others take the names below, or those of a module: ``schema`` has the types, and ``maps`` are the
files of what truncation windows learned.
"""

from bench.records.files import (
    collect,
    journal_path,
    journal_to_json,
    json_path,
    latest,
    read,
    unfinished,
)

__all__ = [
    "collect",
    "journal_path",
    "journal_to_json",
    "json_path",
    "latest",
    "read",
    "unfinished",
]
