"""Test sessions from the options of a command, new or resumed."""

import argparse
from pathlib import Path

import pytest

from bench import case as suites
from bench import run
from bench.cli.command_line import UsageError
from bench.cli.options import DEFAULT_SUITE
from bench.records.seeds import newest_seed
from bench.session.measure import BUDGET, open_session
from bench.session.session import CASE_LIMIT, PRECISION, Goal, Session
from tests.bench.made_suites import small_suite
from tests.bench.session.made_sessions import session


def options(*words: str) -> argparse.Namespace:
    return run._parser().parse_args([*words])


def opened(folder: Path, *words: str) -> Session:
    return open_session(options(*words), folder)[0]


def written(folder: Path, text: str = small_suite(), name: str = "mine") -> Path:
    path = folder / "mine.toml"
    path.write_text(text.replace('name = "mine"', f'name = "{name}"'))
    return path


def test_new_session_with_processes_has_no_budget(tmp_path: Path) -> None:
    plain = opened(tmp_path)
    assert (plain.suite, plain.budget, plain.case_limit) == (DEFAULT_SUITE, BUDGET, CASE_LIMIT)
    assert (plain.goal, plain.spent, plain.finished) == (Goal(PRECISION), 0.0, None)
    found = plain.options
    assert (found.seed, found.load) == (newest_seed(), 0)
    assert (found.period, found.deadline) == (None, None)
    streams = opened(tmp_path, "--load", "2", "--period", "10ms", "--deadline", "1ms").options
    assert (streams.load, streams.period, streams.deadline) == (2, (0.01,), 0.001)
    counted = opened(tmp_path, "--processes", "3")
    assert (counted.goal, counted.budget) == (Goal(PRECISION, 3), None)
    both = opened(tmp_path, "--processes", "3", "--budget", "5m", "--precision", "1%")
    assert (both.goal, both.budget) == (Goal(0.01, 3), 300.0)


def test_new_session_keeps_the_absolute_path_of_its_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = opened(tmp_path, "mine.toml", "--backends", "numpy", "--seed", "4")
    assert (found.suite, found.suite_name, found.options.seed) == (str(path), "mine", 4)
    assert opened(tmp_path, "smoke").suite == "smoke"
    monkeypatch.chdir("/")
    found.save(tmp_path)
    assert opened(tmp_path, "--resume", found.id).cases == found.cases


@pytest.mark.parametrize(("option", "wanted"), [((), True), (("--memory", "off"), False)])
def test_new_session_measures_memory_unless_it_is_switched_off(
    tmp_path: Path, option: tuple[str, ...], wanted: bool
) -> None:
    path = written(tmp_path, f"memory = true\n{small_suite()}")
    assert opened(tmp_path, str(path), *option).options.memory is wanted
    assert opened(tmp_path, str(written(tmp_path)), "--memory", "on").options.memory


def kept(folder: Path, **changes: object) -> Session:
    """Save a finished session of a complete suite."""
    suite = suites.load(str(written(folder)))
    found = session(
        **{
            "suite": str(suite.path),
            "cases": suite.cases,
            "goal": Goal(0.05, 2),
            "budget": 100.0,
            "spent": 60.0,
            "finished": "2026-01-01T00:00:00+00:00",
            **changes,
        }
    )
    found.save(folder)
    return found


def test_resumed_session_adds_its_budget_and_replaces_its_goal(tmp_path: Path) -> None:
    kept(tmp_path)
    found = opened(tmp_path, "--resume", "s", "--budget", "30s", "--case-limit", "20s")
    assert (found.budget, found.case_limit, found.goal) == (90.0, 20.0, Goal(0.05, 2))
    assert opened(tmp_path, "--resume", "s", "--processes", "6").goal == Goal(0.05, 6)
    assert opened(tmp_path, "--resume", "s", "--precision", "1%").goal == Goal(0.01, None)


def test_resumed_session_keeps_its_own_cases(tmp_path: Path) -> None:
    complete = suites.load(str(written(tmp_path))).cases
    assert len(complete) > 1
    kept(tmp_path, cases=complete[:1])
    found, suite = open_session(options("--resume", "s"), tmp_path)
    assert found.cases == suite.cases == complete[:1]


@pytest.mark.parametrize(
    "words",
    [
        *("SUITE", "--device cpu", "--backends numpy", "--mode inference", "--seed 0"),
        *("--threads 1", "--seconds 1s", "--memory on", "--period 10ms", "--deadline 1ms"),
        "--load 1",
    ],
)
def test_resumed_session_with_options_of_a_new_one_is_refused(tmp_path: Path, words: str) -> None:
    with pytest.raises(UsageError, match=f"^{words.split()[0]} cannot be combined with --resume"):
        opened(tmp_path, *words.split(), "--resume", "s")


def test_resumed_session_of_a_renamed_suite_is_refused(tmp_path: Path) -> None:
    kept(tmp_path)
    written(tmp_path, name="thine")
    with pytest.raises(
        UsageError,
        match=r"the suite in .*mine\.toml is now named thine, but was named mine when session s "
        r"began, .* or start a new session without --resume$",
    ):
        opened(tmp_path, "--resume", "s")


def test_new_session_with_a_case_limit_too_short_is_refused(tmp_path: Path) -> None:
    opened(tmp_path, "--seconds", "5s", "--case-limit", "5.1s")
    with pytest.raises(UsageError, match="--case-limit 5s must be more than the 5 s"):
        opened(tmp_path, "--seconds", "5s", "--case-limit", "5s")
    kept(tmp_path)
    longest = max(suites.load(str(written(tmp_path))).seconds.values())
    with pytest.raises(UsageError, match=f"must be more than the {longest:g} s"):
        opened(tmp_path, "--resume", "s", "--case-limit", f"{longest}s")
