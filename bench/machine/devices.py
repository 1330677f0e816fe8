"""Parse the names of devices, and find which devices this machine has and why one is missing.

No framework is imported, because starting one takes seconds and it misreports GPUs if its own
libraries are missing. Instead, the driver or its files are queried.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bench.machine.fields import InputError
from bench.machine.reasons import Reason

Nvml: TypeAlias = Any
"""The initialised module ``pynvml`` (from nvidia-ml-py, which has no types)."""

_NAME = re.compile(r"(?P<kind>cpu|gpu)(:(?P<index>0|[1-9][0-9]{0,3}))?")


class DeviceError(InputError):
    """A name does not denote a device. The message says in one line what is expected."""


class NvmlError(RuntimeError):
    """NVIDIA's management library failed. The message says why, and what to do."""


def parse(text: str) -> str:
    """Return ``cpu`` or ``gpu:N`` (``gpu`` means ``gpu:0``). Raise DeviceError for other text."""
    match = _NAME.fullmatch(text.strip().lower())
    if match is None or (match["kind"] == "cpu" and match["index"] not in (None, "0")):
        hint = "; TensorFlow's GPU:0 is gpu:0 here" if re.search("cuda|xla|rocm|tpu", text) else ""
        raise DeviceError(f"{text!r} is not a device; expected cpu or gpu:N, such as gpu:0{hint}")
    return "cpu" if match["kind"] == "cpu" else f"gpu:{match['index'] or 0}"


def kind(device: str) -> str:
    """Return ``cpu`` or ``gpu``."""
    return parse(device).partition(":")[0]


def gpu_index(device: str) -> int:
    """Return the N of ``gpu:N``. Raise DeviceError if the device is not a GPU."""
    name, _, index = parse(device).partition(":")
    if name != "gpu":
        raise DeviceError(f"{device!r} is not a GPU; expected gpu:N, such as gpu:0")
    return int(index)


@dataclass(frozen=True)
class GpuFacts:
    """The GPUs of this machine.

    installed: how many GPUs the driver has. visible: how many of them CUDA programs may use.
    hidden_by: the value of CUDA_VISIBLE_DEVICES if it hides some. hardware: whether an NVIDIA GPU
    is on the PCI bus, with or without a driver. driver: whether the kernel has loaded NVIDIA's
    driver. container: whether this process runs in a container. problem: the error of the
    management library if it is installed but failed, or else empty.
    """

    installed: int = 0
    visible: int = 0
    hidden_by: str | None = None
    hardware: bool = False
    driver: bool = False
    container: bool = False
    problem: str = ""


def import_nvml() -> Nvml:
    """Return the module, not initialised. Raise NvmlError if it is not installed."""
    try:
        import pynvml
    except ImportError:
        raise NvmlError("nvidia-ml-py is not installed; pip install nvidia-ml-py") from None
    return pynvml


@contextmanager
def open_nvml(load: Callable[[], Nvml] = import_nvml) -> Iterator[Nvml]:
    """Yield the initialised library of NVIDIA's driver. Raise NvmlError if it fails."""
    nvml = load()
    try:
        nvml.nvmlInit()
    except Exception as error:
        # The library creates its error classes at run time.
        raise NvmlError(f"NVIDIA's driver does not answer: {error}") from error
    try:
        yield nvml
    finally:
        with contextlib.suppress(Exception):  # Nothing depends on the shutdown.
            nvml.nvmlShutdown()


def gpu_facts(
    root: Path = Path("/"),
    environ: Mapping[str, str] = os.environ,
    load_nvml: Callable[[], Nvml] = import_nvml,
) -> GpuFacts:
    """Return the GPUs of the machine whose ``dev``, ``proc`` and ``sys`` are below ``root``."""
    places = ("proc/driver/nvidia/version", "dev/nvidiactl")
    driver = any((root / place).exists() for place in places)
    problem = ""
    uuids: list[str] = []
    try:
        with open_nvml(load_nvml) as nvml:
            uuids = gpu_uuids(nvml)
        installed = len(uuids)
    except Exception as error:
        files = [*root.glob("dev/nvidia[0-9]*")] or [*root.glob("proc/driver/nvidia/gpus/*")]
        installed = len(files)
        # Without the package or a driver, the error of the library does not help.
        problem = str(error) if driver and "not installed" not in str(error) else ""
    setting = environ.get("CUDA_VISIBLE_DEVICES")
    visible = len(visible_gpus(setting, installed, uuids))
    return GpuFacts(
        installed=installed,
        visible=visible,
        hidden_by=setting if visible < installed else None,
        hardware=_is_on_the_bus(root) or driver or installed > 0,
        driver=driver or installed > 0,
        container=container(root, environ) is not None,
        problem=problem,
    )


