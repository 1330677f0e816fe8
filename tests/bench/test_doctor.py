from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bench import doctor
from bench.cli.command_line import PLAIN
from bench.doctor import Diagnosis, print_diagnosis
from bench.machine import devices, environment
from bench.machine.reasons import Reason
from bench.machine.survey import Entry, Survey
from lstm_impl import Availability
from lstm_impl.backends.fused_cpu import prebuilt
from lstm_impl.backends.fused_cpu.c_interface import TYPES, KernelLayer, Kernels
from tests.bench.made_reasons import recorded
from tests.loaded import FRAMEWORKS

YES = Availability(True)
NO_GPU = Availability(False, "no NVIDIA GPU is seen", "pip install 'imaginary[cuda]'")


SURVEY = Survey(
    devices=("cpu", "gpu:0"),
    entries=(
        Entry("numpy", "numpy", "the reference", {"cpu": YES, "gpu:0": Availability(False, "x")}),
        Entry("loop", "imaginary", "a loop", {"cpu": YES, "gpu:0": NO_GPU}),
        Entry("loop+xla", "imaginary", "a loop", {"cpu": YES, "gpu:0": NO_GPU}),
    ),
    frameworks={"numpy": "2.4", "imaginary": "1.0"},
    problems=("backend 'alien' is registered as [bold]no:Class",),
)


def diagnosis(*findings: Reason) -> Diagnosis:
    return Diagnosis(SURVEY, environment.read(), findings)


def shown(found: Diagnosis, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=PLAIN)
    console = Console(file=file, width=100, highlight=False)
    print_diagnosis(found, console)
    file.flush()
    assert isinstance(file.buffer, io.BytesIO)
    return file.buffer.getvalue().decode(encoding)


def test_show_prints_each_backend_and_each_reason_once() -> None:
    text = shown(diagnosis())
    rows = {line.split()[0]: line for line in text.splitlines() if line.startswith("  loop")}
    assert "✓" in rows["loop"]
    assert "no [2]" in rows["loop"]
    assert "no [2]" in rows["loop+xla"]
    assert text.count("no NVIDIA GPU is seen") == 1
    assert "pip install 'imaginary[cuda]'" in text


def test_show_begins_with_what_can_be_measured_and_what_to_install() -> None:
    first, second, third = shown(diagnosis()).splitlines()[:3]
    assert first.startswith("You can measure 2 backends on cpu (imaginary), and nothing on gpu:0")
    assert (first + second).count("numpy") == 0
    assert "To measure more: loop: pip install 'imaginary[cuda]'." in f"{second} {third}"


def test_show_without_anything_to_install_says_only_what_can_be_measured() -> None:
    entries = (Entry("loop", "imaginary", "a loop", {"cpu": YES}),)
    survey = Survey(("cpu",), entries, {"imaginary": "1.0"}, ())
    text = shown(replace(diagnosis(), survey=survey))
    assert text.startswith("You can measure 1 backend on cpu (imaginary).\n")
    assert "To measure more" not in text


def test_show_prints_versions_problems_and_findings() -> None:
    text = shown(diagnosis(recorded("busy", "others keep it [red]busy", "end them")))
    assert "others keep it [red]busy" in text
    assert "do: end them" in text
    assert "imaginary 1.0" in text
    assert "registered as [bold]no:Class" in text
    assert "\x1b" not in text
    assert "nothing to change" in shown(diagnosis())


@pytest.mark.parametrize(
    ("flags", "cpu", "torch"),
    [
        ("avx2 avx512bw avx512_bf16 amx_bf16", "native (amx_bf16)", "native (amx_bf16)"),
        ("avx2 avx512bw avx512_bf16", "native (avx512_bf16)", "native (avx512_bf16)"),
        ("avx2 avx512bw", "emulated", "emulated by oneDNN's reference (avx512bw)"),
        ("avx2", "emulated", "crashes: RuntimeError"),
    ],
)
def test_show_prints_what_is_native_for_the_flags_of_a_cpu(
    flags: str, cpu: str, torch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prebuilt, "CPUINFO", tmp_path / "cpuinfo")
    assert doctor.describe_precisions(prebuilt.cpu_flags(), None) == {}
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu {flags}\n")
    found = doctor.describe_precisions(prebuilt.cpu_flags(), None)
    assert found["bfloat16"][1] == "not compiled yet: python -m lstm_impl.build"
    assert (found["mixed_bfloat16"][0], found["mixed_bfloat16"][2]) == (cpu, torch)
    text = shown(replace(diagnosis(), precisions=found))
    row = next(line for line in text.splitlines() if line.startswith("mixed_bfloat16"))
    assert row.split("  ")[1].strip() == cpu
    assert "mixed_bfloat16" not in shown(diagnosis())


