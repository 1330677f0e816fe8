"""Run ``python -m tools.native``: compile liblstm and its bindings for other machines.

The command is for machines without a compiler. It compiles liblstm for each kind of CPU, and the
bindings for the installed TensorFlow and JAX, or for a TensorFlow that is unpacked from its wheel,
even for another kind of machine. Libraries that fit are loaded if ``LSTM_NATIVE_PREBUILT`` names
their folder, or if a wheel has them in ``lstm_impl/native/prebuilt``.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import lstm_impl.backends.fused_cpu.library as library
import lstm_impl.backends.fused_cpu.prebuilt as prebuilt
from bench.cli import arguments, command_line
from lstm_impl import UnsupportedError
from lstm_impl.availability import Availability, UnavailableError
from lstm_impl.backends.fused_cpu.prebuilt import KINDS

EPILOG = """\
exit codes: 0 all libraries were written; 2 bad input, or one cannot be compiled (with the reason)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _build, argv, UnsupportedError, OSError)


def _build(options: argparse.Namespace) -> int:
    for made in build(options.cpu or _list_own_cpus(), options.folder, options.tensorflow):
        print(f"written: {made}", file=sys.stderr)
    return 0


def _list_own_cpus() -> list[str]:
    here = platform.machine()
    return [name for name, kind in KINDS.items() if kind.machine == here and kind.march]


def build(cpus: Sequence[str], folder: Path, unpacked: Path | None = None) -> Iterator[Path]:
    """Compile liblstm for kinds of CPUs, and the bindings, and yield the paths.

    The bindings are for the installed frameworks, or for a TensorFlow whose wheel is ``unpacked``
    in a folder. For another kind of machine, the installed TensorFlow does not serve, but the
    installed JAX does, because its headers are the same everywhere. The libraries run on systems
    whose C and C++ libraries are at least as new as the compiler's.

    Raises
    ------
    UnsupportedError
        If a kind of CPU is unknown, or if the kinds are of different machines.
    UnavailableError
        If no compiler for a kind of CPU is installed.
    """
    compilers = {cpu: _find_compiler(cpu) for cpu in cpus}
    machines = {KINDS[cpu].machine for cpu in cpus}
    if len(machines) > 1:
        raise UnsupportedError(
            f"{' and '.join(sorted(machines))} are compiled one after the other: run this command "
            "for the CPUs of each"
        )
    bindings = _find_bindings(unpacked, *machines)
    for number, (cpu, compiler) in enumerate(compilers.items()):
        kind = KINDS[cpu]
        flags = library.kernel_flags(f"-march={kind.march}")
        kernels = _find_library_path(folder, library.product(library.C), cpu)
        if prebuilt.damage(kernels):  # Otherwise it was compiled before, for another TensorFlow.
            library.compile_library(compiler, flags, [], kernels, library.C)
        yield kernels
        for binding, (version, flags, links) in bindings.items() if number == 0 else ():
            made = _find_library_path(
                folder, library.product(binding, version), f"any_{kind.machine}"
            )
            library.compile_library(compiler, flags, links, made, binding, kernels)
            yield made


def _find_library_path(folder: Path, product: prebuilt.Product, cpu: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute() / product.file_name(cpu)


def _find_compiler(cpu: str) -> library.Compiler:
    kind = KINDS.get(cpu)
    if kind is None or not kind.march:
        known = ", ".join(name for name, kind in KINDS.items() if kind.march)
        raise UnsupportedError(f"there is no kind of CPU {cpu!r}; expected one of {known}")
    name, install = "g++", library.INSTALL
    if kind.machine != platform.machine():
        name = f"{kind.machine}-linux-gnu-g++"
        install = f"apt-get install g++-{kind.machine.replace('_', '-')}-linux-gnu"
    compiler = library.find_compiler(
        os.environ.get(library.COMPILER) or name, f"-march={kind.march}", install
    )
    if isinstance(compiler, Availability):
        raise UnavailableError(f"fused_cpu: {compiler}")
    if problem := compiler.problem():
        raise UnavailableError(f"fused_cpu: {problem}")
    return compiler


def _find_bindings(
    unpacked: Path | None, machine: str
) -> dict[library.Binding, tuple[str | None, list[str], list[str]]]:
    """Return the version and the flags for each framework. None is the installed version."""
    found: dict[library.Binding, tuple[str | None, list[str], list[str]]] = {}
    if unpacked is not None:
        found[library.TENSORFLOW] = _find_unpacked_tensorflow(unpacked)
    elif machine != platform.machine():
        print(
            f"no binding for TensorFlow is compiled, because the installed one is not for {machine}"
            "; unpack a wheel for that machine and name its folder (--tensorflow)",
            file=sys.stderr,
        )
    elif importlib.util.find_spec("tensorflow"):
        if not (able := library.can_be_compiled(library.TENSORFLOW)):
            raise UnavailableError(f"fused_cpu: {able}")
        found[library.TENSORFLOW] = (None, *library.tensorflow_flags())
    if importlib.util.find_spec("jax"):
        found[library.JAX] = (None, *library.jax_flags())
    return found


def _find_unpacked_tensorflow(folder: Path) -> tuple[str, list[str], list[str]]:
    """Return the version, compiler flags and linker flags for an unpacked TensorFlow."""
    place = folder.absolute() / "tensorflow"
    version = prebuilt.installed_version(folder)
    frameworks = sorted(place.glob("libtensorflow_framework.so.*"))
    if not version or not frameworks or not (place / library.HEADER).is_file():
        raise UnsupportedError(
            f"{folder} holds no unpacked TensorFlow for Linux with its headers and its dist-info; "
            f"unpack a wheel with python -m zipfile -e WHEEL {folder}"
        )
    # All supported TensorFlows for Linux were compiled with these flags. Undefined symbols are an
    # error, because the library cannot be loaded here to find them.
    flags = ["-O2", "-isystem", str(place / "include"), "-D_GLIBCXX_USE_CXX11_ABI=1", "--std=c++17"]
    links = [f"-L{place}", f"-l:{frameworks[0].name}", "-Wl,-z,defs"]
    return version, [*flags, "-DEIGEN_MAX_ALIGN_BYTES=64"], links


# -- the command line


def _parser() -> argparse.ArgumentParser:
    parser = arguments.make_parser(
        "tools.native",
        "Compile liblstm for machines without a compiler, for each kind of CPU, and its bindings\n"
        "for the JAX and TensorFlow that are installed here, or the one that --tensorflow names.",
        EPILOG,
    )
    parser.add_argument(
        "folder", type=Path, help="where they are written; the folder is made if it is not there"
    )
    arguments.add_values(
        parser,
        (
            *("cpu", "NAMES", arguments.parse_names),
            "kinds of CPU, separated by commas, of x86-64-v4, x86-64-v3, aarch64 (default: all of "
            "this machine's)",
        ),
        (
            *("tensorflow", "FOLDER", Path),
            "where a wheel of TensorFlow is unpacked, to compile for that one in place of the "
            "installed one; needed for a binding for another kind of machine",
        ),
    )
    return parser


if __name__ == "__main__":
    command_line.run_and_exit(main)
