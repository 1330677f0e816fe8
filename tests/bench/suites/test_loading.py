from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from bench import suites
from bench.machine import devices
from bench.suites import loading
from bench.suites.cases import Case
from bench.suites.loading import Choice, Suite
from bench.suites.values import SuiteError
from lstm_impl import LSTMSpec, Workload, list_backends

GOOD = """\
schema = 1
name = "mine"
backends = ["numpy"]
devices = ["cpu"]

[[groups]]
shapes = [{ batch = 2, timesteps = 6, input_size = 1, hidden_size = 4 }]
"""


HERE = ("cpu", "gpu:0")  # where there is no GPU its cases are listed all the same


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available", lambda: ["cpu"])


def write(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text)
    return path


def load(folder: Path, text: str, choice: Choice | None = None) -> Suite:
    return suites.load(str(write(folder, text)), choice)


def ids(suite: Suite) -> list[str]:
    return [case.id for case in suite.cases]


@pytest.mark.parametrize("name", sorted(suites.available()))
def test_every_suite_of_the_package_loads(name: str) -> None:
    suite = suites.load(name)
    assert suite.name == name
    assert suite.summary
    assert len(set(ids(suite))) == len(suite.cases)
    # Those that ask for memory say what it costs.
    told = re.search(r"memory of each case on the CPU", suite.path.read_text(encoding="utf-8"))
    assert suite.memory is (name in ("quick", "truncation", "keras-backends")) is bool(told)


def test_quick_asks_what_it_promises() -> None:
    cases = suites.load("quick", Choice(devices=["cpu"], backends=["while_loop"])).cases
    throughput = {(case.shape, case.workload.mode) for case in cases if case.kind == "throughput"}
    shapes = ("b32-t100-i128-h128", "b64-t25-i512-h512", "b1-t150-i256-h256", "b5-t15-i1-h4")
    assert throughput == {
        *((shape, "inference") for shape in shapes),
        *((f"{shape}-dw", "training") for shape in shapes),
        ("b32-t100-i128-h128-dwx", "training"),
    }
    windows = [case.workload.window for case in cases if case.kind == "truncation"]
    assert windows == [5, 15, 30, 60, 120]
    assert {case.workload.timesteps for case in cases if case.kind == "truncation"} == {480}
    assert {c.workload.gradients for c in cases if c.kind == "truncation"} == {"weights"}


def test_truncation_cuts_one_stream_into_whole_windows_with_an_optimizer() -> None:
    cases = suites.load("truncation").cases
    assert {(each.workload.timesteps, each.workload.optimizer) for each in cases} == {(480, "adam")}
    assert {each.workload.mode for each in cases} == {"training"}
    windows: dict[tuple[str, str], list[int]] = {}
    for case in cases:
        window = case.workload.window or 0
        assert 480 % window == 0  # a shorter last window would be another graph, and another step
        shape = f"b{case.workload.batch}-h{case.spec.hidden_size}/{case.device}"
        windows.setdefault((case.backend, shape), []).append(window)
    every = [3, 5, 10, 15, 30, 60, 120, 240, 480]
    some = {"static_unroll": every[:-1], "partial_unroll@10": every[2:]}
    for (backend, _), found in windows.items():
        assert found == some.get(backend, every)
    shapes = {shape for _, shape in windows}
    assert shapes == {f"{sizes}/{device}" for sizes in ("b32-h64", "b8-h128") for device in HERE}
    assert {backend for backend, shape in windows if shape.endswith("cpu")} == {
        *("static_unroll", "while_loop", "while_loop+hoisted", "while_loop+hoisted+xla"),
        *("partial_unroll@10", "block_lstm", "keras"),
    }


def test_truncation_measures_for_about_three_of_its_five_minutes() -> None:
    """In the rest of a process it traces, compiles and checks."""
    suite = suites.load("truncation", Choice(devices=["cpu"]))
    here = [case for case in suite.cases if case.backend != "cudnn"]
    assert 150 < sum(suite.seconds[case.group] for case in here) < 200
    shortest = [case.group for case in suite.cases if case.workload.window == 3]
    assert {suite.seconds[group] for group in shortest} == {max(suite.seconds.values())}


