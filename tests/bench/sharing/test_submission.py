"""Test that submitted files are complete, anonymous and in their folder, or none is written."""

from __future__ import annotations

import copy
import getpass
import json
import random
import re
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.machine.fields import ResultError
from bench.records.digest import digest
from bench.records.files import collect, read
from bench.sharing import anonymous as anonymous_module
from bench.sharing import submission
from bench.sharing.anonymous import HIDDEN, make_anonymous, name_kind
from bench.sharing.proofs import HERE
from bench.sharing.submission import FOLDER, Submission, submit
from bench.verdicts.sections import build
from tests.bench.made_nodes import a_case
from tests.bench.made_results import gather, measured, run
from tests.bench.mutations import mutate, signed
from tests.places import REFERENCE

Json = dict[str, Any]
SESSION = sorted(REFERENCE.glob("fused-*.json"))
PROCESSOR = json.loads(SESSION[0].read_text())["machine_info"]["cpu"]["brand_raw"]
MACHINE = re.sub("[^a-z0-9]+", "-", PROCESSOR.lower()).strip("-") + "-2-cores"


@pytest.fixture(autouse=True)
def _of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "user_cache_path", lambda name: tmp_path / "home" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(HERE, raising=False)


@pytest.fixture
def document() -> Json:
    """An honest file with many names, and without a digest, as in older files, so that the change
    of a test is found by its effect."""
    found: Json = json.loads(SESSION[0].read_text())
    del found["digest"]
    text = json.dumps(found).replace('"vm"', '"annas-desktop.example.org"')
    found = json.loads(text)
    ours = found["benchmarks"][0]["extra_info"]["lstm"]
    ours["remarks"] = [
        "warned in /home/anna/secret-project/model.py: it is slow",
        "C:\\Users\\anna\\project (x) and ~/project/more on annas-desktop",
        "told by Anna, whose /sys/devices/system/cpu is read",
    ]
    found["lstm"]["run"]["environment"]["before"]["variables"]["XLA_FLAGS"] = (
        "--xla_dump_to=/scratch/anna/dump"
    )
    found["benchmarks"][1]["fullname"] = "../../anna/lib/bench_throughput.py::test"
    return found


def submitted(*paths: Path) -> Submission:
    return submit(paths, Path(FOLDER), datetime.now(UTC))


def list_submitted() -> list[Path]:
    return sorted(Path(FOLDER).rglob("*.json"))


def submit_one(path: Path) -> Path:
    """Return the anonymous document of a good file."""
    found = submitted(path)
    assert found.problems == ()
    (made,) = found.written
    return made


def test_submit_session_goes_to_folder_of_its_machine() -> None:
    session = SESSION[:2]
    found = submitted(*session)
    assert (found.problems, found.there) == ((), ())
    folder = Path(FOLDER) / MACHINE
    assert list(found.written) == [folder / path.name for path in session]
    files = [read(path) for path in found.written]
    assert [file.run.id for file in files] == [read(path).run.id for path in session]
    assert len({file.run.machine_id for file in files}) == 1
    assert {file.run.host for file in files} == {f"{MACHINE}-{files[0].run.machine_id[:6]}"}
    assert not [note for file in files for note in file.notes]
    assert build(collect([folder])).sections


def test_submit_keeps_measurements_and_digest_of_original(tmp_path: Path, document: Json) -> None:
    document["digest"] = digest(document)
    made = submit_one(signed(tmp_path / "a.json", document))
    found = json.loads(made.read_text())
    assert found["digest"] == digest(found) != document["digest"]
    assert found["lstm"]["submitted"] == {"digest": document["digest"], "workflow": None}
    for before, after in zip(document["benchmarks"], found["benchmarks"], strict=True):
        assert before["stats"] == after["stats"]
        for key in ("case", "gate", "evidence", "setup", "blocks", "roofs", "validity"):
            assert before["extra_info"]["lstm"][key] == after["extra_info"]["lstm"][key]


def test_submit_removes_names_of_machines_people_and_folders(
    tmp_path: Path, document: Json
) -> None:
    made = submit_one(signed(tmp_path / "a.json", document))
    text = made.read_text().lower()
    writer = document["lstm"]["writer"]
    for name in (
        "anna",
        "example.org",
        "secret-project",
        "scratch",
        writer["machine"],
        writer["boot"],
    ):
        assert name not in text
    machine = document["lstm"]["run"]["machine_id"]
    assert machine not in text
    found = json.loads(text)
    assert found["commit_info"] == {}
    remarks = found["benchmarks"][0]["extra_info"]["lstm"]["remarks"]
    assert remarks == [HIDDEN.lower()] * 3


