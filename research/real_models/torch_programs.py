"""Make the models of PyTorch callable as they are, accelerated, compiled and by ONNX Runtime."""

from __future__ import annotations

import importlib
import io
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

import lstm_impl.torch
from research.real_models.networks import Case
from research.real_models.ways import AFTER, BEFORE, COMPILED, ONNXRUNTIME, Builders, Way

Inputs = tuple[Any, ...]


def _first(outputs: Any) -> Any:
    return outputs[0] if isinstance(outputs, tuple) else outputs


def _keep(model: Any, case: Case) -> None:
    """Leave a model without a state as it is."""


@dataclass(frozen=True)
class TorchProgram:
    """Compute a model of PyTorch.

    Attributes
    ----------
    make
        A function that returns a new model with the package's weights.
    inputs
        A function that returns the arguments of the model for a case.
    recurrent
        The name of the model's LSTM or GRU.
    used
        A function that returns, of the outputs of the LSTM or GRU, the tensor that the model uses.
    reset
        A function that resets the state that a model keeps between calls, for the batch of a case.
    threads
        The number of threads of ONNX Runtime. The other ways use the process's settings.
    compiles
        Whether inference is measured under ``torch.compile``.
    onnx_file
        A file for ONNX Runtime that the package itself contains, or None to export the model.
    """

    make: Callable[[], Any]
    inputs: Callable[[Case], Inputs]
    threads: int
    recurrent: str = "lstm"
    used: Callable[[Any], Any] = _first
    reset: Callable[[Any, Case], None] = _keep
    compiles: bool = True
    onnx_file: Callable[[Case], Callable[[], Way]] | None = None

    def builders(self, case: Case, part: str) -> Builders:
        """Return the functions that make the ways of a case and a part of the model."""
        found: dict[str, Callable[[], Way]] = {
            BEFORE: partial(self._build, case, part, _as_it_is),
            AFTER: partial(self._build, case, part, _accelerate),
        }
        if part == "whole" and case.mode == "inference" and self.compiles:
            found[COMPILED] = partial(self._build, case, part, _as_it_is, compiled=True)
        if case.mode == "inference":
            found[ONNXRUNTIME] = partial(self._build_onnx, case, part)
            if part == "whole" and self.onnx_file is not None:
                found[ONNXRUNTIME] = self.onnx_file(case)
        return found

    def compute_exactly(self, case: Case, part: str) -> list[Any]:
        """Return the results of the model as it is, computed in float64."""
        target = self._prepare(case, part, lambda model: model.double(), _to_double)
        run: Callable[[], Any] = partial(_infer, target.module, target)
        if case.mode == "training":
            run = partial(_train, target.module, target, _draw_gradient(target))
        return _read(run, target, case.mode == "training")

    def _prepare(
        self,
        case: Case,
        part: str,
        change: Callable[[Any], Any],
        convert: Callable[[Any], Any] = lambda value: value,
    ) -> _Target:
        model = change(self.make()).train(case.mode == "training")
        inputs = tuple(convert(each) for each in self.inputs(case))
        if part == "whole":
            return _Target(model, inputs, _first, partial(self.reset, model, case))
        self.reset(model, case)
        module = model.get_submodule(self.recurrent)
        return _Target(module, _capture(model, module, inputs), self.used, lambda: None)

    def _build(
        self, case: Case, part: str, change: Callable[[Any], Any], compiled: bool = False
    ) -> Way:
        target = self._prepare(case, part, change)
        call = torch.compile(target.module) if compiled else target.module
        run: Callable[[], Any] = partial(_infer, call, target)
        if case.mode == "training":
            run = partial(_train, call, target, _draw_gradient(target))
        return Way(run, partial(_read, run, target, case.mode == "training"))

    def _build_onnx(self, case: Case, part: str) -> Way:
        target = self._prepare(case, part, _as_it_is)
        target.reset()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            chosen = _Chosen(target.module, target.used).eval()
            with torch.no_grad():
                torch.onnx.export(chosen, target.inputs, str(path), dynamo=False)
            return run_onnx(path.read_bytes(), list(_flatten(target.inputs)), self.threads)


@dataclass(frozen=True)
class _Target:
    """Hold the module that is called, its arguments, which output counts, and what resets it."""

    module: Any
    inputs: Inputs
    used: Callable[[Any], Any]
    reset: Callable[[], None]


class _Chosen(torch.nn.Module):  # type: ignore[misc]
    """Return one output of a module, for an export."""

    def __init__(self, module: Any, used: Callable[[Any], Any]) -> None:
        super().__init__()
        self.module, self.used = module, used

    def forward(self, *inputs: Any) -> Any:
        """Compute the module."""
        return self.used(self.module(*inputs))


def _capture(model: Any, module: Any, inputs: Inputs) -> Inputs:
    """Return the arguments with which a model calls its LSTM or GRU."""
    caught: list[Inputs] = []
    hook = module.register_forward_pre_hook(lambda _, given: caught.append(given))
    torch.manual_seed(0)
    model(*inputs)
    hook.remove()
    return tuple(_detach(each) for each in caught[0])


