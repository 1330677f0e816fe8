"""Compile liblstm and its bindings from ``lstm_impl/native`` on first use.

liblstm holds all kernels and a C interface, and uses no framework. The bindings of TensorFlow and
JAX link to it. A process therefore has one copy of the kernels, which is loaded before the
bindings.
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
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import lstm_impl.backends.fused_cpu.prebuilt as fused_cpu_prebuilt
import lstm_impl.private_files as private_files
from lstm_impl.availability import AVAILABLE, Availability, UnavailableError
from lstm_impl.backend import Backend
from lstm_impl.processors import count_usable_cpus
from lstm_impl.spec import LSTMSpec, Refusal, RefusalReason
from lstm_impl.user_folders import find_cache_folder
from lstm_impl.workload import Workload

logger = logging.getLogger(__name__)

SOURCES = Path(__file__).resolve().parents[2] / "native"
"""The folder of the C++ sources."""

COMPILER = "CXX"
"""The environment variable that names the compiler to use in place of ``g++``."""

CACHE = "LSTM_NATIVE_CACHE"
"""The environment variable that names the folder of compiled libraries."""

VERSION = 6
"""The version of liblstm's C interface."""

COMPUTES = ("float32", "bfloat16")
"""The types that the kernels read, write and keep. With both, sums are float32."""


def unsupported_type(dtype: str) -> str:
    """Return why the kernels cannot compute in a type, or an empty string."""
    if dtype in COMPUTES:
        return ""
    text = f"its kernels support {' and '.join(COMPUTES)}, not {dtype}"
    return RefusalReason(text, Refusal.NO_DTYPE)


@dataclass(frozen=True)
class Binding:
    """Describe what calls the kernels from a framework, or liblstm itself.

    Attributes
    ----------
    backend
        The id of its backend.
    framework
        The package of the framework; empty for liblstm.
    product
        The name of its library.
    sources
        The C++ files in ``SOURCES`` that are compiled. For liblstm this is empty, which means all
        files that no binding has.
    once_for
        What one library serves, in words for the progress line.
    headers
        The files in ``SOURCES`` that the sources of a binding include.
    """

    backend: str
    framework: str
    product: str
    sources: tuple[str, ...]
    once_for: str
    headers: tuple[str, ...] = ("c_api.h",)

    @property
    def file(self) -> str:
        """The file name of its library in the cache."""
        return f"{self.product}.so"

    def compiled(self) -> list[Path]:
        """Return the files that are compiled."""
        if self.sources:
            return [SOURCES / name for name in self.sources]
        others = {*TENSORFLOW.sources, *JAX.sources}
        return sorted(path for path in SOURCES.glob("*.cc") if path.name not in others)

    def digest(self) -> str:
        """Return a digest of everything that is compiled into its library."""
        others = [SOURCES / name for name in self.headers]
        if not self.sources:
            own = {*TENSORFLOW.headers, *JAX.headers} - {*self.headers}
            headers = (path for path in SOURCES.glob("*.h") if path.name not in own)
            others = [*headers, SOURCES / EXPORTS]
        return fused_cpu_prebuilt.digest([*self.compiled(), *others])


EXPORTS = "liblstm.map"
"""The file that lists the symbols that liblstm exports."""

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
"""The path of a header in TensorFlow's folder. Where it exists, TensorFlow came with its headers.
"""

INSTALL = "apt-get install g++"
"""The command that installs a compiler on Debian."""

NATIVE = "-march=native"
"""The compiler flag for the CPU of this machine."""

ONE_CPU = "-DLSTM_IMPL_ONE_CPU"
"""The compiler flag that leaves out code for instructions that the CPU of ``NATIVE`` lacks. A
library for many CPUs contains such code and asks the CPU before it uses it."""

KERNEL_FLAGS = ("-std=c++17", "-O3", NATIVE, ONE_CPU, "-ffp-contract=fast", "-fno-trapping-math")
"""The flags for liblstm only. Code that includes TensorFlow's headers is compiled for any CPU, so
that no inline function of those headers can replace TensorFlow's own copy. A product and a sum
become one instruction, but nothing is reordered, and NaN stays NaN."""

SHARED_FLAGS = (
    *("-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-fno-gnu-unique"),
    "-Wall",
)
"""The flags for all sources. Hidden symbols and no unique ones keep a process's libraries apart."""

LINK_FLAGS = ("-shared", "-Wl,-Bsymbolic")

