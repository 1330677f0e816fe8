"""Run ``python -m tools.native``: compile ``fused_cpu`` for machines without a compiler.

It writes a library for each kind of CPU, for the installed TensorFlow or for one unpacked from its
wheel, also for another kind of machine. The backend loads the one that fits if
``LSTM_NATIVE_PREBUILT`` names their folder, or a wheel has them in ``lstm_impl/native/prebuilt``.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import lstm_impl.backends.fused_cpu.library as library
import lstm_impl.backends.fused_cpu.prebuilt as prebuilt
from bench.cli import arguments, command_line
from lstm_impl import UnsupportedError
from lstm_impl.availability import Availability, UnavailableError
from lstm_impl.backends.fused_cpu.prebuilt import KINDS

EPILOG = """\
exit codes: 0 all were written; 2 bad input, or one could not be compiled (with the reason)
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    return command_line.run(_parser(), _build, words, UnsupportedError, OSError)


def _build(options: argparse.Namespace) -> int:
    for cpu in options.cpu or _of_this_machine():
        made = build(cpu, options.folder, options.tensorflow)
        print(f"written: {made}", file=sys.stderr)
    return 0


def _of_this_machine() -> list[str]:
    return [name for name, kind in KINDS.items() if kind.machine == platform.machine()]


def build(cpu: str, folder: Path, unpacked: Path | None = None) -> Path:
    """Compile the library for a kind of CPU, and return its path.

    It is for the installed TensorFlow, or for one whose wheel is ``unpacked`` in a folder, also for
    another kind of machine; and for systems whose C and C++ libraries are no older than the
    compiler's. Raises UnsupportedError for a kind that is unknown or cannot be compiled for here,
    UnavailableError without a compiler for it.
    """
    kind = KINDS.get(cpu)
    if kind is None:
        known = ", ".join(KINDS)
        raise UnsupportedError(f"no kind of CPU is called {cpu!r}; expected one of {known}")
    here = platform.machine()
    if unpacked is None and kind.machine != here:
        raise UnsupportedError(
            f"{cpu} is compiled on a machine of its kind, and this is {here}; or here, for a "
            "TensorFlow that is unpacked from its wheel for that kind (--tensorflow)"
        )
    if unpacked is None and not (able := library.can_be_compiled()):
        raise UnavailableError(f"fused_cpu: {able}")
    if unpacked is None:
        import tensorflow as tf

        version, (flags, links) = tf.__version__, library.tensorflow_flags()
    else:
        version, flags, links = _unpacked(unpacked)
    name, install = "g++", library.INSTALL
    if kind.machine != here:
        name = f"{kind.machine}-linux-gnu-g++"
        install = f"apt-get install g++-{kind.machine.replace('_', '-')}-linux-gnu"
    compiler = library.find_compiler(
        os.environ.get(library.COMPILER) or name, f"-march={kind.march}", install
    )
    if isinstance(compiler, Availability):
        raise UnavailableError(f"fused_cpu: {compiler}")
    if problem := compiler.problem():
        raise UnavailableError(f"fused_cpu: {problem}")
    sources = prebuilt.digest(library.SOURCES)
    made = folder.absolute() / prebuilt.file_name(version, cpu, sources)
    made.parent.mkdir(parents=True, exist_ok=True)
    library.compile_library(
        compiler, library.kernel_flags(f"-march={kind.march}"), flags, links, made
    )
    return made


def _unpacked(folder: Path) -> tuple[str, list[str], list[str]]:
    """Return version, compiler flags and linker flags of an unpacked TensorFlow."""
    place = folder.absolute() / "tensorflow"
    version = prebuilt.installed_version(folder)
    frameworks = sorted(place.glob("libtensorflow_framework.so.*"))
    if not version or not frameworks or not (place / library.HEADER).is_file():
        raise UnsupportedError(
            f"{folder}: there is no TensorFlow for Linux unpacked, with its headers and its "
            f"dist-info: python -m zipfile -e WHEEL {folder}"
        )
    # As all supported TensorFlows for Linux were compiled. Undefined symbols are an error, since
    # the library cannot be loaded here.
    flags = ["-isystem", str(place / "include"), "-D_GLIBCXX_USE_CXX11_ABI=1", "--std=c++17"]
    links = [f"-L{place}", f"-l:{frameworks[0].name}", "-Wl,-z,defs"]
    return version, [*flags, "-DEIGEN_MAX_ALIGN_BYTES=64"], links


# -- the command line


def _parser() -> argparse.ArgumentParser:
    parser = arguments.parser(
        "tools.native",
        "Compile fused_cpu for machines without a compiler: a library for each kind of CPU,\n"
        "for the TensorFlow that is installed here or that --tensorflow names.",
        EPILOG,
    )
    parser.add_argument(
        "folder", type=Path, help="where they are written; the folder is made if it is not there"
    )
    arguments.add_values(
        parser,
        (
            *("cpu", "NAMES", arguments.names),
            f"kinds of CPU, separated by commas, of {', '.join(KINDS)} (default: all of this "
            "machine's)",
        ),
        (
            *("tensorflow", "FOLDER", Path),
            "where a wheel of TensorFlow is unpacked, to compile for that one; of another kind of "
            "machine with a compiler for that kind, as aarch64-linux-gnu-g++",
        ),
    )
    return parser


if __name__ == "__main__":
    command_line.end(main)
