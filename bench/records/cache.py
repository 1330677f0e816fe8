"""What was read of a large folder of result files, kept beside them in columns.

Checking a hundred thousand measurements again each time they are looked at takes longer than
judging them. So a file that was read, and with that checked in full, is kept in one Parquet file in
``.cache`` beside it, from where it comes back as the same objects in a fraction of the time; SQL
can be asked of that file too (``docs/sql.md``). What is kept stands for a result file of the same
name and content, by its hash, and for rules of checking that are exactly those of now; all of it
is sealed with a secret of the user's, since a folder of results may come from anywhere, and its
cache with it. Where pyarrow is missing, the folder is small or cannot be written, or what is kept
is damaged or somebody else's, files are read as if this room were not there. It opens no JSON of
results and makes no statistics.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import importlib
import json
import os
import secrets
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from platformdirs import user_cache_path

from bench.machine.fields import Field, ResultError, printable
from bench.machine.reading import LARGEST_FILE, regular_bytes
from bench.machine.writing import unfinished_name
from bench.records.columns import LISTS, Rows, table, together, with_rare_in_columns
from bench.records.schema import ResultFile, Run, parse_outcome, parse_run

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Read: TypeAlias = Callable[[Path], ResultFile]

FOLDER = ".cache"
NAME = "measurements.parquet"
SEAL_NAME = "measurements.seal"
"""Beside it, its hash under the user's secret: neither a bit that has changed nor a whole cache
that somebody else has made is believed over the results."""

SECRET_NAME = "results-cache.secret"
"""In the user's own cache folder."""
_SECRET_SIZE = 32

SWITCH = "LSTM_CACHE"
"""The environment variable that switches caches off where it is ``off``."""

WORTH_KEEPING = 8_000_000
"""Bytes of result files in a folder from which on a cache is kept: fewer are read in an instant."""

# A cache is written anew only where this part of what it stands for has to be read from JSON: one
# growing journal is no reason to write it all at each look.
_WORTH_WRITING = 0.05

# All that decides what a file is read as: if any of it changes, all files are checked again.
_RULES = (
    *("bench.case.cases", "bench.machine.fields", "bench.records.schema", "bench.records.files"),
    *("bench.records.advice", "bench.records.digest"),
    *("bench.records.streaming", "bench.records.hdr"),
    *("bench.records.columns", __name__, "lstm_impl.spec", "lstm_impl.workload"),
)


class Reader:
    """Reads result files, from the caches of their folders where these are up to date.

    read: how a file is read where it is in no cache. notes: what a user should know of the caches.
    """

    def __init__(self, paths: Iterable[Path], read: Read) -> None:
        self.notes: list[str] = []
        self._read = read
        self._stores: dict[Path, _Store] = {}
        if os.environ.get(SWITCH) == "off" or find_spec("pyarrow") is None:
            return
        sizes: dict[Path, dict[str, int]] = {}
        for path in paths:
            with contextlib.suppress(OSError, ValueError):
                sizes.setdefault(path.parent, {})[path.name] = path.stat().st_size
        large = [each for each, found in sizes.items() if sum(found.values()) >= WORTH_KEEPING]
        if large and (secret := users_secret()) is not None:
            self._stores = {folder: _Store(folder, sizes[folder], secret) for folder in large}

    def run(self, path: Path) -> Run | None:
        """The run of a file in a large folder, None of one in another.

        Raises ResultError where the file cannot be read.
        """
        store = self._store(path)
        if store is None:
            return None
        kept = store.kept(path)
        return self.read(path).run if kept is None else kept.run

    def read(self, path: Path) -> ResultFile:
        """A file.

        Raises ResultError where it cannot be read.
        """
        store = self._store(path)
        if store is None:
            return self._read(path)
        found = store.read(path)
        if found is not None:
            return found
        before = _digest(path)
        return store.add(self._read(path), before)

    def save(self) -> None:
        """Keep what was read from files that were in no cache; where that is impossible, do not."""
        for store in self._stores.values():
            try:
                store.save()
            except Exception as error:
                # Whatever it is (a full disk, a folder of somebody else), everything was read.
                told = printable(f"{type(error).__name__}: {error}", 200)
                self.notes.append(
                    f"{printable(str(store.path))} could not be written ({told}); reading these "
                    f"files takes as long the next time. {SWITCH}=off does without"
                )

    def _store(self, path: Path) -> _Store | None:
        store = self._stores.get(path.parent)
        return None if store is None or path.name not in store.sizes else store


