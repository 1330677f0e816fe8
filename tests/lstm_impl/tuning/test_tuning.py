"""Test races and decisions: which backend wins, for which requests, and in which files."""

import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

import lstm_impl
from lstm_impl import LSTMSpec, LSTMWeights, Model, UnsupportedError, Workload, get_backend, tuning
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.call import Call, Outputs, RawGradients, Step, Upstream
from lstm_impl.tuning import Decision, RacedBackend, TunedMachine, TuningRequest, load, models, save
from lstm_impl.tuning.decision import NEAR, decide, find, find_nearest
from lstm_impl.tuning.machine import read_cpu_name
from lstm_impl.tuning.models import find_gpu_name
from lstm_impl.tuning.race import (
    FIRST_LOOK,
    EntrantResult,
    estimate_ratio,
    find_binomial_quantile,
    find_fastest,
    race,
)

HERE = TunedMachine("AMD EPYC, 2 usable", {"tensorflow": "2.21.0", "torch": "2.9"})
ASKED = TuningRequest(LSTMSpec(128, 128), Workload(32, 100, "training"), "keras", HERE)


def decided(question: TuningRequest = ASKED, rule: str = "keras", **blocks: float) -> Decision:
    ran = {name: EntrantResult((seconds,) * 20, 1.0) for name, seconds in blocks.items()}
    return decide(question, ran, {"cudnn": "no GPU"}, rule, "2026-11-26T07:00:00+00:00", "a test")


def test_decide_picks_the_fastest_and_orders_the_others() -> None:
    found = decided(keras=0.03, fused_cpu=0.01, scan=0.02)
    assert found.backend == "fused_cpu"
    assert [each.backend for each in found.raced] == ["fused_cpu", "scan", "keras", "cudnn"]
    assert found.raced[1].ratio == pytest.approx(2.0)
    assert found.raced[3] == RacedBackend("cudnn", problem="no GPU")
    assert "the rule would have picked keras" in str(found)
    assert "fused_cpu: 10 ms, the fastest (20 rounds)" in str(found)
    assert "scan: 20 ms; the fastest is 2.00 times as fast (2.00 to 2.00, 20 rounds)" in str(found)


def test_decide_equal_times_keep_the_rule() -> None:
    assert decided(keras=0.01, scan=0.02).backend == "keras"
    assert decided(keras=0.0101, scan=0.01).backend == "keras"
    assert decided(keras=0.0103, scan=0.01).backend == "scan"


def test_best_takes_the_fastest_allowed_or_none() -> None:
    found = decided(a=0.01, keras=0.0202, b=0.02)
    assert found.best(lambda name: name != "a") == "keras"
    assert found.best(lambda name: False) == ""


@pytest.mark.parametrize(
    ("other", "lent"),
    [
        (ASKED, True),
        (replace(ASKED, workload=Workload(45, 100, "training")), True),
        (replace(ASKED, workload=Workload(46, 100, "training")), False),
        (replace(ASKED, workload=Workload(32, 70, "training")), False),
        (replace(ASKED, workload=Workload(32, 100, "training", optimizer="adam")), False),
        (replace(ASKED, workload=Workload(32, 100)), False),
        (replace(ASKED, workload=Workload(32, 100, "training", min_length=50)), False),
        (replace(ASKED, workload=Workload(32, 100, "training", dropout=0.5)), False),
        (replace(ASKED, spec=LSTMSpec(129, 128)), False),
        (replace(ASKED, through="model"), False),
        (replace(ASKED, machine=TunedMachine("AMD EPYC, 4 usable", HERE.versions)), False),
        (replace(ASKED, machine=TunedMachine(HERE.device, {"tensorflow": "2.22.0"})), False),
        (replace(ASKED, machine=TunedMachine(HERE.device, {"tensorflow": "2.21.0"})), True),
    ],
)
def test_far_only_near_sizes_of_the_same_work_share_a_decision(
    other: TuningRequest, lent: bool
) -> None:
    for one, another in ((ASKED, other), (other, ASKED)):
        far = one.distance(another)
        assert (far is not None and far <= NEAR) == lent


