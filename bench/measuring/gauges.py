"""Peak memory of a case on a GPU, from the framework's own allocator."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

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


@dataclass(frozen=True)
class Allocator:
    """What a framework's allocator says about one GPU, in bytes.

    in_use: held now by what is alive. peak: the most since the last reset, or since the process
    began. reset: begin a new peak from what is in use; None if it cannot.
    """

    name: str
    in_use: Callable[[], int]
    peak: Callable[[], int]
    reset: Callable[[], object] | None


def _of_tensorflow(tensorflow: Any, index: int) -> Allocator:
    """``tf.config.experimental``, which knows GPUs only."""
    config, device = tensorflow.config.experimental, f"GPU:{index}"

    def told(name: str) -> Callable[[], int]:
        return lambda: int(config.get_memory_info(device)[name])

    return Allocator(
        "TensorFlow", told("current"), told("peak"), lambda: config.reset_memory_stats(device)
    )


def _of_torch(torch: Any, index: int) -> Allocator:
    """``torch.cuda``'s caching allocator: what tensors hold, not what it keeps for later."""
    of = torch.cuda
    return Allocator(
        "PyTorch",
        lambda: int(of.memory_allocated(index)),
        lambda: int(of.max_memory_allocated(index)),
        lambda: of.reset_peak_memory_stats(index),
    )


def _of_jax(jax: Any, index: int) -> Allocator:
    """``Device.memory_stats``, whose peak is that of the whole process and cannot be reset."""
    device = jax.devices("gpu")[index]

    def told(name: str) -> int:
        stats: Mapping[str, int] | None = device.memory_stats()
        if stats is None:  # with XLA_PYTHON_CLIENT_ALLOCATOR=platform nobody counts
            raise UncountedError("the allocator that JAX was told to use does not count")
        return int(stats[name])

    return Allocator("JAX", lambda: told("bytes_in_use"), lambda: told("peak_bytes_in_use"), None)


_ALLOCATORS: Mapping[str, tuple[str, Callable[[Any, int], Allocator]]] = {
    # framework: the module that is asked
    "tensorflow": ("tensorflow", _of_tensorflow),
    "torch": ("torch", _of_torch),
    "flashrnn": ("torch", _of_torch),
    "jax": ("jax", _of_jax),
    "flax": ("jax", _of_jax),
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
        if allocator.reset is not None:
            allocator.reset()
        return _Begun(allocator, allocator.in_use(), allocator.peak())

    def _figures(self, begun: _Begun, step: Step) -> Figures:
        allocator, name = begun.allocator, begun.allocator.name
        peak, how = allocator.peak(), ALLOCATOR.format(name)
        if allocator.reset is None:
            if peak <= begun.peak:
                return unknown(
                    f"something before it in the process needed more, and {name} cannot reset its "
                    "peak"
                )
            how += f"; {name} cannot reset its peak, so that there is none of a later step"
            return {"peak_bytes": peak - begun.in_use, "steady_bytes": None, "how": how}
        allocator.reset()
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
