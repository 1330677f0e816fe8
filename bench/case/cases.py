"""Define the case: a backend, a spec, a workload and a device, named by one stable id.

In this module, in ids and in tables, a variant (``torch:int8``) is part of the backend's name.
Result files store it in a field of its own. Results of different runs, devices and machines are
joined by id, so the spelling of an id is part of the file format.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from functools import cache, cached_property
from typing import Any, TypeVar

from bench.machine.fields import InputError
from lstm_impl.cell import DEFAULT as DEFAULT_CELL
from lstm_impl.cell import get_cell, list_cells
from lstm_impl.names import BackendName
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import LONGEST_PERIOD, OPTIMIZERS, SHORTEST_PERIOD, Workload

ID_EXAMPLE = "backend/b32-t100-i128-h256/float32/inference/cpu"

NO_VARIANT = "none"
"""Means the backend without a variant, in a list of variants."""

APPROXIMATE = ("int8",)
"""The variants that compute a different function from their backend, by design."""

UNRANKED = (*APPROXIMATE, "denormal")
"""The variants whose times are shown but never ranked."""

BACKENDS = ("keras", "while_loop", "while_loop+hoisted", "while_loop+hoisted+xla")
REPLICAS = "replicas"
"""The variant that computes on all GPUs, or on two logical CPUs."""

PEERS = ("torch", "jax_scan")
"""The usual backends of other frameworks. ``BACKENDS`` lists TensorFlow's, which compile in seconds
for a sequence of any length. A backend that is not installed is recorded as not measured, which
takes no time.
"""

SIZES = ("batch", "timesteps", "inputs", "hidden")
"""The names of the fields of a ``Shape``."""

SHAPE_EXAMPLE = "b64-t25-i512-h512"
"""An example of how a user writes a shape. Ids use the same form."""

_T = TypeVar("_T", LSTMSpec, Workload)

_GRADIENTS = {"weights": "dw", "weights+input": "dwx"}
"""How an id abbreviates the gradients that a training step computes: of the weights W, or also of
the input x.
"""

_NOT_INTEGER = ("dropout", "period", "reset_rate")
"""The numbers of an id that need not be integers."""

_SIZES = re.compile("-".join(f"{letter}([1-9][0-9]{{0,9}})" for letter in "btih"))


@cache
def _shape_pattern() -> re.Pattern[str]:
    """Return the pattern that ``Case.shape`` matches.

    The parts have a fixed order, the one in which ``Case.shape`` writes them. The pattern is made
    at its first use, because other packages may register cells until then.
    """
    cells = "|".join(re.escape(name) for name in list_cells() if name != DEFAULT_CELL.name)
    return re.compile(
        r"b(?P<batch>\d+)-t(?P<timesteps>\d+)-i(?P<input_size>\d+)-h(?P<hidden_size>\d+)"
        rf"(-(?P<cell>{cells or '(?!)'}))?"  # Without other cells, this part matches nothing.
        r"(-l(?P<num_layers>\d+))?(-(?P<bidirectional>bi))?(-w(?P<window>\d+))?"
        r"(-len(?P<min_length>\d+))?(-drop(?P<dropout>[0-9.e+-]+?))?(-(?P<batch_major>bm))?"
        rf"(-(?P<optimizer>{'|'.join(OPTIMIZERS)}))?(-p(?P<period>[0-9.e+-]+?)ms)?"
        r"(-(?P<gradients>dwx?))?(-reset(?P<reset_rate>[0-9.e+-]+?)(?P<to_initial>-initial)?)?"
    )


BACK_TO_BACK = "back-to-back"
"""Each call begins when the previous call has ended."""

PERIODS = f'"{BACK_TO_BACK}" or a time from 1us to 1h, such as "10ms"'

_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(us|µs|ms|s)")
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def parse_period(text: str) -> float | None:
    """Return the seconds from the start of one call to the next, or None for back-to-back calls.

    Raises ValueError for text that is not a period.
    """
    if text == BACK_TO_BACK:
        return None
    match = _TIME.fullmatch(text.strip())
    # The period is part of a case's id, so it is rounded: 10ms becomes exactly 0.01.
    seconds = round(float(match[1]) * _SECONDS[match[2]], 9) if match else 0.0
    if not SHORTEST_PERIOD <= seconds <= LONGEST_PERIOD:
        raise ValueError(f"{text[:40]!r} is not a period; expected {PERIODS}")
    return seconds


def format_period(period: float | None) -> str:
    """Format a period as ``parse_period`` reads it."""
    return BACK_TO_BACK if period is None else f"{1000 * period:.10g}ms"


@dataclass(frozen=True)
class Shape:
    """The sizes of a layer and its batch. The input has the shape ``[batch, timesteps, inputs]``.

    hidden: the number of units.
    """

    batch: int
    timesteps: int
    inputs: int
    hidden: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Parse a shape such as ``b64-t25-i512-h512``. Raise InputError for other text."""
        match = _SIZES.fullmatch(text)
        if match is None:
            raise InputError(f"{text[:60]!r} is not a shape; write one like {SHAPE_EXAMPLE}")
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"b{self.batch}-t{self.timesteps}-i{self.inputs}-h{self.hidden}"


