"""Test how backends are found by name and in other packages, and what the search imports."""

import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, UnsupportedError, get_backend, list_backends, reference
from lstm_impl.availability import UnavailableError
from lstm_impl.backends.others.numpy_loop import NumPyLoop
from lstm_impl.names import BUILT_IN, canonical, strategies
from tests.loaded import FRAMEWORKS, SLOW, list_loaded


def test_get_backend_of_each_listed_name_has_that_name() -> None:
    names = list_backends()
    assert len(names) == len(set(names))
    assert {"numpy", "while_loop", "static_unroll", "cudnn"} <= set(names)
    for name in names:
        backend = get_backend(name)
        assert backend.name == name
        assert backend.strategy == name.partition("+")[0].partition("@")[0]
        assert backend.summary
        assert "\n" not in backend.summary
        assert set(backend.devices) <= {"cpu", "gpu"}


def test_table_of_strategies_agrees_with_their_classes() -> None:
    for name, known in BUILT_IN.items():
        module, _, attribute = known.place.partition(":")
        kind = getattr(importlib.import_module(module), attribute)
        of_class = kind.strategy, kind.framework, kind.flags, kind.takes_number
        assert of_class == (name, known.framework, known.flags, known.takes_number)


@pytest.mark.parametrize(
    ("written", "id_"),
    [
        ("while_loop+xla+hoisted", "while_loop+hoisted+xla"),
        ("partial_unroll@010+xla", "partial_unroll@10+xla"),
        ("torch:int8", "torch:int8"),
        ("openvino+throughput+throughput:padded", "openvino+throughput:padded"),
    ],
)
def test_canonical_equals_the_name_of_the_backend(written: str, id_: str) -> None:
    assert canonical(written) == get_backend(written).name == id_


SIMILAR = "there is no backend .*did you mean .*"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("scan+bogus", "scan has no option \\+bogus; its options are: \\+preproject, \\+hoisted"),
        ("partial_unroll", "partial_unroll needs a number"),
        ("scan@5", "scan takes no number"),
        ("partial_unroll@0", "has a number below 1; expected at least 1"),
        ("keras:int8", "keras has no variant int8; only torch, onnxruntime, numpy_fused have it"),
        ("keras:int4", "there is no variant 'int4' of keras; the variants are int8, denormal"),
        ("numpy+xla", "numpy has no option \\+xla; its options are: none"),
        ("torch:", "there is no variant ''"),
        ("torch:int8:int8", "torch:int8 has no variant int8"),
        ("torhc:int8", "did you mean torch"),
        (":int8", "there is no backend ''"),
        ("while_lop", SIMILAR + "while_loop"),
        ("whileloop", SIMILAR + "while_loop"),
        ("Numpy", SIMILAR + "numpy"),
        ("static-unroll", SIMILAR + "static_unroll"),
        ("cudnnn+repack", SIMILAR + "cudnn\\+repack"),
        ("while_loop + xla", SIMILAR + "while_loop\\+xla"),
    ],
)
def test_canonical_raises_as_get_backend_does(name: str, says: str) -> None:
    for read in (canonical, get_backend):
        with pytest.raises(UnsupportedError, match=says):
            read(name)


# -- entry points: backends from other packages