def test_decision_holds_for_the_version_of_the_library_from_either_distribution() -> None:
    versions = [{name: "0.2.0"} for name in ("lstm-impl", "lstm-benchmark-suite")]
    versions += [{**versions[0], **versions[1]}, {"lstm-impl": "0.3.0"}, {}]
    shared = [TunedMachine(HERE.device, each).shared_properties for each in versions]
    assert shared[0] == shared[1] == shared[2]
    assert len(set(shared)) == 3


# -- files


def test_digest_of_earlier_versions_is_kept() -> None:
    assert ASKED.digest == "9b716d08bf5fbdd2"


def test_decision_round_trip_through_json_is_equal() -> None:
    found = decided(keras=0.03, fused_cpu=0.01)
    assert Decision.from_json(found.to_json()) == found
    assert Decision.from_json(found.to_json()).to_json() == found.to_json()


def _changed(path: tuple[Any, ...], value: object) -> str:
    record = json.loads(decided(keras=1.0).to_json())
    at = record
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return json.dumps(record)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), 2, "this version reads 1"),
        (("rule",), 7, "rule is not a text"),
        (("raced",), {}, "raced is not a list"),
        (("raced", 0, "seconds"), float("nan"), "seconds is nan"),
        (("raced", 0, "first"), float("inf"), "first is inf"),
        (("raced", 0, "ratio"), -1, "ratio is -1"),
        (("raced", 0, "ratio"), 0, "ratio is 0; expected a number above 0"),
        (("raced", 0, "rounds"), "12", "rounds is not a number"),
        (("raced", 0, "rounds"), 10**400, "too large"),
        (("raced", 0, "backend"), "x" * 2_000, "backend is not a text"),
        (("raced", 0, "more"), 1, "a line of raced is not an object with"),
        (("question", "spec", "hidden_size"), 0, "LSTMSpec.hidden_size is 0"),
        (("question", "workload", "mode"), "dreaming", "Workload.mode is 'dreaming'"),
        (("question", "machine", "versions"), {"tensorflow": 2}, "versions is not a text"),
        (("question", "machine", "versions"), 3, "not iterable"),
        (("question", "machine", "device"), None, "device is not a text"),
    ],
)
def test_from_json_wrong_field_is_named(path: tuple[Any, ...], value: object, message: str) -> None:
    with pytest.raises(tuning.DecisionError, match=message):
        Decision.from_json(_changed(path, value))


def test_from_json_with_a_repeated_key_raises() -> None:
    text = decided(keras=1.0).to_json().replace('"rule": ', '"rule": "scan", "rule": ', 1)
    with pytest.raises(tuning.DecisionError, match="an object has a key twice"):
        Decision.from_json(text)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=20))
def test_from_json_any_json_is_a_decision_or_an_error(value: object) -> None:
    with pytest.raises(tuning.DecisionError):
        Decision.from_json(json.dumps(value))


STORED = TuningRequest(LSTMSpec(128, 128), Workload(32, 100), "keras", TunedMachine("here", {}))


def stored(name: str, question: TuningRequest = STORED, made: str = "2026-11-26") -> Decision:
    return Decision(question, (RacedBackend(name, 1.0, 1.0, 1.0, 1.0, 20),), "", made, "a test")


def sized(batch: int) -> TuningRequest:
    return replace(STORED, workload=Workload(batch, 100))


# -- the find_nearest


def test_nearest_is_the_nearest_then_the_newest() -> None:
    found = [stored("a", sized(30)), stored("b", sized(24)), stored("c", sized(30))]
    for order in (found, [found[1], found[0], found[2]], [found[0], found[2], found[1]]):
        taken = find_nearest(STORED, order)
        assert taken is not None
        assert taken.backend == "c"


# -- files


def test_load_returns_the_saved_decision(tmp_path: Path) -> None:
    found = stored("scan")
    path = save(found, tmp_path / "new")
    assert load(tmp_path / "new") == [found]
    assert find(STORED, tmp_path / "new") == found
    assert find(replace(STORED, through="model"), tmp_path / "new") is None
    newer = stored("keras", made="2026-11-27")
    assert save(newer, tmp_path / "new") == path
    assert load(tmp_path / "new") == [newer]
    assert not list((tmp_path / "new").glob("*.partial"))


