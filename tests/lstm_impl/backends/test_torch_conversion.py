"""Test that a model keeps all that it is when its LSTMs and GRUs become our layers, and back."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lstm_impl.backends.built import needs

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

from torch.nn.utils import prune, rnn  # noqa: E402

from lstm_impl.backends.torch import fallback  # noqa: E402
from lstm_impl.torch import (  # noqa: E402
    GRU,
    LSTM,
    AcceleratedGRU,
    AcceleratedLSTM,
    accelerate,
    decelerate,
)

pytestmark = needs("torch_fused_cpu")

T, B, IN, H = 6, 3, 4, 10


class Tagger(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A model with LSTMs or GRUs in several places."""

    def __init__(self, kind: str, **how: Any) -> None:
        super().__init__()
        made = getattr(torch.nn, kind)
        self.encoder = made(IN, H, num_layers=2, bidirectional=True, **how)
        self.rest = torch.nn.Sequential(torch.nn.Linear(2 * H, H), made(H, 3))

    def forward(self, x: Any) -> Any:
        y, _ = self.encoder(x)
        if isinstance(y, rnn.PackedSequence):
            y, _ = rnn.pad_packed_sequence(y, batch_first=self.encoder.batch_first)
        return self.rest(y)[0]


of_each_cell = pytest.mark.parametrize("kind", ["LSTM", "GRU"])


def made(kind: str = "LSTM", **how: Any) -> Any:
    torch.manual_seed(0)
    return Tagger(kind, **how)


def accelerated(model: Any) -> Any:
    return accelerate(model, print_fn=None)


def changed(model: Any) -> list[str]:
    """Return the names of the modules that are layers of this package."""
    return [name for name, each in model.named_modules() if isinstance(each, (LSTM, GRU))]


@of_each_cell
def test_accelerate_replaces_every_module_in_place_and_prints_it(kind: str) -> None:
    model, lines = made(kind), list[str]()
    modules, before = dict(model.named_modules()), dict(model.named_parameters())
    assert accelerate(model, lines.append) is model
    assert changed(model) == ["encoder", "rest.1"]
    assert lines == [
        f"{name}: torch.nn.{kind} is now lstm_impl.torch.Accelerated{kind}"
        for name in ("encoder", "rest.1")
    ]
    assert all(each is modules[name] for name, each in model.named_modules())
    after = dict(model.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is each for name, each in before.items())
    lines.clear()
    accelerate(model, lines.append)
    assert all(f"it is lstm_impl.torch.Accelerated{kind} already" in line for line in lines)


@of_each_cell
def test_decelerate_makes_every_module_one_of_torch_again(kind: str) -> None:
    model, lines = accelerated(made(kind)), list[str]()
    model.encoder.prepack()
    with torch.no_grad():
        model(torch.randn(T, B, IN))
    assert decelerate(model, lines.append) is model
    assert lines == [
        f"{name}: lstm_impl.torch.Accelerated{kind} is now torch.nn.{kind}"
        for name in ("encoder", "rest.1")
    ]
    assert type(model.encoder) is type(model.rest[1]) is getattr(torch.nn, kind)
    assert vars(model.encoder).keys() == vars(made(kind).encoder).keys()
    x, expected = torch.randn(T, B, IN), made(kind)
    torch.testing.assert_close(model(x), expected(x), rtol=0, atol=0)


def test_decelerate_makes_layers_of_this_package_those_of_torch() -> None:
    model = torch.nn.Sequential(LSTM(IN, H), GRU(IN, H))
    decelerate(model, None)
    assert [type(each) for each in model] == [torch.nn.LSTM, torch.nn.GRU]


def padded(x: Any) -> Any:
    return x


def packed(x: Any) -> Any:
    return rnn.pack_padded_sequence(x, torch.tensor([2, T, 4]), enforce_sorted=False)


def batch_major(x: Any) -> Any:
    return x.transpose(0, 1)


