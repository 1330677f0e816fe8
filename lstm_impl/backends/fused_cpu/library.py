"""Compile liblstm and its bindings from ``lstm_impl/native`` on first use.

liblstm has all kernels, a C interface and no framework in it. The bindings of TensorFlow and JAX
link to it, so that a process has one copy, which is loaded before they are.
"""

import atexit
import contextlib
import ctypes
import functools
import hashlib
import importlib
import importlib.util
import io
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from platformdirs import user_cache_path

import lstm_impl.backends.fused_cpu.prebuilt as fused_cpu_prebuilt
import lstm_impl.private_files as private_files
from lstm_impl.availability import AVAILABLE, Availability, UnavailableError
from lstm_impl.backend import Backend
from lstm_impl.spec import LSTMSpec, Refusal
from lstm_impl.workload import Workload

logger = logging.getLogger(__name__)

SOURCES = Path(__file__).resolve().parents[2] / "native"

COMPILER = "CXX"
"""The environment variable that names the compiler, where it is not ``g++``."""

CACHE = "LSTM_NATIVE_CACHE"
"""The environment variable that names the folder of compiled libraries."""

VERSION = 4
"""Of liblstm's C interface."""

COMPUTES = ("float32", "bfloat16")
"""Types that the kernels read, write and keep; the sums are in float32 with both."""


def unsupported_type(dtype: str) -> str:
    """Return why the kernels cannot compute in a type, or an empty string."""
    return "" if dtype in COMPUTES else f"its kernels support {' and '.join(COMPUTES)}, not {dtype}"


@dataclass(frozen=True)
class Binding:
    """What calls the kernels from a framework, or liblstm itself.

    backend: its backend's id. framework: its package, empty for liblstm. product: the name of its
    library. sources: the C++ files, in ``SOURCES``, that are compiled; of liblstm all that no
    binding has. once_for: what a library serves, in words. headers: the files of ``SOURCES`` that
    the sources of a binding include.
    """

    backend: str
    framework: str
    product: str
    sources: tuple[str, ...]
    once_for: str
    headers: tuple[str, ...] = ("c_api.h",)

    @property
    def file(self) -> str:
        """The name of its library in the cache."""
        return f"{self.product}.so"

    def compiled(self) -> list[Path]:
        """Return the files that are compiled."""
        if self.sources:
            return [SOURCES / name for name in self.sources]
        others = {*TENSORFLOW.sources, *JAX.sources}
        return sorted(path for path in SOURCES.glob("*.cc") if path.name not in others)

    def digest(self) -> str:
        """Return a digest of all that is compiled into its library."""
        others = [SOURCES / name for name in self.headers]
        if not self.sources:
            own = {*TENSORFLOW.headers, *JAX.headers} - {*self.headers}
            headers = (path for path in SOURCES.glob("*.h") if path.name not in own)
            others = [*headers, SOURCES / EXPORTS]
        return fused_cpu_prebuilt.digest([*self.compiled(), *others])


EXPORTS = "liblstm.map"

TENSORFLOW = Binding(
    "fused_cpu",
    "tensorflow",
    "tensorflow_binding",
    ("ops.cc", "graph_optimizer.cc", "function_digest.cc"),
    "TensorFlow",
    ("c_api.h", "function_digest.h", "portable_digests.h"),
)
JAX = Binding("jax_fused_cpu", "jax", "jax_binding", ("jax_ffi.cc",), "JAX")
C = Binding("numpy_fused", "", "liblstm", (), "CPU")

HEADER = "include/tensorflow/core/framework/op_kernel.h"
"""In TensorFlow's folder, where it comes with its headers."""

INSTALL = "apt-get install g++"

NATIVE = "-march=native"

KERNEL_FLAGS = ("-std=c++17", "-O3", NATIVE, "-ffp-contract=fast", "-fno-trapping-math")
"""Of liblstm alone: what includes TensorFlow's headers is compiled for any CPU, so that no
inline function of theirs can take the place of TensorFlow's own copy of it. Products and sums
become one instruction; nothing is reordered, and NaN stays NaN."""

