"""Read suites: TOML files that describe lists of cases.

The suites of the package are the files in this folder. A user's suite may be anywhere. An error in
a file names the file and the key.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from bench.case.cases import NO_VARIANT, Case, parse_period
from bench.case.suite_file import ALL, SharedKeys, SuiteFile, SuiteSchema, SuiteShape
from bench.machine import devices
from bench.machine.fields import (
    Field,
    InputError,
    ResultError,
    did_you_mean,
    file_error,
    format_value,
    printable,
)
from bench.machine.reading import FolderError, expand_path, parse_json, regular_bytes
from bench.schema.decoding import decode
from lstm_impl.availability import UnavailableError
from lstm_impl.cell import DEFAULT as DEFAULT_CELL
from lstm_impl.cell import get_cell, list_cells
from lstm_impl.names import VARIANTS
from lstm_impl.registry import get_backend, list_backends
from lstm_impl.spec import LSTMSpec, UnsupportedError
from lstm_impl.workload import MODES, SEQUENCE_MODES, Workload

_T = TypeVar("_T")

FOLDER = Path(__file__).parent

DEFAULT_SECONDS = 3.0
"""The measuring time of a case, in seconds, if the suite gives none. It holds 20 blocks of a step
of 100 ms, which is enough for an interval of a few per cent.
"""

LARGEST_SUITE = 2**24
"""The largest file of a suite, in bytes. Parsing a megabyte takes a second."""

MOST_CASES = 1_000_000
"""The largest number of cases in a suite. At a second each, they would take twelve days."""

_LONGEST_ERROR = 2000  # In characters. A list of all backends has a thousand.


class SuiteError(InputError):
    """A suite, or a selection from it, cannot be used. The message is one printable line."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, _LONGEST_ERROR))


@dataclass(frozen=True)
class SuiteChoice:
    """Hold what a user measures instead of what a suite says. A property of None keeps the suite's.

    backends, variants, cells, devices, periods: replace those of the suite. ``all`` means all
    backends or devices. The variant ``none`` means the backend without any variant. Within
    ``periods``, the element None means calls back to back. modes: keeps only these modes of the
    suite.
    """

    backends: Sequence[str] | None = None
    devices: Sequence[str] | None = None
    modes: Sequence[str] | None = None
    periods: Sequence[float | None] | None = None
    variants: Sequence[str] | None = None
    cells: Sequence[str] | None = None


@dataclass(frozen=True)
class Suite:
    """A named list of cases.

    cases: each case once, with the cases of a group next to each other. seconds: the measuring time
    of each case by ``Case.group``. source: who published times of these shapes, if anyone did.
    memory: whether to measure the peak memory of cases on the CPU, which takes some seconds per
    case.
    """

    name: str
    summary: str
    path: Path
    cases: tuple[Case, ...]
    seconds: Mapping[str, float]
    source: str = ""
    memory: bool = False

    def with_cases(self, wanted: Sequence[Case]) -> Suite:
        """Return the suite with these cases instead of its own. They need not be in the suite."""
        groups: dict[str, list[Case]] = {}
        for case in dict.fromkeys(wanted):
            groups.setdefault(case.group, []).append(case)
        return replace(
            self,
            cases=tuple(itertools.chain.from_iterable(groups.values())),
            seconds={group: self.seconds.get(group, DEFAULT_SECONDS) for group in groups},
        )