@dataclass(frozen=True)
class Case:
    """Describe what is measured: a backend computes a workload of a spec on a device.

    Devices are ``cpu``, ``gpu:0`` and so on.

    backend: the id of the backend, possibly with a variant: ``torch``, ``torch:int8``.
    """

    backend: str
    spec: LSTMSpec
    workload: Workload
    device: str = "cpu"

    @cached_property
    def name(self) -> BackendName:
        """Return the parts of the backend's id: the backend, its variants and the call."""
        return BackendName.parse(self.backend)

    @property
    def variant(self) -> str:
        """Return what follows the last colon of the backend's id, or an empty string.

        Files and tables have a field for it. ``name`` distinguishes variants from calls.
        """
        return _split(self.backend)[1]

    @property
    def call(self) -> str:
        """Return the call that is timed, such as ``predict``; empty for the backend's own step."""
        return self.name.call

    @property
    def approximate(self) -> bool:
        """Whether the results are only close to those of the reference, by design."""
        return not set(APPROXIMATE).isdisjoint(self.name.variants)

    @property
    def ranked(self) -> bool:
        """Whether the time is ranked in its group."""
        return set(UNRANKED).isdisjoint(self.name.variants)

    @property
    def several_gpus(self) -> bool:
        """Return whether the case computes on all GPUs.

        Roofs and counters of a single GPU then say nothing about it.
        """
        return REPLICAS in self.name.variants and self.device != "cpu"

    @property
    def sizes(self) -> Shape:
        """Return the sizes of the layers and of the batch."""
        spec, work = self.spec, self.workload
        return Shape(work.batch, work.timesteps, spec.input_size, spec.hidden_size)

    @property
    def shape(self) -> str:
        """Return the sizes, such as ``b32-t100-i128-h256``, and each property that is unusual."""
        spec, work = self.spec, self.workload
        by_text = {
            spec.cell.name: spec.cell != DEFAULT_CELL,
            f"l{spec.num_layers}": spec.num_layers > 1,
            "bi": spec.bidirectional,
            f"w{work.window}": work.window is not None,
            f"len{work.min_length}": work.min_length is not None,
            f"drop{_number_text(work.dropout)}": work.dropout,
            "bm": work.batch_major,
            work.optimizer: work.optimizer is not None,
            f"p{_number_text(work.period or 0.0, thousand=True)}ms": work.period is not None,
            # Ids are older than this field, so the value that older ids mean is not written.
            _GRADIENTS.get(work.gradients): work.gradients != "all",
            f"reset{_number_text(work.reset_rate)}": work.reset_rate,
            "initial": work.reset_to != "zeros",
        }
        unusual = [text for text, is_so in by_text.items() if text and is_so]
        return "-".join([str(self.sizes), *unusual])

    @cached_property
    def group(self) -> str:
        """Return the id without the backend.

        Cases of one group do the same work on the same device.
        """
        return f"{self.shape}/{self.spec.dtype}/{self.workload.mode}/{self.device}"

    @property
    def id(self) -> str:
        """Return the id ``backend/shape/dtype/mode/device``.

        With a variant, the id begins with ``backend:variant/``.
        """
        return f"{self.backend}/{self.group}"

    @property
    def kind(self) -> str:
        """Return ``streaming``, ``truncation`` or ``throughput``.

        ``truncation`` means that sequences are cut into windows.
        """
        if self.workload.streaming:
            return "streaming"
        return "throughput" if self.workload.window is None else "truncation"

    def on(self, device: str) -> Case:
        """Return the same case on another device."""
        return replace(self, device=device)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for a result file.

        The fields of the period, the resets, the variant and the cell are newer than the first
        files. They are written only if they differ from the default.
        """
        workload = self.workload.to_dict()
        if self.workload.period is None:
            del workload["period"]
        backend, variant = _split(self.backend)
        data = {"backend": backend, "device": self.device}
        if variant:
            data["variant"] = variant
        return data | {"spec": self.spec.to_dict(), "workload": workload}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Case:
        """Return the case that ``to_dict`` wrote. Raise a ValueError that names the wrong field."""
        for name in ("backend", "device"):
            if not isinstance(data.get(name), str) or not data[name]:
                raise ValueError(f"case.{name} is {data.get(name)!r}; expected a name")
        backend, variant = data["backend"], data.get("variant", "")
        if variant:
            if not isinstance(variant, str) or ":" in variant:
                raise ValueError(f"case.variant is {variant!r}; expected a name without a colon")
            backend = f"{backend}:{variant}"
        return cls(
            backend,
            _from_mapping(LSTMSpec, "case.spec", data.get("spec")),
            _from_mapping(Workload, "case.workload", data.get("workload")),
            data["device"],
        )

    @classmethod
    def from_id(cls, text: str) -> Case:
        """Return the case with this id. Raise ValueError for text that is not an id."""
        parts = text.split("/")
        match = _shape_pattern().fullmatch(parts[1]) if len(parts) == 5 else None
        if match is None:
            raise ValueError(f"{text[:200]!r} is not the id of a case; write {ID_EXAMPLE}")
        backend, _, dtype, mode, device = parts
        sizes: dict[str, Any] = {
            key: int(value)
            for key, value in match.groupdict().items()
            if value is not None and value.isdecimal() and key not in _NOT_INTEGER
        }
        spec = {key: sizes.pop(key) for key in ("input_size", "hidden_size")}
        spec["num_layers"] = sizes.pop("num_layers", 1)
        spec["cell"] = get_cell(match["cell"] or DEFAULT_CELL.name)
        # The id has milliseconds, the workload has seconds.
        period = None if match["period"] is None else _read_number(match["period"], thousand=True)
        long = {short: gradients for gradients, short in _GRADIENTS.items()}
        work = Workload(
            **sizes,
            mode=mode,
            dropout=_read_number(match["dropout"] or "0"),
            batch_major=match["batch_major"] is not None,
            optimizer=match["optimizer"],
            period=period,
            gradients=long.get(match["gradients"], "all"),
            reset_rate=_read_number(match["reset_rate"] or "0"),
            reset_to="zeros" if match["to_initial"] is None else "initial_state",
        )
        bidirectional = match["bidirectional"] is not None
        case = cls(
            backend, LSTMSpec(**spec, bidirectional=bidirectional, dtype=dtype), work, device
        )
        if case.id != text:
            raise ValueError(
                f"{text[:200]!r} is not the id of a case; the id of these sizes is {case.id}"
            )
        return case


def _number_text(value: float, thousand: bool = False) -> str:
    """Return the text of a number in an id.

    Six digits are enough for most numbers. If they are not, the text has all digits, so that two
    cases never have the same id.

    thousand: write the number times 1000.
    """
    short = f"{1000 * value if thousand else value:g}"
    if _read_number(short, thousand) == value:
        return short
    exact = Decimal(repr(value)) * (1000 if thousand else 1)
    return f"{exact.normalize():f}"


def _read_number(text: str, thousand: bool = False) -> float:
    """Return the number that ``_number_text`` wrote. Raise ValueError for other text."""
    try:
        return float(Decimal(text) / (1000 if thousand else 1))
    except ArithmeticError as error:
        raise ValueError(f"{text!r} is not a number") from error


def _split(backend: str) -> tuple[str, str]:
    """Split a name into the id of a backend and its variant, which may be empty."""
    plain, _, variant = backend.rpartition(":")
    return (plain, variant) if plain and variant else (backend, "")


def _from_mapping(cls: type[_T], where: str, data: object) -> _T:
    if not isinstance(data, Mapping):
        raise ValueError(f"{where} is {data!r}; expected an object")
    known = {field.name for field in fields(cls)}
    if unknown := sorted(set(data) - known, key=str):
        raise ValueError(f"{where} has an unknown field {unknown[0]!r}")
    try:
        made = LSTMSpec.from_dict(data) if cls is LSTMSpec else cls(**data)
        assert isinstance(made, cls)
        return made
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def toml(about: str, case: Case, windows: Sequence[int], **more: object) -> str:
    """Return the TOML text of a suite with one shape.

    about: the comment at the top. case: gives the shape and all other settings; its backend is not
    used. windows: the lengths of windows, possibly none. more: further fields of the suite.
    """

    def pairs(values: Mapping[str, object]) -> list[str]:
        return [f"{key} = {json.dumps(value)}" for key, value in values.items()]

    spec, work = case.spec, case.workload
    suite: dict[str, object] = {"schema": 1, **more, "devices": [case.device]}
    suite |= {"modes": [work.mode], "dtypes": [spec.dtype], "gradients": work.gradients}
    if spec.cell != DEFAULT_CELL:
        suite["cells"] = [spec.cell.name]
    shape: dict[str, object] = {"batch": work.batch, "timesteps": work.timesteps}
    shape |= {"input_size": spec.input_size, "hidden_size": spec.hidden_size}
    shape |= {"num_layers": spec.num_layers, "bidirectional": spec.bidirectional}
    shape |= {"batch_major": True} if work.batch_major else {}
    shape |= {"optimizer": work.optimizer} if work.optimizer else {}
    comment = [f"# {line}" for line in textwrap.wrap(about, 96)]
    group = pairs({"windows": list(windows)} if windows else {})
    lines = [*comment, "", *pairs(suite), "", "[[groups]]", *group]
    return "\n".join([*lines, f"shapes = [{{ {', '.join(pairs(shape))} }}]", ""])
