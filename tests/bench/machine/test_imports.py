"""Attack the imports of a process, and look at what the next backend of the process finds."""

import builtins
import importlib
import importlib.machinery
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from bench.machine.guard import Guard, ImportsChangedError
from bench.machine.imports import ImportState

LATE = "tabnanny"
"""A module of the standard library that nothing here imports."""


def state() -> tuple[object, ...]:
    caches = sys.path_importer_cache
    return (
        *(sys.modules, sys.meta_path, sys.path_hooks, caches),
        *(list(sys.meta_path), list(sys.path_hooks), vars(builtins).copy()),
        {name: sys.modules.get(name) for name in ("json", "numpy", "os", "encodings", __name__)},
        LATE in sys.modules,
    )


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Keep a failing test from breaking all others."""
    sys.modules.pop(LATE, None)
    modules, names = sys.modules.copy(), vars(builtins).copy()
    lists: list[tuple[list[Any], list[Any]]] = [
        (each, list(each)) for each in (sys.meta_path, sys.path_hooks)
    ]
    yield
    sys.modules.update(modules)
    vars(builtins).update(names)
    for whole, before in lists:
        whole[:] = before
    sys.modules.pop(LATE, None)


def forbid_caches() -> None:
    for place in list(sys.path_importer_cache):
        sys.path_importer_cache[place] = None


def keep_one_finder() -> None:
    sys.meta_path[:] = [importlib.machinery.BuiltinImporter]


def setting(module: types.ModuleType, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(module, name, value)


def forbidding(name: str) -> Callable[[], None]:
    return lambda: sys.modules.update({name: None})  # type: ignore[dict-item]


CHANGES: dict[str, tuple[Callable[[], object], str]] = {
    "no finders": (lambda: sys.meta_path.clear(), "sys.meta_path"),
    "one finder": (keep_one_finder, "sys.meta_path"),
    "finders in another order": (lambda: sys.meta_path.reverse(), "sys.meta_path"),
    "another list of finders": (setting(sys, "meta_path", []), "sys.meta_path"),
    "finders that are no list": (setting(sys, "meta_path", None), "sys.meta_path"),
    "deleted finders": (lambda: delattr(sys, "meta_path"), "sys.meta_path"),
    "no hooks": (lambda: sys.path_hooks.clear(), "sys.path_hooks"),
    "forbidden json": (forbidding("json"), "sys.modules of json"),
    "forbidden part": (forbidding("json.decoder"), "sys.modules of json.decoder"),
    "forbidden new module": (forbidding(LATE), f"sys.modules of {LATE}"),
    "another json": (
        lambda: sys.modules.update(json=types.ModuleType("json")),
        "sys.modules of json",
    ),
    "no numpy": (lambda: sys.modules.pop("numpy"), "sys.modules of numpy"),
    "no modules": (lambda: sys.modules.clear(), " more"),
    "other modules": (setting(sys, "modules", {}), "sys.modules"),
    "forbidden folders": (forbid_caches, "sys.path_importer_cache"),
    "another cache": (setting(sys, "path_importer_cache", {}), "sys.path_importer_cache"),
    "no open": (setting(builtins, "open", None), "the built-in open"),
    "no import": (lambda: vars(builtins).pop("__import__"), "the built-in __import__"),
    "no built-in names": (lambda: vars(builtins).clear(), " more"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_guard_changed_imports_are_restored_and_an_error(change: str) -> None:
    before, (work, what) = state(), CHANGES[change]
    guard, caught = Guard(), None
    try:
        with guard:
            work()
    except ImportsChangedError as error:
        caught = error
    assert state() == before
    assert caught is not None
    assert what in str(caught)
    assert guard.remarks == [str(caught)]
    with Guard():  # the next backend of the process
        importlib.import_module(LATE)
        assert np.array([1.0]).sum() == 1.0


def test_guard_part_of_a_lost_package_is_found_in_the_restored_one() -> None:
    package, part = sys.modules["json"], "tool"
    sys.modules.pop(f"json.{part}", None)
    vars(package).pop(part, None)

    def import_from_a_second_copy() -> None:
        sys.modules.pop("json")
        importlib.import_module(f"json.{part}")

    with pytest.raises(ImportsChangedError), Guard():
        import_from_a_second_copy()
    assert sys.modules["json"] is package
    assert getattr(package, part) is sys.modules[f"json.{part}"]


def test_guard_changed_imports_explain_what_else_was_raised() -> None:
    def work() -> None:
        sys.meta_path.clear()
        importlib.import_module(LATE)

    with pytest.raises(ImportsChangedError, match=r"sys\.meta_path") as caught, Guard():
        work()
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)

    def leave() -> None:
        sys.modules["json"] = None  # type: ignore[assignment]
        raise SystemExit

    with pytest.raises(ImportsChangedError), Guard():
        leave()


def add(place: list[Any]) -> object:
    made = type("Finder", (), {"find_spec": lambda *_: None, "__call__": lambda *_: None})()
    place.insert(0, made)
    return made


def test_guard_what_frameworks_add_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", sys.meta_path.copy())
    monkeypatch.setattr(sys, "path_hooks", sys.path_hooks.copy())
    theirs = types.ModuleType("their_framework")
    monkeypatch.setitem(sys.modules, "their_framework", types.ModuleType("their_framework"))
    monkeypatch.setitem(sys.modules, "distutils", types.ModuleType("distutils"))
    guard = Guard()
    with guard:
        added = add(sys.meta_path), add(sys.path_hooks)
        importlib.import_module(LATE)
        sys.modules["their_framework"] = theirs
        sys.modules.pop("distutils")
        monkeypatch.setattr(builtins, "their_name", 1, raising=False)
    assert guard.remarks == []
    assert (sys.meta_path[0], sys.path_hooks[0]) == added
    assert sys.modules["their_framework"] is theirs
    assert LATE in sys.modules


@pytest.mark.parametrize("forbidden", [False, True])
def test_guard_lost_module_of_a_framework_is_put_back(
    forbidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second import would register everything of the framework a second time."""
    theirs = types.ModuleType("their_framework")
    monkeypatch.setitem(sys.modules, "their_framework", theirs)
    with Guard():
        if forbidden:
            sys.modules["their_framework"] = None  # type: ignore[assignment]
        else:
            del sys.modules["their_framework"]
    assert sys.modules["their_framework"] is theirs


def test_restore_keeps_finders_that_were_added_before() -> None:
    before = list(sys.meta_path)
    found = ImportState()
    added = add(sys.meta_path)
    sys.meta_path.remove(before[0])
    assert found.restore() == ["sys.meta_path"]
    assert sys.meta_path == [*before, added]
    assert found.restore() == []
