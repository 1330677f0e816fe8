"""Test that every wrong backend of the gate's tests is found as a plain function, and explained."""

from typing import Any

import pytest

from lstm_impl.checking import check
from tests.lstm_impl.checking.written_loops import numpy_loop
from tests.lstm_impl.checking.wrong_functions import WRONG, WrongFunction

LEAST_NAMED = 0.8
"""Part of the wrong functions whose cause must be named."""

SIZES: dict[str, Any] = {"input_size": 5, "hidden_size": 8, "batch": 4, "timesteps": 6}
ARGUMENTS = ("x", "h", "c", "kernel", "recurrent_kernel", "bias")


def list_causes(wrong: WrongFunction) -> set[str] | None:
    """Return the names of the causes, or None if the function passes."""
    result = check(
        wrong.function,
        arrays="numpy",
        arguments=ARGUMENTS,
        backward=wrong.backward,
        **{**SIZES, **wrong.options},
    )
    return None if result.passed else {cause.name for cause in result.causes}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_wrong_functions_are_all_found_and_most_are_explained() -> None:
    found = {name: list_causes(wrong) for name, wrong in WRONG.items()}
    passed = [name for name, causes in found.items() if causes is None]
    assert passed == []
    unexplained = [
        name for name, wrong in WRONG.items() if not set(wrong.causes) & (found[name] or set())
    ]
    share = 1.0 - len(unexplained) / len(WRONG)
    assert share >= LEAST_NAMED, f"{share:.0%} are explained; not {', '.join(unexplained)}"


def test_right_function_with_these_sizes_passes() -> None:
    assert check(numpy_loop, **SIZES)