def test_save_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(stored("scan"), tmp_path)

    def full(self: Path, target: Path) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        save(stored("keras"), tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [f"{STORED.digest}.json"]
    assert load(tmp_path) == [stored("scan")]


def test_folder_default_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "named"))
    assert tuning.folder() == tmp_path / "named"
    save(stored("scan"))
    assert find(STORED) == stored("scan")
    assert load() == load(tmp_path / "named") == [stored("scan")]
    monkeypatch.setenv("LSTM_DECISIONS", "")
    assert tuning.folder().name == "decisions"
    assert tmp_path not in tuning.folder().parents


def test_load_wrong_file_is_skipped_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(stored("keras"), tmp_path)
    (tmp_path / "a\x1b[2J\n.json").write_text("{")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    (tmp_path / "c.json").mkdir()
    (tmp_path / "d.json").write_text(stored("scan").to_json() + " " * 1_000_000)
    assert len(load(tmp_path)) == 1
    assert len(caplog.records) == 4
    assert all(record.getMessage().isprintable() for record in caplog.records)
    for name in ("a?[2J?.json", "b.json", "c.json", "d.json"):
        assert f"{name} is skipped" in caplog.text


# -- owners


@pytest.mark.parametrize("which", ["folder", "file"])
def test_load_file_writable_by_others_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, which: str
) -> None:
    place = tmp_path / "shared"
    path = save(stored("scan"), place)
    (place if which == "folder" else path).chmod(0o777)
    assert load(place) == []
    assert "can be written by others" in caplog.text
    if which == "folder":
        with pytest.raises(PermissionError, match="can be written by others"):
            save(stored("scan"), place)


def test_machine_name_is_the_processor_or_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_cpu_name("processor\t: 0\nmodel name\t: AMD  EPYC\n") == "AMD EPYC"
    assert read_cpu_name("")
    monkeypatch.setattr(tuning.machine, "_read_cpuinfo", lambda: "model name : A\n")
    monkeypatch.setattr(tuning.machine, "count_usable_cpus", lambda: 3)
    assert tuning.machine.describe_machine("cpu").device == "A, 3 usable"
    assert tuning.machine.describe_machine("gpu:0", "An accelerator").device == "An accelerator"
    assert tuning.machine.describe_machine("gpu:1").device == "gpu:1"  # of unknown name
    assert tuning.machine.describe_machine("cpu").versions == tuning.machine.list_versions()


# -- races of models that need no framework

SPEC, WORK = LSTMSpec(2, 3), Workload(2, 4, "training")


@pytest.fixture(autouse=True)
def decisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LSTM_DECISIONS", str(tmp_path / "decisions"))
    return tmp_path / "decisions"


def test_tune_excludes_unable_backends_with_reasons() -> None:
    found = lstm_impl.tune(SPEC, WORK, candidates=["numpy", "cudnn"], seconds=0.2)
    assert found.backend == "numpy"
    cudnn = found.find_result("cudnn")
    assert cudnn is not None
    assert "GPU" in cudnn.problem
    assert load() == [found]


def test_old_name_of_find_result_warns_and_returns_the_same() -> None:
    found = lstm_impl.tune(SPEC, WORK, candidates=["numpy", "cudnn"], seconds=0.2)
    with pytest.warns(DeprecationWarning, match="call Decision.find_result instead"):
        result = found.result_of("cudnn")
    assert result is not None
    assert result == found.find_result("cudnn")


@pytest.mark.parametrize(
    ("old", "new"),
    [("Machine", TunedMachine), ("Question", TuningRequest), ("Raced", RacedBackend)],
)
def test_old_names_of_classes_warn_and_return_the_renamed_class(old: str, new: type) -> None:
    with pytest.warns(DeprecationWarning, match=f"use lstm_impl.tuning.{new.__name__} instead"):
        assert getattr(tuning, old) is new
    assert not hasattr(tuning, "Unknown")


