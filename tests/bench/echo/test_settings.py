"""The settings of the echo task: what is refused by name, and what a training is made of."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

import lstm_impl
from bench.cli.command_line import UsageError
from bench.echo.settings import (
    ALPHABET,
    COPY_INPUTS,
    EchoSettings,
    SettingsError,
    check_backend,
)


def test_the_defaults_are_the_tutorials() -> None:
    settings = EchoSettings()
    assert (settings.bits, settings.echo, settings.batch) == (50_000, 3, 5)
    assert (settings.window, settings.units, settings.learning_rate) == (15, 4, 0.3)
    assert settings.timesteps == 10_000
    assert settings.windows_per_epoch == 666  # 50000 // 5 // 15


@pytest.mark.parametrize(
    ("options", "field", "says"),
    [
        ({"bits": 0}, "bits", "integer of at least 1"),
        ({"bits": 10.0}, "bits", "integer"),
        ({"echo": -1}, "echo", "at least 0"),
        ({"echo": 50_000}, "echo", "less than the 50000 bits"),
        ({"batch": 60_000}, "batch", "at most the 50000 bits"),
        ({"window": 10_001}, "window", "at most 10000, the timesteps of each series"),
        ({"stride": 16}, "stride", "would skip bits"),
        ({"stride": 0}, "stride", "at least 1"),
        ({"units": True}, "units", "integer"),
        ({"layers": 0}, "layers", "integer"),
        ({"dropout": 1.0, "layers": 2}, "dropout", "less than 1"),
        ({"dropout": 0.5}, "dropout", "at least 2 layers"),
        ({"learning_rate": 0.0}, "learning_rate", "positive"),
        ({"learning_rate": float("nan")}, "learning_rate", "positive"),
        ({"learning_rate": "fast"}, "learning_rate", "positive"),
        ({"seed": -1}, "seed", "at least 0"),
        ({"dtype": "float8"}, "dtype", "float32"),
        ({"reset_state": 1}, "reset_state", "True or False"),
        ({"blanks": 1}, "blanks", "True or False"),
        ({"blanks": True}, "blanks", "in copy memory only"),
        ({"symbols": 2}, "symbols", "only copy memory has more than 1"),
        ({"symbols": 4, "echo": 3, "task": "copy"}, "symbols", "at most the distance, 3"),
        ({"memory": -1}, "memory", "at least 0"),
        ({"optimizer": "sgd"}, "optimizer", "adagrad or adam"),
        ({"task": "adding"}, "task", "echo or copy"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(
    options: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        EchoSettings(**options)
    assert caught.value.field == field


def test_settings_survive_plain_data_and_unknown_or_missing_ones_are_named() -> None:
    settings = EchoSettings(bits=100, stride=2, layers=2, dropout=0.25)
    data = json.loads(json.dumps(asdict(settings)))
    assert EchoSettings.from_dict(data) == settings
    with pytest.raises(SettingsError, match="colour is unknown"):
        EchoSettings.from_dict({**data, "colour": "red"})
    del data["echo"]
    with pytest.raises(SettingsError, match="echo is missing"):
        EchoSettings.from_dict(data)


def test_settings_of_before_there_was_another_task_are_of_the_echo() -> None:
    data = asdict(EchoSettings(echo=5))
    for later in ("optimizer", "task", "symbols", "memory", "blanks"):
        del data[later]
    assert EchoSettings.from_dict(data) == EchoSettings(echo=5)


def test_windows_are_whole_and_begin_a_stride_apart() -> None:
    # 20 timesteps: whole windows of 6 end at 18, and with a stride of 4 the last begins at 12.
    assert EchoSettings(bits=103, batch=5, window=6).windows_per_epoch == 3
    settings = EchoSettings(bits=103, batch=5, window=6, stride=4)
    assert (settings.timesteps, settings.windows_per_epoch, settings.step) == (20, 4, 4)
    # Each timestep counts once.
    assert [settings.counted(number) for number in (0, 1)] == [slice(0, 6), slice(2, 6)]


def test_copy_memory_asks_for_symbols_and_with_blanks_for_them_too() -> None:
    echo, copy = EchoSettings(), EchoSettings(task="copy", echo=7, symbols=2)
    blanks = EchoSettings(task="copy", echo=7, symbols=2, blanks=True)
    assert [each.classes for each in (echo, copy, blanks)] == [2, ALPHABET, ALPHABET + 1]
    assert [each.first_class for each in (echo, copy, blanks)] == [0, 1, 0]
    assert [each.spec.input_size for each in (echo, copy, blanks)] == [1, COPY_INPUTS, COPY_INPUTS]
    assert copy.period == 9


def test_the_network_and_the_work_are_those_of_the_settings() -> None:
    settings = EchoSettings(batch=7, window=9, units=5, layers=3, dropout=0.25, dtype="float64")
    assert settings.spec == lstm_impl.LSTMSpec(1, 5, num_layers=3, dtype="float64")
    assert settings.workload == lstm_impl.Workload(7, 9, "training", dropout=0.25)


def test_a_backend_that_cannot_train_it_is_refused_with_the_reason() -> None:
    numpy = lstm_impl.get_backend("numpy")
    check_backend(numpy, "cpu", EchoSettings())
    with pytest.raises(UsageError, match=r"^--backend numpy on gpu:0: NumPy computes on the CPU"):
        check_backend(numpy, "gpu:0", EchoSettings())

    class Refusing(type(numpy)):  # type: ignore[misc]
        def refusal(self, spec: lstm_impl.LSTMSpec, workload: Any = None) -> str:
            return "it can only infer" if workload.training else ""

    with pytest.raises(UsageError, match="cannot train this: it can only infer"):
        check_backend(Refusing(), "cpu", EchoSettings())
