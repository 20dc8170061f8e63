"""Recurrent and state-space networks: language models, cells step by step, packed lengths, scans with parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .entry import Entry, ids, series


class LstmLanguage(nn.Module):
    """Embedding, LSTM, decoder; the state is returned beside the logits. `tied` shares the embedding."""

    def __init__(self, *, tied: bool = False) -> None:
        super().__init__()
        self.embed, self.drop = nn.Embedding(50, 32), nn.Dropout(0.2)
        self.lstm, self.decoder = nn.LSTM(32, 32, 2, batch_first=True, dropout=0.1), nn.Linear(32, 50)
        if tied:
            self.decoder.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        out, state = self.lstm(self.drop(self.embed(tokens)))
        return self.decoder(self.drop(out)), state


class TiedLogits(LstmLanguage):
    def __init__(self) -> None:
        super().__init__(tied=True)

    def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
        y, _ = super().forward(tokens)
        return y


class CharacterGru(nn.Module):
    """One-hot characters, time first, a GRU without biases and a layer before the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.mid, self.out = nn.GRU(20, 32, bias=False), nn.Linear(32, 24), nn.Linear(24, 20)

    def forward(self, tokens: Tensor) -> Tensor:
        x = functional.one_hot(tokens.T, 20).float()
        y: Tensor = self.out(torch.tanh(self.mid(self.gru(x)[0])))
        return y


class StepwiseCells(nn.Module):
    """An LSTM cell over a GRU cell, in a loop, with states made in `forward` from the cell's own size."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.low, self.high = nn.Linear(8, 16), nn.GRUCell(16, 24), nn.LSTMCell(24, 32)
        self.mid, self.head = nn.Linear(32, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        low = x.new_zeros(x.shape[0], self.low.hidden_size)
        high, cell = (x.new_zeros(x.shape[0], self.high.hidden_size) for _ in range(2))
        for t in range(x.shape[1]):
            low = self.low(torch.relu(self.embed(x[:, t])), low)
            high, cell = self.high(low, (high, cell))
        y: Tensor = self.head(functional.relu(self.mid(high)))
        return y


class HandLstm(nn.Module):
    """The cell written out: one product for all four gates, chunked."""

    def __init__(self, inner: int = 24) -> None:
        super().__init__()
        self.inner = inner
        self.x2h, self.h2h = nn.Linear(8, 4 * inner), nn.Linear(inner, 4 * inner)
        self.mid, self.head = nn.Linear(inner, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(x.shape[0], self.inner)
        for t in range(x.shape[1]):
            i, f, g, o = (self.x2h(x[:, t]) + self.h2h(h)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        y: Tensor = self.head(functional.relu(self.mid(h)))
        return y


class Packed(nn.Module):
    """Sequences of unlike lengths, packed and padded again."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(50, 16), nn.LSTM(16, 24, batch_first=True, bidirectional=True)
        self.mid, self.head = nn.Linear(48, 32), nn.Linear(32, 5)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embed(tokens), lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        y: Tensor = self.head(functional.relu(self.mid(out.mean(1))))
        return y


