"""Make a result file anonymous by publishing only known fields and known forms of text.

A field must have a name that is listed here. Each word of a text must have a form that holds no
path, no address and no identifier of a person, a machine or a device. Known names (of this machine
and its user, and those in the file) are removed from what remains, and the result is searched for
them again at the end.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import hmac
import json
import os
import re
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from bench.case.cases import Case
from bench.machine.environment import Cpu, Gpu, libraries
from bench.machine.fields import file_error, mapping
from bench.records import digest, hdr
from bench.records.schema import Measurement, Outcome, ResultFile
from bench.sharing.proofs import HERE, REPOSITORY

HIDDEN = "(not published)"
"""Replaces a text whose form is not published."""

SOMEBODY = "(a name)"
"""Replaces the name of a person or a machine."""

_NUMBER = r"-?\d+(?:\.\d+)?"
_SWITCH = r"(?:0|1|true|false|True|False|on|off)"
_SETTING = r"-?\d{1,9}(?:\.\d{1,6})?"

_PLACE = r"\{\d{1,4}(?:(?::-?\d{1,4}){1,2}|(?:,\d{1,4}){1,63})?\}(?::-?\d{1,4}){0,2}"
_PLACES = (
    r"(?i:threads|cores|sockets|ll_caches|numa_domains)(?:\(\d{1,4}\))?"
    rf"|{_PLACE}(?:,{_PLACE}){{0,63}}"
)
_BINDING = r"(?i:true|false|primary|master|close|spread)"
_AFFINITY = (
    r"(?i:(?:no)?(?:verbose|warnings|respect|reset)|compact|scatter|balanced|disabled|none|logical"
    r"|physical|explicit|granularity=(?:fine|thread|core|tile|module|die|socket|package"
    r"|numa_domain|group)|proclist=\[\d{1,4}(?:[,-]\d{1,4}){0,63}\]|\d{1,4})"
)
_PROCESSORS = r"\d{1,4}(?:-\d{1,4}(?::\d{1,3})?)?"
_CORES = (
    r"(?i:Generic|Katmai|Coppermine|Northwood|Prescott|Banias|Atom|Core2|Penryn|Dunnington|Nehalem"
    r"|Sandybridge|Haswell|SkylakeX|Cooperlake|Sapphirerapids|Athlon|Opteron(?:_SSE3)?|Barcelona"
    r"|Bobcat|Bulldozer|Piledriver|Steamroller|Excavator|Zen|Nano|ARMV[89](?:S[VM]E)?"
    r"|CortexA(?:53|55|57|7[0-9]|510|710)|CortexX[0-9]|Neoverse[NV][0-9]|Falkor|ThunderX(?:2T99"
    r"|3T110)?|TSV110|EMAG8180|Vortex(?:M4)?|A64FX|Power[0-9]{1,2}|Z1[0-9])"
)
_ISAS = (
    r"(?i:ALL|DEFAULT|SSE4[12]|SSE4_2|AVX|AVX2(?:_VNNI(?:_2)?|_E1)?"
    r"|AVX512(?:_E[1-5]|_MIC(?:_E1)?|_CORE(?:_VNNI|_BF16|_FP16|_AMX(?:_FP16)?)?)?|AVX10_[12]_512)"
)
_FEATURE = (
    r"(?:SSE[23]?|SSSE3|SSE4[12]|POPCNT|AVX2?|F16C|XOP|FMA[34]|X86_V[234]|AVX512(?:F|CD|ER|PF|VL|BW"
    r"|DQ|VNNI|IFMA|VBMI2?|BITALG|FP16|_(?:KNL|KNM|SKX|CLX|CNL|ICL|SPR))|NEON(?:_FP16|_VFPV4)?"
    r"|ASIMD(?:HP|DP|FHM)?|SVE|VSX[234]?|VXE?2?|RVV|LSX)"
)

VARIABLES: Mapping[str, str] = {
    r"(?:OMP|MKL|MKL_DOMAIN|OPENBLAS|BLIS)_NUM_THREADS|TF_NUM_INT(?:RA|ER)OP_THREADS"
    r"|NPROC": r"\d{1,5}(?:,\d{1,5})*",
    r"TF_ENABLE_(?:ONEDNN_OPTS|XLA|LAYOUT_OPT|GPU_GARBAGE_COLLECTION|CUBLAS_TENSOR_OP_MATH_FP32"
    r"|CUDNN_TENSOR_OP_MATH_FP32|CUDNN_RNN_TENSOR_OP_MATH_FP32|RESOURCE_VARIABLES|CONTROL_FLOW_V2)"
    r"|TF_CUDNN_DETERMINISTIC|TF_DETERMINISTIC_OPS|TF_FORCE_GPU_ALLOW_GROWTH": _SWITCH,
    r"TF_DISABLE_(?:MKL|RZ_CHECK)|TF_USE_(?:LEGACY_KERAS|CUBLASLT|CUDNN_FRONTEND)"
    r"|NVIDIA_TF32_OVERRIDE|XLA_PYTHON_CLIENT_PREALLOCATE": _SWITCH,
    r"KMP_DUPLICATE_LIB_OK|OMP_DYNAMIC|CUDA_LAUNCH_BLOCKING": rf"{_SWITCH}|\d{{1,9}}",
    r"KMP_BLOCKTIME": r"infinite|\d{1,9}(?:us|ms|s)?",
    r"TF_GPU_ALLOCATOR": r"cuda_malloc(?:_async)?",
    r"OMP_PROC_BIND": rf"{_BINDING}(?:,{_BINDING}){{0,7}}",
    r"OMP_PLACES": _PLACES,
    r"OMP_WAIT_POLICY": r"(?i:active|passive)",
    r"OMP_SCHEDULE": r"(?i:(?:(?:non)?monotonic:)?(?:static|dynamic|guided|auto)(?:,\d{1,9})?)",
    r"KMP_AFFINITY": rf"{_AFFINITY}(?:,{_AFFINITY}){{0,9}}",
    r"GOMP_CPU_AFFINITY": rf"{_PROCESSORS}(?:[ ,]{_PROCESSORS}){{0,63}}",
    r"CUDA_VISIBLE_DEVICES|NVIDIA_VISIBLE_DEVICES": r"all|none|\d{1,2}(?:,\d{1,2}){0,31}",
    r"KERAS_BACKEND": r"tensorflow|jax|torch|openvino|numpy",
    r"OPENBLAS_CORETYPE": _CORES,
    r"ONEDNN_MAX_CPU_ISA|DNNL_MAX_CPU_ISA|MKL_ENABLE_INSTRUCTIONS": _ISAS,
    r"OPENBLAS_L2_SIZE|ONEDNN_PRIMITIVE_CACHE_CAPACITY|MALLOC_ARENA_(?:MAX|TEST)"
    r"|MALLOC_(?:TOP_PAD|TRIM_THRESHOLD|MMAP_THRESHOLD|MMAP_MAX|PERTURB)_": r"\d{1,12}",
    r"NPY_DISABLE_CPU_FEATURES": rf"{_FEATURE}(?:[ ,]+{_FEATURE}){{0,40}}",
    r"XLA_FLAGS": rf"--xla_[a-z0-9_]{{1,60}}=(?:{_SWITCH}|{_SETTING})",
    r"TF_XLA_FLAGS": rf"--tf_xla_[a-z0-9_]{{1,60}}=(?:{_SWITCH}|{_SETTING})",
}
"""The published environment variables, and the form of each part of their values.