NAME_FLAGS = (f"-Wl,-soname,liblstm.so.{VERSION}", "-Wl,-z,nodelete", "-pthread")
"""The flags for liblstm only. Bindings ask for that name, and the library must stay loaded because
its threads never end."""


@dataclass(frozen=True)
class Compiler:
    """Hold a compiler of this machine and its predefined macros."""

    path: str
    macros: Mapping[str, str]

    @property
    def version(self) -> str:
        """The name and version of the compiler, such as ``g++ 12.2.0``."""
        return f"{Path(self.path).name} {self.macros.get('__VERSION__', '').strip(chr(34))}"

    def problem(self) -> str:
        """Return why the compiler's output cannot be used here, or an empty string."""
        if "__x86_64__" in self.macros and "__FMA__" not in self.macros:
            return (
                "this CPU has no FMA instructions (x86-64-v3), which the kernels need; use another "
                "backend"
            )
        if self.macros.get("_GLIBCXX_USE_CXX11_ABI") != "1":
            return (
                f"{self.version} compiles for another C++ ABI than TensorFlow: its standard "
                "library is not libstdc++, or has the old ABI of std::string. Set CXX to a g++ "
                "with the ABI of 2011"
            )
        return ""


def _parts(binding: Binding) -> dict[Binding, None]:
    """Return the libraries that a binding consists of, with liblstm first."""
    return dict.fromkeys((C, binding))


def available_to(binding: Binding) -> Availability:
    """Return whether the libraries for a framework exist or can be compiled."""
    if binding in _loaded:
        return _loaded[binding][1]
    if sys.platform != "linux":
        return Availability(
            False, f"its kernels are compiled only on Linux, and this system is {sys.platform}"
        )
    available = AVAILABLE
    for part in _parts(binding):
        for path in part.compiled() or [SOURCES / "kernels.cc"]:
            if not path.is_file():
                return Availability(False, f"its sources are not installed: {path} is missing")
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
    """Raise UnavailableError if the libraries of a binding neither exist nor can be compiled."""
    if not (available := available_to(binding)):
        raise UnavailableError(
            f"{binding.backend}: {available}", available.refusal, reason=str(available)
        )


class KernelBackend(Backend):
    """Call the kernels through a binding."""

    binding: ClassVar[Binding]
    devices = ("cpu",)
    elsewhere = "its kernels run on a CPU only"

    def tools(self, device: str) -> Availability:
        return available_to(self.binding)

    def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
        return unsupported_type(spec.precision.compute) or super().refusal(spec, workload)


def product(binding: Binding, version: str | None = None) -> fused_cpu_prebuilt.Product:
    """Describe the prebuilt library to look for, for the installed framework or another version."""
    if binding == TENSORFLOW:
        needs, version = "TensorFlow", version or fused_cpu_prebuilt.installed_version()
    elif binding == JAX:
        needs, version = "XLA's FFI", version or fused_cpu_prebuilt.installed_ffi()
    else:
        needs, version = "the C interface", version or str(VERSION)
    return fused_cpu_prebuilt.Product(binding.product, needs, version, binding.digest())


def _prebuilt(binding: Binding) -> fused_cpu_prebuilt.FittingLibraries:
    """Look for prebuilt libraries of a binding that fit this machine."""
    return fused_cpu_prebuilt.look(product(binding), _unloadable)


def can_be_compiled(binding: Binding) -> Availability:
    """Return whether this machine can compile the library."""
    if binding == TENSORFLOW:
        found = importlib.util.find_spec("tensorflow")
        places = found.submodule_search_locations if found is not None else None
        if places and not any((Path(place) / HEADER).is_file() for place in places):
            return Availability(
                False, f"this TensorFlow comes without its headers ({HEADER} is missing)"
            )
    requested = find_compiler(os.environ.get(COMPILER) or "g++")
    if isinstance(requested, Availability):
        return requested
    if problem := requested.problem():
        return Availability(False, problem)
    return _failed.get((binding, requested.path), AVAILABLE)


_failed: dict[tuple[Binding, str], Availability] = {}
"""The libraries that could not be compiled or loaded in this process, by the compiler used."""


def _failure(part: Binding, requested: Binding, what: str, error: Exception) -> UnavailableError:
    """Remember that a library cannot be compiled or loaded, and return the error to raise."""
    reason = f"its library cannot be {what}: {error}"
    _failed[part, _compiler().path] = Availability(False, reason)
    return UnavailableError(f"{requested.backend}: {reason}", reason=reason)


