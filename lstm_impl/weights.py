"""Define an LSTM's parameters in canonical form, its state, and the gradients of both.

The canonical form is one kernel ``[in, 4H]``, one recurrent kernel ``[H, 4H]`` and one bias
``[4H]`` for each layer and direction, with gates in the order i, f, g, o. ``layouts.py`` converts
it to and from the layouts of other libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lstm_impl.spec import FloatArray, LSTMSpec, require_real


@dataclass(frozen=True)
class LayerWeights:
    """One direction: kernel ``[in, 4H]``, recurrent_kernel ``[H, 4H]`` and bias ``[4H]``."""

    kernel: FloatArray
    recurrent_kernel: FloatArray
    bias: FloatArray

    def __iter__(self) -> Iterator[FloatArray]:
        return iter((self.kernel, self.recurrent_kernel, self.bias))


ARRAY_NAMES = ("kernel", "recurrent_kernel", "bias")


@dataclass(frozen=True)
class LSTMWeights:
    """All parameters: ``weights.layers[layer][direction]`` is a ``LayerWeights``."""

    layers: tuple[tuple[LayerWeights, ...], ...]

    @classmethod
    def random(cls, spec: LSTMSpec, seed: int = 0) -> LSTMWeights:
        """Draw weights uniformly within ``1/sqrt(H)``, with the forget bias raised by 1.

        No bias is zero and no two gates are equal, so that a backend that mixes up gates, drops a
        bias or transposes a kernel cannot pass a check by chance.
        """
        rng = np.random.default_rng(seed)
        limit = 1.0 / np.sqrt(spec.hidden_size)

        def draw(*shape: int) -> FloatArray:
            return rng.uniform(-limit, limit, shape)

        hidden, gates, cells = spec.hidden_size, 4 * spec.hidden_size, []
        for row in range(spec.state_layers):
            bias = draw(gates)
            bias[hidden : 2 * hidden] += 1.0
            inputs = spec.layer_input_size(row // spec.num_directions)
            arrays = draw(inputs, gates), draw(hidden, gates), bias
            cells.append(LayerWeights(*map(spec.quantize, arrays)))
        return cls.from_cells(spec, cells)

    @classmethod
    def from_arrays(cls, spec: LSTMSpec, arrays: Sequence[npt.ArrayLike]) -> LSTMWeights:
        """Make weights from the flat list that ``arrays()`` returns.

        Raises ValueError if the number of arrays or a shape is wrong. NaN and infinity are kept,
        since gradients may have them.
        """
        if len(arrays) != 3 * spec.state_layers:
            raise ValueError(
                f"{len(arrays)} arrays of weights; expected {3 * spec.state_layers}: "
                "kernel, recurrent_kernel and bias of each layer and direction"
            )
        flat = [np.asarray(array) for array in arrays]
        cells = [LayerWeights(*flat[k : k + 3]) for k in range(0, len(flat), 3)]
        weights = cls.from_cells(spec, cells)
        weights.check(spec, finite=False)
        return weights

    @classmethod
    def from_cells(cls, spec: LSTMSpec, cells: Sequence[LayerWeights]) -> LSTMWeights:
        """Make weights from the cells of layer 0 forward, (backward,) layer 1 ..., unchecked."""
        rows = range(0, spec.state_layers, spec.num_directions)
        return cls(tuple(tuple(cells[row : row + spec.num_directions]) for row in rows))

    def cells(self) -> list[LayerWeights]:
        """Return the cells that ``from_cells`` takes."""
        return [cell for layer in self.layers for cell in layer]

    def arrays(self) -> list[FloatArray]:
        """Return kernel, recurrent_kernel and bias of layer 0 forward, (backward,) layer 1 ..."""
        return [array for cell in self.cells() for array in cell]

    def names(self) -> list[str]:
        """Return a name for each of ``arrays()``, such as ``layer0.forward.kernel``."""
        return [
            f"layer{number}.{('forward', 'backward')[direction]}.{name}"
            for number, layer in enumerate(self.layers)
            for direction in range(len(layer))
            for name in ARRAY_NAMES
        ]

    def named(self, before: str = "") -> dict[str, FloatArray]:
        """Return ``arrays()`` by ``names()``, each with this prefix."""
        pairs = zip(self.names(), self.arrays(), strict=True)
        return {before + name: array for name, array in pairs}

    def map(self, function: Callable[[FloatArray], FloatArray]) -> LSTMWeights:
        """Apply ``function`` to each array."""
        layers = ([LayerWeights(*map(function, cell)) for cell in layer] for layer in self.layers)
        return LSTMWeights(tuple(map(tuple, layers)))

    def check(self, spec: LSTMSpec, *, finite: bool = True) -> None:
        """Raise ValueError, naming the array, if these weights do not fit ``spec``.

        Dates, structures, text and complex numbers are no weights.

        finite: refuse NaN and infinity too.
        """
        if len(self.layers) != spec.num_layers:
            raise ValueError(
                f"weights have {len(self.layers)} layers; the spec has {spec.num_layers}"
            )
        for number, layer in enumerate(self.layers):
            if len(layer) != spec.num_directions:
                raise ValueError(
                    f"weights.layers[{number}] has {len(layer)} directions; "
                    f"the spec has {spec.num_directions}"
                )
            gates = 4 * spec.hidden_size
            expected = ((spec.layer_input_size(number), gates), (spec.hidden_size, gates), (gates,))
            for direction, cell in enumerate(layer):
                for name, array, shape in zip(ARRAY_NAMES, cell, expected, strict=True):
                    where = f"weights.layers[{number}][{direction}].{name}"
                    if np.shape(array) != shape:
                        raise ValueError(f"{where} has shape {np.shape(array)}; expected {shape}")
                    require_real(where, np.asarray(array))
                    if finite and not np.all(np.isfinite(array)):
                        raise ValueError(f"{where} holds NaN or infinity")


@dataclass(frozen=True)
class LSTMState:
    """Hidden and cell state, each ``[num_layers * num_directions, batch, hidden_size]``.

    ``forward`` returns it and takes it, so that a caller can carry it from one window of a long
    stream to the next.
    """

    h: FloatArray
    c: FloatArray

    @classmethod
    def zeros(cls, spec: LSTMSpec, batch: int) -> LSTMState:
        """Return the state before any input."""
        shape, dtype = (spec.state_layers, batch, spec.hidden_size), spec.precision.storage
        return cls(h=np.zeros(shape, dtype), c=np.zeros(shape, dtype))


@dataclass(frozen=True)
class LSTMGradients:
    """Gradients of ``sum(y * dy) + sum(h_T * dstate.h) + sum(c_T * dstate.c)``.

    x: as the input, ``[time, batch, input_size]``; None if not requested.
    weights: arrays shaped as the weights.
    state: with respect to the initial state; None if not requested.
    """

    # None only for those who did not request it; ``re.Match.group`` is typed in the same way.
    x: FloatArray | Any
    weights: LSTMWeights
    state: LSTMState | Any
