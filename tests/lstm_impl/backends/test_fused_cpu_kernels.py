"""Test the kernels of fused_cpu without TensorFlow, against sums in double."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

import lstm_impl.backends.fused_cpu.library as library
import lstm_impl.backends.fused_cpu.prebuilt as prebuilt

HERE = Path(__file__).resolve().parent
GXX = shutil.which("g++")
needs_compiler = pytest.mark.skipif(GXX is None, reason="there is no g++: apt-get install g++")

TO_AARCH64 = shutil.which("aarch64-linux-gnu-g++")
EMULATOR = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
TO_RISCV = shutil.which("riscv64-linux-gnu-g++")
RISCV = shutil.which("qemu-riscv64") or shutil.which("qemu-riscv64-static")
needs_aarch64 = pytest.mark.skipif(
    TO_AARCH64 is None or EMULATOR is None,
    reason="aarch64 is emulated: apt-get install g++-aarch64-linux-gnu qemu-user",
)


def compiled(
    tmp_path: Path,
    gxx: str | None,
    *flags: str,
    march: str = library.NATIVE,
    checks: str = "fused_cpu_kernels.cc",
) -> Path:
    """Return the compiled program: the kernels with their own flags, the checks with others."""
    command = [str(gxx), *library.kernel_flags(march), "-I", str(library.SOURCES), "-pthread"]
    command += [*flags, "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
    objects = {path: str(tmp_path / f"{path.stem}.o") for path in library.C.compiled()}
    of_checks = tmp_path / "checks.o"
    made = [
        subprocess.Popen([*command, *map(str, arguments)], stderr=subprocess.PIPE, text=True)
        for arguments in (
            *(("-c", path, "-o", into) for path, into in objects.items()),
            ("-O1", "-c", HERE / checks, "-o", of_checks),
        )
    ]
    said = [process.communicate()[1] for process in made]
    assert not any(process.returncode for process in made), said
    program = tmp_path / "fused_cpu_kernels"
    linked = [*command, str(of_checks), *objects.values(), "-o", str(program)]
    done = subprocess.run(linked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def check(*command: str | Path) -> None:
    # A thread that waits for no other would wait forever.
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.endswith(" 0 wrong\n")


ADDRESS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
THREAD = ("-O1", "-g", "-fsanitize=thread")
NARROW = ("-O1", "-mno-avx")  # four lanes, as on aarch64
TILES = "-DLSTM_IMPL_EMULATED_TILES"


def instructions(name: str) -> str:
    """Return the flag that takes another header of instructions than this CPU's."""
    return f'-DLSTM_IMPL_INSTRUCTIONS="instructions_{name}.h"'


AVX10_256 = ("-O1", instructions("avx10_256"))
# Functions that return such a vector have no ABI without AVX. Here one compiler makes all of them.
EIGHT_LANES = (
    *("-O1", "-mno-avx", "-Wno-psabi"),
    *(instructions("portable"), "-DLSTM_IMPL_LANES=8"),
)

on_x86 = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="its flags are for x86"),
]


@needs_compiler
@pytest.mark.parametrize(
    "flags",
    [
        pytest.param((), id="as_they_are", marks=pytest.mark.slow),
        pytest.param(("-O1", "-mno-avx512f"), id="avx2", marks=on_x86),
        pytest.param(ADDRESS, id="address", marks=pytest.mark.slow),
        pytest.param(THREAD, id="thread", marks=pytest.mark.slow),
        pytest.param(
            AVX10_256,
            id="avx10_256",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(
                    bool(prebuilt.KINDS["x86-64-v4"].problem()),
                    reason="AVX10's registers of 256 bits are those of AVX512VL",
                ),
            ],
        ),
        pytest.param(EIGHT_LANES, id="eight_portable_lanes", marks=on_x86),
        pytest.param((*ADDRESS, *NARROW), id="four_lanes_address", marks=on_x86),
        pytest.param((*THREAD, *NARROW), id="four_lanes_thread", marks=on_x86),
    ],
)
def test_kernels_equal_sums_in_double_and_survive_failed_allocations(
    tmp_path: Path, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compiled(tmp_path, GXX, TILES, *flags)
    for products in ("widened", "dots", "tiles"):
        monkeypatch.setenv("LSTM_NATIVE_BFLOAT16", products)
        # Every number of threads with emulated tiles takes over 20 minutes under a sanitizer.
        few = products == "tiles" and "-g" in flags
        check(program, *(["few"] if few else []))
        check(program, "memory")
    monkeypatch.setenv("LSTM_NATIVE_FLOAT32", "tiles")
    check(program, "floats")
    check(program, "memory")


@pytest.mark.slow
@needs_aarch64
def test_kernels_for_aarch64_in_an_emulator_equal_sums_in_double(tmp_path: Path) -> None:
    march = f"-march={prebuilt.KINDS['aarch64'].march}"
    program = compiled(tmp_path, TO_AARCH64, TILES, "-static", march=march)
    widened = "bfloat16 as float32"
    for cpu, products, instruction in (
        ("cortex-a57", "widened", widened),
        ("cortex-a57", "tiles", "tdpbf16ps"),
        ("cortex-a72", "dots", widened),  # it has no bfdot
        ("max", "dots", "bfdot"),
        ("max", "", widened),
    ):
        emulated = str(EMULATOR), "-cpu", cpu, "-E", f"LSTM_NATIVE_BFLOAT16={products}", program
        said = subprocess.check_output([*emulated, "products"], text=True)
        assert said == f"{instruction}\n"
        if products:
            check(*emulated, "few")


@pytest.mark.slow
@needs_aarch64
def test_kernels_for_sve_in_an_emulator_equal_sums_in_double(tmp_path: Path) -> None:
    flags = "-O1", "-msve-vector-bits=256", "-static"
    program = compiled(tmp_path, TO_AARCH64, *flags, march="-march=armv8.2-a+sve")
    cpu = "max,sve-default-vector-length=32"  # bytes
    emulated = str(EMULATOR), "-cpu", cpu, "-E", "LSTM_NATIVE_BFLOAT16=dots", program
    assert subprocess.check_output([*emulated, "products"], text=True) == "bfdot of SVE\n"
    check(*emulated, "some")


@pytest.mark.slow
@pytest.mark.skipif(
    TO_RISCV is None or RISCV is None,
    reason="RISC-V is emulated: apt-get install g++-riscv64-linux-gnu qemu-user",
)
def test_kernels_for_risc_v_in_an_emulator_equal_sums_in_double(tmp_path: Path) -> None:
    flags = "-O1", "-mrvv-vector-bits=zvl", "-static"
    program = compiled(tmp_path, TO_RISCV, *flags, march="-march=rv64gcv_zvl256b")
    environment = "LSTM_NATIVE_BFLOAT16=widened"
    check(str(RISCV), "-cpu", "max,vlen=256", "-E", environment, program, "some")