_unloadable: dict[Path, str] = {}
"""The prebuilt libraries that this process could not load, with the reasons."""


@functools.cache
def find_compiler(
    name: str, march: str = NATIVE, install: str = INSTALL
) -> Compiler | Availability:
    """Find a compiler for this CPU or for the one that ``march`` names.

    ``install`` is the command that would install the compiler. If the compiler is missing or does
    not work, the result says why.
    """
    path = shutil.which(name)
    if path is None:
        reason = f"its kernels are compiled on first use, and the compiler {name} is not installed"
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
    """Return ``KERNEL_FLAGS`` for other CPUs, such as ``-march=armv8-a``."""
    if march == NATIVE:
        return list(KERNEL_FLAGS)
    return [march if each == NATIVE else each for each in KERNEL_FLAGS if each != ONE_CPU]


def _gist(words: str) -> str:
    """Return the first error of a compiler's output in one line."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line]
    return (errors or lines or ["no message"])[0][:300]


# -- the library


def find_compiled(binding: Binding) -> Path | None:
    """Return the library if it can be loaded without compiling it first, else None."""
    if not available_to(binding):
        return None
    if found := _prebuilt(binding).fitting:
        return found[0]
    path = _place(binding)
    return None if fused_cpu_prebuilt.damage(path) or private_files.problem(path) else path


def build(binding: Binding = TENSORFLOW, announce: bool = True) -> Path:
    """Return the library for a framework and this CPU, and compile it and liblstm if necessary.

    Raises
    ------
    UnavailableError
        If the library can be neither found nor compiled.
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
            # The compiler failed, the framework is damaged, or the folder belongs to another user.
            raise _failure(part, binding, "made", error) from error
    assert made is not None  # A binding has at least one part.
    return made


def _flags(binding: Binding) -> tuple[list[str], list[str]]:
    """Return the flags with which a binding is compiled and linked."""
    if binding == C:
        return [*KERNEL_FLAGS], []
    return tensorflow_flags() if binding == TENSORFLOW else jax_flags()


def jax_flags() -> tuple[list[str], list[str]]:
    """Return the flags with which code for the installed JAX is compiled and linked."""
    import jax

    return ["-O2", "-isystem", jax.ffi.include_dir()], []


_background: dict[Binding, threading.Thread] = {}
"""The thread that compiles each binding in the background."""
_compiling: set[subprocess.Popen[str]] = set()
"""The processes of compilers that run now."""


def being_compiled(binding: Binding = TENSORFLOW) -> bool:
    """Return whether a thread compiles the library. Start one if there is no library."""
    if binding not in (*_background, *_loaded) and _must_compile(binding):
        logger.warning(
            "%s is being compiled in the background. Until it is ready, other code computes, also "
            "in graphs that are traced before then. python -m lstm_impl.build compiles it ahead",
            binding.backend,
        )
        thread = threading.Thread(target=_try_to_build, args=[binding], daemon=True)
        atexit.register(_stop, thread)
        _background[binding] = thread
        thread.start()
    return binding in _background and _background[binding].is_alive()


def _must_compile(binding: Binding) -> bool:
    """Return whether a library of a binding has to be compiled, and can be."""
    if not available_to(binding):
        return False
    try:
        parts = [part for part in _parts(binding) if not _prebuilt(part).fitting]
        return not all(_place(part).exists() for part in parts)
    except OSError:  # The folder cannot be read. Loading the library fails too, and says why.
        return False


def _try_to_build(binding: Binding) -> None:
    with contextlib.suppress(UnavailableError):  # The first use raises the error again.
        build(binding, announce=False)


def _stop(thread: threading.Thread) -> None:
    """Stop a compilation when the process ends, so that the thread removes unfinished files."""
    for _ in range(100):
        for process in tuple(_compiling):
            process.kill()
        thread.join(0.1)
        if not thread.is_alive():
            return


def _compiler() -> Compiler:
    """Return the compiler, which ``available_to`` has found before."""
    found = find_compiler(os.environ.get(COMPILER) or "g++")
    assert isinstance(found, Compiler)
    return found


_loaded: dict[Binding, tuple[Any, Availability]] = {}
"""The library that this process has loaded for each binding, and what ``available_to`` says of it.
Looking for it again by the digest of its sources takes longer than building a small layer."""