@pytest.mark.parametrize(
    ("how", "given"),
    [({}, padded), ({}, packed), ({"batch_first": True}, batch_major), ({"bias": False}, padded)],
    ids=["padded", "packed", "batch-major", "without bias"],
)
@of_each_cell
def test_training_goes_on_as_with_torch(
    kind: str, how: dict[str, Any], given: Callable[[Any], Any]
) -> None:
    """The masks of dropout, the optimizer's state, a frozen parameter and a hook are the same."""
    x, losses, called = torch.randn(T, B, IN), [], []
    for convert in (accelerated, padded):
        model = made(kind, dropout=0.5, **how)
        model.encoder.weight_hh_l0.requires_grad_(False)
        model.encoder.register_forward_hook(lambda *_: called.append(1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        own = []
        for step in range(4):
            if step == 2:
                convert(model)
            torch.manual_seed(step)
            loss = model(given(x)).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            own.append(loss.detach())
        assert model.encoder.weight_hh_l0.grad is None
        assert len(optimizer.state) == len(list(model.parameters())) - 1
        losses.append(torch.stack(own))
    assert len(called) == 8
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)


def test_mode_and_type_of_a_module_are_kept() -> None:
    model = made(dropout=0.5).to(torch.bfloat16).eval()
    expected = model(x := torch.randn(T, B, IN, dtype=torch.bfloat16))
    accelerated(model)
    assert not model.encoder.training
    assert model.encoder.weight_ih_l0.dtype == torch.bfloat16
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0.02)


class OwnGRU(torch.nn.GRU):  # type: ignore[misc, name-defined]
    """Another subclass."""


class OwnLSTM(torch.nn.LSTM):  # type: ignore[misc, name-defined]
    """Represent a user's subclass, which could compute anything."""


def make_own_forward() -> Any:
    module = torch.nn.LSTM(IN, H)
    module.forward = lambda x: x
    return module


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TorchScript's
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: OwnLSTM(IN, H), "its class may compute something else"),
        (lambda: OwnGRU(IN, H), "its class may compute something else"),
        (make_own_forward, "its forward was replaced by a function"),
        (
            lambda: torch.nn.LSTM(IN, H, proj_size=2),
            "the kernels do not support proj_size, which is 2",
        ),
        (lambda: torch.nn.LSTM(IN, H).double(), "its kernels support float32 and bfloat16, not"),
        (lambda: torch.nn.GRU(IN, H).half(), "its kernels support float32 and bfloat16, not"),
        (lambda: torch.nn.LSTM(IN, H, device="meta").to("meta").half(), "not float16"),
        (lambda: torch.jit.script(torch.nn.LSTM(IN, H)), "TorchScript has compiled it"),
    ],
    ids=[
        *("subclass", "subclass of GRU", "forward", "proj_size", "float64", "float16 of GRU"),
        *("float16", "script"),
    ],
)
def test_module_that_cannot_be_replaced_is_kept_with_the_reason(make: Any, reason: str) -> None:
    model, lines = torch.nn.Sequential(make()), list[str]()
    kind = type(model[0])
    accelerate(model, lines.append)
    (line,) = lines
    assert line.startswith("0: ")
    assert " is kept: " in line
    assert reason in line
    assert type(model[0]) is kind


def test_model_without_lstm_and_what_is_no_model() -> None:
    lines: list[str] = []
    accelerate(torch.nn.Linear(1, 1), lines.append)
    assert lines == ["Linear: it has no LSTM or GRU"]
    for convert in (accelerate, decelerate):
        wrong: Any = {"weight": torch.zeros(1)}
        with pytest.raises(TypeError, match=r"the model is a dict; expected a torch\.nn\.Module"):
            convert(wrong)


def test_pruned_lstm_computes_with_its_masks() -> None:
    model = made()
    prune.l1_unstructured(model.encoder, "weight_hh_l0", 0.5)
    x = torch.randn(T, B, IN)
    expected = model(x)
    torch.testing.assert_close(accelerated(model)(x), expected, rtol=1e-4, atol=1e-5)


# -- files

LOAD = """
import sys, torch
model = torch.load(sys.argv[1], weights_only=False)
state = torch.load(sys.argv[2])
assert [type(each) for each in model] == [torch.nn.LSTM, torch.nn.GRU]
model.load_state_dict(state)
x, expected = torch.load(sys.argv[3])
torch.testing.assert_close([each(x)[0] for each in model], expected)
assert not [name for name in sys.modules if name.startswith("lstm_impl")]
"""


