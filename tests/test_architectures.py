"""Half of each set of channels removed from every network of the zoo: it equals the dense one under the mask."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune.errors import PruneError
from jupyter_hwprune.example import Example
from jupyter_hwprune.pattern import Channel
from jupyter_hwprune.pruning.channels import remove_channels
from jupyter_hwprune.pruning.equivalence import relative_difference
from tests.architectures import ARCHITECTURES
from tests.conftest import fingerprint

CUT = [name for name, entry in ARCHITECTURES.items() if not entry.refused]
REFUSED = [name for name, entry in ARCHITECTURES.items() if entry.refused]
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:transformers")


def total(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


class OverKept(nn.Module):
    """A normalisation of the smaller model in its place in the dense one."""

    def __init__(self, small: nn.Module, kept: Tensor, dim: int) -> None:
        super().__init__()
        self.small, self.kept, self.dim = small, kept, dim

    def forward(self, x: Tensor) -> Tensor:
        y = self.small(x.index_select(self.dim, self.kept))
        return torch.zeros_like(x).index_copy(self.dim, self.kept, y)


def masked(dense: nn.Module, small: nn.Module, keep: Mapping[str, Tensor]) -> nn.Module:
    """Put zeros in the dense model where the smaller has nothing; a norm over channels counts those that are left."""
    reference = copy.deepcopy(dense)
    with torch.no_grad():
        for name, tensor in reference.named_parameters():
            if name in keep:  # of a weight norm, the scale of a row is its zero: nothing by nothing is no number
                mask = keep[name].any(0) if name.endswith("original1") else keep[name]
                tensor.mul_(mask)
    for name, module in list(reference.named_modules()):
        kind = type(module).__name__
        if "Norm" in kind and "Batch" not in kind and "Parametri" not in kind and f"{name}.weight" in keep:
            kept = keep[f"{name}.weight"].nonzero().flatten()
            stand_in = OverKept(small.get_submodule(name), kept, 1 if kind in {"GroupNorm", "LayerNorm2d"} else -1)
            reference.set_submodule(name, stand_in)
    return reference


def unsettle(model: nn.Module) -> None:
    """Give statistics and weights that are all alike values that would show a channel in another's place."""
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point() and tensor.ndim == 1 and ".original" not in name and "._" not in name:
                if name.endswith("inv_freq"):
                    continue
                tensor.add_(torch.randn(tensor.shape) * 0.2)


@pytest.mark.parametrize("name", CUT)
def test_half_of_the_channels_go_and_the_rest_computes_what_it_did(name: str) -> None:
    entry = ARCHITECTURES[name]
    model, example = entry.build().eval(), Example.of(entry.example())
    unsettle(model)
    before = fingerprint(model)
    surgery = remove_channels(model, example, Channel(), 0.5, ranked_together=False)
    small = surgery.model
    assert 1 - total(small) / total(model) >= entry.gone
    assert fingerprint(model) == before

    expected = example.outputs(masked(model, small, surgery.keep))
    outputs = example.outputs(small)
    assert relative_difference(outputs, expected) < 1e-4
    assert relative_difference(outputs, example.outputs(model)) > 1e-3

    flags = {key: p.requires_grad for key, p in model.named_parameters()}
    assert {key: p.requires_grad for key, p in small.named_parameters()} == flags  # the same ties, too
    again = copy.deepcopy(small)
    for parameter in again.parameters():
        nn.init.zeros_(parameter)
    again.load_state_dict(small.state_dict())
    assert relative_difference(example.outputs(again), outputs) == 0
    assert all(bool(t.isfinite().all()) for t in example.outputs(again.train()))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_cut_is_refused_by_name_and_with_the_cure(name: str) -> None:
    entry = ARCHITECTURES[name]
    with pytest.raises(PruneError, match=entry.refused):
        remove_channels(entry.build().eval(), Example.of(entry.example()), Channel(), 0.5, ranked_together=False)


def test_most_of_the_zoo_can_be_cut() -> None:
    assert len(CUT) >= 50
