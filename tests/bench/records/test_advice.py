"""Test that advice names the options of the user's command."""

import json
from pathlib import Path

import pytest

from bench import records
from bench.records.schema import MORE_TIME, advice_for
from bench.render.messages import reason_texts
from tests.places import GOLDEN


@pytest.mark.parametrize(
    ("advice", "for_run"),
    [
        (MORE_TIME, "give it more time: --seconds TIME"),
        (f"{MORE_TIME}; if it stays, wait", "give it more time: --seconds TIME; if it stays, wait"),
        ("measure with --lstm-threads 2", "measure with --threads 2"),
        ("close what else runs", "close what else runs"),
        ("", ""),
    ],
)
def test_advice_for_command_names_its_options(advice: str, for_run: str) -> None:
    assert advice_for(advice, managed=True) == for_run
    assert advice_for(for_run, managed=True) == for_run
    assert advice_for(advice, managed=False) == advice


@pytest.mark.parametrize("managed", [False, True])
def test_read_advice_names_options_of_its_command(tmp_path: Path, managed: bool) -> None:
    document = json.loads((GOLDEN / "replicate-1.json").read_text())
    options = document["lstm"]["run"]["options"]
    if managed:
        options["session"] = "20250131T120000Z-abcdef"
    ours = document["benchmarks"][0]["extra_info"]["lstm"]
    reason = {"code": "not_steady", "text": "it drifts", "advice": MORE_TIME}
    ours["validity"] = {"valid": False, "reasons": [reason]}
    document["lstm"]["outcomes"][0]["advice"] = "measure with --lstm-threads 2"
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    file = records.read(path)
    assert file.run.managed == managed
    message = [
        reason_texts(file.measurements[0].reasons[0])[1],
        reason_texts(file.outcomes[0].reason)[1],
    ]
    assert message == (
        ["give it more time: --seconds TIME", "measure with --threads 2"]
        if managed
        else [MORE_TIME, "measure with --lstm-threads 2"]
    )
