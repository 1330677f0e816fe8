"""Carry out one work order: ``python -m bench.worker ORDER``, as ``bench.run`` starts it.

The process writes its results to a journal, and at its end makes a result file of the journal. If
an error ends the process, it prints one line of JSON for the manager.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.cli import arguments, command_line
from bench.cli.command_line import BAD_INPUT, INTERRUPTED
from bench.machine.fields import InputError
from bench.worker.order import CANNOT_MEASURE, CANNOT_WRITE, WorkOrder, report_error

UNWRITABLE = 3

EPILOG = """\
exit codes:
  0    every case of the order was tried; cases without a time are recorded with the reason
  2    the order is invalid, or another run measures on this machine
  3    the results cannot be written
  130  stopped by Ctrl-C; finished cases are kept

The file ORDER contains one JSON object:
  {"schema": 1,
   "options": {"suite": "smoke", "backends": ["numpy"], "seed": 0, "results": "results"}}
docs/architecture.md describes all of its fields.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    parser = arguments.make_parser("bench.worker", "Measure what a work order says.", EPILOG)
    parser.add_argument("order", metavar="ORDER", type=Path, help="the file of the work order")
    path = parser.parse_args(argv).order
    try:
        order = WorkOrder.read(path)
    except InputError as error:
        report_error(CANNOT_MEASURE, error)
        return BAD_INPUT
    if any(os.environ.get(name) != value for name, value in order.environment.items()):
        # The loader of shared libraries and Python itself read some variables when a process
        # starts.
        os.environ.update(order.environment)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    order.options.set_threads()
    return _carry_out(order, path)


def _carry_out(order: WorkOrder, path: Path) -> int:
    # These modules are imported after threads are set, because what they import reads the number
    # once.
    from bench.machine.lock import HeldError, LockError
    from bench.machine.writing import ResultWriteError
    from bench.worker.recorder import (
        Recorder,
        finish_recording,
        hold_machine,
        result_folder,
        shuffle,
    )

    options = order.options
    try:
        suite = order.load_suite(path)
        folder = result_folder(options, Path.cwd())
        cases = list(suite.cases)
        if options.order_seed is not None:
            cases = shuffle(cases, options.order_seed, lambda case: case.group)
        with hold_machine(suite.name, options.busy, lambda text: print(text, flush=True)):
            recorder = Recorder(suite, options, folder)
            recorder.select(cases)
            with finish_recording(recorder):
                recorder.start()
                recorder.take_turn()
                recorder.measure_all()
    except (InputError, HeldError, LockError) as error:
        report_error(CANNOT_MEASURE, error)
        return BAD_INPUT
    except ResultWriteError as error:
        report_error(CANNOT_WRITE, error)
        return UNWRITABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    command_line.run_and_exit(main)
