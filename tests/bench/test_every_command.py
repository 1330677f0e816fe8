"""Test every command that shows result files with hostile and extreme contents.

A file may come from anywhere: its texts stay text in every format, and no figure that its reader
lets through makes a table or a picture fail.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench import compare, doctor, history, plot, recommend, report
from bench.doctor import Diagnosis
from bench.machine import environment, fields
from bench.machine.survey import Entry, Survey
from bench.records import stored
from bench.render.escape import text_console
from bench.render.plot import KIND_OF
from lstm_impl import Availability
from tests.bench.harmless import (
    assert_csv,
    assert_markdown,
    assert_page,
    assert_plain,
    assert_styled,
    assert_svg,
)
from tests.bench.made_reasons import recorded
from tests.bench.made_texts import CLOSING, LINK, PAYLOADS, Store, Texts, write_store

WIDTHS = (40, 58, 80, 120, 200)
FEW_WIDTHS = WIDTHS[::2]
"""The narrowest, the widest and the usual width."""


@dataclass(frozen=True)
class Command:
    """module: with ``main``. kind: of its output. arguments: OUT is its file."""

    module: ModuleType
    kind: str
    arguments: Callable[[Store], list[object]]


OUT = "OUT"


def _commands() -> Iterator[tuple[str, Command]]:
    def named(
        name: str,
        module: ModuleType,
        kinds: Sequence[str],
        arguments: Callable[[Store], list[object]],
    ) -> Iterator[tuple[str, Command]]:
        for kind in kinds:

            def every(store: Store, kind: str = kind) -> list[object]:
                found = [*arguments(store), "--format", kind]
                return [*found, "--output", OUT] if kind == "svg" else found

            yield f"{name} {kind}", Command(module, kind, every)

    def based(store: Store) -> list[object]:
        return ["--baseline", store.baseline]

    texts = ("terminal", "markdown", "csv")
    yield from named(
        "report", report, (*texts, "html", "svg"), lambda s: [s.old, s.windows, *based(s)]
    )
    brief = ("terminal", "markdown", "svg")
    yield from named("report --brief", report, brief, lambda s: [s.old, "--brief", *based(s)])
    yield from named("report --why", report, brief[:2], lambda s: [s.old, s.windows, "--why"])
    yield from named("compare backends", compare, texts, lambda s: ["backends", s.old, *based(s)])
    yield from named("compare devices", compare, (*texts, "svg"), lambda s: ["devices", s.old])
    yield from named("compare runs", compare, texts, lambda s: ["runs", s.old, s.new])
    yield from named("compare published", compare, texts, lambda s: ["published", s.old])
    yield from named("history", history, (*texts, "svg"), lambda s: [s.old, s.new])

    def along(store: Store) -> list[object]:
        return [store.windows, store.learning, "--along", "window"]

    def draw_picture(store: Store) -> list[object]:
        return [store.windows, "--along", "window", "--output", OUT]

    yield from named("report --along", report, texts, along)
    yield "plot --along", Command(plot, "svg", draw_picture)
    options = ["--dependency", 3, "--batch", 64, "--hidden", 256]
    yield from named("recommend", recommend, texts[:2], lambda s: [*options, s.windows, s.learning])
    for what in KIND_OF:

        def drawn(store: Store, what: str = what) -> list[object]:
            return [store.old, "--what", what, "--output", OUT, *based(store)]

        yield f"plot {what}", Command(plot, "svg", drawn)


COMMANDS = dict(_commands())


class Shown:
    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self._out = folder / "out.svg"

    def __call__(self, command: Command, store: Store, codes: tuple[int, ...] = (0,)) -> str:
        given = command.arguments(store)
        arguments = [str(self._out if each is OUT else each) for each in given]
        code = command.module.main(arguments)
        written, errors = self._capsys.readouterr()
        assert code in codes, errors
        assert_plain(errors)
        return self._out.read_text(encoding="utf-8") if OUT in given else written


@pytest.fixture
def shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shown:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm-256color")
    pytest.importorskip("matplotlib")
    return Shown(capsys, tmp_path)


# Texts


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("plain"), lambda document: document)


def texts(*payloads: str) -> Texts:
    """Return texts of the store: both baselines have Rich markup; the CPU keeps its name."""
    names = {
        ("backend", "keras"): f"{LINK}keras",
        ("backend", "while_loop"): f"{CLOSING}while_loop",
        ("backend", "numpy"): f"{CLOSING}numpy",
        ("device", "cpu"): "cpu",
        # Text next to a figure, inside a sentence.
        ("matmul_by", "NumPy, float32"): "\x1b]52;c;cm0=\x07\u202eNumPy, float32",
    }
    return Texts(payloads, names)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return files that hold all payloads, each in some of their texts."""
    change = texts(*PAYLOADS)
    store = write_store(tmp_path_factory.mktemp("hostile"), change.document)
    assert change.used == set(PAYLOADS)
    return store


