"""Run ``python -m research.real_models``: measure models that people use, and make their tables."""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.cli import arguments, command_line
from bench.cli.command_line import UsageError
from bench.machine.fields import did_you_mean
from research.real_models import page, records
from research.real_models.networks import NETWORKS, Network
from research.real_models.packages import PACKAGES, UnavailableError, default_folder, fetch
from research.real_models.records import SCHEMA, NetworkRecord, Results
from research.real_models.ways import AFTER, BEFORE

THREADS = 2
"""The number of threads of every framework, unless an option says otherwise."""

PROCESSES = 6
"""The number of processes of each model, unless an option says otherwise."""

EPILOG = """\
exit codes:
    0  done; a package that could not be downloaded is recorded with the reason
    1  check found results that differ
    2  bad input, or a process that failed
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _do, argv, OSError)


def _do(options: argparse.Namespace) -> int:
    done: int = options.do(options)
    return done


def _find_networks(names: Sequence[str]) -> list[Network]:
    for name in names:
        if name not in NETWORKS:
            close = did_you_mean(name, NETWORKS)
            known = ", ".join(NETWORKS)
            raise UsageError(f"{name} is not a model of this study{close}; expected one of {known}")
    return [NETWORKS[name] for name in names or NETWORKS]


def _list(options: argparse.Namespace) -> int:
    print(page.make_models_table())
    return 0


def _measure(options: argparse.Namespace) -> int:
    """Measure each model in fresh processes, one round of all models after the other."""
    from research.real_models.process import read_machine

    networks = _find_networks(options.models)
    path: Path = options.results
    machine = read_machine(options.threads)
    results = records.read(path) if path.exists() else Results(SCHEMA, machine)
    if results.machine != machine:
        raise UsageError(
            f"{path} was measured on another machine or with other versions; give the option "
            "--results with the name of a new file"
        )
    for number in range(options.processes):
        for network in networks:
            try:
                fetch(PACKAGES[network.package], options.cache)
            except UnavailableError as error:
                results.unavailable[network.package] = str(error)
            else:
                results.unavailable.pop(network.package, None)
                results.processes.append(_start(network, options, number))
                print(f"{network.name}: process {number + 1} of {options.processes}", flush=True)
            records.write(path, results)
    for reason in results.unavailable.values():
        print(f"not measured: {reason}")
    return 0


def _start(network: Network, options: argparse.Namespace, seed: int) -> NetworkRecord:
    """Run a process that measures a model, and return its record."""
    words = ["process", network.name, "--cache", str(options.cache), "--seed", str(seed)]
    command = [sys.executable, "-m", "research.real_models", *words]
    command += ["--threads", str(options.threads)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        lines = made.stderr.strip().splitlines() or [f"exit code {made.returncode}"]
        reason = next((each for each in reversed(lines) if "rror" in each), lines[-1])
        raise UsageError(f"the process that measures {network.name} failed: {reason}")
    return records.decode_process(made.stdout)


def _process(options: argparse.Namespace) -> int:
    """Measure one model in this process, and print its record."""
    from research.real_models import process

    (network,) = _find_networks(options.models)
    with (
        contextlib.redirect_stdout(sys.stderr),
        process.open_program(network, options.cache, options.threads) as program,
    ):
        found = process.measure(network, program, options.seed)
    print(json.dumps(asdict(found)))
    return 0


def _check(options: argparse.Namespace) -> int:
    """Compare one model before and after ``accelerate`` in this process, without timing."""
    from research.real_models import process

    (network,) = _find_networks(options.models)
    with (
        contextlib.redirect_stdout(sys.stderr),
        process.open_program(network, options.cache, options.threads) as program,
    ):
        found = process.measure(network, program, 0, lambda runs, seed: {}, (BEFORE, AFTER))
    differs = False
    for case in found.cases:
        record = case.ways[AFTER]
        differs |= bool(record.problem)
        says = record.problem or f"the largest difference is {record.error:.1g}"
        if record.from_float64 is not None:
            says += (
                f"; from float64 it differs by {record.from_float64:.1g}, and the model as it is "
                f"by {record.before_from_float64:.1g}"
            )
        print(f"{network.name}, {case.case}, {case.part}: {says}")
    return 1 if differs else 0


def _table(options: argparse.Namespace) -> int:
    print(page.TABLES[options.table](records.read(options.results)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
        "research.real_models",
        "Measure what the kernels gain in models that people use. docs/real_models.md shows it.",
        EPILOG,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="list the models and their packages")
    listing.set_defaults(do=_list)
    arguments.add_choice(listing, "format", ("markdown",), default="markdown")
    measuring = commands.add_parser("measure", help="measure models, and add to a file of results")
    measuring.set_defaults(do=_measure)
    measuring.add_argument(
        "--processes",
        type=arguments.make_integer_parser(1),
        default=PROCESSES,
        help="fresh processes for each model (default: %(default)s)",
    )
    one = commands.add_parser("process", help="measure one model in this process, as JSON")
    one.set_defaults(do=_process)
    one.add_argument("--seed", type=int, default=0, help="seed of the order of the ways")
    checking = commands.add_parser("check", help="compare a model before and after, untimed")
    checking.set_defaults(do=_check)
    for each, count in ((measuring, "*"), (one, 1), (checking, 1)):
        each.add_argument("models", nargs=count, metavar="MODEL", help="a name of the list")
        each.add_argument(
            "--cache",
            type=Path,
            default=default_folder(),
            metavar="FOLDER",
            help="where downloaded packages are kept (default: %(default)s)",
        )
        each.add_argument(
            "--threads",
            type=arguments.make_integer_parser(1),
            default=THREADS,
            help="threads of every framework (default: %(default)s)",
        )
    making = commands.add_parser("table", help="print a table of the page")
    making.set_defaults(do=_table)
    making.add_argument("table", choices=tuple(page.TABLES))
    arguments.add_choice(making, "format", ("markdown",), default="markdown")
    for each in (measuring, making):
        each.add_argument(
            "--results",
            type=Path,
            default=records.RESULTS,
            metavar="FILE",
            help="the file of results (default: the project's)",
        )
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
