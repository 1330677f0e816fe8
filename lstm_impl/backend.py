"""Define a backend: one way to compute an LSTM, with its options.

A backend must:

- take canonical weights;
- compute the outputs and the final state that ``reference.py`` computes from an input, an initial
  state and lengths, and all their gradients;
- carry its state from call to call;
- say whether it is available on a device, and if not, why and what to install;
- refuse what it cannot do, with the reason.

A backend that trains may also update its weights. ``Backend`` is the way of computing. ``Model``
(``model.py``) is one network that is computed in this way, with weights on a device.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import lstm_impl.cuda as cuda
from lstm_impl.availability import AVAILABLE, Availability, Package, UnavailableError
from lstm_impl.cell import GRU
from lstm_impl.model import NO_RESETS, Model
from lstm_impl.names import check_options, join
from lstm_impl.spec import (
    FloatArray,
    LSTMSpec,
    Refusal,
    RefusalReason,
    UnsupportedError,
    find_refusal_code,
)
from lstm_impl.weights import LSTMWeights
from lstm_impl.workload import Workload


class Backend:
    """Compute an LSTM in one way: by a strategy with options, as in ``partial_unroll@10+xla``.

    Attributes
    ----------
    strategy
        The name before any option.
    framework
        The name of the package that computes.
    summary
        One line for tables.
    model
        The class of its models.
    flags
        The names of the options that may follow ``+``, in canonical order.
    takes_number
        Whether ``@k`` must follow the strategy.
    listed
        What follows the strategy in the ids that ``list_backends`` shows.
    devices
        The kinds of devices on which it can run.
    bf32
        Whether it can round the factors of float32 products to bfloat16, or is more exact than
        that.
    bf16x3
        Whether it can make a float32 product of three products of bfloat16 parts, or is more exact
        than that.
    elsewhere
        The reason why it runs on no other device. If it is empty, a sentence with the strategy's
        name is used.
    packages
        The packages that must be installed.
    gpu
        How its framework finds GPUs, or None if it uses none.
    early_modules
        The modules that are imported before any case, in addition to those of its framework.
    optimizers
        The optimizers with which its models can update their weights.
    bias_offset
        What is added to the biases that it stores. An update of such a bias rounds as the sum does.
    environment
        The values that environment variables must have before a process imports anything. Two
        backends that need different values never share a process.
    threads
        The number of threads that ``use_threads`` got, or None before that.
    isolated
        Whether its environment changes how other backends of its framework compute. They then run
        in other processes.
    approximate
        Whether it computes another function on purpose that is close to the reference, as int8
        does. Reports show its error next to its time, and never rank it with exact backends.
    cells
        The names of the cells that it computes, or None if it computes any cell from its
        description.
    takes_resets
        Whether a call takes resets, at which sequences start over.
    takes_state
        Whether a call takes an initial state. If not, the gate begins with zeros.
    returned
        The names of the results that a call returns, such as ``("y", "h")``, or None for all.
    """

    strategy: ClassVar[str]
    framework: ClassVar[str]
    summary: ClassVar[str]
    model: ClassVar[type[Model]]
    flags: ClassVar[tuple[str, ...]] = ()
    takes_number: ClassVar[bool] = False
    listed: ClassVar[tuple[str, ...]] = ("",)
    devices: ClassVar[tuple[str, ...]] = ("cpu", "gpu")
    elsewhere: ClassVar[str] = ""
    bf32: ClassVar[bool] = False
    bf16x3: ClassVar[bool] = False
    packages: ClassVar[tuple[Package, ...]] = ()
    gpu: ClassVar[cuda.GpuCheck | None] = None
    early_modules: ClassVar[tuple[str, ...]] = ()
    optimizers: ClassVar[tuple[str, ...]] = ()
    bias_offset: ClassVar[float] = 0.0
    environment: ClassVar[Mapping[str, str]] = {}
    threads: ClassVar[int | None] = None
    isolated: ClassVar[bool] = False
    approximate: ClassVar[bool] = False
    cells: ClassVar[tuple[str, ...] | None] = ("lstm",)
    takes_resets: bool = False
    takes_state: bool = True
    returned: tuple[str, ...] | None = None

    def __init__(self, options: Sequence[str] = (), number: int | None = None) -> None:
        check_options(self.strategy, self.flags, self.takes_number, options, number)
        self.options = tuple(flag for flag in self.flags if flag in options)
        self.number = number
        if problem := self.conflict():
            raise UnsupportedError(f"{self.name}: {problem}", Refusal.UNKNOWN_NAME)

    @property
    def hides_nan(self) -> bool:
        """Whether a NaN in an input may become a number in the results of its sequence.

        The gate does not check NaN then. This holds for frameworks that clip the arguments of their
        gates with operations that drop NaN.
        """
        return False

    @property
    def name(self) -> str:
        """The canonical id."""
        return join(self.strategy, self.flags, self.options, self.number)

    @classmethod
    def variants(cls) -> Sequence[str]:
        """Return the ids that ``list_backends`` shows for this strategy."""
        return [cls.strategy + options for options in cls.listed]

    def conflict(self) -> str:
        """Return the reason why these options exclude each other, or an empty string."""
        return ""

    def availability(self, device: str = "cpu") -> Availability:
        """Return whether this backend can run on a device of this machine.

        ``device`` is ``cpu``, ``gpu:0`` and so on. The framework is imported only for a GPU, and
        only if the machine has one.
        """
        if device.partition(":")[0] not in self.devices:
            reason = self.elsewhere or f"{self.strategy} runs on {' and '.join(self.devices)} only"
            if device == "cpu":
                gpu = self.availability("gpu:0")
                reason += "; use --device gpu:0" if gpu else f"; and {gpu}"
            return Availability(False, reason, refusal=Refusal.OTHER_DEVICE)
        for package in self.packages:
            if not (installed := package.availability(device)):
                return installed
        if not (fits := self.process()):
            return fits
        return cuda.available_to(self.gpu, device) and self.tools(device)

    def process(self) -> Availability:
        """Return whether this process has the ``environment`` that the backend needs."""
        for name, value in self.environment.items():
            if os.environ.get(name) != value:
                reason = f"{self.strategy} needs a process of its own, with {name}={value}"
                command = f"{name}={value} python ..."
                return Availability(False, reason, command, Refusal.OTHER_ENVIRONMENT)
        return AVAILABLE

    def tools(self, device: str) -> Availability:
        """Return whether whatever else the backend needs on a device exists, such as a compiler."""
        return AVAILABLE

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        """Return the reason why this backend cannot compute a network, or an empty string.

        With a workload, the reason may be the kind of call. The reasons here hold for all backends.
        A subclass adds its own, and then asks this method. A ``RefusalReason`` also has a code on
        which programs can decide.
        """
        if reason := self.cell_refusal(spec):
            return reason
        if spec.dtype == "bf32" and not self.bf32:
            text = "it has no products of bfloat16 for float32 numbers"
            return RefusalReason(text, Refusal.NO_DTYPE)
        if spec.dtype == "bf16x3" and not self.bf16x3:
            text = "it makes no float32 product of three products of bfloat16 parts"
            return RefusalReason(text, Refusal.NO_DTYPE)
        if workload is not None and workload.reset_rate and not self.takes_resets:
            return NO_RESETS
        if workload is None or workload.optimizer is None:
            return ""
        if workload.optimizer not in self.optimizers:
            text = f"it updates no weights with {workload.optimizer}"
            return RefusalReason(text, Refusal.NO_OPTIMIZER)
        if spec.precision.variable in ("float16", "bfloat16"):
            return RefusalReason(
                f"{spec.precision.variable} weights lose an optimizer's updates in their rounding; "
                f"mixed_{spec.precision.variable} keeps them in float32",
                Refusal.NO_DTYPE,
            )
        return ""

    def cell_refusal(self, spec: LSTMSpec) -> str:
        """Return why this backend cannot compute a network's cell, or an empty string."""
        name = spec.cell.name
        if self.cells is None or name in self.cells:
            return ""
        if isinstance(spec.cell, GRU) and GRU().name in self.cells:
            return RefusalReason(
                "its GRU has reset_after=True: the reset gate acts after the recurrent product. "
                f"In {name} it acts before the product (reset_after=False)",
                Refusal.NO_CELL,
            )
        known = (
            f"cell {self.cells[0]}" if len(self.cells) == 1 else f"cells {_list_names(self.cells)}"
        )
        return RefusalReason(f"it computes the {known} only, not {name}", Refusal.NO_CELL)

    def use_threads(self, count: int) -> None:
        """Let models of this strategy use a number of CPU threads for what they make from now on.

        This is for frameworks that read no environment variable for their number of threads.
        """
        type(self).threads = count

    def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
        """Return what should have run but did not, or an empty string.

        A case without this evidence is a failure and gets no time.
        """
        return ""

    def pack(self, spec: LSTMSpec, weights: LSTMWeights) -> list[FloatArray]:
        """Convert canonical weights to the arrays that this backend stores and trains."""
        return weights.arrays()

    def unpack(
        self, spec: LSTMSpec, arrays: Sequence[FloatArray], gradient: bool = False
    ) -> LSTMWeights:
        """Convert such arrays, or with ``gradient`` their gradients, to canonical weights."""
        return LSTMWeights.from_arrays(spec, arrays)

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        """Make the model. ``build`` has already checked everything."""
        return self.model(self, spec, device, batch_major, weights)

    def build(
        self,
        spec: LSTMSpec,
        weights: LSTMWeights,
        device: str = "cpu",
        *,
        batch_major: bool = False,
    ) -> Model:
        """Build a network with these weights on a device.

        Parameters
        ----------
        spec, weights
            The network and its canonical parameters.
        device
            ``cpu``, ``gpu`` or ``gpu:N``.
        batch_major
            Whether inputs and outputs are ``[batch, time, feature]``. The axes of the state stay
            the same.

        Raises
        ------
        UnavailableError
            If the backend or the device is not available on this machine.
        UnsupportedError
            If the backend cannot compute this network.
        ValueError
            If the weights do not fit the network.
        """
        weights.check(spec)
        available = self.availability(device)
        if not available:
            raise UnavailableError(f"{self.name} on {device}: {available}", available.refusal)
        # A subclass may not ask the method of its base class, so the cell is checked here too.
        if reason := self.cell_refusal(spec) or self.refusal(spec):
            raise UnsupportedError(f"{self.name}: {reason}", find_refusal_code(reason))
        quantized = weights.map(spec.quantize)
        model = self._build(spec, quantized, device, batch_major)
        model.given_weights = quantized
        return model

    def __repr__(self) -> str:
        return f"<backend {self.name}>"


def _list_names(names: Sequence[str]) -> str:
    """Join names as English lists them: ``a, b and c``."""
    return f"{', '.join(names[:-1])} and {names[-1]}"