LEAKS = (
    "/home/berta/model.so",
    "libjemalloc.so:/opt/berta/libx.so",
    "~/models/a",
    "\\\\server\\share\\a",
    "C:\\Users\\berta",
    "berta@example.org",
    "GPU-5f1c0d3e-7c1b-4d5e-9a6f-0123456789ab",
    "10.1.2.3:2222",
    "node7.example.org:2222",
    "[2001:db8::1]:2222",
    "https://example.org/berta",
    "00:1b:44:11:3a:b7",
    "5f1c0d3e7c1b4d5e",
)


@pytest.mark.parametrize("leak", LEAKS)
def test_submit_address_in_any_field_is_not_published(
    tmp_path: Path, document: Json, leak: str
) -> None:
    ours = document["benchmarks"][0]["extra_info"]["lstm"]
    ours["remarks"] = [f"it said {leak}", leak, f"x={leak}", f"({leak})"]
    ours["evidence"] |= {"source": leak, "more": {leak: leak}, "ops": {f"a {leak}": 1}}
    ours["memory"] = {"how": leak, leak: 1.0}
    ours["roofs"] = {"matmul_by": f"a product by {leak}"}
    ours["surprise"] = document["surprise"] = leak
    run_of = document["lstm"]["run"]
    run_of["options"] |= {"suite": leak, "results": leak, leak: leak}
    document["machine_info"] |= {"processor": leak, "cpu": {"brand_raw": leak}}
    for state in run_of["environment"].values():
        state["unread"] = {"cpu.turbo": leak}
        state["cpu"] |= {"name": leak, "governor": leak, "more": leak}
        state["kernel"] = state["container"] = state["system"] = leak
        state["libraries"] |= {"berta": leak, leak: "1.0"}
        state["tensorflow"] = {"version": leak, "build": {"cpu_compiler": leak}, "tf32": True}
        state["gpus"] = [{"name": "NVIDIA H100", "driver": leak, "processes": [{"name": leak}]}]
        state["variables"] = {
            "TF_CONFIG": json.dumps({"cluster": {"worker": [leak]}}),
            "LD_PRELOAD": leak,
            "CUDA_VISIBLE_DEVICES": leak,
            "XLA_FLAGS": f"--xla_dump_to={leak} --xla_cpu_use_thunk_runtime=false",
            "OMP_NUM_THREADS": leak,
            "TF_BERTA": "1",
            "KMP_AFFINITY": leak,
        }
    made = json.loads(submit_one(signed(tmp_path / "a.json", document)).read_text())
    text = json.dumps(made, ensure_ascii=False)
    assert leak not in text
    assert json.dumps(leak)[1:-1] not in text
    assert "berta" not in text.lower()
    before = made["lstm"]["run"]["environment"]["before"]
    assert before["variables"] == {"XLA_FLAGS": "--xla_cpu_use_thunk_runtime=false"}


PUBLISHED_VARIABLES = {
    "OMP_PLACES": ("cores", "threads(8)", "{0:4}:8:4", "{0,1},{2,3}", "numa_domains"),
    "OMP_PROC_BIND": ("close", "spread,close", "TRUE"),
    "OMP_SCHEDULE": ("static", "dynamic,64", "monotonic:guided,7"),
    "OMP_WAIT_POLICY": ("ACTIVE",),
    "KMP_AFFINITY": (
        "granularity=fine,compact,1,0",
        "verbose,none",
        "explicit,proclist=[0,2-4],granularity=core",
    ),
    "GOMP_CPU_AFFINITY": ("0 3 1-2 4-15:2",),
    "OPENBLAS_CORETYPE": ("Haswell", "SKYLAKEX", "NEOVERSEN1"),
    "ONEDNN_MAX_CPU_ISA": ("AVX512_CORE_AMX", "avx2"),
    "MKL_ENABLE_INSTRUCTIONS": ("AVX512_E4", "SSE4_2"),
    "NPY_DISABLE_CPU_FEATURES": ("AVX512F AVX512_SKX", "AVX2,FMA3"),
    "MALLOC_ARENA_MAX": ("4",),
    "OMP_NUM_THREADS": ("4,2",),
    "XLA_FLAGS": ("--xla_cpu_use_thunk_runtime=false",),
}
HIDDEN_VARIABLES = {
    "OMP_PLACES": ("anna", "smith(5)", "{anna}", "cores anna"),
    "OMP_PROC_BIND": ("anna", "close,anna"),
    "OMP_SCHEDULE": ("anna", "static,anna"),
    "KMP_AFFINITY": ("anna=smith", "compact,anna", "granularity=anna", "proclist=[anna]"),
    "GOMP_CPU_AFFINITY": ("00491701234567", "0171 1234567"),
    "OPENBLAS_CORETYPE": ("Anna", "HaswellAnna"),
    "ONEDNN_MAX_CPU_ISA": ("ANNA",),
    "MKL_ENABLE_INSTRUCTIONS": ("ANNA_SMITH",),
    "NPY_DISABLE_CPU_FEATURES": ("CALL ANNA", "ANNA", "AVX2,ANNA"),
    "MALLOC_ANNA_": ("4",),
    "MALLOC_ARENA_MAX": ("4917012345678901",),
    "ANNA_NUM_THREADS": ("4",),
    "TF_ENABLE_ANNA": ("1",),
    "TF_USE_ANNA": ("1",),
    "KMP_ANNABLOCKTIME": ("1",),
    "XLA_FLAGS": ("--anna=1", "--xla_cpu_x=4917012345678901"),
}