@pytest.mark.usefixtures("decisions")
def test_tune_tells_which_backends_race_and_why_others_do_not() -> None:
    lines: list[str] = []
    names = ["numpy", "cudnn"]
    lstm_impl.tune(SPEC, WORK, candidates=names, seconds=0.1, print_fn=lines.append)
    first, cudnn, numpy, last = (line.removeprefix(f"{WORK.mode}: ") for line in lines)
    assert first == "checking 2 candidates before a race of 0.1 s"
    assert cudnn.startswith("cudnn does not race: ")
    assert numpy.startswith("numpy races; its first call took ")
    assert last == "use numpy"


def test_tune_known_decision_is_returned() -> None:
    first = lstm_impl.tune(SPEC, WORK, candidates=["numpy"], seconds=0.1)
    assert lstm_impl.tune(SPEC, WORK, candidates=["numpy"]) == first
    again = lstm_impl.tune(SPEC, WORK, candidates=["numpy"], seconds=0.1, again=True)
    assert again.raced != first.raced
    # one more candidate is another race
    more = lstm_impl.tune(SPEC, WORK, candidates=["numpy", "cudnn"], seconds=0.1)
    assert {each.backend for each in more.raced} == {"numpy", "cudnn"}
    requested = more.question
    assert models.find_answer(requested, ["numpy"]) == more
    newer = replace(requested.machine, versions={**requested.machine.versions, "torch": "99.0"})
    # It holds for others with the same versions of TensorFlow.
    assert newer.shared_properties == requested.machine.shared_properties
    assert models.find_answer(replace(requested, machine=newer), ["numpy"]) is None


def test_tune_bad_input_is_refused_first(decisions: Path) -> None:
    with pytest.raises(ValueError, match="seconds is 0"):
        lstm_impl.tune(SPEC, WORK, seconds=0)
    with pytest.raises(UnsupportedError, match="did you mean numpy"):
        lstm_impl.tune(SPEC, WORK, candidates=["nunpy"])
    with pytest.raises(UnsupportedError, match=r"none of the candidates can run: cudnn: .*GPU"):
        lstm_impl.tune(SPEC, WORK, candidates=["cudnn"])
    assert not decisions.exists()


# -- lengths and dropout


class Forgetful(NumPyLoop):
    """Define a backend that ignores lengths, or dropout."""

    strategy = "forgetful"
    forgotten = "lengths"

    def _build(self, spec: LSTMSpec, weights: LSTMWeights, device: str, batch_major: bool) -> Model:
        return ForgetfulModel(self, spec, device, batch_major, weights)


class ForgetfulModel(NumPyModel):
    backend: Forgetful

    def _seen(self, call: Call) -> Call:
        if self.backend.forgotten == "lengths":
            return call._replace(lengths=None)
        return call._replace(masks=None)

    def _infer(self, call: Call) -> Outputs:
        return super()._infer(self._seen(call))

    def _train(self, gradients: str, call: Call, upstream: Upstream) -> RawGradients:
        return super()._train(gradients, self._seen(call), upstream)


DEEP = replace(SPEC, num_layers=2)


@pytest.mark.parametrize(
    ("forgotten", "work"),
    [
        ("lengths", Workload(2, 4, min_length=1)),
        ("lengths", Workload(2, 4, "training", min_length=1)),
        ("masks", Workload(2, 4, "training", dropout=0.5)),
    ],
)
def test_tune_excludes_backends_that_ignore_lengths_or_masks(
    monkeypatch: pytest.MonkeyPatch, forgotten: str, work: Workload
) -> None:
    wrong = Forgetful()
    wrong.forgotten = forgotten
    monkeypatch.setattr(
        models, "get_backend", lambda name: wrong if name == "forgetful" else get_backend(name)
    )
    names = ["numpy", "forgetful"]
    plain = replace(work, min_length=None, dropout=0.0)
    found = lstm_impl.tune(DEEP, plain, candidates=names, seconds=0.1)
    assert not any("differ from the reference" in each.problem for each in found.raced)
    found = lstm_impl.tune(DEEP, work, candidates=names, seconds=0.1)
    assert found.backend == "numpy"
    result = found.find_result("forgetful")
    assert result is not None
    assert "results differ from the reference" in result.problem


