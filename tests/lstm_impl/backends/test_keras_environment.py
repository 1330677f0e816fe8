"""Which backend Keras 3 has in a process, and what is said where another is needed."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any, cast

import pytest

from lstm_impl import get_backend
from lstm_impl.backends.keras import environment as keras_environment


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A process that has not imported Keras, with an empty home."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


def test_keras_takes_the_variable_before_its_file_before_tensorflow(
    at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keras_environment.keras_backend() == "tensorflow"
    (at_home / "keras.json").write_text('{"backend": "torch"}')
    assert keras_environment.keras_backend() == "torch"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert keras_environment.keras_backend() == "jax"


@pytest.mark.parametrize("text", ["{", "[]", '{"backend": 3}', "\udcff"])
def test_a_broken_configuration_of_keras_is_none(at_home: Path, text: str) -> None:
    (at_home / "keras.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert keras_environment.keras_backend() == "tensorflow"


def test_once_imported_it_is_keras_that_says_what_it_has(
    at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = types.SimpleNamespace(backend=lambda: "openvino")
    monkeypatch.setitem(sys.modules, "keras", cast("Any", types.SimpleNamespace(config=config)))
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # too late
    assert keras_environment.keras_backend() == "openvino"


@pytest.mark.parametrize("name", ["keras", "keras_jax", "keras_torch", "keras_openvino"])
def test_a_process_whose_keras_has_another_backend_is_told_in_one_line_how_to_get_one(
    name: str, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = get_backend(name)
    wanted = backend.environment["KERAS_BACKEND"]
    assert isinstance(backend, keras_environment.KerasThree)
    monkeypatch.setenv("KERAS_BACKEND", wanted)
    assert backend.process()
    other = "jax" if wanted != "jax" else "torch"
    monkeypatch.setenv("KERAS_BACKEND", other)
    assert str(backend.process()) == (
        "Keras chooses its backend when it is imported, and in this process that is "
        f"{other}; {name} needs a process with {wanted}: KERAS_BACKEND={wanted} python ..."
    )
    monkeypatch.setenv("KERAS_BACKEND", "thaeno")
    assert str(backend.process()) == (
        "KERAS_BACKEND is 'thaeno', which is no backend of Keras: "
        f"KERAS_BACKEND={wanted} python ..."
    )
