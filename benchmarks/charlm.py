"""A small character language model of the standard library's sources: `python -m benchmarks.charlm` trains it.

Three million parameters, decoder blocks in the form of Llama's; every tenth source file is held out. Weights are cached
in build/, by seed and by the text they were trained on.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

FOLDER = Path(__file__).parents[1] / "build" / "charlm"
CHARACTERS = 128
CONTEXT = 128
WIDTH, BLOCKS, HEADS = 256, 4, 4
BATCH, STEPS = 16, 300
SAMPLED, HELD_OUT = 64, 16  # batches


@dataclass(frozen=True)
class Text:
    train: Tensor  # [characters], int64
    heldout: Tensor

    @classmethod
    def of_standard_library(cls) -> Text:
        """Read the sources; what is no ASCII becomes character 0."""
        train: list[Tensor] = []
        heldout: list[Tensor] = []
        for at, path in enumerate(sorted(Path(os.__file__).parent.glob("*.py"))):
            codes = [c if (c := ord(each)) < CHARACTERS else 0 for each in path.read_text("utf-8", errors="replace")]
            (heldout if at % 10 == 0 else train).append(torch.tensor(codes))
        return cls(torch.cat(train), torch.cat(heldout))

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.train.to(torch.uint8).numpy().tobytes()).hexdigest()[:12]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).float().unflatten(2, (HEADS, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        # [N, H, T, C/H] in float32, for torch's bfloat16 kernel on a CPU trains several times slower
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.attention = Attention()
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))  # type: ignore[no-any-return]


class CharLM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(CHARACTERS, WIDTH)
        self.place = nn.Parameter(torch.zeros(CONTEXT, WIDTH))
        self.near = nn.Conv1d(WIDTH, WIDTH, 4, groups=WIDTH, bias=False)  # the last characters, to learn spelling soon
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm = nn.RMSNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CHARACTERS, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedded(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))  # type: ignore[no-any-return]

    def embedded(self, tokens: Tensor) -> Tensor:
        """Return what the first block gets. [N, T] -> [N, T, C]."""
        x = self.embed(tokens)
        return x + self.near(F.pad(x.mT, (3, 0))).mT + self.place[: tokens.shape[1]]  # type: ignore[no-any-return]


def prunable(model: CharLM) -> list[str]:
    """Return the linear layers of the blocks; like the language models of the papers, the head stays dense."""
    return [name for name, layer in model.blocks.named_modules(prefix="blocks") if isinstance(layer, nn.Linear)]


def trained(seed: int = 0, folder: Path = FOLDER) -> tuple[CharLM, list[Tensor], list[Tensor]]:
    """Return the model, batches of training text to calibrate with and batches held out, each int64 [16, 129]."""
    text = Text.of_standard_library()
    path = folder / f"{text.fingerprint}-{WIDTH}x{BLOCKS}-{STEPS}-{seed}.safetensors"
    model = CharLM()
    if path.exists():
        load_model(model, path)
    else:
        model = train(text.train, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_model(model, str(path))
    generator = torch.Generator().manual_seed(seed)
    sample = [windows(text.train, generator) for _ in range(SAMPLED)]
    spread = torch.linspace(0, len(text.heldout) - CONTEXT - 1, HELD_OUT * BATCH).long()  # the same for every seed
    heldout = text.heldout[spread[:, None] + torch.arange(CONTEXT + 1)]
    return model.eval(), sample, list(torch.split(heldout, BATCH))


def train(text: Tensor, seed: int) -> CharLM:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CharLM()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            deep = name.endswith(("o.weight", "down.weight"))
            parameter.data.normal_(std=0.02 / math.sqrt(2 * BLOCKS) if deep else 0.02, generator=generator)
    matrices = [model.get_parameter(f"{name}.weight") for name in prunable(model)]
    others = [p for p in model.parameters() if all(p is not matrix for matrix in matrices)]
    optimizers: tuple[torch.optim.Optimizer, ...] = (
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.0),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0),
    )
    rates = [torch.optim.lr_scheduler.LambdaLR(each, _share_of_peak) for each in optimizers]
    start = time.perf_counter()
    for step in range(STEPS):
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, windows(text, generator))
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.step()
            rate.step()
        if step % 50 == 49:
            print(f"step {step + 1}: {loss.item():.3f} nats, {time.perf_counter() - start:.0f} s", flush=True)
    return model


def _share_of_peak(step: int) -> float:
    return min(1.0, (step + 1) / 20, 0.05 + 1.9 * (1 - step / STEPS))


def windows(text: Tensor, generator: torch.Generator) -> Tensor:
    """Cut a batch from random places of the text. -> [16, 129]."""
    places = torch.randint(len(text) - CONTEXT, (BATCH, 1), generator=generator)
    return text[places + torch.arange(CONTEXT + 1)]


def loss_of(model: nn.Module, batch: Tensor) -> Tensor:
    """Return the mean loss of the next character, in nats."""
    return F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


@torch.no_grad()
def perplexity(model: nn.Module, batches: list[Tensor]) -> float:
    """Return e to the mean loss of the next character, over batches of equal size."""
    return math.exp(sum(loss_of(model, batch).item() for batch in batches) / len(batches))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    model, sample, heldout = trained(options.seed, options.folder)
    weights = sum(p.numel() for p in model.parameters())
    print(
        f"{weights / 1e6:.1f} million parameters; nats a character: training text "
        f"{math.log(perplexity(model, sample)):.3f}, held out {math.log(perplexity(model, heldout)):.3f}"
    )


if __name__ == "__main__":
    main()
