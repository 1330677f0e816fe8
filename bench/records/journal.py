"""Write the journal of a run: one line for each finished case, on disk before the next case starts.

An entry that could not be read back is refused before it is written.
"""

import contextlib
import errno
import os
import weakref
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import bench.records.schema as schema
from bench.machine import writing
from bench.machine.fields import Field, printable
from bench.machine.reading import open_flags

STARTING, WAITING = "starting", "waiting"
"""The phases of a process that starts while another process of its session measures."""


class LineFile(writing.Closing):
    """Writes a new file with one object per line. A line is on disk when the call returns.

    The file gets its name with its first line, which names its writer. It is locked while it is
    open, so that others can see that its writer is running.

    Raises a ResultWriteError that names the path if the file cannot be created or a line cannot be
    written. The earlier lines stay complete.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._process = os.getpid()
        self._file = -1
        self._locks: bool | None = None
        self._hidden: Path | None = None  # The path until the first line is written.
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _check_free(self.path)
            hidden = self.path.with_name(writing.unfinished_name(self.path.name))
            self._file = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | open_flags(), 0o666)
            self._hidden = hidden
            # Waiting is right, because others hold the lock only for a moment, to check it.
            self._locks = writing.lock(self._file, wait=True)
            _OPEN.add(self)
        except (OSError, ValueError) as error:
            self.close()
            raise writing.write_error(self.path, error) from None

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            if self._hidden is not None and os.getpid() == self._process:
                with contextlib.suppress(OSError):
                    self._hidden.unlink()

    def append(self, line: Mapping[str, object]) -> None:
        """Write a line."""
        line = writing.plain(line)
        if os.getpid() != self._process:
            # The child of a fork would write lines twice, or into another line.
            raise RuntimeError(f"only process {self._process} may write {self.path}")
        before = os.lseek(self._file, 0, os.SEEK_CUR)
        if before == 0:
            line["writer"] = writing.Writer.this_process(locks=self._locks is True).to_dict()
        try:
            writing.write_all(self._file, writing.encode(line) + b"\n")
            os.fsync(self._file)
            if self._hidden is not None:
                _name(self._hidden, self.path)
                self._hidden = None
        except OSError as error:
            # On a full disk, a partial line may remain, to which the next line would be appended.
            # It is removed here. If that fails, the reader drops it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, before)
                os.lseek(self._file, before, os.SEEK_SET)
            raise writing.write_error(self.path, error) from None


def _check_free(path: Path) -> None:
    """Raise FileExistsError if the name is taken, even by a broken link."""
    if path.exists() or path.is_symlink():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _name(hidden: Path, path: Path) -> None:
    """Give a file its name. Raise FileExistsError if another file has it."""
    try:
        path.hardlink_to(hidden)
    except FileExistsError:
        raise
    except OSError:  # The file system has no hard links.
        _check_free(path)
        hidden.rename(path)
    else:
        with contextlib.suppress(OSError):  # The file has its name, so its line must stay.
            hidden.unlink()
    writing.sync_folder(path.parent)


_OPEN: weakref.WeakSet[LineFile] = weakref.WeakSet()

if hasattr(os, "register_at_fork"):
    # The child of a fork must not hold the lock after its parent has ended.
    os.register_at_fork(after_in_child=lambda: list(map(LineFile.close, list(_OPEN))))


class Journal(LineFile):
    """Writes the journal of a run, as a ``LineFile``.

    Raises ResultError for an entry that ``read`` would refuse.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        if not path.name.endswith(writing.JOURNAL_SUFFIX):
            text = f"expected a name ending in {writing.JOURNAL_SUFFIX}"
            raise ValueError(f"a journal cannot be named {printable(str(path))}; {text}")
        self._run: schema.Run | None = None
        self._measured: set[str] = set()
        super().__init__(path)

    def start(self, run: schema.Run | Mapping[str, object]) -> None:
        """Write the first line: the run, marked as unfinished."""
        data = run.to_dict() if isinstance(run, schema.Run) else run
        begun = {**data, "finished": None, "complete": False}
        line = writing.plain({"schema": schema.SCHEMA, "run": begun})
        parsed = schema.parse_run(Field(self.path, "run", line["run"]))
        self.append(line)
        self._run = parsed

    def begin(self, case_ids: Sequence[str], phase: str = "") -> None:
        """Write on which cases the process works now. Readers of results skip this line.

        phase: ``STARTING`` if the process starts the framework of a case in advance, ``WAITING`` if
        it waits for its turn to measure; otherwise it prepares or times the cases.
        """
        self._started()
        self.append({"begun": list(case_ids)} | ({"phase": phase} if phase else {}))

    def benchmark(self, entry: Mapping[str, object]) -> None:
        """Write a measured case in pytest-benchmark's form, with our data in ``extra_info``."""
        line = writing.plain({"benchmark": entry})
        field = Field(self.path, "benchmark", line["benchmark"])
        case_id = schema.parse_benchmark(field, self._started()).case.id
        if case_id in self._measured:
            raise field["extra_info"]["lstm"]["case_id"].error("each case once in a run")
        self.append(line)
        self._measured.add(case_id)

    def outcome(self, entry: Mapping[str, object]) -> None:
        """Write a case without a time."""
        line = writing.plain({"outcome": entry})
        schema.parse_outcome(Field(self.path, "outcome", line["outcome"]), self._started())
        self.append(line)

    def finish(
        self, environment_after: Mapping[str, object] | None = None, *, complete: bool = True
    ) -> None:
        """Write the last line: the run ends now, and whether it is complete."""
        run, now = self._started(), datetime.now(UTC).isoformat()
        ended = {"finished": now, "environment_after": environment_after, "complete": complete}
        line = writing.plain(ended)
        schema.parse_finish(run, Field(self.path, "", line))
        self.append(line)

    def _started(self) -> schema.Run:
        if self._run is None:
            raise RuntimeError("call Journal.start first: a journal begins with its run")
        return self._run
