"""Compute a model in any precision: in float32, with each result rounded.

The NumPy loop is exact in every dtype; this model has the errors of a right backend with a coarse
type, or of one that computes in another type than it claims. It takes resets, but no lengths and
no dropout.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lstm_impl import LSTMSpec, LSTMWeights, get_backend
from lstm_impl.backends.others.numpy_loop import NumPyModel
from lstm_impl.call import Call, Outputs, RawGradients, Upstream
from lstm_impl.spec import round_to_bfloat16
from lstm_impl.weights import LayerWeights

Single = npt.NDArray[np.float32]
Round = Callable[[npt.ArrayLike], Single]


def to_single(values: npt.ArrayLike) -> Single:
    return np.asarray(values, np.float32)


def to_float16(values: npt.ArrayLike) -> Single:
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float32).astype(np.float16).astype(np.float32)


def to_tf32(values: npt.ArrayLike) -> Single:
    """Round to 11 significant bits, with the range of float32."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & np.uint32(0xFFFFE000)).view(np.float32)


def to_two_parts(values: npt.ArrayLike) -> Single:
    """Round to the sum of two bfloat16 numbers, about 16 significant bits."""
    single = np.asarray(values, np.float32)
    first = round_to_bfloat16(single)
    return (first + round_to_bfloat16(single - first)).astype(np.float32)


ROUND: dict[str, Round] = {
    "float32": to_single,
    "tf32": to_tf32,
    "bf32": round_to_bfloat16,
    "bf16x3": to_two_parts,
    "float16": to_float16,
    "mixed_float16": to_float16,
    "bfloat16": round_to_bfloat16,
    "mixed_bfloat16": round_to_bfloat16,
}


