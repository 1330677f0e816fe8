"""Peak memory of a case on a GPU, from the framework's own allocator."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from bench.machine import devices
from bench.machine.raised import one_line
from bench.results.schema import Figures
from lstm_impl import Backend, Step

_T = TypeVar("_T")
ALLOCATOR = "of {}'s allocator on the GPU, beyond what other cases held"


class UncountedError(RuntimeError):
    """A framework does not say what it holds on a GPU; the message says so."""


def unknown(reason: str) -> Figures:
    """The figures of a case whose memory is not known."""
    return {"peak_bytes": None, "steady_bytes": None, "how": f"not known: {reason}"}


def unweighed(figures: Iterable[Figures | None]) -> Counter[str]:
    """Why the memory of cases is not known, though it was asked for, and of how many."""
    return Counter(
        str(each.get("how", "not known"))
        for each in figures
        if each is not None and each.get("peak_bytes") is None
    )


# -- on a GPU, in the process that times


class Allocator(Protocol):
    """What a framework's allocator says about one GPU, in bytes."""

    name: str

    def in_use(self) -> int:
        """Held now by what is alive."""

    def peak(self) -> int:
        """The most since the last reset, or since the process began."""

    def reset(self) -> bool:
        """Begin a new peak from what is in use; False if it cannot."""


class TensorFlowAllocator:
    """``tf.config.experimental``, which knows GPUs only."""

    name = "TensorFlow"

    def __init__(self, tensorflow: Any, index: int) -> None:
        self._config = tensorflow.config.experimental
        self._device = f"GPU:{index}"

    def in_use(self) -> int:
        """See ``Allocator``."""
        return int(self._config.get_memory_info(self._device)["current"])

    def peak(self) -> int:
        """See ``Allocator``."""
        return int(self._config.get_memory_info(self._device)["peak"])

    def reset(self) -> bool:
        """See ``Allocator``."""
        self._config.reset_memory_stats(self._device)
        return True


class TorchAllocator:
    """``torch.cuda``'s caching allocator: what tensors hold, not what it keeps for later."""

    name = "PyTorch"

    def __init__(self, torch: Any, index: int) -> None:
        self._cuda = torch.cuda
        self._index = index

    def in_use(self) -> int:
        """See ``Allocator``."""
        return int(self._cuda.memory_allocated(self._index))

    def peak(self) -> int:
        """See ``Allocator``."""
        return int(self._cuda.max_memory_allocated(self._index))

    def reset(self) -> bool:
        """See ``Allocator``."""
        self._cuda.reset_peak_memory_stats(self._index)
        return True


class JaxAllocator:
    """``Device.memory_stats``, whose peak is that of the whole process and cannot be reset."""

    name = "JAX"

    def __init__(self, jax: Any, index: int) -> None:
        self._device = jax.devices("gpu")[index]

    def in_use(self) -> int:
        """See ``Allocator``."""
        return int(self._stats()["bytes_in_use"])

    def peak(self) -> int:
        """See ``Allocator``."""
        return int(self._stats()["peak_bytes_in_use"])

    def reset(self) -> bool:
        """See ``Allocator``."""
        return False

    def _stats(self) -> Mapping[str, int]:
        stats: Mapping[str, int] | None = self._device.memory_stats()
        if stats is None:  # with XLA_PYTHON_CLIENT_ALLOCATOR=platform nobody counts
            raise UncountedError("the allocator that JAX was told to use does not count")
        return stats


_ALLOCATORS: Mapping[str, tuple[str, Callable[[Any, int], Allocator]]] = {
    # framework: the module that is asked
    "tensorflow": ("tensorflow", TensorFlowAllocator),
    "torch": ("torch", TorchAllocator),
    "flashrnn": ("torch", TorchAllocator),
    "jax": ("jax", JaxAllocator),
    "flax": ("jax", JaxAllocator),
}


class Gauge:
    """Follows the allocator of one GPU while a case is built and called for the first time.

    find: the allocator. Nothing is raised, for whatever it and the allocator may raise.
    """

    def __init__(self, find: Callable[[], Allocator]) -> None:
        self._problem = ""
        self._begun = self._ask(lambda: self._begin(find()))

    def figures(self, step: Step) -> Figures:
        """After the first call: the peak since the beginning, and that of one more step."""
        begun = self._begun
        found = None if begun is None else self._ask(lambda: self._figures(begun, step))
        return unknown(self._problem) if found is None else found

    def _begin(self, allocator: Allocator) -> _Begun:
        gc.collect()  # what an earlier case has left would otherwise go meanwhile
        allocator.reset()
        return _Begun(allocator, allocator.in_use(), allocator.peak())

    def _figures(self, begun: _Begun, step: Step) -> Figures:
        allocator, name = begun.allocator, begun.allocator.name
        peak, how = allocator.peak(), ALLOCATOR.format(name)
        if not allocator.reset():
            if peak <= begun.peak:
                return unknown(
                    f"something before it in the process needed more, and {name} cannot reset its "
                    "peak"
                )
            how += f"; {name} cannot reset its peak, so that there is none of a later step"
            return {"peak_bytes": peak - begun.in_use, "steady_bytes": None, "how": how}
        step.run()
        step.synchronize()
        steady = allocator.peak()
        return {
            # A later step is as much a part of the case as the first.
            "peak_bytes": max(0, max(peak, steady) - begun.in_use),
            "steady_bytes": max(0, steady - begun.in_use),
            "how": how,
        }

    def _ask(self, question: Callable[[], _T]) -> _T | None:
        try:
            return question()
        except Exception as error:
            # A framework that does not answer costs the figure; the case goes on.
            words = one_line(error)
            known = isinstance(error, UncountedError)
            self._problem = words if known else f"{type(error).__name__}: {words}"
            return None


@dataclass(frozen=True)
class _Begun:
    """An allocator, and what it said when a case began."""

    allocator: Allocator
    in_use: int
    peak: int


def gauge(backend: Backend, device: str, modules: Mapping[str, Any] | None = None) -> Gauge | None:
    """A gauge that begins now, or None on a CPU. The backend has been started on the device.

    modules: those that are imported, by name.
    """
    if devices.kind(device) == "cpu":
        return None
    loaded = sys.modules if modules is None else modules

    def find() -> Allocator:
        module, kind = _ALLOCATORS.get(backend.framework, ("", None))
        if kind is None or module not in loaded:
            raise UncountedError(f"{backend.framework} does not say what it holds on a GPU")
        return kind(loaded[module], devices.gpu_index(device))

    return Gauge(find)
