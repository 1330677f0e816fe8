"""What is known of a machine, and that no answer is an answer, too."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from bench.machine import environment, facts
from tests.bench.machine.made_machines import FakeNvml, fake_psutil, machine


def test_only_variables_that_change_a_time_are_kept_and_no_secret_and_no_place() -> None:
    environ = {
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "XLA_FLAGS": "--x",
        "OMP_NUM_THREADS": "2",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F",
        "CUDA_VISIBLE_DEVICES": "0",
        "NVIDIA_TF32_OVERRIDE": "0",
        "HOME": "/home/me",
        "MY_TF_THING": "no",
        "TORCH_HUB_TOKEN": "abc",
        "NVIDIA_API_KEY": "abc",
        "TORCHINDUCTOR_CACHE_DIR": "/tmp/torchinductor_me",
        "LSTM_LOCK": "/home/me/lock",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    assert facts.variables(environ) == {
        "CUDA_VISIBLE_DEVICES": "0",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F",
        "NVIDIA_TF32_OVERRIDE": "0",
        "OMP_NUM_THREADS": "2",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TORCH_HUB_TOKEN": "(hidden)",
        "XLA_FLAGS": "--x",
    }


def test_the_machines_id_stays_until_its_hardware_changes(tmp_path: Path) -> None:
    first = environment.read(machine(tmp_path))
    busy = fake_psutil(getloadavg=lambda: (9.0, 9.0, 9.0))
    assert environment.read(machine(tmp_path, psutil=busy)).machine_id == first.machine_id
    assert len(first.machine_id) == 12
    with_gpus = environment.read(machine(tmp_path, load_nvml=FakeNvml))
    assert with_gpus.machine_id != first.machine_id
    assert replace(first, host="another").machine_id != first.machine_id


def test_what_cannot_be_answered_is_none_and_its_reason_kept_under_its_name() -> None:
    unread: dict[str, str] = {}
    ask = facts.Asker(unread)
    assert ask("fine", lambda: 0) == 0
    assert ask("a", lambda: [][0]) is None
    within = ask.within("cpu").within("clock")
    assert within("now", lambda: Path("/no/such").read_text()) is None
    assert unread == {
        "a": "list index out of range",
        "cpu.clock.now": "No such file or directory: /no/such",
    }
    with pytest.raises(KeyboardInterrupt):
        ask("b", lambda: signal.raise_signal(signal.SIGINT))
