"""Write, find and read result files. ``schema`` has the types of their contents."""

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