class Translator(nn.Module):
    """A GRU reads, another writes, its first state the reader's last; attention by a small network."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(50, 16), nn.Embedding(40, 16)
        self.reader, self.writer = (nn.GRU(16, 24, batch_first=True) for _ in range(2))
        self.query, self.key, self.score = nn.Linear(24, 16), nn.Linear(24, 16, bias=False), nn.Linear(16, 1)
        self.mix, self.head = nn.Linear(48, 32), nn.Linear(32, 40)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = self.reader(self.source(source))
        out, _ = self.writer(self.target(target), state)
        scores = self.score(torch.tanh(self.query(out)[:, :, None] + self.key(memory)[:, None])).squeeze(-1)
        seen = scores.softmax(-1) @ memory
        y: Tensor = self.head(torch.tanh(self.mix(torch.cat([out, seen], -1))))
        return y


class DiagonalStates(nn.Module):
    """S4D with a real diagonal: the kernel of each channel is a sum over its states, applied as a long convolution."""

    def __init__(self, width: int = 24, states: int = 4) -> None:
        super().__init__()
        self.log_step = nn.Parameter(torch.rand(width) - 2)
        self.log_a, self.c = nn.Parameter(torch.rand(width, states)), nn.Parameter(torch.randn(width, states))
        self.d, self.mix = nn.Parameter(torch.randn(width)), nn.Linear(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        t = x.shape[1]
        a = -self.log_a.exp() * self.log_step.exp()[:, None]  # [C, N]
        kernel = (self.c[..., None] * torch.exp(a[..., None] * torch.arange(t))).sum(1)  # [C, T]
        u = x.transpose(1, 2)
        y = functional.conv1d(functional.pad(u, (t - 1, 0)), kernel.flip(-1)[:, None], groups=u.shape[1])
        y = functional.gelu(y + self.d[:, None] * u).transpose(1, 2)
        return functional.glu(self.mix(y), -1)


class LinearRecurrence(nn.Module):
    """A gated linear recurrence (RG-LRU): decays from a parameter for each channel, and a loop over time."""

    def __init__(self, width: int = 24, inner: int = 32) -> None:
        super().__init__()
        self.x, self.gate, self.out = nn.Linear(width, inner), nn.Linear(width, inner), nn.Linear(inner, width)
        self.read, self.write = nn.Linear(inner, inner), nn.Linear(inner, inner)
        self.decay = nn.Parameter(torch.rand(inner) + 1)

    def forward(self, x: Tensor) -> Tensor:
        u = self.x(x)
        decay = torch.exp(-8 * functional.softplus(self.decay) * torch.sigmoid(self.read(u)) / 8)
        u = torch.sqrt(1 - decay.square()) * torch.sigmoid(self.write(u)) * u
        state, states = torch.zeros_like(u[:, 0]), []
        for t in range(u.shape[1]):
            state = decay[:, t] * state + u[:, t]
            states.append(state)
        y: Tensor = self.out(torch.stack(states, 1) * functional.gelu(self.gate(x)))
        return y


class Retention(nn.Module):
    """RWKV in small: tokens mixed with the one before, weights that fade with distance, a receptance gate."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.rand(3, width))
        self.fade, self.first = nn.Parameter(torch.rand(width)), nn.Parameter(torch.rand(width))
        self.r, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        before = functional.pad(x, (0, 0, 1, -1))
        r, k, v = (p(x * m + before * (1 - m)) for p, m in zip((self.r, self.k, self.v), self.mix, strict=True))
        top = bottom = torch.zeros_like(x[:, 0])
        out = []
        for t in range(x.shape[1]):
            now = torch.exp(self.first + k[:, t])
            out.append((top + now * v[:, t]) / (bottom + now))
            top, bottom = (torch.exp(-self.fade) * each for each in (top, bottom))
            top, bottom = top + k[:, t].exp() * v[:, t], bottom + k[:, t].exp()
        y: Tensor = self.o(torch.sigmoid(r) * torch.stack(out, 1))
        return y


class ResidualStack(nn.Module):
    def __init__(self, *layers: nn.Module, width: int = 24) -> None:
        super().__init__()
        self.embed, self.layers, self.norm = nn.Linear(8, width), nn.ModuleList(layers), nn.LayerNorm(width)
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) / math.sqrt(2)
        for layer in self.layers:
            x = x + layer(x)
        y: Tensor = self.head(self.norm(x).mean(1))
        return y


RECURRENT = {
    "lstm_language_with_state": Entry(LstmLanguage, ids(), 0.1),  # its last states are outputs: the embedding can go
    "lstm_language_tied": Entry(TiedLogits, ids(), 0.6),
    "gru_characters_one_hot": Entry(CharacterGru, ids(6, 20), 0.5),
    "recurrent_cells_by_step": Entry(StepwiseCells, series(), 0.6),
    "lstm_by_hand": Entry(HandLstm, series(), 0.5),
    "lstm_packed": Entry(Packed, lambda: (ids()(), torch.tensor([6, 4])), 0.7),
    "gru_translator_attention": Entry(Translator, lambda: (ids()(), ids(5, 40)()), 0.5),
    "diagonal_states_s4": Entry(lambda: ResidualStack(DiagonalStates(), DiagonalStates()), series(), 0.5, plain=False),
    "linear_recurrence_gated": Entry(lambda: ResidualStack(LinearRecurrence()), series(), 0.6, plain=False),
    "retention_rwkv": Entry(lambda: ResidualStack(Retention()), series(), 0.5, plain=False),
}
