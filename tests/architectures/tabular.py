"""Recommenders, tables and graphs: embeddings in bags, interactions, dense adjacencies."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from .entry import Entry


def dense_layers(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for c_in, c_out in pairwise(widths):
        layers += [nn.Linear(c_in, c_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Dlrm(nn.Module):
    """Bags of categories and dense features, all pairs of their products, an upper network."""

    left: Tensor
    right: Tensor

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.bottom = dense_layers(6, 32, width)
        self.bags = nn.ModuleList(nn.EmbeddingBag(n, width, mode="sum") for n in (20, 30, 10))
        pairs = torch.tril_indices(4, 4, offset=-1)
        self.register_buffer("left", pairs[0])
        self.register_buffer("right", pairs[1])
        self.top = dense_layers(width + 6, 32, 16, 1)

    def forward(self, dense: Tensor, one: Tensor, two: Tensor, three: Tensor) -> Tensor:
        x = self.bottom(dense)
        found = [x, *(bag(i) for bag, i in zip(self.bags, (one, two, three), strict=True))]
        stacked = torch.stack(found, 1)  # [B, 4, C]
        products = torch.bmm(stacked, stacked.transpose(1, 2))
        y: Tensor = self.top(torch.cat([x, products[:, self.left, self.right]], 1))
        return torch.sigmoid(y).squeeze(-1)


class BagClassifier(nn.Module):
    """Words of all texts in one row, with offsets where each text begins."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.mid, self.fc = nn.EmbeddingBag(50, 32), nn.Linear(32, 24), nn.Linear(24, 4)

    def forward(self, words: Tensor, offsets: Tensor) -> Tensor:
        y: Tensor = self.fc(functional.relu(self.mid(self.embedding(words, offsets))))
        return y


class TwoTowers(nn.Module):
    """User and item; the score is a dot product, with a bias of each."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(40, 24), nn.Embedding(60, 16)
        self.user_bias, self.item_bias = nn.Embedding(40, 1), nn.Embedding(60, 1)
        self.user_tower, self.item_tower = dense_layers(24, 32, 16), dense_layers(16 + 4, 32, 16)

    def forward(self, user: Tensor, item: Tensor, features: Tensor) -> Tensor:
        a = self.user_tower(self.user(user))
        b = self.item_tower(torch.cat([self.item(item), features], -1))
        score: Tensor = (a * b).sum(-1) + self.user_bias(user).squeeze(-1) + self.item_bias(item).squeeze(-1)
        return score


class FactorMachine(nn.Module):
    """DeepFM: one table for all fields, the squared sum less the sum of squares, and a deep network beside it."""

    offsets: Tensor

    def __init__(self, fields: int = 4, size: int = 10, width: int = 16) -> None:
        super().__init__()
        self.register_buffer("offsets", torch.arange(fields) * size)
        self.linear, self.embedding = nn.Embedding(fields * size, 1), nn.Embedding(fields * size, width)
        self.width = fields * width
        self.deep = nn.Sequential(
            nn.Linear(fields * width, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.offsets
        e = self.embedding(x)  # [B, F, C]
        pairs = 0.5 * (e.sum(1).square() - e.square().sum(1)).sum(1, keepdim=True)
        y: Tensor = self.linear(x).sum(1) + pairs + self.deep(e.view(-1, self.width))
        return torch.sigmoid(y.squeeze(1))


class CrossNetwork(nn.Module):
    """DCN: products with the input itself, whose width cannot go; the deep side can."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.crosses = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.deep, self.head = dense_layers(width, 48, 48), nn.Linear(width + 48, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for cross in self.crosses:
            y = x * cross(y) + y
        out: Tensor = self.head(torch.cat([y, self.deep(x)], 1))
        return out


