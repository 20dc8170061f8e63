"""Mixtures of experts: batched parameters by several products, lists of modules, routing by all and by the best two."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .entry import Entry, ids, series, vectors


class BatchedExperts(nn.Module):
    """All experts in parameters of [E, K, N]; every expert sees every token, weighted by the router."""

    def __init__(self, width: int = 32, hidden: int = 48, experts: int = 4, *, by: str = "einsum") -> None:
        super().__init__()
        self.by, self.router = by, nn.Linear(width, experts)
        self.up = nn.Parameter(torch.randn(experts, width, hidden) * 0.2)
        self.up_bias = nn.Parameter(torch.randn(experts, hidden) * 0.2)
        self.down = nn.Parameter(torch.randn(experts, hidden, width) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        gates = self.router(x).softmax(-1)  # [B, T, E]
        if self.by == "einsum":
            hidden = functional.gelu(torch.einsum("btc,ech->bteh", x, self.up) + self.up_bias)
            return torch.einsum("bteh,ehc,bte->btc", hidden, self.down, gates)
        flat = x.flatten(0, 1)  # [B * T, C]
        if self.by == "bmm":
            many = flat.unsqueeze(0).expand(self.up.shape[0], -1, -1)
            hidden = functional.gelu(torch.baddbmm(self.up_bias[:, None], many, self.up))
            made = torch.bmm(hidden, self.down)
        else:
            made = functional.gelu(flat @ self.up + self.up_bias[:, None]) @ self.down  # [E, B * T, C]
        y: Tensor = (made * gates.flatten(0, 1).T[..., None]).sum(0)
        return y.view_as(x)


class GatedUpExperts(nn.Module):
    """Gate and up projection stand in one parameter and are chunked; the best two of the experts count."""

    def __init__(self, width: int = 32, hidden: int = 32, experts: int = 4) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        self.gate_up = nn.Parameter(torch.randn(experts, width, 2 * hidden) * 0.2)
        self.down = nn.Parameter(torch.randn(experts, hidden, width) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        flat = x.reshape(-1, c)
        weights, chosen = self.router(flat).softmax(-1).topk(2, -1)
        routing = torch.zeros(flat.shape[0], self.down.shape[0]).scatter(1, chosen, weights)  # [N, E]
        gate, up = torch.matmul(flat, self.gate_up).chunk(2, -1)  # [E, N, H]
        made = torch.matmul(functional.silu(gate) * up, self.down)  # [E, N, C]
        return (made.transpose(0, 1) * routing[..., None]).sum(1).view(b, t, c)


class Expert(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w1, self.w2, self.w3 = (
            nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False),
            nn.Linear(width, hidden, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.w2(functional.silu(self.w1(x)) * self.w3(x))
        return y


class ListedExperts(nn.Module):
    """A ModuleList, each expert run on all tokens; those that were not chosen have a weight of nothing."""

    def __init__(self, width: int = 32, experts: int = 4) -> None:
        super().__init__()
        self.gate = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(Expert(width, 32 + 16 * (i % 2)) for i in range(experts))
        self.shared = Expert(width, 32)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.gate(x).softmax(-1)
        best, chosen = scores.topk(2, -1)
        best = best / best.sum(-1, keepdim=True)
        y: Tensor = self.shared(x)
        for i, expert in enumerate(self.experts):
            y = y + expert(x) * (best * (chosen == i)).sum(-1, keepdim=True)
        return y


class ExpertBlocks(nn.Module):
    def __init__(self, *experts: nn.Module, width: int = 32) -> None:
        super().__init__()
        self.tokens, self.experts = nn.Embedding(50, width), nn.ModuleList(experts)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in experts)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 12)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens)
        for norm, experts in zip(self.norms, self.experts, strict=True):
            x = x + experts(norm(x))
        y: Tensor = self.head(self.norm(x))
        return y


class GatedRegressors(nn.Module):
    """A mixture for tables (multi-gate): stacked outputs of experts, one gate and one tower for each task."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU()) for _ in range(3)
        )
        self.gates = nn.ModuleList(nn.Linear(8, 3) for _ in range(2))
        self.towers = nn.ModuleList(nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> list[Tensor]:
        made = torch.stack([expert(x) for expert in self.experts], 1)  # [B, E, H]
        return [
            tower((gate(x).softmax(-1).unsqueeze(-1) * made).sum(1))
            for gate, tower in zip(self.gates, self.towers, strict=True)
        ]


class BareExperts(nn.Module):
    """Nothing but batched parameters: the mixture is the whole model, its inputs and outputs cannot go."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = BatchedExperts(8, 64, by="bmm")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.experts(x)
        return y


EXPERTS = {
    "experts_einsum": Entry(lambda: ExpertBlocks(BatchedExperts(), BatchedExperts()), ids(), 0.6, plain=False),
    "experts_bmm": Entry(lambda: ExpertBlocks(BatchedExperts(by="bmm")), ids(), 0.6, plain=False),
    "experts_matmul": Entry(lambda: ExpertBlocks(BatchedExperts(by="matmul")), ids(), 0.6, plain=False),
    "experts_gate_up_top_two": Entry(lambda: ExpertBlocks(GatedUpExperts()), ids(), 0.6, plain=False),
    "experts_in_module_list": Entry(lambda: ExpertBlocks(ListedExperts()), ids(), 0.6, plain=False),
    "experts_multi_gate": Entry(GatedRegressors, vectors(), 0.5),
    "experts_alone": Entry(BareExperts, series(), 0.4),
}