ARMV82 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm"
GRAVITON2 = f"{ARMV82} lrcpc dcpop asimddp ssbs"
GRAVITON3 = (
    f"{ARMV82} jscvt fcma lrcpc dcpop sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc "
    "flagm ssbs paca pacg dcpodp svei8mm svebf16 i8mm bf16 dgh rng"
)


@pytest.mark.parametrize(
    ("features", "native"),
    [(GRAVITON2, (None, "asimdhp", "asimddp")), (GRAVITON3, ("bf16", "asimdhp", "i8mm"))],
)
def test_precisions_of_aarch64_are_read_from_its_features(
    features: str, native: tuple[str | None, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = f"BogoMIPS\t: 2100.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{cpu}\nprocessor\t: 1\n{cpu}")
    monkeypatch.setattr(prebuilt, "CPUINFO", tmp_path / "cpuinfo")
    found = doctor.describe_precisions(prebuilt.cpu_flags(), None)
    for name, flag in zip(("bfloat16", "mixed_float16", "int8"), native, strict=True):
        assert found[name][0] == (f"native ({flag})" if flag else "emulated")
    assert {row[2] for row in found.values()} == {"not tried on aarch64 (asimd)"}


def test_precisions_say_how_the_kernels_multiply() -> None:
    class Asked(Kernels):
        def __init__(self, wide: str) -> None:
            self._wide = wide

        def products(self, layer: KernelLayer) -> str:
            if layer.type == TYPES["int8"]:
                return "vpdpbusd"
            alone = layer.type == TYPES["bf32"] and layer.batch == 1
            return "narrow" if alone else self._wide

    for wide in ("vdpbf16ps", "float32"):
        found = doctor.describe_precisions({"avx2"}, Asked(wide))
        assert {name: row[1] for name, row in found.items()} == {
            "float32": wide,
            "bf16x3": wide,
            "bf32": f"{wide}; of one sequence: narrow",
            "bfloat16": wide,
            "mixed_bfloat16": wide,
            "int8": "vpdpbusd",
            "float16": "refused",
            "mixed_float16": "refused",
        }


@pytest.mark.parametrize(
    ("requested", "code"),
    [((), 0), (("cpu", "gpu:0"), 1), (("gpu:0",), 1), (("cpu",), 0)],
)
def test_doctor_exit_code_depends_on_available_backends(
    requested: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diagnose(names: list[str], backends: object) -> Diagnosis:
        return replace(diagnosis(), survey=replace(SURVEY, devices=tuple(names)))

    monkeypatch.setattr(doctor, "diagnose", diagnose)
    monkeypatch.setattr(devices, "list_devices", lambda: ["cpu"])
    assert doctor.main([f"--device={','.join(requested)}"] if requested else []) == code


BLOCK = """\
import importlib.machinery

find = importlib.machinery.PathFinder.find_spec
gone = {names!r}
importlib.machinery.PathFinder.find_spec = classmethod(
    lambda cls, name, path=None, target=None:
        None if name.partition(".")[0] in gone else find(name, path, target)
)
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backends", "while_lop"], "did you mean while_loop"),
        (["--device", "tpu:0"], "'tpu:0' is not a device"),
    ],
)
def test_doctor_with_unknown_names_prints_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main(arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_doctor_json_holds_everything_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--backends", "numpy", "--device", "cpu", "--format", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == 1
    assert data["devices"] == {"cpu": ""}
    (entry,) = data["backends"]
    assert entry["name"] == "numpy"
    assert entry["devices"]["cpu"] == {"available": True, "reason": "", "install": ""}
    assert data["frameworks"]["numpy"]
    assert data["environment"]["cpu"]["logical"] >= 1
    assert isinstance(data["findings"], list)
    assert set(data["precisions"]) in (set(), set(doctor.PRECISIONS))


def test_doctor_without_frameworks_names_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCK.format(names=FRAMEWORKS))
    done = subprocess.run(
        [sys.executable, "-m", "bench.doctor", "--device", "cpu"],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "100", "CXX": "no-such-compiler"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    assert "TensorFlow is not installed" in done.stdout
    assert "pip install 'lstm-benchmark-suite[cpu]'" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("  numpy "))
    assert "✓" in row
