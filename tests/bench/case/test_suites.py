"""Test the suites of the package, and docs/suites.md compared with them."""

import re
import tomllib
from pathlib import Path

import pytest

from bench import case as suites
from bench.case import loading
from bench.case.loading import SuiteChoice
from bench.case.suite_file import ALL, SharedKeys, SuiteFile, SuiteGroup, SuiteShape
from lstm_impl.spec import PRECISIONS
from lstm_impl.workload import GRADIENTS, MODES, OPTIMIZERS
from tests.places import ROOT


@pytest.mark.parametrize("name", sorted(suites.available()))
def test_packaged_suite_loads(name: str) -> None:
    suite = suites.load(name)
    assert suite.name == name
    assert suite.summary
    assert len({case.id for case in suite.cases}) == len(suite.cases)
    assert suite.with_cases(suite.cases[:1]).memory is suite.memory
    # Suites that measure memory say what that takes.
    described = re.search(r"memory of each case on the CPU", suite.path.read_text(encoding="utf-8"))
    assert suite.memory is (name in ("quick", "truncation", "keras-backends")) is bool(described)


def test_truncation_suite_has_equal_windows_and_an_optimizer() -> None:
    works = {case.workload for case in suites.load("truncation").cases}
    assert {(work.timesteps, work.optimizer, work.mode) for work in works} == {
        (480, "adam", "training")
    }
    # A shorter last window would need another graph.
    assert {work.window for work in works} == {3, 5, 10, 15, 30, 60, 120, 240, 480}


def test_first_suite_measures_for_half_of_two_minutes() -> None:
    """The rest is for starting, compiling ``fused_cpu``, tracing and the gate."""
    suite = suites.load("first", SuiteChoice(devices=["cpu"]))
    here = [case for case in suite.cases if case.backend != "cudnn"]
    measuring = 6 * sum(suite.seconds[case.group] for case in here)
    assert 0.45 * 120 <= measuring <= 0.55 * 120
    groups = {case.group for case in here}
    for group in groups:
        backends = [case.backend for case in here if case.group == group]
        assert backends[0] == "keras"  # Keras is in each
        assert len(backends) in (2, 3)
    assert {case.workload.mode for case in here} == {"inference", "training"}


@pytest.mark.parametrize(
    "name", ["braun", "returnn", "deepbench-train", "fastrnns", "flashrnn", "haste", "benchdnn"]
)
def test_published_suite_names_source_and_gradients(name: str) -> None:
    suite = suites.load(name, SuiteChoice(backends=["while_loop"], devices=["cpu"]))
    assert "/" in suite.source
    more = {"deepbench-train": "weights+input", "flashrnn": "weights+input"}
    wanted = {**more, "benchdnn": "all", "haste": "all"}.get(name, "weights")
    training = {case.workload.gradients for case in suite.cases if case.workload.training}
    assert training == {wanted}


# docs/suites.md


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
    suite = suites.load(name, HERE if data["devices"] == ALL else None)
    cases = "every backend" if data.get("backends") == ALL else f"{len(suite.cases):,}"
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
        ("Keys of the file", SuiteFile.__struct_fields__),
        (
            "Keys of a group",
            tuple({*SuiteGroup.__struct_fields__} - {*SharedKeys.__struct_fields__}),
        ),
        ("Keys of a shape", SuiteShape.__struct_fields__),
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
