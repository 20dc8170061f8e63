"""The second network and task of `benchmarks.channels`: the next character of the standard library's sources.

A residual network of causal convolutions over one-hot characters, without normalisation. Every tenth source file is
held out. Needs torch alone, so that a peer can read it.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

CHARACTERS = 128
CONTEXT = 64
BATCH = 16
CALIBRATED_ON = 64  # windows
HELD_OUT = 128
STREAM, INNER, BLOCKS, KERNEL = 64, 192, 3, 5


class Block(nn.Module):
    def __init__(self, stream: int, inner: int) -> None:
        super().__init__()
        self.wide, self.back = nn.Conv1d(stream, inner, KERNEL), nn.Conv1d(inner, stream, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.back(functional.gelu(self.wide(functional.pad(x, (KERNEL - 1, 0)))))  # type: ignore[no-any-return]


class Net(nn.Module):
    """Its widths are those of a state dict. [N, 128, T] one-hot -> [N, 128, T] scores of the next character."""

    def __init__(self, shapes: dict[str, tuple[int, ...]] | None = None) -> None:
        super().__init__()
        stream, inner = STREAM, [INNER] * BLOCKS
        if shapes is not None:
            stream = shapes["stem.weight"][0]
            inner = [shapes[f"blocks.{number}.wide.weight"][0] for number in range(BLOCKS)]
        self.stem = nn.Conv1d(CHARACTERS, stream, 1)
        self.blocks = nn.Sequential(*(Block(stream, width) for width in inner))
        self.head = nn.Conv1d(stream, CHARACTERS, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.blocks(self.stem(x)))
        return y


def of_state(state: dict[str, Tensor]) -> Net:
    net = Net({name: tuple(tensor.shape) for name, tensor in state.items()})
    net.load_state_dict(state)
    return net.eval()


def text(seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return windows to train on and held-out ones, each as one-hot inputs [N, 128, T] and next characters [N, T]."""
    codes: dict[bool, list[int]] = {True: [], False: []}
    for at, path in enumerate(sorted(Path(os.__file__).parent.glob("*.py"))):
        own = path.read_text("utf-8", errors="replace")
        codes[at % 10 == 0] += [code if (code := ord(each)) < CHARACTERS else 0 for each in own]
    source = torch.Generator().manual_seed(seed)
    train, held_out = (torch.tensor(codes[part]) for part in (False, True))
    return windows(train, 4096, source), windows(held_out, HELD_OUT, source)


def windows(characters: Tensor, count: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
    places = torch.randint(len(characters) - CONTEXT - 1, (count, 1), generator=source)
    own = characters[places + torch.arange(CONTEXT + 1)]  # [N, T + 1]
    return functional.one_hot(own[:, :-1], CHARACTERS).float().mT.contiguous(), own[:, 1:]


def train(net: nn.Module, data: tuple[Tensor, Tensor], steps: int, rate: float, seed: int) -> None:
    """Train in place on batches of windows, and leave it in evaluation mode."""
    source = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    net.train()
    for _ in range(steps):
        rows = torch.randint(len(data[1]), (BATCH,), generator=source)
        optimiser.zero_grad()
        functional.cross_entropy(net(data[0][rows]), data[1][rows]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    net.eval()


def accuracy(net: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """Return the share of characters whose next one has the highest score."""
    with torch.no_grad():
        return float((net(data[0]).argmax(1) == data[1]).float().mean())