SHARED_FLAGS = (
    *("-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-fno-gnu-unique"),
    "-Wall",
)

LINK_FLAGS = ("-shared", "-Wl,-Bsymbolic")

NAME_FLAGS = (f"-Wl,-soname,liblstm.so.{VERSION}", "-Wl,-z,nodelete", "-pthread")
"""Of liblstm alone: bindings ask for that name, and its threads never end."""


@dataclass(frozen=True)
class Compiler:
    """A compiler on this machine, and its predefined macros."""

    path: str
    macros: Mapping[str, str]

    @property
    def version(self) -> str:
        """Its name and version, such as ``g++ 12.2.0``."""
        return f"{Path(self.path).name} {self.macros.get('__VERSION__', '').strip(chr(34))}"

    def problem(self) -> str:
        """Return why its output cannot be used here, or an empty string."""
        if "__x86_64__" in self.macros and "__FMA__" not in self.macros:
            return "this CPU has no FMA (x86-64-v3), which the kernels are written for"
        if self.macros.get("_GLIBCXX_USE_CXX11_ABI") != "1":
            return (
                f"{self.version} compiles for another C++ ABI than TensorFlow's (its standard "
                "library is not libstdc++, or has the old ABI of std::string); set CXX to a g++ "
                "with the ABI of 2011"
            )
        return ""


def _parts(binding: Binding) -> dict[Binding, None]:
    """Return what a binding consists of, liblstm first."""
    return dict.fromkeys((C, binding))


def available_to(binding: Binding) -> Availability:
    """Return whether there are libraries for a framework, or they can be compiled."""
    if binding in _loaded:
        return _loaded[binding][1]
    if sys.platform != "linux":
        return Availability(
            False, f"its kernels are compiled on Linux only, and this is {sys.platform}"
        )
    available = AVAILABLE
    for part in _parts(binding):
        for path in part.compiled() or [SOURCES / "kernels.cc"]:
            if not path.is_file():
                return Availability(False, f"its sources are not installed: {path}")
        prebuilt = _prebuilt(part)
        if not prebuilt.fitting:
            available = can_be_compiled(part)
            if not available and (why_not := prebuilt.why_not()):
                return replace(available, reason=f"{available.reason}; and {why_not}")
        elif part == C:
            cpu = fused_cpu_prebuilt.parse_cpu(prebuilt.fitting[0])
            available = Availability(True, f"it runs from a prebuilt library, for {cpu}")
        if not available:
            return available
    return available


def _require(binding: Binding) -> None:
    if not (available := available_to(binding)):
        raise UnavailableError(f"{binding.backend}: {available}")


class KernelBackend(Backend):
    """A backend that calls the kernels, through ``binding``."""

    binding: ClassVar[Binding]
    devices = ("cpu",)
    elsewhere = "its kernels are for a CPU"

    def tools(self, device: str) -> Availability:
        return available_to(self.binding)

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        return unsupported_type(spec.precision.compute) or super().refusal(spec, workload)


def product(binding: Binding, version: str | None = None) -> fused_cpu_prebuilt.Product:
    """Return what a prebuilt library must be, for the installed framework or another version."""
    if binding == TENSORFLOW:
        needs, version = "TensorFlow", version or fused_cpu_prebuilt.installed_version()
    elif binding == JAX:
        needs, version = "XLA's FFI", version or fused_cpu_prebuilt.installed_ffi()
    else:
        needs, version = "the C interface", version or str(VERSION)
    return fused_cpu_prebuilt.Product(binding.product, needs, version, binding.digest())


def _prebuilt(binding: Binding) -> fused_cpu_prebuilt.FittingLibraries:
    return fused_cpu_prebuilt.look(product(binding), _unloadable)


