"""Operators and modules through which channels are followed: each cut is proven, and shrinks as much as it should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import Channel
from jupyter_hwprune.pruning.channels import Channels, Surgery, remove_channels
from jupyter_hwprune.pruning.equivalence import relative_difference
from jupyter_hwprune.pruning.graph import analyse
from jupyter_hwprune.pruning.planning import plan_channels
from tests.architectures.reference import masked


def halved(model: nn.Module, *inputs: Any) -> Surgery:
    """Remove half of each set of channels, and hold the outcome against zeros in the dense model."""
    channels = Channels.of(model.eval(), Example.of(inputs))
    surgery = remove_channels(channels, plan_channels(channels, Channel(), 0.5))
    example = Example.of(inputs)
    expected = example.outputs(masked(model, surgery.model, surgery.keep))
    assert relative_difference(example.outputs(surgery.model), expected) < 1e-4
    return surgery


class Stepped(nn.Module):
    """A cell taken step by step from zeros, or from a first state that the input gives."""

    def __init__(self, cell: nn.RNNCellBase, *, given: bool = False) -> None:
        super().__init__()
        self.embed, self.cell, self.head, self.given = nn.Linear(4, 12), cell, nn.Linear(16, 3), given

    def forward(self, x: Tensor, first: Tensor) -> Tensor:
        start = first if self.given else x.new_zeros(x.shape[0], self.cell.hidden_size)
        state: Any = (start, start) if isinstance(self.cell, nn.LSTMCell) else start
        for t in range(x.shape[1]):
            state = self.cell(torch.relu(self.embed(x[:, t])), state)
        y: Tensor = self.head(state[0] if isinstance(state, tuple) else state)
        return y


CELLS: dict[str, Callable[[], nn.RNNCellBase]] = {
    "lstm": lambda: nn.LSTMCell(12, 16),
    "lstm without biases": lambda: nn.LSTMCell(12, 16, bias=False),
    "gru": lambda: nn.GRUCell(12, 16),
    "rnn tanh": lambda: nn.RNNCell(12, 16),
    "rnn relu": lambda: nn.RNNCell(12, 16, nonlinearity="relu"),
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_taken_step_by_step_loses_hidden_units_and_inputs(kind: str) -> None:
    small: Any = halved(Stepped(CELLS[kind]()), torch.randn(2, 3, 4), torch.randn(2, 16)).model
    assert (small.cell.input_size, small.cell.hidden_size) == (6, 8)
    assert small.cell.weight_hh.shape[1] == 8


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_whose_first_state_is_an_input_keeps_its_units(kind: str) -> None:
    surgery = halved(Stepped(CELLS[kind](), given=True), torch.randn(2, 3, 4), torch.randn(2, 16))
    small: Any = surgery.model
    assert (small.cell.input_size, small.cell.hidden_size) == (6, 16)
    assert "is given its first state" in surgery.reasons["cell"]


class Packed(nn.Module):
    def __init__(self, recurrent: nn.RNNBase) -> None:
        super().__init__()
        self.embed, self.recurrent, self.head = nn.Linear(4, 12), recurrent, nn.Linear(32, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(torch.relu(self.embed(x)), lengths, batch_first=True)
        out, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)
        y: Tensor = self.head(out.amax(1))
        return y


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_units_of_packed_sequences_go(kind: Callable[..., nn.RNNBase]) -> None:
    model = Packed(kind(12, 16, batch_first=True, bidirectional=True))
    small: Any = halved(model, torch.randn(3, 5, 4), torch.tensor([5, 3, 1])).model
    assert (small.recurrent.input_size, small.recurrent.hidden_size, small.head.in_features) == (6, 8, 16)


class Bags(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.bags, self.mid, self.head = nn.EmbeddingBag(20, 16, mode=mode), nn.Linear(16, 12), nn.Linear(12, 3)

    def forward(self, ids: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        bags = self.bags(ids, offsets, weights if self.bags.mode == "sum" else None)
        y: Tensor = self.head(torch.relu(self.mid(bags)))
        return y


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_the_width_of_an_embedding_bag_goes(mode: str) -> None:
    small: Any = halved(Bags(mode), torch.randint(0, 20, (9,)), torch.tensor([0, 4, 6]), torch.rand(9)).model
    assert small.bags.embedding_dim == 8
    assert small.bags.weight.shape == (20, 8)


class Gathered(nn.Module):
    """Messages put where edges end, by one of torch's ways."""

    def __init__(self, way: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.message, self.own, self.head, self.way = nn.Linear(4, 16), nn.Linear(4, 16), nn.Linear(16, 3), way

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        y: Tensor = self.head(self.way(self.own(x), edges[1], torch.relu(self.message(x[edges[0]]))))
        return y


def scattered(into: Tensor, target: Tensor, sent: Tensor) -> Tensor:
    return into.scatter_add(0, target[:, None].expand_as(sent), sent)


def reduced(into: Tensor, target: Tensor, sent: Tensor) -> Tensor:
    return into.scatter_reduce(0, target[:, None].expand(-1, sent.shape[1]), sent, "mean")


def added_in_place(into: Tensor, target: Tensor, sent: Tensor) -> Tensor:
    into.index_add_(0, target, sent, alpha=0.5)
    return into


@pytest.mark.parametrize(
    "way", [lambda into, at, sent: into.index_add(0, at, sent), added_in_place, scattered, reduced], ids=range(4)
)
def test_messages_that_are_added_by_number_lose_channels(way: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    small: Any = halved(Gathered(way), torch.randn(6, 4), torch.randint(0, 6, (2, 10))).model
    assert (small.message.out_features, small.own.out_features, small.head.in_features) == (8, 8, 8)


class AcrossTokens(nn.Module):
    """A convolution over tokens [B, T, C] as its channels; C is the axis of its places."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.into, self.head = nn.Linear(4, 16), nn.Linear(16, 3)
        self.across = nn.Conv1d(5, 5, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.into(x))
        out: Tensor = self.head(y * self.across(y))
        return out


def test_channels_that_are_the_places_of_a_pointwise_convolution_go() -> None:
    small: Any = halved(AcrossTokens(1), torch.randn(2, 5, 4)).model
    assert (small.into.out_features, small.head.in_features) == (8, 8)


def test_channels_that_are_the_places_of_a_wide_kernel_stay() -> None:
    reasons = analyse(AcrossTokens(3), Example.of(torch.randn(2, 5, 4))).reasons
    assert "needs all of these places" in reasons["into"]


class ForItsShape(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.head = nn.Linear(4, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.into(x))
        out: Tensor = self.head(y) + torch.arange(y[:, :, -1].shape[1])[:, None]
        return out


def test_a_channel_that_is_read_for_its_shape_alone_ties_nothing() -> None:
    small: Any = halved(ForItsShape(), torch.randn(2, 5, 4)).model
    assert small.into.out_features == 8


def test_an_instance_norm_without_weights_is_told_its_new_width() -> None:
    """As wide as an image is high, and with a wrong width torch would only warn."""
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.InstanceNorm2d(16), nn.ReLU(), nn.Conv2d(16, 2, 1)]
    small: Any = halved(nn.Sequential(*layers), torch.randn(2, 3, 16, 16)).model
    assert small[1].num_features == 8


class Pair(NamedTuple):
    logits: Tensor
    features: Tensor


class Answering(nn.Module):
    def __init__(self, answer: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.features, self.logits, self.answer = nn.Linear(4, 8), nn.Linear(8, 3), answer

    def forward(self, x: Tensor) -> Any:
        features = functional.relu(self.features(x))
        return self.answer(self.logits(features), features)


@pytest.mark.parametrize(
    ("answer", "logits", "features"),
    [
        (lambda logits, features: {"logits": logits, "features": [None, features]}, "logits", "features[1]"),
        (lambda logits, features: {"aux": {"0": logits}, 3: features}, "aux['0']", "[3]"),
        (lambda logits, features: (logits, [2, features]), "[0]", "[1][1]"),
        (Pair, "logits", "features"),
        (lambda logits, features: {"logits": logits, "again": logits, "features": features}, "logits", "features"),
    ],
)
def test_a_layer_that_makes_an_output_is_told_which(answer: Any, logits: str, features: str) -> None:
    reasons = analyse(Answering(answer), Example.of(torch.randn(2, 4))).reasons
    assert reasons["logits"] == f"its channels are the model's output {logits}"
    assert reasons["features"] == f"its channels are the model's output {features}"


def test_a_single_output_has_no_name() -> None:
    reasons = analyse(Answering(lambda logits, _: logits), Example.of(torch.randn(2, 4))).reasons
    assert reasons == {"logits": "its channels are the model's output"}


class HoldsNothing(nn.Module):
    """A parameter without elements, as some libraries keep for a mode that is off."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.head, self.nothing = nn.Linear(4, 16), nn.Linear(16, 3), nn.Parameter(torch.empty(2, 0))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(torch.relu(self.into(x)))
        return y


def test_a_parameter_without_elements_is_left_as_it_is() -> None:
    small: Any = halved(HoldsNothing(), torch.randn(2, 4)).model
    assert small.nothing.shape == (2, 0)
    assert small.into.out_features == 8


class Apart(nn.Module):
    """Two branches whose sizes are held against each other: each can be cut alone, and not both."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out_a, self.out_b = nn.Linear(4, 16), nn.Linear(4, 16), nn.Linear(16, 3), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.relu(self.a(x)), torch.relu(self.b(x))
        if a.shape[1] + b.shape[1] < 20:
            raise ValueError("too few for both")
        y: Tensor = self.out_a(a) + self.out_b(b)
        return y


def test_sets_that_are_right_alone_and_wrong_together_are_cut_as_far_as_they_can_be() -> None:
    surgery = halved(Apart(), torch.randn(2, 4))
    assert sorted(surgery.model.get_parameter(f"{own}.weight").shape[0] for own in "ab") == [8, 16]
    assert "too few for both" in surgery.reasons["b"]