def _as_it_is(model: Any) -> Any:
    return model


def _accelerate(model: Any) -> Any:
    lines: list[str] = []
    lstm_impl.torch.accelerate(model, lines.append)
    if kept := [line for line in lines if " is now " not in line]:
        raise RuntimeError("; ".join(kept))
    return model


def _to_double(value: Any) -> Any:
    return value.double() if value.is_floating_point() else value


def _detach(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_detach(each) for each in value)
    return value.detach().requires_grad_(value.requires_grad)


def _flatten(values: Sequence[Any]) -> Sequence[Any]:
    found: list[Any] = []
    for each in values:
        found += _flatten(each) if isinstance(each, tuple) else [each]
    return found


def _infer(call: Any, target: _Target) -> Any:
    target.reset()
    with torch.no_grad():
        return target.used(call(*target.inputs))


def _train(call: Any, target: _Target, gradient: Any) -> Any:
    """Compute the gradients of the weights, as a training step does before its optimizer."""
    target.reset()
    target.module.zero_grad(set_to_none=True)
    for each in target.inputs:
        if isinstance(each, torch.Tensor):
            each.grad = None
    outputs = target.used(call(*target.inputs))
    outputs.backward(gradient)
    return outputs


def _draw_gradient(target: _Target) -> Any:
    """Draw the gradient of the loss with respect to the outputs."""
    with torch.no_grad():
        target.reset()
        shape = target.used(target.module(*target.inputs)).shape
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return gradient.to(next(target.module.parameters()).dtype)


def _read(run: Callable[[], Any], target: _Target, training: bool) -> list[Any]:
    torch.manual_seed(0)
    found = [run().detach().numpy()]
    if training:
        parameters = [each.grad for each in target.module.parameters()]
        inputs = [each.grad for each in target.inputs if isinstance(each, torch.Tensor)]
        found += [each.numpy().copy() for each in (*parameters, *inputs) if each is not None]
    return found


def run_onnx(content: bytes, inputs: Sequence[Any], threads: int) -> Way:
    """Return the way that computes an ONNX file's first output with ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    arrays = [each.detach().numpy() if isinstance(each, torch.Tensor) else each for each in inputs]
    names = [each.name for each in session.get_inputs()]
    given = dict(zip(names, arrays, strict=True))
    first = [session.get_outputs()[0].name]

    def run() -> Any:
        return session.run(first, given)

    return Way(run, run)


# The models


class _Absent(ModuleType):
    """Stand in for a module that a package imports but that the model does not use."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def _leave_out(*names: str) -> None:
    for name in names:
        sys.modules[name] = _Absent(name)