class GraphConvolutions(nn.Module):
    """GCN with a dense adjacency, normalised in `forward`; weights as bare parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.w2 = nn.Parameter(torch.randn(8, 32) * 0.3), nn.Parameter(torch.randn(32, 24) * 0.3)
        self.bias, self.head = nn.Parameter(torch.randn(32)), nn.Linear(24, 4)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        a = adjacency + torch.eye(adjacency.shape[0])
        scale = a.sum(1).rsqrt()
        a = scale[:, None] * a * scale[None]
        h = functional.relu(a @ (x @ self.w1) + self.bias)
        h = functional.relu(torch.spmm(a, torch.mm(h, self.w2)))
        y: Tensor = self.head(h).log_softmax(1)
        return y


class GraphAttention(nn.Module):
    """GAT: scores of pairs are sums of one from each side, missing edges masked."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.dim = heads, width // heads
        self.w = nn.Linear(8, width, bias=False)
        self.source, self.target = (nn.Parameter(torch.randn(heads, width // heads)) for _ in range(2))
        self.mid, self.head = nn.Linear(width, 24), nn.Linear(24, 4)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        h = self.w(x).view(-1, self.heads, self.dim)  # [N, H, D]
        scores = (h * self.source).sum(-1)[:, None] + (h * self.target).sum(-1)[None]
        scores = functional.leaky_relu(scores, 0.2).masked_fill((adjacency == 0)[..., None], -1e9)
        mixed = torch.einsum("ijh,jhd->ihd", scores.softmax(1), h).flatten(1)
        y: Tensor = self.head(functional.elu(self.mid(functional.elu(mixed))))
        return y


class Messages(nn.Module):
    """Edges as a list: gathered, made to messages, added up where they end, and pooled over each graph."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.message, self.update = nn.Embedding(9, 16), dense_layers(32 + 3, 32, 24), nn.GRUCell(24, 16)
        self.read = dense_layers(16, 24, 1)

    def forward(self, kinds: Tensor, edges: Tensor, features: Tensor) -> Tensor:
        h = self.embed(kinds)
        source, target = edges[0], edges[1]
        for _ in range(2):
            sent = self.message(torch.cat([h[source], h[target], features], -1))
            h = self.update(torch.zeros(h.shape[0], sent.shape[1]).index_add(0, target, sent), h)
        y: Tensor = self.read(h).sum(0)
        return y


class TableTransformer(nn.Module):
    """Each number scales a vector of its own, a class token in front; heads are written in `forward`, and stay."""

    def __init__(self, fields: int = 5, width: int = 32) -> None:
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.randn(fields, width) * 0.3) for _ in range(2))
        self.token = nn.Parameter(torch.randn(1, width))
        self.norm, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.token.expand(x.shape[0], 1, -1), x[..., None] * self.weight + self.bias], 1)
        y = self.norm(tokens)
        q, k, v = (p(y).unflatten(-1, (4, 8)).transpose(1, 2) for p in (self.q, self.k, self.v))
        tokens = tokens + self.o((q @ k.mT * 8**-0.5).softmax(-1).matmul(v).transpose(1, 2).flatten(2))
        out: Tensor = self.head(functional.relu(self.norm2(tokens[:, 0])))
        return out


def graph() -> tuple[Tensor, Tensor]:
    edges = torch.rand(7, 7) > 0.5
    return torch.randn(7, 8), (edges | edges.T | torch.eye(7, dtype=torch.bool)).float()


def visits() -> tuple[Tensor, ...]:
    return (torch.randn(4, 6), *(torch.randint(0, 10, (4, 3)) for _ in range(3)))


TABULAR = {
    "dlrm": Entry(Dlrm, visits, 0.6),
    "embedding_bag_offsets": Entry(BagClassifier, lambda: (torch.randint(0, 50, (9,)), torch.tensor([0, 4, 6])), 0.5),
    "recommender_two_towers": Entry(TwoTowers, lambda: (torch.arange(4), torch.arange(4) * 3, torch.randn(4, 4)), 0.5),
    "factorisation_machine": Entry(FactorMachine, lambda: torch.randint(0, 10, (4, 4)), 0.5),
    "cross_network": Entry(CrossNetwork, lambda: torch.randn(4, 12), 0.5),
    "graph_convolutions": Entry(GraphConvolutions, graph, 0.6),
    "graph_attention": Entry(GraphAttention, graph, 0.6),
    "graph_messages": Entry(Messages, lambda: (torch.arange(6), torch.randint(0, 6, (2, 10)), torch.randn(10, 3)), 0.7),
    "table_transformer": Entry(TableTransformer, lambda: torch.randn(4, 5), 0.4, plain=False),
}
