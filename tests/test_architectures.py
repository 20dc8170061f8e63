"""Half of each set of channels removed from every network of the zoo: it equals the dense one under the mask."""

from __future__ import annotations

import copy

import pytest
from torch import nn

from jupyter_hwprune.core.errors import PruneError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import Channel
from jupyter_hwprune.pruning import plan_and_prune
from jupyter_hwprune.pruning.channels import Channels, remove_channels
from jupyter_hwprune.pruning.equivalence import relative_difference
from jupyter_hwprune.pruning.planning import plan_channels
from tests.architectures import ARCHITECTURES
from tests.architectures.reference import masked, unsettle
from tests.conftest import fingerprint

CUT = [name for name, entry in ARCHITECTURES.items() if not entry.refused]
REFUSED = [name for name, entry in ARCHITECTURES.items() if entry.refused]
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:transformers")


def total(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", CUT)
def test_half_of_the_channels_go_and_the_rest_computes_what_it_did(name: str) -> None:
    entry = ARCHITECTURES[name]
    model, example = entry.build().eval(), Example.of(entry.example())
    unsettle(model)
    example.outputs(model)  # some libraries add hooks of their own in the first run
    before = fingerprint(model)
    channels = Channels.of(model, example)
    surgery = remove_channels(channels, plan_channels(channels, Channel(), 0.5))
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
        plan_and_prune(entry.build().eval(), Example.of(entry.example()), Channel(), 0.5)


def test_most_of_the_zoo_can_be_cut() -> None:
    assert len(CUT) >= 170
