"""Recurrent and state-space networks, gates, and weights that are computed from others."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from .entry import Entry, ids, images, pooled, series


class Lstm(nn.Module):
    """Two layers, both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.lstm = nn.LSTM(16, 24, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        y: Tensor = self.head(self.lstm(self.embed(tokens))[0].amax(1))
        return y


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.gru, self.mid = nn.Linear(8, 16), nn.GRU(16, 32, batch_first=True), nn.Linear(32, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        _, last = self.gru(torch.tanh(self.inner(x)))
        y: Tensor = self.head(functional.relu(self.mid(last[0])))
        return y


class GivenState(nn.Module):
    """The first state is made in `forward`, of a size that is written there."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.hidden, self.head = nn.GRU(8, 16, batch_first=True), nn.Linear(16, 32), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(x, x.new_zeros(1, x.shape[0], 16))
        y: Tensor = self.head(functional.relu(self.hidden(out.mean(1))))
        return y


class Mamba(nn.Module):
    """A selective state space: convolution, gate, and a scan that is a loop in Python."""

    def __init__(self, width: int = 16, inner: int = 32, states: int = 4, rank: int = 4) -> None:
        super().__init__()
        self.inner, self.states, self.rank = inner, states, rank
        self.embed, self.norm, self.head = nn.Linear(8, width), nn.RMSNorm(width), nn.Linear(width, 5)
        self.in_proj, self.out_proj = nn.Linear(width, 2 * inner, bias=False), nn.Linear(inner, width, bias=False)
        self.conv = nn.Conv1d(inner, inner, 3, groups=inner, padding=2)
        self.x_proj, self.dt_proj = nn.Linear(inner, rank + 2 * states, bias=False), nn.Linear(rank, inner)
        self.a_log, self.d = nn.Parameter(torch.rand(inner, states)), nn.Parameter(torch.ones(inner))

    def forward(self, series: Tensor) -> Tensor:
        embedded = self.embed(series)
        x, gate = self.in_proj(self.norm(embedded)).chunk(2, -1)
        length = x.shape[1]
        x = functional.silu(self.conv(x.transpose(1, 2))[..., :length].transpose(1, 2))
        dt, b, c = self.x_proj(x).split([self.rank, self.states, self.states], -1)
        dt = functional.softplus(self.dt_proj(dt))
        decay, state = -torch.exp(self.a_log), x.new_zeros(x.shape[0], x.shape[2], self.states)
        outputs = []
        for t in range(length):
            step = dt[:, t, :, None]
            state = torch.exp(step * decay) * state + step * b[:, t, None] * x[:, t, :, None]
            outputs.append((state * c[:, t, None]).sum(-1))
        y = (torch.stack(outputs, 1) + x * self.d) * functional.silu(gate)
        out: Tensor = self.head((embedded + self.out_proj(y)).mean(1))
        return out


class ChunkGate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.out = nn.Linear(8, 64), nn.RMSNorm(32), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        a, gate = self.inner(x).chunk(2, -1)
        y: Tensor = self.out(self.norm(a * torch.sigmoid(gate)))
        return y


def glu() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(6, 32, 3, padding=1), nn.GLU(1), nn.Conv1d(16, 32, 3, padding=1), nn.GLU(1), nn.Conv1d(16, 4, 1)
    )


def weight_normed() -> nn.Module:
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(8, 32)), nn.ReLU(),
        parametrizations.weight_norm(nn.Linear(32, 32)), nn.ReLU(), nn.Linear(32, 4),
    )  # fmt: skip


def spectral_normed() -> nn.Module:
    return nn.Sequential(
        parametrizations.spectral_norm(nn.Conv2d(3, 16, 3)), nn.LeakyReLU(0.1),
        parametrizations.spectral_norm(nn.Conv2d(16, 32, 3)), nn.LeakyReLU(0.1),
        nn.Flatten(), nn.Linear(32 * 144, 1),
    )  # fmt: skip


class BareProducts(nn.Module):
    """Parameters without layers, and a mixer that turns tokens and channels about."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.w2 = nn.Parameter(torch.randn(8, 32)), nn.Parameter(torch.randn(32, 16))
        self.mix_in, self.mix_out, self.head = nn.Linear(6, 12), nn.Linear(12, 6), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(x @ self.w1) @ self.w2
        x = x + self.mix_out(functional.gelu(self.mix_in(x.mT))).mT
        y: Tensor = self.head(x.mean(1))
        return y


class UnknownOperator(nn.Module):
    """An operator that no rule knows stands behind the only hidden channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        mixed = torch.fft.rfft(pooled(self.first(x)), n=30).real
        y: Tensor = self.second(mixed)
        return y


SEQUENCE = {
    "lstm_stacked_bidirectional": Entry(Lstm, ids(), 0.5),
    "gru": Entry(Gru, series(), 0.6),
    "gru_given_state": Entry(GivenState, series(), 0.15),
    "mamba": Entry(Mamba, series(), 0.4, plain=False),
    "chunk_and_gate": Entry(ChunkGate, series(), 0.4, plain=False),
    "glu": Entry(glu, lambda: torch.randn(2, 6, 10), 0.5),
    "weight_norm": Entry(weight_normed, lambda: torch.randn(4, 8), 0.6),
    "spectral_norm": Entry(spectral_normed, images(), 0.5),
    "bare_parameters": Entry(BareProducts, series(), 0.4),
    "unknown_operator": Entry(UnknownOperator, images(), refused="no rule says what the operator fft_rfft does"),
}
