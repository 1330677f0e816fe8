"""The answer to which window and backend: only from what was measured, and honest beyond it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import recommend, suites
from bench.judging.ranking import build
from bench.results.files import collect
from bench.results.maps import LearningMap
from bench.suites import loading
from bench.suites.loading import Suite
from bench.suites.values import SuiteError
from bench.windows import asked as windows_asked
from bench.windows import suite_text
from bench.windows.answer import NEAR, Answer, NoAnswer, Place, Question, answer, needed, places
from lstm_impl.spec import LSTMSpec
from tests.bench import made_windows as made

QUESTION = Question(14, 64, 256)


def asked(
    question: Question,
    paths: Sequence[Path],
    learned: LearningMap | None = None,
    reference: Sequence[Path] = (),
) -> Answer | NoAnswer:
    results = collect([*paths, *reference])
    foreign = [file.run.id for file in results.files if file.path in reference]
    return answer(question, places(build(results).sections, foreign), learned)


def answered(*arguments: Any, **settings: Any) -> Answer:
    found = asked(*arguments, **settings)
    assert isinstance(found, Answer)
    return found


def run(*arguments: object) -> int:
    return recommend.main([str(each) for each in arguments])


@pytest.fixture(autouse=True)
def _no_reference_of_this_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_asked, "CLONE", tmp_path / "clone")


ASKED = ("--dependency", 14, "--batch", 64, "--hidden", 256)


@pytest.fixture(scope="module")
def usual(usual_windows: Path) -> Sequence[Place]:
    """The same, read once."""
    return places(build(collect([usual_windows])).sections, [])


# -- which window


def test_the_window_is_the_shortest_measured_one_that_reaches(usual: Sequence[Place]) -> None:
    for learned, window in ((None, 30), (made.learned_through({10: 8, 15: 20}), 15)):
        found = answer(QUESTION, usual, learned)
        assert isinstance(found, Answer)
        assert found.window == window


def test_a_longer_window_is_named_if_it_saves_much(tmp_path: Path) -> None:
    found = answered(QUESTION, made.write_windows(tmp_path, noise=0.001))
    assert found.longer is not None
    # 1.2 ms and 0.22 ms a timestep: at 30 a timestep takes 0.26 ms, in long windows 0.22.
    assert found.longer.row.case.workload.window in (240, 480)
    assert found.longer.saves == pytest.approx(1 - 0.2225 / 0.26, abs=0.02)
    costs = {"while_loop": made.Cost(1e-6, 1e-4)}
    found = answered(QUESTION, made.write_windows(tmp_path / "flat", costs))
    assert found.longer is None


def test_a_window_beyond_all_that_were_measured_is_no_answer(usual: Sequence[Place]) -> None:
    found = answer(Question(1000, 64, 256), usual, None)
    assert isinstance(found, NoAnswer)
    assert (
        "longest window that was measured near this shape is 960; 2001 are needed" in found.why[0]
    )


# -- which backend


def test_the_surely_fastest_is_named_with_what_it_costs(usual: Sequence[Place]) -> None:
    found = answer(QUESTION, usual, None)
    assert isinstance(found, Answer)
    assert found.best.case.backend == "while_loop+hoisted"
    assert found.sure
    truth = made.COSTS["while_loop+hoisted"]
    assert found.step.mid == pytest.approx(truth.fixed + 30 * truth.per_timestep, rel=0.03)
    assert found.timestep.mid == pytest.approx(found.step.mid / 30)
    assert found.best.memory["peak_bytes"] == truth.base_bytes + 30 * truth.bytes_per_timestep


def test_backends_that_are_not_surely_slower_are_tied(tmp_path: Path) -> None:
    costs = {
        "keras": made.Cost(1e-3, 1.000e-4),
        "while_loop": made.Cost(1e-3, 1.005e-4),
        "torch": made.Cost(1e-3, 9e-4),
    }
    found = answered(QUESTION, made.write_windows(tmp_path, costs, noise=0.05))
    assert not found.sure
    tied = {found.best.case.backend, *(each.row.case.backend for each in found.rivals)}
    assert tied == {"keras", "while_loop"}


def test_one_backend_alone_is_not_called_the_fastest(tmp_path: Path) -> None:
    found = answered(QUESTION, made.write_windows(tmp_path, {"keras": made.Cost(1e-3, 1e-4)}))
    assert found.ahead is None
    assert not found.sure


def test_who_cannot_be_trusted_comes_after_who_can(tmp_path: Path) -> None:
    made.write_windows(tmp_path, {"keras": made.Cost(1e-3, 2e-4)}, processes=6)
    for number, path in enumerate(
        made.write_windows(tmp_path / "b", {"torch": made.Cost(1e-3, 1e-4)}, valid=False)
    ):
        # The same session and processes, with another backend.
        mine = json.loads((tmp_path / f"made-up-{number}.json").read_text())
        mine["benchmarks"] += json.loads(path.read_text())["benchmarks"]
        (tmp_path / f"made-up-{number}.json").write_text(json.dumps(mine))
    found = answered(QUESTION, [tmp_path])
    assert found.best.case.backend == "keras"
    assert [each.row.case.backend for each in found.rivals] == ["torch"]
    assert not found.sure


# -- from which results


def test_the_exact_shape_comes_before_a_near_one(tmp_path: Path) -> None:
    made.write_windows(tmp_path, session="near", day=2, batch=96)
    made.write_windows(tmp_path, session="exact", day=1, batch=64)
    found = answered(QUESTION, [tmp_path])
    assert found.exact
    assert found.best.case.workload.batch == 64
    assert found.others == 1


def test_a_near_shape_is_named_and_not_scaled(tmp_path: Path) -> None:
    paths = made.write_windows(tmp_path, batch=96, noise=0.0)
    found = answered(QUESTION, paths)
    assert not found.exact
    assert found.differences == (("batch", 96, 64),)
    assert found.step.mid == pytest.approx(1.2e-3 + 30 * 2.2e-4)


@pytest.mark.parametrize(("batch", "answers"), [(96, True), (97, False), (43, True), (42, False)])
def test_near_is_within_a_factor_and_not_beyond(batch: int, answers: bool, tmp_path: Path) -> None:
    assert NEAR == 1.5
    found = asked(QUESTION, made.write_windows(tmp_path, batch=batch))
    assert isinstance(found, Answer) is answers
    if isinstance(found, NoAnswer):
        assert "no shape within a factor of 1.5" in found.why[0]
        assert f"batch {batch}, 256 hidden, 128 in, 1 layer, float32" in found.why


@pytest.mark.parametrize(
    "question",
    [
        Question(14, 64, 400),
        Question(14, 64, 256, "gpu:0"),
        Question(14, 64, 256, input_size=512),
        Question(14, 64, 256, num_layers=2),
        Question(14, 64, 256, dtype="float16"),
    ],
)
def test_another_shape_device_or_precision_is_no_answer(
    question: Question, usual: Sequence[Place]
) -> None:
    assert isinstance(answer(question, usual, None), NoAnswer)


def test_inference_does_not_answer_for_training(tmp_path: Path) -> None:
    paths = made.write_windows(tmp_path, mode="inference", optimizer=None)
    found = asked(QUESTION, paths)
    assert isinstance(found, NoAnswer)
    assert found.why == ("there are no results of training",)


def test_whole_sequences_stand_in_where_no_stream_was_cut(tmp_path: Path) -> None:
    for length in (15, 30, 60):
        made.write_windows(
            tmp_path, windows=(None,), timesteps=length, session=f"s{length}", optimizer=None
        )
    found = answered(QUESTION, [tmp_path])
    assert (found.place.kind, found.window) == ("throughput", 30)
    assert found.step.mid == pytest.approx(1.2e-3 + 30 * 2.2e-4, rel=0.03)
    made.write_windows(tmp_path, session="cut")
    assert answered(QUESTION, [tmp_path]).place.kind == "truncation"


def test_ones_own_results_come_before_the_reference(tmp_path: Path) -> None:
    reference = made.write_windows(tmp_path / "reference", session="reference", host="theirs")
    found = answered(QUESTION, [], reference=reference)
    assert not found.place.own
    own = made.write_windows(tmp_path, session="own", host="mine", batch=96)
    found = answered(QUESTION, own, reference=reference)
    assert found.place.own
    assert found.place.section.run.host == "mine"


# -- the suite that is missing


def suite_of(question: Question) -> Suite:
    told = suite_text.text(question, needed(question, None))
    return loading.parsed(Path("my.toml"), told.encode())


def test_the_suite_asks_precisely_the_question() -> None:
    question = Question(14, 8, 32, "cpu", 16, 2, "float64")
    suite = suite_of(question)
    assert suite.memory
    assert {case.workload.window for case in suite.cases} == {29, 58, 116}
    for case in suite.cases:
        assert (case.device, case.workload.mode, case.workload.batch) == ("cpu", "training", 8)
        assert (case.workload.optimizer, case.workload.gradients) == ("adam", "weights")
        assert case.spec == LSTMSpec(16, 32, num_layers=2, dtype="float64")
    assert {case.backend for case in suite.cases} >= {"keras", "while_loop+hoisted"}
    assert "cudnn" not in {case.backend for case in suite.cases}


def test_the_suite_of_a_gpu_has_cudnn() -> None:
    question = Question(14, 8, 32, "gpu:0")
    suite = suite_of(question)
    assert "cudnn" in {case.backend for case in suite.cases}


def test_results_of_the_suite_answer_the_question_exactly(tmp_path: Path) -> None:
    question = Question(7, 8, 32)
    suite = suite_of(question)
    work, spec = suite.cases[0].workload, suite.cases[0].spec
    paths = made.write_windows(
        tmp_path,
        windows=sorted({case.workload.window or 0 for case in suite.cases}),
        spec=spec,
        batch=work.batch,
        timesteps=work.timesteps,
    )
    found = answered(question, paths)
    assert found.exact
    assert found.window == found.need.window


def test_a_backend_that_does_not_exist_is_refused_by_the_suites_own_check() -> None:
    told = suite_text.text(QUESTION, needed(QUESTION, None), ["no_such"])
    with pytest.raises(SuiteError, match=r"^my\.toml: backends\[0\]"):
        loading.parsed(Path("my.toml"), told.encode())


# -- the command


def test_the_command_answers_with_interval_memory_and_how_to_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, noise=0.0)
    assert run(*ASKED, tmp_path) == 0
    out = capsys.readouterr().out
    text = " ".join(out.split())
    for told in (
        "window 30 timesteps, the shortest measured one of at least 29",
        "assumed is 2 times the dependency and one timestep",
        "while_loop+hoisted, FASTER than each of the others:",
        "per step 7.80 ms (7.80–7.80)",
        "per timestep 260 µs",
        "memory 51.1 MiB",
        "exactly this shape, 128 in, adam updates",
        "6 processes",
        "--write-suite dependency-14.toml",
        "python -m bench.run ./dependency-14.toml --processes 6",
    ):
        assert told in text
    lines = [line for line in out.splitlines() if not line.startswith("  python")]
    assert max(map(len, lines)) <= 100


def test_a_map_beside_the_results_is_found_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path)
    made.write_learning(tmp_path, {10: 8, 15: 20, 30: 50})
    assert run(*ASKED, tmp_path, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["window"] == 15
    assert found["needed_window"]["assumed"] is False
    assert found["learned_from"].startswith("learning-made-up.json: the echo")
    assert run(*ASKED, tmp_path) == 0
    assert "learned from" in capsys.readouterr().out


def test_markdown_says_the_same_and_a_file_gets_what_its_name_says(
    usual_windows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*ASKED, usual_windows) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert run(*ASKED, usual_windows, "--format", "markdown") == 0
    text = capsys.readouterr().out
    first, about, *_, commands = text.rstrip("\n").split("\n\n")
    assert first.startswith("**Take windows of ")
    assert about.endswith(":")
    assert commands.startswith("    python -m bench.recommend ")
    assert [line for line in text.splitlines() if line.startswith("- backend: ")]
    assert "Take windows of " in shown
    for name, form in (("a.md", "markdown"), ("a.json", "json"), ("a.txt", "terminal")):
        capsys.readouterr()
        assert run(*ASKED, usual_windows, "--output", tmp_path / name) == 0
        assert capsys.readouterr().out == ""
        written = (tmp_path / name).read_text()
        (tmp_path / name).unlink()
        assert run(*ASKED, usual_windows, "--format", form) == 0
        assert written == capsys.readouterr().out


def test_the_answer_is_of_the_backends_that_are_named(
    usual_windows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for name in ("while_loop", "*hoisted*"):
        assert run(*ASKED, usual_windows, "--backend", name, "--format", "json") == 0
        found[name] = json.loads(capsys.readouterr().out)["backend"]
    assert found["while_loop"] == "while_loop"
    assert "hoisted" in found["*hoisted*"]
    assert run(*ASKED, usual_windows, "--backend", "nothing") == 2
    assert "--backend nothing: there are no results of it" in capsys.readouterr().err


def test_json_has_the_answer_as_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.write_windows(tmp_path, batch=96)
    assert run(*ASKED, tmp_path, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answered"] is True
    assert found["question"]["dependency"] == 14
    assert found["exact"] is False
    assert found["differences"] == {"batch": {"measured": 96, "asked": 64}}
    interval = found["time_per_step_s"]
    assert interval["low"] <= interval["mid"] <= interval["high"]
    assert found["sure"] is True
    assert found["measure"][-1].startswith("python -m bench.run ./dependency-14.toml")


def test_no_results_near_are_exit_code_1_with_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, batch=8)
    assert run(*ASKED, tmp_path) == 1
    out = capsys.readouterr().out
    assert "no shape within a factor of 1.5" in out
    assert "python -m bench.run" in out
    assert run(*ASKED, tmp_path, "--format", "json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["answered"] is False
    assert found["needed_window"]["window"] == 29
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path / "empty"))
    assert run("--dependency", 20, "--batch", 7, "--hidden", 9999) == 1


def test_the_command_that_is_told_asks_the_same_question(
    usual_windows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--input", 100, "--layers", 2, "--dtype", "float64", "--device", "gpu")
    assert run(*ASKED, *more, usual_windows) == 1
    told = capsys.readouterr().out
    assert "--input 100 --layers 2 --dtype float64" in told
    assert "--device gpu:0" in told


def test_the_suite_is_written_and_loads(
    usual_windows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    assert run(*ASKED, usual_windows, "--write-suite", path) == 0
    suite = suites.load(str(path))
    assert {case.workload.window for case in suite.cases} == {29, 58, 116}
    out = capsys.readouterr()
    assert "written:" in out.err
    assert f"python -m bench.run {path} --processes 6" in out.out
    before = path.read_text()
    assert run(*ASKED, usual_windows, "--write-suite", path) == 2
    assert "there is such a file already" in capsys.readouterr().err
    assert path.read_text() == before


def test_the_suite_holds_those_that_are_tied(tmp_path: Path) -> None:
    costs = {
        "keras": made.Cost(1e-3, 1.000e-4),
        "while_loop": made.Cost(1e-3, 1.005e-4),
        "torch": made.Cost(1e-3, 9e-4),
    }
    made.write_windows(tmp_path, costs, noise=0.05)
    assert run(*ASKED, tmp_path, "--write-suite", tmp_path / "a.toml") == 0
    suite = suites.load(str(tmp_path / "a.toml"))
    assert {case.backend for case in suite.cases} == {"keras", "while_loop"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--dependency", "0"], "'0' is no whole number from 1"),
        (["--batch", "many"], "'many' is no whole number from 1"),
        (["--device", "tpu"], "'tpu' is no device"),
        (["--write-suite", "a.txt"], "expected a name ending in .toml"),
        (["--write-suite", "a.toml", "--backends", "no_such"], "no_such"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    told: str,
    usual_windows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = run(*ASKED, usual_windows, *arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.glob("a.*"))


def test_a_file_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*ASKED, tmp_path / "nothing.json") == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert "nothing.json" in out.err
    assert len(out.err.splitlines()) == 1


def test_a_file_that_cannot_be_read_is_told_and_the_others_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path)
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "learning-bad.json").write_text("{")
    assert run(*ASKED, tmp_path) == 2
    out = capsys.readouterr()
    assert "bad.json" in out.err
    assert "learning-bad.json" in out.err
    assert "FASTER than each of the others" in out.out


def test_by_default_all_sessions_and_the_reference_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LSTM_RESULTS", str(tmp_path))
    made.write_windows(tmp_path, session="old", day=1)
    made.write_windows(tmp_path, session="new", day=2, batch=8)
    made.write_windows(tmp_path / "clone/results/reference", session="theirs", batch=1024)
    assert run(*ASKED, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["session"], found["own"]) == ("old", True)
    assert run("--dependency", 14, "--batch", 1024, "--hidden", 256, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["session"], found["own"]) == ("theirs", False)
    assert run("--dependency", 14, "--batch", 1024, "--hidden", 256) == 0
    assert "reference results of another machine" in " ".join(capsys.readouterr().out.split())


def test_one_process_says_that_its_interval_is_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, processes=1, valid=False)
    assert run(*ASKED, tmp_path) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "the interval stands on 1 process: order statistics of its own samples" in text
    assert "INVALID, do not rely on it: the machine was busy" in text
    assert "surely" not in text
    assert "FASTER" not in text


# -- the one line, and what it is asked


def first_line(told: str) -> str:
    """Up to the blank line, which it may need two lines to reach."""
    return " ".join(told.partition("\n\n")[0].split())


def test_the_first_line_is_this_window_this_backend_and_what_they_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, noise=0.0)
    made.write_learning(tmp_path, {10: 8, 15: 20, 30: 50})
    assert run(*ASKED, tmp_path) == 0
    assert first_line(capsys.readouterr().out) == (
        "Take windows of 15 and while_loop+hoisted: 4.50 ms (4.50–4.50) a step, 49.4 MiB."
    )
    assert run(*ASKED, tmp_path, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["answer"].startswith("Take windows of 15 and")


def test_the_first_line_says_what_is_assumed_near_untrusted_or_tied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, batch=96, valid=False)
    assert run(*ASKED, tmp_path) == 0
    told = first_line(capsys.readouterr().out)
    assert "(the window is assumed)" in told
    assert "the measurement is INVALID" in told
    assert told.endswith("measured at a near shape (batch 96 for 64).")


def test_a_longer_dependency_never_gets_a_shorter_window_from_any_results(tmp_path: Path) -> None:
    """Also when one's own few windows, of the suite that was written, stand beside others."""
    learned = made.learned_through({3: 1, 5: 3, 15: 8, 30: 20})
    own = made.write_windows(tmp_path, windows=(17, 34, 68), session="own", timesteps=68)
    theirs = made.write_windows(tmp_path / "b", session="theirs", processes=1)
    given = places(build(collect([*own, *theirs])).sections, ["theirs-0"])
    before = 0
    for dependency in range(1, 480):
        found = answer(Question(dependency, 64, 256), given, learned)
        assert isinstance(found, Answer)
        assert found.window >= max(before, found.need.window)
        before = found.window


