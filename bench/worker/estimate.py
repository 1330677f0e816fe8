"""Estimate from the sizes of a case what it needs: operations, bytes and time.

A case that is too large for the machine is skipped with a reason. Otherwise it would swap, be
killed or never end. The estimated bytes are lower bounds for any backend, so that no case is
skipped that would fit.
"""

import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.case.cases import Case
from bench.machine import devices
from bench.machine.reasons import Reason
from lstm_impl.processors import count_usable_cpus
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload, select_differentiated

_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}

LONGEST_STEP = 120.0
"""The longest estimated step, in seconds.

A case runs at least a dozen steps (the first call, the gate in float64 at half the speed, and six
samples), which then take half an hour.
"""

CPU_RATE, GPU_RATE = 2e10, 1e12
"""Operations per second of one processor, and of a GPU.

They are a fifth to a tenth of what a large float32 matrix product reaches (1e11 and 1e13), as is
usual for a recurrence of small products.
"""


@dataclass(frozen=True)
class Estimate:
    """What one step of a case needs.

    operations: the operations of its matrix products. weights, activations: the bytes that the
    device holds at once; in training with gradients and with what the backward pass needs. judge:
    the bytes of host memory that the gate needs in float64.
    """

    operations: float
    weights: int
    activations: int
    judge: int


@dataclass(frozen=True)
class Free:
    """What a machine can spare.

    A GPU counts with all its memory, because frameworks take all of it when they start.

    host_bytes: the free memory of the host, None if unknown. gpu_bytes: all memory of the GPU, None
    if unknown. processors: the number of usable processors.
    """

    host_bytes: int | None
    gpu_bytes: int | None
    processors: int


def estimate(spec: LSTMSpec, workload: Workload) -> Estimate:
    """Estimate one step. Only one window is in memory at a time."""
    training = workload.training
    steps = workload.batch * workload.timesteps
    at_once = workload.batch * (workload.window or workload.timesteps)
    kept, computed = _BYTES[spec.precision.variable], _BYTES[spec.precision.compute]
    outside = _outside(spec, workload)
    between = spec.output_size * (spec.num_layers - 1)
    # These are the gates and states of each layer except its output, and the outputs between
    # layers.
    if training:
        kept_values = len(spec.cell.gates) + len(spec.cell.states) - 1
        inside = kept_values * spec.output_size * spec.num_layers + between
    else:  # No more is kept than the output that the next layer reads.
        inside = min(between, spec.output_size)
    return Estimate(
        operations=operations(spec, workload),
        weights=kept * spec.parameter_count * (2 if training else 1),
        activations=computed * (outside * steps + inside * at_once),
        judge=8 * at_once * (outside + inside),
    )


def _outside(spec: LSTMSpec, workload: Workload) -> int:
    """Count the input and output numbers of a timestep.

    These are x and y, and in training also dy and possibly dx.
    """
    features = spec.input_size * (2 if "x" in _list_differentiated(workload) else 1)
    return features + spec.output_size * (2 if workload.training else 1)


def _list_differentiated(workload: Workload) -> tuple[str, ...]:
    """Return for which of the input x and the initial state h, c a step computes gradients."""
    return select_differentiated(workload.gradients, "x", "h", "c") if workload.training else ()


def operations(spec: LSTMSpec, workload: Workload) -> float:
    """Count the fewest multiplications and additions of the matrix products of one step.

    The forward pass uses a weight once for each sequence and valid timestep. Training uses it twice
    more: for the gradient of the input or state, and for the gradient of the weight. Gradients that
    are not requested do not count. These may be the gradient of the input (which uses the kernels
    of the first layer) and that of the initial state (which uses each recurrent kernel at the first
    timestep of a window).
    """
    biases = spec.num_directions * sum(
        math.prod(shape)
        for layer in range(spec.num_layers)
        for shape in spec.parameter_shapes(layer).values()
        if len(shape) == 1
    )
    weights = spec.parameter_count - biases
    uses = weights * (3 if workload.training else 1) * workload.valid_timesteps()
    if workload.training and "x" not in _list_differentiated(workload):
        first_kernels = spec.num_directions * spec.gate_columns * spec.input_size
        uses -= first_kernels * workload.valid_timesteps()
    if workload.training and "h" not in _list_differentiated(workload):
        recurrent = spec.gate_columns * spec.hidden_size * spec.state_layers
        windows = -(-workload.timesteps // (workload.window or workload.timesteps))
        uses -= recurrent * workload.batch * windows
    return 2.0 * uses


def least_bytes(spec: LSTMSpec, workload: Workload) -> int:
    """Count the bytes that one step must move between memory and processor with ideal caches.

    Each of these moves once: the weights; the valid part of input, output and masks; the states. In
    training these are added: the gradients of the output and the weights, and if requested those of
    the input and the states. An update moves the new weights instead of their gradients. Adam moves
    four more arrays of the size of the weights.
    """
    training = workload.training
    kept, computed = _BYTES[spec.precision.variable], _BYTES[spec.precision.compute]
    passes = (2 if training else 1) + (4 if workload.optimizer == "adam" else 0)
    outside = _outside(spec, workload)
    if workload.dropout and training:
        outside += (spec.num_layers - 1) * spec.output_size
    # The states before and after, and their gradients if requested.
    arrays = 2 * len(spec.cell.states) * (2 if "h" in _list_differentiated(workload) else 1)
    states = arrays * spec.state_layers * spec.hidden_size
    return kept * passes * spec.parameter_count + computed * (
        outside * workload.valid_timesteps() + states * workload.batch
    )


def free(device: str) -> Free:
    """Return what this machine can spare now for a case on a device."""
    host, limit = int(psutil.virtual_memory().available), cgroup_bytes()
    gpu = None
    if device != "cpu":
        with contextlib.suppress(Exception), devices.open_nvml() as nvml:
            handle = devices.gpu_handle(nvml, os.environ, device)
            if handle is not None:  # The handle is None for a part of a GPU.
                gpu = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    return Free(host if limit is None else min(host, limit), gpu, count_usable_cpus())


def cgroup_bytes(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes that the limit of a container leaves, or None without a limit.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    try:
        # Without a limit, the file contains "max".
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        # Pages of files that were read count as used, but the kernel can drop them.
        return max(0, limit - used + int(stat["inactive_file"]))
    except (OSError, ValueError, KeyError):
        return None


def too_large(case: Case, machine: Free) -> Reason | None:
    """Return why this machine cannot measure a case, or None if it can."""
    found = estimate(case.spec, case.workload)
    device_bytes = found.weights + found.activations
    on_cpu = case.device == "cpu"
    if not on_cpu and machine.gpu_bytes is not None and device_bytes > machine.gpu_bytes:
        values = {"needed": device_bytes, "device": case.device, "free": machine.gpu_bytes}
        return Reason("large_for_gpu", values)
    # On a CPU, the measured step and the judge compute one after the other.
    here = max(device_bytes, found.judge) if on_cpu else found.judge
    if machine.host_bytes is not None and here > machine.host_bytes:
        judge = not on_cpu or device_bytes != here
        free = machine.host_bytes
        return Reason("large_for_memory", {"needed": here, "judge": judge, "free": free})
    seconds = found.operations / (CPU_RATE * machine.processors if on_cpu else GPU_RATE)
    if seconds > LONGEST_STEP:
        minutes, limit = seconds / 60, LONGEST_STEP / 60
        values = {"operations": found.operations, "minutes": minutes, "limit": limit}
        return Reason("long_step", values)
    return None
