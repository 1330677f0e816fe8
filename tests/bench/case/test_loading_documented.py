"""docs/suites.md compared with the suites."""

import re
import tomllib
from pathlib import Path

import pytest

from bench import case as suites
from bench.case import loading
from bench.case.loading import SuiteChoice
from lstm_impl.spec import PRECISIONS
from lstm_impl.workload import GRADIENTS, MODES, OPTIMIZERS
from tests.places import ROOT

PAGE = (ROOT / "docs/suites.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
HERE = SuiteChoice(devices=["cpu", "gpu:0"])


def table(heading: str) -> dict[str, list[str]]:
    """Return the rows of the table under a heading by their first cell, without code marks."""
    part = PAGE.split(f"# {heading}\n")[1].split("\n#")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in part.splitlines()
        if line.startswith("| `")
    ]
    return {name.strip("`"): rest for name, *rest in rows}


def test_documented_table_has_every_suite() -> None:
    assert set(table("The suites of the package")) == set(suites.available())


@pytest.mark.parametrize("name", suites.available())
def test_documented_table_describes_each_suite(name: str) -> None:
    data = tomllib.loads(suites.available()[name].read_text(encoding="utf-8"))
    suite = suites.load(name, HERE if data["devices"] == loading.ALL else None)
    cases = "every backend" if data.get("backends") == loading.ALL else f"{len(suite.cases):,}"
    modes = " and ".join(sorted({case.workload.mode for case in suite.cases}))
    works = len({case.on("any").group for case in suite.cases})
    assert table("The suites of the package")[name] == [
        str(works),
        cases,
        modes,
        suite.summary,
        suite.source or "this project",
    ]


def write(folder: Path, text: str) -> str:
    path = folder / "my.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_documented_example_loads(tmp_path: Path) -> None:
    suite = suites.load(write(tmp_path, EXAMPLE), HERE)
    assert suite.name == "translation"
    shapes = {case.shape for case in suite.cases}
    assert shapes == {
        *("b1-t60-i256-h512-l2", "b4-t60-i256-h512-l2"),
        "b128-t60-i256-h512-l2-len10-drop0.2-adam-dw",
        *(f"b16-t960-i{h}-h{h}-w{w}-dw" for h in (128, 256) for w in (10, 30, 120)),
    }
    assert {case.spec.dtype for case in suite.cases} == {"float32", "mixed_bfloat16"}
    assert set(suite.seconds.values()) == {2.0, 5.0}


@pytest.mark.parametrize(
    ("heading", "keys"),
    [
        ("Keys of the file", loading._SUITE_KEYS),
        ("Keys of a group", (set(loading._GROUP_KEYS) - set(loading._SHARED_KEYS))),
        ("Keys of a shape", loading.SHAPE_KEYS),
    ],
)
def test_documented_reference_has_every_key(heading: str, keys: tuple[str, ...]) -> None:
    assert set(table(heading)) == set(keys)


def test_documented_reference_has_every_choice_and_default() -> None:
    keys = table("Keys of the file")
    quoted = re.compile('"([a-z0-9_+]+)"')
    assert set(quoted.findall(keys["dtypes"][0])) == set(PRECISIONS)
    assert set(quoted.findall(keys["modes"][0])) == set(MODES)
    assert set(quoted.findall(keys["gradients"][0])) == set(GRADIENTS)
    assert keys["seconds"][1] == str(loading.DEFAULT_SECONDS)
    optimizers = table("Keys of a shape")["optimizer"][0].split(":")[0]
    assert set(quoted.findall(optimizers)) == set(OPTIMIZERS)