def test_first_holds_six_processes_in_five_minutes_half_of_them_measured() -> None:
    """The rest goes into starting, compiling ``fused_cpu``, tracing and checking."""
    suite = suites.load("first", Choice(devices=["cpu"]))
    here = [case for case in suite.cases if case.backend != "cudnn"]
    measuring = 6 * sum(suite.seconds[case.group] for case in here)
    assert 0.45 * 300 <= measuring <= 0.55 * 300
    groups = {case.group for case in here}
    for group in groups:
        backends = [case.backend for case in here if case.group == group]
        assert backends[0] == "keras"  # whom everybody asks for is in each
        assert len(backends) in (2, 3)
    assert {case.workload.mode for case in here} == {"inference", "training"}


def test_where_there_is_no_gpu_its_cases_are_listed_all_the_same() -> None:
    cases = suites.load("quick").cases
    assert {case.device for case in cases} == {"cpu", "gpu:0"}
    assert {case.device for case in cases if case.backend == "cudnn"} == {"gpu:0"}


def test_every_gpu_that_is_here_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available", lambda: ["cpu", "gpu:0", "gpu:1"])
    assert {case.device for case in suites.load("quick").cases} == {"cpu", "gpu:0", "gpu:1"}


def test_cases_come_in_a_stable_order_group_by_group(tmp_path: Path) -> None:
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


def test_groups_that_share_a_shape_are_measured_together(tmp_path: Path) -> None:
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


def test_a_shape_may_say_everything_that_a_workload_can(tmp_path: Path) -> None:
    text = GOOD.replace(
        "hidden_size = 4 }",
        "hidden_size = 4, num_layers = 2, bidirectional = true, min_length = 3, dropout = 0.5,"
        " batch_major = true }",
    )
    (first, _) = load(tmp_path, text).cases
    assert first.spec == LSTMSpec(1, 4, num_layers=2, bidirectional=True)
    assert first.workload == Workload(2, 6, min_length=3, dropout=0.5, batch_major=True)


def test_a_shape_may_name_the_optimizer_that_updates_its_weights(tmp_path: Path) -> None:
    with_optimizer = GOOD.replace("hidden_size = 4 }", 'hidden_size = 4, optimizer = "adam" }')
    suite = load(tmp_path, with_optimizer.replace("[[groups]]", '[[groups]]\nmodes = ["training"]'))
    (case,) = suite.cases
    assert case.workload == Workload(2, 6, "training", optimizer="adam", gradients="weights")
    assert ids(suite) == ["numpy/b2-t6-i1-h4-adam-dw/float32/training/cpu"]
    with pytest.raises(SuiteError, match=r'modes = \["training"\] beside it: inference updates no'):
        load(tmp_path, with_optimizer)


@pytest.mark.parametrize(
    ("of_suite", "of_group", "wanted"),
    [
        ("", "", ["", "-dw"]),
        ('gradients = "all"', "", ["", ""]),
        ('gradients = "all"', 'gradients = "weights+input"', ["", "-dwx"]),
        ("", 'gradients = ["weights", "all", "weights"]', ["", "-dw", ""]),
    ],
)
def test_a_suite_or_a_group_says_what_training_differentiates(
    tmp_path: Path, of_suite: str, of_group: str, wanted: list[str]
) -> None:
    text = f"{of_suite}\n" + GOOD.replace("[[groups]]", f"[[groups]]\n{of_group}")
    shapes = [case.shape for case in load(tmp_path, text).cases]
    assert shapes == [f"b2-t6-i1-h4{suffix}" for suffix in wanted]


def test_gradients_that_are_not_known_are_told_with_their_place(tmp_path: Path) -> None:
    for wrong, told in (
        ('"weight"', r'gradients is "weight"; expected one of weights, weights\+input, all'),
        ('["all", 3]', r"gradients\[1\] is 3; expected one of weights"),
        ("[]", r"gradients is \[\]; expected a list with at least one name"),
    ):
        with pytest.raises(SuiteError, match=told):
            load(tmp_path, f"gradients = {wrong}\n{GOOD}")


def test_backends_are_spelled_in_their_one_way(tmp_path: Path) -> None:
    text = GOOD.replace('"numpy"', '"while_loop+xla+hoisted"')
    assert load(tmp_path, text).cases[0].backend == "while_loop+hoisted+xla"


def test_the_user_may_choose_backends_devices_and_modes(tmp_path: Path) -> None:
    choice = Choice(backends=["while_loop", "numpy"], devices=["gpu", "cpu"], modes=["training"])
    assert ids(load(tmp_path, GOOD, choice)) == [
        "while_loop/b2-t6-i1-h4-dw/float32/training/gpu:0",
        "while_loop/b2-t6-i1-h4-dw/float32/training/cpu",
        "numpy/b2-t6-i1-h4-dw/float32/training/cpu",
    ]