def list_published_variables(tmp_path: Path, document: Json, given: Json) -> object:
    document["lstm"]["run"]["environment"]["before"]["variables"] = given
    file = read(signed(tmp_path / "a.json", document))
    made: Any = make_anonymous(document, file, b"secret")
    return made["lstm"]["run"]["environment"]["before"]["variables"]


def test_anonymous_keeps_variables_of_their_grammar(tmp_path: Path, document: Json) -> None:
    document["benchmarks"] = document["benchmarks"][:1]
    for number in range(max(map(len, PUBLISHED_VARIABLES.values()))):
        given = {name: each[number % len(each)] for name, each in PUBLISHED_VARIABLES.items()}
        assert list_published_variables(tmp_path, document, given) == given


def test_anonymous_drops_other_words_in_variables(tmp_path: Path, document: Json) -> None:
    document["benchmarks"] = document["benchmarks"][:1]
    for number in range(max(map(len, HIDDEN_VARIABLES.values()))):
        given = {name: each[number % len(each)] for name, each in HIDDEN_VARIABLES.items()}
        found = json.dumps(list_published_variables(tmp_path, document, given)).lower()
        assert "anna" not in found
        assert "smith" not in found
        assert not re.search(r"\d{7}", found)


KERNELS = (
    "void LSTM_elementWise_fp<float, float, (cudnnRNNMode_t)2>(int, int, float const*, float*)",
    "void cutlass::Kernel<cutlass_80_tensorop_s1688gemm_64x64_32x6_nn_align4>(Params)",
    "(anonymous namespace)::elementwise_kernel<128, unsigned int>",
    "ampere_sgemm_32x128_nn",
    "fusion.12",
    "custom-call",
    "reorder jit:uni",
    "rnn brgemm:avx512_core_bf16",
    "LSTM (CPUExecutionProvider)",
    "numpy.matmul",
)
PROSE = (
    "Anna lives in Main Street",
    "Anna Smith",
    "call 0171 1234567",
    "Anna, who measured it",
    "LSTM (of Anna)",
    "reorder Anna",
    "rnn anna:smith",
    "anna.smith",
    "Torch-Compiled Region: Anna",
    "## Call CompiledFxGraph Anna Smith ##",
    "autograd::engine::evaluate_function: Anna Smith",
    "Anna as Smith",
)


@pytest.mark.parametrize("form", ["keys", "list"])
def test_anonymous_kernel_is_a_name_and_no_sentence(
    form: str, tmp_path: Path, document: Json
) -> None:
    document["benchmarks"] = document["benchmarks"][:1]
    evidence = document["benchmarks"][0]["extra_info"]["lstm"]["evidence"]

    def published(names: tuple[str, ...]) -> list[str]:
        evidence["kernels"] = list(names) if form == "list" else dict.fromkeys(names, 1)
        file = read(signed(tmp_path / "a.json", document))
        made: Any = make_anonymous(document, file, b"secret")
        return list(made["benchmarks"][0]["extra_info"]["lstm"]["evidence"]["kernels"])

    assert set(published(KERNELS)) == set(KERNELS)
    assert set(published(PROSE)) == {HIDDEN}


def test_submit_reference_results_keep_their_evidence() -> None:
    """The forms allow what the suite itself writes."""
    suites = ("call-paths", "cpu-frameworks", "precision-cpu", "streaming", "quick", "mine")
    first = (min(REFERENCE.glob(f"{suite}-*.json")) for suite in suites)
    for path in (SESSION[0], *sorted(REFERENCE.glob("keras-backends-*.json"))[:3], *first):
        document = json.loads(path.read_text())
        made = make_anonymous(document, read(path), b"secret")
        assert HIDDEN not in json.dumps(made)
        before, after = (each["lstm"]["run"]["environment"] for each in (document, made))  # type: ignore[index]
        for key in ("cpu", "memory", "libraries", "system", "python"):
            assert after["before"][key] == before["before"][key]


