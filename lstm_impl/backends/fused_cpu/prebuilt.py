"""Find liblstm and its bindings compiled elsewhere, for machines without a compiler."""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import lstm_impl.private_files as private_files

FOLDER = "LSTM_NATIVE_PREBUILT"
"""The environment variable that names a folder of such libraries, where it is not the package's."""

PACKAGED = Path(__file__).resolve().parents[2] / "native" / "prebuilt"

CPUINFO = Path("/proc/cpuinfo")

_V3 = "avx avx2 bmi1 bmi2 f16c fma movbe"
_V4 = f"{_V3} avx512f avx512bw avx512cd avx512dq avx512vl"


@dataclass(frozen=True)
class CPUKind:
    """A kind of CPU.

    machine: its name by ``platform.machine()``. march: its name for a compiler, empty for any of
    that machine, as bindings are. features: its flags in Linux.
    """

    machine: str
    march: str = ""
    features: tuple[str, ...] = ()

    def problem(self) -> str:
        """Return why code for it cannot run here, or an empty string."""
        here = platform.machine()
        if here != self.machine:
            return f"this CPU is of another kind ({here})"
        missing = [each for each in self.features if each not in cpu_flags()]
        return f"this CPU has no {missing[0]}" if missing else ""


KINDS: Mapping[str, CPUKind] = {
    "x86-64-v4": CPUKind("x86_64", "x86-64-v4", tuple(_V4.split())),
    "x86-64-v3": CPUKind("x86_64", "x86-64-v3", tuple(_V3.split())),
    "aarch64": CPUKind("aarch64", "armv8-a"),
    "any_x86_64": CPUKind("x86_64"),
    "any_aarch64": CPUKind("aarch64"),
}
"""By name, the fastest first."""

_DISTRIBUTIONS = ("tensorflow", "tensorflow-cpu", "tf-nightly", "tf-nightly-cpu")

_NAME = re.compile(r"(.+?)-([^-]+)-([a-z0-9_-]+)-([0-9a-f]{16})\.so")


@dataclass(frozen=True)
class Product:
    """What is looked for: liblstm or a binding of these sources, for a version of ``needs``.

    sources: their digest. needs: in words, with ``version`` empty where it is not installed.
    """

    name: str
    needs: str
    version: str
    sources: str

    def file_name(self, cpu: str) -> str:
        """Return the name of its library for one of ``KINDS``."""
        return f"{self.name}-{self.version}-{cpu}-{self.sources}.so"


def digest(sources: Iterable[Path]) -> str:
    """Return a digest of files and their names, 16 hexadecimal digits."""
    found = hashlib.sha256()
    for source in sorted(sources, key=lambda path: path.name):
        found.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def digest_file(library: Path) -> Path:
    """Return the file next to a library that has its size and digest."""
    return library.with_name(library.name + ".sha256")


def described(library: Path) -> str:
    """Return a library's size in bytes and its SHA-256, as they are kept next to it."""
    with private_files.open_regular(library) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        return f"{os.fstat(file.fileno()).st_size} {found}\n"


def damage(library: Path) -> str:
    """Return why a library is not what was made, or an empty string."""
    try:
        if private_files.read_regular(digest_file(library), "ascii") == described(library):
            return ""
    except (OSError, UnicodeDecodeError) as error:
        return f"its size and digest cannot be read: {error}"
    return "its size or digest is not the recorded one"


@dataclass(frozen=True)
class FittingLibraries:
    """Libraries that fit this machine, the fastest first, and why others do not."""

    fitting: tuple[Path, ...]
    unfit: Mapping[str, str]

    def why_not(self) -> str:
        """Return why none fits, as the end of a sentence; empty if there are none."""
        if not self.unfit:
            return ""
        reasons = "; ".join(f"{name}: {why}" for name, why in self.unfit.items())
        return f"none of its prebuilt libraries can serve ({reasons})"


def look(product: Product, unloadable: Mapping[Path, str]) -> FittingLibraries:
    """Look for libraries of a product."""
    named = os.environ.get(FOLDER)
    folder = Path(named).absolute() if named else PACKAGED
    if not folder.is_dir():
        return FittingLibraries(
            (), {str(folder): f"there is no such folder ({FOLDER})"} if named else {}
        )
    # A user who can write the package's folder can also change this code.
    if named and (problem := private_files.problem(folder)):
        return FittingLibraries((), {FOLDER: problem})
    fitting: dict[str, Path] = {}
    unfit: dict[str, str] = {}
    for path in sorted(folder.glob("*.so")):
        found = _NAME.fullmatch(path.name)
        if found is not None and found[1] != product.name:
            continue
        if why := (
            unloadable.get(path)
            or _misfit(found, product)
            or (named and private_files.problem(path))
            or damage(path)
        ):
            unfit[path.name] = why
        else:
            fitting[parse_cpu(path)] = path
    return FittingLibraries(tuple(fitting[name] for name in KINDS if name in fitting), unfit)


def parse_cpu(path: Path) -> str:
    """Return the kind of CPU that a library is for, by its name."""
    found = _NAME.fullmatch(path.name)
    return found[3] if found else ""


def _misfit(found: re.Match[str] | None, product: Product) -> str:
    if found is None or found[3] not in KINDS:
        return "its name is not one that tools.native gives"
    if found[2] != product.version:
        return f"it is for {product.needs} {found[2]}, and this is {product.version or 'none'}"
    if found[4] != product.sources:
        return "it was made from other sources than these"
    return KINDS[found[3]].problem()


def installed_version(folder: Path | None = None) -> str:
    """Return the version of the installed TensorFlow, or of one unpacked in a folder; or ""."""
    path = sys.path if folder is None else [str(folder)]
    for name in _DISTRIBUTIONS:
        for found in importlib.metadata.distributions(name=name, path=path):
            return found.version
    return ""


_FFI = re.compile(r"define XLA_FFI_API_(?:MAJOR|MINOR) (\d+)")


def installed_ffi() -> str:
    """Return the version of XLA's interface for custom calls in the installed JAX, or ""."""
    found = importlib.util.find_spec("jaxlib")
    for place in (found and found.submodule_search_locations) or ():
        with contextlib.suppress(OSError):
            header = Path(place) / "include" / "xla" / "ffi" / "api" / "c_api.h"
            return ".".join(_FFI.findall(header.read_text(encoding="utf-8")))
    return ""


def cpu_flags() -> frozenset[str]:
    """Return the flags of the first processor in Linux, none where they cannot be read."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    names = ("flags", "Features")  # of x86, of aarch64
    flags = (line.partition(":")[2] for line in lines if line.startswith(names))
    return frozenset(next(flags, "").split())
