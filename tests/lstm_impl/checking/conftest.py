"""Let PyTorch compute with one thread: its threads wait for one another on a busy machine."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def one_thread_of_pytorch() -> Iterator[None]:
    if not _is_installed():
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _is_installed() -> bool:
    import importlib.util

    return importlib.util.find_spec("torch") is not None
