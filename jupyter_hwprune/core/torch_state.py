"""Work of our own under torch's usual state, whatever the user's notebook has set."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def own_torch_state() -> Iterator[None]:
    """Enable gradients and use the CPU, whatever the user's torch mode; restore the random state afterwards."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(mode=False), torch.enable_grad(), torch.device("cpu"):
        yield
