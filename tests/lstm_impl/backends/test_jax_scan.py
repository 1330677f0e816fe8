"""The cell's equations in a loop of JAX's."""

from __future__ import annotations

import pytest

from lstm_impl import Workload, get_backend
from lstm_impl.backends.jax.scan import JaxScan
from tests.lstm_impl.backends.built import built, needs
from tests.lstm_impl.backends.layers import both_ways, layer

pytestmark = needs("jax_scan")


@both_ways
@pytest.mark.parametrize("name", ["jax_scan", "jax_scan+preproject"])
def test_its_layer_computes_what_the_reference_does(name: str, padded: bool, reverse: bool) -> None:
    import jax.numpy as jnp

    backend = get_backend(name)
    assert isinstance(backend, JaxScan)
    x, h, c, cell, lengths, _ = layer(padded, reverse).given(jnp.asarray)
    layer(padded, reverse).check(backend.layer(x, (h, c), cell, lengths, reverse))


def test_training_loops_forward_and_back() -> None:
    found = built("jax_scan+preproject").evidence(Workload(2, 4, mode="training"))
    assert found["loops"] == 2
    assert found["instructions"]["while"] == 2


def test_the_input_product_is_taken_out_of_the_loop_where_the_name_says_so() -> None:
    launches = {}
    for name in ("jax_scan", "jax_scan+preproject"):
        model = built(name)
        short, long = (model.evidence(Workload(2, steps))["launches"] for steps in (4, 8))
        launches[name] = (long - short) // 4
    assert launches["jax_scan+preproject"] < launches["jax_scan"]
