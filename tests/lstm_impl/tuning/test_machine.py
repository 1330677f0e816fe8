"""Where a race runs: the machine in the words that decisions are kept under."""

from __future__ import annotations

import os

import pytest

from lstm_impl.tuning import machine
from lstm_impl.tuning.machine import cpu_words, model_name


def test_the_processor_is_named_as_linux_names_it() -> None:
    assert model_name("processor\t: 0\nmodel name\t: AMD  EPYC\n") == "AMD EPYC"
    assert model_name("")
    assert cpu_words("AMD EPYC", 2) == "AMD EPYC, 2 usable"


def test_this_machine_is_its_processor_or_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cpuinfo", lambda: "model name : A\n")
    monkeypatch.setattr(machine, "usable", lambda: 3)
    assert machine.this("cpu").device == "A, 3 usable"
    assert machine.this("gpu:0", "An accelerator").device == "An accelerator"
    assert machine.this("gpu:1").device == "gpu:1"  # which nobody can name
    assert machine.this("cpu").versions == machine.versions()


def test_processors_that_are_forbidden_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert machine.usable() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.usable() == 7
