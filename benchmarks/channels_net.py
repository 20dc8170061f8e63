"""The network and the task of `benchmarks.channels`; needs torch and scikit-learn alone, so that a peer can read it.

scikit-learn's handwritten digits (8 x 8), few of them to train on, and the held-out ones shifted and with noise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

TRAINED_ON = 250
CALIBRATED_ON = 128  # of those
HELD_OUT = 1000
NOISE = 0.25
WIDTHS = {"stem": 32, "body.0": 64, "narrow.0": 48, "wide.0": 96}


def block(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(c_out), nn.ReLU()]


class Net(nn.Module):
    """A residual block, a depthwise separable one and a wide convolution; its widths are those of a state dict."""

    def __init__(self, shapes: dict[str, tuple[int, ...]] | None = None) -> None:
        super().__init__()
        stem, body, narrow, wide = WIDTHS.values()
        if shapes is not None:
            stem, body, narrow, wide = (shapes[f"{name}.0.weight"][0] for name in ("stem", "body", "narrow", "wide"))
        self.stem = nn.Sequential(*block(1, stem, 3))
        self.body = nn.Sequential(*block(stem, body, 3), *block(body, stem, 3)[:2])
        self.depthwise = nn.Sequential(*block(stem, stem, 3, stride=2, groups=stem))
        self.narrow = nn.Sequential(*block(stem, narrow, 1))
        self.wide = nn.Sequential(*block(narrow, wide, 3))
        self.head = nn.Linear(wide, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.body(x))
        y: Tensor = self.head(self.wide(self.narrow(self.depthwise(x))).mean((2, 3)))
        return y


def of_state(state: dict[str, Tensor]) -> Net:
    net = Net({name: tuple(tensor.shape) for name, tensor in state.items()})
    net.load_state_dict(state)
    return net.eval()


def digits(seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the training and the held-out set, images [N, 1, 8, 8] and labels [N], drawn by the seed."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(bunch.target)
    source = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=source)
    few, rest = order[:TRAINED_ON], order[TRAINED_ON:][:HELD_OUT]
    return (images[few], labels[few]), (disturbed(images[rest], source), labels[rest])


def disturbed(images: Tensor, source: torch.Generator) -> Tensor:
    """Shift each image by up to a pixel along both sides, and add noise."""
    shifts = torch.randint(-1, 2, (len(images), 2), generator=source)
    moved = torch.stack(
        [
            functional.pad(image, (1, 1, 1, 1))[:, 1 + dy : 9 + dy, 1 + dx : 9 + dx]
            for image, (dy, dx) in zip(images, shifts.tolist(), strict=True)
        ]
    )
    return moved + NOISE * torch.randn(moved.shape, generator=source)


def train(net: nn.Module, data: tuple[Tensor, Tensor], epochs: int, rate: float, seed: int) -> None:
    """Train in place on the images disturbed anew in each epoch, and leave it in evaluation mode."""
    images, labels = data
    source = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01)
    batches = -(-len(labels) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * batches)
    net.train()
    for _ in range(epochs):
        seen = disturbed(images, source)
        for rows in torch.randperm(len(labels), generator=source).tensor_split(batches):
            optimiser.zero_grad()
            functional.cross_entropy(net(seen[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    net.eval()


def accuracy(net: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    with torch.no_grad():
        return float((net(data[0]).argmax(1) == data[1]).float().mean())
