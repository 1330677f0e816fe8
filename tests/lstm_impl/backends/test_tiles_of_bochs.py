"""Test the instructions of AMX tiles on the processor that Bochs emulates, without a system."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import lstm_impl.backends.fused_cpu.library as library
import lstm_impl.backends.fused_cpu.prebuilt as prebuilt

PROGRAM = Path(__file__).resolve().parent / "tiles_of_bochs.cc"
GXX = shutil.which("g++")
BOCHS = shutil.which("bochs")
KIND = prebuilt.KINDS["x86-64-v4"]  # the emulation in tiles.h has rows as long by AVX-512 only

# Starts at address 0x7c00, where a disk's first sector is loaded to, and has no library.
ALONE = (
    *("-Dthread_local=", "-nostdlib", "-static", "-no-pie", "-fno-pie", "-fno-stack-protector"),
    *("-fcf-protection=none", "-fno-asynchronous-unwind-tables", "-Wl,--build-id=none"),
    "-Wl,--oformat=binary",
)
LAYOUT = "SECTIONS {. = 0x7c00; .a : {*(.boot) *(.text* .rodata* .data* .bss*)} /DISCARD/ : {*(*)}}"
CYLINDER = 16 * 63 * 512  # bytes

SETTINGS = """
cpu: model={model}, ips=50000000, reset_on_triple_fault=0
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=disk, path={disk}, mode=flat, cylinders=1, heads=16, spt=63
boot: disk
com1: enabled=1, mode=file, dev={output}
log: {log}
panic: action=fatal
display_library: term
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(KIND.problem()), reason=KIND.problem() or "not skipped"),
    pytest.mark.skipif(GXX is None or BOCHS is None, reason="apt-get install g++ bochs bochs-term"),
]


def compiled(into: Path, *flags: str) -> Path:
    command = [str(GXX), *library.kernel_flags(f"-march={KIND.march}"), "-I", str(library.SOURCES)]
    command += [*flags, str(PROGRAM), "-o", str(into)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return into


def lines_on(model: str, place: Path) -> list[str]:
    """Return what the program prints on a CPU of Bochs."""
    (place / "layout").write_text(LAYOUT)
    disk = compiled(place / "disk", *ALONE, f"-Wl,-T,{place / 'layout'}")
    disk.write_bytes(disk.read_bytes().ljust(CYLINDER, b"\0"))
    paths = {name: place / name for name in ("disk", "output", "log")}
    (place / "settings").write_text(SETTINGS.format(model=model, **paths))
    command = [str(BOCHS), "-q", "-f", str(place / "settings")]
    terminal = os.environ | {"TERM": "xterm"}
    subprocess.run(command, input=b"", capture_output=True, env=terminal, timeout=600)
    said = paths["output"].read_text() if paths["output"].exists() else ""
    assert said.endswith("\nthe end\n"), paths["log"].read_text()[-3000:]
    return said.splitlines()[:-1]


def test_tiles_multiply_as_their_emulation_to_the_last_bit(tmp_path: Path) -> None:
    denied, small, unsaved, granted, *products = lines_on("sapphire_rapids", tmp_path)
    # In hexadecimal: ARCH_REQ_XCOMP_PERM, of state 18.
    asked = "after arch_prctl(1023, 12)"
    assert denied == f"Linux says no: the operating system does not permit AMX tiles {asked}"
    assert small == (
        "Linux has no room: a thread has an alternate signal stack (sigaltstack) that is too small "
        f"for AMX tiles {asked}"
    )
    reason = "the operating system does not save AMX tiles"
    assert unsaved == f"states that are not saved: {reason}"
    assert granted == "Linux says yes: granted after arch_prctl(1023, 12)"
    emulation = compiled(tmp_path / "emulation", "-DLSTM_IMPL_EMULATED_TILES")
    assert products == subprocess.check_output([emulation], text=True).splitlines()


def test_tiles_of_cpu_without_them_are_refused_unasked(tmp_path: Path) -> None:
    lines = lines_on("corei7_icelake_u", tmp_path)
    reason = "this CPU has no AMX tiles for bfloat16"
    assert [line.partition(": ")[2] for line in lines] == 4 * [reason]
