"""Provide fixtures for tests of TensorFlow's backends."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lstm_impl.backends.cudnn_emulation import emulate_cudnn
from tests.lstm_impl.fake_compiler import make_compiler  # noqa: F401


@pytest.fixture(scope="session")
def tf() -> Any:
    return pytest.importorskip("tensorflow", reason="TensorFlow is not installed")


@pytest.fixture
def emulation(tf: Any) -> Iterator[None]:
    with emulate_cudnn():
        yield


@pytest.fixture
def eagerly(tf: Any) -> Iterator[None]:
    """Run functions eagerly, which saves the seconds of tracing many graphs."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