def load(binding: Binding) -> Any:
    """Return the loaded library of a binding, and compile it first if necessary.

    Returns
    -------
    Any
        A library of ctypes, or a module with TensorFlow's ops.

    Raises
    ------
    UnavailableError
        If the library cannot be compiled or loaded.
    """
    if binding not in _loaded:
        _loaded[binding] = _opened(binding), available_to(binding)
    return _loaded[binding][0]


def _opened(binding: Binding) -> Any:
    """Load the library of a binding, from a prebuilt file if one fits."""
    _require(binding)
    opener: Callable[[str], Any] = ctypes.CDLL
    errors: tuple[type[Exception], ...] = (OSError,)
    if binding == TENSORFLOW:
        import tensorflow as tf

        opener, errors = tf.load_op_library, (OSError, tf.errors.OpError)
    if binding != C:
        # A binding asks for liblstm by name, which is loaded after this. If that fails, the error
        # is raised below, with the reason.
        with contextlib.suppress(UnavailableError):
            load(C)
        _require(binding)
    for path in _prebuilt(binding).fitting:
        try:
            return opener(str(path))
        except errors as error:
            # The library may have been made on a newer system. The next one or a compiler may do.
            _unloadable[path] = f"it cannot be loaded: {_gist(str(error))}"
    library = build(binding)
    try:
        try:
            return opener(str(library))
        except errors:  # The library may have been made on another system, so it is made again.
            _remove(library)
            return opener(str(build(binding)))
    except errors as error:
        raise _failure(binding, binding, "loaded", error) from error


BEING_COMPILED = Availability(
    False,
    "it is being compiled; what is traced when it is ready has it",
    refusal=Refusal.BEING_COMPILED,
)
"""The availability of a backend while a thread compiles its library."""


def ready(binding: Binding, load: Callable[[], object], instead: str) -> Availability:
    """Return whether the library is loaded, and compile it in the background if there is none.

    Parameters
    ----------
    binding
        The binding.
    load
        A function that loads the library, after compiling it if necessary.
    instead
        What computes if the library cannot be loaded, for the warning.
    """
    return BEING_COMPILED if being_compiled(binding) else usable(binding, load, instead)


WHEEL = 'docs/fused_cpu.md, "Without a compiler", says how to use libraries compiled elsewhere'
"""The end of the warning that a library cannot be used."""


@functools.cache
def usable(binding: Binding, load: Callable[[], object], instead: str) -> Availability:
    """Return whether the library is loaded, and compile it first if there is none.

    The first failure in a process is logged as a warning. The parameters are those of ``ready``.
    """
    try:
        load()
    except UnavailableError as error:
        logger.warning("%s; %s in its place. %s", error, instead, WHEEL)
        return Availability(False, error.reason, refusal=error.refusal)
    return AVAILABLE


def tensorflow_flags() -> tuple[list[str], list[str]]:
    """Return the flags with which code for the installed TensorFlow is compiled and linked."""
    import tensorflow as tf

    # The compiler gives no warnings about headers that it takes as system headers.
    flags = [
        flag.replace("-I", "-isystem", 1) if flag.startswith("-I") else flag
        for flag in tf.sysconfig.get_compile_flags()
    ]
    return ["-O2", *flags], list(tf.sysconfig.get_link_flags())


def _folder() -> Path:
    """Return the folder of compiled libraries."""
    if named := os.environ.get(CACHE):
        return Path(named).absolute()
    path = find_cache_folder() / "native"
    # Without a home directory, the path begins with "~", which would become a folder of that name.
    return path if path.is_absolute() else _temporary_folder()


@functools.cache
def _temporary_folder() -> Path:
    """Create a folder that is deleted when this process ends, but not when a forked child ends."""
    path, owner = Path(tempfile.mkdtemp(prefix="lstm-native-")), os.getpid()

    def delete() -> None:
        if os.getpid() == owner:
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(delete)
    return path


def _unwritable(folder: Path) -> str:
    """Return why no library can be written to a folder, or an empty string."""
    try:
        # The first folder that exists decides, because the others are created in it.
        existing = next(each for each in (folder, *folder.parents) if each.exists())
    except OSError as error:
        return f"{folder} cannot be examined: {error.strerror}"
    if not existing.is_dir():
        return f"{existing} is not a folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"this user cannot write to {existing}"
    return ""