# -- streams


@pytest.mark.parametrize(("mode", "each"), [("streaming", True), ("inference", False)])
def test_tune_stream_waits_for_each_call(
    mode: str, each: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"run": 0, "wait": 0}
    infer = NumPyModel._infer

    def run(self: NumPyModel, call: object) -> object:
        counts["run"] += 1
        return infer(self, call)  # type: ignore[arg-type]

    def wait(self: NumPyModel) -> None:
        counts["wait"] += 1

    monkeypatch.setattr(NumPyModel, "_infer", run)
    monkeypatch.setattr(NumPyModel, "synchronize", wait)
    found = lstm_impl.tune(SPEC, Workload(1, 1, mode), candidates=["numpy"], seconds=0.2)
    assert found.backend == "numpy"
    # The gate makes some calls; a block of a race has hundreds.
    assert (counts["wait"] >= counts["run"] - 20) is each


# -- the GPU's name


def test_gpu_name_comes_from_tensorflow_if_known(monkeypatch: pytest.MonkeyPatch) -> None:
    details = [{"device_name": "An accelerator"}, {}]
    config = SimpleNamespace(
        list_physical_devices=lambda kind: [0, 1],
        experimental=SimpleNamespace(get_device_details=details.__getitem__),
    )
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))
    assert find_gpu_name("gpu:0") == find_gpu_name("gpu") == "An accelerator"
    assert [find_gpu_name(each) for each in ("cpu", "gpu:1", "gpu:2")] == [""] * 3
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert find_gpu_name("gpu:0") == ""  # which is not needed to race other frameworks' backends


# -- the race, on a fake clock: winners, early leavers, and busy machines


