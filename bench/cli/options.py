"""Declare each option of a measurement once, for every place that names, parses or records it.

``MeasurementOptions`` has one field for each option. The field says how the option is called,
parsed and checked. The following are made from these fields:

- the options of ``bench.run`` and the options ``--lstm-NAME`` of pytest;
- the values in the file of a session and in the work order of a worker process;
- the options that a result file records.

pytest loads this module with the plugin, so the module imports neither NumPy nor a framework.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from bench.cli import arguments
from bench.machine.fields import Field, did_you_mean
from bench.machine.reading import RESULTS_VARIABLE
from bench.schema.decoding import decode
from bench.schema.types import Amount, choices, integer

if TYPE_CHECKING:
    from bench.case.loading import SuiteChoice

THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
)
"""Several libraries that frameworks use read these variables when they start. They are therefore
set before any framework is imported, together with the frameworks' own variables.
"""

DEFAULT_SUITE = "quick"
"""The suite that is measured if the user names none."""


@dataclass(frozen=True)
class ValueKind:
    """How the values of an option are parsed and checked.

    parse: turns a word of the command line into a value and raises ``argparse.ArgumentTypeError``.
    stored: the type of the value in a JSON file. words: if only certain words are allowed, their
    values. record: returns what a result file records for a value.
    """

    parse: Callable[[str], Any]
    stored: Any
    words: Mapping[str, Any] = field(default_factory=dict)
    record: Callable[[Any], Any] = lambda value: value

    def read(self, field: Field) -> Any:
        """Return the value of a field of a JSON file. Raises ResultError."""
        value: Any = decode(field, self.stored)
        return tuple(value) if isinstance(value, list) else value


def _record_periods(periods: tuple[float | None, ...]) -> list[str]:
    # Importing this at the top would import NumPy, which must wait until threads are set.
    from bench.case.cases import format_period

    return [format_period(each) for each in periods]


def _whole_number(least: int, most: int = 2**63 - 1) -> ValueKind:
    return ValueKind(
        arguments.make_integer_parser(least, most), Annotated[int, integer(least, most)]
    )


_TEXT = ValueKind(str, str)
_PATH = ValueKind(str, str, record=lambda value: Path(value).name)
_NAMES = ValueKind(arguments.parse_names, list[str])
_PERIODS = ValueKind(arguments.parse_periods, list[Amount | None], record=_record_periods)
_SECONDS = ValueKind(arguments.parse_seconds, Amount)
_SHORT_TIME = ValueKind(arguments.parse_short_time, Amount)
_SHARE = ValueKind(arguments.parse_share, Amount)
_PERCENTAGE = ValueKind(arguments.parse_percentage, Amount)
_SEED = ValueKind(arguments.make_integer_parser(0, 2**53), Annotated[int, Meta(ge=0)])
"""Seeds of sessions have up to 64 bits, more than a user may type."""
_ON_OFF = ValueKind(
    str, bool, {"auto": None, "on": True, "off": False}, {True: "on", False: "off"}.get
)
_BUSY_WORDS = ("refuse", "wait", "force")
_BUSY = ValueKind(str, Annotated[str, choices(_BUSY_WORDS)], {word: word for word in _BUSY_WORDS})


@dataclass(frozen=True)
class Option:
    """How an option is declared.

    metavar: stands for the value in the help. run: the name of the option in ``bench.run``; empty
    if ``bench.run`` lacks it. session: its key in the file of a session; empty if the file does not
    hold it. is_recorded: whether a result file records it.
    """

    kind: ValueKind
    metavar: str
    help: str
    run: str = ""
    session: str = ""
    is_recorded: bool = True

    @property
    def destination(self) -> str:
        """Return the name of the value in the namespace of ``bench.run``'s parser."""
        return self.run.replace("-", "_")

    @property
    def parsing(self) -> dict[str, Any]:
        """Return the arguments of ``add_argument`` and pytest's ``addoption``."""
        words = (
            {"choices": tuple(self.kind.words)} if self.kind.words else {"type": self.kind.parse}
        )
        return {"metavar": self.metavar, "help": self.help, "default": None, **words}

    def value(self, parsed: Any) -> Any:
        """Return the value for what a parser returned for the option."""
        return self.kind.words.get(parsed, parsed)


