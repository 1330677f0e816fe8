"""Read suites: TOML files that name lists of cases.

The suites of the package are files in this folder; a user's own may be anywhere. An error in a file
names the file and the key.
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
    printable,
    shown,
)
from bench.machine.reading import FolderError, expanded, parse_json, regular_bytes
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
"""Measuring time of a case if the suite names none: 20 blocks of a step of 100 ms, enough for an
interval of a few per cent."""

LARGEST_SUITE = 2**24
"""Most bytes of a suite. Parsing a million takes a second."""

MOST_CASES = 1_000_000
"""Most cases of a suite: at a second each they take twelve days."""

_LONGEST_ERROR = 2000  # characters; a list of all backends has a thousand


class SuiteError(InputError):
    """A suite, or a choice from it, cannot be used; one printable line says where and why."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, _LONGEST_ERROR))


@dataclass(frozen=True)
class SuiteChoice:
    """What a user chooses of a suite; None leaves it to the suite.

    backends, variants, cells, devices, periods: replace the suite's (``all`` stands for all
    backends or devices, the variant ``none`` for the backend itself, the period None for back to
    back). modes: selects among the suite's.
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

    cases: each once, those of one group together. seconds: of measuring for each case, by
    ``Case.group``. source: of shapes that others published. memory: whether to measure the memory
    of cases on the CPU, which takes some seconds for each.
    """

    name: str
    summary: str
    path: Path
    cases: tuple[Case, ...]
    seconds: Mapping[str, float]
    source: str = ""
    memory: bool = False

    def with_cases(self, wanted: Sequence[Case]) -> Suite:
        """Return the suite with these cases, which may be new."""
        groups: dict[str, list[Case]] = {}
        for case in dict.fromkeys(wanted):
            groups.setdefault(case.group, []).append(case)
        return replace(
            self,
            cases=tuple(itertools.chain.from_iterable(groups.values())),
            seconds={group: self.seconds.get(group, DEFAULT_SECONDS) for group in groups},
        )


def available() -> dict[str, Path]:
    """Return the suites of the package."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def load(name: str, choice: SuiteChoice | None = None, folder: Path | None = None) -> Suite:
    """Return the suite of this name or path, relative to ``folder``. Raises SuiteError."""
    path = _find(name, folder or Path())
    with _suite_errors(path):
        return parse(path, regular_bytes(path, LARGEST_SUITE), choice)


def parse(path: Path, text: bytes, choice: SuiteChoice | None = None) -> Suite:
    """Return the suite in ``text``, the contents of the file with this path. Raises SuiteError."""
    with _suite_errors(path):
        try:
            data = tomllib.loads(text.decode())
        except UnicodeDecodeError as error:
            raise SuiteError(f"{path}: is no UTF-8 text (byte {error.start})") from error
        except ValueError as error:  # a TOMLDecodeError, or a number of 5,000 digits
            raise SuiteError(f"{path}: is no suite, which is a file of TOML: {error}") from error
        return _suite(Field(path, "", data), choice or SuiteChoice())


@contextlib.contextmanager
def _suite_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except ResultError as error:
        raise SuiteError(str(error)) from error
    except RecursionError as error:
        raise SuiteError(f"{path}: is nested too deeply to be read") from error


def load_cases(path: Path, suite: Suite) -> Suite:
    """Return the suite of a JSON file's cases, new ones or by their ids. Raises SuiteError."""
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
        path = folder / expanded(name)
        if path.is_file():
            return path
    except (FolderError, OSError) as error:  # such as a name of thousands of characters
        message = error.strerror if isinstance(error, OSError) else str(error)
        raise SuiteError(f"{printable(name, 60)} cannot be looked for: {message}") from None
    if name.endswith(".toml") or "/" in name or "\\" in name:
        raise SuiteError(
            f"{printable(name, 60)}: there is no such file; expected the path of a suite"
        )
    raise SuiteError(
        f"there is no suite {shown(name)}{did_you_mean(name, known)}; there are "
        f"{', '.join(known)}, and a suite of your own is named by its path, as in ./my.toml"
    )


