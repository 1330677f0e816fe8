"""Suites in files: their cases, and errors."""

import json
import sys
from pathlib import Path

import pytest

from bench import case as suites
from bench.case import loading
from bench.case.cases import Case
from bench.case.loading import Suite, SuiteChoice, SuiteError
from bench.machine import devices
from bench.machine.fields import did_you_mean
from lstm_impl import LSTMSpec, Workload

GOOD = """\
schema = 1
name = "mine"
backends = ["numpy"]
devices = ["cpu"]

[[groups]]
shapes = [{ batch = 2, timesteps = 6, input_size = 1, hidden_size = 4 }]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text)
    return path


def load(folder: Path, text: str, choice: SuiteChoice | None = None) -> Suite:
    return suites.load(str(write(folder, text)), choice)


def ids(suite: Suite) -> list[str]:
    return [case.id for case in suite.cases]


def test_load_several_gpus_has_cases_on_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "list_devices", lambda: ["cpu", "gpu:0", "gpu:1"])
    assert {case.device for case in suites.load("quick").cases} == {"cpu", "gpu:0", "gpu:1"}


def test_load_orders_cases_by_group(tmp_path: Path) -> None:
    text = GOOD.replace('["numpy"]', '["while_loop", "static_unroll"]').replace(
        "[[groups]]", '[[groups]]\ndtypes = ["float64", "float32"]\nwindows = [3, 2]'
    )
    expected = [
        f"{backend}/b2-t6-i1-h4-w{window}{gradients}/{dtype}/{mode}/cpu"
        for window in (3, 2)
        for dtype in ("float64", "float32")
        for mode, gradients in (("inference", ""), ("training", "-dw"))
        for backend in ("while_loop", "static_unroll")
    ]
    assert ids(load(tmp_path, text)) == expected


def test_load_groups_with_one_shape_are_joined(tmp_path: Path) -> None:
    text = GOOD.replace("[[groups]]", '[[groups]]\nmodes = ["training"]\nseconds = 9')
    text += GOOD.partition("[[groups]]")[2].replace("timesteps = 6", "timesteps = 7")
    text = text.replace(
        "shapes = [{ batch = 2, timesteps = 7", "[[groups]]\nshapes = [{ batch = 2, timesteps = 7"
    )
    text += (
        '[[groups]]\nbackends = ["while_loop", "numpy"]\nmodes = ["training"]\nseconds = 2\n'
        "shapes = [{ batch = 2, timesteps = 6, input_size = 1, hidden_size = 4 }]\n"
    )
    suite = load(tmp_path, text)
    assert ids(suite)[:2] == [
        "numpy/b2-t6-i1-h4-dw/float32/training/cpu",
        "while_loop/b2-t6-i1-h4-dw/float32/training/cpu",
    ]
    assert suite.seconds["b2-t6-i1-h4-dw/float32/training/cpu"] == 9.0
    assert suite.seconds["b2-t7-i1-h4-dw/float32/training/cpu"] == loading.DEFAULT_SECONDS


@pytest.mark.parametrize(
    ("of_suite", "of_group", "wanted"),
    [
        ("", "", ["", "-dw"]),
        ('gradients = "all"', "", ["", ""]),
        ('gradients = "all"', 'gradients = "weights+input"', ["", "-dwx"]),
        ("", 'gradients = ["weights", "all", "weights"]', ["", "-dw", ""]),
    ],
)
def test_load_gradients_of_suite_or_group_are_used(
    tmp_path: Path, of_suite: str, of_group: str, wanted: list[str]
) -> None:
    text = f"{of_suite}\n" + GOOD.replace("[[groups]]", f"[[groups]]\n{of_group}")
    shapes = [case.shape for case in load(tmp_path, text).cases]
    assert shapes == [f"b2-t6-i1-h4{suffix}" for suffix in wanted]


def test_load_choice_replaces_backends_devices_and_modes(tmp_path: Path) -> None:
    choice = SuiteChoice(
        backends=["while_loop", "numpy"], devices=["gpu", "cpu"], modes=["training"]
    )
    assert ids(load(tmp_path, GOOD, choice)) == [
        "while_loop/b2-t6-i1-h4-dw/float32/training/gpu:0",
        "while_loop/b2-t6-i1-h4-dw/float32/training/cpu",
        "numpy/b2-t6-i1-h4-dw/float32/training/cpu",
    ]


def test_load_choice_of_cells_replaces_those_of_the_suite(tmp_path: Path) -> None:
    choice = SuiteChoice(backends=["numpy"], modes=["training"], cells=["gru", "lstm"])
    assert ids(load(tmp_path, GOOD, choice)) == [
        "numpy/b2-t6-i1-h4-gru-dw/float32/training/cpu",
        "numpy/b2-t6-i1-h4-dw/float32/training/cpu",
    ]
    with pytest.raises(SuiteError, match=r'no cell "gruu" \(did you mean gru\?\); expected one'):
        load(tmp_path, GOOD, SuiteChoice(cells=["gruu"]))


VARIED = f'modes = ["inference"]\n{GOOD.replace("numpy", "torch")}'.replace(
    '["torch"]', '["torch", "onnxruntime"]'
)


@pytest.mark.parametrize(
    ("key", "chosen", "backends"),
    [
        ("", None, ["torch", "onnxruntime"]),
        ('["none", "int8"]', None, ["torch", "torch:int8", "onnxruntime", "onnxruntime:int8"]),
        ('["int8"]', None, ["torch:int8", "onnxruntime:int8"]),
        ('["int8"]', ["none"], ["torch", "onnxruntime"]),
        ("", ["int8"], ["torch:int8", "onnxruntime:int8"]),
    ],
)
def test_load_variants_are_added_to_each_backend(
    tmp_path: Path, key: str, chosen: list[str] | None, backends: list[str]
) -> None:
    text = f"variants = {key}\n{VARIED}" if key else VARIED
    cases = load(tmp_path, text, SuiteChoice(variants=chosen)).cases
    assert [case.backend for case in cases] == backends


@pytest.mark.parametrize(
    ("line", "variants", "message"),
    [
        ('variants = ["int9"]', None, r'variants\[0\] is "int9"; expected one of none, i'),
        ('variants = ["int8"]', None, r"groups\[0\]: numpy has no variant int8; only torch"),
        ("", ["int9"], r'no variant "int9" \(did you mean int8\?\); expected'),
        ("", ["int8"], "numpy has no variant int8"),
    ],
)
def test_load_unknown_variant_raises(
    tmp_path: Path, line: str, variants: list[str] | None, message: str
) -> None:
    with pytest.raises(SuiteError, match=message):
        load(tmp_path, f"{line}\n{GOOD}", SuiteChoice(variants=variants))


def test_load_backend_without_the_device_keeps_its_cases(tmp_path: Path) -> None:
    choice = SuiteChoice(backends=["cudnn", "numpy"], devices=["cpu"], modes=["training"])
    assert [case.backend for case in load(tmp_path, GOOD, choice).cases] == ["cudnn", "numpy"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("batch = 2", 'batch = "x"'), 'groups[0].shapes[0].batch is "x"; expected a positive int'),
        (("batch = 2", f"batch = 1{'0' * 5000}"), " not a suite, which is a TOML file: "),
        (("[[groups]]", "[[groups]]\nwindows = [7]"), "groups[0].shapes[0]: window is 7; expected"),
        (("[[groups]]", "[[groups]]\nwindow = [3]"), "groups[0].window is not known (did"),
        (
            ("[[groups]]", '[[groups]]\nmodes = ["train"]'),
            'groups[0].modes[0] is "train"; expected',
        ),
        (("[[groups]]", "[[groups]]\nseconds = inf"), "groups[0].seconds is Infinity; expected"),
        (
            ("[[groups]]", '[[groups]]\nperiods = ["1ms", "10"]'),
            'groups[0].periods[1] is "10"; expected "back-to-back" or a time',
        ),
        (('["numpy"]', '["nunpy"]'), "backends[0]: there is no backend 'nunpy'; did you"),
        (('["numpy"]', "[3]"), "backends[0] is 3; expected a name"),
        (('backends = ["numpy"]', ""), "groups[0] has no backends, and neither has the suite"),
        (('["cpu"]', '"everywhere"'), 'devices is "everywhere"; expected a list with at least one'),
        (('["cpu"]', '["cuda:0"]'), "devices[0]: 'cuda:0' is not a device; expected cpu or gpu:N"),
        (("schema = 1", "schema = 2"), "schema is 2; expected 1"),
        (("schema = 1", "schema = 2026-01-31"), 'schema is "2026-01-31"; expected 1'),
        (("schema = 1", "schema = 1\nmemory = 1"), "memory is 1; expected true or false"),
        (('"mine"', '"../mine"'), 'name is "../mine"; expected letters, digits'),
        (
            ("[[groups]]", '[[groups]]\ncells = ["lstm", "lstn"]'),
            'groups[0].cells[1] is "lstn"; expected one of ',
        ),
        (
            ("hidden_size = 4", 'hidden_size = 4, optimizer = "adm"'),
            'shapes[0].optimizer is "adm"; expected one of sgd, adam (did you mean adam?)',
        ),
        (("[[groups]]", "[groups]"), "groups is an object; expected a list of groups"),
    ],
)
def test_load_wrong_value_names_file_and_key(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    assert change[0] in GOOD
    with pytest.raises(SuiteError) as raised:
        load(tmp_path, GOOD.replace(*change))
    assert str(raised.value).startswith(f"{tmp_path / 'my.toml'}: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_with_cases_many_cases_compares_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comparing all pairs would take two hours for 100,000 cases."""
    grid = f"batch = {list(range(1, 21))}, timesteps = {list(range(1, 26))}"
    suite = load(tmp_path, GOOD.replace("batch = 2, timesteps = 6", grid))
    compared = 0
    equal = Case.__eq__

    def counted(self: Case, other: object) -> bool:
        nonlocal compared
        compared += 1
        return equal(self, other)

    monkeypatch.setattr(Case, "__eq__", counted)
    assert suite.with_cases(suite.cases[::-1]).cases[0] == suite.cases[-1]
    assert compared < 2 * len(suite.cases)
    assert len(suite.cases) == 2 * 20 * 25