def _option(kind: ValueKind, metavar: str, help: str, **more: Any) -> Any:
    return field(default=None, metadata={"option": Option(kind, metavar, help, **more)})


@dataclass(frozen=True)
class MeasurementOptions:
    """What a user or the manager of a session chose. None means the default of an option.

    suite: a name or a path. budget: seconds of measuring for each case. share: the fraction of
    these seconds that is used. session: the name that replicates of a run share. results: the
    folder of the result file. judged: the folder that the processes of a session share. turn: the
    descriptor of an open file to lock before anything is built.
    """

    suite: str | None = _option(
        _PATH, "NAME|FILE", "A suite of the package or the path of a TOML file.", session="suite"
    )
    device: tuple[str, ...] | None = _option(
        *(_NAMES, "DEVICES", "cpu, gpu:0, ... or all, separated by commas"),
        run="device",
        session="devices",
    )
    backends: tuple[str, ...] | None = _option(
        *(_NAMES, "NAMES", "backends to measure, separated by commas, or all"),
        run="backends",
        session="backends",
    )
    variant: tuple[str, ...] | None = _option(
        *(_NAMES, "NAMES", "variants of the backends, such as none,int8 (none: without a variant)"),
        run="variant",
        session="variants",
    )
    cell: tuple[str, ...] | None = _option(
        *(_NAMES, "CELLS", "cells to use instead of the suite's: lstm, gru, gru_reset_before"),
        run="cell",
        session="cells",
    )
    mode: tuple[str, ...] | None = _option(
        *(_NAMES, "MODES", "measure only these modes: inference, training, streaming"),
        run="mode",
        session="modes",
    )
    threads: int | None = _option(
        _whole_number(1, 4096),
        *("N", "number of threads of every framework (default: the framework's own choice)"),
        run="threads",
        session="threads",
    )
    seed: int | None = _option(
        _SEED,
        *("N", "seed of weights, inputs and random orders (default: the newest published one)"),
        run="seed",
        session="seed",
    )
    period: tuple[float | None, ...] | None = _option(
        *(_PERIODS, "PERIODS", "times between two calls of a stream: 10ms, back-to-back, ..."),
        run="period",
        session="periods",
    )
    deadline: float | None = _option(
        *(_SHORT_TIME, "TIME", "count calls of a stream that take longer (default: the period)"),
        run="deadline",
        session="deadline",
    )
    load: int | None = _option(
        _whole_number(0, 4096),
        *("N", "number of processes that each keep a processor busy during streams"),
        run="load",
        session="load",
    )
    budget: float | None = _option(
        _SECONDS,
        *("TIME", "time to measure each case in each process (default: the suite's own)"),
        run="seconds",
        session="seconds",
    )
    memory: bool | None = _option(
        _ON_OFF,
        "auto|on|off",
        "measure the peak memory of cases on the CPU, too (auto: as the suite says)",
        run="memory",
        session="memory",
    )
    case_limit: float | None = _option(
        _SECONDS,
        *("TIME", "end a case after this time, compilation included (default: 120s)"),
        run="case-limit",
        session="case_limit",
    )
    share: float | None = _option(
        _SHARE, "PART", "Fraction of the measuring time to use (set by bench.run)."
    )
    precision: float | None = _option(
        _PERCENTAGE,
        "PERCENT",
        "Stop once every median's 95%% interval is within this (default: 1%%).",
    )
    cases: str | None = _option(
        _PATH, "FILE", "Only the cases in this JSON list: ids of the suite, or new cases."
    )
    session: str | None = _option(
        _TEXT, "ID", "Name shared by runs that are replicates of one another."
    )
    order_seed: int | None = _option(
        _whole_number(0),
        *("N", "Measure in a random order with this seed."),
    )
    results: str | None = _option(
        _TEXT,
        *("DIR", f"Folder of the result file (default: ${RESULTS_VARIABLE} or results)."),
        is_recorded=False,
    )
    busy: str | None = _option(
        _BUSY,
        "refuse|wait|force",
        "While another run measures on this machine: refuse to start, wait for it, or measure even "
        "though the runs disturb each other (default: refuse).",
        is_recorded=False,
    )
    judged: str | None = _option(
        *(_TEXT, "DIR", "Folder that the processes of a session share (set by bench.run)."),
        is_recorded=False,
    )
    turn: int | None = _option(
        *(_whole_number(0), "FD", "Lock this open file before measuring (set by bench.run)."),
        is_recorded=False,
    )

    @classmethod
    def from_pytest(cls, get: Callable[[str], Any]) -> MeasurementOptions:
        """Return the options that pytest parsed. get: returns the value of ``lstm_NAME``."""
        return cls(**{name: each.value(get(f"lstm_{name}")) for name, each in iterate_options()})

    @classmethod
    def from_run(cls, namespace: argparse.Namespace) -> MeasurementOptions:
        """Return the options that the parser of ``bench.run`` parsed."""
        given = {
            name: each.value(getattr(namespace, each.destination))
            for name, each in iterate_options()
            if each.run
        }
        return cls(suite=namespace.suite, **given)

    @classmethod
    def from_field(cls, data: Field) -> MeasurementOptions:
        """Return the options of a work order. Raises ResultError for unknown or wrong values."""
        known = dict(iterate_options())
        for name in data.mapping():
            if name not in known:
                raise data[name].error(f"an option{did_you_mean(name, known)}", "is no option")
        return cls(
            **{
                name: each.kind.read(data[name])
                for name, each in iterate_options()
                if data[name].given
            }
        )

    @classmethod
    def from_session(cls, data: Field) -> MeasurementOptions:
        """Return the options in the file of a session. Raises ResultError."""
        return cls(
            **{
                name: each.kind.read(data[each.session])
                for name, each in iterate_options()
                if each.session and data[each.session].given
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the chosen options by their names, as plain data for a work order."""
        return {
            name: _plain(value)
            for name, _ in iterate_options()
            if (value := getattr(self, name)) is not None
        }

    def to_session(self) -> dict[str, Any]:
        """Return what the file of a session holds of the options, as plain data."""
        return {
            each.session: _plain(getattr(self, name))
            for name, each in iterate_options()
            if each.session
        }

    def to_record(self) -> dict[str, Any]:
        """Return what a result file records: the chosen options, without names of folders.

        Results are shared, and the path of a folder may name its owner.
        """
        return {
            name: each.kind.record(value)
            for name, each in iterate_options()
            if each.is_recorded and (value := getattr(self, name)) is not None
        }

    @property
    def choice(self) -> SuiteChoice:
        """Return what the options select from the suite."""
        # Importing this at the top would import NumPy, which must wait until threads are set.
        from bench.case.loading import SuiteChoice

        return SuiteChoice(
            self.backends, self.device, self.mode, self.period, self.variant, self.cell
        )

    def set_threads(self) -> None:
        """Set the variables from which libraries read how many threads they may start."""
        if self.threads is None:
            return
        # The descriptors of the frameworks import NumPy, whose BLAS then reads its variable.
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(self.threads)))
        from lstm_impl.frameworks import list_frameworks

        own = [name for framework in list_frameworks() for name in framework.thread_variables]
        os.environ.update(dict.fromkeys(own, str(self.threads)))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def iterate_options() -> Iterator[tuple[str, Option]]:
    """Yield the name and the declaration of each option."""
    for each in fields(MeasurementOptions):
        yield each.name, each.metadata["option"]


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``bench.run`` has, except the suite, which is a positional argument."""
    for _, each in iterate_options():
        if each.run:
            parser.add_argument(f"--{each.run}", **each.parsing)


def list_fixed_options() -> list[str]:
    """Return the ``bench.run`` names of the options that a resumed session must keep.

    Only the limit of a case may change: if a case took too long, the user resumes with a larger
    limit.
    """
    names = [each.run for name, each in iterate_options() if each.run and name != "case_limit"]
    return ["suite", *names]