def test_submit_boot_is_hashed_with_secret(tmp_path: Path, document: Json) -> None:
    document["lstm"]["run"]["environment"]["before"]["boot"] = "0123456789ab"
    file = read(signed(tmp_path / "a.json", document))
    made = [
        make_anonymous(copy.deepcopy(document), file, secret) for secret in (b"mine", b"mine", b"x")
    ]
    mine, again, other = (each["lstm"]["run"]["environment"]["before"]["boot"] for each in made)  # type: ignore[index]
    assert mine == again != other
    assert "0123456789ab" not in json.dumps(made)


@pytest.mark.parametrize("host", ["cpu", "keras", "max", "training", "fused"])
def test_submit_machine_with_common_name_is_accepted(
    tmp_path: Path, document: Json, host: str
) -> None:
    text = json.dumps(document).replace("annas-desktop.example.org", host)
    made = submit_one(signed(tmp_path / "a.json", json.loads(text)))
    assert read(made).run.host.startswith(f"{MACHINE}-")


def test_submit_busy_programs_are_not_published(tmp_path: Path, document: Json) -> None:
    message = "others kept 1.5 of 2 processors busy (tax_software, python3)"
    validity = document["benchmarks"][0]["extra_info"]["lstm"]["validity"]
    validity["valid"] = False
    values = {"others": 1.5, "processors": 2, "busiest": "tax_software 90%"}
    busy = {"code": "busy", "text": message, "advice": "", "values": values}
    validity["reasons"].append(busy)
    made = submit_one(signed(tmp_path / "a.json", document))
    assert "tax_software" not in made.read_text()
    assert "others kept 1.5 of 2 processors busy" in made.read_text()


def test_submit_removes_names_of_this_machine_and_user(
    tmp_path: Path, document: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "berthas-laptop")
    monkeypatch.setattr(getpass, "getuser", lambda: "bertha")
    remarks = ["bertha ran it on berthas-laptop"]
    document["benchmarks"][0]["extra_info"]["lstm"]["remarks"] = remarks
    assert "bertha" not in submit_one(signed(tmp_path / "a.json", document)).read_text()


@pytest.mark.parametrize("seed", range(10))
def test_submit_any_file_is_written_or_refused(tmp_path: Path, document: Json, seed: int) -> None:
    document["benchmarks"] = document["benchmarks"][:3]
    draw = random.Random(seed)
    mutate(document, draw, draw.choice([1, 2, 5]))
    try:
        found = submitted(signed(tmp_path / "a.json", document))
    except ResultError:
        assert list_submitted() == []
    else:
        assert bool(found.problems) != bool(found.written)
        assert list(found.written) == list_submitted()


def test_submit_samples_of_earlier_file_are_refused(tmp_path: Path, document: Json) -> None:
    made = submit_one(SESSION[0])
    document["lstm"]["run"]["id"] = "made-up"
    found = submitted(signed(tmp_path / "mine.json", document))
    assert "has the samples of " in found.problems[0]
    assert list_submitted() == [made]


def test_submit_remaining_name_stops_file(
    tmp_path: Path, document: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    document["benchmarks"][0]["extra_info"]["lstm"]["remarks"] = ["told by annas-desktop"]
    monkeypatch.setattr(anonymous_module._Cleaner, "text", lambda self, text: text)
    path = signed(tmp_path / "a.json", document)
    with pytest.raises(ResultError, match="still contains the name"):
        submitted(path)
    assert list_submitted() == []


def test_kind_of_file_is_measured_gpu_or_processor() -> None:
    state = {"cpu": {"name": "Some CPU (R)", "cores": 2}, "gpus": [{"name": "NVIDIA H100"}] * 2}

    def folder_kind(device: str, before: object) -> str:
        during = run("a", environment=before)  # type: ignore[arg-type]
        of = measured(a_case(device=device), 1.0, during)
        return name_kind(gather(of).files[0])

    assert folder_kind("cpu", state) == "some-cpu-r-2-cores"
    assert folder_kind("gpu:0", state) == "nvidia-h100"
    assert folder_kind("gpu:0", {"gpus": "none"}) == "some-machine"
    assert folder_kind("cpu", {"cpu": {"name": "x" * 100}}) == "x" * 60