class RoundedModel(NumPyModel):
    """A model with rounded arithmetic.

    factors: rounds weights and inputs; sums: gates and their sums; states: h, c and gradients. The
    default of all three is the spec's precision.
    """

    def __init__(
        self,
        spec: LSTMSpec,
        weights: LSTMWeights,
        factors: Round | None = None,
        sums: Round | None = None,
        states: Round | None = None,
    ) -> None:
        super().__init__(get_backend("numpy"), spec, "cpu", False, weights)
        own = ROUND[spec.dtype]
        # TF32, bf32 and bf16x3 round only the factors of products.
        rest = to_single if spec.dtype in ("tf32", "bf32", "bf16x3") else own
        self._factors = factors or own
        self._sums, self._states = sums or rest, states or rest

    def _sigmoid(self, z: Any) -> Any:
        return np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * z))

    def _tanh(self, z: Any) -> Any:
        return np.tanh(z)

    def _slope(self, gate: Any) -> Any:
        """Return the sigmoid's derivative."""
        return gate * (1 - gate)

    def _multiply(self, left: Any, right: Any) -> Any:
        return left @ right

    def _round_cell(self, cell: Any) -> Any:
        return self._states(cell)

    def _flow_back(self, dh: Any) -> Any:
        return dh

    def _first_steps(self, call: Call, reverse: bool) -> Any:
        """Return at which steps a direction starts over, in the order in which it reads."""
        first = call.resets if call.restarts is None else call.restarts
        if first is None:
            return np.zeros(call.x.shape[:2], bool)
        return np.concatenate([first[:1] & False, first[:0:-1]]) if reverse else first

    def _begin(self, first: Any, states: Sequence[Any], fresh: Sequence[Any]) -> Sequence[Any]:
        """Return the states that a step begins from; first: in which sequences it starts over."""
        pairs = zip(fresh, states, strict=True)
        return [np.where(first[:, None], new, old) for new, old in pairs]

    def _cut(self, first: Any, flow: Sequence[Any]) -> Sequence[Any]:
        """Return the gradients of the states that the step before left."""
        return [np.where(first[:, None], np.zeros_like(each), each) for each in flow]

    def _infer(self, call: Call) -> Outputs:
        outputs, _ = self._layers(call)
        return outputs

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        outputs, traces = self._layers(call)
        flow, (dh, dc) = upstream
        dh0, dc0 = np.zeros_like(dh), np.zeros_like(dc)
        size, layers = self.spec.hidden_size, []
        for layer in reversed(range(self.spec.num_layers)):
            below: Any = 0
            cells = []
            for direction in range(self.spec.num_directions):
                row = layer * self.spec.num_directions + direction
                step = -1 if direction else 1
                part = flow[::step, :, direction * size : (direction + 1) * size]
                dx, cell, dh0[row], dc0[row] = self._back(traces[row], part, dh[row], dc[row])
                below = below + dx[::step]
                cells.append(cell)
            layers.append(tuple(cells))
            flow = below
        weights = LSTMWeights(tuple(reversed(layers)))
        return RawGradients.of(outputs, (flow, dh0, dc0), weights)

    def _layers(self, call: Call) -> tuple[Outputs, list[Any]]:
        x, (h, c), *_ = call
        h_last, c_last = np.zeros_like(h), np.zeros_like(c)
        traces: list[Any] = []
        for layer in self._weights.layers:
            outputs = []
            for direction, cell in enumerate(layer):
                step = -1 if direction else 1
                row = len(traces)
                first, to_initial = self._first_steps(call, direction == 1), call.resets is None
                trace = self._run(cell, x[::step], h[row], c[row], first, to_initial)
                h_last[row], c_last[row] = trace[2][-1], trace[3][-1]
                outputs.append(np.stack(trace[2][1:])[::step])
                traces.append(trace)
            x = np.concatenate(outputs, axis=-1)
        return Outputs(x, (h_last, c_last)), traces

    def _run(
        self, cell: LayerWeights, x: Any, h0: Any, c0: Any, first: Any, to_initial: bool
    ) -> tuple[Any, ...]:
        sums, states = self._sums, self._states
        kernel, recurrent_kernel, bias = (self._factors(array) for array in cell)
        x = self._factors(x)
        h, c, gates, begun = [states(h0)], [self._round_cell(c0)], [], []
        fresh = (h[0], c[0]) if to_initial else (np.zeros_like(h[0]), np.zeros_like(c[0]))
        for step, starts_over in zip(x, first, strict=True):
            before, c_before = self._begin(starts_over, (h[-1], c[-1]), fresh)
            begun.append((before, c_before))
            products = self._multiply(step, kernel)
            products = products + self._multiply(self._factors(before), recurrent_kernel)
            z = sums(sums(products) + bias)
            i, f, g, o = np.split(z, 4, axis=-1)
            i, f, o = (sums(self._sigmoid(each)) for each in (i, f, o))
            g = sums(self._tanh(g))
            gates.append((i, f, g, o))
            c.append(self._round_cell(states(f * c_before) + states(i * g)))
            h.append(states(o * sums(self._tanh(c[-1]))))
        return (kernel, recurrent_kernel), x, h, c, gates, begun, first, to_initial

    def _back(self, trace: tuple[Any, ...], dy: Any, dh: Any, dc: Any) -> tuple[Any, ...]:
        (kernel, recurrent_kernel), x, _, c, gates, begun, first, to_initial = trace
        sums, states = self._sums, self._states
        dz: Any = [None] * len(x)
        dy, dh, dc = states(dy), states(dh), states(dc)
        of_initial = [np.zeros_like(dh), np.zeros_like(dc)]
        for t in reversed(range(len(x))):
            i, f, g, o = gates[t]
            tanh = sums(np.tanh(c[t + 1]))
            dh = states(dh + dy[t])
            dc = states(dc + dh * o * (1 - tanh**2))
            c_before = begun[t][1]
            back = (dc * g * self._slope(i), dc * c_before * self._slope(f), dc * i * (1 - g * g))
            dz[t] = sums(np.concatenate([*back, dh * tanh * self._slope(o)], axis=-1))
            dc = states(dc * f)
            dh = self._flow_back(states(self._factors(dz[t]) @ recurrent_kernel.T))
            flow = dh, dc
            dh, dc = self._cut(first[t], flow)
            if to_initial:
                caught = [each * first[t][:, None] for each in flow]
                of_initial = [a + b for a, b in zip(of_initial, caught, strict=True)]
        flat = self._factors(np.concatenate(dz))
        before = self._factors(np.concatenate([h for h, _ in begun]))
        cell = LayerWeights(
            states(x.reshape(len(flat), -1).T @ flat),
            states(before.T @ flat),
            states(flat.sum(axis=0)),
        )
        dh, dc = dh + of_initial[0], dc + of_initial[1]
        return states(np.stack(dz) @ kernel.T), cell, dh, dc
