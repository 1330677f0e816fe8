"""Test the modules for PyTorch with the inputs by which PyTorch tests its own modules."""

import copy
from typing import Any

import pytest

from tests.lstm_impl.backends.built import needs

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
pytest.importorskip("expecttest", reason="PyTorch's test inputs need it: pip install expecttest")

from torch.nn.utils.rnn import PackedSequence  # noqa: E402
from torch.testing._internal.common_modules import (  # noqa: E402
    ModuleErrorEnum,
    ModuleInfo,
    module_db,
)

from lstm_impl.torch import GRU, LSTM  # noqa: E402

pytestmark = [
    needs("torch_fused_cpu"),
    # Some inputs have proj_size, which PyTorch computes.
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]

MODULES = {"LSTM": LSTM, "GRU": GRU}
INFOS = {each.module_cls: each for each in module_db}


def info(name: str) -> ModuleInfo:
    return INFOS[getattr(torch.nn, name)]


def flat(results: Any) -> list[Any]:
    """Return the tensors of a module's results."""
    y, state = results
    y = y.data if isinstance(y, PackedSequence) else y
    return [y, *([state] if torch.is_tensor(state) else state)]


@pytest.mark.parametrize("name", MODULES)
def test_module_gives_what_torch_gives_on_inputs_of_its_own_tests(name: str) -> None:
    torch.manual_seed(0)
    how = {"device": "cpu", "dtype": torch.float32, "requires_grad": True, "training": True}
    inputs = info(name).module_inputs_func(info(name), with_packed_sequence=True, **how)
    assert len(inputs) >= 8
    for each in inputs:
        made = each.constructor_input
        ours = MODULES[name](*made.args, **made.kwargs)
        theirs = getattr(torch.nn, name)(*made.args, **made.kwargs)
        theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
        given = each.forward_input
        found, expected = (flat(m(*given.args, **given.kwargs)) for m in (ours, theirs))
        torch.testing.assert_close(found, expected)
        if not isinstance(given.args[0], PackedSequence):
            by_reference = each.reference_fn(ours, *given.args, **given.kwargs)
            torch.testing.assert_close(found, flat(by_reference))
        gradients = [
            torch.autograd.grad(sum(tensor.square().sum() for tensor in results), m.parameters())
            for m, results in ((ours, found), (theirs, expected))
        ]
        # The inputs are numbers up to 9, and some gradients are sums up to 30.
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODULES)
def test_module_refuses_what_torch_refuses_in_its_own_tests(name: str) -> None:
    how = {"device": "cpu", "dtype": torch.float32, "requires_grad": False, "training": True}
    inputs = info(name).module_error_inputs_func(info(name), **how)
    assert len(inputs) >= 8
    for each in inputs:
        made = each.module_error_input.constructor_input
        if each.error_on == ModuleErrorEnum.CONSTRUCTION_ERROR:
            with pytest.raises(each.error_type, match=each.error_regex):
                MODULES[name](*made.args, **made.kwargs)
            continue
        module, given = MODULES[name](*made.args, **made.kwargs), each.module_error_input
        # The words differ: ours name the tensor.
        with pytest.raises((ValueError, RuntimeError)):
            module(*given.forward_input.args, **given.forward_input.kwargs)
