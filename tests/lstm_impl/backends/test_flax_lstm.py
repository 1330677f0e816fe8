"""Flax's layer: what only it can get wrong."""

from __future__ import annotations

import importlib.util

import pytest

from lstm_impl import get_backend
from lstm_impl.backends.jax.flax import Flax
from tests.lstm_impl.backends.built import needs
from tests.lstm_impl.backends.layers import both_ways, layer


@needs("flax")
@both_ways
def test_its_layer_computes_what_the_reference_does(padded: bool, reverse: bool) -> None:
    import jax.numpy as jnp

    x, h, c, cell, lengths, _ = layer(padded, reverse).given(jnp.asarray)
    layer(padded, reverse).check(Flax().layer(x, (h, c), cell, lengths, reverse))


def test_a_missing_flax_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "flax" else object()
    )
    words = str(get_backend("flax").availability("cpu"))
    assert words == "Flax is not installed: pip install jax flax"
    assert get_backend("jax_scan").availability("cpu")
