"""Compare and time the models in this process. ``__main__`` starts one process for each model.

A process prints one line of JSON at its end, which ``records`` describes. Other output goes to
standard error.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import environment
from research.real_models.networks import PARTS, Network
from research.real_models.packages import PACKAGES, fetch, unpack
from research.real_models.records import CaseRecord, MachineRecord, NetworkRecord, WayRecord
from research.real_models.timing import Times, time_in_turn
from research.real_models.ways import (
    BEFORE,
    TOLERANCES,
    Builders,
    Program,
    Way,
    is_as_exact,
    measure_error,
)

LARGEST = 1e9
"""A difference that stands for an infinite one, which JSON cannot hold."""

LONGEST_REASON = 300
"""The most characters of a reason that a record holds."""


def limit_threads(network: Network, threads: int) -> None:
    """Limit the threads of the network's framework. This must come before its first operation."""
    if network.framework == "PyTorch":
        import torch

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
    if network.framework == "Keras":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)


@contextlib.contextmanager
def open_program(network: Network, cache: Path, threads: int) -> Iterator[Program]:
    """Unpack the package of a network, and yield the program that computes the network.

    Raises
    ------
    UnavailableError
        If the package cannot be downloaded.
    """
    path = fetch(PACKAGES[network.package], cache)
    limit_threads(network, threads)
    with tempfile.TemporaryDirectory() as made:
        folder = unpack(path, Path(made))
        sys.path.insert(0, str(folder))
        try:
            module, _, name = network.program.partition(":")
            make = getattr(importlib.import_module(f"research.real_models.{module}"), name)
            yield make(folder, threads)
        finally:
            sys.path.remove(str(folder))


def compare(
    builders: Builders, mode: str, compute_exactly: Callable[[], Any] | None = None
) -> tuple[dict[str, Way], dict[str, WayRecord]]:
    """Make the ways of a case, and compare each with the first.

    A way that cannot be made or that disagrees gets a record with the reason, and is not timed.

    Parameters
    ----------
    builders
        The functions that make the ways.
    mode
        ``inference`` or ``training``, which determines the tolerance.
    compute_exactly
        A function that returns the results in float64, or None. It judges the ways whose
        differences are beyond the tolerance (``is_as_exact``).

    Returns
    -------
    tuple of dict
        The ways to time, and a record of every way.
    """
    ways: dict[str, Way] = {}
    records: dict[str, WayRecord] = {}
    expected: Any = None
    exact = functools.cache(compute_exactly) if compute_exactly is not None else None
    for name, build in builders.items():
        record = records[name] = WayRecord()
        try:
            way = build()
            found = way.arrays()
            if name == BEFORE:
                expected = found
            error = measure_error(expected, found)
            record.error = min(error, LARGEST)
            if TOLERANCES[mode] < error < LARGEST and exact is not None:
                record.before_from_float64 = min(measure_error(exact(), expected), LARGEST)
                record.from_float64 = min(measure_error(exact(), found), LARGEST)
        except Exception as problem:  # A package or framework may raise anything.
            if name == BEFORE:
                raise
            lines = str(problem).strip().splitlines() or [""]
            record.problem = f"{type(problem).__name__}: {lines[0]}"[:LONGEST_REASON]
            continue
        if error <= TOLERANCES[mode] or (
            record.from_float64 is not None
            and record.before_from_float64 is not None
            and is_as_exact(record.before_from_float64, record.from_float64)
        ):
            way.run()
            ways[name] = way
        else:
            text = f"its results differ by {error:.2g} of the largest value"
            record.problem = f"{text}; the tolerance is {TOLERANCES[mode]:g}"
    return ways, records


TimeWays = Callable[[Mapping[str, Callable[[], object]], int], Mapping[str, Times]]
"""A function that times functions by name, in an order that a seed determines."""


def measure(
    network: Network,
    program: Program,
    seed: int,
    time_ways: TimeWays = time_in_turn,
    only: Collection[str] = (),
) -> NetworkRecord:
    """Compare and time the ways of all cases of a network.

    Parameters
    ----------
    network, program
        The network, and what computes it.
    seed
        Determines the order of the ways in each round.
    time_ways
        A function that times the ways.
    only
        The names of the ways that are made; all if empty.
    """
    cases = []
    for case in network.cases:
        for part in PARTS:
            exactly = getattr(program, "compute_exactly", None)
            exact = exactly and functools.partial(exactly, case, part)
            builders = {
                name: build
                for name, build in program.builders(case, part).items()
                if not only or name in only
            }
            ways, records = compare(builders, case.mode, exact)
            times = time_ways({name: way.run for name, way in ways.items()}, seed)
            for name, found in times.items():
                records[name].wall = [float(f"{each:.5g}") for each in found.wall]
                records[name].processor = [float(f"{each:.5g}") for each in found.processor]
            cases.append(CaseRecord(case.key, part, records))
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return NetworkRecord(network.name, started, cases)


def read_machine(threads: int) -> MachineRecord:
    """Return what is known of this machine, and the versions of the frameworks."""
    found = environment.read(threads=threads)
    names = ("torch", "tensorflow-cpu", "tensorflow", "keras", "onnxruntime", "numpy")
    libraries = {name: found.libraries[name] for name in names if name in found.libraries}
    return MachineRecord(
        found.cpu.name or "unknown", len(os.sched_getaffinity(0)), threads, found.python, libraries
    )