@functools.cache
def _warn_of_temporary_folder(reason: str) -> None:
    """Log, once for each reason, that this process compiles to a temporary folder."""
    logger.warning(
        "the cache of compiled libraries cannot be used: %s. This process compiles to a temporary "
        "folder, and the next process compiles again. Set %s to a folder that you can write to",
        reason,
        CACHE,
    )


def _exists(path: Path) -> bool:
    """Return whether a file exists. The result is False if its folder cannot be read."""
    try:
        return path.exists()
    except OSError:
        return False


def key(compiler: Compiler, flags: Sequence[str], version: str, binding: Binding) -> str:
    """Return a name that changes with everything that a library depends on."""
    digest = hashlib.sha256(binding.digest().encode() + b"\0")
    described = [version, *flags, *SHARED_FLAGS, *LINK_FLAGS, *NAME_FLAGS]
    described += [f"{name}={value}" for name, value in sorted(compiler.macros.items())]
    digest.update("\0".join(described).encode())
    return f"{binding.framework or binding.product}-{version}-{digest.hexdigest()[:16]}"


def _place(binding: Binding) -> Path:
    """Return the path at which the library of this machine's compiler is kept."""
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
    """Return the library of a binding, and compile it if it does not exist.

    One process compiles at a time. ``kernels`` is the liblstm to which a binding is linked.
    """
    compiler, library = _compiler(), _place(binding)
    folder = library.parent
    if library.exists() and _unwritable(folder):  # A container image may come with its libraries.
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
        if library.is_symlink() or library.exists():  # Another process may just have made it.
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
    """Delete a library and its digest."""
    library.unlink(missing_ok=True)
    fused_cpu_prebuilt.digest_file(library).unlink(missing_ok=True)


_held: set[int] = set()
"""The file descriptors of the locks that this process holds."""


def _close_locks() -> None:
    """Close inherited locks in a forked process. Otherwise the child would hold them as well."""
    for handle in _held:
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_locks)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock on a file, so that one process compiles at a time."""
    import fcntl  # Only Linux compiles libraries, and other systems may lack this module.

    # Another user may have made the file. So a link is not followed, a pipe is not waited for, and
    # the file is not truncated.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path, flags, 0o600)
    _held.add(handle)
    try:
        if not private_files.is_regular(handle):
            raise UnavailableError(f"{path} {private_files.NOT_REGULAR}; delete it")
        fcntl.flock(handle, fcntl.LOCK_EX)  # The lock ends with the process, however that ends.
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
    """Compile a library to a path, linked to ``kernels``, with its digest in a file next to it."""
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        objects = {source: f"{scratch}/{source.stem}.o" for source in binding.compiled()}
        base = [compiler.path, *SHARED_FLAGS, *flags, "-c"]
        _run(*([*base, str(source), "-o", made] for source, made in objects.items()))
        # A server without Python looks for liblstm in the folder of a binding.
        named = [*NAME_FLAGS, f"-Wl,--version-script={SOURCES / EXPORTS}"]
        linked = named if kernels is None else [str(kernels), "-Wl,-rpath,$ORIGIN", *links]
        made = Path(scratch) / binding.file
        _run([compiler.path, *LINK_FLAGS, *objects.values(), *linked, "-o", str(made)])
        digest = Path(scratch) / "digest"
        digest.write_text(fused_cpu_prebuilt.described(made), encoding="ascii")
        for path in (digest, made):
            path.chmod(0o755 if path == made else 0o644)
            _flush(path)
        # The library comes last. If its digest does not match, it is compiled again and never
        # loaded.
        digest.replace(fused_cpu_prebuilt.digest_file(library))
        made.replace(library)
        _flush(library.parent)


def _flush(path: Path) -> None:
    """Force a file or a folder to be written to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _run(*commands: Sequence[str]) -> None:
    """Run commands, at most one for each processor at a time.

    Each compiler takes up to 0.4 GB. All of them together would take 5 GB, and would be no faster.

    Raises
    ------
    UnavailableError
        With the error of the first command that fails. The others are stopped.
    """
    waiting = deque(commands)
    running: deque[subprocess.Popen[str]] = deque()
    try:
        while waiting or running:
            while waiting and len(running) < count_usable_cpus():
                process = subprocess.Popen(
                    waiting.popleft(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                running.append(process)
                _compiling.add(process)
            said = running[0].communicate()[1]
            if running[0].returncode != 0:
                raise UnavailableError(_gist(said))
            _compiling.discard(running.popleft())
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()
                process.communicate()
            _compiling.discard(process)
