"""Test that the examples of the page on the library run as they are printed."""

import re
from pathlib import Path

import pytest

from tests.lstm_impl.backends.built import ready

PAGE = Path(__file__).parents[2] / "docs/library.md"
SECTION = PAGE.read_text(encoding="utf-8").partition("## GRU layers in PyTorch and JAX")[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


@pytest.mark.parametrize(
    ("package", "backend"), [("torch", "torch_fused_cpu"), ("flax", "jax_fused_cpu")]
)
def test_example_of_a_gru_layer_runs(
    package: str, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(package)
    ready(backend)
    (example,) = (each for each in EXAMPLES if package in each)
    exec(compile(example, f"{PAGE.name}: {package}", "exec"), {})
    printed = [
        line.partition("# prints: ")[2] for line in example.splitlines() if "# prints" in line
    ]
    assert capsys.readouterr().out.splitlines() == printed
