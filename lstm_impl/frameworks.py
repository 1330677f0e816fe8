"""Describe the frameworks that backends compute with, without importing any of them.

Each folder of ``lstm_impl/backends/`` whose frameworks are not described elsewhere has a module
``framework.py`` with a tuple ``FRAMEWORKS``. Another package registers its ``Framework`` as an
entry point in the group ``lstm_impl.frameworks``. A framework without a descriptor works too: the
defaults of ``Framework`` then hold.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lstm_impl.availability import Package
from lstm_impl.cuda import GpuCheck
from lstm_impl.names import BUILT_IN, OURS

ENTRY_POINT_GROUP = "lstm_impl.frameworks"
"""Entry point group in which other packages register frameworks: a name and a ``Framework``."""

MODULE = "framework"
"""The module of a folder of backends that describes its frameworks."""


LOOKS = 64
"""Looks of backends in pictures: eight colours with eight markers each."""


def no_preparation() -> None:
    """Do nothing: most frameworks need nothing before they are imported."""


@dataclass(frozen=True)
class Framework:
    """What the suite knows of a framework without importing it.

    name: as backends give it in ``Backend.framework``.
    title: its name in sentences; ``name`` if empty.
    module: what ``import`` calls it; ``name`` if empty.
    install, install_gpu: the commands that install it for a CPU and for a GPU; the first serves
        both if the other is empty.
    gpu: how it finds GPUs; None if its backends use none.
    early_modules: modules that are imported before any case, so that neither their time nor their
        memory is counted as a case's; ``module`` if empty. One that is not installed is skipped.
    before_import: what a process must do before it imports the framework.
    distributions: names on PyPI of what can change how fast it computes. Results record the
        versions of those that are installed.
    named_distributions: those of them whose versions are in a report's caption.
    thread_variables: environment variables from which it reads its number of threads when it
        starts.
    variables: a regular expression of further environment variables that change how it computes,
        and that results therefore record.
    looks: numbers of the looks of its backends in pictures, 0 to 63. Readers know backends by their
        colours from earlier pictures, so a number never changes. Numbers with the same remainder
        of eight have the same colour and another marker. Backends that are not named here get a
        number from 24 on, which depends on their name only.

    Raises ValueError if ``variables`` is no regular expression, or a look is not one of these.
    """

    name: str
    title: str = ""
    module: str = ""
    install: str = ""
    install_gpu: str = ""
    gpu: GpuCheck | None = None
    early_modules: tuple[str, ...] = ()
    before_import: Callable[[], None] = no_preparation
    distributions: tuple[str, ...] = ()
    named_distributions: tuple[str, ...] = ()
    thread_variables: tuple[str, ...] = ()
    variables: str = ""
    looks: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            re.compile(self.variables)
        except re.error as error:
            raise ValueError(
                f"Framework.variables is {self.variables!r}; expected a regular expression: {error}"
            ) from error
        for backend, look in self.looks.items():
            if look not in range(LOOKS):
                raise ValueError(
                    f"Framework.looks[{backend!r}] is {look!r}; expected a number below {LOOKS}"
                )
        defaults = {
            "title": self.name,
            "module": self.name.replace("-", "_"),
            "install_gpu": self.install,
        }
        defaults = {name: value for name, value in defaults.items() if not getattr(self, name)}
        for name, value in defaults.items():
            object.__setattr__(self, name, value)
        if not self.early_modules:
            object.__setattr__(self, "early_modules", (self.module,))

    @property
    def package(self) -> Package:
        """The package that a backend of this framework needs."""
        return Package(self.module, self.title, self.install, self.install_gpu)


def list_frameworks() -> tuple[Framework, ...]:
    """Return all descriptors: ours in the order of their first backend, then other packages'.

    Other packages are imported for theirs, which takes milliseconds. ``broken_frameworks`` has
    those that cannot be had.
    """
    found = {each.name: each for each in built_in_frameworks()}
    for each in _registered()[0]:
        found.setdefault(each.name, each)
    return tuple(found.values())


def broken_frameworks() -> tuple[str, ...]:
    """Return a sentence for each descriptor of another package that cannot be had."""
    return _registered()[1]


def get_framework(name: str) -> Framework:
    """Return the descriptor of a framework, or one with the defaults if it has none."""
    known = {each.name: each for each in built_in_frameworks()}
    if name not in known:
        known = {each.name: each for each in list_frameworks()}
    return known.get(name) or Framework(name)


@functools.cache
def built_in_frameworks() -> tuple[Framework, ...]:
    """Return the descriptors of this package, in the order of their first backend."""
    folders = dict.fromkeys(
        each.place.removeprefix(OURS).partition(".")[0] for each in BUILT_IN.values()
    )
    here = Path(__file__).with_name("backends")
    found: dict[str, Framework] = {}
    for folder in folders:
        # Not by find_spec, which would import the folder's __init__.
        if (here / folder / f"{MODULE}.py").is_file():
            module = importlib.import_module(f"{OURS}{folder}.{MODULE}")
            found |= {each.name: each for each in module.FRAMEWORKS}
    order = dict.fromkeys(each.framework for each in BUILT_IN.values())
    return tuple(found[name] for name in order)


@functools.cache
def _registered() -> tuple[tuple[Framework, ...], tuple[str, ...]]:
    """Return the descriptors of other packages, and what is wrong with the others of theirs."""
    found, problems = [], []
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        registered = f"framework {point.name!r} is registered as {point.value}, which"
        try:
            loaded = point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # Another package's module runs here, and may raise anything.
            reason = traceback.format_exception_only(error)[-1].strip()
            problems.append(f"{registered} cannot be imported: {reason}")
            continue
        if isinstance(loaded, Framework):
            found.append(loaded)
        else:
            problems.append(f"{registered} is not a lstm_impl.Framework")
    return tuple(found), tuple(problems)
