"""Test which products the kernels choose by environment variables, in processes of their own."""

import os
import subprocess
import sys

import pytest

from lstm_impl.backends.fused_cpu.c_interface import TYPES
from lstm_impl.backends.fused_cpu.prebuilt import cpu_flags
from tests.lstm_impl.backends.built import ready

PROGRAM = """
import sys
from lstm_impl.backends.fused_cpu.c_interface import KernelLayer, kernels
print(kernels().products(KernelLayer(25, 64, 512, 512, type=int(sys.argv[1]))))
"""

needs_no_amx = pytest.mark.skipif("amx_bf16" in cpu_flags(), reason="this CPU has AMX")


def describe_products(dtype: str, **variables: str) -> str:
    """Return how a large layer multiplies in a process with these variables."""
    ready("numpy_fused")
    names = ("LSTM_NATIVE_FLOAT32", "LSTM_NATIVE_BFLOAT16")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", PROGRAM, str(TYPES[dtype])]
    return subprocess.check_output(command, env=kept | variables, text=True).strip()


@pytest.mark.parametrize(
    ("variable", "dtype", "expected"),
    [
        ("LSTM_NATIVE_FLOAT32", "float32", "tiles or units"),
        ("LSTM_NATIVE_BFLOAT16", "bfloat16", "tiles, dots or widened"),
    ],
)
def test_unknown_value_is_refused_with_the_known_ones(
    variable: str, dtype: str, expected: str
) -> None:
    said = describe_products(dtype, **{variable: "tile"})
    assert said == f'{variable} is "tile"; expected {expected}'


@needs_no_amx
@pytest.mark.parametrize(
    ("variable", "dtype"),
    [("LSTM_NATIVE_FLOAT32", "float32"), ("LSTM_NATIVE_BFLOAT16", "bfloat16")],
)
def test_tiles_requested_without_amx_are_refused_with_the_reason(variable: str, dtype: str) -> None:
    said = describe_products(dtype, **{variable: "tiles"})
    assert said == f'{variable} is "tiles", and this CPU has no AMX tiles for bfloat16'


def test_requested_units_are_named_as_the_reason_for_float32() -> None:
    said = describe_products("float32", LSTM_NATIVE_FLOAT32="units")
    assert said == 'float32: LSTM_NATIVE_FLOAT32 is "units"'


@needs_no_amx
def test_float32_without_amx_is_float32_without_words() -> None:
    assert describe_products("float32") == "float32"
