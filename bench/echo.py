"""``python -m bench.echo``: train an LSTM to repeat bits, with any backend, and draw how it went.

The command: options, what to go on with, exit code. The training and what is shown of it are in
``windows.learning``. No framework is imported unless the backend asked for, or --logdir, needs one.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import lstm_impl
from bench.telling import arguments, command_line
from bench.telling.command_line import UsageError
from bench.telling.terminal import text_console
from bench.windows.learning.checkpoint import CheckpointError
from bench.windows.learning.echo_run import (
    EPOCHS,
    FALLBACK_BACKEND,
    PICTURE,
    USUAL_BACKEND,
    Plan,
    Run,
    choose_backend,
    plan,
)
from bench.windows.learning.settings import EchoSettings
from bench.windows.learning.training import DivergedError, Training

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


# -- options


def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(
        prog="python -m bench.echo",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        # An option that is not given is not there: with --resume the checkpoint decides it.
        argument_default=argparse.SUPPRESS,
    )
    _add_task(parser.add_argument_group("the task"), EchoSettings())
    _add_network(parser.add_argument_group("the network"), EchoSettings())
    machine = parser.add_argument_group("the machine")
    machine.add_argument(
        "--backend",
        metavar="ID",
        help=f"how the LSTM is computed ({USUAL_BACKEND}, or {FALLBACK_BACKEND} where that is not "
        "available)",
    )
    machine.add_argument("--device", metavar="NAME", help="cpu, gpu:0, ... (cpu)")
    _add_shown(parser.add_argument_group("what is shown and kept"))
    return parser


def _add_task(task: argparse._ArgumentGroup, usual: EchoSettings) -> None:
    task.add_argument("--epochs", type=int, metavar="N", help=f"epochs in all ({EPOCHS})")
    task.add_argument("--bits", type=int, metavar="N", help=f"bits of an epoch ({usual.bits})")
    task.add_argument(
        "--echo", type=int, metavar="N", help=f"steps between a bit and its target ({usual.echo})"
    )
    task.add_argument("--batch", type=int, metavar="N", help=f"series side by side ({usual.batch})")
    task.add_argument(
        "--window",
        type=int,
        metavar="N",
        help=f"timesteps that a training step back-propagates through ({usual.window})",
    )
    task.add_argument(
        "--stride",
        type=int,
        metavar="N",
        help="timesteps from one window's start to the next; fewer than the window make windows "
        "overlap (the window)",
    )
    task.add_argument(
        "--reset-state",
        action="store_true",
        help="start each window from the zero state (carried over)",
    )


def _add_network(network: argparse._ArgumentGroup, usual: EchoSettings) -> None:
    network.add_argument(
        "--units", type=int, metavar="N", help=f"units of each layer ({usual.units})"
    )
    network.add_argument("--layers", type=int, metavar="N", help=f"stacked layers ({usual.layers})")
    network.add_argument(
        "--dropout", type=float, metavar="RATE", help="rate of dropout between layers (0)"
    )
    network.add_argument(
        "--learning-rate", type=float, metavar="RATE", help=f"of Adagrad ({usual.learning_rate})"
    )
    network.add_argument(
        "--seed", type=int, metavar="N", help=f"of weights, bits and dropout ({usual.seed})"
    )
    network.add_argument(
        "--dtype",
        metavar="NAME",
        help=f"the LSTM's precision: {', '.join(lstm_impl.PRECISIONS)} ({usual.dtype})",
    )


def _add_shown(shown: argparse._ArgumentGroup) -> None:
    shown.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="the picture, a .png, .svg or .pdf (results/echo.png)",
    )
    shown.add_argument(
        "--live",
        action="store_true",
        help="a moving picture while it trains; where there is no display, an animated GIF beside "
        "the picture",
    )
    shown.add_argument("--logdir", type=Path, metavar="FOLDER", help="write TensorBoard logs there")
    shown.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="keep a checkpoint here after each epoch and at the end (.npz beside the picture, on "
        "Ctrl-C only)",
    )
    shown.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    shown.add_argument(
        "--check-curve",
        action="store_true",
        help="hold the curve against a float64 NumPy training and the bound on what rounding may "
        "do to it (five more trainings in NumPy)",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    try:
        return _main(arguments)
    except (UsageError, CheckpointError, lstm_impl.UnsupportedError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise  # whoever read the output has seen enough
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped at once; nothing more was saved", file=sys.stderr)
        return 130


def _going_on(planned: Plan) -> list[str]:
    """The command that goes on: the checkpoint has what is trained, the rest was asked for."""
    again = ["python", "-m", "bench.echo", "--resume", "--checkpoint", str(planned.checkpoint)]
    if planned.picture not in (None, PICTURE):
        again += ["--output", str(planned.picture)]
    if planned.device != "cpu":
        again += ["--device", planned.device]
    if planned.live:
        again.append("--live")
    if planned.logdir is not None:
        again += ["--logdir", str(planned.logdir)]
    if planned.check_curve:
        again.append("--check-curve")
    return again


def _main(arguments: Sequence[str] | None) -> int:
    planned = plan(_parser().parse_args(arguments))
    backend, note = choose_backend(planned.backend, planned.device, planned.settings)
    if note:
        print(note, flush=True)

    def build(settings: EchoSettings) -> lstm_impl.Model:
        return backend.build(
            settings.spec, lstm_impl.LSTMWeights.random(settings.spec), planned.device
        )

    if planned.resume is None:
        training = Training(planned.settings, build(planned.settings))
    else:
        training = Training.load(planned.resume, build)
        print(f"going on from {planned.checkpoint}, after window {training.windows_done}")
    run = Run(planned, training, backend.name, text_console())
    started = time.perf_counter()
    try:
        finished = run.train()
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if run.logs is not None:
            run.logs.close()
    seconds = time.perf_counter() - started
    if training.last is None:
        print("stopped before the first window; nothing to save", file=sys.stderr)
        return 130
    print(run.summary(seconds), flush=True)
    # The checkpoint first: a picture can be drawn again, a training cannot.
    if planned.keep_checkpoint or not finished:
        run.save_checkpoint()
        print(f"checkpoint: {planned.checkpoint}")
    run.save_pictures()
    if not finished:
        print(
            f"stopped after window {training.windows_done} of {planned.windows}; "
            f"go on with: {shlex.join(_going_on(planned))}"
        )
        return 130
    within = True
    if planned.check_curve:
        print("training five times more in float64 NumPy, to check the curve ...", flush=True)
        text, within = run.check_curve()
        print(text)
    if run.screen is not None:
        run.screen.show(run.scene())
        # Ctrl-C is as good a way as any to close it: all is saved.
        with contextlib.suppress(KeyboardInterrupt):
            run.screen.wait()
    return 0 if within else 1


if __name__ == "__main__":
    command_line.end(main)
