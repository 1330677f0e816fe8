"""Write result files in which each text is a payload for terminals, pages or spreadsheets.

They have something for each command: two devices, a grid of shapes, a published shape, windows, two
sessions of one machine, memory, roofs, outcomes of every kind, and a map of what was learned.
"""

import copy
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.case.cases import Case
from tests.bench import made_windows
from tests.places import GOLDEN

LINK, CLOSING = "[link=https://evil.example]x", "[/x]"

PAYLOADS = (
    # Markup of Rich.
    *(LINK, CLOSING, "[red]:smile:", "[@click=app.bell]b[/]", "\\[bold]"),
    # Control sequences of terminals: clipboard, title, link, screen; in 8 bits too.
    *("\x1b]52;c;cm0=\x07", "\x1b]0;title\x1b\\", "\x1b]8;;https://evil.example\x1b\\e"),
    *("\x1b[2J\x1b[31m", "\x9b31m", "\x00\x08\x7f", "\r#"),
    # Reversed, invisible or invalid characters.
    *("\u202eabc\u2066", "\u200b\u2028\u2029", "\ud800", "\udc00\ud83d"),
    # HTML.
    *("<script>alert(1)</script>", "</style></script><img src=x onerror=alert(1)>"),
    *('"><svg onload=alert(1)>', "' onmouseover='alert(1)", "a&amp;&lt;b&#60;&", "]]><!--"),
    # Markdown.
    *("one\r\ntwo\n\n# three\n---\n", "|a| b |`c``", "*a* __b__ ~~c~~", "$\\frac{$"),
    *(
        "![i](https://evil.example) [a](javascript:alert(1))",
        "https://evil.example www.evil.example",
    ),
    # Formulas of spreadsheets.
    *('=HYPERLINK("https://evil.example")', "  =1+1", "\t=1+1", "＝1+1", "＋1", "－1", "＠SUM(1)"),
    *("-1+1", "+1", "@x", "'=1", '"=1+1"'),
    # Python and the shell.
    *("%s {0} {x}", "${IFS}", "_x"),
)

_FIXED = {
    *("dtype", "mode", "gradients", "optimizer", "task", "tasks", "outcome", "started", "finished"),
    *("case_id", "by_task"),
}
"""Keys of values with a fixed vocabulary: the reader refuses others."""

_NAMES = {"libraries", "variables", "errors", "bounds", "ops"}
"""Keys of objects whose own keys are free texts."""