def _draw(*shape: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def make_resemblyzer(folder: Path, threads: int) -> TorchProgram:
    """Return the speaker encoder of resemblyzer, for mel spectrograms [batch, 160, 40]."""
    _leave_out("librosa", "webrtcvad", "scipy.ndimage.morphology")
    encoder = importlib.import_module("resemblyzer.voice_encoder").VoiceEncoder
    return TorchProgram(
        partial(encoder, "cpu", verbose=False),
        lambda case: (_draw(case.batch, case.steps, 40).abs(),),
        threads,
        used=lambda outputs: outputs[1][0][-1],  # It uses the final state of the last layer.
    )


def make_beatnet(folder: Path, threads: int) -> TorchProgram:
    """Return the first model of BeatNet, for log spectrograms [batch, frames, 272]."""
    kind = importlib.import_module("BeatNet.model").BDA
    weights = _load(folder / "BeatNet" / "models" / "model_1_weights.pt")

    def make() -> Any:
        model = kind(272, 150, 2, "cpu")
        model.load_state_dict(weights)
        return model

    def reset(model: Any, case: Case) -> None:
        model.hidden, model.cell = (torch.zeros(2, case.batch, 150) for _ in range(2))

    def inputs(case: Case) -> Inputs:
        return (_draw(case.batch, case.steps, 272).abs(),)

    return TorchProgram(make, inputs, threads, reset=reset)


SENTENCE = "كتب الطالب رسالة طويلة الى صديقه في المدينة البعيدة وسأله عن اخباره وعن احوال اهله"


def make_diacritizer(folder: Path, threads: int) -> TorchProgram:
    """Return the model of arabic-diacritizer, for characters [batch, characters]."""
    module = importlib.import_module("diacritize.baseline.model")
    text = importlib.import_module("diacritize.tokenizer").CharTokenizer()

    def inputs(case: Case) -> Inputs:
        codes = text.encode((SENTENCE + " ") * case.batch, add_special=False)
        return (torch.tensor(codes[: case.batch * case.steps]).reshape(case.batch, case.steps),)

    return TorchProgram(module.BiLSTMDiacritizer.from_pretrained, inputs, threads)


def make_medaka_hac(folder: Path, threads: int) -> TorchProgram:
    """Return medaka's model of the kind hac, for counts [batch, positions, 10]."""
    return _make_medaka(folder, threads, "hac_v6.0.0", 256)


def make_medaka_sup(folder: Path, threads: int) -> TorchProgram:
    """Return medaka's model of the kind sup, for counts [batch, positions, 10]."""
    return _make_medaka(folder, threads, "sup_v5.2.0", 128)


def _make_medaka(folder: Path, threads: int, name: str, units: int) -> TorchProgram:
    place = folder / "medaka"
    package = ModuleType("medaka")
    package.__path__ = [str(place)]
    models = ModuleType("medaka.models")
    models.TorchModel = torch.nn.Module  # type: ignore[attr-defined]
    package.models = models  # type: ignore[attr-defined]
    sys.modules |= {"medaka": package, "medaka.models": models}
    _leave_out("medaka.features", "medaka.common")
    package.features = sys.modules["medaka.features"]  # type: ignore[attr-defined]
    package.common = sys.modules["medaka.common"]  # type: ignore[attr-defined]
    kind = importlib.import_module("medaka.architectures.gru").GRUModel
    with tarfile.open(place / "data" / f"r1041_e82_400bps_{name}_model_pt.tar.gz") as archive:
        file = archive.extractfile("model/weights.pt")
        assert file is not None, "the archive has this file"
        weights = _load(io.BytesIO(file.read()))

    def make() -> Any:
        model = kind(gru_size=units)
        model.load_state_dict(weights)
        return model

    def inputs(case: Case) -> Inputs:
        return (torch.softmax(3 * _draw(case.batch, case.steps, 10), -1),)

    return TorchProgram(make, inputs, threads, recurrent="gru", compiles=False)


class SileroVAD(torch.nn.Module):  # type: ignore[misc]
    """Compute the 16 kHz model of silero-vad for all frames of one recording in a row.

    A frame has 512 samples, after the last 64 samples of the previous frame. The input is
    ``[frames, 576]`` and the output ``[frames, 1]``.
    """

    def __init__(self) -> None:
        super().__init__()
        conv = torch.nn.Conv1d
        self.basis = conv(1, 258, 256, stride=128, bias=False)
        shapes = ((129, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1))
        self.encoder = torch.nn.ModuleList(
            conv(inputs, outputs, 3, stride=stride, padding=1) for inputs, outputs, stride in shapes
        )
        self.lstm = torch.nn.LSTM(128, 128)
        self.last = torch.nn.Linear(128, 1)

    def forward(self, frames: Any) -> Any:
        """Return the probability of speech in each frame."""
        padded = torch.nn.functional.pad(frames.unsqueeze(1), (0, 64), "reflect")
        real, imaginary = self.basis(padded).split(129, 1)
        x = torch.sqrt(real**2 + imaginary**2)
        for layer in self.encoder:
            x = torch.relu(layer(x))
        y, _ = self.lstm(x.transpose(1, 2))
        return torch.sigmoid(self.last(torch.relu(y[:, 0])))


def make_silero(folder: Path, threads: int) -> TorchProgram:
    """Return the 16 kHz model of silero-vad, for frames of audio [frames, 576]."""
    data = folder / "silero_vad" / "data"
    theirs = torch.jit.load(str(data / "silero_vad.jit")).state_dict()

    def make() -> Any:
        model = SileroVAD()
        names = {"basis.weight": "stft.forward_basis_buffer"}
        for layer in range(4):
            for name in ("weight", "bias"):
                names[f"encoder.{layer}.{name}"] = f"encoder.{layer}.reparam_conv.{name}"
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            names[f"lstm.{name}_l0"] = f"decoder.rnn.{name}"
        names |= {f"last.{name}": f"decoder.decoder.2.{name}" for name in ("weight", "bias")}
        own = model.state_dict()
        state = {
            name: theirs[f"_model.{other}"].reshape(own[name].shape)
            for name, other in names.items()
        }
        model.load_state_dict(state)
        return model

    def inputs(case: Case) -> Inputs:
        steps = torch.arange(case.steps * 512) / 16000
        voice = torch.sin(2 * torch.pi * 140 * steps) * torch.sin(2 * torch.pi * 2 * steps).abs()
        audio = torch.cat([torch.zeros(64), 0.3 * voice + 0.02 * _draw(case.steps * 512)])
        return (audio.unfold(0, 576, 512).contiguous(),)

    def build_theirs(case: Case) -> Callable[[], Way]:
        def build() -> Way:
            zeros = np.zeros((1, 1, 128), np.float32)
            content = (data / "silero_vad_16k_sequence.onnx").read_bytes()
            way = run_onnx(content, [*inputs(case), zeros, zeros], threads)
            return Way(way.run, lambda: [each.reshape(-1, 1) for each in way.arrays()])

        return build

    return TorchProgram(make, inputs, threads, onnx_file=build_theirs)


def _load(source: Any) -> Any:
    return torch.load(source, map_location="cpu", weights_only=True)