@dataclass(frozen=True)
class Grid:
    """The shapes of one entry of ``shapes``: each combination of the sizes that it lists.

    Its length is known before any shape is made. entry: the place in the file, for errors.
    """

    entry: Field
    given: SuiteShape

    @cached_property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """The batches, timesteps, input sizes (0: as wide as the layer) and hidden sizes."""
        given = self.given
        timesteps = 1 if given.timesteps is None else given.timesteps  # of a stream's chunk
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
        """Return one shape as a spec and a workload. Raises SuiteError for a wrong combination."""
        entry, given = self.entry, self.given
        batch, timesteps, inputs, hidden = sizes
        if mode == "streaming" and given.bidirectional:
            raise entry["bidirectional"].error("false: a stream has no end to begin at")
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
    """Values for all groups of a suite, or for one group."""

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
        """Add what a file or a group has, except where the user chose.

        Names are looked up also where the choice replaces them: an error in a file is always
        reported. place: where the keys are in the file.
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
    """Return the axes that a user chose, resolved. Raises SuiteError for an unknown name."""
    chosen: dict[str, Any] = {}
    for key, resolve in (("backends", _backends), ("devices", _devices)):
        if (names := getattr(choice, key)) is not None:
            chosen[key] = _resolved(resolve, (("", name) for name in names))
    for key in ("periods", "variants", "cells"):
        if (values := getattr(choice, key)) is not None:
            chosen[key] = _unique(values)
    known_names = ("variant", (NO_VARIANT, *VARIANTS)), ("mode", MODES), ("cell", list_cells())
    for what, known in known_names:
        for each in getattr(choice, f"{what}s") or ():
            if each not in known:
                expected = f"{did_you_mean(each, known)}; expected one of {', '.join(known)}"
                raise SuiteError(f"there is no {what} {shown(each)}{expected}")
    return chosen


def _group_axes(group: Field, own: _Axes) -> _Axes:
    """Return a group's axes with the variants of its backends. Raises SuiteError."""
    for key in ("backends", "devices"):
        if not getattr(own, key):
            raise SuiteError(f"{group.path}: {key} is missing, and {group.name} names none")
    if own.variants != (NO_VARIANT,):
        varied = (
            backend if variant == NO_VARIANT else f"{backend}:{variant}"
            for backend, variant in itertools.product(own.backends, own.variants)
        )
        place = f"{group.path}: {group.name}: "
        names = _resolved(_backends, ((place, name) for name in varied))
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
                f"{root.path}: {group.name} brings the suite to {count:,} cases, of all modes; "
                f"expected at most {MOST_CASES:,}: split it"
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
        raise SuiteError(f"{root.path}: no case is left of suite {file.name}{what}")
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
            # Made before any is left out: an error in a file is always reported.
            spec, workload = grid.shape(sizes, window, dtype, mode, gradients, period, cell)
            if choice.modes is not None and mode not in choice.modes:
                continue
            for device, backend in itertools.product(axes.devices, axes.backends):
                if device in places[backend]:
                    yield Case(backend, spec, workload, device)


def _modes(axes: _Axes) -> Iterator[tuple[str, str, float | None]]:
    """Yield each mode with what it differentiates and its period."""
    for mode in axes.modes:
        for gradients in axes.gradients if mode == "training" else ("all",):
            for period in axes.periods if mode == "streaming" else (None,):
                yield mode, gradients, period


def _select_devices(backend: str, wanted: Sequence[str]) -> Sequence[str]:
    """Return the devices that a backend has cases on.

    It has none on a device of a kind that it never uses (cuDNN on a CPU), unless it would then have
    none at all: what was requested is recorded as not measured.
    """
    try:
        kinds = get_backend(backend).devices
    except UnavailableError:
        return wanted  # a broken one of another package: its cases report that
    return [device for device in wanted if devices.kind(device) in kinds] or wanted


def _unique(items: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(items))


def _names(
    place: Field, names: Sequence[str], resolve: Callable[[str], Sequence[str]]
) -> tuple[str, ...]:
    if names == ALL:
        return tuple(resolve(ALL))
    return _resolved(
        resolve,
        ((f"{i.path}: {i.name}: ", name) for i, name in zip(place.items(), names, strict=True)),
    )


def _resolved(
    resolve: Callable[[str], Sequence[str]], names: Iterable[tuple[str, str]]
) -> tuple[str, ...]:
    """Resolve names, each once. names: the place of each, for an error, and the name."""
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
    here = devices.available()
    # Without a GPU its cases are recorded as not measured.
    return here if len(here) > 1 else [*here, "gpu:0"]
