"""Find liblstm and its bindings that were compiled elsewhere, for machines without a compiler."""

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
"""The environment variable that names a folder of such libraries in place of the package's own."""

PACKAGED = Path(__file__).resolve().parents[2] / "native" / "prebuilt"
"""The folder of prebuilt libraries in this package."""

CPUINFO = Path("/proc/cpuinfo")
"""The file in which Linux describes the processors."""

_V3 = "avx avx2 bmi1 bmi2 f16c fma movbe"
_V4 = f"{_V3} avx512f avx512bw avx512cd avx512dq avx512vl"


@dataclass(frozen=True)
class CPUKind:
    """Describe a kind of CPU.

    Attributes
    ----------
    machine
        The name that ``platform.machine()`` returns.
    march
        The name that compilers use. It is empty for code that runs on any CPU of that machine, such
        as a binding.
    features
        The flags that Linux must list for the CPU.
    """

    machine: str
    march: str = ""
    features: tuple[str, ...] = ()

    def problem(self) -> str:
        """Return why code for this kind of CPU cannot run on this machine, or an empty string."""
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
"""The kinds of CPUs by name, with the fastest first."""

_DISTRIBUTIONS = ("tensorflow", "tensorflow-cpu", "tf-nightly", "tf-nightly-cpu")

_NAME = re.compile(r"(.+?)-([^-]+)-([a-z0-9_-]+)-([0-9a-f]{16})\.so")


@dataclass(frozen=True)
class Product:
    """Describe the library to look for: liblstm or a binding, for a version of what it needs.

    Attributes
    ----------
    name
        The name of the library.
    needs
        What the library needs, in words.
    version
        The version of that. It is empty if that is not installed.
    sources
        The digest of the sources.
    """

    name: str
    needs: str
    version: str
    sources: str

    def file_name(self, cpu: str) -> str:
        """Return the file name of the library for one of ``KINDS``."""
        return f"{self.name}-{self.version}-{cpu}-{self.sources}.so"


def digest(sources: Iterable[Path]) -> str:
    """Return a digest of files and of their names, as 16 hexadecimal digits."""
    found = hashlib.sha256()
    for source in sorted(sources, key=lambda path: path.name):
        found.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def digest_file(library: Path) -> Path:
    """Return the file next to a library that holds its size and digest."""
    return library.with_name(library.name + ".sha256")


def described(library: Path) -> str:
    """Return a library's size in bytes and its SHA-256, as the file next to it holds them."""
    with private_files.open_regular(library) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        return f"{os.fstat(file.fileno()).st_size} {found}\n"


def damage(library: Path) -> str:
    """Return why a library is not what was compiled, or an empty string."""
    try:
        if private_files.read_regular(digest_file(library), "ascii") == described(library):
            return ""
    except (OSError, UnicodeDecodeError) as error:
        return f"the file with its size and digest cannot be read: {error}"
    return "its size or digest differs from the recorded one"


@dataclass(frozen=True)
class FittingLibraries:
    """Hold the libraries that fit this machine, the fastest first, and why others do not fit."""

    fitting: tuple[Path, ...]
    unfit: Mapping[str, str]

    def why_not(self) -> str:
        """Return why no library fits, as the end of a sentence.

        The text is empty if there are no libraries at all.
        """
        if not self.unfit:
            return ""
        reasons = "; ".join(f"{name}: {why}" for name, why in self.unfit.items())
        return f"none of its prebuilt libraries can serve ({reasons})"


def look(product: Product, unloadable: Mapping[Path, str]) -> FittingLibraries:
    """Look for prebuilt libraries of a product."""
    named = os.environ.get(FOLDER)
    folder = Path(named).absolute() if named else PACKAGED
    if not folder.is_dir():
        return FittingLibraries(
            (), {str(folder): f"this folder does not exist ({FOLDER})"} if named else {}
        )
    # The package's own folder is not checked. Anyone who can write to it can also change this code.
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
    """Return the kind of CPU for which a library was compiled, from the name of its file."""
    found = _NAME.fullmatch(path.name)
    return found[3] if found else ""


def _misfit(found: re.Match[str] | None, product: Product) -> str:
    """Return why a library does not fit this machine, or an empty string."""
    if found is None or found[3] not in KINDS:
        return "its name does not have the form that tools.native gives"
    if found[2] != product.version:
        return f"it needs {product.needs} {found[2]}, and here is {product.version or 'none'}"
    if found[4] != product.sources:
        return "it was compiled from other sources"
    return KINDS[found[3]].problem()


def installed_version(folder: Path | None = None) -> str:
    """Return the version of the installed TensorFlow, or of one in a folder, or an empty string."""
    path = sys.path if folder is None else [str(folder)]
    for name in _DISTRIBUTIONS:
        for found in importlib.metadata.distributions(name=name, path=path):
            return found.version
    return ""


_FFI = re.compile(r"define XLA_FFI_API_(?:MAJOR|MINOR) (\d+)")


def installed_ffi() -> str:
    """Return the version of XLA's custom-call interface in the installed JAX, or nothing."""
    found = importlib.util.find_spec("jaxlib")
    for place in (found and found.submodule_search_locations) or ():
        with contextlib.suppress(OSError):
            header = Path(place) / "include" / "xla" / "ffi" / "api" / "c_api.h"
            return ".".join(_FFI.findall(header.read_text(encoding="utf-8")))
    return ""


def cpu_flags() -> frozenset[str]:
    """Return the flags that Linux lists for the first processor, or none."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    names = ("flags", "Features")  # x86 has the first name, and aarch64 the second.
    flags = (line.partition(":")[2] for line in lines if line.startswith(names))
    return frozenset(next(flags, "").split())