def available() -> dict[str, Path]:
    """Return the suites of the package: their names and files."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def load(name: str, choice: SuiteChoice | None = None, folder: Path | None = None) -> Suite:
    """Return the suite with this name or path. Raise SuiteError.

    folder: relative paths start here, by default in the current directory.
    """
    path = _find(name, folder or Path())
    with _suite_errors(path):
        return parse(path, regular_bytes(path, LARGEST_SUITE), choice)


def parse(path: Path, text: bytes, choice: SuiteChoice | None = None) -> Suite:
    """Return the suite in ``text``, which is the content of the file ``path``. Raise SuiteError."""
    with _suite_errors(path):
        try:
            data = tomllib.loads(text.decode())
        except UnicodeDecodeError as error:
            raise SuiteError(f"{path}: not UTF-8 text (byte {error.start})") from error
        # This is a TOMLDecodeError, or comes from a number of 5,000 digits.
        except ValueError as error:
            raise SuiteError(f"{path}: not a suite, which is a TOML file: {error}") from error
        return _suite(Field(path, "", data), choice or SuiteChoice())


@contextlib.contextmanager
def _suite_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except ResultError as error:
        raise SuiteError(str(error)) from error
    except RecursionError as error:
        raise SuiteError(f"{path}: nested too deeply to be read") from error


def load_cases(path: Path, suite: Suite) -> Suite:
    """Return the suite with only the cases that a JSON file lists. Raise SuiteError.

    The file lists ids of cases of this suite, or complete cases, which may be new.
    """
    by_id = {case.id: case for case in suite.cases}
    found = []
    with _suite_errors(path):
        data = Field(path, "", parse_json(path, regular_bytes(path)))
        if not isinstance(data.value, list) or not data.value:
            raise data.error("a list of case ids or cases")
        for item in data.items():
            if not isinstance(item.value, str):
                found.append(_case(item))
            elif item.value in by_id:
                found.append(by_id[item.value])
            else:
                close = did_you_mean(item.value, by_id)
                raise item.error(f"the id of a case of {suite.name}{close}")
    return suite.with_cases(found)


def _case(item: Field) -> Case:
    data = item.mapping()
    try:
        return Case.from_dict(data)
    except ValueError as error:
        raise SuiteError(f"{item.path}: {item.name}: {error}") from error


def _find(name: str, folder: Path) -> Path:
    known = available()
    if name in known:
        return known[name]
    try:
        path = folder / expand_path(name)
        if path.is_file():
            return path
    # The name may have thousands of characters, for instance.
    except (FolderError, OSError) as error:
        message = error.strerror if isinstance(error, OSError) else str(error)
        raise SuiteError(f"cannot look for {printable(name, 60)}: {message}") from None
    if name.endswith(".toml") or "/" in name or "\\" in name:
        raise SuiteError(
            f"{printable(name, 60)}: there is no such file; expected the path of a suite"
        )
    raise SuiteError(
        f"there is no suite {format_value(name)}{did_you_mean(name, known)}; there are "
        f"{', '.join(known)}; name a suite of your own by its path, such as ./my.toml"
    )


@dataclass(frozen=True)
class Grid:
    """The shapes that one entry of ``shapes`` describes: every combination of the sizes it lists.

    The number of shapes is known before any shape is made. entry: the place in the file, for
    errors. given: the content of the entry.
    """

    entry: Field
    given: SuiteShape

    @cached_property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Return the batch sizes, timesteps, input sizes and hidden sizes.

        An input size of 0 means the width of the layer.
        """
        given = self.given
        # Only a stream may omit it: its chunks then have one timestep.
        timesteps = 1 if given.timesteps is None else given.timesteps
        inputs = 0 if isinstance(given.input_size, str) else given.input_size
        return tuple(
            _unique(sizes if isinstance(sizes, list) else (sizes,))
            for sizes in (given.batch, timesteps, inputs, given.hidden_size)
        )

    def __len__(self) -> int:
        return math.prod(map(len, self.sizes))

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return itertools.product(*self.sizes)

    def shape(
        self,
        sizes: Sequence[int],
        window: int | None,
        dtype: str,
        mode: str,
        gradients: str,
        period: float | None = None,
        cell: str = DEFAULT_CELL.name,
    ) -> tuple[LSTMSpec, Workload]:
        """Return one shape as a spec and a workload, or raise SuiteError if it is invalid."""
        entry, given = self.entry, self.given
        batch, timesteps, inputs, hidden = sizes
        if mode == "streaming" and given.bidirectional:
            raise entry["bidirectional"].error("false: a stream has no end to begin from")
        if mode != "streaming" and given.timesteps is None:
            raise file_error(entry.path, "is missing", entry["timesteps"].name)
        try:
            spec = LSTMSpec(
                inputs or hidden,
                hidden,
                num_layers=given.num_layers,
                bidirectional=given.bidirectional,
                dtype=dtype,
                cell=get_cell(cell),
            )
            return spec, Workload(
                batch,
                timesteps,
                mode,
                min_length=given.min_length,
                window=window,
                dropout=given.dropout,
                reset_rate=given.reset_rate,
                reset_to=given.reset_to,
                batch_major=given.batch_major,
                optimizer=given.optimizer,
                gradients=gradients,
                period=period,
            )
        except (TypeError, ValueError) as error:
            message = re.sub(r"\b(LSTMSpec|Workload)\.", "", str(error))
            raise SuiteError(f"{entry.path}: {entry.name}: {message}") from error