PLUGIN = """
from lstm_impl.backends.others.numpy_loop import NumPyLoop

class Abacus(NumPyLoop):
    strategy = "abacus"
    summary = "beads"
    flags = ("ivory",)

class Leaving(NumPyLoop):
    strategy = "leaving"

    def __init__(self, *given):
        raise SystemExit(3)

    @classmethod
    def variants(cls):
        raise GeneratorExit

not_a_class = "beads"
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a distribution with these entry points on the path, as pip would."""

    def install(**points: str) -> None:
        (tmp_path / "abacus_lstm.py").write_text(PLUGIN)
        (tmp_path / "broken_lstm.py").write_text("import a_package_that_is_not_there\n")
        (tmp_path / "exiting_lstm.py").write_text("raise SystemExit(4)\n")
        information = tmp_path / "abacus_lstm-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: abacus-lstm\n")
        lines = [f"{name} = {target}" for name, target in points.items()]
        (information / "entry_points.txt").write_text(
            "\n".join(["[lstm_impl.backends]", *lines, ""])
        )
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()

    for module in ("abacus_lstm", "broken_lstm", "exiting_lstm"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return install


def test_backend_of_another_package_is_listed_and_computes(install: Callable[..., None]) -> None:
    assert "abacus" not in list_backends()
    install(abacus="abacus_lstm:Abacus")
    assert "abacus" in list_backends()
    backend = get_backend("abacus+ivory")
    assert backend.name == "abacus+ivory"
    spec, x = LSTMSpec(3, 4), np.ones((2, 1, 3))
    weights = LSTMWeights.random(spec)
    y, _ = backend.build(spec, weights).forward(x)
    np.testing.assert_allclose(y, reference.forward(spec, weights, x)[0], atol=1e-6)
    with pytest.raises(UnsupportedError, match="did you mean abacus"):
        get_backend("abakus")


def test_backend_that_cannot_be_made_raises_and_hides_no_other(
    install: Callable[..., None],
) -> None:
    before = list_backends()
    install(leaving="abacus_lstm:Leaving", exiting="exiting_lstm:Abacus")
    with pytest.raises(UnavailableError, match="backend 'leaving' cannot be made: SystemExit: 3"):
        get_backend("leaving")
    with pytest.raises(UnavailableError, match="which cannot be imported: SystemExit: 4"):
        get_backend("exiting")
    assert list_backends() == [*before, "leaving", "exiting"]


def test_entry_point_with_a_built_in_name_is_ignored(install: Callable[..., None]) -> None:
    install(numpy="abacus_lstm:Abacus")
    assert type(get_backend("numpy")) is NumPyLoop
    assert strategies()["numpy"].endswith(":NumPyLoop")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (
            "broken_lstm:Abacus",
            "cannot be imported: ModuleNotFoundError: No module named 'a_package_that_is",
        ),
        ("abacus_lstm:Missing", "abacus_lstm:Missing, which cannot be imported"),
        ("abacus_lstm:not_a_class", "abacus_lstm:not_a_class, which is not a Backend"),
    ],
)
def test_broken_entry_point_raises_and_hides_no_other(
    install: Callable[..., None], target: str, says: str
) -> None:
    before = list_backends()
    install(abacus=target)
    with pytest.raises(UnsupportedError, match=f"backend 'abacus' is registered as .*{says}"):
        get_backend("abacus")
    assert list_backends() == [*before, "abacus"]  # listed, so that its error can be seen
    with pytest.raises(UnsupportedError, match="did you mean while_loop"):
        get_backend("while_lop")


# -- what is not imported


def test_get_backend_of_all_loads_no_framework() -> None:
    loaded = list_loaded(
        """
import lstm_impl
from lstm_impl import LSTMSpec, LSTMWeights, Workload
for name in lstm_impl.list_backends():
    backend = lstm_impl.get_backend(name)
    backend.refusal(LSTMSpec(2, 3), Workload(1, 1))
    backend.availability("cpu")
    backend.availability("tpu:0")
weights = LSTMWeights.random(LSTMSpec(2, 3))
lstm_impl.get_backend("numpy").build(LSTMSpec(2, 3), weights).forward([[[0.0, 1.0]]])
"""
    )
    assert "lstm_impl.backends.tensorflow.cudnn" in loaded
    assert sorted(loaded & {*FRAMEWORKS, *SLOW, "scipy", "rich", "pytest"}) == []


def test_import_of_the_library_imports_no_backend() -> None:
    loaded = list_loaded("import lstm_impl")
    assert not [name for name in loaded if name.startswith("lstm_impl.backends.")]
