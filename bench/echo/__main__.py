"""``python -m bench.echo``: the 2016 tutorial's task with any backend, and what a window learns."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import lstm_impl
from bench.cli import arguments, command_line
from bench.machine.process_pool import PoolError
from lstm_impl.tuning.machine import usable

DESCRIPTION = """\
Train an LSTM to repeat each bit of a random stream some timesteps later, one window at a
time: the echo task of the 2016 tutorial "Using the LSTM API in TensorFlow (3/7)".
python -m bench.echo windows trains a map of which distances each window learns.
"""

EPILOG = """\
Ctrl-C stops after the current window, and the picture shows what was trained.

exit codes:
  0    trained
  1    the training diverged
  2    an option makes no sense; one line says which
  130  stopped by Ctrl-C
"""

MAP_DESCRIPTION = """\
Train the echo of each distance through windows of each length, with the state carried from
window to window and with it reset, and show which are learned. bench.recommend --dependency
uses the newest map. Every cell sees the same timesteps; Ctrl-C keeps the finished cells.
"""

MAP_EPILOG = """\
exit codes:
  0    trained or shown
  1    a training failed
  2    an option or a file makes no sense; one line says which
  130  stopped by Ctrl-C
"""


def _echo_parser() -> arguments.Parser:
    from bench.echo.run import EPOCHS, FALLBACK_BACKEND, USUAL_BACKEND
    from bench.echo.task import EchoSettings

    parser = arguments.parser(
        "echo", DESCRIPTION, EPILOG, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    usual, add = EchoSettings(), arguments.add_values
    task = parser.add_argument_group("the task")
    add(
        task,
        ("epochs", "N", int, f"epochs in all ({EPOCHS})"),
        ("bits", "N", int, f"bits of an epoch ({usual.bits})"),
        ("echo", "N", int, f"timesteps between a bit and its repetition ({usual.echo})"),
        ("batch", "N", int, f"parallel series ({usual.batch})"),
        ("window", "N", int, f"timesteps a step back-propagates through ({usual.window})"),
    )
    arguments.add_flags(task, reset_state="start each window from the zero state")
    add(
        parser.add_argument_group("the network"),
        ("units", "N", int, f"units of each layer ({usual.units})"),
        ("layers", "N", int, f"stacked layers ({usual.layers})"),
        ("dropout", "RATE", float, "rate of dropout between layers (0)"),
        ("learning-rate", "RATE", float, f"of Adagrad ({usual.learning_rate})"),
        ("seed", "N", int, f"of weights, bits and dropout ({usual.seed})"),
        ("dtype", "NAME", str, f"the LSTM's precision: {', '.join(lstm_impl.PRECISIONS)}"),
    )
    backend = f"what computes the LSTM ({USUAL_BACKEND}, or {FALLBACK_BACKEND} where it is missing)"
    add(
        parser.add_argument_group("the machine"),
        ("backend", "ID", str, backend),
        ("device", "NAME", str, "cpu, gpu:0, ... (cpu)"),
    )
    shown = parser.add_argument_group("what is shown")
    add(shown, ("output", "FILE", Path, "the picture, .png, .svg or .pdf (results/echo.png)"))
    return parser


def _map_parser() -> arguments.Parser:
    from bench.echo.windows import MapPlan

    parser = arguments.parser("echo windows", MAP_DESCRIPTION, MAP_EPILOG, allow_abbrev=False)
    usual = MapPlan()
    arguments.add_usual(
        parser,
        ("distances", "LIST", arguments.wholes, usual.distances, "timesteps of the echo"),
        ("windows", "LIST", arguments.wholes, usual.windows, "timesteps of a window"),
        ("seeds", "N", int, usual.seeds, "trainings of each cell"),
        ("timesteps", "N", int, usual.timesteps, "of each series, none seen twice"),
        ("backend", "ID", str, usual.backend, "what computes the LSTMs"),
        ("device", "NAME", str, usual.device, "cpu, gpu:0, ..."),
        ("jobs", "N", arguments.whole(1, 4096), usable(), "trainings at a time"),
    )
    arguments.add_values(parser, ("results", "DIR", Path, "folder of the map (results)"))
    parser.add_argument(
        "--show",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="show the newest map in these files and folders (results) and train nothing",
    )
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    words = sys.argv[1:] if words is None else words
    failures = lstm_impl.UnsupportedError, PoolError, OSError
    stopped = "stopped at once"
    if words[:1] == ["windows"]:
        from bench.echo import windows

        work = windows.main
        return command_line.run(_map_parser(), work, words[1:], *failures, interrupted=stopped)
    from bench.echo.run import train

    return command_line.run(_echo_parser(), train, words, *failures, interrupted=stopped)


if __name__ == "__main__":
    command_line.end(main)