@dataclass(frozen=True)
class _Axes:
    """Hold the properties of a suite, which its groups share, or of one group.

    Each property lists the values that are measured.
    """

    backends: tuple[str, ...] = ()
    variants: tuple[str, ...] = (NO_VARIANT,)
    devices: tuple[str, ...] = ()
    modes: tuple[str, ...] = SEQUENCE_MODES
    gradients: tuple[str, ...] = ("weights",)
    dtypes: tuple[str, ...] = ("float32",)
    cells: tuple[str, ...] = (DEFAULT_CELL.name,)
    periods: tuple[float | None, ...] = (None,)
    seconds: float = DEFAULT_SECONDS

    def changed(self, place: Field, keys: SharedKeys, chosen: Collection[str]) -> _Axes:
        """Return these values with the changes that a file or a group makes.

        A value that the user chose does not change.

        A name is looked up even if the user's choice replaces it, so that an error in a file is
        always reported. place: where the keys are in the file. chosen: the properties that the user
        chose.
        """
        said: dict[str, Any] = {}
        for key, resolve in (("backends", _backends), ("devices", _devices)):
            if (names := getattr(keys, key)) is not None:
                said[key] = _names(place[key], names, resolve)
        for key in ("variants", "modes", "dtypes", "cells"):
            if (values := getattr(keys, key)) is not None:
                said[key] = _unique(values)
        if keys.gradients is not None:
            only = isinstance(keys.gradients, str)
            said["gradients"] = (keys.gradients,) if only else _unique(keys.gradients)
        if keys.periods is not None:
            said["periods"] = _unique(map(parse_period, keys.periods))
        if keys.seconds is not None:
            said["seconds"] = keys.seconds
        return replace(self, **{key: each for key, each in said.items() if key not in chosen})


def _chosen(choice: SuiteChoice) -> dict[str, Any]:
    """Return the values that a user chose, resolved. Raise SuiteError for an unknown name."""
    chosen: dict[str, Any] = {}
    for key, resolve in (("backends", _backends), ("devices", _devices)):
        if (names := getattr(choice, key)) is not None:
            chosen[key] = _resolve_names(resolve, (("", name) for name in names))
    for key in ("periods", "variants", "cells"):
        if (values := getattr(choice, key)) is not None:
            chosen[key] = _unique(values)
    known_names = ("variant", (NO_VARIANT, *VARIANTS)), ("mode", MODES), ("cell", list_cells())
    for what, known in known_names:
        for each in getattr(choice, f"{what}s") or ():
            if each not in known:
                expected = f"{did_you_mean(each, known)}; expected one of {', '.join(known)}"
                raise SuiteError(f"there is no {what} {format_value(each)}{expected}")
    return chosen


def _group_axes(group: Field, own: _Axes) -> _Axes:
    """Return the values of a group, with the variants of its backends. Raise SuiteError."""
    for key in ("backends", "devices"):
        if not getattr(own, key):
            raise SuiteError(f"{group.path}: {group.name} has no {key}, and neither has the suite")
    if own.variants != (NO_VARIANT,):
        varied = (
            backend if variant == NO_VARIANT else f"{backend}:{variant}"
            for backend, variant in itertools.product(own.backends, own.variants)
        )
        place = f"{group.path}: {group.name}: "
        names = _resolve_names(_backends, ((place, name) for name in varied))
        own = replace(own, backends=names)
    return own


