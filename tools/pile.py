"""Run ``python -m tools.pile FOLDER``: write many result files to time their readers.

Each file is a copy of a reference result with another run, another session and other samples. The
copies of one session stay together, so that processes that were measured together are pooled and
paired as in the original. By default, 1,800 files have 106,000 records and 520 MB.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from bench.cli import arguments, command_line
from bench.machine.reading import DEFAULT_FOLDER, REFERENCE, SHARED
from bench.machine.writing import write
from bench.records.digest import with_digest
from bench.records.files import result_files

FILES = 1_800
"""The number of files, which is six processes a day for ten months."""

SPREAD = 0.02
"""The standard deviation of the logarithm of each process's factor and of each sample's factor.
Runs of one machine on different days differ about as much."""


def write_pile(folder: Path, files: int = FILES, seed: int = 0) -> int:
    """Write the files into a folder, and return the number of their records."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    records = 0
    for name, document in islice(_make_copies(rng), files):
        write(folder / name, with_digest(document))
        records += len(document["benchmarks"]) + len(document["lstm"]["outcomes"])
    return records


def _make_copies(rng: np.random.Generator) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield names and contents of copies: all reference results once, then all again."""
    originals = [
        json.loads(path.read_bytes()) for path in result_files(SHARED / DEFAULT_FOLDER / REFERENCE)
    ]
    for copy in count():
        for number, original in enumerate(originals):
            yield f"pile-{copy:03}-{number:03}.json", _copy(original, copy, rng)


def _copy(original: dict[str, Any], copy: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return a copy of a reference result with another run, another session and other samples."""
    run = original["lstm"]["run"]
    run = {**run, "id": f"{run['id']}-{copy:03}", "session": f"{run['session']}-{copy:03}"}
    entries = [_resample(entry, rng) for entry in original["benchmarks"]]
    return {**original, "benchmarks": entries, "lstm": {**original["lstm"], "run": run}}


def _resample(entry: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return an entry whose samples are multiplied by a common factor and by one factor each."""
    samples = np.array(entry["stats"]["data"])
    factors = rng.lognormal(rng.normal(0.0, SPREAD), SPREAD, samples.size)
    return {**entry, "stats": {**entry["stats"], "data": (samples * factors).tolist()}}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command_line.run(_parser(), _write, argv)


def _write(options: argparse.Namespace) -> int:
    print(f"{write_pile(options.folder, options.files):,} records")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
        "tools.pile", "Write many result files, to time what reads them."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the files are written")
    parser.add_argument("--files", type=int, default=FILES, help="how many (default: %(default)s)")
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
