"""The journal of a run: a line a finished case, on the disk before the next case starts.

What would not be read back is refused before it is written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.machine.fields import Field, printable
from bench.machine.writing import JOURNAL_SUFFIX, LineFile, plain
from bench.records.schema import (
    SCHEMA,
    Run,
    parse_benchmark,
    parse_finish,
    parse_outcome,
    parse_run,
)

STARTING, WAITING = "starting", "waiting"
"""Phases of a process that shares its start with another one of its session."""


class Journal(LineFile):
    """Writes one run's journal, a new file, as ``LineFile`` does.

    Raises ResultError for an entry that ``read`` would refuse, before anything of it is written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        if not path.name.endswith(JOURNAL_SUFFIX):
            text = f"expected a name ending in {JOURNAL_SUFFIX}"
            raise ValueError(f"the journal is to be named {printable(str(path))}; {text}")
        self._run: Run | None = None
        self._measured: set[str] = set()
        super().__init__(path)

    def start(self, run: Run | Mapping[str, object]) -> None:
        """Write the first line: what run this is. It has not ended, whatever its fields say."""
        data = run.to_dict() if isinstance(run, Run) else run
        begun = {**data, "finished": None, "complete": False}
        line = plain({"schema": SCHEMA, "run": begun}, "")
        parsed = parse_run(Field(self.path, "run", line["run"]))
        self.append(line)
        self._run = parsed

    def begin(self, case_ids: Sequence[str], phase: str = "") -> None:
        """Write which cases the process is busy with from now on; readers of results skip it.

        phase: ``STARTING`` while the framework of a case is started ahead of its turn, ``WAITING``
        while the process waits for its turn to measure; else the cases are prepared or timed.
        """
        self._started()
        self.append({"begun": list(case_ids)} | ({"phase": phase} if phase else {}))

    def benchmark(self, entry: Mapping[str, object]) -> None:
        """Write a measured case as pytest-benchmark makes it, with ours in ``extra_info``."""
        line = plain({"benchmark": entry}, "")
        field = Field(self.path, "benchmark", line["benchmark"])
        case_id = parse_benchmark(field, self._started()).case.id
        if case_id in self._measured:
            raise field["extra_info"]["lstm"]["case_id"].error("each case once in a run")
        self.append(line)
        self._measured.add(case_id)

    def outcome(self, entry: Mapping[str, object]) -> None:
        """Write a case that has no time."""
        line = plain({"outcome": entry}, "")
        parse_outcome(Field(self.path, "outcome", line["outcome"]), self._started())
        self.append(line)

    def finish(
        self,
        finished: datetime | str | None = None,
        environment_after: Mapping[str, object] | None = None,
        *,
        complete: bool = True,
    ) -> None:
        """Write the last line: when it ended (by default now), and whether all was done."""
        run = self._started()
        finished = datetime.now(UTC) if finished is None else finished
        time = finished if isinstance(finished, str) else finished.isoformat()
        ended = {"finished": time, "environment_after": environment_after, "complete": complete}
        line = plain(ended, "")
        parse_finish(run, Field(self.path, "", line))
        self.append(line)

    def _started(self) -> Run:
        if self._run is None:
            raise RuntimeError("Journal.start was not called: a journal begins with its run")
        return self._run
