"""The echo task: random bits in, the same bits ``echo`` steps later out, learned window by window.

The task of the 2016 tutorial "Using the LSTM API in TensorFlow (3/7)": its data, the softmax head,
the loss, Adagrad and the loop of truncated back-propagation, with the state carried from window to
window; and beside it, in the same loop, copy memory, where a symbol is worth keeping only now and
then, so that a far dependency needs no large memory. Only the LSTM itself is a backend's, reached
through the library's framework-neutral face; all the rest is float64 NumPy, the same for every
backend, so that two loss curves can differ by nothing but how the LSTM rounds. It knows no
framework, no terminal and no picture.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bench.echo.parameters import (
    INITIAL_ACCUMULATOR,
    HeadResult,
    Parameters,
    adagrad,
    adam,
    softmax_loss,
)
from bench.echo.settings import EchoSettings
from bench.echo.task import Bits, Float64, Window, draw, encode
from bench.machine.fields import InputError
from bench.machine.writing import write_bytes
from lstm_impl import (
    LSTMGradients,
    LSTMSpec,
    LSTMState,
    LSTMWeights,
    Model,
    dropout_masks,
    get_backend,
)
from lstm_impl.spec import FloatArray


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


class DivergedError(ArithmeticError):
    """The loss or a weight is no longer a finite number."""


class Trainable(Protocol):
    """What a training needs of an LSTM: the part of ``lstm_impl.Model`` that it calls."""

    spec: LSTMSpec

    def set_weights(self, weights: LSTMWeights) -> None:
        """As ``Model.set_weights``."""

    def forward(
        self, x: FloatArray, state: LSTMState, *, masks: FloatArray | None
    ) -> tuple[FloatArray, LSTMState]:
        """As ``Model.forward``."""

    def gradients(
        self, x: FloatArray, dy: FloatArray, state: LSTMState, *, masks: FloatArray | None
    ) -> LSTMGradients:
        """As ``Model.gradients``."""


def model_of(settings: EchoSettings, backend: str = "numpy", device: str = "cpu") -> Model:
    """The LSTM of the settings by a backend; a ``Training`` gives it the weights to begin with."""
    return get_backend(backend).build(settings.spec, LSTMWeights.random(settings.spec), device)


class Training:
    """A training of the echo task, one window a step, that can be saved and gone on with.

    model: an LSTM with ``settings.spec``, from any backend; its weights are set here.
    losses, accuracies: one entry a window done.
    last: the latest window, or None before the first.
    """

    def __init__(self, settings: EchoSettings, model: Trainable) -> None:
        if model.spec != settings.spec:
            raise ValueError(f"the model is a {model.spec}; the settings ask for {settings.spec}")
        self.settings = settings
        self.model = model
        # One source each, so that dropout does not change the bits, nor the sizes the weights.
        weights, bits, masks = np.random.SeedSequence(settings.seed).spawn(3)
        self.parameters = Parameters.initial(settings, np.random.default_rng(weights))
        arrays = self.parameters.arrays()
        if settings.optimizer == "adam":
            self._accumulators = [np.zeros_like(array) for array in (*arrays, *arrays)]
        else:
            self._accumulators = [np.full_like(array, INITIAL_ACCUMULATOR) for array in arrays]
        self._bits_rng = np.random.default_rng(bits)
        self._masks_rng = np.random.default_rng(masks)
        self._epoch_rng = self._bits_rng.bit_generator.state  # before this epoch's bits were drawn
        self._series: tuple[Bits, Bits] | None = None
        self.state = LSTMState.zeros(settings.spec, settings.batch)
        self.losses: list[float] = []
        self.accuracies: list[float] = []
        self.last: Window | None = None
        model.set_weights(self.parameters.lstm)

    @property
    def windows_done(self) -> int:
        """Training steps so far."""
        return len(self.losses)

    def step(self) -> Window:
        """Train on the next window, beginning a new epoch where one is due.

        Raises DivergedError, UnsupportedError if the backend cannot do what the settings ask.
        """
        settings = self.settings
        number = self.windows_done % settings.windows_per_epoch
        if number == 0:
            self._epoch_rng = self._bits_rng.bit_generator.state
            self._series = draw(settings, self._bits_rng)
        assert self._series is not None
        start = number * settings.step
        inputs, targets = (bits[start : start + settings.window] for bits in self._series)
        state = self.state
        if number == 0 or settings.reset_state:
            state = LSTMState.zeros(settings.spec, settings.batch)
        x = encode(settings, inputs)
        masks = None
        if settings.dropout:
            masks = dropout_masks(
                settings.spec, settings.window, settings.batch, settings.dropout, self._masks_rng
            )
        y, following = self._forward(x, state, masks)
        counted = settings.counted(number)
        head = softmax_loss(
            y[counted],
            targets[counted],
            self.parameters.kernel,
            self.parameters.bias,
            first=settings.first_class,
        )
        if not np.isfinite(head.loss):
            raise self._diverged()
        # A mean over many steps makes each step's gradient small, down to where half precision
        # has no numbers left, and their sum makes it large; in between is room. A power of two:
        # single and double precision compute the same with it as without.
        scale = 2.0 ** round(0.5 * np.log2(targets[counted].size))
        dy = np.zeros(y.shape)
        dy[counted] = head.dy * scale
        gradients = self.model.gradients(x, dy, state, masks=masks)
        of_lstm = [np.asarray(each, np.float64) / scale for each in gradients.weights.arrays()]
        found = [*of_lstm, head.dkernel, head.dbias]
        moved, sums = self._moved(found)
        ones = self._ones(y, head, counted)
        window = Window(head.loss, head.accuracy, inputs, targets, ones, counted)
        parameters = Parameters.from_arrays(settings.spec, moved, settings.classes)
        self.model.set_weights(parameters.lstm)
        self.parameters, self._accumulators, self.state = parameters, sums, following
        self.last = window
        self.accuracies.append(window.accuracy)
        self.losses.append(window.loss)
        return window

    def until(self, windows: int) -> Float64:
        """Train until so many windows are done; the losses of all. Raises as ``step``."""
        while self.windows_done < windows:
            self.step()
        return np.array(self.losses)

    def _moved(self, gradients: list[Float64]) -> tuple[list[Float64], list[Float64]]:
        """The parameters after an update, and the optimizer's sums. Raises DivergedError."""
        before, rate = self.parameters.arrays(), self.settings.learning_rate
        if self.settings.optimizer == "adam":
            moved, sums = adam(before, self._accumulators, gradients, rate, self.windows_done + 1)
        else:
            moved, sums = adagrad(before, self._accumulators, gradients, rate)
        if not all(np.all(np.isfinite(array)) for array in moved):
            raise self._diverged()
        return moved, sums

    def _diverged(self) -> DivergedError:
        return DivergedError(
            f"the training diverged at window {self.windows_done + 1}: loss or weights are no "
            "longer finite; lower the learning rate or take a wider dtype"
        )

    def _forward(
        self, x: FloatArray, state: LSTMState, masks: FloatArray | None
    ) -> tuple[Float64, LSTMState]:
        """The window's outputs, and the state from which the next window starts."""
        settings = self.settings
        parts = [slice(0, settings.window)]
        if settings.step < settings.window and not settings.reset_state:
            # The next window starts inside this one: its state is the one on the way.
            parts = [slice(0, settings.step), slice(settings.step, settings.window)]
        outputs, states = [], []
        for part in parts:
            y, state = self.model.forward(
                x[part], state, masks=None if masks is None else masks[:, part]
            )
            outputs.append(np.asarray(y, np.float64))
            states.append(state)
        return np.concatenate(outputs), states[0]

    def _ones(self, y: Float64, head: HeadResult, counted: slice) -> Float64:
        """P(bit = 1) for the whole window: the steps that do not count have been seen before."""
        before = y[: counted.start]
        if not len(before):
            return head.ones
        logits = before @ self.parameters.kernel + self.parameters.bias
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.concatenate([(shares / shares.sum(axis=-1, keepdims=True))[..., 1], head.ones])

    # -- checkpoints

    def save(self, path: Path, extra: Mapping[str, Any] | None = None) -> None:
        """Write everything that the rest of the curve depends on, atomically, as an ``.npz``.

        extra: plain data to keep with it. Raises ResultWriteError.
        """
        about = {
            "schema": CHECKPOINT_SCHEMA,
            "settings": asdict(self.settings),
            "bits_rng": self._bits_rng.bit_generator.state,
            "epoch_rng": self._epoch_rng,
            "masks_rng": self._masks_rng.bit_generator.state,
            "extra": dict(extra or {}),
        }
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "about": np.asarray(json.dumps(about)),
            "losses": np.asarray(self.losses, np.float64),
            "accuracies": np.asarray(self.accuracies, np.float64),
            "state.h": self.state.h,
            "state.c": self.state.c,
        }
        for name, saved in (
            ("parameter", self.parameters.arrays()),
            ("accumulator", self._accumulators),
        ):
            arrays.update((f"{name}.{number}", value) for number, value in enumerate(saved))
        if self.last is not None:
            for name in ("inputs", "targets", "ones"):
                arrays[f"last.{name}"] = getattr(self.last, name)
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        write_bytes(path, file.getvalue())

    @classmethod
    def load(cls, checkpoint: Checkpoint, model: Trainable) -> Training:
        """The training that was saved, with a model of its settings."""
        training = cls(checkpoint.settings, model)
        training._restore(checkpoint)
        return training

    def _restore(self, checkpoint: Checkpoint) -> None:
        settings = self.settings
        self.parameters = checkpoint.parameters
        self._accumulators = checkpoint.accumulators
        self.state = checkpoint.state
        self.losses = checkpoint.losses.tolist()
        self.accuracies = checkpoint.accuracies.tolist()
        self._epoch_rng = checkpoint.rng["epoch_rng"]
        self._masks_rng.bit_generator.state = checkpoint.rng["masks_rng"]
        if self.windows_done % settings.windows_per_epoch:
            self._bits_rng.bit_generator.state = self._epoch_rng
            self._series = draw(settings, self._bits_rng)
        self._bits_rng.bit_generator.state = checkpoint.rng["bits_rng"]
        if checkpoint.last is not None:
            counted = settings.counted((self.windows_done - 1) % settings.windows_per_epoch)
            self.last = Window(self.losses[-1], self.accuracies[-1], *checkpoint.last, counted)
        self.model.set_weights(self.parameters.lstm)