def assert_harmless(
    command: Command,
    store: Store,
    plain: Store,
    shown: Shown,
    monkeypatch: pytest.MonkeyPatch,
    widths: Sequence[int] = WIDTHS,
) -> None:
    if command.kind != "terminal":
        text = shown(command, store)
        if command.kind == "html":
            assert_page(text, shown(command, plain))
        else:
            check = {"markdown": assert_markdown, "csv": assert_csv, "svg": assert_svg}
            check[command.kind](text)
        return
    for width in widths:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.delenv("FORCE_COLOR", raising=False)
        text = shown(command, store)
        assert_plain(text)
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert_styled(shown(command, store))
    # Interpreted markup would be missing.
    assert LINK in text or CLOSING in text


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_hostile_file_gives_only_text(
    name: str, hostile: Store, plain: Store, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_harmless(COMMANDS[name], hostile, plain, shown, monkeypatch, FEW_WIDTHS)


@pytest.mark.slow
@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_commands_every_payload_in_every_field_gives_only_text(
    payload: str, plain: Store, shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_store(tmp_path / "store", texts(payload).document)
    for command in COMMANDS.values():
        assert_harmless(command, store, plain, shown, monkeypatch)


@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_doctor_hostile_backend_text_is_text(payload: str) -> None:
    no = Availability(False, f"{payload}no", f"{payload}pip install it")
    survey = Survey(
        devices=("cpu", f"{payload}gpu:0"),
        entries=(
            Entry(f"{payload}x", f"{payload}f", f"{payload}s", {"cpu": no, f"{payload}gpu:0": no}),
        ),
        frameworks={f"{payload}f": f"{payload}1"},
        problems=(f"{payload}problem",),
    )
    found = Diagnosis(
        survey, environment.read(), (recorded(payload, f"{payload}t", f"{payload}a"),)
    )
    for width in FEW_WIDTHS:
        for forced, check in ((False, assert_plain), (True, assert_styled)):
            file = io.StringIO()
            doctor.print_diagnosis(
                found, text_console(file=file, width=width, force_terminal=forced)
            )
            check(file.getvalue())


@pytest.mark.parametrize("module", [report, compare, history, recommend, plot])
def test_commands_hostile_file_name_is_text_in_errors(
    module: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"{LINK.replace('/', '')}\x1b]52;c;cm0=\x07\u202e.json"
    path.write_text("{")
    before = {
        compare: ["backends"],
        recommend: ["--dependency", "5", "--batch", "64", "--hidden", "256"],
        plot: ["--output", str(tmp_path / "x.svg")],
    }
    assert module.main([*before.get(module, []), str(path)]) == 2
    written, errors = capsys.readouterr()
    assert_plain(written + errors)
    assert "[link=" in errors


def test_commands_hostile_folder_name_is_text_in_advice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("[red]\x1b]52;c;cm0=\x07\u202e")
    write_store(folder, lambda document: document)
    store = str(folder / "windows")
    assert report.main([store, "--brief"]) == 0
    options = ["--dependency", "3", "--batch", "64", "--hidden", "256"]
    assert recommend.main([*options, store]) in (recommend.ANSWERED, recommend.NO_RESULTS)
    written, errors = capsys.readouterr()
    assert_plain(written + errors)
    assert written.count("[red]?]52;") >= 2


# Figures

_SMALL, _LARGE = stored.SMALLEST_FIGURE, stored.LARGEST_FIGURE
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "smallest": (fields.SHORTEST, _SMALL),
    "largest": (fields.LONGEST, _LARGE),
    "zero": (fields.SHORTEST, 0.0),
    "smallest beside largest": (None, None),
}


def set_to_bounds(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a change of files that sets every time, size and figure to a bound."""
    time, figure = BOUNDS[name]
    places = iter(range(10**9))

    def chosen(value: float | None, low: float, high: float) -> float:
        return (low, high)[next(places) % 2] if value is None else value

    def change(document: dict[str, Any]) -> dict[str, Any]:
        for entry in document.get("benchmarks", ()):
            ours = entry["extra_info"]["lstm"]
            level = chosen(time, fields.SHORTEST, fields.LONGEST)
            entry["stats"]["data"] = [level for _ in entry["stats"]["data"]]
            ours["setup"] = dict.fromkeys(ours["setup"], min(chosen(figure, 0.0, 1e9), 1e9))
            for kind in ("memory", "roofs", "energy"):
                if ours[kind] is not None:
                    ours[kind] = {
                        key: each if isinstance(each, str) else chosen(figure, _SMALL, _LARGE)
                        for key, each in ours[kind].items()
                    }
        for cell in document.get("learning", {"cells": ()})["cells"]:
            if not cell["problem"]:
                cell["loss"] = chosen(time, 0.0, 1e9)
                cell["memoryless"], cell["best"] = (1e9, 0.0) if time is None else (1e-8, 0.0)
                cell["curve"] = [cell["loss"]] * len(cell["curve"])
                cell["updates"] = 2**53
        return document

    return change


@pytest.mark.parametrize(
    "bound",
    [
        "smallest beside largest",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("smallest", "largest", "zero")),
    ],
)
def test_commands_extreme_figures_are_shown(bound: str, shown: Shown, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", set_to_bounds(bound))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, command in COMMANDS.items():
            # Without learned distances there is no window to recommend.
            codes = (0, recommend.NO_RESULTS) if "recommend" in name else (0,)
            text = shown(command, store, codes)
            assert text, name
            assert not re.search(r"\bnan\b", text) or command.kind == "html", name