def test_load_deeply_nested_file_raises(tmp_path: Path) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)  # some frameworks raise it for the process
    try:
        with pytest.raises(SuiteError, match=r"my\.toml: nested too deeply to be read"):
            load(tmp_path, GOOD.replace("batch = 2", f"batch = {'[' * 900}2{']' * 900}"))
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("choice", [None, SuiteChoice(modes=("streaming",))])
def test_load_billion_cases_raises_before_making_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: SuiteChoice | None
) -> None:
    made: list[object] = []
    monkeypatch.setattr(loading.Grid, "shape", lambda *words: made.append(words))
    sizes = str(list(range(1, 1001)))
    text = GOOD.replace("batch = 2", f"batch = {sizes}").replace(
        "timesteps = 6", f"timesteps = {sizes}"
    )
    with pytest.raises(SuiteError, match=r"with groups\[0\] the suite has 2,000,000,000 cases"):
        load(tmp_path, text.replace("hidden_size = 4", f"hidden_size = {sizes}"), choice)
    assert made == []


STREAM = GOOD.replace(
    "[[groups]]", '[[groups]]\nmodes = ["streaming"]\nperiods = ["back-to-back", "10ms"]'
)


def test_load_stream_has_a_case_for_each_period(tmp_path: Path) -> None:
    assert ids(load(tmp_path, STREAM)) == [
        "numpy/b2-t6-i1-h4/float32/streaming/cpu",
        "numpy/b2-t6-i1-h4-p10ms/float32/streaming/cpu",
    ]
    chosen = ids(load(tmp_path, STREAM, SuiteChoice(periods=[0.002, 0.002])))
    assert chosen == ["numpy/b2-t6-i1-h4-p2ms/float32/streaming/cpu"]


