"""Let ``torch.nn.LSTM`` take resets in the two ways that users write: ``split`` and ``steps``.

PyTorch's module has no resets. In recurrent reinforcement learning, programs therefore split
sequences where episodes end, or call the module once for each timestep.
"""

from __future__ import annotations

import abc

from lstm_impl.backend import Backend
from lstm_impl.backends.torch.lstm import Torch, TorchLSTMModel
from lstm_impl.call import Call, Outputs, States, Tensor
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload


class TorchResetModel(TorchLSTMModel, abc.ABC):
    """An ``nn.LSTM`` or ``nn.GRU`` whose sequences start over where the call says so."""

    def network(self, call: Call) -> Outputs:
        first = call.resets if call.restarts is None else call.restarts
        return super().network(call) if first is None else self._with_resets(call, first)

    @abc.abstractmethod
    def _with_resets(self, call: Call, first: Tensor) -> Outputs:
        """Compute the outputs and final states; first: the call's resets ``[T, B]``."""

    def _call_module(self, x: Tensor, states: States) -> tuple[Tensor, States]:
        """Call the module, which takes the state of a GRU alone."""
        if len(states) > 1:
            y, last = self.module(x, states)
            return y, tuple(last)
        y, last = self.module(x, states[0])
        return y, (last,)


class TorchSplitModel(TorchResetModel):
    """Split the sequences at the resets, pad the parts, and compute them as one packed batch."""

    def _with_resets(self, call: Call, first: Tensor) -> Outputs:
        torch, rnn = self._torch, self._torch.nn.utils.rnn
        x = call.x if self.batch_major else call.x.transpose(0, 1)
        batch, timesteps, features = x.shape
        starts = first.t().clone()
        starts[:, 0] = True
        flat = starts.reshape(-1)
        part = flat.cumsum(0) - 1  # The part that each step of each sequence belongs to.
        begins = flat.nonzero()[:, 0]
        steps = torch.arange(len(flat), device=x.device)
        offset = steps - begins[part]
        lengths = torch.diff(begins, append=begins.new_tensor([len(flat)]))
        padded = x.new_zeros(int(lengths.max()), len(begins), features)
        padded = padded.index_put((offset, part), x.reshape(-1, features))
        packed = rnn.pack_padded_sequence(padded, lengths.cpu(), enforce_sorted=False)
        y, last = self._call_module(packed, self._initial(call, first, begins, timesteps))
        y, _ = rnn.pad_packed_sequence(y)
        y = y[offset, part].reshape(batch, timesteps, -1)
        final = part.reshape(batch, timesteps)[:, -1]
        return Outputs(
            y if self.batch_major else y.transpose(0, 1), tuple(each[:, final] for each in last)
        )

    def _initial(self, call: Call, first: Tensor, begins: Tensor, timesteps: int) -> States:
        """Return the initial states of the parts ``[L*D, parts, H]``."""
        row = begins // timesteps
        states = tuple(each[:, row].contiguous() for each in call.states)
        if call.restarts is not None:
            return states
        goes_on = ((begins % timesteps == 0) & ~first[0, row])[None, :, None]
        zeros = map(self._torch.zeros_like, states)
        pairs = zip(states, zeros, strict=True)
        return tuple(self._torch.where(goes_on, state, zero) for state, zero in pairs)


class TorchStepsModel(TorchResetModel):
    """Call the module once for each timestep, and replace the state between the calls."""

    def _with_resets(self, call: Call, first: Tensor) -> Outputs:
        torch, states, outputs = self._torch, call.states, []
        fresh = tuple(map(torch.zeros_like, states)) if call.restarts is None else states
        axis = 1 if self.batch_major else 0
        for t in range(call.x.shape[axis]):
            now, pairs = first[t][None, :, None], zip(fresh, states, strict=True)
            states = tuple(torch.where(now, new, old) for new, old in pairs)
            y, states = self._call_module(call.x.narrow(axis, t, 1), states)
            outputs.append(y)
        return Outputs(torch.cat(outputs, dim=axis), states)


class TorchReset(Torch):
    """What both ways have in common."""

    flags = ()
    takes_resets = True

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        if spec.bidirectional:
            return "programs that reset the state have networks of one direction"
        if workload is not None and (workload.min_length is not None or workload.dropout):
            return "it is measured on sequences of one length, without dropout"
        return super().refusal(spec, workload)


class TorchSplit(TorchReset):
    """PyTorch's module on sequences that are split at the resets and padded."""

    strategy = "torch:split"
    summary = f"{Torch.summary}, on sequences split at resets and padded"
    model = TorchSplitModel


class TorchSteps(TorchReset):
    """PyTorch's module in a loop over the timesteps."""

    strategy = "torch:steps"
    summary = f"{Torch.summary}, one timestep a call"
    model = TorchStepsModel


def split(backend: str) -> Backend:
    """Return the backend that splits and pads, for the backend with this id."""
    return TorchSplit()


def steps(backend: str) -> Backend:
    """Return the backend that loops over the timesteps, for the backend with this id."""
    return TorchSteps()
