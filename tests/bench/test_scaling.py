"""``bench.scaling`` and ``bench.run scaling`` are one command."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import run, scaling
from tests.bench.session.made_scaling import records, written


def test_it_is_another_name_of_run_scaling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(written(tmp_path, [records(0)]))
    for words, code in ((["--show", path], 0), (["--show", f"{path}.not"], 2)):
        assert scaling.main(words) == code
        told = capsys.readouterr()
        assert run.main(["scaling", *words]) == code
        assert capsys.readouterr() == told