@dataclass
class Texts:
    """Replace each text of a file, equal texts by equal payloads.

    payloads: used in turn. chosen: the replacement of each text so far, by its key.
    """

    payloads: Iterable[str]
    chosen: dict[tuple[str, str], str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._next = itertools.cycle(self.payloads)

    def __call__(self, key: str, text: str) -> str:
        if (key, text) not in self.chosen:
            payload = next(self._next)
            self.used.add(payload)
            self.chosen[key, text] = f"{payload}{text}"
        return self.chosen[key, text]

    def document(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return a file with the texts replaced that its reader looks at."""
        found = dict(document)
        for part in ("lstm", "learning", "commit_info"):
            if part in found:
                found[part] = self._replaced(found[part], part)
        found["benchmarks"] = [
            entry | {"extra_info": self._replaced(entry["extra_info"], "extra_info")}
            for entry in document.get("benchmarks", ())
        ]
        return found

    def _replaced(self, value: Any, key: str) -> Any:
        if isinstance(value, dict):
            found = {
                (self("key", name) if key in _NAMES else name): (
                    each if name in _FIXED else self._replaced(each, name)
                )
                for name, each in value.items()
            }
            if "case_id" in found:
                found["case_id"] = Case.from_dict(found["case"]).id
            return found
        if isinstance(value, list):
            return [self._replaced(each, key) for each in value]
        # A training without a problem has an empty text.
        return (
            self(key, value)
            if isinstance(value, str) and (key, value) != ("problem", "")
            else value
        )


@dataclass(frozen=True)
class Store:
    """Paths of the files. old, new: two sessions of one machine; windows: of a third session.

    baseline: how the backend that others are compared with is called in them.
    """

    old: Path
    new: Path
    windows: Path
    learning: Path
    baseline: str


Change = Callable[[dict[str, Any]], dict[str, Any]]


def write_store(folder: Path, change: Change) -> Store:
    """Write all of them, each changed by ``change``."""
    first = change(_times(json.loads((GOLDEN / "replicate-1.json").read_text())))
    store = Store(
        folder / "old",
        folder / "new",
        folder / "windows",
        folder / "learning" / "map.json",
        first["benchmarks"][0]["extra_info"]["lstm"]["case"]["backend"],
    )
    for number in (1, 2):
        document = _times(json.loads((GOLDEN / f"replicate-{number}.json").read_text()))
        _write(store.old / f"a-{number}.json", change(document))
        later = copy.deepcopy(document)
        later["commit_info"]["id"] = "1" * 40
        run = later["lstm"]["run"]
        run["id"], run["session"] = f"later-{number}", "later"
        run["started"], run["finished"] = "2025-02-01T12:00:00+00:00", "2025-02-01T12:01:00+00:00"
        run["environment"]["before"]["libraries"]["tensorflow"] = "2.22.0"
        for entry in later["benchmarks"]:
            entry["stats"]["data"] = [1.5 * each for each in entry["stats"]["data"]]
        _write(store.new / f"b-{number}.json", change(later))
    costs = {
        "keras": made_windows.Cost(2e-3, 4e-4),
        "while_loop": made_windows.Cost(1e-3, 2e-4, reaches=15),
    }
    paths = made_windows.write_windows(
        store.windows, costs, (5, 15, 30), processes=2, timesteps=60, host="golden-host"
    )
    for path in paths:
        _write(path, change(json.loads(path.read_text())))
    learned = json.loads((GOLDEN / "learning-1.json").read_text())
    for cell in learned["learning"]["cells"]:
        if cell["window"] == 6:
            cell["loss"], cell["accuracy"] = cell["best"], 1.0
    cell = learned["learning"]["cells"][-1]
    cell["loss"], cell["accuracy"], cell["problem"] = None, None, "the loss is not a number"
    _write(store.learning, change(learned))
    return store


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def _times(document: dict[str, Any]) -> dict[str, Any]:
    """Return a golden file with more cases and figures."""
    entries = document["benchmarks"]
    for pattern in copy.deepcopy(entries[:2]):
        for device, batch, hidden in itertools.product(("cpu", "gpu:0"), (2, 4), (4, 8)):
            if (device, batch, hidden) != ("cpu", 2, 4):
                entries.append(_entry(pattern, device, {"hidden_size": hidden}, {"batch": batch}))
    training = next(
        each
        for each in entries
        if each["extra_info"]["lstm"]["case"]["workload"]["mode"] == "training"
    )
    # The shape of stefbraun/rnn_benchmarks (bench/case/published.csv).
    shape = {"input_size": 123, "hidden_size": 320}
    entries.append(_entry(training, "cpu", shape, {"batch": 64, "timesteps": 100}))
    for number, entry in enumerate(entries):
        ours = entry["extra_info"]["lstm"]
        ours["memory"] = {"peak_bytes": 2.0**20 * (1 + number), "by": "the process"}
        ours["roofs"] = {
            "operations": 1e9,
            "bytes": 1e6,
            "of_matmul": 0.5,
            "of_bandwidth": 0.1,
            "matmul_per_s": 1e11,
            "matmul_by": "NumPy, float32",
            "bandwidth_per_s": 1e10,
            "bandwidth_by": "copy by NumPy",
            "of_chain": 0.2,
            "chain_by": "PyTorch",
        }
        ours["energy"] = {"joules": 0.1 * (1 + number), "source": "the counter of the package"}
        ours["evidence"] = {"ops": {"MatMul": 3}, "kernels": ["a_kernel"], "device": "CPU:0"}
        ours["remarks"] = ["a warning", "it changed the locale"]
        if number % 3 == 0:
            reason = {"code": "busy", "text": "the machine was busy", "advice": "close the rest"}
            ours["validity"] = {"valid": False, "reasons": [reason]}
    return document


def _entry(
    pattern: dict[str, Any], device: str, spec: dict[str, int], work: dict[str, int]
) -> dict[str, Any]:
    entry = copy.deepcopy(pattern)
    ours = entry["extra_info"]["lstm"]
    ours["case"]["device"] = device
    ours["case"]["spec"].update(spec)
    ours["case"]["workload"].update(work)
    ours["case_id"] = Case.from_dict(ours["case"]).id
    factor = (0.5 if device == "gpu:0" else 1.0) * sum(spec.values())
    entry["stats"]["data"] = [factor * each for each in entry["stats"]["data"]]
    return entry
