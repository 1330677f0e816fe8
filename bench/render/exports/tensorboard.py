"""Write the report as TensorBoard's scalars, with its own writer: a run for each backend.

A tag is a column and a case without its backend, so that a chart compares backends; a step is a
session, the oldest first. Needs the extra ``tensorboard``.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, closing
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.machine.fields import InputError, printable
from bench.render.data import records
from bench.stats.rows import Report

COLUMNS = ("time_s", "speedup", "first_result_s", "peak_memory_bytes")


def check(folder: Path | None) -> None:
    """Raise InputError where the scalars cannot be written into this folder."""
    if find_spec("tensorboard") is None:
        install = "pip install 'lstm-benchmark-suite[tensorboard]'"
        raise InputError(f"--format tensorboard needs tensorboard: {install}")
    if folder is None:
        raise InputError("--format tensorboard writes files: name their folder, --output DIR")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{printable(str(folder))} is there already: name a new folder")


def write(report: Report, folder: Path) -> None:
    """Write the scalars into a new folder. Raises InputError where that is not possible."""
    check(folder)
    from tensorboard.summary import Writer

    runs: dict[str, Any] = {}
    steps = {each.run.session: step for step, each in enumerate(reversed(report.sections))}
    with ExitStack() as stack:
        for row in records(report):
            backend, _, case = str(row["case_id"]).partition("/")
            name = re.sub(r"[^\w+@-]", "_", backend)[:100]
            at = datetime.fromisoformat(str(row["started"])).timestamp()
            for column in COLUMNS:
                if row[column] is not None:
                    if name not in runs:
                        runs[name] = stack.enter_context(closing(Writer(str(folder / name))))
                    step = steps[str(row["session"])]
                    runs[name].add_scalar(f"{column}/{case}", row[column], step, wall_time=at)