def _suite(root: Field, choice: SuiteChoice) -> Suite:
    decode(root, SuiteSchema)
    file = decode(root, SuiteFile)
    chosen = _chosen(choice)
    axes = _Axes(**chosen).changed(root, file, chosen)
    seconds: dict[str, float] = {}
    cases: dict[str, dict[Case, None]] = {}
    count = 0
    for group, keys in zip(root["groups"].items(), file.groups, strict=True):
        own = _group_axes(group, axes.changed(group, keys, chosen))
        shapes = zip(group["shapes"].items(), keys.shapes, strict=True)
        grids = [Grid(place, shape) for place, shape in shapes]
        windows: Sequence[int | None] = keys.windows or [None]
        places = {name: _select_devices(name, own.devices) for name in own.backends}
        each = len(windows) * len(own.dtypes) * len(own.cells) * len(list(_modes(own)))
        count += sum(map(len, grids)) * each * sum(map(len, places.values()))
        if count > MOST_CASES:
            raise SuiteError(
                f"{root.path}: with {group.name} the suite has {count:,} cases in all modes; "
                f"expected at most {MOST_CASES:,}; split it"
            )
        for case in _cases(grids, windows, places, own, choice):
            cases.setdefault(case.group, {})[case] = None
            seconds[case.group] = max(own.seconds, seconds.get(case.group, 0.0))
    if not cases:
        parts = [
            f"{kind} {', '.join(names)}"
            for kind in ("backends", "variants", "cells", "devices", "modes")
            if (names := getattr(choice, kind)) is not None
        ]
        what = f" with {' and '.join(parts)}" if parts else ""
        raise SuiteError(f"{root.path}: the suite {file.name} has no case{what}")
    return Suite(
        name=file.name,
        summary=file.summary or "",
        path=root.path,
        cases=tuple(case for group in cases.values() for case in group),
        seconds=seconds,
        source=file.source or "",
        memory=file.memory,
    )


def _cases(
    grids: Iterable[Grid],
    windows: Sequence[int | None],
    places: Mapping[str, Sequence[str]],
    axes: _Axes,
    choice: SuiteChoice,
) -> Iterator[Case]:
    for grid, sizes in ((each, sizes) for each in grids for sizes in each):
        values = itertools.product(axes.cells, windows, axes.dtypes, _modes(axes))
        for cell, window, dtype, (mode, gradients, period) in values:
            # The shape is made before the mode is filtered, so that an error in a file is always
            # reported.
            spec, workload = grid.shape(sizes, window, dtype, mode, gradients, period, cell)
            if choice.modes is not None and mode not in choice.modes:
                continue
            for device, backend in itertools.product(axes.devices, axes.backends):
                if device in places[backend]:
                    yield Case(backend, spec, workload, device)


def _modes(axes: _Axes) -> Iterator[tuple[str, str, float | None]]:
    """Yield each mode with the gradients that it computes and its period."""
    for mode in axes.modes:
        for gradients in axes.gradients if mode == "training" else ("all",):
            for period in axes.periods if mode == "streaming" else (None,):
                yield mode, gradients, period


def _select_devices(backend: str, wanted: Sequence[str]) -> Sequence[str]:
    """Return the devices on which a backend has cases.

    A backend has no case on a kind of device that it never uses, such as cuDNN on a CPU. If no
    device remained, it keeps all of them: the report then says that the request was not measured.
    """
    try:
        kinds = get_backend(backend).devices
    except UnavailableError:
        return wanted  # A backend of another package is broken; its cases report that.
    return [device for device in wanted if devices.kind(device) in kinds] or wanted


def _unique(items: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(items))


def _names(
    place: Field, names: Sequence[str], resolve: Callable[[str], Sequence[str]]
) -> tuple[str, ...]:
    if names == ALL:
        return tuple(resolve(ALL))
    return _resolve_names(
        resolve,
        ((f"{i.path}: {i.name}: ", name) for i, name in zip(place.items(), names, strict=True)),
    )


def _resolve_names(
    resolve: Callable[[str], Sequence[str]], names: Iterable[tuple[str, str]]
) -> tuple[str, ...]:
    """Resolve names and return each once.

    names: the place of each name, for an error message, and the name.
    """
    found: dict[str, None] = {}
    for where, name in names:
        try:
            found |= dict.fromkeys(resolve(name))
        except (UnsupportedError, devices.DeviceError) as error:
            raise SuiteError(f"{where}{error}") from error
    return tuple(found)


def _backends(name: str) -> Sequence[str]:
    return list_backends() if name == ALL else (get_backend(name).name,)


def _devices(name: str) -> Sequence[str]:
    if name != ALL:
        return (devices.parse(name),)
    here = devices.list_devices()
    # The cases of a missing GPU are recorded as not measured.
    return here if len(here) > 1 else [*here, "gpu:0"]
