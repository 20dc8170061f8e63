"""Which channels of a model go together, read from its `torch.export` graph, and the cut that removes them.

Every index of every axis in the graph has a label (`labels`), each operator's rule joins or pins labels (`rules`), and
what is joined and not pinned is a unit that can go (`sets`). No kind of module is known here but by what it computes.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from ...core.example import Example
from .attributes import find_attributes, variants
from .cut import permute, slice_model
from .find import analyse
from .sets import ChannelSet, Coupled, Slot

__all__ = ["ChannelSet", "Coupled", "Example", "Slot", "analyse", "cut", "permute"]


def cut(dense: nn.Module, coupled: Coupled, keep: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return a copy of `dense` without the units that are not kept, and the masks of the tensors that shrank.

    `keep` gives bool [U] by the names of sets; sets that are not in it stay whole. Sizes that a module's own code keeps
    are set as is most likely; `channels.remove_channels` has them proven.
    """
    model, masks = slice_model(dense, coupled, keep)
    return next(variants(model, find_attributes(dense, coupled, keep))), masks
