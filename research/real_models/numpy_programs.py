"""Make the model of g2pM, which computes with NumPy, callable with other backends."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lstm_impl import LSTMSpec, get_backend
from lstm_impl.weights import LayerWeights, LSTMWeights
from research.real_models.networks import Case
from research.real_models.ways import AFTER, BEFORE, ONNXRUNTIME, Builders, Way

SENTENCE = "银行行长的音乐会很长，我们都觉得快乐，还想再去银行看重要的人，会好的。"
"""A sentence with characters that have several pronunciations."""

BACKENDS = {AFTER: "numpy_fused", ONNXRUNTIME: "onnxruntime"}
"""The backend that replaces the loop over time in each way."""


@dataclass(frozen=True)
class G2pMProgram:
    """Compute a sentence, which the package's class does with a batch of one.

    Attributes
    ----------
    kind
        The package's class.
    threads
        The number of threads of the backends that replace its loop.
    """

    kind: Callable[[], Any]
    threads: int

    def builders(self, case: Case, part: str) -> Builders:
        """Return the functions that make the ways of a case and a part of the model."""
        backends = {BEFORE: None, **BACKENDS}
        return {way: partial(self._build, case, part, name) for way, name in backends.items()}

    def _build(self, case: Case, part: str, name: str | None) -> Way:
        model, sentence = self.kind(), SENTENCE[: case.steps]
        outputs: Callable[[Any], Any] = partial(_run_loop, model)
        if name is not None:
            backend = get_backend(name)
            backend.use_threads(self.threads)
            spec = LSTMSpec(model.weight_ih.shape[1], model.weight_hh.shape[1], bidirectional=True)
            runner = backend.build(spec, _read_weights(model), batch_major=True)

            def compute(embedded: Any) -> Any:
                y, _ = runner.forward(embedded)
                return y

            outputs = compute
            model.predict = partial(_predict, model, outputs)
        codes = [model.char2idx.get(each, model.char2idx["<UNK>"]) for each in sentence]
        embedded = model.get_embedding(np.array([codes]))
        if part == "recurrent":
            run: Callable[[], Any] = partial(outputs, embedded)
            return Way(run, lambda: [run()])
        return Way(partial(model, sentence), lambda: [model.fc_layer(outputs(embedded))])


def _run_loop(model: Any, embedded: Any) -> Any:
    """Return the outputs of the package's two loops over time, for one sentence without padding."""
    ends: list[list[Any]] = []
    for cell, inputs in ((model.fw_lstm_cell, embedded), (model.bw_lstm_cell, embedded[:, ::-1])):
        states, found = None, []
        for step in range(inputs.shape[1]):
            states = cell(inputs[:, step], states)
            found.append(states[0])
        ends.append(found)
    return np.concatenate([np.stack(ends[0], 1), np.stack(ends[1][::-1], 1)], 2)


def _predict(model: Any, outputs: Callable[[Any], Any], inputs: Any, target_idx: Any) -> Any:
    """Return the classes at some places, as the class's own method does for one sentence."""
    hidden = outputs(model.get_embedding(inputs))[0][target_idx]
    return np.argmax(model.fc_layer(hidden), axis=1)


def _read_weights(model: Any) -> LSTMWeights:
    """Return the canonical weights of the bidirectional layer. Its gates have our order."""
    directions = []
    for end in ("", "_reverse"):
        kernel, recurrent = getattr(model, f"weight_ih{end}"), getattr(model, f"weight_hh{end}")
        bias = getattr(model, f"bias_ih{end}") + getattr(model, f"bias_hh{end}")
        directions.append(
            LayerWeights(kernel.T.copy(), recurrent.T.copy(), bias),
        )
    return LSTMWeights((tuple(directions),))


def make_g2pm(folder: Path, threads: int) -> G2pMProgram:
    """Return the model of g2pM, for one sentence."""
    return G2pMProgram(importlib.import_module("g2pM").G2pM, threads)