def test_all_backends_are_all_that_are_known(tmp_path: Path) -> None:
    for text, choice in (
        (GOOD, Choice(backends=["all"])),
        (GOOD.replace('["numpy"]', '"all"'), Choice()),
    ):
        found = {case.backend for case in load(tmp_path, text, choice).cases}
        assert found == set(list_backends())


def test_what_was_asked_for_does_not_vanish_where_it_cannot_run(tmp_path: Path) -> None:
    choice = Choice(backends=["cudnn", "numpy"], devices=["cpu"], modes=["training"])
    assert [case.backend for case in load(tmp_path, GOOD, choice).cases] == ["cudnn", "numpy"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("batch = 2", 'batch = "x"'), 'groups[0].shapes[0].batch is "x"; expected a positive int'),
        (("batch = 2", "batch = true"), "groups[0].shapes[0].batch is true; expected a positive"),
        (("batch = 2", "batch = 0"), "groups[0].shapes[0].batch is 0; expected a positive integer"),
        (("batch = 2", "batch = 2.0"), "groups[0].shapes[0].batch is 2.0; expected a positive"),
        (("batch = 2, ", ""), "groups[0].shapes[0].batch is missing"),
        (("batch = 2", f"batch = {10**18}"), f"batch is {10**18}; expected at most 2147483647"),
        (
            ("hidden_size = 4", "hidden_size = 4, num_layers = 1000000000"),
            "num_layers is 1000000000; expected at most 1000",
        ),
        (("batch = 2", f"batch = 1{'0' * 5000}"), "is no TOML: "),
        (("batch = 2", "bacth = 2"), "bacth is not known (did you mean batch?)"),
        (
            ("hidden_size = 4", "hidden_size = 4, dropout = 1.0"),
            "dropout is 1.0; expected a number",
        ),
        (
            ("hidden_size = 4", "hidden_size = 4, dropout = nan"),
            "dropout is NaN; expected a number",
        ),
        (
            ("hidden_size = 4", "hidden_size = 4, bidirectional = 1"),
            "bidirectional is 1; expected t",
        ),
        (
            ("hidden_size = 4", 'hidden_size = 4, optimizer = "adma"'),
            'optimizer is "adma"; expected one of sgd, adam (did you mean adam?)',
        ),
        (
            ("hidden_size = 4", "hidden_size = 4, min_length = 7"),
            "min_length is 7; expected at most",
        ),
        (
            ("[[groups]]", "[[groups]]\nwindows = [7]"),
            "groups[0].windows[0] is 7; expected at most",
        ),
        (("[[groups]]", "[[groups]]\nwindows = []"), "groups[0].windows is []; expected a list of"),
        (
            ("[[groups]]", "[[groups]]\nwindow = [3]"),
            "groups[0].window is not known (did you mean w",
        ),
        (
            ("[[groups]]", '[[groups]]\nmodes = ["train"]'),
            'groups[0].modes[0] is "train"; expected',
        ),
        (
            ("[[groups]]", '[[groups]]\ndtypes = ["f32"]'),
            'groups[0].dtypes[0] is "f32"; expected o',
        ),
        (("[[groups]]", "[[groups]]\nseconds = 0"), "groups[0].seconds is 0; expected a number of"),
        (("[[groups]]", "[[groups]]\nseconds = inf"), "groups[0].seconds is Infinity; expected"),
        (
            ('["numpy"]', '["nunpy"]'),
            "backends[0]: there is no backend 'nunpy'; did you mean numpy",
        ),
        (('["numpy"]', "[3]"), "backends[0] is 3; expected a name"),
        (('backends = ["numpy"]', ""), "backends is missing, and groups[0] names none"),
        (('["cpu"]', '"everywhere"'), 'devices is "everywhere"; expected a list with at least one'),
        (('["cpu"]', '["cuda:0"]'), "devices[0]: 'cuda:0' is no device; expected cpu or gpu:N"),
        (("schema = 1", "schema = 2"), "schema is 2; expected 1"),
        (("schema = 1", ""), "schema is missing"),
        (('"mine"', '"../mine"'), 'name is "../mine"; expected letters, digits'),
        (("name =", "naem ="), "naem is not known (did you mean name?)"),
        (("[[groups]]", "[groups]"), "groups is {"),
        (("schema = 1", "schema = "), "is no TOML: Invalid value (at line 1"),
    ],
)
def test_a_mistake_is_told_with_its_file_and_key(
    tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    assert change[0] in GOOD
    with pytest.raises(SuiteError) as raised:
        load(tmp_path, GOOD.replace(*change))
    assert str(raised.value).startswith(f"{tmp_path / 'my.toml'}: ")
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_list_of_cases_of_a_hundred_thousand_is_put_in_order_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comparing each case with each other takes a minute for 10,000 and two hours for 100,000."""
    grid = f"batch = {list(range(1, 21))}, timesteps = {list(range(1, 26))}"
    suite = load(tmp_path, GOOD.replace("batch = 2, timesteps = 6", grid))
    compared = 0
    equal = Case.__eq__

    def counted(self: Case, other: object) -> bool:
        nonlocal compared
        compared += 1
        return equal(self, other)

    monkeypatch.setattr(Case, "__eq__", counted)
    assert suite.only(suite.cases[::-1]).cases[0] == suite.cases[-1]
    assert compared < 2 * len(suite.cases)
    assert len(suite.cases) == 2 * 20 * 25


def test_a_suite_that_is_nested_too_deeply_is_told(tmp_path: Path) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)  # some frameworks raise it for the whole process
    try:
        with pytest.raises(SuiteError, match=r"my\.toml: is nested too deeply to be read"):
            load(tmp_path, GOOD.replace("batch = 2", f"batch = {'[' * 900}2{']' * 900}"))
    finally:
        sys.setrecursionlimit(limit)


def test_more_cases_than_anybody_could_measure_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "MOST_CASES", 20)
    grid = GOOD.replace("batch = 2", "batch = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]")
    assert len(load(tmp_path, grid).cases) == 20
    with pytest.raises(SuiteError, match=r"groups\[0\] brings the suite to over 20 cases"):
        load(tmp_path, grid.replace("timesteps = 6", "timesteps = [6, 7]"))


def test_padding_and_windows_do_not_go_together(tmp_path: Path) -> None:
    text = GOOD.replace("hidden_size = 4", "hidden_size = 4, min_length = 2")
    with pytest.raises(SuiteError, match="min_length is 2; expected none here"):
        load(tmp_path, text.replace("[[groups]]", "[[groups]]\nwindows = [3]"))


def test_a_mistake_is_told_even_where_a_choice_replaces_it(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="nunpy"):
        load(tmp_path, GOOD.replace('"numpy"', '"nunpy"'), Choice(backends=["numpy"]))
    inference = GOOD.replace("[[groups]]", '[[groups]]\nmodes = ["inference"]')
    with pytest.raises(SuiteError, match="batch is 0"):
        load(tmp_path, inference.replace("batch = 2", "batch = 0"), Choice(modes=["training"]))


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (
            Choice(backends=["while_lop"]),
            "there is no backend 'while_lop'; did you mean while_loop",
        ),
        (Choice(devices=["tpu"]), "'tpu' is no device; expected cpu or gpu:N"),
        (Choice(modes=["train"]), 'there is no mode "train" (did you mean training or streaming?)'),
    ],
)
def test_an_unknown_choice_is_told_with_what_is_close(choice: Choice, told: str) -> None:
    with pytest.raises(SuiteError) as raised:
        suites.load("quick", choice)
    assert str(raised.value).startswith(told)


def test_a_choice_that_leaves_nothing_is_told(tmp_path: Path) -> None:
    text = GOOD.replace("[[groups]]", '[[groups]]\nmodes = ["training"]')
    with pytest.raises(SuiteError, match="no case is left of suite mine with modes inference"):
        load(tmp_path, text, Choice(modes=["inference"]))


def test_an_unknown_suite_is_told_with_the_known_ones() -> None:
    with pytest.raises(SuiteError) as raised:
        suites.load("quik")
    names = ", ".join(suites.available())
    assert f'no suite "quik" (did you mean quick?); there are {names}, and' in str(raised.value)


def test_a_path_is_relative_to_the_folder_that_was_named(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert suites.load("my.toml", folder=tmp_path).name == "mine"
    with pytest.raises(SuiteError, match=r"other\.toml: there is no such file"):
        suites.load("other.toml", folder=tmp_path)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SuiteError, match="is no UTF-8 text"):
        suites.load(str(tmp_path / "my.toml"))


def test_a_list_of_cases_picks_from_a_suite_and_may_add(tmp_path: Path) -> None:
    suite = load(tmp_path, GOOD.replace("[[groups]]", "[[groups]]\nseconds = 3"))
    other = Case("while_loop", LSTMSpec(1, 8), Workload(1, 2))
    path = tmp_path / "cases.json"
    path.write_text(json.dumps([suite.cases[1].id, other.to_dict(), suite.cases[1].id]))
    picked = suites.load_cases(path, suite)
    assert picked.cases == (suite.cases[1], other)
    assert picked.seconds == {suite.cases[1].group: 3.0, other.group: loading.DEFAULT_SECONDS}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "is cut off or not JSON"),
        ("{}", "it is {}; expected a list of case ids or cases"),
        ('["numpy/x"]', '[0] is "numpy/x"; expected the id of a case of mine'),
        ("[3]", "[0] is 3; expected a table"),
        ('[{"backend": "numpy"}]', "[0]: case.device is None; expected a name"),
    ],
)
def test_a_bad_list_of_cases_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "cases.json"
    path.write_text(text)
    with pytest.raises(SuiteError) as raised:
        suites.load_cases(path, load(tmp_path, GOOD))
    assert str(raised.value).startswith(str(path))
    assert told in str(raised.value)


# The peers' suites: the shapes as their authors' files and papers give them, written here by hand.

_GNMT_TIMES = (10, 20, 30, 40, 50, 60, 70, 101)
_HASTE_HIDDEN = (128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096)


def _both(shapes: set[str]) -> dict[str, set[str]]:
    return {"inference": shapes, "training": shapes}


PEERS: dict[str, tuple[dict[str, set[str]], int]] = {
    "braun": (
        {
            "training": {
                "b64-t100-i123-h320",
                "b32-t1000-i123-h320",
                "b32-t1000-i123-h320-l4-bi",
                "b32-t1000-i123-h320-l4-bi-len500",
            }
        },
        4,
    ),
    "returnn": ({"training": {"b40-t50-i9-h500-l5-bi"}}, 1),
    "deepbench-train": (
        {
            "training": {
                *(
                    f"b{b}-t25-i{h}-h{h}"
                    for h in (512, 1024, 2048, 4096)
                    for b in (16, 32, 64, 128)
                ),
                *("b8-t50-i1536-h1536", "b16-t50-i1536-h1536", "b32-t50-i1536-h1536"),
                *("b16-t150-i256-h256", "b32-t150-i256-h256", "b64-t150-i256-h256"),
            }
        },
        22,
    ),
    "deepbench-inference": (
        {
            "inference": {
                *(f"b{b}-t25-i{h}-h{h}" for h in (512, 1024, 2048) for b in (1, 2, 4)),
                *("b1-t50-i1536-h1536", "b2-t50-i1536-h1536", "b4-t50-i1536-h1536"),
                *("b1-t150-i256-h256", "b2-t150-i256-h256", "b4-t150-i256-h256"),
            }
        },
        15,
    ),
    "fastrnns": (
        _both({"b64-t100-i512-h512", "b64-t100-i512-h512-len30"}),
        4,
    ),
    "keras": (_both({"b20-t256-i256-h32"}), 2),
    "flashrnn": (
        _both(
            {
                *(f"b{b}-t1024-i768-h768" for b in (2, 8, 16, 32, 64, 128, 256)),
                *("b16-t256-i768-h768", "b16-t512-i768-h768", "b16-t2048-i768-h768"),
            },
        ),
        40,  # 10 shapes in 2 modes and 2 dtypes
    ),
    "haste": (
        _both(
            {
                f"b{b}-t50-i{i}-h{h}"
                for b in (1, 16, 32, 64, 128)
                for i in (64, 128, 256, 512)
                for h in _HASTE_HIDDEN
            },
        ),
        360,
    ),
    "tensorflow-rnn-test": (
        {
            "training": {
                *("b256-t50-i512-h512", "b256-t50-i256-h256", "b256-t50-i128-h128"),
                *(f"b512-t{t}-i512-h512" for t in range(100, 1001, 100)),
            }
        },
        13,
    ),
    "nvidia-lstm": ({"inference": {"b64-t100-i512-h512-l4"}}, 1),
    "benchdnn": (
        {
            "inference": {
                *(f"b{b}-t{t}-i256-h256-bi" for b in (1, 64) for t in _GNMT_TIMES),
                *(f"b{b}-t{t}-i512-h512" for b in (1, 64) for t in _GNMT_TIMES),
            },
            "training": {
                *(f"b128-t{t}-i256-h256-bi" for t in _GNMT_TIMES),
                *(f"b128-t{t}-i512-h512" for t in _GNMT_TIMES),
                "b896-t256-i240-h1024",
            },
        },
        49,
    ),
}


# Those whose training step has more than the gradients of the weights.
DIFFERENTIATED = {
    "benchdnn": "all",
    "deepbench-train": "weights+input",
    "flashrnn": "weights+input",
    "haste": "all",
}


@pytest.mark.parametrize("name", PEERS)
def test_a_peers_suite_has_exactly_its_shapes_and_says_whose_they_are(name: str) -> None:
    shapes, groups = PEERS[name]
    suite = suites.load(name, Choice(backends=["while_loop"], devices=["cpu"]))
    found: dict[str, set[str]] = {}
    for case in suite.cases:
        suffix = ""
        if case.workload.training:
            assert case.workload.gradients == DIFFERENTIATED.get(name, "weights")
            suffix = {"weights": "-dw", "weights+input": "-dwx", "all": ""}[case.workload.gradients]
        found.setdefault(case.workload.mode, set()).add(case.shape.removesuffix(suffix))
    assert found == shapes
    assert len(suite.cases) == groups
    assert "/" in suite.source


def test_a_suite_says_whether_memory_is_measured(tmp_path: Path) -> None:
    for line, wanted in (("", False), ("memory = true", True), ("memory = false", False)):
        suite = load(tmp_path, f"{line}\n{GOOD}")
        assert suite.memory is wanted
        assert suite.only(suite.cases[:1]).memory is wanted
    with pytest.raises(SuiteError, match=r"my\.toml: memory is 1; expected true or false"):
        load(tmp_path, f"memory = 1\n{GOOD}")


def test_a_suite_that_tells_no_source_has_none(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).source == ""
    named = GOOD.replace("schema = 1", 'schema = 1\nsource = "a/b, c.py"')
    assert load(tmp_path, named).source == "a/b, c.py"


def test_lists_of_sizes_stand_for_every_combination_once(tmp_path: Path) -> None:
    text = GOOD.replace("batch = 2", "batch = [2, 1, 2]").replace(
        "input_size = 1, hidden_size = 4", "input_size = [3, 5], hidden_size = [4, 6]"
    )
    suite = load(tmp_path, text, Choice(modes=["training"]))
    assert [case.shape for case in suite.cases] == [
        f"b{b}-t6-i{i}-h{h}-dw" for b in (2, 1) for i in (3, 5) for h in (4, 6)
    ]


def test_an_input_may_be_as_wide_as_each_layer(tmp_path: Path) -> None:
    text = GOOD.replace("input_size = 1, hidden_size = 4", SQUARE.replace("4", "[4, 6]"))
    suite = load(tmp_path, text, Choice(modes=["training"]))
    assert [case.shape for case in suite.cases] == ["b2-t6-i4-h4-dw", "b2-t6-i6-h6-dw"]


SQUARE = 'input_size = "hidden_size", hidden_size = 4'


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("batch = 2", "batch = [2, 0]"), "shapes[0].batch[1] is 0; expected a positive integer"),
        (("batch = 2", "batch = [2, true]"), "shapes[0].batch[1] is true; expected a positive"),
        (("batch = 2", "batch = []"), "batch is []; expected a positive integer or a list of them"),
        (("timesteps = 6", "timesteps = [[6]]"), "timesteps[0] is [6]; expected a positive int"),
        (
            ("input_size = 1", 'input_size = "hidden"'),
            'input_size is "hidden"; expected a positive integer, a list of them, or "hidden_size"',
        ),
        (
            ("hidden_size = 4", 'hidden_size = "hidden_size"'),
            'hidden_size is "hidden_size"; expected a positive integer or a list of them',
        ),
        (
            ("timesteps = 6", "timesteps = [9, 6], min_length = 7"),
            "min_length is 7; expected at most the 6 timesteps",
        ),
        (("schema = 1", "schema = 1\nsource = 3"), "source is 3; expected a text"),
    ],
)
def test_a_mistake_in_a_grid_is_told_with_its_file_and_key(
    tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    assert change[0] in GOOD
    with pytest.raises(SuiteError) as raised:
        load(tmp_path, GOOD.replace(*change))
    assert str(raised.value).startswith(f"{tmp_path / 'my.toml'}: ")
    assert told in str(raised.value)


def test_no_text_of_a_file_reaches_a_terminal_by_a_refusal(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('["\\u009b31m\\ud800 \\u202e"]', encoding="utf-8")
    with pytest.raises(SuiteError) as told:
        suites.load_cases(path, load(tmp_path, GOOD))
    assert str(told.value).isprintable()
    assert "[0] is " in str(told.value)