def test_files_load_without_this_library(tmp_path: Path) -> None:
    modules = torch.nn.LSTM(IN, H, num_layers=2), torch.nn.GRU(IN, H, num_layers=2)
    model, x = accelerated(torch.nn.ModuleList(modules)), torch.randn(T, B, IN)
    with torch.no_grad():
        expected = [each.prepack()(x)[0] for each in model]
    paths = [str(tmp_path / name) for name in ("model", "state", "example")]
    for each, path in zip((model, model.state_dict(), (x, expected)), paths, strict=True):
        torch.save(each, path)
    done = subprocess.run([sys.executable, "-c", LOAD, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(torch.nn.LSTM, AcceleratedLSTM), (torch.nn.GRU, AcceleratedGRU)],
    ids=["LSTM", "GRU"],
)
def test_copies_stay_accelerated_and_pickles_are_those_of_torch(theirs: Any, ours: Any) -> None:
    module, x = accelerated(theirs(IN, H)), torch.randn(T, B, IN)
    expected = module(x)[0]
    for copied in (copy.copy(module), copy.deepcopy(module)):
        assert type(copied) is ours
        torch.testing.assert_close(copied(x)[0], expected, rtol=0, atol=0)
    assert copied.weight_ih_l0 is not module.weight_ih_l0
    deep = copy.deepcopy(torch.nn.ModuleList([module, module]))
    assert deep[0] is deep[1]
    loaded = pickle.loads(pickle.dumps(module))
    assert type(loaded) is theirs
    torch.testing.assert_close(loaded(x)[0], expected)


# -- where the kernels cannot compute


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("kind", ["padded", "packed", "single"])
def test_layer_of_another_type_is_computed_by_torch(
    kind: str, dtype: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fallback._warn.cache_clear()
    theirs = torch.nn.LSTM(IN, H, num_layers=2, dtype=dtype)
    ours = LSTM(IN, H, num_layers=2, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(T, B, IN).to(dtype)
    given = {"padded": x, "packed": packed(x), "single": x[:, 0]}[kind]
    for _ in range(2):
        found, expected = (module(given) for module in (ours, theirs))
        for mine, wanted in zip(found[1], expected[1], strict=True):
            torch.testing.assert_close(mine, wanted, rtol=0, atol=0)
    (record,) = caplog.records
    name = str(dtype).removeprefix("torch.")
    assert f"not {name}; torch.nn.LSTM computes in their place" in record.getMessage()


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_layer_with_proj_size_equals_torch(caplog: pytest.LogCaptureFixture) -> None:
    theirs, ours = (kind(IN, H, proj_size=3, bidirectional=True) for kind in (torch.nn.LSTM, LSTM))
    ours.load_state_dict(theirs.state_dict())
    x, state = torch.randn(T, B, IN), (torch.randn(2, B, 3), torch.randn(2, B, H))
    for given in ((x,), (x, state)):
        torch.testing.assert_close(ours(*given)[0], theirs(*given)[0])
    compiled = torch.compile(ours, backend="aot_eager")
    torch.testing.assert_close(compiled(x)[0], theirs(x)[0])
    assert "do not support proj_size, which is 3" in caplog.text


WITHOUT = """
import logging, sys, torch
from lstm_impl import LSTMSpec, LSTMWeights, UnavailableError, get_backend
from lstm_impl.torch import LSTM, accelerate
logging.basicConfig(stream=sys.stdout)
ours, theirs = LSTM(2, 3), torch.nn.LSTM(2, 3)
ours.load_state_dict(theirs.state_dict())
x = torch.ones(4, 1, 2)
for _ in range(2):
    torch.testing.assert_close(ours(x)[0], theirs(x)[0])
accelerate(theirs)
try:
    spec = LSTMSpec(2, 3)
    get_backend("torch_fused_cpu").build(spec, LSTMWeights.random(spec))
except UnavailableError:
    print("the named backend raises")
"""


def test_layer_without_a_compiler_is_computed_by_torch_after_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("LSTM_NATIVE_CACHE", str(tmp_path))
    monkeypatch.delenv("LSTM_NATIVE_PREBUILT", raising=False)
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("WARNING") == 1
    assert (
        "the compiler no-such-compiler is not installed: apt-get install g++; "
        "torch.nn.LSTM computes in" in done.stdout
    )
    assert "says how to use libraries compiled elsewhere" in done.stdout
    assert "torch.nn.LSTM is kept: its kernels are compiled on first use" in done.stdout
    assert "the named backend raises" in done.stdout