def visible_gpus(setting: str | None, installed: int, uuids: list[str]) -> list[int | None]:
    """Return the driver's number of each GPU that CUDA shows, in CUDA's order.

    A part of a GPU gives None. As in CUDA, the list ends at the first invalid entry.

    setting: the value of CUDA_VISIBLE_DEVICES, None if unset. uuids: those of the installed GPUs,
    if known.
    """
    if setting is None:
        return list(range(installed))
    found: list[int | None] = []
    for entry in (part.strip() for part in setting.split(",")):
        if entry.isdigit() and int(entry) < installed:
            found.append(int(entry))
        elif entry.startswith(("GPU-", "MIG-")) and installed:
            places = [index for index, uuid in enumerate(uuids) if uuid.startswith(entry)]
            found.append(places[0] if places else None)
        else:
            break
    return found


def visible_here(nvml: Nvml, environ: Mapping[str, str]) -> list[int | None]:
    """Return ``visible_gpus`` for this machine."""
    uuids = gpu_uuids(nvml)
    return visible_gpus(environ.get("CUDA_VISIBLE_DEVICES"), len(uuids), uuids)


def gpu_handle(nvml: Nvml, environ: Mapping[str, str], device: str) -> object:
    """Return NVML's handle of ``gpu:N``, or None for a part of a GPU."""
    number = visible_here(nvml, environ)[gpu_index(device)]
    return None if number is None else nvml.nvmlDeviceGetHandleByIndex(number)


def list_devices(facts: GpuFacts | None = None) -> list[str]:
    """Return ``cpu`` and every GPU that CUDA may use."""
    facts = gpu_facts() if facts is None else facts
    return ["cpu", *(f"gpu:{index}" for index in range(facts.visible))]


def list_missing(names: Iterable[str]) -> list[str]:
    """Return the distinct devices that cannot be used here."""
    return [name for name in dict.fromkeys(names) if explain_missing(name)]


def explain_missing(device: str, facts: GpuFacts | None = None) -> Reason | None:
    """Return why a device cannot be used on this machine, or None if it can.

    device: ``cpu`` or ``gpu:N``. facts: what is known about the GPUs; None looks for them. Raises
    DeviceError if ``device`` does not denote a device.
    """
    if kind(device) == "cpu":
        return None
    index = gpu_index(device)
    facts = gpu_facts() if facts is None else facts
    if index < facts.visible:
        return None
    visible, installed = facts.visible, facts.installed
    if facts.hidden_by is not None and (index < installed or not visible):
        values = {"variable": facts.hidden_by, "visible": visible, "installed": installed}
        return Reason("gpu_hidden", {"device": device, **values})
    if visible:
        names = "gpu:0" if visible == 1 else f"gpu:0 to gpu:{visible - 1}"
        return Reason("gpu_absent", {"device": device, "visible": visible, "names": names})
    if facts.problem:
        return Reason("gpu_problem", {"device": device, "problem": facts.problem})
    causes = {
        "gpu_not_shown": facts.driver,
        "gpu_without_driver": facts.hardware,
        "gpu_outside_container": facts.container,
    }
    code = next((code for code, is_so in causes.items() if is_so), "no_gpu")
    return Reason(code, {"device": device})


_CONTAINER_FILES = {".dockerenv": "docker", "run/.containerenv": "podman"}
_CONTAINER_VARIABLES = {
    "KUBERNETES_SERVICE_HOST": "kubernetes",
    "APPTAINER_CONTAINER": "apptainer",
    "SINGULARITY_CONTAINER": "apptainer",
}


def container(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the kind of this container (docker, podman, ...), or None outside of containers."""
    found = [kind for place, kind in _CONTAINER_FILES.items() if (root / place).exists()]
    found += [kind for name, kind in _CONTAINER_VARIABLES.items() if name in environ]
    with contextlib.suppress(OSError, UnicodeDecodeError):
        groups = (root / "proc/1/cgroup").read_text()
        kinds = ("docker", "kubepods", "containerd", "lxc")
        found += [kind for kind in kinds if f"/{kind}" in groups]
    return next(iter(found), environ.get("container") or None)


def gpu_uuids(nvml: Nvml) -> list[str]:
    """Return the names that CUDA_VISIBLE_DEVICES may use for the GPUs."""
    handles = map(nvml.nvmlDeviceGetHandleByIndex, range(int(nvml.nvmlDeviceGetCount())))
    return [decode_text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]


def decode_text(text: str | bytes) -> str:
    """Return text from NVML, which older versions return as bytes."""
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _is_on_the_bus(root: Path) -> bool:
    for place in root.glob("sys/bus/pci/devices/*"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            # These are NVIDIA's vendor number, and the PCI classes of displays and accelerators.
            nvidia = (place / "vendor").read_text().strip() == "0x10de"
            if nvidia and (place / "class").read_text().startswith(("0x03", "0x12")):
                return True
    return False
