"""A training on disk, to go on with."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.disk.errors import InputError
from bench.windows.learning.parameters import Parameters
from bench.windows.learning.settings import EchoSettings
from bench.windows.learning.task import Bits, Float64
from lstm_impl import LSTMState, LSTMWeights


class CheckpointError(InputError):
    """A file that is no checkpoint of this task, or not a whole one."""


CHECKPOINT_SCHEMA = 1

# What NumPy and zipfile raise for files that are cut short, changed, or something else.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    SyntaxError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Checkpoint:
    """A training as ``Training.save`` wrote it, checked.

    rng: states of the random generators; last: inputs, targets and predictions of the latest
    window, or None before the first; extra: what the caller kept with it.
    """

    settings: EchoSettings
    parameters: Parameters
    accumulators: list[Float64]
    state: LSTMState
    losses: Float64
    accuracies: Float64
    rng: Mapping[str, Any]
    last: tuple[Bits, Bits, Float64] | None
    extra: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """The checkpoint in ``path``.

        Raises CheckpointError, in one line with the file and what is wrong with it.
        """
        try:
            # Opened here: given a path, NumPy leaves a file that is no archive open.
            with path.open("rb") as file:
                archive = np.load(file, allow_pickle=False)
                if not isinstance(archive, np.lib.npyio.NpzFile):
                    raise CheckpointError(f"{path}: one bare array, no checkpoint of the echo task")
                arrays = {name: archive[name] for name in archive.files}
        except FileNotFoundError:
            raise CheckpointError(f"{path}: there is no such checkpoint") from None
        except CheckpointError:
            raise
        except _UNREADABLE as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise CheckpointError(f"{path}: cannot be read as a checkpoint ({why})") from error
        try:
            return cls._parse(arrays)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise CheckpointError(
                f"{path}: no whole checkpoint of the echo task: {what}"
            ) from error

    @classmethod
    def _parse(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Checkpoint:
        about = json.loads(str(arrays["about"]))
        if about["schema"] != CHECKPOINT_SCHEMA:
            raise ValueError(
                f"its schema is {about['schema']!r}; this version reads {CHECKPOINT_SCHEMA}"
            )
        settings = EchoSettings.from_dict(about["settings"])
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
                raise ValueError(f"{name} holds NaN or infinity")
        spec = settings.spec
        count = len(LSTMWeights.random(spec).arrays()) + 2
        values = [np.asarray(arrays[f"parameter.{n}"], np.float64) for n in range(count)]
        sets = 2 if settings.optimizer == "adam" else 1  # of sums, one for each parameter
        totals = [np.asarray(arrays[f"accumulator.{n}"], np.float64) for n in range(sets * count)]
        parameters = Parameters.from_arrays(spec, values, settings.classes)
        for start in range(0, sets * count, count):
            # Checks the shapes: they are the parameters' own.
            Parameters.from_arrays(spec, totals[start : start + count], settings.classes)
        losses, accuracies = arrays["losses"], arrays["accuracies"]
        if losses.ndim != 1 or losses.shape != accuracies.shape:
            raise ValueError(f"losses have shape {losses.shape}, accuracies {accuracies.shape}")
        shape = (spec.state_layers, settings.batch, spec.hidden_size)
        state = LSTMState(h=arrays["state.h"], c=arrays["state.c"])
        if state.h.shape != shape or state.c.shape != shape:
            raise ValueError(f"the state's shape is {state.h.shape}; expected {shape}")
        rng = {name: about[name] for name in ("bits_rng", "epoch_rng", "masks_rng")}
        for name, saved in rng.items():
            try:
                np.random.default_rng(0).bit_generator.state = saved
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{name} is no state of a random generator") from error
        last: tuple[Bits, Bits, Float64] | None = None
        if len(losses):
            last = (arrays["last.inputs"], arrays["last.targets"], arrays["last.ones"])
            if any(array.shape != (settings.window, settings.batch) for array in last):
                raise ValueError("the last window's arrays are not [window, batch]")
        return cls(
            settings, parameters, totals, state, losses, accuracies, rng, last, about["extra"]
        )
