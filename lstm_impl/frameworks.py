"""Describe the frameworks that backends compute with, without importing any of them.

Each folder of ``lstm_impl/backends/`` with a framework of its own has a module ``framework.py``
with a tuple ``FRAMEWORKS``. Another package registers its ``Framework`` as an entry point in the
group ``lstm_impl.frameworks``. A framework that nobody describes works too: it has the defaults of
``Framework``.
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
"""The entry point group in which other packages register frameworks: a name and a ``Framework``."""

MODULE = "framework"
"""The name of the module that describes the frameworks of a folder of backends."""


LOOKS = 64
"""The number of looks of backends in pictures: eight colours with eight markers each."""


def no_preparation() -> None:
    """Do nothing. Most frameworks need no preparation before they are imported."""


@dataclass(frozen=True)
class Framework:
    """Hold what the suite knows about a framework without importing it.

    Attributes
    ----------
    name
        The name in ``Backend.framework``.
    title
        The name in sentences. By default, it is ``name``.
    module
        The name by which it is imported. By default, it is ``name``.
    install, install_gpu
        The commands that install it for a CPU and for a GPU. If the second is empty, the first
        serves both.
    gpu
        How to find out whether it can use a GPU, or None if its backends use none.
    early_modules
        The modules that are imported before the first case, so that neither their time nor their
        memory is counted as a case's. By default, it is ``module``. A module that is not installed
        is skipped.
    before_import
        What a process must do before it imports the framework.
    distributions
        The names on PyPI of the packages whose version can change how fast it computes. Results
        record the versions of those that are installed.
    named_distributions
        Those distributions whose versions appear in a report's caption.
    thread_variables
        The environment variables from which it reads the number of its threads when it starts.
    variables
        A regular expression for further environment variables that change how it computes. Results
        record them.
    looks
        The numbers of the looks of its backends in pictures, 0 to 63. Numbers with the same
        remainder of eight have the same colour and another marker. Readers know backends by their
        colours in earlier pictures, so a number never changes. A backend without a number gets one
        from 24 on, which depends only on its name.

    Raises
    ------
    ValueError
        If ``variables`` is no regular expression, or if a look is not one of these numbers.
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
    """Return all descriptions. The built-in ones come first, in the order of their first backend.

    Descriptions of other packages are imported, which takes milliseconds. Those that cannot be
    imported are left out; ``broken_frameworks`` reports them.
    """
    found = {each.name: each for each in built_in_frameworks()}
    for each in _registered()[0]:
        found.setdefault(each.name, each)
    return tuple(found.values())


def broken_frameworks() -> tuple[str, ...]:
    """Return a sentence for each description of another package that cannot be used."""
    return _registered()[1]


def get_framework(name: str) -> Framework:
    """Return the description of a framework, or a default one if nobody describes it."""
    known = {each.name: each for each in built_in_frameworks()}
    if name not in known:
        known = {each.name: each for each in list_frameworks()}
    return known.get(name) or Framework(name)


@functools.cache
def built_in_frameworks() -> tuple[Framework, ...]:
    """Return the descriptions in this package, in the order of their first backend."""
    folders = dict.fromkeys(
        each.place.removeprefix(OURS).partition(".")[0] for each in BUILT_IN.values()
    )
    here = Path(__file__).with_name("backends")
    found: dict[str, Framework] = {}
    for folder in folders:
        # find_spec would import the __init__ module of the folder, so the file is looked up
        # instead.
        if (here / folder / f"{MODULE}.py").is_file():
            module = importlib.import_module(f"{OURS}{folder}.{MODULE}")
            found |= {each.name: each for each in module.FRAMEWORKS}
    order = dict.fromkeys(each.framework for each in BUILT_IN.values())
    return tuple(found[name] for name in order)


@functools.cache
def _registered() -> tuple[tuple[Framework, ...], tuple[str, ...]]:
    """Return the descriptions of other packages, and a sentence for each that cannot be used."""
    found, problems = [], []
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        registered = f"framework {point.name!r} is registered as {point.value}, which"
        try:
            loaded = point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # The import runs another package's code, which may raise anything.
            reason = traceback.format_exception_only(error)[-1].strip()
            problems.append(f"{registered} cannot be imported: {reason}")
            continue
        if isinstance(loaded, Framework):
            found.append(loaded)
        else:
            problems.append(f"{registered} is not a lstm_impl.Framework")
    return tuple(found), tuple(problems)
