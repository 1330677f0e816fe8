"""Test the declaration of options, and all that is made from it."""

from pathlib import Path

import pytest

from bench import run
from bench.cli.options import (
    THREAD_VARIABLES,
    MeasurementOptions,
    iterate_options,
    list_fixed_options,
)
from bench.machine.fields import Field, ResultError
from lstm_impl.frameworks import list_frameworks

EVERY = MeasurementOptions(
    suite="/a/mine.toml",
    device=("cpu", "gpu:0"),
    backends=("a", "b"),
    variant=("none", "int8"),
    cell=("lstm", "gru"),
    mode=("training",),
    threads=2,
    seed=7,
    period=(None, 0.01),
    deadline=0.0005,
    load=2,
    budget=1.5,
    memory=False,
    case_limit=45.0,
    share=0.25,
    precision=0.02,
    cases="/a/cases.json",
    session="s",
    order_seed=9,
    results="/a/results",
    busy="force",
    judged="/a/judged",
    turn=5,
)
"""Options of which each has a value."""


def field(data: object) -> Field:
    return Field(Path("order.json"), "", data)


def test_example_has_a_value_for_every_option() -> None:
    assert [name for name, _ in iterate_options() if getattr(EVERY, name) is None] == []


def test_options_survive_the_way_through_an_order() -> None:
    assert MeasurementOptions.from_field(field(EVERY.to_dict())) == EVERY
    assert MeasurementOptions().to_dict() == {}
    assert MeasurementOptions.from_field(field({})) == MeasurementOptions()


def test_options_survive_the_way_through_the_file_of_a_session() -> None:
    kept = MeasurementOptions.from_session(field(EVERY.to_session()))
    names = {name for name, option in iterate_options() if option.session}
    assert kept == MeasurementOptions(**{name: getattr(EVERY, name) for name in names})
    # Later versions must read the files of this one.
    assert set(EVERY.to_session()) == {
        *(
            "suite",
            "devices",
            "backends",
            "variants",
            "cells",
            "modes",
            "threads",
            "seed",
            "periods",
        ),
        *("deadline", "load", "seconds", "memory", "case_limit"),
    }


def test_record_has_no_folder_and_reads_as_the_user_typed_it() -> None:
    record = EVERY.to_record()
    assert record["suite"] == "mine.toml"
    assert record["cases"] == "cases.json"
    assert record["period"] == ["back-to-back", "10ms"]
    assert record["memory"] == "off"
    assert not record.keys() & {"results", "busy", "judged", "turn"}
    assert "/a/" not in str(record)


def test_options_of_run_have_the_names_of_its_help() -> None:
    words = "quick --device cpu --mode inference,training --seconds 2s --period 10ms --load 3"
    words += " --memory on --case-limit 1m --deadline 1ms --variant int8 --seed 4 --threads 2"
    found = MeasurementOptions.from_run(run._parser().parse_args([*words.split()]))
    assert found == MeasurementOptions(
        suite="quick",
        device=("cpu",),
        mode=("inference", "training"),
        budget=2.0,
        period=(0.01,),
        load=3,
        memory=True,
        case_limit=60.0,
        deadline=0.001,
        variant=("int8",),
        seed=4,
        threads=2,
    )


def test_resumed_session_may_change_the_limit_of_a_case_only() -> None:
    named = {option.run for _, option in iterate_options() if option.run}
    assert named - set(list_fixed_options()) == {"case-limit"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"threds": 2}, r"threds is no option; expected an option \(did you mean threads\?\)"),
        ({"threads": 0}, "threads is 0; expected a positive integer"),
        ({"device": "cpu"}, 'device is "cpu"; expected a list'),
        ({"budget": "1s"}, 'budget is "1s"; expected a number of at least 0'),
        ({"memory": "on"}, 'memory is "on"; expected true or false'),
        ({"busy": "never"}, 'busy is "never"; expected one of refuse, wait, force'),
        ([], "expected an object"),
    ],
)
def test_order_with_a_wrong_option_names_it(data: object, message: str) -> None:
    with pytest.raises(ResultError, match=message):
        MeasurementOptions.from_field(field(data))


def test_set_threads_sets_what_libraries_read(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"OMP_NUM_THREADS": "8"}
    monkeypatch.setattr("os.environ", environ)
    MeasurementOptions().set_threads()
    assert environ == {"OMP_NUM_THREADS": "8"}
    MeasurementOptions(threads=3).set_threads()
    frameworks = {name for each in list_frameworks() for name in each.thread_variables}
    assert "TF_NUM_INTRAOP_THREADS" in frameworks
    assert environ == dict.fromkeys({*THREAD_VARIABLES, *frameworks}, "3")
