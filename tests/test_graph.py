"""What the dimension analysis finds: sets, their places, equal shares, reasons; and that units may change places."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import Channel
from jupyter_hwprune.pruning.channels import Channels, magnitudes, remove_channels
from jupyter_hwprune.pruning.equivalence import relative_difference
from jupyter_hwprune.pruning.graph import ChannelSet, Coupled, analyse, cut, permute
from jupyter_hwprune.pruning.planning import plan_channels
from tests.architectures import ARCHITECTURES
from tests.architectures.attention import FusedQkv, GroupedQuery, Language
from tests.architectures.mobile import ShuffleNetV2


def sets_of(model: nn.Module, x: Tensor) -> dict[str, ChannelSet]:
    return {each.name: each for each in analyse(model.eval(), Example.of(x)).sets}


def places(channels: ChannelSet, tensor: str) -> dict[int, list[list[int]]]:
    return {slot.dim: slot.positions.tolist() for slot in channels.slots if slot.tensor == tensor}


def test_a_unit_of_a_flattened_convolution_takes_all_its_places() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(12, 2))
    [channels] = sets_of(model, torch.randn(1, 1, 2, 2)).values()
    assert channels.name == "0"
    assert places(channels, "2.weight") == {1: [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]}
    assert {slot.tensor: slot.reads for slot in channels.slots} == {
        "0.weight": False,
        "0.bias": False,
        "2.weight": True,
    }


def test_heads_of_a_fused_projection_go_whole() -> None:
    heads = sets_of(nn.Sequential(nn.Linear(5, 8), FusedQkv(8, 2)), torch.randn(1, 3, 5))["1.qkv"]
    first, second = places(heads, "1.qkv.weight")[0]
    assert first == [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]
    assert second == [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23]
    assert places(heads, "1.proj.weight")[1] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_head_of_keys_takes_the_queries_that_share_it() -> None:
    attention = sets_of(Language(GroupedQuery(32, 4, 2)), torch.zeros(1, 4, dtype=torch.long))["blocks.0.q"]
    assert places(attention, "blocks.0.k.weight")[0] == [list(range(8)), list(range(8, 16))]
    assert places(attention, "blocks.0.q.weight")[0] == [list(range(16)), list(range(16, 32))]


def test_a_hidden_unit_of_an_lstm_is_its_row_in_each_gate() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(2, 3, bidirectional=True), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(self.lstm(x)[0])
            return y

    units = sets_of(Net(), torch.randn(4, 1, 2))["lstm"]
    for direction in ("", "_reverse"):
        assert places(units, f"lstm.weight_hh_l0{direction}") == {
            0: [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]],
            1: [[0], [1], [2]],
        }
    assert places(units, "head.weight") == {1: [[0, 3], [1, 4], [2, 5]]}


def test_what_groups_need_is_an_equal_share_of_each() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8), nn.Conv2d(8, 2, 1))
    [channels] = sets_of(model, torch.randn(1, 3, 2, 2)).values()
    assert channels.group_of is not None
    assert channels.group_of.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert not channels.free
    rated = {channels.name: torch.tensor([9.0, 8, 7, 6, 5, 4, 3, 2])}
    read = Channels.of(model, Example.of(torch.randn(1, 3, 2, 2)), lambda _: rated)
    surgery = remove_channels(read, plan_channels(read, Channel(), 0.5))
    assert surgery.keep["1.weight"].tolist() == [True, True, False, False, True, True, False, False]


def test_shuffled_channels_go_by_the_same_place_of_each_group() -> None:
    model = nn.Sequential(nn.Conv2d(3, 32, 1), nn.ChannelShuffle(4), nn.Conv2d(32, 2, 1))
    shuffled = sets_of(model, torch.randn(1, 3, 8, 8))["0"]
    assert places(shuffled, "0.weight")[0][0] == [0, 8, 16, 24]
    assert places(shuffled, "2.weight")[1][0] == [0, 1, 2, 3]
    halves = sets_of(ShuffleNetV2(), torch.randn(1, 3, 8, 8))["stem.0"]
    assert halves.units == 16 or halves.group_of is not None


def test_scores_add_up_all_weights_of_a_unit() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    coupled = analyse(model, Example.of(torch.randn(1, 2)))
    [scores] = magnitudes(model, coupled).values()
    first, second = model[0], model[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    expected = first.weight.square().sum(1) + first.bias.square() + second.weight.square().sum(0)
    assert torch.allclose(scores, expected.sqrt())


def test_a_tied_weight_is_scored_once() -> None:
    model = ARCHITECTURES["tied_embeddings"].build()
    coupled = analyse(model, Example.of(torch.zeros(1, 4, dtype=torch.long)))
    ones = {name: torch.ones_like(p) for name, p in model.named_parameters(remove_duplicate=False)}
    channels = next(each for each in coupled.sets if any(s.tensor == "tokens.weight" for s in each.slots))
    tokens = model.get_parameter("tokens.weight")
    untied = {name: value for name, value in ones.items() if name not in {"tokens.weight", "head.weight"}}
    assert torch.equal(channels.sums(ones) - channels.sums(untied), torch.full((32,), float(tokens.shape[0])))


def test_an_unknown_operator_is_named_and_nothing_before_it_goes() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.after = nn.Linear(4, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.after(torch.linalg.qr(self.before(x))[1])
            return y

    coupled = analyse(Net(), Example.of(torch.randn(8, 4)))
    assert coupled.sets == ()
    assert "no rule says what the operator linalg_qr" in coupled.reasons["before"]


def test_a_layer_that_the_example_does_not_reach_stays_whole() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.unused = nn.Linear(4, 8), nn.Linear(8, 4), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.b(self.a(x))
            return y

    coupled = analyse(Net(), Example.of(torch.randn(2, 4)))
    assert [each.name for each in coupled.sets] == ["a"]
    assert coupled.reasons["unused"] == "the example input does not reach it"


@pytest.mark.parametrize(
    "name",
    [
        "resnet_basic",
        "densenet",
        "shufflenet",
        "vit_fused_qkv",
        "grouped_query_rope",
        "lstm_stacked_bidirectional",
        "weight_norm",
        "mamba",
        "siamese_two_inputs",
        "einsum_attention",
    ],
)
def test_units_may_change_places_and_the_function_stays(name: str) -> None:
    entry = ARCHITECTURES[name]
    model, example = entry.build().eval(), Example.of(entry.example())
    coupled = analyse(model, example)
    moved = copy.deepcopy(model)
    free = [each for each in coupled.sets if each.free]
    assert free
    for each in free:
        permute(moved, each, torch.randperm(each.units))
    assert relative_difference(example.outputs(moved), example.outputs(model)) < 1e-5
    changed = [k for k, p in moved.named_parameters() if not torch.equal(p, model.get_parameter(k))]
    assert changed


def test_a_cut_by_hand_keeps_what_it_was_told_to() -> None:
    model, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).eval(), torch.randn(3, 4)
    coupled: Coupled = analyse(model, Example.of(x))
    keep = torch.tensor([True, False, True, True, False, True])
    small, masks = cut(model, coupled, {"0": keep})
    first = small.get_submodule("0")
    assert isinstance(first, nn.Linear)
    assert first.out_features == 4
    assert torch.equal(first.weight, model.get_parameter("0.weight")[keep])
    assert masks["2.weight"].tolist() == [keep.tolist()] * 2
    with torch.no_grad():
        model.get_parameter("2.weight")[:, ~keep] = 0
    assert torch.allclose(small(x), model(x), atol=1e-6)
