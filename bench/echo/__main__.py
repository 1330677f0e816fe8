"""``python -m bench.echo``: train an LSTM to repeat bits, with any backend, and draw how it went.

The command; ``windows.learning.echo_run`` trains and shows how it went. No framework is imported
unless the backend asked for, or --logdir, needs one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import lstm_impl
from bench.cli import arguments, command_line
from bench.echo.echo_run import EPOCHS, FALLBACK_BACKEND, USUAL_BACKEND, train
from bench.echo.settings import STRIDE, EchoSettings

DESCRIPTION = """\
Train an LSTM to repeat each bit of a random stream some steps later, one window at a
time: the echo task of the 2016 tutorial "Using the LSTM API in TensorFlow (3/7)".
"""

EPILOG = """\
Ctrl-C stops after the window at hand and saves a checkpoint and the picture; --resume
goes on from there, with exactly the curve of a training that was never stopped.

exit codes:
  0    trained (with --check-curve: and the curve is within its bound)
  1    the training diverged, or --check-curve found the curve outside its bound
  2    an option or a file that makes no sense; one line says which
  130  stopped by Ctrl-C
"""


def _parser() -> arguments.Parser:
    # An option that is not given is not there: with --resume the checkpoint decides it.
    parser = arguments.parser(
        "echo", DESCRIPTION, EPILOG, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    usual, add = EchoSettings(), arguments.add_values
    task = parser.add_argument_group("the task")
    add(
        task,
        ("epochs", "N", int, f"epochs in all ({EPOCHS})"),
        ("bits", "N", int, f"bits of an epoch ({usual.bits})"),
        ("echo", "N", int, f"steps between a bit and its target ({usual.echo})"),
        ("batch", "N", int, f"series side by side ({usual.batch})"),
        (
            *("window", "N", int),
            f"timesteps that a training step back-propagates through ({usual.window})",
        ),
        ("stride", "N", int, STRIDE),
    )
    arguments.add_flags(task, reset_state="start each window from the zero state (carried over)")
    precisions = ", ".join(lstm_impl.PRECISIONS)
    add(
        parser.add_argument_group("the network"),
        ("units", "N", int, f"units of each layer ({usual.units})"),
        ("layers", "N", int, f"stacked layers ({usual.layers})"),
        ("dropout", "RATE", float, "rate of dropout between layers (0)"),
        ("learning-rate", "RATE", float, f"of Adagrad ({usual.learning_rate})"),
        ("seed", "N", int, f"of weights, bits and dropout ({usual.seed})"),
        ("dtype", "NAME", str, f"the LSTM's precision: {precisions} ({usual.dtype})"),
    )
    add(
        parser.add_argument_group("the machine"),
        (
            *("backend", "ID", str),
            f"how the LSTM is computed ({USUAL_BACKEND}, or {FALLBACK_BACKEND} where that is not "
            "available)",
        ),
        ("device", "NAME", str, "cpu, gpu:0, ... (cpu)"),
    )
    _add_shown(parser.add_argument_group("what is shown and kept"))
    return parser


def _add_shown(shown: argparse._ArgumentGroup) -> None:
    add, flag = arguments.add_values, arguments.add_flags
    add(shown, ("output", "FILE", Path, "the picture, a .png, .svg or .pdf (results/echo.png)"))
    flag(
        shown,
        live="a moving picture while it trains; where there is no display, an animated GIF beside "
        "the picture",
    )
    add(
        shown,
        ("logdir", "FOLDER", Path, "write TensorBoard logs there"),
        (
            *("checkpoint", "FILE", Path),
            "keep a checkpoint here after each epoch and at the end (.npz beside the picture, on "
            "Ctrl-C only)",
        ),
    )
    flag(
        shown,
        resume="go on from the checkpoint",
        check_curve="hold the curve against a float64 NumPy training and the bound on what "
        "rounding may do to it (five more trainings in NumPy)",
    )


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    told = "stopped at once; nothing more was saved"
    unable = lstm_impl.UnsupportedError, OSError
    return command_line.run(_parser(), train, words, *unable, interrupted=told)


if __name__ == "__main__":
    command_line.end(main)