class World:
    """Simulate a clock that only steps advance."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def step(self, duration: Callable[[], float], first: float = 0.0) -> Step:
        firsts = iter([first])

        def run() -> None:
            self.time += duration() + next(firsts, 0.0)

        return Step(run, lambda: None, lambda: None)

    def always(self, seconds: float, first: float = 0.0) -> Step:
        return self.step(lambda: seconds, first)


def test_race_fastest_wins_and_far_slower_leave_early() -> None:
    world = World()
    steps = {"slow": world.always(0.1), "fast": world.always(0.01), "near": world.always(0.0101)}
    ran = race(steps, 20.0, now=world.now)
    assert find_fastest({name: each.blocks for name, each in ran.items()}) == "fast"
    assert len(ran["slow"].blocks) == FIRST_LOOK
    assert len(ran["near"].blocks) == len(ran["fast"].blocks) > FIRST_LOOK
    assert estimate_ratio(ran["slow"].blocks, ran["fast"].blocks).mid == pytest.approx(10.0)


def test_race_after_a_pause_makes_an_untimed_call() -> None:
    world = World()
    asleep = False

    def rest() -> None:
        nonlocal asleep
        asleep = True

    def duration() -> float:
        nonlocal asleep
        took, asleep = (0.048 if asleep else 0.03), False
        return took

    ran = race({"a": world.step(duration), "b": world.always(0.04)}, 5.0, now=world.now, rest=rest)
    assert set(np.round(ran["a"].blocks, 9)) == {0.03}
    # A long call has none, which would double the time.
    world = World()
    race({"a": world.always(1.0)}, 0.0, now=world.now, rest=lambda: None)
    assert world.time == 2 + FIRST_LOOK


def test_race_budget_has_first_calls_and_late_entrants_are_named() -> None:
    world = World()
    steps = {"a": world.always(0.01, first=30.0), "b": world.always(0.001)}
    ran = race(steps, 20.0, now=world.now)
    assert ran["a"].first == pytest.approx(30.01)
    assert len(ran["a"].blocks) == FIRST_LOOK
    assert "no time was left" in ran["b"].problem


def _busy(rng: random.Random, level: float) -> Iterator[float]:
    """Return slowdowns of a busy machine from call to call: drift, bursts and rare long stops."""
    drift, burst = 0.0, 0
    while True:
        drift = 0.98 * drift + rng.gauss(0.0, 0.05 * level)
        burst = rng.randrange(5, 40) if rng.random() < 0.01 * level else max(0, burst - 1)
        stop = 20.0 * level if rng.random() < 0.002 else 0.0
        yield max(0.5, 1.0 + abs(rng.gauss(0.0, 0.03 * level)) + drift + stop + bool(burst) * level)


@pytest.mark.parametrize("level", [0.3, 1.0])
@pytest.mark.parametrize("races", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_race_on_a_busy_machine_is_seldom_over_3_percent_off(level: float, races: int) -> None:
    lost = 0
    for seed in range(races):
        rng = random.Random(seed)
        world, noise = World(), _busy(rng, level)
        true = {name: 0.004 * rng.uniform(1.0, 1.3) for name in "abcde"}
        steps = {
            name: world.step(partial(lambda mean, noise: mean * next(noise), mean, noise))
            for name, mean in true.items()
        }
        ran = race(steps, 10.0, seed, world.now)
        chosen = find_fastest({name: each.blocks for name, each in ran.items()})
        lost += true[chosen] > 1.03 * min(true.values())
    assert lost <= races // 20  # five in a hundred


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=300), st.floats(1e-6, 1e3))
def test_ratio_is_inside_its_interval_in_any_unit(blocks: list[float], unit: float) -> None:
    found = estimate_ratio([each * unit for each in blocks], [unit] * len(blocks))
    assert found.low <= found.mid <= found.high
    assert found.mid == pytest.approx(float(np.median(blocks)))


@given(st.integers(1, 400), st.floats(1e-6, 1 - 1e-6))
def test_binomial_quantile_is_that_of_scipy(trials: int, probability: float) -> None:
    found = find_binomial_quantile(probability, trials)
    # SciPy rounds the distribution. So it may miss by one if the probability is almost that of a
    # number of heads.
    assert binom.cdf(found, trials, 0.5) >= probability * (1 - 1e-9)
    assert binom.cdf(found - 1, trials, 0.5) <= probability * (1 + 1e-9)


def test_decision_without_a_home_folder_is_not_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "lstm_impl.tuning.decision.find_data_folder", lambda: Path("~/.local/share/x")
    )
    monkeypatch.delenv("LSTM_DECISIONS")
    with pytest.raises(FileNotFoundError, match="no home folder; set LSTM_DECISIONS to a folder"):
        save(None)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rounds", [1, FIRST_LOOK, 7])
def test_race_failing_entrant_has_its_reason_in_any_round(rounds: int) -> None:
    world = World()
    calls = iter(range(100))

    def breaks() -> float:
        # Two calls come before the first round, and a call fills a block.
        if next(calls) == 1 + rounds:
            raise RuntimeError("broke\nwith a long trace")
        return 0.05

    def at_once() -> float:
        raise ValueError

    ran = race({"a": world.step(breaks)}, 10.0, now=world.now)
    assert ran == {"a": EntrantResult(problem="RuntimeError: broke")}
    calls = iter(range(100))
    steps = {"a": world.step(breaks), "b": world.always(0.05), "c": world.step(at_once)}
    ran = race(steps, 10.0, now=world.now)
    assert ran["a"] == EntrantResult(problem="RuntimeError: broke")
    assert len(ran["b"].blocks) >= FIRST_LOOK
    assert ran["c"] == EntrantResult(problem="ValueError")


def test_race_rounds_are_interleaved_in_random_order() -> None:
    world, turns, restarted = World(), list[str](), list[str]()

    def entrant(name: str) -> Step:
        def run() -> None:
            turns.append(name)
            world.time += 0.05

        return Step(run, lambda: None, lambda: None, restart=lambda: restarted.append(name))

    ran = race({name: entrant(name) for name in "abc"}, 2.0, now=world.now)
    assert {len(each.blocks) for each in ran.values()} == {12}
    blocks = turns[6:]  # two calls of each come before the race; one call fills a block
    assert restarted == blocks
    rounds = ["".join(blocks[k : k + 3]) for k in range(0, len(blocks), 3)]
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len(set(rounds)) > 3
