"""Tensors written in place, in part or by number, and position biases that are looked up: what goes, and what ties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jupyter_hwprune.core.errors import PruneError
from tests.test_operators import halved


class Mixed(nn.Module):
    """Two images mixed in a way of their own, after which a layer reads what came of it."""

    def __init__(self, mix: Callable[[Mixed, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.side, self.out, self.mix = nn.Conv2d(3, 32, 1), nn.Conv2d(3, 32, 1), nn.Conv2d(32, 4, 1), mix
        self.middle, self.token = 16, nn.Parameter(torch.randn(32))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.mix(self, torch.relu(self.stem(x)), torch.relu(self.side(x))))
        return y


def add_into_half(net: Mixed, z: Tensor, y: Tensor) -> Tensor:
    z[:, : net.middle] += y[:, net.middle :]
    return z


def scale_half_by_shape(_net: Mixed, z: Tensor, y: Tensor) -> Tensor:
    half = z.shape[1] // 2
    z[:, half:] *= torch.sigmoid(y[:, :half])
    return z


def swap_halves(net: Mixed, z: Tensor, y: Tensor) -> Tensor:
    out = torch.zeros_like(z)
    out[:, : net.middle], out[:, net.middle :] = z[:, net.middle :], y[:, : net.middle]
    return out


def clear_a_row(_net: Mixed, z: Tensor, y: Tensor) -> Tensor:
    z[:, :, 0] = 0
    z[:, :, :, 1].zero_()
    return z + y


def fill_a_row(_net: Mixed, z: Tensor, y: Tensor) -> Tensor:
    z[:, :, 0] = 1
    return z * y


def put_rows(_net: Mixed, z: Tensor, y: Tensor) -> Tensor:
    z[:, :, torch.tensor([0, 2])] = y[:, :, torch.tensor([1, 3])]
    return z


def put_places(_net: Mixed, z: Tensor, y: Tensor) -> Tensor:
    z[:, :, torch.tensor([0, 2]), torch.tensor([1, 1])] = y[:, :, 0, :2]
    return z


def put_tokens(net: Mixed, z: Tensor, _y: Tensor) -> Tensor:
    """Masked tokens are replaced by a learnt one."""
    last = z.movedim(1, -1).clone()
    last[torch.arange(8 * 8).reshape(1, 8, 8).expand(2, -1, -1) % 3 == 0] = net.token
    return last.movedim(-1, 1)


WAYS = [add_into_half, scale_half_by_shape, swap_halves, clear_a_row, fill_a_row, put_rows, put_places, put_tokens]


@pytest.mark.parametrize("way", WAYS)
def test_channels_that_are_written_in_place_go(way: Callable[[Mixed, Tensor, Tensor], Tensor]) -> None:
    small: Any = halved(Mixed(way), torch.randn(2, 3, 8, 8)).model
    assert small.stem.out_channels == 16
    assert small.out.in_channels == 16
    assert small.side.out_channels == 16 or way is put_tokens


def put_channels(_net: Mixed, z: Tensor, y: Tensor) -> Tensor:
    z[:, torch.tensor([0, 5])] = y[:, torch.tensor([1, 2])]
    return z


def test_channels_that_are_written_by_number_stay() -> None:
    with pytest.raises(PruneError, match="index_put_ reads its channels by their numbers"):
        halved(Mixed(put_channels), torch.randn(2, 3, 8, 8))


def slice_by_numbers(_net: Mixed, z: Tensor, y: Tensor) -> Tensor:
    z[:, :16] += y[:, 16:]
    return z


def split_by_numbers(_net: Mixed, z: Tensor, y: Tensor) -> Tensor:
    a, b = torch.split(z, [12, 20], 1)
    return torch.cat([b, a], 1) + y


def view_by_numbers(_net: Mixed, z: Tensor, y: Tensor) -> Tensor:
    return z.view(2, 4, 8, 8, 8).transpose(1, 2).reshape(2, 32, 8, 8) + y


@pytest.mark.parametrize(
    ("way", "named"),
    [
        (slice_by_numbers, "slice takes places 0 to 16 of 32"),
        (split_by_numbers, "split_with_sizes takes pieces of 12, 20"),
        (view_by_numbers, "view makes the sizes 2, 4, 8, 8, 8"),
    ],
)
def test_sizes_written_in_the_code_are_named_where_they_stop_a_cut(way: Any, named: str) -> None:
    with pytest.raises(PruneError, match=f"{named}.*a number written in the code does not follow a cut"):
        halved(Mixed(way), torch.randn(2, 3, 8, 8))


class Window(nn.Module):
    """Attention over one window; a bias of each head is looked up for each pair, windows may be masked."""

    index: Tensor

    def __init__(self, *, cosine: bool = False, masked: bool = False) -> None:
        super().__init__()
        self.heads, self.cosine, self.masked = 4, cosine, masked
        places = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij")).flatten(1)  # [2, N]
        apart = places[:, :, None] - places[:, None] + 1
        self.register_buffer("index", apart[0] * 3 + apart[1])
        self.table = nn.Parameter(torch.randn(9, 4))
        self.told = nn.Sequential(nn.Linear(2, 24), nn.ReLU(), nn.Linear(24, 4, bias=False))
        self.scale = nn.Parameter(torch.rand(4, 1, 1))
        self.into, self.qkv, self.proj, self.out = (nn.Linear(*n) for n in ((6, 32), (32, 96), (32, 32), (32, 3)))

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        y = torch.relu(self.into(x))
        q, k, v = self.qkv(y).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.cosine:
            scores = functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).transpose(-2, -1)
            scores = scores * self.scale.clamp(max=4).exp()
            near = torch.stack(torch.meshgrid(torch.arange(-1.0, 2), torch.arange(-1.0, 2), indexing="ij"), -1)
            table = 16 * torch.sigmoid(self.told(near).view(-1, self.heads))
        else:
            scores, table = (q * 8**-0.5) @ k.transpose(-2, -1), self.table
        bias = table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1).contiguous()
        scores = scores + bias.unsqueeze(0)
        if self.masked:
            mask = torch.zeros(2, n, n)
            mask[1, 0, 1] = -100
            scores = scores.view(b // 2, 2, self.heads, n, n) + mask.unsqueeze(1).unsqueeze(0)
            scores = scores.view(-1, self.heads, n, n)
        y = y + self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, -1))
        out: Tensor = self.out(y)
        return out


@pytest.mark.parametrize("options", [{}, {"masked": True}, {"cosine": True}, {"cosine": True, "masked": True}], ids=str)
def test_heads_go_with_their_position_biases(options: dict[str, bool]) -> None:
    small: Any = halved(Window(**options), torch.randn(4, 4, 6)).model
    assert small.heads == 2
    assert small.qkv.weight.shape == (48, 16)
    assert small.told[2].out_features == 2 if options.get("cosine") else small.table.shape == (9, 2)
