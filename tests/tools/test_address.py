"""Test that the project's address can be written into the notebook for a GPU."""

import json

import pytest

from bench.machine.fields import InputError
from tools.address import NOTEBOOK, fill_in

BEFORE = NOTEBOOK.read_text("utf-8")
ADDRESS = "https://github.com/someone/lstm"


def cells(text: str) -> list[str]:
    return ["".join(each["source"]) for each in json.loads(text)["cells"]]


def test_address_and_badges_are_written_once() -> None:
    once = fill_in(BEFORE, ADDRESS)
    first, code, *rest = cells(once)
    before_first, before_code, *before_rest = cells(BEFORE)
    title, _, badges, *_ = first.splitlines()
    assert title == before_first.splitlines()[0]
    assert (
        "https://colab.research.google.com/github/someone/lstm/blob/main/docs/gpu.ipynb" in badges
    )
    assert badges.count("github.com/someone/lstm/blob/main/docs/gpu.ipynb") == 1
    assert code == before_code.replace('PROJECT = ""', f'PROJECT = "git+{ADDRESS}"')
    assert rest == before_rest
    assert fill_in(once, ADDRESS) == once
    other = fill_in(once, "https://github.com/other/lstm")
    assert "someone" not in other


@pytest.mark.parametrize("address", ["someone/lstm", "https://a.example/o/n", ADDRESS + "/tree/x"])
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=r"expected https://github\.com/OWNER/NAME"):
        fill_in(BEFORE, address)