def test_load_wrong_value_that_a_choice_replaces_raises(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="nunpy"):
        load(tmp_path, GOOD.replace('"numpy"', '"nunpy"'), SuiteChoice(backends=["numpy"]))
    inference = GOOD.replace("[[groups]]", '[[groups]]\nmodes = ["inference"]')
    with pytest.raises(SuiteError, match="batch is 0"):
        load(tmp_path, inference.replace("batch = 2", "batch = 0"), SuiteChoice(modes=["training"]))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            SuiteChoice(backends=["while_lop"]),
            "there is no backend 'while_lop'; did you mean while_loop",
        ),
        (SuiteChoice(devices=["tpu"]), "'tpu' is not a device; expected cpu or gpu:N"),
        (
            SuiteChoice(modes=["train"]),
            'there is no mode "train" (did you mean training or streaming?)',
        ),
    ],
)
def test_load_unknown_choice_suggests_close_names(choice: SuiteChoice, message: str) -> None:
    with pytest.raises(SuiteError) as raised:
        suites.load("quick", choice)
    assert str(raised.value).startswith(message)


def test_load_binary_file_raises(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SuiteError, match="not UTF-8 text"):
        suites.load(str(tmp_path / "my.toml"))


def test_load_cases_selects_and_adds(tmp_path: Path) -> None:
    suite = load(tmp_path, GOOD.replace("[[groups]]", "[[groups]]\nseconds = 3"))
    other = Case("while_loop", LSTMSpec(1, 8), Workload(1, 2))
    path = tmp_path / "cases.json"
    path.write_text(json.dumps([suite.cases[1].id, other.to_dict(), suite.cases[1].id]))
    picked = suites.load_cases(path, suite)
    assert picked.cases == (suite.cases[1], other)
    assert picked.seconds == {suite.cases[1].group: 3.0, other.group: loading.DEFAULT_SECONDS}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is cut off or not JSON"),
        ("{}", " is an object; expected a list of case ids or cases"),
        ('["numpy/x"]', '[0] is "numpy/x"; expected the id of a case of mine'),
        ("[3]", "cases.json: [0] is 3; expected an object"),
        ('[{"backend": "numpy"}]', "[0]: case.device is None; expected a name"),
    ],
)
def test_load_cases_wrong_list_names_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "cases.json"
    path.write_text(text)
    with pytest.raises(SuiteError) as raised:
        suites.load_cases(path, load(tmp_path, GOOD))
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)


def test_did_you_mean_gives_at_most_three_similar_names() -> None:
    assert did_you_mean("xyz", ["batch"]) == ""
    assert did_you_mean("mode1", ["mode2", "mode3", "mode4", "mode5"]).count(" or ") == 2