A part (a flag) of another form, such as a path, is left out.
"""

_SYSTEM = r"(?:[A-Z][A-Za-z]+|GNU/Linux)"
_ENVIRONMENT = {
    "time": r"[\dT:.+-]{10,40}",
    "system": rf"{_SYSTEM}(?: {_SYSTEM}){{0,4}}(?: \d+(?:\.\d+){{0,2}}(?: LTS)?"
    r"(?: \([A-Za-z ]+\))?)?",
    "python": r"[A-Za-z]+ \d+\.\d+\.\d+[\w+]{0,5}",
    "container": r"docker|podman|kubernetes|apptainer|kubepods|containerd|lxc",
}
_NAME = r"[\w.+-]{1,80}"
_VERSION = r"\d+(?:\.\d+){0,2}(?:[+.-]?(?:a|b|rc|dev|post|cpu|cu)\d*)*"
_PART = r"(?:@|w/|\d+\.\d+\w{0,4}|(?![0-9a-f]{12})[\w()+,-]+)"
_MODEL = rf"(?!.*[0-9a-f]{{8}}-[0-9a-f]{{4}}){_PART}(?: {_PART}){{0,12}}"
_BUILD = (
    *("is_cuda_build", "is_rocm_build", "is_tensorrt_build"),
    *("cuda_version", "cudnn_version", "cuda_compute_capabilities"),
)
_CPU = tuple(each.name for each in fields(Cpu) if each.name != "name")
_GPU = tuple(each.name for each in fields(Gpu) if each.name not in ("name", "processes"))
_OPTIONS = (
    *("suite", "seed", "session", "order_seed", "memory", "case_limit", "share", "budget"),
    *("threads", "time_limit", "roofs", "rounds"),
)
_OURS = (
    *("schema", "case", "case_id", "gate", "evidence", "setup", "blocks", "steady", "memory"),
    *("roofs", "energy", "validity", "remarks", "streaming"),
)
_CASE = ("case", "case_id")
"""Fields that the reader has checked completely."""

_AS_IT_IS = (*_CASE, "stats", "params", "param", "group", "name", "options")

_MODULE = r"(?:aten|at|autograd|jax|keras|lax|model|nn|np|numpy|onnx|tf|torch|xla|d?layer\d+)"
_WORDS = tuple(
    map(
        re.compile,
        (
            r"[^\W\d_]{1,30}(?:[-'’][^\W\d_]{1,30}){0,4}",  # A word.
            rf"[±+]?{_NUMBER}(?:e[+-]?\d+)?(?:%|[A-Za-zµ]{{1,4}})?|\d{{1,3}}(?:,\d{{3}})+",
            r"\d+\.\d+\.\d+|\d{4}-\d\d-\d\d|\d+;\d+",  # A version, a date, or outliers.
            r"(?!(?=\w*\d)[0-9a-fA-F]{8,}$)[A-Za-z_]\w{0,60}(?:\+\w+)*(?:@\d+)?",  # A backend.
            rf"{_MODULE}(?:(?:\.|::)\w+)+|\w+(?:::\w+)+",
            r"/host:CPU|/device:[CG]PU:\d+|gpu:\d+|--[a-z-]+",
            r"[×=<>≥≤–—+&|/*·-]{1,3}",
        ),
    )
)
_EDGES = "[](){},;:.!?'\"“”’<>"

_QUALIFIED = r"~?\w+(?:::~?\w+)*"
_TYPE_WORD = (
    r"(?:void|const|volatile|unsigned|signed|long|short|int|char|bool|float|double|struct|class|enum"
    r"|static|inline|anonymous|operator)"
)
_KERNEL = re.compile(
    # The form is a declaration of C++ or a plain name. A space is next to a keyword or to
    # punctuation of C++, so that no sentence has this form. The repetition is possessive (+),
    # because a long name would otherwise take forever.
    rf"(?:{_TYPE_WORD} |~?\w++|::|[<>(),*&+=#-]|(?<=[<>(),*&]) |\.(?=\d)| (?=[<>(*&]|const\b)"
    r"){1,2000}+"
    r"|Optimizer\.\w+#\w+\.\w+"
    # The names that the profilers of PyTorch, oneDNN and ONNX Runtime give to their steps.
    r"|Torch-Compiled Region: \d+/\d+|## Call CompiledFxGraph \w{1,64} ##"
    r"|AOTDispatcher Runtime Wrapper Prologue|Pregraph bytecode|TorchDynamo Cache Lookup"
    rf"|autograd::engine::evaluate_function: {_QUALIFIED}"
    r"|\w+ \(\w+ExecutionProvider\)"
    r"|(?:reorder|rnn|matmul|inner_product|eltwise|binary|reduction|concat|sum)"
    r" (?:ref|simple|(?:jit|brgemm|gemm|brg)\w*(?::\w+)*)"
    # The names that the suite's own kernels report.
    r"|\w+ as (?:float|bfloat)\d+|vpdpbusd of AVX512-VNNI"
)
"""The form of the name of a kernel or an operator, which a path or a sentence never has."""

_SINGLE = re.compile(r"\S+")
_TOP_COMMA = re.compile(r"[^<(]*,")
"""The beginning of a list. In a declaration a list stands only in brackets."""

_ADDRESS = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-|[0-9a-f]{12}|(?:[0-9a-f]{2}:){3}|\w+\.\w+\.\w+|\w:\d", re.IGNORECASE
)
"""A part of an identifier or of a machine's address, which such a name could contain."""

