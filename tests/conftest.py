"""What many tests ask for, with ``pytestmark = pytest.mark.usefixtures(...)``."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One core, so that sums are formed in one order and tests beside this one are not held up."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def seeded(one_thread: None) -> Iterator[None]:
    """One core and the same weights in every test; the global generator is given back."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
