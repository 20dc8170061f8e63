"""Networks over sound: conformers, speaker encoders, text from spectrograms, pitch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import FeedForward, SeparateQkv
from .entry import Entry, series, signals


class ConformerConv(nn.Module):
    """Pointwise with GLU, depthwise, normalisation, Swish, pointwise."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.into = nn.LayerNorm(width), nn.Conv1d(width, 2 * width, 1)
        self.depthwise = nn.Conv1d(width, width, 5, padding=2, groups=width)
        self.batch, self.out = nn.BatchNorm1d(width), nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.glu(self.into(self.norm(x).transpose(1, 2)), dim=1)
        made: Tensor = self.out(functional.silu(self.batch(self.depthwise(y))))
        return made.transpose(1, 2)


class ConformerBlock(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.before, self.after = (nn.Sequential(nn.LayerNorm(width), FeedForward(width, 2 * width)) for _ in range(2))
        self.norm, self.attention, self.conv = nn.LayerNorm(width), SeparateQkv(width), ConformerConv(width)
        self.last = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.before(x)
        x = x + self.attention(self.norm(x))
        x = x + self.conv(x)
        y: Tensor = self.last(x + 0.5 * self.after(x))
        return y


class Conformer(nn.Module):
    """Two strided convolutions over the spectrogram first; their channels and bands become one width."""

    def __init__(self, bands: int = 16, width: int = 32) -> None:
        super().__init__()
        self.sub = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.embed, self.block = nn.Linear(8 * (bands // 4), width), ConformerBlock(width)
        self.head = nn.Linear(width, 12)

    def forward(self, x: Tensor) -> Tensor:
        y = self.sub(x.unsqueeze(1))  # [B, C, T / 4, F / 4]
        b, c, t, f = y.shape
        y = self.embed(y.transpose(1, 2).contiguous().view(b, t, c * f))
        logits: Tensor = self.head(self.block(y)).log_softmax(-1)
        return logits


class Res2Conv(nn.Module):
    """Chunks of the channels, each convolved together with what came of the one before."""

    def __init__(self, width: int, scale: int = 4) -> None:
        super().__init__()
        self.width, self.scale = width // scale, scale
        self.convs = nn.ModuleList(nn.Conv1d(width // scale, width // scale, 3, padding=1) for _ in range(scale - 1))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width // scale) for _ in range(scale - 1))

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(x, self.width, 1)
        out, last = [parts[0]], parts[1]
        for i, (layer, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            last = norm(functional.relu(layer(last if i == 0 else last + parts[i + 1])))
            out.append(last)
        return torch.cat(out, 1)


class StatisticsPooling(nn.Module):
    """The mean and the deviation over time, weighted by an attention that sees both of the whole."""

    def __init__(self, width: int, inner: int = 16) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Conv1d(3 * width, inner, 1), nn.Tanh(), nn.Conv1d(inner, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        t = x.shape[-1]
        whole = [x.mean(2, keepdim=True).expand(-1, -1, t), x.std(2, keepdim=True).expand(-1, -1, t)]
        weight = self.score(torch.cat([x, *whole], 1)).softmax(2)
        mean = (x * weight).sum(2)
        deviation = ((x.square() * weight).sum(2) - mean.square()).clamp(min=1e-4).sqrt()
        return torch.cat([mean, deviation], 1)


class SpeakerEncoder(nn.Module):
    """ECAPA-TDNN in small: Res2Net blocks with squeeze and excitation, all of them joined."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(8, width, 5, padding=2), nn.ReLU(), nn.BatchNorm1d(width))
        self.into, self.out = (nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(2)) for _ in range(2))
        self.res2 = nn.ModuleList(Res2Conv(width) for _ in range(2))
        self.squeeze = nn.ModuleList(nn.Linear(width, 8) for _ in range(2))
        self.excite = nn.ModuleList(nn.Linear(8, width) for _ in range(2))
        self.join, self.pool = nn.Conv1d(2 * width, 48, 1), StatisticsPooling(48)
        self.norm, self.fc = nn.BatchNorm1d(96), nn.Linear(96, 12)

    def forward(self, x: Tensor) -> Tensor:
        x, seen = self.stem(x), []
        for into, res2, squeeze, excite, out in zip(
            self.into, self.res2, self.squeeze, self.excite, self.out, strict=True
        ):
            y = out(res2(functional.relu(into(x))))
            gate = torch.sigmoid(excite(functional.relu(squeeze(y.mean(-1)))))
            x = x + y * gate.unsqueeze(-1)
            seen.append(x)
        joined = functional.relu(self.join(torch.cat(seen, 1)))
        return functional.normalize(self.fc(self.norm(self.pool(joined))))


class Crnn(nn.Module):
    """Text lines: convolutions until the height is one, then a bidirectional GRU over the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1),
            nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d((4, 1)),
        )  # fmt: skip
        self.rnn, self.head = nn.GRU(24, 16, num_layers=2, bidirectional=True), nn.Linear(32, 11)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.body(x).squeeze(2).permute(2, 0, 1)  # [W, B, C]
        out, _ = self.rnn(seen)
        t, b, h = out.size()
        y: Tensor = self.head(out.view(t * b, h)).view(t, b, -1)
        return y


class PitchTracker(nn.Module):
    """CREPE in small: strided convolutions over the samples, each padded by hand to the left and to the right."""

    def __init__(self) -> None:
        super().__init__()
        widths, self.pads = (1, 32, 16, 16, 24), ((14, 14), (3, 4), (3, 4), (3, 4))
        kernels, strides = (32, 8, 8, 8), (4, 1, 1, 1)
        for i in range(4):
            layer = nn.Conv2d(widths[i], widths[i + 1], (kernels[i], 1), (strides[i], 1))
            setattr(self, f"conv{i + 1}", layer)
            setattr(self, f"conv{i + 1}_BN", nn.BatchNorm2d(widths[i + 1], eps=0.0010000000474974513))
        self.in_features = 24 * 4
        self.classifier = nn.Linear(self.in_features, 20)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None, :, None]
        for i, pads in enumerate(self.pads):
            x = functional.pad(x, (0, 0, *pads))
            x = functional.relu(getattr(self, f"conv{i + 1}")(x))
            x = functional.max_pool2d(getattr(self, f"conv{i + 1}_BN")(x), (2, 1), (2, 1))
        x = x.permute(0, 2, 1, 3).reshape(-1, self.in_features)
        return torch.sigmoid(self.classifier(x))


class Separator(nn.Module):
    """Conv-TasNet in small: a mask for each source over a learned basis, which a transposed convolution undoes."""

    def __init__(self, basis: int = 32, sources: int = 2) -> None:
        super().__init__()
        self.sources, self.basis = sources, basis
        self.encoder, self.decoder = (
            nn.Conv1d(1, basis, 8, 4, bias=False),
            nn.ConvTranspose1d(basis, 1, 8, 4, bias=False),
        )
        self.norm, self.narrow = nn.GroupNorm(1, basis), nn.Conv1d(basis, 16, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(16, 32, 1), nn.PReLU(), nn.Conv1d(32, 32, 3, padding=2**i, dilation=2**i, groups=32),
                nn.PReLU(), nn.Conv1d(32, 16, 1),
            )
            for i in range(2)
        )  # fmt: skip
        self.mask = nn.Conv1d(16, sources * basis, 1)

    def forward(self, sound: Tensor) -> Tensor:
        seen = self.encoder(sound)
        x = self.narrow(self.norm(seen))
        for block in self.blocks:
            x = x + block(x)
        masks = self.mask(x).sigmoid().view(x.shape[0], self.sources, self.basis, -1)
        y: Tensor = self.decoder((masks * seen.unsqueeze(1)).flatten(0, 1))
        return y.view(x.shape[0], self.sources, -1)


SPEECH = {
    "conformer": Entry(Conformer, series(16, 12), 0.6, plain=False),
    "speaker_res2net_statistics": Entry(SpeakerEncoder, signals(8, 12), 0.5),
    "crnn": Entry(Crnn, lambda: torch.randn(2, 1, 8, 16), 0.6),
    "pitch_padded_by_hand": Entry(PitchTracker, lambda: torch.randn(2, 256), 0.5),
    "source_separation": Entry(Separator, lambda: torch.randn(2, 1, 64), 0.6, plain=False),
}