_KERNELS = (
    *("ops", "kernels", "custom_calls", "instructions", "operators", "hlo"),
    *("primitives", "products"),
)

_NOBODY = frozenset(("root", "user", "runner", "ubuntu", "debian", "admin", "jovyan", "localhost"))
"""Names that identify nobody."""


def name_kind(file: ResultFile) -> str:
    """Return the name of a folder for the measured GPU or processor: ``amd-epyc-2-cores``."""
    state = mapping(file.run.environment.get("before"))
    words: list[str] = []
    if any(item.case.device.startswith("gpu") for item in file.measurements):
        gpus = state.get("gpus")
        words = list(dict.fromkeys(map(_model, gpus if isinstance(gpus, list) else ())))
    if not any(words):
        cpu = mapping(state.get("cpu"))
        cores = cpu.get("cores")
        words = [_model(cpu), f"{cores} cores" if type(cores) is int else ""]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")[:60] or "some-machine"


def host_name(machine_kind: str, machine_id: str) -> str:
    """Return the published name of a machine, given its published id."""
    return f"{machine_kind}-{machine_id[:6]}"


def make_anonymous(
    document: Mapping[str, Any], file: ResultFile, secret: bytes
) -> dict[str, object]:
    """Return the anonymous document of a file, with a new digest.

    Parameters
    ----------
    document
        The contents of the file.
    file
        The same file, parsed.
    secret
        The key for the hashes of the machine's id and of the time at which its kernel started.

    Raises
    ------
    ResultError
        If a name is still in the document. Then it must not be published.
    """
    names = _names(document, file)
    clean = _Cleaner(names, _own_words(file))
    ours, run = document["lstm"], file.run
    machine = keyed_hash(run.machine_id, secret)
    host = host_name(name_kind(file), machine)
    workflow = _match_form(os.environ.get(HERE), REPOSITORY)
    found = digest.with_digest(
        {
            "benchmarks": [clean.entry(entry) for entry in document["benchmarks"]],
            # The information of a commit belongs to whatever project the run was started in.
            "commit_info": {},
            "datetime": (run.finished or run.started).isoformat(),
            "lstm": {
                "schema": ours.get("schema"),
                digest.MARK: True,
                "run": {
                    **run.to_dict(),
                    **{
                        key: _match_form(getattr(run, key), _NAME)
                        or keyed_hash(getattr(run, key), secret)
                        for key in ("id", "session", "suite")
                    },
                    "options": clean.chosen(run.options, _OPTIONS),
                    "host": host,
                    "machine_id": machine,
                    "environment": {
                        time: clean.state(state, host, secret)
                        for time, state in run.environment.items()
                        if time in ("before", "after")
                    },
                },
                "writer": None,
                "outcomes": [clean.outcome(each) for each in ours["outcomes"]],
                "submitted": {"digest": document.get(digest.KEY), "workflow": workflow},
            },
            "machine_info": {"node": host},
            "version": _match_form(document.get("version"), _VERSION) or "",
        }
    )
    # The owner of a workflow is public, and may have the same name as the user of its runner.
    searched = found | {"lstm": {**mapping(found["lstm"]), "submitted": None}}
    text = json.dumps(searched, ensure_ascii=False).lower()
    # The search differs from the removal, so that an error in one shows in the other.
    for name in names:
        if re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", text):
            raise file_error(
                file.path, f"still contains the name {name} after it was made anonymous"
            )
    return found