@dataclass(frozen=True)
class _Kept:
    """What a cache holds of one file besides its measurements, which are its rows in the table.

    data: as ``_described`` makes it. first: the first of its rows.
    """

    data: Mapping[str, Any]
    digest: str
    run: Run
    first: int


@dataclass
class _Store:
    """The cache of one folder. sizes: of the files wanted. new: read from JSON, with their rows."""

    folder: Path
    sizes: dict[str, int]
    secret: bytes = field(repr=False)
    new: dict[str, tuple[Mapping[str, Any], pa.Table]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path = self.folder / FOLDER / NAME
        self._all: dict[str, _Kept] = {}
        self._file: pq.ParquetFile | None = None
        # Whatever is wrong with it, everything that it holds can be read from where it came.
        try:
            self._open()
        except Exception:
            self._drop()

    def _open(self) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        # In one go: what another process writes in the meantime must not be mixed into it.
        content = self.path.read_bytes()
        stored = self.path.with_name(SEAL_NAME).read_text("ascii").strip()
        if not hmac.compare_digest(stored, _seal(content, self.secret)):
            return  # damaged, or somebody else's
        file = parquet.ParquetFile(pa.BufferReader(content))
        data = file.schema_arrow.metadata or {}
        if data.get(b"lstm.rules") != _fingerprint().encode():
            return  # of another version: not wrong, but to be made anew
        first = 0
        for item in json.loads(zlib.decompress(base64.b64decode(data[b"lstm.files"]))):
            run = parse_run(Field(self.path, "run", item["run"]))
            self._all[item["name"]] = _Kept(item, item["digest"], run, first)
            first += int(item["rows"])
        if first != file.metadata.num_rows:
            raise ValueError("its rows are not those of its files")
        self._file = file

    def _drop(self) -> None:
        self._all, self._file = {}, None

    def kept(self, path: Path) -> _Kept | None:
        """What the cache holds of a file as it is now."""
        found = self._all.get(path.name)
        return found if found is not None and found.digest == _digest(path) else None

    def read(self, path: Path) -> ResultFile | None:
        """The file from the cache, None if it is not there as it is now."""
        kept = self.kept(path)
        if kept is None:
            return None
        try:
            name = printable(str(path))
            run, data = kept.run, kept.data
            rows = range(kept.first, kept.first + data["rows"])
            return ResultFile(
                path,
                run,
                tuple(self._rows.measurements(rows, run, path)),
                tuple(parse_outcome(Field(path, "", each), run) for each in data["outcomes"]),
                tuple(f"{name}{note}" for note in data["notes"]),
                data["commit"],
            )
        except Exception:
            self._drop()
            return None

    @cached_property
    def _rows(self) -> Rows:
        assert self._file is not None
        return Rows(self._file)

    def add(self, file: ResultFile, before: str | None) -> ResultFile:
        """Take up a file that was read from its JSON; what is seldom looked at is in columns.

        before: the file's hash before it was read. If it is another now, what was read may be
        neither.
        """
        digest = _digest(file.path)
        data = None if digest is None or digest != before else _described(file, digest)
        if data is None:
            return file
        try:
            rows = table(file)
        except UnicodeEncodeError:
            return file  # half of a surrogate pair: such a file is read from its JSON each time
        self.new[file.path.name] = (data, rows)
        return with_rare_in_columns(file, rows)

    def save(self) -> None:
        """Write the cache anew, if enough was read that is not in it."""
        read = sum(self.sizes[name] for name in self.new)
        if not read or read < _WORTH_WRITING * sum(self.sizes.values()):
            return
        tables: list[pa.Table] = []
        described: list[Mapping[str, Any]] = []
        if self._file is not None:
            old = self._file.read()
            for name, kept in self._all.items():
                # What lies there no more, or was read anew, goes.
                if name not in self.new and (self.folder / name).is_file():
                    tables.append(old.slice(kept.first, kept.data["rows"]))
                    described.append(kept.data)
        for data, rows in self.new.values():
            tables.append(rows)
            described.append(data)
        self.new.clear()
        self._write(
            together(tables).replace_schema_metadata(
                {
                    "lstm.rules": _fingerprint(),
                    "lstm.files": base64.b64encode(
                        zlib.compress(json.dumps(described).encode(), 1)
                    ),
                }
            )
        )

    def _write(self, rows: pa.Table) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        folder = self.path.parent
        if not folder.is_dir():
            folder.mkdir()
            # As other tools do, so that no version control takes it up.
            (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        part = folder / unfinished_name("results", ".part")
        seal = part.with_suffix(".sum")
        try:
            plain = [name for name in rows.column_names if name not in LISTS]
            parquet.write_table(rows, part, use_dictionary=plain, compression="zstd")
            seal.write_text(f"{_seal(part.read_bytes(), self.secret)}\n", encoding="ascii")
            # Of two processes that do this at once one may win here and the other there: then the
            # seal is wrong, and the next reader makes both anew.
            part.replace(self.path)
            seal.replace(self.path.with_name(SEAL_NAME))
            pa.default_memory_pool().release_unused()
        finally:
            for each in (part, seal):
                with contextlib.suppress(OSError):
                    each.unlink(missing_ok=True)


def _described(file: ResultFile, digest: str) -> dict[str, object] | None:
    """What is kept of a file besides its rows, None if a note is not about the file.

    notes: without the file's name before them. outcomes: as they stand in a result file.
    """
    name = printable(str(file.path))
    if not all(note.startswith(name) for note in file.notes):
        return None
    return {
        "name": file.path.name,
        "digest": digest,
        "run": file.run.to_dict(),
        "commit": file.commit,
        "notes": [note.removeprefix(name) for note in file.notes],
        "outcomes": [
            {
                "case": each.case.to_dict(),
                "case_id": each.case.id,
                "outcome": each.outcome,
                "reason": each.reason,
                "advice": each.advice,
            }
            for each in file.outcomes
        ],
        "rows": len(file.measurements),
    }


def _digest(path: Path) -> str | None:
    """The hash of a file's content, None for what its reader would refuse unread."""
    try:
        # A pipe may never end, and a terabyte of nothing takes half an hour.
        if not path.is_file() or path.stat().st_size > LARGEST_FILE:
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None


def _seal(content: bytes, secret: bytes) -> str:
    """A hash that nobody makes without the secret (BLAKE2 with a key, RFC 7693)."""
    return hashlib.blake2b(content, key=secret, digest_size=32).hexdigest()


def users_secret() -> bytes | None:
    """The user's, made when it is first asked for; None where there is no place to keep one."""
    try:
        path = user_cache_path("lstm-benchmark-suite") / SECRET_NAME
        if not path.is_absolute():
            return None  # without a home "~" stays as it is
        if not path.exists():
            _make_secret(path)
        # Read again: of two processes that make one at once, both go by the later one's.
        found = regular_bytes(path, _SECRET_SIZE)
    except (OSError, RuntimeError, ResultError):
        return None
    return found if len(found) == _SECRET_SIZE else None


def _make_secret(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(unfinished_name("results-cache"))
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_SECRET_SIZE))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@cache
def _fingerprint() -> str:
    """Of the rules by which files are checked."""
    found = hashlib.sha256()
    for name in _RULES:
        source = importlib.import_module(name).__file__
        found.update(name.encode())
        found.update(Path(source).read_bytes() if source else b"")
    return found.hexdigest()
