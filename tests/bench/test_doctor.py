from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import doctor
from tests.loaded import FRAMEWORKS

BLOCK = """\
import importlib.machinery

find = importlib.machinery.PathFinder.find_spec
gone = {names!r}
importlib.machinery.PathFinder.find_spec = classmethod(
    lambda cls, name, path=None, target=None:
        None if name.partition(".")[0] in gone else find(name, path, target)
)
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backends", "while_lop"], "did you mean while_loop"),
        (["--device", "tpu:0"], "'tpu:0' is no device"),
    ],
)
def test_what_does_not_exist_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main(arguments) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_the_json_form_holds_all_that_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--backends", "numpy", "--device", "cpu", "--format", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == 1
    assert data["devices"] == {"cpu": ""}
    (entry,) = data["backends"]
    assert entry["name"] == "numpy"
    assert entry["devices"]["cpu"] == {"available": True, "reason": "", "install": ""}
    assert data["frameworks"]["numpy"]
    assert data["environment"]["cpu"]["logical"] >= 1
    assert isinstance(data["findings"], list)


def test_it_works_with_no_framework_installed_and_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCK.format(names=FRAMEWORKS))
    done = subprocess.run(
        [sys.executable, "-m", "bench.doctor", "--device", "cpu"],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    assert "TensorFlow is not installed" in done.stdout
    assert "pip install 'lstm-benchmark-suite[cpu]'" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("  numpy "))
    assert "✓" in row