_FREE_FORM = frozenset(
    ("evidence", "memory", "roofs", "energy", "values", "setup", "gate", "options", "load")
) | {"threads", "streaming", "blocks", "reasons[]", "params", "variables", "libraries"}
"""Fields of objects whose keys are also texts, such as the names of kernels."""


def texts(document: object) -> Mapping[str, Collection[str]]:
    """Return every text of a document by its place, with the keys of objects of free form."""
    found: dict[str, dict[str, None]] = {}

    def add(value: object, place: str) -> None:
        if isinstance(value, Mapping):
            if value and not _FREE_FORM.isdisjoint(place.split(".")):
                found.setdefault(f"{place} (names)", {}).update(dict.fromkeys(map(str, value)))
            for key, item in value.items():
                add(item, f"{place}.{key}" if place else str(key))
        elif isinstance(value, list):
            for item in value:
                add(item, f"{place}[]")
        elif isinstance(value, str):
            found.setdefault(place, {})[value] = None

    add(document, "")
    return found


def keyed_hash(name: str, secret: bytes) -> str:
    """Return digits for a name, from which nobody without the secret can infer it."""
    return hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()[:12]


class _Cleaner:
    """Clean the parts of one file. ``known`` are its permitted words, such as ids of its cases."""

    def __init__(self, names: Iterable[str], known: frozenset[str]) -> None:
        self._names = [re.compile(rf"(?<!\w){re.escape(n)}(?!\w)", re.IGNORECASE) for n in names]
        self._known = known

    def entry(self, entry: Mapping[str, Any]) -> dict[str, object]:
        ours = entry["extra_info"]["lstm"]
        case = Case.from_dict(ours["case"])
        name = _match_form(entry.get("name"), rf"\w{{1,60}}\[{re.escape(case.id)}\]") or case.id
        kept: dict[str, Any] = {
            key: ours[key] if key in _CASE else self.tree(ours[key], self.text, key)
            for key in _OURS
            if key in ours
        }
        reasons = ours["validity"]["reasons"], kept["validity"]["reasons"]
        for reason, shown in zip(*reasons, strict=True):
            shown["code"] = _match_form(reason["code"], r"\w{1,40}") or "unknown"
            if reason["code"] == "busy":  # The names of programs are left out.
                if "text" in reason:  # In schema 2 and earlier.
                    shown["text"] = self.text(re.sub(r" \(.*\)$", "", reason["text"]))
                shown.get("values", {}).pop("busiest", None)
        return {
            "group": case.group,
            "name": name,
            "fullname": name,
            "param": case.id,
            "params": {"lstm_case": case.id},
            **self.chosen(entry, ("options", "stats")),
            "extra_info": {"lstm": kept},
        }

    def outcome(self, outcome: Mapping[str, Any]) -> dict[str, object]:
        found = {key: outcome[key] for key in (*_CASE, "outcome")}
        kept = ("reason", "advice", "code", "values")
        return found | {key: self.tree(outcome[key], self.text) for key in kept if outcome.get(key)}

    def state(self, state: object, host: str, secret: bytes) -> dict[str, object]:
        """Return the listed fields of the machine's state that have their form."""
        given = mapping(state)
        cpu, boot = mapping(given.get("cpu")), given.get("boot")
        gpus = given.get("gpus")
        framework = mapping(given.get("tensorflow"))
        found: dict[str, object] = {
            **{key: _match_form(given.get(key), form) for key, form in _ENVIRONMENT.items()},
            "host": host,
            "cpu": {"name": _match_form(cpu.get("name"), _MODEL), **self.chosen(cpu, _CPU)},
            "load": self.tree(given.get("load"), self.text),
            "memory": self.tree(given.get("memory"), self.text),
            "gpus": [
                {"name": _match_form(each.get("name"), _MODEL), **self.chosen(each, _GPU)}
                for each in map(mapping, gpus if isinstance(gpus, list) else ())
            ],
            "libraries": {
                name: version
                for name, version in mapping(given.get("libraries")).items()
                # Versions from NVIDIA have four numbers, as addresses have.
                if name in libraries(public=True)
                and _match_form(
                    version, _VERSION + (r"|\d+(?:\.\d+){3}" if "nvidia" in name else "")
                )
            },
            "threads": self.tree(given.get("threads"), self.text),
            "variables": dict(_variables(mapping(given.get("variables")))),
        }
        if framework:
            found["tensorflow"] = {
                "version": _match_form(framework.get("version"), _VERSION),
                "build": self.chosen(mapping(framework.get("build")), _BUILD),
                "tf32": framework.get("tf32") is True,
            }
        if isinstance(boot, str):
            found["boot"] = keyed_hash(boot, secret)
        return {key: value for key, value in found.items() if key == "cpu" or key in given}

    def chosen(self, given: Mapping[str, Any], keys: Collection[str]) -> dict[str, object]:
        return {key: self.tree(given[key], self.text) for key in keys if key in given}

    def tree(self, value: Any, clean: Callable[[str], str], under: str = "") -> Any:
        """Return numbers unchanged, and texts and keys of free form cleaned."""
        kernels = under in _KERNELS
        inside = self.kernel if kernels else _histogram if under == "histogram" else clean
        if isinstance(value, Mapping):
            key_text = self.kernel if kernels else self.text
            return {
                key_text(str(key)): self.tree(item, inside, str(key)) for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.tree(item, inside, under) for item in value]
        return inside(value) if isinstance(value, str) else value

    def text(self, text: str) -> str:
        """Return the text without names, or ``HIDDEN`` if a word has none of the forms."""
        for name in self._names:
            text = name.sub(SOMEBODY, text)
        return text if all(map(self._is_word, text.split())) else HIDDEN

    def kernel(self, name: str) -> str:
        if _KERNEL.fullmatch(name) and not _TOP_COMMA.match(name) and not _ADDRESS.search(name):
            return name if not any(each.search(name) for each in self._names) else SOMEBODY
        return self.text(name) if _SINGLE.fullmatch(name) else HIDDEN

    def _is_word(self, word: str) -> bool:
        bare = word.strip(_EDGES).removesuffix("'s").removesuffix("(x").removesuffix(".toml")
        for each in (word, bare):
            if not each or each in self._known or any(form.fullmatch(each) for form in _WORDS):
                return True
        name, equals, value = bare.partition("=")
        return bool(equals) and bool(list(_variables({name: value})))


