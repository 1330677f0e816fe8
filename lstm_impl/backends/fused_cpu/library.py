"""Compile the shared library of ``fused_cpu`` from ``lstm_impl/native`` on first use."""

from __future__ import annotations

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
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

import lstm_impl.backends.fused_cpu.prebuilt as fused_cpu_prebuilt
import lstm_impl.private_files as private_files
from lstm_impl.availability import AVAILABLE, Availability, UnavailableError

logger = logging.getLogger(__name__)

SOURCES = Path(__file__).resolve().parents[2] / "native"

COMPILER = "CXX"
"""The environment variable that names the compiler, where it is not ``g++``."""

CACHE = "LSTM_NATIVE_CACHE"
"""The environment variable that names the folder of compiled libraries."""

NAME = "fused_cpu.so"

COMPUTES = ("float32", "bfloat16")
"""Types that the kernels read, write and keep; the sums are in float32 with both."""


def unsupported_type(dtype: str) -> str:
    """Return why the kernels cannot compute in a type, or an empty string."""
    return "" if dtype in COMPUTES else f"its kernels support {' and '.join(COMPUTES)}, not {dtype}"


@dataclass(frozen=True)
class Binding:
    """What calls the kernels from a framework, or from C.

    backend: its backend's id. framework: its package, empty for C. source: the C++ file, in
    ``SOURCES``, that is compiled with its headers. once_for: what a library serves, in words.
    """

    backend: str
    framework: str
    source: str
    once_for: str


TENSORFLOW = Binding("fused_cpu", "tensorflow", "ops.cc", "TensorFlow and CPU")
JAX = Binding("jax_fused_cpu", "jax", "jax_ffi.cc", "JAX and CPU")
C = Binding("numpy_fused", "", "c_api.cc", "CPU")

HEADER = "include/tensorflow/core/framework/op_kernel.h"
"""In TensorFlow's folder, where it comes with its headers."""

INSTALL = "apt-get install g++"

NATIVE = "-march=native"

KERNEL_FLAGS = ("-std=c++17", "-O3", NATIVE, "-ffp-contract=fast", "-fno-trapping-math")
"""Of the kernels alone: what includes TensorFlow's headers is compiled for any CPU, so that no
inline function of theirs can take the place of TensorFlow's own copy of it. Products and sums
become one instruction; nothing is reordered, and NaN stays NaN."""

SHARED_FLAGS = (
    "-fPIC",
    "-fvisibility=hidden",
    "-fvisibility-inlines-hidden",
    "-fno-gnu-unique",
    "-Wall",
)

LINK_FLAGS = ("-shared", "-Wl,-Bsymbolic")


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


def availability() -> Availability:
    """Return whether there is a library for this machine and TensorFlow, or one can be compiled."""
    if not (here := _sources(TENSORFLOW)):
        return here
    prebuilt = fused_cpu_prebuilt.look(SOURCES, _unloadable)
    if prebuilt.fitting:
        cpu = fused_cpu_prebuilt.cpu_of(prebuilt.fitting[0])
        return Availability(True, f"fused_cpu runs from a prebuilt library, for {cpu}")
    compiled = can_be_compiled()
    if not compiled and (why_not := prebuilt.why_not()):
        return replace(compiled, reason=f"{compiled.reason}; and {why_not}")
    return compiled


def available_to(binding: Binding) -> Availability:
    """Return whether there is a library for a framework, or one can be compiled."""
    if binding == TENSORFLOW:
        return availability()
    return _sources(binding) and _compiler_available(binding)


def _sources(binding: Binding) -> Availability:
    if sys.platform != "linux":
        return Availability(
            False, f"its kernels are compiled on Linux only, and this is {sys.platform}"
        )
    for name in ("kernels.cc", binding.source):
        if not (SOURCES / name).is_file():
            return Availability(False, f"its sources are not installed: {SOURCES / name}")
    return AVAILABLE


def can_be_compiled() -> Availability:
    """Return whether this machine can compile the library."""
    found = importlib.util.find_spec("tensorflow")
    places = found.submodule_search_locations if found is not None else None
    if places and not any((Path(place) / HEADER).is_file() for place in places):
        return Availability(False, f"this TensorFlow comes without its headers ({HEADER})")
    return _compiler_available(TENSORFLOW)


def _compiler_available(binding: Binding) -> Availability:
    requested = find_compiler(os.environ.get(COMPILER) or "g++")
    if isinstance(requested, Availability):
        return requested
    if problem := requested.problem():
        return Availability(False, problem)
    return _failed.get((binding, requested.path), AVAILABLE)


