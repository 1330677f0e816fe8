"""Test how a checked implementation becomes a backend that worker processes can measure."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import case as suites
from bench.case.cases import Case
from bench.session.timing import (
    absolute_target,
    backend_name,
    installed_target,
    write_suite,
)
from lstm_impl import LSTMSpec, Workload
from lstm_impl.names import BUILT_IN

CASE = Case("", LSTMSpec(4, 6), Workload(2, 3, "inference"))


@given(st.text(max_size=40))
def test_name_of_any_target_is_one_that_results_can_have(target: str) -> None:
    name = backend_name(target)
    assert re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII)
    assert name not in BUILT_IN


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("my_kernels.py:lstm", "my_kernels_lstm"),
        ("/a/b/my-kernels.py:Layer.forward", "my_kernels_Layer_forward"),
        ("torch.nn:LSTM", "torch_nn_LSTM"),
        ("models/model.onnx", "model"),
        ("torch", "target_torch"),
        ("3d.py", "target_3d"),
    ],
)
def test_name_is_that_of_the_file_and_the_function(target: str, name: str) -> None:
    assert backend_name(target) == name


def test_file_of_a_target_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").touch()
    assert absolute_target("own.py:lstm") == f"{tmp_path.resolve()}/own.py:lstm"
    assert absolute_target("own:lstm") == "own:lstm"


def test_installed_target_is_a_backend_of_another_process_only_inside_the_block(
    tmp_path: Path,
) -> None:
    (tmp_path / "own.py").write_text("def lstm(x, h, c, kernel, recurrent_kernel, bias): ...\n")
    given = {
        "strategy": "own_lstm",
        "target": f"{tmp_path}/own.py:lstm",
        "cell": "lstm",
        "declared": {"gates": "iofg"},
        "folder": str(tmp_path),
    }
    code = "from lstm_impl import get_backend as g; print(g('own_lstm').load().how)"
    with installed_target("own_lstm", given) as variables:
        done = subprocess.run(
            [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
        )
    assert "gates iofg" in done.stdout
    after = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False
    )
    assert after.returncode == 1
    assert "there is no backend 'own_lstm'" in after.stderr


@pytest.mark.parametrize("batch_major", [False, True])
def test_suite_of_a_target_has_its_shape_and_axes(tmp_path: Path, batch_major: bool) -> None:
    case = replace(CASE, workload=replace(CASE.workload, batch_major=batch_major))
    # Another backend stands for the target, which has to be installed to be in a suite.
    suite = suites.load(str(write_suite(case, "numpy", tmp_path)))
    assert {replace(each, backend="") for each in suite.cases} == {case}
    assert "numpy" in {each.backend for each in suite.cases}