def can_be_compiled(binding: Binding) -> Availability:
    """Return whether this machine can compile the library."""
    if binding == TENSORFLOW:
        found = importlib.util.find_spec("tensorflow")
        places = found.submodule_search_locations if found is not None else None
        if places and not any((Path(place) / HEADER).is_file() for place in places):
            return Availability(False, f"this TensorFlow comes without its headers ({HEADER})")
    requested = find_compiler(os.environ.get(COMPILER) or "g++")
    if isinstance(requested, Availability):
        return requested
    if problem := requested.problem():
        return Availability(False, problem)
    return _failed.get((binding, requested.path), AVAILABLE)


_failed: dict[tuple[Binding, str], Availability] = {}
"""By compiler, the libraries that could not be made or loaded in this process."""


def _failure(part: Binding, requested: Binding, what: str, error: Exception) -> UnavailableError:
    """Remember that a library cannot be made or loaded, and return the error to raise."""
    reason = f"its library cannot be {what}: {error}"
    _failed[part, _compiler().path] = Availability(False, reason)
    return UnavailableError(f"{requested.backend}: {reason}")


_unloadable: dict[Path, str] = {}
"""Prebuilt libraries that this process could not load, and why."""


@functools.cache
def find_compiler(
    name: str, march: str = NATIVE, install: str = INSTALL
) -> Compiler | Availability:
    """Find a compiler for this CPU, or for ``march``. install: the command that installs it."""
    path = shutil.which(name)
    if path is None:
        reason = f"its kernels are compiled on first use, and there is no compiler {name}"
        return Availability(False, reason, install, Refusal.NO_COMPILER)
    command = [path, *kernel_flags(march), "-D_GLIBCXX_USE_CXX11_ABI=1"]
    command += ["-x", "c++", "-E", "-dM", "-"]
    try:
        done = subprocess.run(
            command, input="#include <string>\n", capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = f"the compiler {path} cannot be run: {error}"
        return Availability(False, reason, install, Refusal.NO_COMPILER)
    if done.returncode != 0:
        cpu = "this CPU" if march == NATIVE else march.removeprefix("-march=")
        reason = f"the compiler {path} cannot compile for {cpu}: {_gist(done.stderr)}"
        return Availability(False, reason, install, Refusal.NO_COMPILER)
    return Compiler(path, dict(re.findall(r"^#define (\S+) ?(.*)$", done.stdout, re.MULTILINE)))


def kernel_flags(march: str) -> list[str]:
    """Return ``KERNEL_FLAGS`` for another CPU, as in ``-march=armv8-a``."""
    return [march if each == NATIVE else each for each in KERNEL_FLAGS]


def _gist(words: str) -> str:
    """Return the first error of a compiler's output, in one line."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line]
    return (errors or lines or ["no message"])[0][:300]


# -- the library


def at_hand(binding: Binding) -> Path | None:
    """Return the library where it can be loaded without compiling it first, else None."""
    if not available_to(binding):
        return None
    if found := _prebuilt(binding).fitting:
        return found[0]
    path = _place(binding)
    return None if fused_cpu_prebuilt.damage(path) or private_files.problem(path) else path


def build(binding: Binding = TENSORFLOW, announce: bool = True) -> Path:
    """Return the library for this framework and CPU; compile it, and liblstm, if there is none.

    Raises UnavailableError where it can be neither found nor compiled.
    """
    _require(binding)
    made: Path | None = None
    for part in _parts(binding):
        if found := _prebuilt(part).fitting:
            made = found[0]
            continue
        try:
            made = _built(part, announce, made)
        except (ImportError, OSError, UnavailableError) as error:
            # The compiler, a damaged framework, or a folder that is not ours.
            raise _failure(part, binding, "made", error) from error
    assert made is not None  # there is a part
    return made


def _flags(binding: Binding) -> tuple[list[str], list[str]]:
    if binding == C:
        return [*KERNEL_FLAGS], []
    return tensorflow_flags() if binding == TENSORFLOW else jax_flags()


def jax_flags() -> tuple[list[str], list[str]]:
    """Return flags to compile and to link with for the installed JAX."""
    import jax

    return ["-O2", "-isystem", jax.ffi.include_dir()], []


_background: dict[Binding, threading.Thread] = {}
_compiling: set[subprocess.Popen[str]] = set()


def being_compiled(binding: Binding = TENSORFLOW) -> bool:
    """Return whether a thread is compiling the library; start it where there is none to load."""
    if binding not in (*_background, *_loaded) and _to_be_compiled(binding):
        logger.warning(
            "%s is being compiled in the background; until it is ready other code computes, also "
            "in graphs that are traced before. python -m lstm_impl.build compiles it ahead of time",
            binding.backend,
        )
        thread = threading.Thread(target=_try_to_build, args=[binding], daemon=True)
        atexit.register(_stop, thread)
        _background[binding] = thread
        thread.start()
    return binding in _background and _background[binding].is_alive()


def _to_be_compiled(binding: Binding) -> bool:
    if not available_to(binding):
        return False
    try:
        parts = [part for part in _parts(binding) if not _prebuilt(part).fitting]
        return not all(_place(part).exists() for part in parts)
    except OSError:  # the folder cannot be read: loading fails, and gives the reason
        return False


def _try_to_build(binding: Binding) -> None:
    with contextlib.suppress(UnavailableError):  # the first use raises it again
        build(binding, announce=False)


def _stop(thread: threading.Thread) -> None:
    """End a compilation with the process, so that the thread removes unfinished files."""
    for _ in range(100):
        for process in tuple(_compiling):
            process.kill()
        thread.join(0.1)
        if not thread.is_alive():
            return


def _compiler() -> Compiler:
    found = find_compiler(os.environ.get(COMPILER) or "g++")
    assert isinstance(found, Compiler)  # as availability has said
    return found


_loaded: dict[Binding, tuple[Any, Availability]] = {}
"""By binding, the library of this process, and what ``available_to`` says of it: to look for it
again, by the digest of its sources, takes longer than to build a small layer."""


def load(binding: Binding) -> Any:
    """Return a library of ctypes, or a module with TensorFlow's ops; compile it first, if need be.

    Raises UnavailableError where it cannot be compiled or loaded.
    """
    if binding not in _loaded:
        _loaded[binding] = _opened(binding), available_to(binding)
    return _loaded[binding][0]


def _opened(binding: Binding) -> Any:
    _require(binding)
    opener: Callable[[str], Any] = ctypes.CDLL
    errors: tuple[type[Exception], ...] = (OSError,)
    if binding == TENSORFLOW:
        import tensorflow as tf

        opener, errors = tf.load_op_library, (OSError, tf.errors.OpError)
    if binding != C:
        # The name that a binding asks for is then there. What is wrong is raised below.
        with contextlib.suppress(UnavailableError):
            load(C)
        _require(binding)
    for path in _prebuilt(binding).fitting:
        try:
            return opener(str(path))
        except errors as error:
            # Its system may be newer than this one; the next one or a compiler may do.
            _unloadable[path] = f"it cannot be loaded: {_gist(str(error))}"
    library = build(binding)
    try:
        try:
            return opener(str(library))
        except errors:  # made on another system, perhaps
            _remove(library)
            return opener(str(build(binding)))
    except errors as error:
        raise _failure(binding, binding, "loaded", error) from error


BEING_COMPILED = Availability(
    False,
    "it is being compiled; what is traced when it is ready has it",
    refusal=Refusal.BEING_COMPILED,
)


def ready(binding: Binding, load: Callable[[], object], instead: str) -> Availability:
    """Return whether the library is loaded; if there is none, compile it in the background.

    load: loads it, after compiling it if necessary. instead: what computes where it cannot.
    """
    return BEING_COMPILED if being_compiled(binding) else usable(binding, load, instead)


WHEEL = "docs/fused_cpu.md, Without a compiler, says how to use libraries that are compiled already"


@functools.cache
def usable(binding: Binding, load: Callable[[], object], instead: str) -> Availability:
    """Return whether the library is loaded; compile it first, if there is none.

    The first failure of a process is logged as a warning.

    load: loads it, after compiling it if necessary. instead: what computes where it cannot.
    """
    try:
        load()
    except UnavailableError as error:
        logger.warning("%s; %s in its place. %s", error, instead, WHEEL)
        return Availability(False, str(error).removeprefix(f"{binding.backend}: "))
    return AVAILABLE


def tensorflow_flags() -> tuple[list[str], list[str]]:
    """Return flags to compile and to link with for the installed TensorFlow."""
    import tensorflow as tf

    # As system headers, so that the compiler gives no warnings about them.
    flags = [
        flag.replace("-I", "-isystem", 1) if flag.startswith("-I") else flag
        for flag in tf.sysconfig.get_compile_flags()
    ]
    return ["-O2", *flags], list(tf.sysconfig.get_link_flags())


def _folder() -> Path:
    if named := os.environ.get(CACHE):
        return Path(named).absolute()
    path = user_cache_path("lstm-benchmark-suite") / "native"
    # Without a home directory "~" would become a folder of that name.
    return path if path.is_absolute() else _temporary_folder()


@functools.cache
def _temporary_folder() -> Path:
    """Make a folder that is deleted when this process ends, and not when a forked child does."""
    path, owner = Path(tempfile.mkdtemp(prefix="lstm-native-")), os.getpid()

    def delete() -> None:
        if os.getpid() == owner:
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(delete)
    return path


def _unwritable(folder: Path) -> str:
    """Return why no library can be written to a folder, or an empty string."""
    try:
        # The first that there is: the others are made in it.
        existing = next(each for each in (folder, *folder.parents) if each.exists())
    except OSError as error:
        return f"{folder} cannot be examined: {error.strerror}"
    if not existing.is_dir():
        return f"{existing} is not a folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} cannot be written by this user"
    return ""


@functools.cache
def _warn_of_temporary_folder(reason: str) -> None:
    logger.warning(
        "the cache of compiled libraries cannot be used: %s. This process compiles to a temporary "
        "folder, and the next one compiles again. Set %s to a folder that you can write",
        reason,
        CACHE,
    )


def _exists(path: Path) -> bool:
    """Return whether a file exists, and False where its folder cannot be read."""
    try:
        return path.exists()
    except OSError:
        return False


def key(compiler: Compiler, flags: Sequence[str], version: str, binding: Binding) -> str:
    """Return a name that changes with all that the library depends on."""
    digest = hashlib.sha256(binding.digest().encode() + b"\0")
    described = [version, *flags, *SHARED_FLAGS, *LINK_FLAGS, *NAME_FLAGS]
    described += [f"{name}={value}" for name, value in sorted(compiler.macros.items())]
    digest.update("\0".join(described).encode())
    return f"{binding.framework or binding.product}-{version}-{digest.hexdigest()[:16]}"


def _place(binding: Binding) -> Path:
    """Return where the library of this machine's compiler is kept."""
    framework = binding.framework
    version = importlib.import_module(framework).__version__ if framework else str(VERSION)
    flags, links = _flags(binding)
    name = Path(key(_compiler(), [*flags, *links], version, binding), binding.file)
    cached = _folder() / name
    if not _exists(cached) and (reason := _unwritable(_folder())):
        _warn_of_temporary_folder(reason)
        return _temporary_folder() / name
    return cached


def _built(binding: Binding, announce: bool, kernels: Path | None = None) -> Path:
    """Where the library is; compiled now, if it is not there, by one process at a time.

    kernels: the liblstm that a binding is linked to.
    """
    compiler, library = _compiler(), _place(binding)
    folder = library.parent
    if library.exists() and _unwritable(folder):  # an image may come with its libraries
        if not (problem := private_files.problem(library) or fused_cpu_prebuilt.damage(library)):
            return library
        raise UnavailableError(
            f"{problem}, and {_unwritable(folder)}; set {CACHE} to another folder"
        )
    for each in (folder.parent, folder):
        each.parent.mkdir(parents=True, exist_ok=True)
        each.mkdir(mode=0o700, exist_ok=True)
        if problem := private_files.problem(each):
            raise UnavailableError(f"{problem}, or set {CACHE} to a folder of your own")
    with _locked(folder / "lock"):
        if library.is_symlink() or library.exists():  # maybe of another process, just now
            problem = private_files.problem(library) or fused_cpu_prebuilt.damage(library)
            if not problem:
                return library
            logger.warning("%s is deleted and compiled again: %s", library, problem)
            _remove(library)
        line = f"lstm_impl: compiling {binding.product} with {compiler.version}, once for this"
        progress = sys.stderr if announce else io.StringIO()
        print(f"{line} {binding.once_for} ...", end="", file=progress, flush=True)
        started = time.monotonic()
        try:
            compile_library(compiler, *_flags(binding), library, binding, kernels)
        except UnavailableError:
            print(" failed", file=progress)
            raise
        print(f" {time.monotonic() - started:.0f} s", file=progress)
    return library


def _remove(library: Path) -> None:
    library.unlink(missing_ok=True)
    fused_cpu_prebuilt.digest_file(library).unlink(missing_ok=True)


_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


def _close_locks() -> None:
    """Close the locks of the parent in a forked process, which else would hold them as well."""
    for handle in _held:
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_locks)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl  # not where there is no Linux

    # Do not follow a link, wait for a pipe or truncate the file: another user may have made it.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path, flags, 0o600)
    _held.add(handle)
    try:
        if not private_files.is_regular(handle):
            raise UnavailableError(f"{path} {private_files.NOT_REGULAR}; delete it")
        fcntl.flock(handle, fcntl.LOCK_EX)  # gone with the process, however that ends
        yield
    finally:
        if handle in _held:
            _held.remove(handle)
            os.close(handle)