def _histogram(text: str) -> str:
    """Return the text if it is a histogram and nothing else, else ``HIDDEN``."""
    try:
        hdr.decode(text)
    except ValueError:
        return HIDDEN
    return text


def _variables(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        for names, form in VARIABLES.items():
            if not (isinstance(value, str) and re.fullmatch(names, name)):
                continue
            if re.fullmatch(form, value):
                yield name, value
            elif parts := [part for part in value.split() if re.fullmatch(form, part)]:
                yield name, " ".join(parts)


def _match_form(value: object, form: str) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(form, value) else None


def _model(part: object) -> str:
    return _match_form(_text(part, "name"), _MODEL) or ""


def _own_words(file: ResultFile) -> frozenset[str]:
    words = {_match_form(file.run.session, _NAME) or ""}
    items: list[Measurement | Outcome] = [*file.measurements, *file.outcomes]
    for case in (each.case for each in items):
        words |= {case.id, case.group, case.backend, case.shape, case.device}
    return frozenset(words)


def _names(document: Mapping[str, Any], file: ResultFile) -> list[str]:
    """Return names of machines and people that a file may contain, the longest first."""
    ours = document["lstm"]
    found = {file.run.host, socket.gethostname(), _text(document.get("machine_info"), "node")}
    found |= {_text(ours.get("writer"), key) for key in ("host", "machine")}
    found |= {_text(state, "host") for state in file.run.environment.values()}
    found |= {host.partition(".")[0] for host in found}
    found.add(file.run.machine_id)
    # A user without an entry here has no name, or on Windows none in the variables.
    with contextlib.suppress(ImportError, KeyError, OSError, RuntimeError):
        found |= {getpass.getuser(), Path.home().name}
    found.update(re.findall(r"(?:/home|/Users|\\Users)[/\\]+([\w.-]+)", json.dumps(document)))
    # A word that every file contains identifies nobody: "cpu" as a machine, "max" as a person.
    nobody = _NOBODY | _words(document) | _words(file.run.suite, as_it_is=True)
    kept = {each for each in found if len(each) > 2 and each.lower() not in nobody}
    return sorted(kept, key=len, reverse=True)


def _words(value: object, as_it_is: bool = False) -> set[str]:
    """Return the words of all keys, and of texts that stay unchanged."""
    if isinstance(value, Mapping):
        found = {word for key in value for word in _words(str(key), as_it_is=True)}
        for key, item in value.items():
            found |= _words(item, as_it_is or key in _AS_IT_IS)
        return found
    if isinstance(value, list):
        return {word for item in value for word in _words(item, as_it_is)}
    if as_it_is and isinstance(value, str):
        return {value.lower(), *re.split(r"\W+", value.lower())}
    return set()


def _text(value: object, key: str) -> str:
    found = mapping(value).get(key)
    return found if isinstance(found, str) else ""
