"""Define a network's parameters in canonical form, and the gradients of parameters and states.

The canonical form has one kernel ``[in, G*H]``, one recurrent kernel ``[H, G*H]`` and one bias
``[G*H]`` for each layer and direction, where G is the number of the cell's gates. A cell may have a
second bias ``[G*H]``, which is added to the product of the recurrent kernel. An LSTM has four
gates, in the order i, f, g, o, and one bias. ``layouts.py`` converts the canonical form to the
layouts of other libraries and back.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lstm_impl.cell import LSTMState
from lstm_impl.spec import FloatArray, LSTMSpec, require_real

__all__ = ["ARRAY_NAMES", "LSTMGradients", "LSTMState", "LSTMWeights", "LayerWeights"]


@dataclass(frozen=True)
class LayerWeights:
    """Hold the parameters of one direction of a layer.

    Iterating yields the arrays that are not None.

    Attributes
    ----------
    kernel
        ``[in, G*H]``.
    recurrent_kernel
        ``[H, G*H]``.
    bias
        ``[G*H]``.
    recurrent_bias
        ``[G*H]``, or None if the cell has one bias.
    """

    kernel: FloatArray
    recurrent_kernel: FloatArray
    bias: FloatArray
    recurrent_bias: FloatArray | None = None

    def __iter__(self) -> Iterator[FloatArray]:
        yield from (self.kernel, self.recurrent_kernel, self.bias)
        if self.recurrent_bias is not None:
            yield self.recurrent_bias


ARRAY_NAMES = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
"""The names of the arrays of a ``LayerWeights``, in the order in which iterating yields them."""


@dataclass(frozen=True)
class LSTMWeights:
    """Hold all parameters of a network. ``layers[layer][direction]`` is a ``LayerWeights``."""

    layers: tuple[tuple[LayerWeights, ...], ...]

    @classmethod
    def random(cls, spec: LSTMSpec, seed: int = 0) -> LSTMWeights:
        """Draw weights uniformly within ``1/sqrt(H)``, and raise the forget bias of an LSTM by 1.

        No bias is zero and no two gates are equal. Therefore a backend that exchanges gates, drops
        a bias or transposes a kernel cannot pass a check by chance.
        """
        rng = np.random.default_rng(seed)
        limit = 1.0 / np.sqrt(spec.hidden_size)

        def draw(*shape: int) -> FloatArray:
            return rng.uniform(-limit, limit, shape)

        cells = []
        for row in range(spec.state_layers):
            shapes = spec.parameter_shapes(row // spec.num_directions)
            # The bias is drawn first, so that a seed still gives the weights that it gave in old
            # results.
            drawn = {name: draw(*shapes[name]) for name in sorted(shapes, key=_drawing_order)}
            for gate, offset in spec.cell.bias_offsets.items():
                drawn["bias"][spec.cell.gate_columns(gate, spec.hidden_size)] += offset
            cells.append(LayerWeights(*(spec.quantize(drawn[name]) for name in shapes)))
        return cls.from_cells(spec, cells)

    @classmethod
    def from_arrays(cls, spec: LSTMSpec, arrays: Sequence[npt.ArrayLike]) -> LSTMWeights:
        """Make weights from the flat list that ``arrays()`` returns.

        NaN and infinity are kept, because gradients may contain them.

        Raises
        ------
        ValueError
            If the number of arrays or a shape is wrong.
        """
        names = spec.cell.parameters
        count = len(names)
        if len(arrays) != count * spec.state_layers:
            raise ValueError(
                f"got {len(arrays)} arrays of weights; expected {count * spec.state_layers}: "
                f"{', '.join(names[:-1])} and {names[-1]} of each layer and direction"
            )
        flat = [np.asarray(array) for array in arrays]
        cells = [LayerWeights(*flat[k : k + count]) for k in range(0, len(flat), count)]
        weights = cls.from_cells(spec, cells)
        weights.check(spec, finite=False)
        return weights

    @classmethod
    def from_cells(cls, spec: LSTMSpec, cells: Sequence[LayerWeights]) -> LSTMWeights:
        """Make weights from the list that ``cells()`` returns, without checking them."""
        rows = range(0, spec.state_layers, spec.num_directions)
        return cls(tuple(tuple(cells[row : row + spec.num_directions]) for row in rows))

    def cells(self) -> list[LayerWeights]:
        """Return the weights of layer 0 forward, layer 0 backward, layer 1 forward and so on."""
        return [cell for layer in self.layers for cell in layer]

    def arrays(self) -> list[FloatArray]:
        """Return the arrays of all layers and directions, in the order of ``cells()``."""
        return [array for cell in self.cells() for array in cell]

    def names(self) -> list[str]:
        """Return a name for each of ``arrays()``, such as ``layer0.forward.kernel``."""
        return [
            f"layer{number}.{('forward', 'backward')[direction]}.{name}"
            for number, layer in enumerate(self.layers)
            for direction, cell in enumerate(layer)
            for name, _ in zip(ARRAY_NAMES, cell, strict=False)
        ]

    def label_arrays(self, before: str = "") -> dict[str, FloatArray]:
        """Return ``arrays()`` by ``names()``, with a prefix before each name."""
        pairs = zip(self.names(), self.arrays(), strict=True)
        return {before + name: array for name, array in pairs}

    def named(self, before: str = "") -> dict[str, FloatArray]:
        """Return ``label_arrays(before)``, of which this is the deprecated name."""
        warnings.warn(
            "LSTMWeights.named was renamed and will be removed in the next version; call "
            "LSTMWeights.label_arrays instead",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.label_arrays(before)

    def map(self, function: Callable[[FloatArray], FloatArray]) -> LSTMWeights:
        """Apply a function to each array, and return the results as weights."""
        layers = ([LayerWeights(*map(function, cell)) for cell in layer] for layer in self.layers)
        return LSTMWeights(tuple(map(tuple, layers)))

    def check(self, spec: LSTMSpec, *, finite: bool = True) -> None:
        """Check that these weights fit a network.

        Parameters
        ----------
        spec
            The network.
        finite
            Whether NaN and infinity are refused too.

        Raises
        ------
        ValueError
            If a shape is wrong or an array does not hold real numbers. The message names the array.
        """
        if len(self.layers) != spec.num_layers:
            raise ValueError(
                f"weights have {len(self.layers)} layers; expected {spec.num_layers} as in the spec"
            )
        for number, layer in enumerate(self.layers):
            if len(layer) != spec.num_directions:
                raise ValueError(
                    f"weights.layers[{number}] has {len(layer)} directions; "
                    f"expected {spec.num_directions} as in the spec"
                )
            expected = spec.parameter_shapes(number)
            for direction, cell in enumerate(layer):
                place = f"weights.layers[{number}][{direction}]"
                arrays = dict(zip(ARRAY_NAMES, cell, strict=False))
                if arrays.keys() != expected.keys():
                    raise ValueError(
                        f"{place} has {', '.join(arrays)}; "
                        f"expected {', '.join(expected)} for the cell {spec.cell.name}"
                    )
                for name, shape in expected.items():
                    array, where = arrays[name], f"{place}.{name}"
                    if np.shape(array) != shape:
                        raise ValueError(f"{where} has shape {np.shape(array)}; expected {shape}")
                    require_real(where, np.asarray(array))
                    if finite and not np.all(np.isfinite(array)):
                        raise ValueError(f"{where} has NaN or infinity; expected finite numbers")


def _drawing_order(name: str) -> int:
    """Return the position of an array in the order in which random weights are drawn."""
    return ("bias", "kernel", "recurrent_kernel", "recurrent_bias").index(name)


@dataclass(frozen=True)
class LSTMGradients:
    """Hold the gradients of ``sum(y * dy)`` plus, for each state s, ``sum(s_T * dstate.s)``.

    Attributes
    ----------
    x
        The gradient of the input ``[time, batch, input_size]``, or None if it was not requested.
    weights
        The gradients of the weights, with their shapes.
    state
        The gradient of the initial state, or None if it was not requested.
    """

    # Only callers who did not request a gradient get None. ``re.Match.group`` is typed the same
    # way.
    x: FloatArray | Any
    weights: LSTMWeights
    state: LSTMState | Any