def compile_library(
    compiler: Compiler,
    flags: Sequence[str],
    links: Sequence[str],
    library: Path,
    binding: Binding,
    kernels: Path | None = None,
) -> None:
    """Compile the library to this path, with its digest next to it, linked to ``kernels``."""
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        objects = {source: f"{scratch}/{source.stem}.o" for source in binding.compiled()}
        base = [compiler.path, *SHARED_FLAGS, *flags, "-c"]
        _run(*([*base, str(source), "-o", made] for source, made in objects.items()))
        # A server without Python finds liblstm in the folder of a binding.
        named = [*NAME_FLAGS, f"-Wl,--version-script={SOURCES / EXPORTS}"]
        linked = named if kernels is None else [str(kernels), "-Wl,-rpath,$ORIGIN", *links]
        made = Path(scratch) / binding.file
        _run([compiler.path, *LINK_FLAGS, *objects.values(), *linked, "-o", str(made)])
        digest = Path(scratch) / "digest"
        digest.write_text(fused_cpu_prebuilt.described(made), encoding="ascii")
        for path in (digest, made):
            path.chmod(0o755 if path == made else 0o644)
            _flush(path)
        # The library last: with another digest it is compiled again and never loaded.
        digest.replace(fused_cpu_prebuilt.digest_file(library))
        made.replace(library)
        _flush(library.parent)


def _flush(path: Path) -> None:
    """Write a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _run(*commands: Sequence[str]) -> None:
    """Run commands in parallel. Raises UnavailableError with the error of the first that fails."""
    running = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    _compiling.update(running)
    said = [process.communicate()[1] for process in running]
    _compiling.difference_update(running)
    for process, words in zip(running, said, strict=True):
        if process.returncode != 0:
            raise UnavailableError(_gist(words))
