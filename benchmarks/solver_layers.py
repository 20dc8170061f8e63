"""The layers that solvers are compared on, with their inputs: random ones, and those of two small trained networks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

ROWS = 8  # calibration inputs for each input channel, and as many held out
CHUNK = 4096  # of those at once
CHARACTERS, CONTEXT, EMBEDDED = 128, 16, 32
STEPS, BATCH = 200, 256

Rows = Iterator[Tensor]  # of a layer's inputs [N, D], in chunks
Inputs = Callable[[int], tuple[Rows, Rows]]  # from a seed, those of calibration and those held out


def random_layer(size: int) -> tuple[Tensor, Inputs]:
    """Return normal weights, and inputs of a few strong directions, weaker noise, and channels of unlike scale."""

    def inputs(seed: int) -> tuple[Rows, Rows]:
        generator = torch.Generator().manual_seed(seed)
        rank = size // 8
        directions = torch.randn(rank, size, generator=generator) / torch.arange(1, rank + 1)[:, None].sqrt()
        directions /= directions.square().sum(0).mean().sqrt()
        scales = torch.exp(0.5 * torch.randn(size, generator=generator))

        def rows() -> Rows:
            for _ in range(ROWS * size // CHUNK):
                strong = torch.randn(CHUNK, rank, generator=generator) @ directions
                yield (strong + 0.5 * torch.randn(CHUNK, size, generator=generator)) * scales

        return rows(), rows()

    return torch.randn(size, size, generator=torch.Generator().manual_seed(size)) / size**0.5, inputs


def character_layer(size: int) -> tuple[Tensor, Inputs]:
    """Train a network on the standard library's sources to tell a character from the 16 before it; its middle layer.

    Held-out inputs are of source files it was not trained on.
    """
    train, heldout = source_texts()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = nn.Sequential(
            nn.Embedding(CHARACTERS, EMBEDDED), nn.Flatten(), nn.Linear(CONTEXT * EMBEDDED, size), nn.GELU()
        )
        middle = nn.Linear(size, size)
        model = nn.Sequential(first, middle, nn.GELU(), nn.Linear(size, CHARACTERS))
    generator = torch.Generator().manual_seed(0)
    fit(model, lambda: windows(train, BATCH, generator), STEPS)

    def inputs(seed: int) -> tuple[Rows, Rows]:
        own = torch.Generator().manual_seed(seed)

        def rows(text: Tensor) -> Rows:
            for _ in range(ROWS * size // CHUNK):
                yield first(windows(text, CHUNK, own)[0])

        return rows(train), rows(heldout)

    return middle.weight.detach(), inputs


def source_texts() -> tuple[Tensor, Tensor]:
    """Read the standard library's sources, every tenth file held out. -> int64 [characters] each."""
    texts = [path.read_bytes() for path in sorted(Path(os.__file__).parent.glob("*.py"))]
    heldout = b"".join(texts[::10])
    train = b"".join(text for i, text in enumerate(texts) if i % 10)
    return tuple(torch.tensor(list(text)).clamp_max(CHARACTERS - 1) for text in (train, heldout))  # type: ignore[return-value]


def windows(text: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cut contexts from random places, and the characters after them. -> int64 [N, 16], [N]."""
    places = torch.randint(len(text) - CONTEXT, (count, 1), generator=generator)
    return text[places + torch.arange(CONTEXT)], text[places[:, 0] + CONTEXT]


def digits_layer(size: int) -> tuple[Tensor, Inputs]:
    """Train a network of two wide layers on half of the digits; the second of them. The other half is held out."""
    from sklearn.datasets import load_digits

    images, labels = (torch.from_numpy(each) for each in load_digits(return_X_y=True))
    images = images.float() / 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, middle = nn.Sequential(nn.Linear(64, size), nn.ReLU()), nn.Linear(size, size)
        model = nn.Sequential(first, middle, nn.ReLU(), nn.Linear(size, 10))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    half, other = order.chunk(2)
    generator = torch.Generator().manual_seed(0)

    def batch() -> tuple[Tensor, Tensor]:
        chosen = half[torch.randint(len(half), (BATCH,), generator=generator)]
        return images[chosen], labels[chosen]

    fit(model, batch, STEPS)

    def inputs(seed: int) -> tuple[Rows, Rows]:
        own = torch.randperm(len(half), generator=torch.Generator().manual_seed(seed))
        seen = half[own[: len(half) * 3 // 4]]  # each seed calibrates with other images
        return iter([first(images[seen])]), iter([first(images[other])])

    return middle.weight.detach(), inputs


@torch.enable_grad()
def fit(model: nn.Module, batch: Callable[[], tuple[Tensor, Tensor]], steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(steps):
        x, y = batch()
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    print(f"trained to {loss.item():.2f} nats", file=sys.stderr, flush=True)