def test_what_was_not_measured_is_told_first_and_the_nearest_is_named_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, batch=8)
    assert run(*ASKED, tmp_path) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith(
        "Take windows of 29 (assumed); with which backend was not measured for this: no shape "
        "within a factor of 1.5 was measured in training on cpu."
    )
    assert "the nearest batch 8, 256 hidden, 128 in: there, at windows of 30, while_loop+h" in out
    assert "which says nothing of what it takes here" in out
    assert run(*ASKED, tmp_path, "--format", "json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["answered"], found["nearest"]["window"]) == (False, 30)


def test_sequences_that_end_are_never_cut_longer_than_they_are(
    usual_windows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*ASKED, "--steps", 100, usual_windows, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["needed_window"]["window"], found["window"]) == (29, 30)
    assert found["longer"]["window"] == 60
    assert run(*ASKED, "--steps", 16, usual_windows) == 1  # 30 is too far from 16 to stand for it
    assert "windows of about 16 were not measured" in " ".join(capsys.readouterr().out.split())
    assert run(*ASKED, "--steps", 25, usual_windows) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith("Take windows of 25 and")
    assert "(steps 30 for 25)" in told
    assert "the whole sequence, with nothing cut" in told
    assert "assumed)" not in told


def test_inference_has_no_window_and_asks_for_sequences_of_so_many_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for steps in (50, 60):
        made.write_windows(
            tmp_path,
            windows=(None,),
            timesteps=steps,
            session=f"s{steps}",
            mode="inference",
            optimizer=None,
        )
    asked_for = ("--batch", 64, "--units", 256, "--mode", "inference", "--steps", 58)
    assert run(*asked_for, tmp_path) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith(("Take while_loop+hoisted:", "Take static_unroll+xla:"))
    assert "measured at a near shape (steps 60 for 58)" in told
    assert "window" not in told.partition("To measure")[0]
    assert "--steps 58 --mode inference" in told
    suite = tmp_path / "inference.toml"
    assert run(*asked_for, tmp_path, "--write-suite", suite) == 0
    cases = suites.load(str(suite)).cases
    assert {(c.workload.mode, c.workload.timesteps, c.workload.window) for c in cases} == {
        ("inference", 58, None)
    }
    capsys.readouterr()
    assert run(*asked_for[:-1], 500, tmp_path) == 1
    assert "sequences of about 500 were not measured" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--dependency N is missing"),
        (("--mode", "inference"), "--mode inference needs --steps N"),
        (("--dependency", 50, "--steps", 50), "nothing lies so far back in sequences of 50"),
        (("--dependency", 50, "--mode", "serving"), "invalid choice: 'serving'"),
    ],
)
def test_options_that_ask_nothing_are_one_line(
    arguments: tuple[object, ...],
    told: str,
    usual_windows: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        code = run("--batch", 64, "--hidden", 256, *arguments, usual_windows)
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_the_suite_of_sequences_that_end_has_no_longer_windows() -> None:
    question = Question(14, 64, 256, steps=60)
    suite = suite_of(question)
    assert {case.workload.window for case in suite.cases} == {29, 58}


def test_steps_that_ask_for_the_weights_alone_come_before_those_that_ask_for_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = {"keras": made.Cost(1e-3, 2e-4)}
    made.write_windows(tmp_path, costs, session="a", day=2, gradients="all")
    made.write_windows(
        tmp_path, {"keras": made.Cost(1e-3, 1e-4)}, session="b", day=1, gradients="weights"
    )
    found = answered(QUESTION, [tmp_path])
    assert (found.place.case.workload.gradients, found.others) == ("weights", 1)
    assert found.step.mid == pytest.approx(1e-3 + 30 * 1e-4, rel=0.03)
    assert run(*ASKED, tmp_path) == 0
    assert "adam updates, gradients of weights;" in " ".join(capsys.readouterr().out.split())


def test_what_differentiates_more_is_never_compared_with_what_does_less(tmp_path: Path) -> None:
    """In one session, of one shape: two places, and each with its own backends."""
    (path,) = made.write_windows(tmp_path, {"keras": made.Cost(1e-3, 2e-4)}, processes=1)
    (other,) = made.write_windows(
        tmp_path / "b", {"torch": made.Cost(1e-3, 1e-4)}, processes=1, gradients="weights"
    )
    document = json.loads(path.read_text())
    document["benchmarks"] += json.loads(other.read_text())["benchmarks"]
    path.write_text(json.dumps(document))
    found = answered(QUESTION, [path])
    assert (found.best.case.backend, found.ahead) == ("torch", None)
