"""Declare what the file of a suite may contain. ``bench.schema.decoding`` checks files against it.

Errors and documents list the fields in the order of this module.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from bench.case.cases import NO_VARIANT, PERIODS, parse_period
from bench.machine.fields import did_you_mean
from bench.schema.types import (
    LARGEST_FLOAT,
    Name,
    WrongFieldError,
    choices,
    described,
    integer,
    number,
)
from lstm_impl.cell import list_cells
from lstm_impl.names import VARIANTS
from lstm_impl.spec import MOST_LAYERS, MOST_SIZE, PRECISIONS
from lstm_impl.workload import GRADIENTS, MODES, OPTIMIZERS, RESET_TO

SCHEMA = 1
ALL = "all"

SQUARE = "hidden_size"
"""The value of ``input_size`` that means the width of the layer."""

_SIZES = "a positive integer or a list of them"
_INPUTS = f'a positive integer, a list of them, or "{SQUARE}"'
_NAMES = f'a list with at least one name, or "{ALL}"'

_not_empty = Meta(min_length=1)
_some_names = described("a list with at least one name")

Size = Annotated[int, integer(1, MOST_SIZE)]
SizeList = Annotated[list[Size], _not_empty, described(_SIZES)]
Sizes = Annotated[Size | SizeList, described(_SIZES)]
InputSizes = Annotated[
    Size
    | Annotated[list[Size], _not_empty, described(_INPUTS)]
    | Annotated[str, Meta(pattern=rf"\A{SQUARE}\Z"), described(_INPUTS)],
    described(_INPUTS),
]
Names = Annotated[
    Annotated[list[Name], _not_empty, described(_NAMES)]
    | Annotated[str, Meta(pattern=rf"\A{ALL}\Z"), described(_NAMES)],
    described(_NAMES),
]
Gradients = Annotated[str, choices(GRADIENTS)]


class SuiteShape(Struct, forbid_unknown_fields=True, kw_only=True):
    """The sizes of networks and data, and the properties that all of them share.

    Every combination of the listed sizes is a shape. timesteps: may be missing only for streams.
    """

    batch: Sizes
    timesteps: Sizes | None = None
    input_size: InputSizes
    hidden_size: Sizes
    num_layers: Annotated[int, integer(1, MOST_LAYERS)] = 1
    bidirectional: bool = False
    min_length: Size | None = None
    dropout: Annotated[float, number(0.0, 1.0)] = 0.0
    reset_rate: Annotated[float, number(0.0, 1.0)] = 0.0
    reset_to: Annotated[str, choices(RESET_TO)] = "zeros"
    batch_major: bool = False
    optimizer: Annotated[str, choices(OPTIMIZERS)] | None = None


class SharedKeys(Struct, forbid_unknown_fields=True, kw_only=True):
    """The keys that a file may give for all groups, and a group for itself."""

    backends: Names | None = None
    variants: (
        Annotated[list[Annotated[str, choices((NO_VARIANT, *VARIANTS))]], _not_empty, _some_names]
        | None
    ) = None
    devices: Names | None = None
    modes: Annotated[list[Annotated[str, choices(MODES)]], _not_empty, _some_names] | None = None
    gradients: Gradients | Annotated[list[Gradients], _not_empty, _some_names] | None = None
    dtypes: (
        Annotated[list[Annotated[str, choices(tuple(PRECISIONS))]], _not_empty, _some_names] | None
    ) = None
    cells: Annotated[list[Name], _not_empty, _some_names] | None = None
    periods: Annotated[list[str], _not_empty, described("a list of periods")] | None = None
    seconds: (
        Annotated[float, Meta(gt=0.0, le=LARGEST_FLOAT), described("a number of seconds above 0")]
        | None
    ) = None

    def __post_init__(self) -> None:
        # Other packages may register cells, so they are looked up when a file names some.
        for index, cell in enumerate(self.cells or ()):
            if cell not in (known := list_cells()):
                expected = f"one of {', '.join(known)}{did_you_mean(cell, known)}"
                raise WrongFieldError(f"cells[{index}]", expected)
        for index, period in enumerate(self.periods or ()):
            try:
                parse_period(period)
            except ValueError:
                raise WrongFieldError(f"periods[{index}]", PERIODS) from None


class SuiteGroup(SharedKeys, forbid_unknown_fields=True, kw_only=True):
    """Shapes that share the values of all other keys."""

    shapes: Annotated[
        list[SuiteShape],
        _not_empty,
        described("a list of shapes, each with its batch, timesteps, ..."),
    ]
    windows: Annotated[list[Size], _not_empty, described("a list of window lengths")] | None = None


class SuiteSchema(Struct):
    """The schema number of a file, which is checked before the rest."""

    schema: Annotated[
        int, integer(SCHEMA, SCHEMA), described(f"{SCHEMA}, which this version of the suite knows")
    ]


class SuiteFile(SharedKeys, forbid_unknown_fields=True, kw_only=True):
    """The content of the file of a suite."""

    schema: int
    name: Annotated[
        str,
        Meta(pattern=r"\A[-_]*[A-Za-z0-9][-_A-Za-z0-9]*\Z"),
        described("letters, digits, - and _ (result files are named after it)"),
    ]
    summary: Name | None = None
    source: Name | None = None
    memory: bool = False
    groups: Annotated[list[SuiteGroup], _not_empty, described("a list of groups ([[groups]])")]