_failed: dict[tuple[Binding, str], Availability] = {}
"""By compiler, the libraries that could not be made or loaded in this process."""


def _failure(binding: Binding, what: str, error: Exception) -> UnavailableError:
    """Remember that the library cannot be made or loaded, and return the error to raise."""
    reason = f"its library cannot be {what}: {error}"
    _failed[binding, _compiler().path] = Availability(False, reason)
    return UnavailableError(f"{binding.backend}: {reason}")


_unloadable: dict[Path, str] = {}
"""Prebuilt libraries that this process has tried to load in vain, and why."""


@functools.cache
def find_compiler(
    name: str, march: str = NATIVE, install: str = INSTALL
) -> Compiler | Availability:
    """Find a compiler for this CPU, or for ``march``. install: the command that installs it."""
    path = shutil.which(name)
    if path is None:
        return Availability(
            False,
            f"its kernels are compiled on first use, and there is no compiler {name}",
            install,
        )
    command = [path, *kernel_flags(march), "-D_GLIBCXX_USE_CXX11_ABI=1"]
    command += ["-x", "c++", "-E", "-dM", "-"]
    try:
        done = subprocess.run(
            command, input="#include <string>\n", capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Availability(False, f"the compiler {path} cannot be run: {error}", install)
    if done.returncode != 0:
        cpu = "this CPU" if march == NATIVE else march.removeprefix("-march=")
        return Availability(
            False, f"the compiler {path} cannot compile for {cpu}: {_gist(done.stderr)}", install
        )
    macros = {}
    for line in done.stdout.splitlines():
        _, name, *value = line.split(maxsplit=2)
        macros[name] = value[0] if value else ""
    return Compiler(path, macros)


def kernel_flags(march: str) -> list[str]:
    """Return ``KERNEL_FLAGS`` for another CPU, as in ``-march=armv8-a``."""
    return [march if each == NATIVE else each for each in KERNEL_FLAGS]


def _gist(words: str) -> str:
    """Return the first error of a compiler's output, in one line."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line]
    return (errors or lines or ["no message"])[0][:300]


# -- the library


def build(binding: Binding = TENSORFLOW, announce: bool = True) -> Path:
    """Return the library for this framework and CPU; compile it if there is none.

    Raises UnavailableError where it can be neither found nor compiled.
    """
    if not (available := available_to(binding)):
        raise UnavailableError(f"{binding.backend}: {available}")
    if binding == TENSORFLOW and (found := fused_cpu_prebuilt.look(SOURCES, _unloadable).fitting):
        return found[0]
    try:
        return _built(_compiler(), *_flags(binding), announce, binding)
    except (ImportError, OSError, UnavailableError) as error:
        # The compiler, a damaged framework, or a folder that is not ours.
        raise _failure(binding, "made", error) from error


def _flags(binding: Binding) -> tuple[list[str], list[str]]:
    if binding == TENSORFLOW:
        return tensorflow_flags()
    if binding == C:
        return [], ["-pthread"]
    import jax

    return ["-isystem", jax.ffi.include_dir()], []


_background: dict[Binding, threading.Thread] = {}
_compiling: set[subprocess.Popen[str]] = set()


def being_compiled(binding: Binding = TENSORFLOW) -> bool:
    """Return whether a thread is compiling the library; start it where there is none to load."""
    loaded = load.cache_info().currsize if binding == TENSORFLOW else binding in _loaded
    if binding not in _background and not loaded and _to_be_compiled(binding):
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
    if not available_to(binding) or (
        binding == TENSORFLOW and fused_cpu_prebuilt.look(SOURCES, _unloadable).fitting
    ):
        return False
    try:
        return not _place(_compiler(), *_flags(binding), binding).exists()
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


@functools.cache
def load() -> Any:
    """Return the ops as a module, after compiling them if necessary."""
    if not (available := availability()):
        raise UnavailableError(f"fused_cpu: {available}")
    import tensorflow as tf

    for path in fused_cpu_prebuilt.look(SOURCES, _unloadable).fitting:
        try:
            return tf.load_op_library(str(path))
        except (OSError, tf.errors.OpError) as error:
            # Its system may be newer than this one; the next one or a compiler may do.
            _unloadable[path] = f"it cannot be loaded: {_gist(str(error))}"
    if not (available := availability()):
        raise UnavailableError(f"fused_cpu: {available}")
    compiler = _compiler()
    try:
        library = _built(compiler, *tensorflow_flags())
        try:
            return tf.load_op_library(str(library))
        except tf.errors.OpError:  # made on another system, perhaps
            _remove(library)
            return tf.load_op_library(str(_built(compiler, *tensorflow_flags())))
    except (OSError, UnavailableError, tf.errors.OpError) as error:
        raise _failure(TENSORFLOW, "made or loaded", error) from error


_loaded: dict[Binding, ctypes.CDLL] = {}


def load_plain(binding: Binding) -> ctypes.CDLL:
    """Return the library of JAX's custom calls or of C; compile it first, where it was not yet.

    Raises UnavailableError where it cannot be compiled or loaded.
    """
    if binding not in _loaded:
        try:
            _loaded[binding] = ctypes.CDLL(str(build(binding)))
        except OSError as error:
            raise _failure(binding, "loaded", error) from error
    return _loaded[binding]


BEING_COMPILED = Availability(False, "it is being compiled; what is traced when it is ready has it")


def ready(binding: Binding, load: Callable[[], object], instead: str) -> Availability:
    """Return whether the library is loaded; if there is none, compile it in the background.

    load: loads it, after compiling it if necessary. instead: what computes where it cannot.
    """
    return BEING_COMPILED if being_compiled(binding) else _tried(binding, load, instead)


@functools.cache
def _tried(binding: Binding, load: Callable[[], object], instead: str) -> Availability:
    try:
        load()
    except UnavailableError as error:
        logger.warning("%s; %s in its place", error, instead)
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
    return flags, list(tf.sysconfig.get_link_flags())


def _folder() -> Path:
    if named := os.environ.get(CACHE):
        return Path(named).absolute()
    path = user_cache_path("lstm-benchmark-suite") / "native"
    # Without a home directory "~" would become a folder of that name.
    return path if path.is_absolute() else _temporary_folder()


@functools.cache
def _temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="lstm-native-"))


def key(
    compiler: Compiler, flags: Sequence[str], version: str, framework: str = "tensorflow"
) -> str:
    """Return a name that changes with all that the library depends on."""
    digest = hashlib.sha256(fused_cpu_prebuilt.digest(SOURCES).encode() + b"\0")
    described = [version, *flags, *SHARED_FLAGS, *KERNEL_FLAGS, *LINK_FLAGS]
    described += [f"{name}={value}" for name, value in sorted(compiler.macros.items())]
    digest.update("\0".join(described).encode())
    return f"{framework}-{version}-{digest.hexdigest()[:16]}"


def _place(
    compiler: Compiler, flags: Sequence[str], links: Sequence[str], binding: Binding = TENSORFLOW
) -> Path:
    """Return where the library of this compiler is kept."""
    framework = binding.framework
    version = importlib.import_module(framework).__version__ if framework else "1"
    return _folder() / key(compiler, [*flags, *links], version, framework or "c") / NAME


def _built(
    compiler: Compiler,
    flags: Sequence[str],
    links: Sequence[str],
    announce: bool = True,
    binding: Binding = TENSORFLOW,
) -> Path:
    """Where the library is; compiled now, if it is not there, by one process at a time."""
    library = _place(compiler, flags, links, binding)
    folder = library.parent
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
        line = f"lstm_impl: compiling fused_cpu with {compiler.version}, once for this"
        progress = sys.stderr if announce else io.StringIO()
        print(f"{line} {binding.once_for} ...", end="", file=progress, flush=True)
        started = time.monotonic()
        try:
            compile_library(compiler, KERNEL_FLAGS, flags, links, library, binding)
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

    # Do not follow a link or truncate the file: another user may have made it.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    _held.add(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # gone with the process, however that ends
        yield
    finally:
        if handle in _held:
            _held.remove(handle)
            os.close(handle)


def compile_library(
    compiler: Compiler,
    kernel_flags: Sequence[str],
    flags: Sequence[str],
    links: Sequence[str],
    library: Path,
    binding: Binding = TENSORFLOW,
) -> None:
    """Compile the library to this path, with its digest next to it."""
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        objects = [str(Path(scratch) / name) for name in ("kernels.o", "ops.o")]
        sources = [str(SOURCES / name) for name in ("kernels.cc", binding.source)]
        base = [compiler.path, *SHARED_FLAGS]
        _run(
            [*base, *kernel_flags, "-c", sources[0], "-o", objects[0]],
            [*base, "-O2", *flags, "-c", sources[1], "-o", objects[1]],
        )
        made = Path(scratch) / NAME
        _run([compiler.path, *LINK_FLAGS, *objects, *links, "-o", str(made)])
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
