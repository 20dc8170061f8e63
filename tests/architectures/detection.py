"""Detectors: heads over several scales, lists and dicts of outputs, anchors, boxes as distributions, queries."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import FeedForward, SeparateQkv
from .entry import Entry, conv, images


class Cspf(nn.Module):
    """C2f: the halves of one convolution, and what each block makes of the last of them, joined."""

    def __init__(self, c_in: int, c_out: int, count: int = 1, *, added: bool = True) -> None:
        super().__init__()
        self.inner, self.added = c_out // 2, added
        self.cv1, self.cv2 = conv(c_in, 2 * self.inner, 1), conv((2 + count) * self.inner, c_out, 1)
        self.m = nn.ModuleList(
            nn.Sequential(conv(self.inner, self.inner), conv(self.inner, self.inner)) for _ in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).chunk(2, 1))
        for block in self.m:
            made = block(parts[-1])
            parts.append(parts[-1] + made if self.added else made)
        y: Tensor = self.cv2(torch.cat(parts, 1))
        return y


class Sppf(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv1, self.cv2, self.pool = conv(width, width // 2, 1), conv(2 * width, width, 1), nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        made = [self.cv1(x)]
        made.extend(self.pool(made[-1]) for _ in range(3))
        y: Tensor = self.cv2(torch.cat(made, 1))
        return y


class BoxDistribution(nn.Module):
    """DFL: each side of a box is the mean of a distribution over `bins`, by a fixed convolution."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins
        self.conv = nn.Conv2d(bins, 1, 1, bias=False).requires_grad_(requires_grad=False)
        self.conv.weight.data[:] = torch.arange(bins, dtype=torch.float32).view(1, bins, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, anchors = x.shape
        y: Tensor = self.conv(x.view(b, 4, self.bins, anchors).transpose(2, 1).softmax(1)).view(b, 4, anchors)
        return y


class Yolo(nn.Module):
    """Decoupled heads on two scales; both scales' boxes and classes in one tensor."""

    def __init__(self, classes: int = 5, bins: int = 8) -> None:
        super().__init__()
        self.classes, self.bins, self.per_anchor = classes, bins, classes + 4 * bins
        self.stem, self.c2, self.down, self.c3 = conv(3, 16, 3, 2), Cspf(16, 16), conv(16, 32, 3, 2), Cspf(32, 32)
        self.sppf, self.up, self.merge = Sppf(32), nn.Upsample(scale_factor=2), Cspf(48, 16, added=False)
        self.boxes = nn.ModuleList(nn.Sequential(conv(c, 16), nn.Conv2d(16, 4 * bins, 1)) for c in (16, 32))
        self.kinds = nn.ModuleList(nn.Sequential(conv(c, 16), nn.Conv2d(16, classes, 1)) for c in (16, 32))
        self.dfl = BoxDistribution(bins)

    def forward(self, x: Tensor) -> Tensor:
        small = self.c2(self.stem(x))
        large = self.sppf(self.c3(self.down(small)))
        scales = [self.merge(torch.cat([self.up(large), small], 1)), large]
        made = [torch.cat([box(s), kind(s)], 1) for box, kind, s in zip(self.boxes, self.kinds, scales, strict=True)]
        flat = torch.cat([m.view(m.shape[0], self.per_anchor, -1) for m in made], 2)
        box, kind = torch.split(flat, [4 * self.bins, self.classes], 1)
        return torch.cat([self.dfl(box), kind.sigmoid()], 1)


class YoloInTraining(Yolo):
    """The same, with one map of raw predictions for each scale."""

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
        small = self.c2(self.stem(x))
        large = self.sppf(self.c3(self.down(small)))
        scales = [self.merge(torch.cat([self.up(large), small], 1)), large]
        return [torch.cat([box(s), kind(s)], 1) for box, kind, s in zip(self.boxes, self.kinds, scales, strict=True)]


class Ssd(nn.Module):
    """Anchors on several maps: permuted, flattened to one row each, and joined; an L2 norm with a learned scale."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.classes = classes
        self.stages = nn.ModuleList([conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, 24, 3, 2)])
        self.scale = nn.Parameter(torch.rand(16) + 1)
        self.places = nn.ModuleList(nn.Conv2d(c, 3 * 4, 3, padding=1) for c in (16, 32, 24))
        self.kinds = nn.ModuleList(nn.Conv2d(c, 3 * classes, 3, padding=1) for c in (16, 32, 24))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        places, kinds = [], []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            seen = functional.normalize(x, dim=1) * self.scale.view(1, -1, 1, 1) if i == 0 else x
            places.append(self.places[i](seen).permute(0, 2, 3, 1).reshape(x.shape[0], -1))
            kinds.append(self.kinds[i](seen).permute(0, 2, 3, 1).reshape(x.shape[0], -1))
        b = x.shape[0]
        return torch.cat(places, 1).view(b, -1, 4), torch.cat(kinds, 1).view(b, -1, self.classes)


class PyramidOfLists(nn.Module):
    """RetinaNet: one head, shared by all levels, whose outputs come as lists."""

    def __init__(self) -> None:
        super().__init__()
        self.c3, self.c4, self.c5 = conv(3, 16, 3, 2), conv(16, 24, 3, 2), conv(24, 32, 3, 2)
        self.inner = nn.ModuleList(nn.Conv2d(c, 16, 1) for c in (16, 24, 32))
        self.outer = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(3))
        self.tower = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU())
        self.kind, self.box = nn.Conv2d(16, 5, 3, padding=1), nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        c3 = self.c3(x)
        c4 = self.c4(c3)
        levels = [c3, c4, self.c5(c4)]
        last = self.inner[2](levels[2])
        merged = [last]
        for i in (1, 0):
            last = self.inner[i](levels[i]) + functional.interpolate(last, size=levels[i].shape[-2:], mode="nearest")
            merged.insert(0, last)
        towers = [self.tower(outer(m)) for outer, m in zip(self.outer, merged, strict=True)]
        return {"kinds": [self.kind(t) for t in towers], "boxes": [self.box(t).exp() for t in towers]}


class CenterNet(nn.Module):
    """A heat map, sizes and offsets, read from one map that transposed convolutions make larger again."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, 32))
        self.up = nn.Sequential(nn.ConvTranspose2d(32, 24, 4, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        heads = {"heat": 3, "size": 2, "offset": 2}
        self.heads = nn.ModuleDict({k: nn.Sequential(conv(24, 16), nn.Conv2d(16, n, 1)) for k, n in heads.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        seen = self.up(self.body(x))
        found = {name: head(seen) for name, head in self.heads.items()}
        heat = found["heat"].sigmoid()
        peaks = (heat == functional.max_pool2d(heat, 3, 1, 1)).float()
        return {**found, "heat": heat * peaks}


class Detr(nn.Module):
    """Learned queries that look at the picture; positions are two tables, a half of the channels each."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.backbone, self.proj = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2)), nn.Conv2d(32, width, 1)
        self.rows, self.columns = (nn.Parameter(torch.rand(10, width // 2)) for _ in range(2))
        self.queries = nn.Embedding(6, width)
        self.encoder, self.self_attention, self.cross = SeparateQkv(width), SeparateQkv(width), SeparateQkv(width)
        self.norms, self.feed = nn.ModuleList(nn.LayerNorm(width) for _ in range(4)), FeedForward(width, 64)
        self.kind, self.box = nn.Linear(width, 5), nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        seen = self.proj(self.backbone(x))
        h, w = seen.shape[-2:]
        places = torch.cat(
            [self.columns[:w].unsqueeze(0).repeat(h, 1, 1), self.rows[:h].unsqueeze(1).repeat(1, w, 1)], -1
        ).flatten(0, 1)
        memory = seen.flatten(2).permute(0, 2, 1) + places
        memory = self.norms[0](memory + self.encoder(memory))
        q = self.queries.weight.unsqueeze(0).repeat(x.shape[0], 1, 1)
        q = self.norms[1](q + self.self_attention(q))
        q = self.norms[2](q + self.cross(q, memory))
        q = self.norms[3](q + self.feed(q))
        return {"kinds": self.kind(q), "boxes": self.box(q).sigmoid()}


DETECTION = {
    "yolo_decoded": Entry(Yolo, images(), 0.5),
    "yolo_list_of_scales": Entry(YoloInTraining, images(), 0.5),
    "ssd": Entry(Ssd, images(), 0.5),
    "retinanet_lists": Entry(PyramidOfLists, images(), 0.5, plain=False),
    "centernet": Entry(CenterNet, images(), 0.6),
    "detr_by_hand": Entry(Detr, images(), 0.6, plain=False),
}
